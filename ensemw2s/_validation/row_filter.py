"""Which rows can be used, and why the others cannot."""

from __future__ import annotations

import sys
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import DataConversionWarning

from ensemw2s._validation import BAD_ROWS, check_option, check_text, is_number, of_kind, shorten

__all__ = [
    "Reason",
    "RowCheck",
    "RowFilter",
    "check_labels",
    "holds_texts",
    "is_missing",
    "label_column",
    "without_texts",
]

# Gets row numbers, and raises a TypeError or ValueError that names the first of them that cannot be used.
RowCheck: TypeAlias = Callable[[NDArray[np.int64]], object]


class Reason(str):
    """Why a row cannot be used: a message, which quotes the row, and the kind of it, which does not.

    Parameters
    ----------
    text : str
        The message.
    kind : str
        What is wrong in general.
    """

    kind: str

    def __new__(cls, text: str, kind: str = "") -> Reason:
        reason = super().__new__(cls, text)
        reason.kind = kind
        return reason


def without_texts(skipped: Iterable[tuple[int, str]]) -> list[tuple[int, str]]:
    """Numbers of skipped rows with the kind of their reason, for a file: what a row holds is its owner's."""
    kinds = ((int(row), getattr(reason, "kind", str(reason))) for row, reason in skipped)
    return [(row, kind if kind in BAD_ROWS else "cannot be used") for row, kind in kinds]


class RowFilter:
    """Rows that have passed every check so far.

    A check is any function that raises on rows that cannot be used. With ``on_bad_row="raise"`` its error goes to the
    caller; with ``"skip"`` the rows are halved until each bad one is alone, and its message becomes the reason why it
    is left out. So both settings refuse the same rows, with the same words.

    Parameters
    ----------
    n_rows : int
        Number of rows.
    on_bad_row : {"raise", "skip"}
        What to do with a row that cannot be used.
    skipped : sequence of (int, str), default=()
        Number and reason of each row that is known not to be usable.

    Examples
    --------
    >>> def check(rows):
    ...     for row in rows.tolist():
    ...         if row % 3 == 0:
    ...             raise ValueError(f"X[{row}] is bad")
    >>> rows = RowFilter(5, "skip")
    >>> rows.apply(check)
    >>> rows.kept, rows.skipped
    (array([1, 2, 4]), [(0, 'X[0] is bad'), (3, 'X[3] is bad')])
    """

    def __init__(self, n_rows: int, on_bad_row: str, *, skipped: Sequence[tuple[int, str]] = ()) -> None:
        check_option(on_bad_row, "on_bad_row", ("raise", "skip"))
        self.n_rows, self._skips = n_rows, on_bad_row == "skip"
        self._reasons: dict[int, str] = dict(skipped)
        self.kept: NDArray[np.int64] = np.setdiff1d(np.arange(n_rows), list(self._reasons))

    @property
    def skipped(self) -> list[tuple[int, str]]:
        """Number and reason of each row that was left out, in the order of the rows."""
        return sorted(self._reasons.items())

    def apply(self, check: RowCheck) -> None:
        """Check the rows that are left.

        Raises
        ------
        TypeError, ValueError
            What `check` raises, unless bad rows are skipped; or if no row is left.
        """
        if not self._skips:
            check(self.kept)
            return
        self._reasons.update(_refused(check, self.kept))
        self.kept = np.setdiff1d(self.kept, list(self._reasons))
        if not self.kept.size:
            raise ValueError(f"No row can be used, all {self.n_rows} were skipped; the first: {self.skipped[0][1]}")


def _refused(check: RowCheck, rows: NDArray[np.int64]) -> Iterator[tuple[int, str]]:
    try:
        check(rows)
    except (TypeError, ValueError) as error:
        if len(rows) == 1:
            yield int(rows[0]), Reason(str(error), getattr(error, "kind", ""))
            return
        for half in np.array_split(rows, 2):
            yield from _refused(check, half)


def label_column(y: Any, name: str = "y") -> Any:
    """Class labels as one column of plain values; what is no column of labels, such as a table, as it is.

    Of a table with one column that column, with scikit-learn's warning. Numbers among the texts of a list become texts,
    as NumPy makes them; in arrays of objects and in frames they stay, for `check_labels` to refuse. What a mask hides
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


def _is_value(label: Any) -> bool:
    return isinstance(label, bool | np.bool_) or (is_number(label) and not is_missing(label))


def check_labels(y: Any, name: str = "y") -> RowCheck:
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


def is_missing(label: Any) -> bool:
    """Whether a label is None, NaN, or what pandas and NumPy put in their place."""
    if label is None or type(label).__name__ in ("NAType", "NaTType"):
        return True
    if isinstance(label, np.datetime64 | np.timedelta64):
        return bool(np.isnat(label))
    return isinstance(label, float | np.floating) and bool(np.isnan(label))


def holds_texts(X: Any) -> bool:
    """Whether rows are texts, judged by the first text among them."""
    if isinstance(X, str) or getattr(X, "ndim", 1) != 1 or not hasattr(X, "__len__") or not hasattr(X, "__getitem__"):
        return False
    if hasattr(X, "keys") and not hasattr(X, "iloc"):  # a mapping
        return False
    return any(isinstance(row, str) for row in X)
