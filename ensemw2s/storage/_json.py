"""JSON that was written by this package: its size is looked at first, and what is odd is refused."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from ensemw2s.exceptions import CheckpointError

__all__ = ["checksum", "dump_json", "find_code", "parse_json", "read_text"]


def dump_json(value: Any) -> str:
    """A value as JSON, the same text for the same value; floats are exact, NaN and infinity are refused."""
    return json.dumps(value, indent=1, sort_keys=True, allow_nan=False) + "\n"


def checksum(value: Any) -> str:
    """SHA-256 of a value as JSON."""
    return hashlib.sha256(dump_json(value).encode()).hexdigest()


def read_text(path: Path, limit: int) -> str:
    """A text file of at most `limit` bytes.

    Raises
    ------
    CheckpointError
        If the file is larger, or no text.
    """
    size = path.stat().st_size
    if size > limit:
        raise CheckpointError(
            f"{path} has {size:,} bytes, more than the {limit:,} that are read; it was not opened. Do not use it."
        )
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise CheckpointError(f"{path} is damaged: it is no text ({error}). Copy or save the folder again.") from error


def parse_json(text: str, path: Path) -> Any:
    """JSON without NaN, without a key twice; `path` is named where it is none."""
    try:
        return json.loads(text, object_pairs_hook=_unique, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} is damaged: it is no JSON ({error}). Copy or save the folder again.") from error


def find_code(value: Any) -> str:
    """The key of a model's or tokenizer's configuration that asks for code to be loaded, at any depth; "" if none."""
    waiting = [value]
    while waiting:
        entry = waiting.pop()
        if isinstance(entry, list):
            waiting.extend(entry)
        if not isinstance(entry, dict):
            continue
        for key, content in entry.items():
            # An attention "organisation/name" is a kernel of the hub, which is code.
            is_kernel = key.strip("_").startswith(("attn_impl", "experts_impl")) and "/" in str(content)
            if key == "auto_map" or is_kernel:
                return key
            waiting.append(content)
    return ""


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key occurs twice")
    return found


def _refuse_constant(text: str) -> Any:
    raise ValueError(f"{text} is no number")
