"""What was passed without the rows that cannot be used."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import _safe_indexing

from ensemw2s._validation import check_same_length, of_kind
from ensemw2s._validation.row_filter import RowCheck, RowFilter

# Raises an error that names a row which does not fit into a model; the numbers are what to call the rows.
LengthCheck: TypeAlias = Callable[[Any, NDArray[np.int64]], object]


@runtime_checkable
class LengthLimited(Protocol):
    """An estimator that says of rows, before it is trained or asked, whether they fit into its model."""

    def _length_check(self) -> LengthCheck: ...


@runtime_checkable
class Writer(Protocol):
    """An estimator that says of answers, before it is trained on them, whether it could write them."""

    def _writing_check(self) -> LengthCheck: ...


def length_checks(*models: object, trained: bool = False) -> list[Callable[[], LengthCheck]]:
    """What models say of rows; `trained` if they are to be trained on them. Others take all rows."""
    checks: list[Callable[[], LengthCheck]] = []
    for model in models:
        if isinstance(model, LengthLimited):
            checks.append(model._length_check)
        if trained and isinstance(model, Writer):
            checks.append(model._writing_check)
    return checks


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
        # Made one after the other, when rows have come that far: making one may load a tokenizer.
        for make_check in lengths:
            places.apply(self._check_of_places(make_check(), name))
        if not places.skipped:
            return self
        # Checks speak of places among the rows that are left; the caller knows rows by where they were passed.
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
