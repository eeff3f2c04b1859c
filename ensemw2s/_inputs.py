"""Questions, answers and options from whatever the user passes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ensemw2s._validation import as_texts, check_same_length, check_weight
from ensemw2s.datasets import QADataset

__all__ = ["check_questions", "check_sample_weight", "require_answers", "require_choices"]


def check_questions(X: Any, y: Any = None, choices: Sequence | None = None) -> QADataset:
    """Validate questions, and answers and options where there are any.

    Parameters
    ----------
    X : sequence of str or QADataset
        Questions. The answers and options of a `QADataset` are used where `y` and `choices` are None.
    y : sequence of str, optional
        Answers.
    choices : sequence of sequences of str, optional
        Options.

    Returns
    -------
    QADataset

    Raises
    ------
    TypeError, ValueError
        Names parameter and row.
    """
    if isinstance(X, QADataset):
        if y is None and choices is None:
            return X
        y = X.answers if y is None else y
        choices = X.choices if choices is None else choices
        X = X.prompts
    prompts = as_texts(X, "X", what="question")
    if y is not None:
        y = as_texts(y, "y", what="answer")
        check_same_length(prompts, y, "X", "y")
    return QADataset(prompts, y, choices)


def require_answers(questions: QADataset) -> Sequence[str]:
    """The answers, or a ValueError."""
    if questions.answers is None:
        raise ValueError("y must hold the answers. Got None, and X is no QADataset with answers.")
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
