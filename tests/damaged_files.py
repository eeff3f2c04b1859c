"""Ways in which a file comes to be another than was written."""

from __future__ import annotations

from pathlib import Path

DAMAGES = ("cut", "bit", "deleted", "emptied", "swapped")


def spoil(path: Path, damage: str, other: Path | None = None) -> bool:
    """Damage a file, and tell whether it has changed; "swapped" puts the file `other` in its place."""
    before = path.read_bytes()
    path.unlink()  # it may be linked to, or read-only
    if damage == "deleted":
        return True
    flipped = bytearray(before)
    flipped[len(flipped) // 2] ^= 16
    after = {"cut": before[: len(before) // 2], "bit": bytes(flipped), "emptied": b""}
    if other is not None:
        after["swapped"] = other.read_bytes()
    path.write_bytes(after[damage])
    return after[damage] != before
