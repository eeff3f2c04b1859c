"""The same members with other votes."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
from sklearn.utils.validation import check_is_fitted

from ensemw2s.mixing import normalized_votes

__all__ = ["with_other_votes"]

_PER_MEMBER = ("estimator_errors_", "prior_errors_", "picks_")


def with_other_votes(ensemble: Any, votes: Any) -> Any:
    """A fitted shallow copy of an ensemble with votes for its first members, and without those whose vote is 0."""
    check_is_fitted(ensemble, "estimators_")
    n_members = len(np.atleast_1d(votes))
    if n_members > len(ensemble.estimators_):
        raise ValueError(f"votes must have at most {len(ensemble.estimators_)} entries. Got {n_members} instead.")
    normalized_votes(votes, n_members)
    vector = np.array(votes, dtype=np.float64).ravel()
    voting = np.flatnonzero(vector)
    other = copy.copy(ensemble)
    other.estimators_ = [ensemble.estimators_[row] for row in voting]
    other.estimator_weights_ = vector[voting]
    for name in _PER_MEMBER:
        if hasattr(ensemble, name):
            setattr(other, name, getattr(ensemble, name)[voting])
    return other
