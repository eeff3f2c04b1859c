"""What every fitted ensemble is: a sequence of members with votes, as a page in a notebook and as a folder."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, MetaEstimatorMixin
from sklearn.utils.validation import check_is_fitted

from ensemw2s._html.members import EnsembleHTML
from ensemw2s._validation import check_option
from ensemw2s._validation.method_names import methods_of
from ensemw2s.ensemble._saving import SavedEnsemble
from ensemw2s.mixture import normalized_votes

_PER_MEMBER = ("alphas_", "estimator_errors_", "prior_errors_", "picks_")


def named_votes(votes: Any, n_members: int) -> Any:
    """Votes as numbers, where they were given by a name."""
    if not isinstance(votes, str):
        return votes
    check_option(votes, "votes", ("even",))
    return np.ones(n_members)


@methods_of()
class BaseEnsemble(EnsembleHTML, SavedEnsemble, MetaEstimatorMixin, BaseEstimator):
    """Members under votes; `fit` sets ``estimators_`` and ``estimator_weights_``."""

    estimators_: list[Any]
    estimator_weights_: np.ndarray

    def __len__(self) -> int:
        check_is_fitted(self, "estimators_")
        return len(self.estimators_)

    def __getitem__(self, index: int | slice) -> Any:
        check_is_fitted(self, "estimators_")
        return self.estimators_[index]

    def __iter__(self) -> Iterator[Any]:
        check_is_fitted(self, "estimators_")
        return iter(self.estimators_)

    def __bool__(self) -> bool:
        return True  # also before `fit`, when there is no length

    def with_votes(self, votes: Any) -> Any:
        """The same members with other votes: fewer of them, or all alike.

        Parameters
        ----------
        votes : array-like of shape (n_members,), n_members <= T, or "even"
            Votes of the first members, not negative; a member whose vote is 0 is left out. "even" is one vote for each.

        Returns
        -------
        estimator
            A fitted shallow copy; the members are shared, and what is known of each, such as its error, goes with it.

        Examples
        --------
        >>> from ensemw2s import BigramLearner, TokenAdaBoostGenerator, make_qa
        >>> easy = make_qa(40, random_state=0)
        >>> booster = TokenAdaBoostGenerator(
        ...     BigramLearner(), n_estimators=2, prior="uniform", random_state=0).fit(easy)
        >>> len(booster.with_votes(booster.estimator_weights_[:1]).estimators_)
        1
        """
        check_is_fitted(self, "estimators_")
        votes = named_votes(votes, len(self.estimators_))
        n_members = len(np.atleast_1d(votes))
        if n_members > len(self.estimators_):
            raise ValueError(f"votes must have at most {len(self.estimators_)} entries. Got {n_members} instead.")
        normalized_votes(votes, n_members)
        vector = np.array(votes, dtype=np.float64).ravel()
        voting = np.flatnonzero(vector)
        other = copy.copy(self)
        other.estimators_ = [self.estimators_[row] for row in voting]
        other.estimator_weights_ = vector[voting]
        for name in _PER_MEMBER:
            if hasattr(self, name):
                setattr(other, name, getattr(self, name)[voting])
        return other
