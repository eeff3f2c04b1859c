"""Whether questions and answers fit into the models that are to read them, before anything is trained."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.utils.validation import check_is_fitted

from ensemw2s._inputs import tokenize_answers
from ensemw2s._usable import LengthCheck
from ensemw2s._validation import CheckedTexts
from ensemw2s.datasets import QADataset
from ensemw2s.ensemble._decoding import encode_with_room, n_new_tokens, with_length
from ensemw2s.ensemble._members import Members
from ensemw2s.tokens import TokenDataset

__all__ = ["LengthChecks"]


class LengthChecks(Members):
    """Checks of lengths, by every model that an ensemble has or would train."""

    max_new_tokens_: int

    def check_lengths(self, questions: QADataset) -> None:
        """Raise a ValueError that names the row where a question does not fit into the model.

        Every option is looked at, or the answer where there are no options. Nothing is trained, and no weights of a
        hub id or folder are loaded.

        Parameters
        ----------
        questions : QADataset
            Questions to train on, to label or to test on.
        """
        _check_fit(self._untrained())(questions, np.arange(len(questions)))

    def length_check(self) -> LengthCheck:
        """`check_lengths` as a function of questions and the numbers by which messages call them.

        It is that of the fitted model, or of the model that `fit` would train.

        Returns
        -------
        callable
        """
        return _check_fit(self._join().readers if hasattr(self, "estimators_") else self._untrained())

    def room_check(self, **generation_kwargs: Any) -> LengthCheck:
        """A function of questions and their numbers that raises a ValueError where `generate` would have no room.

        Parameters
        ----------
        **generation_kwargs : object
            As in `generate`.

        Returns
        -------
        callable
        """
        check_is_fitted(self, "estimators_")
        n_new, readers = n_new_tokens(with_length(generation_kwargs, self.max_new_tokens_)), self._join().readers

        def check(questions: QADataset, numbers: np.ndarray) -> None:
            for reader in readers:
                encode_with_room(reader, questions.prompts, n_new, numbers)

        return check


def _check_fit(learners: Sequence[Any]) -> LengthCheck:
    """Whether questions fit into models, with each of their options and with their answers, where there are any."""

    def check(questions: QADataset, numbers: np.ndarray) -> None:
        for learner in learners:
            _check_fit_into(learner, questions, numbers)

    return check


def _check_fit_into(learner: Any, questions: QADataset, numbers: np.ndarray) -> None:
    if questions.answers is not None:
        tokenize_answers(learner, questions, numbers)
    answers: Sequence[Sequence[str]] = [["."]] * len(questions)  # free text: room for a token, at the least
    if questions.choices is not None:
        answers = questions.choices
    elif questions.answers is not None:
        return
    rows = [row for row, several in enumerate(answers) for _ in several]
    TokenDataset.for_learner(
        learner,
        CheckedTexts(questions.prompts[row] for row in rows),
        CheckedTexts(answer for several in answers for answer in several),
        row_numbers=[int(numbers[row]) for row in rows],
    )
