"""Whether questions and answers fit into the models that are to read them, before anything is trained."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ensemw2s._inputs.questions import check_can_be_written, tokenize_answers
from ensemw2s._inputs.usable_rows import LengthCheck, LengthLimited
from ensemw2s.contracts import TokenLearner, WeakLearner
from ensemw2s.datasets import QADataset
from ensemw2s.mixture import encode_with_room, reads_tokens
from ensemw2s.tokens import tokenize_options


def fit_check(learners: Sequence[WeakLearner]) -> LengthCheck:
    """Whether questions fit into models, with each of their options and with their answers, where there are any."""

    def check(questions: QADataset, numbers: np.ndarray) -> None:
        for learner in learners:
            if reads_tokens(learner):
                _check_fit_into(learner, questions, numbers)
            else:
                check_scorable(learner, questions, numbers)

    return check


def training_check(learners: Sequence[WeakLearner]) -> LengthCheck:
    """Whether learners can be trained on questions with their answers."""

    def check(questions: QADataset, numbers: np.ndarray) -> None:
        for learner in learners:
            if reads_tokens(learner):
                tokenize_answers(learner, questions, numbers)
                check_can_be_written(learner, questions, numbers)
            else:
                check_scorable(learner, questions, numbers)

    return check


def writing_check(learners: Sequence[WeakLearner]) -> LengthCheck:
    """Whether answers come back from their tokens as the same texts, and do not end within them."""

    def check(questions: QADataset, numbers: np.ndarray) -> None:
        for learner in filter(reads_tokens, learners):
            check_can_be_written(learner, questions, numbers)

    return check


def room_check(learners: Sequence[TokenLearner], n_new: int) -> LengthCheck:
    """Whether questions leave room for `n_new` tokens of an answer."""

    def check(questions: QADataset, numbers: np.ndarray) -> None:
        for learner in learners:
            encode_with_room(learner, questions.prompts, n_new, numbers)

    return check


def check_scorable(learner: Any, questions: QADataset, numbers: np.ndarray) -> None:
    """What an `OptionLearner` says of its own accord; one need not have limits."""
    if isinstance(learner, LengthLimited):
        learner._length_check()(questions, numbers)


def _check_fit_into(learner: TokenLearner, questions: QADataset, numbers: np.ndarray) -> None:
    if questions.answers is not None:
        tokenize_answers(learner, questions, numbers)
    answers: Sequence[Sequence[str]] = [["."]] * len(questions)  # free text: room for a token, at the least
    if questions.choices is not None:
        answers = questions.choices
    elif questions.answers is not None:
        return
    tokenize_options(learner, questions.prompts, answers, numbers)
