"""Pseudo-answers for questions that nobody has labelled."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, is_classifier

from ensemw2s._validation import check_option, check_real

__all__ = ["PseudoLabeler", "PseudoLabels"]

logger = logging.getLogger("ensemw2s")


@dataclass(frozen=True)
class PseudoLabels:
    """What a teacher makes of unlabelled questions.

    Attributes
    ----------
    X : object
        The questions as they were given, without answers.
    y : ndarray of shape (n,)
        The teacher's answer or class for each question.
    proba : ndarray of shape (n, K) or None
        Probabilities of the options or classes, where there are any.
    confidence : ndarray of shape (n,) or None
        Probability of the chosen option or class; for free text, the geometric mean of its tokens' probabilities,
        and only where a threshold asks for it.
    kept : ndarray of shape (n,), bool
        Rows that go to the student.
    soft : bool
        Whether the student is trained on `proba` instead of `y`.
    classes : ndarray of shape (K,) or None
        A classifier's classes, in the order of the columns of `proba`.
    """

    X: Any
    y: np.ndarray
    proba: np.ndarray | None
    confidence: np.ndarray | None
    kept: np.ndarray
    soft: bool
    classes: np.ndarray | None = None

    def fit(self, student: Any) -> Any:
        r"""Train a student on the kept rows.

        Soft labels reach a classifier as an (n, K) array; its parameter ``classes``, where it has one that is None, is
        set to the teacher's classes. A generator is trained on every option, weighted by its
        probability: :math:`\sum_k p_k \ell_k`, the cross-entropy on the options' probabilities.

        Parameters
        ----------
        student : estimator
            Unfitted.

        Returns
        -------
        estimator
            The student, fitted.

        Raises
        ------
        ValueError
            If no row was kept, or if all hard labels are the same class.
        """
        if not self.kept.any():
            raise ValueError("No pseudo-label was kept; lower the threshold of PseudoLabeler.")
        rows = np.flatnonzero(self.kept)
        X = _take(self.X, rows)
        if not self.soft or self.proba is None:
            y = self.y[rows]
            if is_classifier(student) and len(np.unique(y)) == 1:
                raise ValueError(
                    f"Every pseudo-label is the class {y[0]!s}: the teacher has collapsed, and a student cannot learn "
                    f"from it. Train the teacher longer, or pass PseudoLabeler(labels='soft')."
                )
            return student.fit(X, y)
        proba = self.proba[rows]
        if is_classifier(student):
            if self.classes is not None and student.get_params().get("classes", ()) is None:
                student.set_params(classes=list(self.classes))  # columns have no names of their own
            return student.fit(X, proba)
        question, option = np.nonzero(proba > 0)
        answers = [X.choices[q][k] for q, k in zip(question, option, strict=True)]
        return student.fit([X.prompts[q] for q in question], answers, sample_weight=proba[question, option])


class PseudoLabeler(BaseEstimator):
    """Let a fitted teacher answer questions (EnsemW2S, Algorithm 1, lines 11-13).

    Parameters
    ----------
    method : {"auto", "options", "generate"}, default="auto"
        Choose among the options by likelihood, or write free text; "auto" chooses where there are options. A
        classifier always gives its classes.
    labels : {"hard", "soft"}, default="hard"
        Whether the student sees the teacher's choice or its probabilities; soft labels need options or classes.
    threshold : float in [0, 1], optional
        Rows with a lower confidence are left out.
    generation_kwargs : dict, optional
        For free text, passed to ``generate``; greedy by default, ``{"do_sample": True}`` draws from Eq. 1.
    batch_size : int, default=256
        Questions between two steps of the progress bar.
    random_state : int, default=0
        Seed of sampled free text.
    verbose : bool, default=False
        Show a progress bar.

    Examples
    --------
    >>> from ensemw2s import BigramLearner, FineTunedGenerator, PseudoLabeler, QADataset
    >>> teacher = FineTunedGenerator(BigramLearner()).fit(["Sky?", "Sea?"], ["blue", "blue"])
    >>> hard = QADataset(["Ocean?"], choices=[["blue", "xyzzy"]])
    >>> PseudoLabeler().label(teacher, hard).y
    array(['blue'], dtype=object)
    """

    def __init__(
        self,
        *,
        method: str = "auto",
        labels: str = "hard",
        threshold: float | None = None,
        generation_kwargs: dict[str, Any] | None = None,
        batch_size: int = 256,
        random_state: int = 0,
        verbose: bool = False,
    ) -> None:
        self.method = method
        self.labels = labels
        self.threshold = threshold
        self.generation_kwargs = generation_kwargs
        self.batch_size = batch_size
        self.random_state = random_state
        self.verbose = verbose

    def label(self, teacher: Any, X: Any, choices: Sequence | None = None) -> PseudoLabels:
        """Answer questions.

        Parameters
        ----------
        teacher : estimator
            Fitted generator or classifier.
        X : sequence or QADataset, shape (n,)
            Questions. Answers that a `QADataset` holds are removed before the teacher sees it.
        choices : sequence of sequences of str, optional
            Options of each question.

        Returns
        -------
        PseudoLabels
        """
        self.check_parameters()
        if is_classifier(teacher):
            return self._classes(teacher, X)
        from ensemw2s._inputs import check_questions

        questions = check_questions(X, choices=choices).drop_answers()
        by_options = self.method == "options" or (self.method == "auto" and questions.choices is not None)
        if by_options and questions.choices is None:
            raise ValueError("method='options' needs choices for every question. Got None.")
        if not by_options and self.labels == "soft":
            raise ValueError("labels='soft' needs choices for every question; free text has no probabilities to learn.")
        return self._options(teacher, questions) if by_options else self._texts(teacher, questions)

    def check_parameters(self) -> None:
        """Raise a ValueError if a parameter is out of range; nothing is computed."""
        check_option(self.method, "method", ("auto", "options", "generate"))
        check_option(self.labels, "labels", ("hard", "soft"))
        if self.threshold is not None and not 0 <= check_real(self.threshold, "threshold") <= 1:
            raise ValueError(f"threshold must lie in [0, 1]. Got {self.threshold!r} instead.")

    def _options(self, teacher: Any, questions: Any) -> PseudoLabels:
        batches = [teacher.predict_proba(questions[rows]) for rows in self._batches(len(questions))]
        width = max(batch.shape[1] for batch in batches)
        proba = np.concatenate([np.pad(batch, ((0, 0), (0, width - batch.shape[1]))) for batch in batches])
        best = proba.argmax(axis=1)
        y = np.empty(len(questions), dtype=object)
        y[:] = [questions.choices[row][column] for row, column in enumerate(best)]
        return self._finish(questions, y, proba, proba.max(axis=1))

    def _classes(self, teacher: Any, X: Any) -> PseudoLabels:
        proba = None
        if self.labels == "soft" or self.threshold is not None:
            proba = teacher.predict_proba(X)
        confidence = None if proba is None else proba.max(axis=1)
        return replace(self._finish(X, teacher.predict(X), proba, confidence), classes=teacher.classes_)

    def _texts(self, teacher: Any, questions: Any) -> PseudoLabels:
        from ensemw2s.learners import isolated_rng

        y = np.empty(len(questions), dtype=object)
        with isolated_rng(self.random_state):
            for rows in self._batches(len(questions)):
                y[rows] = teacher.generate(questions[rows], **(self.generation_kwargs or {}))
        written = np.array([bool(text.strip()) for text in y])
        if not written.all():
            logger.warning("%d of %d pseudo-answers are blank and left out.", (~written).sum(), len(y))
        confidence = None
        if self.threshold is not None and written.any():
            confidence = np.zeros(len(y))
            nll = teacher.answer_nll(
                [questions.prompts[row] for row in np.flatnonzero(written)], y[written], normalize="token"
            )
            confidence[written] = np.exp(-nll)
        return self._finish(questions, y, None, confidence, written)

    def _finish(
        self, X: Any, y: np.ndarray, proba: np.ndarray | None, confidence: np.ndarray | None, kept: Any = None
    ) -> PseudoLabels:
        kept = np.ones(len(y), dtype=bool) if kept is None else kept
        if self.threshold is not None and confidence is not None:
            kept = kept & (confidence >= self.threshold)
        return PseudoLabels(X, y, proba, confidence, kept, self.labels == "soft")

    def _batches(self, n_rows: int) -> Any:
        from tqdm.auto import tqdm

        starts = range(0, n_rows, self.batch_size)
        for start in tqdm(starts, desc="pseudo-labels", unit="batch", disable=not self.verbose):
            yield np.arange(start, min(start + self.batch_size, n_rows))


def _take(X: Any, rows: np.ndarray) -> Any:
    from sklearn.utils import _safe_indexing

    return X if len(rows) == len(X) else _safe_indexing(X, rows)
