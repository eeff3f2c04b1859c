"""Checks of the arrays that Displays hold; unlike elsewhere nan is allowed, and means "not measured"."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ensemw2s._validation import shorten
from ensemw2s.plots._palette import MODEL_LABELS


def number_array(values: object, name: str, shape: tuple[int, ...] | None = None) -> np.ndarray:
    """Return `values` as float64, of `shape` where one is given; nan is allowed, infinity is not."""
    try:
        array = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} must hold numbers. Got {shorten(values)} instead.") from error
    if shape is not None and array.shape != shape:
        raise ValueError(f"{name} must have shape {shape}. Got {array.shape} instead.")
    if np.isinf(array).any():
        raise ValueError(f"{name} must hold finite numbers or nan. Got {shorten(values)} instead.")
    return array


def check_columns(
    columns: object, name: str, known: Mapping[str, Any] | tuple[str, ...], shape: tuple[int, ...]
) -> dict[str, np.ndarray]:
    """Return a dict of float64 arrays of `shape`, under keys that are all among `known`."""
    if not isinstance(columns, Mapping):
        raise TypeError(f"{name} must be a dict of arrays. Got {shorten(columns)} instead.")
    unknown = [key for key in columns if key not in known]
    if unknown:
        raise ValueError(f"{name} must have keys among {', '.join(map(repr, known))}. Got {unknown[0]!r} instead.")
    return {key: number_array(value, f"{name}[{key!r}]", shape) for key, value in columns.items()}


def check_pairs(
    score: object, low: object, high: object, pairs: Sequence[str] | None
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray], dict[str, np.ndarray], list[str], tuple[int, ...]]:
    """Return scores and bounds by model, (P,) each, the names of the pairs, and the shape (P,)."""
    if not isinstance(score, Mapping) or not score:
        raise TypeError(f"score must be a dict of arrays by model. Got {shorten(score)} instead.")
    shape = np.shape(next(iter(score.values())))
    if len(shape) != 1 or 0 in shape:
        raise ValueError(f"score must hold arrays of shape (n_pairs,). Got shape {shape} instead.")
    columns = [
        check_columns({} if values is None else values, name, MODEL_LABELS, shape)
        for name, values in (("score", score), ("low", low), ("high", high))
    ]
    names = [""] * shape[0] if pairs is None else [str(pair) for pair in pairs]
    if len(names) != shape[0]:
        raise ValueError(f"pairs must have {shape[0]} entries, one per pair. Got {len(names)} instead.")
    return columns[0], columns[1], columns[2], names, shape
