"""What makes an estimator an ensemble whose members can be asked apart."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike

_METHODS = ("with_votes", "predict_under")


class VotingEnsemble(Protocol):
    r"""What `W2SPipeline` asks of its weak estimator, beside `predict`, to tell its first member from the whole.

    The boosters and `FineTunedGenerator` offer it. An estimator without it, such as a random forest, is judged as one
    model: there is no first member, so no baseline is trained, and the report has no row for one. There is no class to
    derive from; both methods and the attribute make an ensemble. One that also has
    ``judge_under(votes, X, y) -> (predicted, credit)``, with credit of shape (S, n), is asked what each item earns, and
    may give 1/m for a right answer that is tied with m - 1 others; else answers are right or wrong.

    Attributes
    ----------
    estimator_weights_ : ndarray of shape (T,)
        Vote of each member, positive, in the order in which the members were made; set by `fit`.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.base import BaseEstimator, ClassifierMixin
    >>> from sklearn.linear_model import LogisticRegression
    >>> class TwoColumns(ClassifierMixin, BaseEstimator):
    ...     def fit(self, X, y):
    ...         self.members_ = [LogisticRegression().fit(X[:, [k]], y) for k in (0, 1)]
    ...         self.estimator_weights_, self.classes_ = np.array([1.0, 2.0]), np.unique(y)
    ...         return self
    ...     def predict(self, X):
    ...         return self.predict_under([self.estimator_weights_], X)[0]
    ...     def predict_under(self, votes, X):
    ...         proba = np.stack([member.predict_proba(X[:, [k]]) for k, member in enumerate(self.members_)])
    ...         return [self.classes_[np.tensordot(row, proba, axes=1).argmax(axis=1)] for row in np.asarray(votes)]
    ...     def with_votes(self, votes):
    ...         other = TwoColumns()
    ...         other.members_, other.classes_ = self.members_[: len(votes)], self.classes_
    ...         other.estimator_weights_ = np.asarray(votes)
    ...         return other
    >>> from ensemw2s import W2SPipeline
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(90, 2))
    >>> y = (X @ [1.0, 2.0] > 0).astype(int)
    >>> pipeline = W2SPipeline(TwoColumns(), LogisticRegression()).fit(X[:30], y[:30], X[30:60])
    >>> sorted(pipeline.evaluate(X[60:], y[60:]).correct)
    ['baseline', 'ensemble', 'student', 'uniform', 'weak']
    """

    estimator_weights_: np.ndarray

    def with_votes(self, votes: ArrayLike) -> Any:
        """A fitted copy that holds the first members alone, with these votes.

        Parameters
        ----------
        votes : array-like of shape (n_members,), n_members <= T
            Votes of the first members, not negative; with one vote the copy is the first member.

        Returns
        -------
        estimator
            Fitted.
        """
        ...

    def predict_under(self, votes: ArrayLike, X: Any) -> list[np.ndarray]:
        """`predict` under several vote vectors.

        Parameters
        ----------
        votes : array-like of shape (S, T)
            Vote vectors; 0 leaves a member out.
        X : sequence, n rows
            What `predict` takes.

        Returns
        -------
        list of S ndarrays of shape (n,)
        """
        ...


def has_members(fitted: object) -> bool:
    """Whether a fitted estimator is a `VotingEnsemble`."""
    return all(hasattr(fitted, name) for name in (*_METHODS, "estimator_weights_"))


def check_voting(estimator: object, name: str) -> None:
    """Raise a TypeError where an estimator, fitted or not, has one half of the methods of a `VotingEnsemble`."""
    missing = [method for method in _METHODS if not hasattr(estimator, method)]
    if len(missing) == 1:
        other = next(method for method in _METHODS if method not in missing)
        raise TypeError(
            f"{name} must have both with_votes and predict_under, which make it an ensemble with a first member, or "
            f"neither. Got a {type(estimator).__name__} with {other} alone; write {missing[0]}, see VotingEnsemble."
        )
