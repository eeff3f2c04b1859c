"""What boosting of classifiers boosts: rows with labels, whose weights a learner takes or is drawn by."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import sklearn
from sklearn.base import clone
from sklearn.pipeline import Pipeline
from sklearn.utils import _safe_indexing
from sklearn.utils.validation import has_fit_parameter

from ensemw2s._inputs.usable_rows import UsableRows
from ensemw2s.boosting import draw_tokens
from ensemw2s.ensemble._boosting_loop import Trained
from ensemw2s.ensemble._checkpoint import Checkpoint
from ensemw2s.ensemble._settings import set_seeds
from ensemw2s.ensemble._votes import class_columns
from ensemw2s.storage import row_digests

_WEIGHT_FLOOR = float(np.finfo(np.float64).eps)
_FACTOR_BITS = 32


class RowProblem:
    """Rows with labels and one weak classifier, see `BoostingProblem`.

    Parameters
    ----------
    learner : classifier
        The weak learner.
    X : ndarray, sparse matrix or DataFrame, n rows
        From `check_rows`.
    y : ndarray of shape (n,)
        Labels.
    row_weight : ndarray of shape (n,)
        The user's weights.
    usable : UsableRows
        Where `X` and `y` stem from.
    sampling : RowSampling
        How a learner comes to know the weights.

    Attributes
    ----------
    classes : ndarray of shape (K,)
        Sorted.
    """

    first_perfect_vote = 1.0  # as in scikit-learn
    tolerance = 0.0

    def __init__(
        self, learner: Any, X: Any, y: np.ndarray, row_weight: np.ndarray, usable: UsableRows, *, sampling: RowSampling
    ) -> None:
        self._learner, self._X, self._y, self._row_weight = learner, X, y, row_weight
        self._usable, self._sampling = usable, sampling
        self._weighted = row_weight > 0
        self.classes, self._columns = np.unique(y, return_inverse=True)
        self.n_units = int(self._weighted.sum())

    def learners(self) -> list[Any]:
        return [clone(self._learner)]

    def row_digests(self) -> Mapping[str, np.ndarray]:
        columns = {"X": self._X, "y": self._y, "sample_weight": self._row_weight}
        return self._usable.in_place({name: row_digests(column) for name, column in columns.items()})

    def base_digests(self) -> None:
        return None

    def start(self, random_state: np.random.RandomState, checkpoint: Checkpoint, weight: np.ndarray) -> None:
        self.rng = random_state

    def weight_of_round(self, weight: np.ndarray) -> np.ndarray:
        # scikit-learn's floor: a weight that underflows to 0 would take its row out of training for good.
        return np.where(self._weighted, np.maximum(weight, _WEIGHT_FLOOR), 0.0)

    def prior(self, weight: np.ndarray) -> float:
        return 1.0 - 1.0 / len(self.classes)

    def train(self, weight: np.ndarray, t: int) -> Trained:
        member = clone(self._learner)
        set_seeds(member, self.rng)
        member = self._sampling.fit(member, self._X, self._y, weight, self._row_weight, self.rng)
        predicted = class_columns(member.predict(self._X), self.classes, member)
        return Trained(member, predicted != self._columns, predicted=self.classes[predicted])

    def first_failure(self, trained: Trained, error: float, prior: float) -> str:
        name, found = type(trained.estimator).__name__, self.later_failure(trained, error, prior)
        return f"The first weak learner, {name}, failed: {found}. Train it longer, or use another."

    def later_failure(self, trained: Trained, error: float, prior: float) -> str:
        found = (
            f"its weighted error, {error:.4f}, is not below that of guessing, {prior:.4f} "
            f"(unweighted accuracy {np.mean(~trained.errors):.4f}"
        )
        said = [] if trained.predicted is None else np.unique(trained.predicted).tolist()
        return f"{found}; it predicts {said[0]!r} for every row)" if len(said) == 1 else f"{found})"


def weight_keyword(estimator: Any) -> str | None:
    """Keyword under which ``fit`` takes the weights of the rows, None if it takes none.

    The weights of a pipeline go to its last step.
    """
    if isinstance(estimator, Pipeline):
        name, last = estimator.steps[-1]
        inner = weight_keyword(last)
        return None if inner is None else f"{name}__{inner}"
    return "sample_weight" if has_fit_parameter(estimator, "sample_weight") else None


def training_weight(weight: np.ndarray, row_weight: np.ndarray) -> np.ndarray:
    """Boosting weights as a learner gets them: the user's weights times a factor, 1 in the first round.

    Parameters
    ----------
    weight : ndarray of shape (n,)
        Boosting weights, sum 1.
    row_weight : ndarray of shape (n,)
        The user's weights; 0 stays 0.

    Returns
    -------
    ndarray of shape (n,)
        Sums to the sum of `row_weight`, up to the rounding of the factors.
    """
    factor = np.divide(weight * row_weight.sum(), row_weight, out=np.zeros(len(weight)), where=row_weight > 0)
    # Rounded, so that sums of weights come out the same in any order. Weight 3 is then the same as three rows of weight
    # 1 even for a tree with two equally good splits, which chooses by the last bit otherwise.
    mantissa, exponent = np.frexp(factor)
    scaled: np.ndarray = row_weight * np.ldexp(np.rint(np.ldexp(mantissa, _FACTOR_BITS)), exponent - _FACTOR_BITS)
    return scaled


def _fit_weighted(member: Any, X: Any, y: np.ndarray, weight: np.ndarray, row_weight: np.ndarray, _: Any) -> Any:
    keyword = str(weight_keyword(member))
    # The weights are the booster's own: whether a user's metadata is routed into the learner does not concern them.
    with sklearn.config_context(enable_metadata_routing=False):
        return member.fit(X, y, **{keyword: training_weight(weight, row_weight)})


def _fit_resampled(
    member: Any, X: Any, y: np.ndarray, weight: np.ndarray, _: np.ndarray, rng: np.random.RandomState
) -> Any:
    rows = resample_rows(weight, y, rng)
    return member.fit(_safe_indexing(X, rows), y[rows])


class RowSampling(NamedTuple):
    """How a learner comes to know the weights of the rows."""

    fit: Callable[[Any, Any, np.ndarray, np.ndarray, np.ndarray, np.random.RandomState], Any]
    """Trains a learner on rows and labels by their boosting weights, the user's weights, and a source of draws."""
    needs_weights: bool
    """Whether the learner has to take weights, see `weight_keyword`."""


# By the name that the parameter `sampling` has.
ROW_SAMPLINGS = {
    "weight": RowSampling(_fit_weighted, needs_weights=True),
    "resample": RowSampling(_fit_resampled, needs_weights=False),
}


def resample_rows(weight: np.ndarray, y: np.ndarray, rng: np.random.RandomState) -> np.ndarray:
    """Draw n rows with replacement, and one more for each class that the draw has missed.

    Without the latter a learner could not tell the missing class from the others, and some refuse a single class.

    Parameters
    ----------
    weight : ndarray of shape (n,)
        Weights of the rows.
    y : ndarray of shape (n,)
        Classes; a class without any weight is not drawn.
    rng : RandomState
        Source of the draws.

    Returns
    -------
    ndarray of int, at least n, in ascending order up to n
    """
    counts = draw_tokens(weight, sampling="count", random_state=rng).astype(int)
    rows = np.repeat(np.arange(len(weight)), counts)
    extra = []
    for label in np.setdiff1d(y[weight > 0], y[rows]):
        share = np.where(y == label, weight, 0.0)
        extra.append(rng.choice(len(weight), p=share / share.sum()))
    return np.concatenate([rows, np.array(extra, dtype=int)])
