"""Class labels as one column of plain values, and the check of them."""

from __future__ import annotations

import sys
import warnings
from collections import Counter
from collections.abc import Mapping, Set
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import DataConversionWarning

from ensemw2s._validation import check_text, is_number, of_kind, shorten
from ensemw2s._validation.row_filter import RowCheck


def label_column(y: object, name: str = "y") -> Any:
    """Class labels as one column of plain values; what is no column of labels, such as a table, as it is.

    Of a table with one column that column, with scikit-learn's warning. Numbers among the texts of a list become texts,
    as NumPy makes them; in arrays of objects and in frames they stay, for `label_check` to refuse. What a mask hides
    is None.

    Raises
    ------
    ValueError
        If `y` is a single label.
    """
    shape = getattr(y, "shape", None)
    if shape == ():
        raise ValueError(f"{name} must have one dimension, one label per row. Got {shorten(y)} instead.")
    if shape is not None and len(shape) == 2 and shape[1] == 1 and not hasattr(y, "toarray"):
        warnings.warn(
            f"A column-vector {name} was passed when a 1d array was expected. Please change the shape of {name} to "
            f"(n_samples, ), for example using ravel().", DataConversionWarning, stacklevel=4,
        )  # fmt: skip
        y = y.iloc[:, 0] if hasattr(y, "iloc") else np.ma.ravel(y) if np.ma.isMaskedArray(y) else np.asarray(y)[:, 0]
    if np.ma.isMaskedArray(y) and np.ma.is_masked(y):
        return np.array(
            [None if hidden else label for label, hidden in zip(y.data, np.ma.getmaskarray(y), strict=True)]
        )
    if isinstance(y, np.ndarray) and y.dtype.kind == "T":  # NumPy's texts of variable width, which sorting cannot take
        return _texts_or_missing(y.tolist())
    pandas = sys.modules.get("pandas")
    if pandas is not None and isinstance(y, pandas.api.extensions.ExtensionArray):
        return pandas.Series(y)  # an array of texts cannot be indexed as scikit-learn does
    if isinstance(y, list | tuple):
        labels = [label.item() if isinstance(label, np.ndarray) and label.ndim == 0 else label for label in y]
        if any(isinstance(label, str) for label in labels):
            labels = [str(label) if _is_value(label) else label for label in labels]
        return labels
    return y


def _texts_or_missing(labels: list[Any]) -> np.ndarray:
    texts = all(isinstance(label, str) for label in labels)
    return np.array(labels) if texts else np.array(labels, dtype=object)


def _is_value(label: object) -> bool:
    return isinstance(label, bool | np.bool_) or (is_number(label) and not is_missing(label))


def label_check(y: object, name: str = "y") -> RowCheck:
    """A check of class labels: none is missing, blank or no label at all, and all are texts or none is.

    Where texts and other labels are mixed, those of the rarer kind are refused. An array would turn them all into
    texts, and NaN into the class ``"nan"``. What is no column of labels, such as a table, passes.

    Parameters
    ----------
    y : array-like
        As `label_column` returns it.
    name : str, default="y"
        What messages call the column.
    """
    labels = _column(y)
    kinds = Counter(isinstance(label, str) for label in labels if not is_missing(label))
    usual = kinds.most_common(1)[0][0] if kinds else True

    def check(rows: NDArray[np.int64]) -> None:
        for row in rows.tolist() if labels else ():
            label = labels[row]
            if is_missing(label):
                error: Exception = ValueError(
                    f"{name} must hold class labels. Got {name}[{row}] = {shorten(label)} instead; label the row or "
                    f"drop it."
                )
                raise of_kind(error, "no label")
            if isinstance(label, bytes | list | tuple | set | dict | np.ndarray):
                error = TypeError(
                    f"{name} must hold class labels, numbers or texts. Got {name}[{row}] = {shorten(label)} instead; "
                    f"label the row or drop it."
                )
                raise of_kind(error, "a label of no kind")
            if isinstance(label, str) != usual:
                error = ValueError(
                    f"{name} must hold labels of one kind, and most are {'texts' if usual else 'no texts'}. "
                    f"Got {name}[{row}] = {shorten(label)} instead; label the row anew or drop it."
                )
                raise of_kind(error, "a label of another kind")
            if usual:
                check_text(label, name, row, what="label")

    return check


def _column(y: Any) -> list[Any]:
    """The labels one by one, before an array is made of them; none where there is nothing to find."""
    if isinstance(y, np.ndarray) and y.dtype.kind in "iub":
        return []
    if isinstance(y, str | bytes | Mapping | Set) or not hasattr(y, "__len__") or len(getattr(y, "shape", "1")) != 1:
        return []
    return list(y)


def is_missing(label: object) -> bool:
    """Whether a label is None, NaN, or what pandas and NumPy put in their place."""
    if label is None or type(label).__name__ in ("NAType", "NaTType"):
        return True
    if isinstance(label, np.datetime64 | np.timedelta64):
        return bool(np.isnat(label))
    return isinstance(label, float | np.floating) and bool(np.isnan(label))
