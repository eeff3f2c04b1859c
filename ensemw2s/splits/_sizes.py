"""How many rows each part has: fractions or counts, as in scikit-learn."""

from __future__ import annotations

import numbers
from typing import Any

import numpy as np

from ensemw2s._validation import shorten


def part_sizes(n_rows: int, **asked: float | int) -> dict[str, int]:
    """Rows of each part.

    Parameters
    ----------
    n_rows : int
        Rows to split.
    **asked : float in (0, 1) or int >= 1
        Size of each part, under the name of its parameter.

    Returns
    -------
    dict of str to int

    Raises
    ------
    ValueError
        If a size is out of range, a part would be empty, or they sum to more than there is.
    """
    values = ", ".join(f"{name}={value}" for name, value in asked.items())
    total = sum(_fraction(name, value) for name, value in asked.items())
    if total > 1.0 + 1e-9:
        raise ValueError(
            f"The fractions of the parts must sum to at most 1. Got {values}, {total:.6g} in all; lower one."
        )
    sizes, end = {}, 0.0
    for name, value in asked.items():
        share = _fraction(name, value)
        # Rounded after cumulation: fractions that sum to 1 use every row.
        start, end = end, end + share
        sizes[name] = int(np.rint(end * n_rows) - np.rint(start * n_rows)) if share else int(value)
    for name, size in sizes.items():
        if size == 0:
            raise ValueError(
                f"With n_samples={n_rows} and {name}={asked[name]} the part would be empty. Raise {name}, or give more "
                f"questions."
            )
    if sum(sizes.values()) > n_rows:
        raise ValueError(
            f"The parts must have at most n_samples={n_rows} rows in all. Got {values}, {sum(sizes.values())} rows; "
            f"lower one."
        )
    return sizes


def check_met(splitter: Any, sizes: dict[str, int], parts: tuple[np.ndarray, ...], largest_group: int) -> None:
    """Raise a ValueError if a part is empty, or has not the number of rows that an int asks for."""
    for (name, size), rows in zip(sizes.items(), parts, strict=True):
        asked = getattr(splitter, name)
        if not len(rows) or (isinstance(asked, numbers.Integral) and len(rows) != size):
            raise ValueError(
                f"{name}={asked} cannot be met without tearing forms of one question apart: of {size} rows "
                f"{len(rows)} were found, and the largest group has {largest_group}. Lower the sizes, pass fractions, "
                f"or raise near_duplicates={splitter.near_duplicates}."
            )


def _fraction(name: str, value: Any) -> float:
    """The value if it is a fraction, 0 for a count."""
    if not isinstance(value, bool | np.bool_):
        if isinstance(value, numbers.Integral) and int(value) >= 1:
            return 0.0
        if not isinstance(value, numbers.Integral) and isinstance(value, numbers.Real) and 0.0 < float(value) < 1.0:
            return float(value)
    raise ValueError(f"{name} must be a float in (0, 1) or an int of at least 1. Got {shorten(value)} instead.")
