"""Checks of texts and options, with one wording: parameter, what it must be, what was got."""

from __future__ import annotations

from collections.abc import Iterable, Sized
from typing import Any


def as_texts(values: Iterable[str], name: str, *, what: str = "text") -> list[str]:
    """Return the rows of `values` as a list of texts, none of them blank; `what` names one row in messages."""
    if isinstance(values, str | bytes) or not isinstance(values, Iterable):
        raise TypeError(f"{name} must be a sequence of {what}s. Got {shorten(values)} instead; put it in a list.")
    rows = list(values)
    if not rows:
        raise ValueError(f"{name} must not be empty.")
    for row, value in enumerate(rows):
        if not isinstance(value, str):
            raise TypeError(f"{name} must hold texts. Got {name}[{row}] = {shorten(value)} instead.")
        if not value.strip():
            raise ValueError(f"{name} must not hold a blank {what}. Got {name}[{row}] = {value!r}; fill or drop it.")
    return [str(value) for value in rows]  # numpy.str_ becomes a plain str


def check_same_length(first: Sized, second: Sized, first_name: str, second_name: str) -> None:
    """Refuse two columns of different lengths."""
    if len(first) != len(second):
        raise ValueError(
            f"{first_name} and {second_name} must have the same length. Got {len(first)} and {len(second)} instead."
        )


def check_option(value: Any, name: str, options: tuple[str, ...]) -> str:
    """Return `value`, one of the strings in `options`."""
    if value not in options:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, options))}. Got {shorten(value)} instead.")
    return str(value)


def shorten(value: Any, limit: int = 80) -> str:
    """Return the repr of `value`, cut to fit a message."""
    text = repr(value)
    return text if len(text) <= limit else f"{text[: limit - 1]}…"
