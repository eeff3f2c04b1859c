"""Ways in which a file comes to be another than was written."""

from __future__ import annotations

import os
from pathlib import Path

DAMAGES = ("cut", "bit", "deleted", "emptied", "swapped")
BITS = ("first bit", "quarter bit", "bit", "late bit", "last bit")
KINDS_OF_DAMAGE = (
    "cut", "last byte cut", *BITS, "deleted", "emptied", "zeros", "longer", "swapped", "folder", "pipe", "device",
    "link", "holes",
)  # fmt: skip
_PLACES = {"first bit": 0.0, "quarter bit": 0.25, "bit": 0.5, "late bit": 0.8, "last bit": 1.0}


def spoil(path: Path, damage: str, other: Path | None = None) -> bool:
    """Damage a file, and tell whether it has changed; "swapped" puts the file `other` in its place."""
    before = path.read_bytes()
    if damage == "link":  # out of the folder
        moved = path.rename(path.with_name(f".moved-{path.name}").parent.parent / f"moved-{path.name}")
        path.symlink_to(moved)
        return True
    path.unlink()  # it may be linked to, or read-only
    if damage == "deleted":
        return True
    if damage in ("folder", "pipe", "device"):
        make = {"folder": Path.mkdir, "pipe": os.mkfifo, "device": lambda place: place.symlink_to("/dev/zero")}
        make[damage](path)
        return True
    if damage == "holes":
        path.write_bytes(before)
        os.truncate(path, 2**41)
        return True
    flipped = bytearray(before)
    if flipped:
        flipped[min(int(_PLACES.get(damage, 0) * len(flipped)), len(flipped) - 1)] ^= 16
    after = {
        "cut": before[: len(before) // 2], "last byte cut": before[:-1], "emptied": b"", "longer": before + b" ",
        "zeros": bytes(len(before)), **dict.fromkeys(BITS, bytes(flipped)),
    }  # fmt: skip
    if other is not None:
        after["swapped"] = other.read_bytes()
    content = after.get(damage, before)
    path.write_bytes(content)
    return content != before
