"""What each member of a fitted ensemble answers, for the Displays of errors and margins."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from sklearn.base import is_classifier
from sklearn.utils.validation import check_is_fitted

from ensemw2s._inputs.questions import check_questions, require_answers
from ensemw2s._validation import shorten
from ensemw2s.contracts import has_members
from ensemw2s.metrics import chance_level


class MemberAnswers(NamedTuple):
    """Answers of T members to n items."""

    predictions: list[np.ndarray]
    """T arrays of shape (n,)."""
    gold: np.ndarray
    votes: np.ndarray
    chance: float
    labels: list[str]


def member_answers(ensemble: Any, X: Any, y: Any, choices: Sequence | None) -> MemberAnswers:
    """Ask each member of a fitted `VotingEnsemble` alone.

    Raises
    ------
    TypeError, ValueError
        If it has no members to ask, or no right answers are given.
    """
    from ensemw2s.ensemble import OpinionPool

    check_is_fitted(ensemble)
    if not has_members(ensemble):
        raise TypeError(
            f"ensemble must be one whose members can be asked, see VotingEnsemble. Got {shorten(ensemble)} instead."
        )
    votes = ensemble.estimator_weights_
    if is_classifier(ensemble):
        if y is None:
            raise ValueError("y must hold the classes of X. Got None instead.")
        gold, chance = np.asarray(y), 1.0 / len(ensemble.classes_)
    else:
        X = check_questions(X, y, choices)
        gold = np.asarray(require_answers(X), dtype=object)
        chance = float("nan") if X.n_choices is None else chance_level(X.n_choices)
    if isinstance(ensemble, OpinionPool):
        labels = ensemble._described_members()["member_names"]
    else:
        labels = [f"member {t}" for t in range(1, len(votes) + 1)]
    return MemberAnswers(ensemble.predict_under(np.eye(len(votes)), X), gold, votes, chance, labels)


def sample_line(n: int | None, chance: float) -> str:
    """How many items there are and what a guess would have right, as far as they are known."""
    known = [f"n = {n}"] if n is not None else []
    return ", ".join([*known, *([] if np.isnan(chance) else [f"chance {chance:.3f}"])])
