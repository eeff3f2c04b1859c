"""What a learner has to offer that scores options, and a check that tells its author what is missing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, TypeAlias, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from ensemw2s._validation import shorten
from ensemw2s.contracts._completeness import missing_members, refuse_incomplete, seeded_clone
from ensemw2s.contracts._token_learner import TokenLearner
from ensemw2s.datasets import QADataset
from ensemw2s.exceptions import WeakLearnerError


@runtime_checkable
class OptionLearner(Protocol):
    """A weak learner that scores the options of questions, whatever it is inside.

    `HFVerifier` is one. A text pipeline of scikit-learn, a cross-encoder or the score of a retrieval becomes one by
    the two methods below; it follows scikit-learn's conventions (parameters stored untouched by ``__init__``, so that
    ``clone`` works). `OpinionPool` joins it with experts of other kinds.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.base import BaseEstimator
    >>> from sklearn.feature_extraction.text import HashingVectorizer
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.pipeline import make_pipeline
    >>> from ensemw2s import OptionLearner, check_option_learner
    >>> class WordVerifier(BaseEstimator):
    ...     def __init__(self, C=100.0):
    ...         self.C = C
    ...     def fit(self, questions, *, question_weight):
    ...         pairs = zip(questions.answers, questions.choices)
    ...         right = [option == answer for answer, options in pairs for option in options]
    ...         self.model_ = make_pipeline(HashingVectorizer(), LogisticRegression(C=self.C))
    ...         self.model_.fit([option for options in questions.choices for option in options], right,
    ...                         logisticregression__sample_weight=np.repeat(question_weight, questions.n_choices))
    ...         return self
    ...     def option_scores(self, prompts, choices):
    ...         return [self.model_.decision_function(options) for options in choices]
    >>> check_option_learner(WordVerifier())
    >>> isinstance(WordVerifier(), OptionLearner)
    True
    """

    def fit(self, questions: QADataset, *, question_weight: NDArray[np.float64]) -> Any:
        """Train on questions with options and right answers, weighted by `question_weight`, and return `self`.

        Only the ratios of the weights matter; a question of weight 0 must have no influence. Training starts anew,
        whatever was fitted before.

        Parameters
        ----------
        questions : QADataset
            With choices and labels.
        question_weight : ndarray of shape (n,), float64
            Non-negative, with a positive sum; of mean 1 where `OpinionPool` trains.

        Returns
        -------
        OptionLearner
            This one.
        """
        ...

    def option_scores(self, prompts: Sequence[str], choices: Sequence[Sequence[str]]) -> Any:
        """Scores of options, the higher the better.

        Parameters
        ----------
        prompts : sequence of str, shape (n,)
            Questions.
        choices : sequence of sequences of str, shape (n,)
            Their options; questions may have different numbers of them.

        Returns
        -------
        array-like of shape (n, K), or sequence of n array-likes
            One finite number per option. What stands in an array beyond a question's options does not matter.
        """
        ...


# Of a `TokenAdaBoostGenerator`.
WeakLearner: TypeAlias = TokenLearner | OptionLearner


def checked_scores(scores: Any, learner: object, n_choices: NDArray[np.int64]) -> NDArray[np.float64]:
    """What ``option_scores`` of a learner has returned, as an array.

    Parameters
    ----------
    scores : array-like or sequence of array-likes
        What it has returned.
    learner : OptionLearner
        Named in the error.
    n_choices : ndarray of shape (n,)
        Number of options of each question.

    Returns
    -------
    ndarray of shape (n, K), float64
        ``-inf`` where a question has fewer than K options.

    Raises
    ------
    WeakLearnerError
        If scores are missing, no numbers, or not finite.
    """
    expected = f"{type(learner).__name__}.option_scores must return one finite number for each option"
    n_rows, width = len(n_choices), int(n_choices.max())
    try:
        rows = [np.asarray(row, dtype=np.float64) for row in scores]
    except (TypeError, ValueError) as error:
        raise WeakLearnerError(f"{expected}. Got {shorten(scores)} instead ({error}).") from error
    if len(rows) != n_rows:
        raise WeakLearnerError(f"{expected}. Got {len(rows)} rows for {n_rows} questions.")
    found = np.full((n_rows, width), -np.inf)
    for number, (row, size) in enumerate(zip(rows, n_choices.tolist(), strict=True)):
        # As many as the question has, or as the widest has: what is behind its own options is filling, and not read.
        if row.ndim != 1 or len(row) not in (size, width) or not np.isfinite(row[:size]).all():
            raise WeakLearnerError(f"{expected}. Got {shorten(row.tolist())} for question {number}, which has {size}.")
        found[number, :size] = row[:size]
    return found


def check_option_learner(learner: object) -> None:
    """Check that an object is a complete `OptionLearner`, by training it on a toy task.

    The task is twelve questions, "plum 0?" and "fig 0?" to "fig 5?", with the options red and blue, those of odd
    numbers with green besides; red is right where the number is divisible by three, else blue.

    Parameters
    ----------
    learner : OptionLearner
        Unfitted; it is cloned and left as it is.

    Raises
    ------
    WeakLearnerError
        Lists everything that is missing or wrong.

    Examples
    --------
    >>> from ensemw2s import check_option_learner
    >>> class Incomplete:
    ...     def fit(self, questions): ...
    >>> check_option_learner(Incomplete())
    Traceback (most recent call last):
        ...
    ensemw2s.exceptions.WeakLearnerError: Incomplete is not a complete option learner:
    - option_scores(prompts, choices) is missing: it must return one number for each option
    - fit must take the keyword question_weight, an array of shape (n,)
    - get_params() is missing: derive from sklearn.base.BaseEstimator, so that clone works
    """
    methods = {"option_scores": "option_scores(prompts, choices) is missing: it must return one number for each option"}
    missing = missing_members(
        learner, methods, fit="fit(questions, *, question_weight)", weight="question_weight, an array of shape (n,)"
    )
    refuse_incomplete(learner, "option learner", missing or _behaviour_problems(learner))


def _toy() -> QADataset:
    questions = [(f"{fruit} {number}?", number) for number in range(6) for fruit in ("plum", "fig")]
    # Two and three options in turn: who takes one width for all shows here.
    options = [["red", "blue", "green"][: 2 + number % 2] for _, number in questions]
    labels = [int(number % 3 > 0) for _, number in questions]  # not as often the one as the other
    return QADataset([text for text, _ in questions], choices=options, labels=labels)


def _behaviour_problems(learner: Any) -> list[str]:
    toy = _toy()
    prompts, choices = toy.prompts, toy.choices or ()

    def scores(fitted: Any, rows: Sequence[int] | None = None, *, turned: bool = False) -> NDArray[np.float64]:
        chosen = range(len(toy)) if rows is None else rows
        options = [tuple(reversed(choices[row])) if turned else choices[row] for row in chosen]
        found = fitted.option_scores([prompts[row] for row in chosen], options)
        checked = checked_scores(found, fitted, np.array([len(several) for several in options]))
        for row, several in enumerate(options if turned else ()):
            checked[row, : len(several)] = checked[row, : len(several)][::-1].copy()
        return checked

    even, half = np.ones(len(toy)), np.repeat([1.0, 0.0], len(toy) // 2)
    try:
        fitted = seeded_clone(learner)
    except (TypeError, RuntimeError) as error:
        return [f"sklearn.base.clone fails: {error}"]
    if fitted.fit(toy, question_weight=even) is not fitted:
        return ["fit must return self"]
    try:
        first = scores(fitted)
    except WeakLearnerError as error:
        return [str(error)]
    problems = []
    if not _alike(scores(fitted, [3]), first[3:4]):
        problems.append("option_scores of a question must not depend on the questions beside it")
    if not _alike(scores(fitted, turned=True), first):
        problems.append("option_scores of an option must not depend on its place among the options")
    if not _alike(scores(fitted.fit(toy, question_weight=even)), first):
        problems.append("fit must start anew: a second fit with the same seed gave other scores")
    other = QADataset(prompts, choices=choices, labels=1 - np.asarray(toy.labels))
    if _alike(scores(seeded_clone(learner).fit(other, question_weight=even)), first):
        problems.append("fit changed no scores: it must train on the answers")
    by_weight = scores(seeded_clone(learner).fit(toy, question_weight=half))
    alone = toy[np.flatnonzero(half)]
    if not _alike(by_weight, scores(seeded_clone(learner).fit(alone, question_weight=np.ones(len(alone))))):
        problems.append("a question of weight 0 must have no influence: fitting without it gave other scores")
    return problems


def _alike(scores: NDArray[np.float64], wanted: NDArray[np.float64]) -> bool:
    # Scores have no scale of their own, logits or logarithms: what is small is so beside their spread.
    there = np.isfinite(wanted)
    return bool(np.abs(scores[there] - wanted[there]).max() <= 1e-3 * (wanted[there].std() + 1e-6))
