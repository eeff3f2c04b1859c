"""Hard or soft labels as class probabilities."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.utils import assert_all_finite, column_or_1d
from sklearn.utils.multiclass import check_classification_targets

from ensemw2s._validation import shorten
from ensemw2s._validation.class_labels import label_check, label_column


def class_targets(y: Any, classes: Sequence[Any] | None) -> tuple[np.ndarray, np.ndarray]:
    """Validate labels.

    Parameters
    ----------
    y : array-like of shape (n,) or (n, K)
        Classes, or the probability of each class.
    classes : sequence of length K, optional
        Classes in the order of the columns; the sorted labels, or 0, ..., K-1 for probabilities, if None.

    Returns
    -------
    classes : ndarray of shape (K,)
    targets : ndarray of shape (n, K), float64
        One-hot for hard labels.

    Raises
    ------
    ValueError
        Names the row.
    """
    known = None if classes is None else _check_classes(classes)
    if y is None:
        raise ValueError("y must hold a class, or class probabilities, for each row. Got None.")
    shape = _shape(y)
    if len(shape) == 2 and shape[1] > 1:
        targets = _check_probabilities(y)
        known = np.arange(targets.shape[1]) if known is None else known
        if len(known) != targets.shape[1]:
            raise ValueError(
                f"y must have a column for each of the {len(known)} classes. Got shape {targets.shape} instead."
            )
        return known, targets
    y = label_column(y)
    label_check(y)(np.arange(len(y) if hasattr(y, "__len__") else 0))
    labels = column_or_1d(y, warn=True)
    assert_all_finite(labels, input_name="y")
    check_classification_targets(labels)
    if known is None:
        known = np.unique(labels)
        if len(known) < 2:
            raise ValueError(
                f"y must hold at least two classes. Got one class in all {len(labels)} rows, "
                f"{shorten(known.tolist())}; pass classes to name those without a row."
            )
    column_of = {label: column for column, label in enumerate(known.tolist())}
    columns = np.array([column_of.get(label, -1) for label in labels.tolist()])
    if columns.min() < 0:
        row = int(columns.argmin())
        raise ValueError(
            f"y must hold labels of classes, {shorten(known.tolist())}. "
            f"Got y[{row}] = {shorten(labels.tolist()[row])} instead; label the row anew or drop it."
        )
    return known, np.eye(len(known))[columns]


def _shape(y: Any) -> tuple[int, ...]:
    try:
        return np.shape(y)
    except ValueError:  # ragged
        return (len(y),)


def _check_classes(classes: Sequence[Any]) -> np.ndarray:
    known = np.asarray(classes)
    if known.ndim != 1 or len(known) < 2 or len(set(known.tolist())) != len(known):
        raise ValueError(f"classes must hold at least two classes, each once. Got {shorten(classes)} instead.")
    return known


def _check_probabilities(y: Any) -> np.ndarray:
    try:
        targets = np.asarray(y, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(
            "y must be one-dimensional, or hold class probabilities in its columns. Got columns that are no numbers."
        ) from error
    good = np.isfinite(targets).all(axis=1) & (targets >= 0).all(axis=1)
    good &= np.abs(targets.sum(axis=1) - 1.0) < 1e-3
    if not good.all():
        row = int(np.argmin(good))
        raise ValueError(
            f"y must hold class probabilities, >= 0 with sum 1 in each row. "
            f"Got y[{row}] = {targets[row].tolist()} instead."
        )
    return targets / targets.sum(axis=1, keepdims=True)
