"""What each member says, in the ensemble's columns, and the mean of it under the votes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from ensemw2s._validation import shorten
from ensemw2s.exceptions import WeakLearnerError

__all__ = ["class_columns", "member_opinion", "running_mean"]


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


def member_opinion(member: Any, X: Any, classes: np.ndarray, voting: str) -> np.ndarray:
    """What one member says, (n, K).

    For ``voting="hard"`` SAMME's code of its class, 1 for the class and -1/(K-1) for the others; for ``"soft"`` its
    probabilities, 0 for a class that it has never seen.
    """
    n_classes = len(classes)
    if voting == "hard":
        said = np.eye(n_classes, dtype=bool)[class_columns(member.predict(X), classes, member)]
        return np.where(said, 1.0, -1.0 / (n_classes - 1))
    known = class_columns(member.classes_, classes, member)
    opinion = np.zeros((X.shape[0], n_classes))
    opinion[:, known] = member.predict_proba(X)
    if not np.isfinite(opinion).all():
        row = int(np.argmax(~np.isfinite(opinion).all(axis=1)))
        raise WeakLearnerError(
            f"{type(member).__name__}.predict_proba is not finite in row {row}; drop the row, or lower its lr."
        )
    return opinion


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
