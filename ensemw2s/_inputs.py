"""Questions, answers and options from whatever the user passes, and the rows of it that can be used."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ensemw2s._rows import RowCheck, RowFilter, check_labels, holds_texts
from ensemw2s._validation import as_column, check_same_length, check_text, check_weight, shorten
from ensemw2s.datasets import QADataset, check_options, gold_option
from ensemw2s.tokens import TokenDataset

__all__ = [
    "LengthCheck",
    "UsableRows",
    "check_questions",
    "check_sample_weight",
    "require_answers",
    "require_choices",
    "tokenize_answers",
    "usable_examples",
    "usable_questions",
]

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

    def take(self, values: Any, name: str) -> Any:
        """The entries of the rows kept, of another column for what was passed; None stays None."""
        if values is None or not self.skipped:
            return values
        check_same_length(range(len(self.kept) + len(self.skipped)), values, "X", name)
        return _take(values, self.kept)


def usable_questions(
    X: Any,
    y: Any = None,
    choices: Sequence | None = None,
    *,
    on_bad_row: str = "raise",
    lengths: Sequence[Callable[[], LengthCheck]] = (),
    names: tuple[str, str, str] = ("X", "y", "choices"),
) -> UsableRows:
    """Find the questions that can be used, and answers and options where there are any.

    Parameters
    ----------
    X : sequence of str or QADataset
        Questions. The answers and options of a `QADataset` are used where `y` and `choices` are None.
    y : sequence of str, optional
        Answers.
    choices : sequence of sequences of str, optional
        Options.
    on_bad_row : {"raise", "skip"}, default="raise"
        Raise an error that names the first row that cannot be used, or leave such rows out.
    lengths : sequence of functions that return a LengthCheck
        Called last, when the columns have passed: they may load a tokenizer.
    names : (str, str, str)
        What messages call the columns.

    Returns
    -------
    UsableRows

    Raises
    ------
    TypeError, ValueError
        Names parameter and row.
    """
    if isinstance(X, QADataset) and y is None and choices is None:
        questions, rows = X, RowFilter(len(X), on_bad_row)
    else:
        if isinstance(X, QADataset):
            y = X.answers if y is None else y
            choices = X.choices if choices is None else choices
            X = X.prompts
        columns = [as_column(X, names[0], what="question")]
        for values, name, what in ((y, names[1], "answer"), (choices, names[2], "list of option")):
            columns.append(None if values is None else as_column(values, name, what=what))
            if values is not None:
                check_same_length(columns[0], columns[-1], names[0], name)
        rows = RowFilter(len(columns[0]), on_bad_row)
        rows.apply(lambda numbers: [_check_question(int(row), *columns, names) for row in numbers])
        questions = QADataset(*(None if values is None else _take(values, rows.kept) for values in columns))
    first = rows.kept
    for make_check in lengths:
        rows.apply(_of_rows(make_check(), questions, first))
    if len(rows.kept) < len(first):
        questions = questions[np.searchsorted(first, rows.kept)]
    return UsableRows(questions, None, rows.kept, rows.skipped)


def check_questions(X: Any, y: Any = None, choices: Sequence | None = None) -> QADataset:
    """Validate questions, and answers and options where there are any, all of which have to be usable.

    Parameters, errors
        As in `usable_questions`.

    Returns
    -------
    QADataset
    """
    return usable_questions(X, y, choices).X


def usable_examples(
    X: Any,
    y: Any = None,
    *,
    texts: bool | None = None,
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
    finite : bool, default=False
        Whether numbers have to be finite.
    on_bad_row, names
        As in `usable_questions`.
    lengths : sequence of functions that return a LengthCheck
        As in `usable_questions`; for texts.

    Returns
    -------
    UsableRows

    Raises
    ------
    TypeError, ValueError
        Names parameter and row.
    """
    texts = holds_texts(X) if texts is None else texts
    column = as_column(X, names[0]) if texts else X
    n_rows = column.shape[0] if hasattr(column, "shape") else len(column)
    if hasattr(y, "__len__"):
        check_same_length(range(n_rows), y, *names)
    rows = RowFilter(n_rows, on_bad_row)
    if texts:
        rows.apply(lambda numbers: [check_text(column[row], names[0], int(row)) for row in numbers])
    elif finite:
        rows.apply(lambda numbers: _check_finite(X, numbers, names[0]))
    if y is not None:
        rows.apply(check_labels(y, names[1]))
    for make_check in lengths:
        rows.apply(_of_rows(make_check(), np.array(column, dtype=object), np.arange(n_rows)))
    if rows.skipped:
        X, y = _take(column, rows.kept), None if y is None else _take(y, rows.kept)
    return UsableRows(X, y, rows.kept, rows.skipped)


def tokenize_answers(
    learner: Any, questions: QADataset, row_numbers: Sequence[int] | NDArray[np.int64] | None = None
) -> TokenDataset:
    """Questions and answers as a learner is trained on them.

    Parameters
    ----------
    learner : TokenLearner
        After ``initialize()`` or ``fit``.
    questions : QADataset
        With answers.
    row_numbers : sequence of int, optional
        What messages call each row; 0, 1, ... if None.

    Returns
    -------
    TokenDataset

    Raises
    ------
    ValueError
        If a row is too long, or an answer holds the end-of-answer token as a text: a model would learn to stop there.
    """
    numbers = range(len(questions)) if row_numbers is None else [int(row) for row in row_numbers]
    tokens = TokenDataset.for_learner(learner, questions.prompts, require_answers(questions), row_numbers=numbers)
    early = tokens.labels == learner.tokenizer_.eos_token_id
    early[tokens.indptr[1:] - 1] = False
    if early.any():
        row = int(tokens.row_of_token[np.argmax(early)])
        raise ValueError(
            f"answers[{numbers[row]}] must not hold the end-of-answer token {learner.tokenizer_.eos_token!r}, which is "
            f"put behind every answer. Got {shorten(require_answers(questions)[row])}; remove it, or drop the row."
        )
    return tokens


def require_answers(questions: QADataset) -> Sequence[str]:
    """The answers, or a ValueError."""
    if questions.answers is None:
        raise ValueError("y must hold the answers. Got None, and X is no QADataset with answers; pass them.")
    return questions.answers


def require_choices(questions: QADataset) -> Sequence[Sequence[str]]:
    """The options, or a ValueError."""
    if questions.choices is None:
        raise ValueError("choices must hold the options of every question. Got None; pass them, or a QADataset.")
    return questions.choices


def check_sample_weight(sample_weight: Any, n_rows: int) -> np.ndarray:
    """Weights of the rows that sum to 1, float64 of shape (n_rows,); uniform for None."""
    if sample_weight is None:
        return np.full(n_rows, 1.0 / n_rows)
    weight = check_weight(sample_weight, "sample_weight", length=n_rows, per="row")
    return weight / weight.sum()


def _check_question(
    row: int, prompts: Sequence, answers: Sequence | None, choices: Sequence | None, names: tuple[str, str, str]
) -> None:
    check_text(prompts[row], names[0], row, what="question")
    if answers is not None:
        check_text(answers[row], names[1], row, what="answer")
    if choices is not None:
        options = check_options(choices[row], row, names[2])
        if answers is not None:
            gold_option(answers[row], options, row, names[1:])


def _of_rows(check: Callable, X: Any, first: NDArray[np.int64]) -> RowCheck:
    """A check of some of X's rows as one of row numbers, where `first` are the numbers of all of them."""
    return lambda numbers: check(X[np.searchsorted(first, numbers)], numbers)


def _check_finite(X: Any, numbers: NDArray[np.int64], name: str) -> None:
    values = np.asarray(X)
    if values.dtype.kind != "f" or values.ndim != 2:
        return  # the learner knows better what it can read
    bad = ~np.isfinite(values[numbers]).all(axis=1)
    if bad.any():
        row = int(numbers[np.argmax(bad)])
        raise ValueError(
            f"{name} must hold finite numbers, no NaN and no infinity. Got {name}[{row}] = "
            f"{shorten(values[row].tolist())} instead; fill or drop the row."
        )


def _take(values: Any, rows: NDArray[np.int64]) -> Any:
    from sklearn.utils import _safe_indexing

    return _safe_indexing(values, rows)
