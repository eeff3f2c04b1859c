"""Questions, answers and options from whatever the user passes, and the rows of it that can be used."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import _safe_indexing

from ensemw2s._encoding import answer_ends
from ensemw2s._rows import RowCheck, RowFilter
from ensemw2s._usable import LengthCheck, UsableRows
from ensemw2s._validation import as_column, check_same_length, check_text, check_weight, shorten
from ensemw2s.datasets import QADataset, check_options, gold_option
from ensemw2s.tokens import TokenDataset

__all__ = [
    "check_questions",
    "check_sample_weight",
    "require_answers",
    "require_choices",
    "tokenize_answers",
    "usable_questions",
]


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
        prompts = as_column(X, names[0], what="question")
        answers = None if y is None else as_column(y, names[1], what="answer")
        options = None if choices is None else as_column(choices, names[2], what="list of option")
        for values, name in ((answers, names[1]), (options, names[2])):
            if values is not None:
                check_same_length(prompts, values, names[0], name)
        rows = RowFilter(len(prompts), on_bad_row)
        rows.apply(_check_columns(prompts, answers, options, names))
        columns = (None if values is None else _safe_indexing(values, rows.kept) for values in (answers, options))
        questions = QADataset(_safe_indexing(prompts, rows.kept), *columns)
    if len(rows.kept) < len(questions):
        questions = questions[rows.kept]
    return UsableRows(questions, None, rows.kept, rows.skipped).that_fit(lengths, on_bad_row, names[0])


def check_questions(X: Any, y: Any = None, choices: Sequence | None = None) -> QADataset:
    """Validate questions, and answers and options where there are any, all of which have to be usable.

    Parameters, errors
        As in `usable_questions`.

    Returns
    -------
    QADataset
    """
    return usable_questions(X, y, choices).X


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
        If a row is too long, or an answer holds an end-of-answer token as a text: a model would learn to stop there.
    """
    numbers = range(len(questions)) if row_numbers is None else [int(row) for row in row_numbers]
    tokens = TokenDataset.for_learner(learner, questions.prompts, require_answers(questions), row_numbers=numbers)
    early = np.isin(tokens.labels, answer_ends(learner))
    early[tokens.indptr[1:] - 1] = False
    if early.any():
        row, token = int(tokens.row_of_token[np.argmax(early)]), int(tokens.labels[np.argmax(early)])
        raise ValueError(
            f"The answer of row {numbers[row]} must not hold the end-of-answer token "
            f"{learner.tokenizer_.convert_ids_to_tokens(token)!r}, at which generation stops. Got "
            f"{shorten(require_answers(questions)[row])}; remove it, or drop the row."
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


def _check_columns(
    prompts: Sequence, answers: Sequence | None, choices: Sequence | None, names: tuple[str, str, str]
) -> RowCheck:
    def check(numbers: NDArray[np.int64]) -> None:
        for row in numbers.tolist():
            check_text(prompts[row], names[0], row, what="question")
            if answers is not None:
                check_text(answers[row], names[1], row, what="answer")
            if choices is not None:
                options = check_options(choices[row], row, names[2])
                if answers is not None:
                    gold_option(answers[row], options, row, names[1:])

    return check
