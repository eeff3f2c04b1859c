"""Questions, answers and options from whatever the user passes, and the rows of it that can be used."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import _safe_indexing

from ensemw2s._inputs.usable_rows import LengthCheck, UsableRows
from ensemw2s._validation import CheckedTexts, as_column, check_same_length, check_text, check_weight, shorten
from ensemw2s._validation.row_filter import RowCheck, RowFilter
from ensemw2s.datasets import QADataset, check_options, gold_option, of_checked_columns
from ensemw2s.tokens import (
    ReadsTexts,
    TokenDataset,
    answer_ends,
    encode_alone,
    frame_of_learner,
    refuse_ends,
    refuse_other_texts,
)


def usable_questions(
    X: object,
    y: object = None,
    choices: Sequence | None = None,
    *,
    on_bad_row: str = "raise",
    lengths: Sequence[Callable[[], LengthCheck]] = (),
    names: tuple[str, str, str] = ("X", "y", "choices"),
    known: UsableRows | None = None,
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
    known : UsableRows, optional
        What was found of these questions and options without answers: neither is checked again.

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
        checked = [known is not None, isinstance(y, CheckedTexts), known is not None]  # the columns, by place
        if isinstance(X, QADataset):
            y = X.answers if y is None else y
            choices = X.choices if choices is None else choices
            # By identity: a data set has checked its own columns, and what is equal to one may hold other objects.
            checked = [True, checked[1] or y is X.answers, checked[2] or choices is X.choices]
            X = X.prompts
        prompts = as_column(X, names[0], what="question")
        answers = None if y is None else as_column(y, names[1], what="answer")
        options = None if choices is None else as_column(choices, names[2], what="list of option")
        for values, name in ((answers, names[1]), (options, names[2])):
            if values is not None:
                check_same_length(prompts, values, names[0], name)
        rows = RowFilter(len(prompts), on_bad_row, skipped=() if known is None else known.skipped)
        rows.apply(_check_columns(prompts, answers, options, names, checked))
        columns: Any = (prompts, answers, options)
        columns = (None if values is None else _safe_indexing(values, rows.kept) for values in columns)
        questions = of_checked_columns(*columns)
    if len(rows.kept) < len(questions):
        questions = questions[rows.kept]
    return UsableRows(questions, None, rows.kept, rows.skipped).drop_long(lengths, on_bad_row, names[0])


def as_pair(eval_set: Any) -> tuple[Any, Any]:
    """X and y of what is evaluated on: a pair, or a `QADataset` with its answers.

    Raises
    ------
    TypeError
        If it is neither.
    """
    if isinstance(eval_set, QADataset):
        return eval_set, None
    if not isinstance(eval_set, tuple | list) or len(eval_set) != 2:
        raise TypeError(f"eval_set must be a tuple (X, y) or a QADataset. Got {shorten(eval_set)} instead.")
    return eval_set[0], eval_set[1]


def check_questions(X: object, y: object = None, choices: Sequence | None = None) -> QADataset:
    """Validate questions, and answers and options where there are any, all of which have to be usable.

    Parameters, errors
        As in `usable_questions`.

    Returns
    -------
    QADataset
    """
    return usable_questions(X, y, choices).X


def tokenize_answers(
    learner: ReadsTexts, questions: QADataset, row_numbers: Sequence[int] | NDArray[np.int64] | None = None
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
        If a row is too long; if an answer or an option holds an end-of-answer token as a text, at which a model would
        learn to stop.
    """
    numbers = range(len(questions)) if row_numbers is None else [int(row) for row in row_numbers]
    if questions.choices is not None:
        _refuse_ends_in_options(learner, questions.choices, numbers)
    prompts, answers = CheckedTexts(questions.prompts), CheckedTexts(require_answers(questions))
    return TokenDataset.for_learner(learner, prompts, answers, row_numbers=numbers)


def check_can_be_written(
    learner: ReadsTexts, questions: QADataset, row_numbers: Sequence[int] | NDArray[np.int64] | None = None
) -> None:
    """Raise a ValueError that names the row where a learner would write another text than the answer it has learned.

    Questions with options are left alone: they are answered by one of the options, as it stands there.

    Parameters
    ----------
    learner, questions, row_numbers
        As in `tokenize_answers`. Rows may be of any length.
    """
    if questions.choices is not None:
        return
    numbers = range(len(questions)) if row_numbers is None else [int(row) for row in row_numbers]
    answers, frame = CheckedTexts(require_answers(questions)), frame_of_learner(learner)
    prompts = CheckedTexts(questions.prompts)
    tokens = TokenDataset._in_frame(frame, prompts, answers, row_numbers=numbers, end_ids=answer_ends(learner))
    # Without the end of the answer, which is no part of the text.
    rows = [tokens.row_ids(row)[1][:-1].tolist() for row in range(len(tokens))]
    refuse_other_texts(rows, answers, numbers, frame)


def _refuse_ends_in_options(learner: ReadsTexts, choices: Sequence[Sequence[str]], numbers: Sequence[int]) -> None:
    texts = [option for options in choices for option in options]
    rows = [number for number, options in zip(numbers, choices, strict=True) for _ in options]
    spelled = encode_alone(texts, frame_of_learner(learner))
    refuse_ends(spelled, texts, rows, set(answer_ends(learner)), learner.tokenizer_)


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
    prompts: Sequence,
    answers: Sequence | None,
    choices: Sequence | None,
    names: tuple[str, str, str],
    checked: Sequence[bool],
) -> RowCheck:
    """A check of rows; `checked` says which of the columns have passed one."""

    def check_answer(row: int) -> None:
        if answers is not None and not checked[1]:
            check_text(answers[row], names[1], row, what="answer")

    def check(numbers: NDArray[np.int64]) -> None:
        for row in numbers.tolist():
            if not checked[0]:
                check_text(prompts[row], names[0], row, what="question")
            if choices is None:
                check_answer(row)
                continue
            try:
                given = choices[row]
                options = tuple(map(str, given)) if checked[2] else check_options(given, row, names[2])
            except (TypeError, ValueError):
                check_answer(row)  # its fault is named first
                raise
            if answers is not None and not (isinstance(answers[row], str) and answers[row] in options):
                check_answer(row)  # an answer that is one of the options has been checked as such
                gold_option(answers[row], options, row, names[1:])

    return check
