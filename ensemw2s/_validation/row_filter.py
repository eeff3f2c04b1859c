"""Which rows can be used, and why the others cannot."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from ensemw2s._validation import BAD_ROWS, check_option

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
