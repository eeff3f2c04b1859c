"""The rows that a generator is trained on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ensemw2s._inputs import check_can_be_written, tokenize_answers, usable_questions
from ensemw2s._usable import LengthCheck, UsableRows
from ensemw2s.datasets import QADataset
from ensemw2s.ensemble._lengths import LengthChecks

__all__ = ["TrainingRows"]


class TrainingRows(LengthChecks):
    """What to do with rows that cannot be used; it has the parameter ``on_bad_row``."""

    on_bad_row: str

    def _usable(self, X: Any, y: Any, choices: Sequence | None, *, with_options: bool = False) -> UsableRows:
        """The rows to train on, with parameter ``on_bad_row``; where options are scored too, they have to fit."""
        if self.on_bad_row != "skip":
            return usable_questions(X, y, choices, on_bad_row=self.on_bad_row)  # lengths show when it is tokenised
        lengths = [self._training_check, *([self.length_check] if with_options else [])]
        return usable_questions(X, y, choices, on_bad_row=self.on_bad_row, lengths=lengths)

    def _training_check(self) -> LengthCheck:
        learners = self._untrained()

        def check(questions: QADataset, numbers: np.ndarray) -> None:
            for learner in learners:
                tokenize_answers(learner, questions, numbers)
                check_can_be_written(learner, questions, numbers)

        return check

    def writing_check(self) -> LengthCheck:
        """A function of questions and their numbers that raises a ValueError where `fit` would refuse an answer.

        It is one that comes back as another text from its tokens, or that ends within them.

        Returns
        -------
        callable
        """
        learners = self._untrained()

        def check(questions: QADataset, numbers: np.ndarray) -> None:
            for learner in learners:
                check_can_be_written(learner, questions, numbers)

        return check
