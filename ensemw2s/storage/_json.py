"""JSON that was written by this package: its size is looked at first, and what is odd is refused."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, NoReturn, TypeAlias

from ensemw2s.exceptions import CheckpointError

JsonObject: TypeAlias = dict[str, Any]
# What reading a value that was not written by this package may end in.
MALFORMED = (ArithmeticError, AttributeError, LookupError, MemoryError, RecursionError, TypeError, ValueError)

_DEEPEST = 100  # containers in each other


def dump_json(value: object) -> str:
    """A value as JSON, the same text for the same value; floats are exact, NaN and infinity are refused."""
    return json.dumps(value, indent=1, sort_keys=True, allow_nan=False) + "\n"


def checksum(value: object) -> str:
    """SHA-256 of a value as JSON."""
    return hashlib.sha256(dump_json(value).encode()).hexdigest()


def parse_json(content: bytes, path: Path, *, own: bool = True) -> Any:
    """JSON that is not too deep; `path` is named where it is none.

    Parameters
    ----------
    content : bytes
        Of the file.
    path : Path
        The file.
    own : bool, default=True
        Whether this package has written it: without NaN, and without a key twice.

    Raises
    ------
    CheckpointError
        If it is no text, or no such JSON.
    """
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise CheckpointError(f"{path} is damaged: it is no text ({error}). Copy or save the folder again.") from error
    try:
        rules: dict[str, Any] = {"object_pairs_hook": _unique, "parse_constant": _refuse_constant} if own else {}
        value = json.loads(text, **rules)
        _check_depth(value)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} is damaged: it is no JSON ({error}). Copy or save the folder again.") from error
    return value


def find_code(value: object) -> str:
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


def _unique(pairs: list[tuple[str, object]]) -> JsonObject:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key occurs twice")
    return found


def _check_depth(value: object) -> None:
    """Code that goes into values, level by level, must come to an end."""
    level = [value] if isinstance(value, dict | list) else []
    for _ in range(_DEEPEST):
        level = [
            inner
            for outer in level
            for inner in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(inner, dict | list)
        ]
        if not level:
            return
    raise ValueError(f"it is more than {_DEEPEST} levels deep")


def _refuse_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is no number")
