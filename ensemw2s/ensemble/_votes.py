"""What each member says, in the ensemble's columns, and the mean of it under the votes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
from scipy.special import softmax

from ensemw2s._validation import shorten
from ensemw2s.ensemble._pool_weights import even_where_none, fit_logarithmic, fit_shares
from ensemw2s.exceptions import WeakLearnerError


def class_columns(labels: Any, classes: np.ndarray, learner: Any) -> np.ndarray:
    """Column of each label that a learner gave.

    Raises
    ------
    WeakLearnerError
        If a label is none of the classes.
    """
    column_of = {label: column for column, label in enumerate(classes.tolist())}
    given = np.ravel(np.asarray(labels)).tolist()
    columns = np.array([column_of.get(label, -1) for label in given], dtype=int)
    if columns.size and columns.min() < 0:
        raise WeakLearnerError(
            f"{type(learner).__name__} must predict classes of y, {shorten(classes.tolist())}. "
            f"Got {shorten(given[int(columns.argmin())])} instead."
        )
    return columns


def _class_code(member: Any, X: Any, classes: np.ndarray) -> np.ndarray:
    """SAMME's code of the class that a member predicts: 1 for the class and -1/(K-1) for the others."""
    n_classes = len(classes)
    said = np.eye(n_classes, dtype=bool)[class_columns(member.predict(X), classes, member)]
    return np.where(said, 1.0, -1.0 / (n_classes - 1))


def _class_proba(member: Any, X: Any, classes: np.ndarray) -> np.ndarray:
    """A member's probabilities, 0 for a class that it has never seen."""
    known = class_columns(member.classes_, classes, member)
    opinion = np.zeros((X.shape[0], len(classes)))
    opinion[:, known] = member.predict_proba(X)
    if not np.isfinite(opinion).all():
        row = int(np.argmax(~np.isfinite(opinion).all(axis=1)))
        raise WeakLearnerError(
            f"{type(member).__name__}.predict_proba is not finite in row {row}; drop the row, or lower its lr."
        )
    return opinion


class Voting(NamedTuple):
    """How members vote on classes."""

    opinion: Callable[[Any, Any, np.ndarray], np.ndarray]
    """What one member says of rows, given the ensemble's classes, (n, K)."""
    scores: Callable[[np.ndarray], np.ndarray]
    """SAMME's scores from the mean opinion, (n, K) -> (n, K)."""
    proba: Callable[[np.ndarray], np.ndarray]
    """Probabilities from the mean opinion, (n, K) -> (n, K)."""
    fit: Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]
    """Votes of least log loss, from opinions (T, n, K), the columns of the true classes (n,), and row weights (n,)."""
    needs_proba: bool
    """Whether a member needs ``predict_proba``."""


def _fit_of_codes(opinions: np.ndarray, columns: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Coefficients of a logistic regression on the codes, as SAMME's scores are sums of these; none is negative."""
    every = np.ones(opinions.shape[1:], dtype=bool)
    fitted = fit_logarithmic(opinions, every, columns, weight)
    return even_where_none(fitted, "member", "classes of the held-out rows", stacklevel=5)


def _fit_of_proba(opinions: np.ndarray, columns: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Shares of a linear pool of the probabilities, which is what soft votes are."""
    with np.errstate(divide="ignore"):  # a class that a member has never seen
        return fit_shares(np.log(opinions[:, np.arange(len(columns)), columns]), weight)


# By the name that the parameter `voting` has.
VOTINGS = {
    "hard": Voting(
        _class_code,
        scores=lambda mean: mean,
        proba=lambda mean: softmax(mean / (mean.shape[1] - 1), axis=1),
        fit=_fit_of_codes,
        needs_proba=False,
    ),
    "soft": Voting(
        _class_proba,
        scores=lambda mean: (mean.shape[1] * mean - 1.0) / (mean.shape[1] - 1),
        proba=lambda mean: mean,
        fit=_fit_of_proba,
        needs_proba=True,
    ),
}


def running_mean(opinions: Iterable[np.ndarray], votes: np.ndarray) -> Iterator[np.ndarray]:
    """Mean opinion of the first 1, 2, ... T members under their votes.

    The sums are taken in scikit-learn's order, so that ties fall as they fall there.

    Yields
    ------
    ndarray of shape (n, K)
    """
    total: np.ndarray | float = 0.0
    norm = 0.0
    for opinion, vote in zip(opinions, votes, strict=True):
        total = total + vote * opinion
        norm += vote
        yield total / norm
