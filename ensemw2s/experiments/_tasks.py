"""What the two tasks do differently: rows, models and chance."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from ensemw2s._validation import as_id, check_option
from ensemw2s.datasets import QADataset, to_binary
from ensemw2s.ensemble import LLMAdaBoostClassifier, OpinionPool, TokenAdaBoostGenerator, as_student
from ensemw2s.metrics import chance_level

if TYPE_CHECKING:
    from sklearn.base import BaseEstimator


@dataclass(frozen=True)
class Part:
    """Some rows of the pool.

    Attributes
    ----------
    X : object
        What models read; without answers.
    y : ndarray of shape (n,)
        True answers or classes.
    """

    X: Any
    y: np.ndarray


class Task(Protocol):
    """One way to turn multiple-choice questions into an experiment."""

    name: str
    kind: str
    """What is predicted, see `as_metric`."""
    questions: QADataset
    chance: float

    def part(self, rows: np.ndarray) -> Part:
        """Rows of the pool."""

    def learner(self, model: object) -> BaseEstimator:
        """A weak learner or student from a model id; other objects are taken as they are."""

    def booster(self, learner: object, settings: dict[str, Any]) -> BaseEstimator:
        """The weak ensemble of a learner, or of a list of them, not fitted."""

    def student(self, learner: object) -> BaseEstimator:
        """The learner as an estimator with ``fit(X, y)``."""


class GenerationTask:
    """Answers are written, or chosen among options by their likelihood (EnsemW2S, section 3.2)."""

    name = "generation"

    def __init__(self, questions: QADataset) -> None:
        if questions.answers is None:
            raise ValueError("dataset must have answers: they train the weak models and the oracle. Got none.")
        self.questions = questions
        self.kind = "texts" if questions.n_choices is None else "options"
        self.chance = float("nan") if questions.n_choices is None else chance_level(questions.n_choices)

    def part(self, rows: np.ndarray) -> Part:
        questions = self.questions[rows]
        return Part(questions.drop_answers(), np.asarray(questions.answers, dtype=object))

    def learner(self, model: Any) -> BaseEstimator:
        if not isinstance(as_id(model), str):
            return model
        from ensemw2s.learners import HFCausalLM

        return HFCausalLM(model)

    def booster(self, learner: Any, settings: dict[str, Any]) -> BaseEstimator:
        if isinstance(learner, OpinionPool):  # an ensemble by itself, which nothing boosts
            steps = settings.get("checkpoint_dir")
            return learner if steps is None else learner.set_params(checkpoint_dir=steps)
        given = "estimators" if isinstance(learner, list) else "estimator"
        return TokenAdaBoostGenerator(**{given: learner}, **settings)

    def student(self, learner: object) -> BaseEstimator:
        return as_student(learner)


class ClassificationTask:
    """Is this the right answer? (EnsemW2S, section 3.1). One row for each question, half of them right."""

    name = "classification"
    kind = "classes"
    chance = 0.5

    def __init__(self, questions: QADataset) -> None:
        self.questions = questions
        # One conversion for all seeds, so that a rating belongs to a row for good.
        self._rows = to_binary(questions, random_state=0)

    def part(self, rows: np.ndarray) -> Part:
        return Part([self._rows.texts[row] for row in rows], self._rows.labels[rows])

    def learner(self, model: Any) -> BaseEstimator:
        if not isinstance(as_id(model), str):
            return model
        from ensemw2s.learners import HFClassifier

        return HFClassifier(model)

    def booster(self, learner: object, settings: dict[str, Any]) -> BaseEstimator:
        return LLMAdaBoostClassifier(learner, **settings)

    def student(self, learner: object) -> BaseEstimator:
        return learner


def make_task(name: str, questions: QADataset) -> Task:
    """The task of a name.

    Raises
    ------
    ValueError
        If the name is unknown, or the questions lack what the task needs.
    """
    tasks: dict[str, Callable[[QADataset], Task]] = {"generation": GenerationTask, "classification": ClassificationTask}
    return tasks[check_option(name, "task", tuple(tasks))](questions)
