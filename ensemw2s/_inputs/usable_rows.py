"""What was passed without the rows that cannot be used, and the search for them in a classifier's rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import _safe_indexing
from sklearn.utils.validation import _num_samples

from ensemw2s._validation import as_column, check_same_length, check_text, of_kind, shorten
from ensemw2s._validation.row_filter import RowCheck, RowFilter, check_labels, holds_texts, label_column

__all__ = ["LengthCheck", "UsableRows", "check_finite", "usable_examples"]

# Raises an error that names a row which does not fit into a model; the numbers are what to call the rows.
LengthCheck: TypeAlias = Callable[[Any, NDArray[np.int64]], object]


@dataclass(frozen=True, eq=False)
class UsableRows:
    """What was passed without the rows that cannot be used.

    Attributes
    ----------
    X : QADataset, or object
        The questions; for classifiers, the rows as they were given.
    y : object
        A classifier's labels; None for questions, which hold their answers.
    kept : ndarray of shape (n_kept,), int64
        Numbers of the rows in what was passed.
    skipped : list of (int, str)
        Number and reason of the others.
    """

    X: Any
    y: Any
    kept: NDArray[np.int64]
    skipped: list[tuple[int, str]]

    def drop_long(self, lengths: Sequence[Callable[[], LengthCheck]], on_bad_row: str, name: str = "X") -> UsableRows:
        """The rows that pass every check of `lengths` too; `name` is that of the rows' column in messages."""
        places = RowFilter(len(self.kept), on_bad_row)
        for make_check in lengths:
            places.apply(self._check_of_places(make_check(), name))
        if not places.skipped:
            return self
        too_long = [(int(self.kept[place]), reason) for place, reason in places.skipped]
        X, y = _safe_indexing(self.X, places.kept), None if self.y is None else _safe_indexing(self.y, places.kept)
        return UsableRows(X, y, self.kept[places.kept], sorted([*self.skipped, *too_long]))

    def _check_of_places(self, check: LengthCheck, name: str) -> RowCheck:
        def check_places(places: NDArray[np.int64]) -> None:
            try:
                check(_safe_indexing(self.X, places), self.kept[places])
            except ValueError as error:
                if name == "X":
                    raise
                raise of_kind(ValueError(f"{name}: {error}"), getattr(error, "kind", "")) from error

        return check_places

    @property
    def labels(self) -> Any:
        """The labels, or the answers to questions."""
        return getattr(self.X, "answers", None) if self.y is None else self.y

    def take(self, values: Any, name: str) -> Any:
        """The entries of the rows kept, of another column for what was passed; None stays None."""
        if values is None or not self.skipped:
            return values
        check_same_length(range(len(self.kept) + len(self.skipped)), values, "X", name)
        return _safe_indexing(values, self.kept)

    def in_place(self, hashes: Mapping[str, NDArray[np.uint64]]) -> dict[str, NDArray[np.uint64]]:
        """Hashes of the rows kept, by column, where the rows were in what was passed; 0 for the others."""
        if not self.skipped:
            return dict(hashes)
        placed = {name: np.zeros(len(self.kept) + len(self.skipped), dtype=np.uint64) for name in hashes}
        for name, column in hashes.items():
            placed[name][self.kept] = column
        return placed


def usable_examples(
    X: Any,
    y: Any = None,
    *,
    texts: bool | None = None,
    table: bool = False,
    finite: bool = False,
    on_bad_row: str = "raise",
    lengths: Sequence[Callable[[], LengthCheck]] = (),
    names: tuple[str, str] = ("X", "y"),
) -> UsableRows:
    """Find the rows that a classifier can use.

    Parameters
    ----------
    X : sequence of str, array-like, sparse matrix or DataFrame, n rows
        What a classifier reads.
    y : array-like of shape (n,), optional
        Labels. Columns of probabilities are not looked at.
    texts : bool, optional
        Whether the rows are texts; judged by the rows themselves if None.
    table : bool, default=False
        Whether lists have to be rows of one length.
    finite : bool, default=False
        Whether numbers have to be finite.
    on_bad_row, names
        As in `usable_questions` of `_inputs`.
    lengths : sequence of functions that return a LengthCheck
        Called last, when the columns have passed: they may load a tokenizer. For texts alone.

    Returns
    -------
    UsableRows

    Raises
    ------
    TypeError, ValueError
        Names parameter and row.
    """
    texts = holds_texts(X) if texts is None else texts
    sparse = hasattr(X, "toarray")  # those that keep their entries in a dict are mappings, too
    if (isinstance(X, Set | Mapping) and not sparse) or not (
        texts or hasattr(X, "__len__") or hasattr(X, "shape") or hasattr(X, "__array__")
    ):
        raise TypeError(f"{names[0]} must be a sequence of rows. Got {shorten(X)} instead; pass a list or an array.")
    column = as_column(X, names[0]) if texts else X
    X = X if hasattr(X, "__len__") else column  # an iterator has been read now
    y = label_column(y, names[1])
    n_rows = _num_samples(column)
    if not n_rows:
        raise ValueError(f"{names[0]} must not be empty. Found {names[0]} with 0 sample(s); pass at least one row.")
    if hasattr(y, "__len__"):
        check_same_length(range(n_rows), y, *names)
    rows = RowFilter(n_rows, on_bad_row)
    if texts:
        rows.apply(lambda numbers: _check_texts(column, numbers, names[0]))
    elif table and isinstance(X, list | tuple):
        rows.apply(_check_widths(X, names[0]))
    if finite and not texts:
        rows.apply(lambda numbers: check_finite(X, numbers, names[0]))
    if y is not None:
        rows.apply(check_labels(y, names[1]))
    if rows.skipped:
        X, y = _safe_indexing(column, rows.kept), None if y is None else _safe_indexing(y, rows.kept)
    return UsableRows(X, y, rows.kept, rows.skipped).drop_long(lengths if texts else (), on_bad_row, names[0])


def check_finite(X: Any, numbers: NDArray[np.int64] | None = None, name: str = "X") -> None:
    """Refuse rows of a table of numbers that hold NaN or an infinity; a learner knows better of all other kinds."""
    if hasattr(X, "iloc") or hasattr(X, "toarray") or not hasattr(X, "__len__"):
        return
    numbers = np.arange(len(X)) if numbers is None else numbers
    values = np.asarray(X)[numbers] if hasattr(X, "dtype") else _table([X[row] for row in numbers.tolist()])
    if values.dtype.kind != "f" or values.ndim != 2:
        return
    bad = ~np.isfinite(values).all(axis=1)
    if bad.any():
        place = int(np.argmax(bad))
        error = ValueError(
            f"{name} must hold finite numbers, no NaN and no infinity. Got {name}[{numbers[place]}] = "
            f"{shorten(values[place].tolist())} instead; fill or drop the row."
        )
        raise of_kind(error, "numbers that are not finite")


def _check_texts(X: Sequence[Any], numbers: NDArray[np.int64], name: str) -> None:
    for row in numbers.tolist():
        check_text(X[row], name, row)


def _check_widths(X: Sequence[Any], name: str) -> RowCheck:
    widths = [len(row) if isinstance(row, list | tuple) else None for row in X]
    usual = Counter(widths).most_common(1)[0][0]

    def check(numbers: NDArray[np.int64]) -> None:
        for row in numbers.tolist():
            if widths[row] != usual:
                error = ValueError(
                    f"{name} must hold rows of one length, {usual} as most have. Got {name}[{row}] = {shorten(X[row])} "
                    f"instead; fill or drop the row."
                )
                raise of_kind(error, "a row of another length")

    return check


def _table(X: Any) -> NDArray[Any]:
    try:
        return np.asarray(X)
    except ValueError:  # ragged
        return np.empty(0)
