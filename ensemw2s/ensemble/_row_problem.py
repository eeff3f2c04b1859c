"""What boosting of classifiers boosts: rows with labels, whose weights a learner takes or is drawn by."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, cast

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
from ensemw2s.ensemble._held_out import Rows
from ensemw2s.ensemble._settings import set_seeds
from ensemw2s.ensemble._votes import Voting, class_columns
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
    voting : Voting
        How members vote, by which votes are fitted to held-out rows.
    rows : Rows
        What is held out.

    Attributes
    ----------
    classes : ndarray of shape (K,)
        Sorted.
    held_out_rows : ndarray of int
        Their numbers, once it has been started.
    """

    first_perfect_vote = 1.0  # as in scikit-learn
    tolerance = 0.0

    def __init__(
        self,
        learner: Any,
        X: Any,
        y: np.ndarray,
        row_weight: np.ndarray,
        usable: UsableRows,
        *,
        sampling: RowSampling,
        voting: Voting,
        rows: Rows,
    ) -> None:
        self._learner, self._usable, self._sampling, self._voting, self._rows = learner, usable, sampling, voting, rows
        self._all = _LabelledRows(X, y, row_weight)
        self.classes = np.unique(y)

    def learners(self) -> list[Any]:
        return [clone(self._learner)]

    def row_digests(self) -> Mapping[str, np.ndarray]:
        columns = {"X": self._all.X, "y": self._all.y, "sample_weight": self._all.weight}
        return self._usable.in_place({name: row_digests(column) for name, column in columns.items()})

    def base_digests(self) -> None:
        return None

    @property
    def n_units(self) -> int:
        return int(np.count_nonzero(self._trained.weight))

    def start(self, random_state: np.random.RandomState, checkpoint: Checkpoint, weight: np.ndarray) -> np.ndarray:
        self.rng = random_state
        held_out = self._rows.part(random_state)
        self._folds, self.held_out_rows = held_out.folds, self._usable.kept[held_out.judges]
        self._judges = self._all.take(held_out.judges) if self._rows.fits_votes else None
        if len(held_out.trained) == len(weight):
            self._trained = self._all
            return weight
        self._trained, weight = self._all.take(held_out.trained), weight[held_out.trained]
        first: np.ndarray = weight / weight.sum()
        return first

    def weight_of_round(self, weight: np.ndarray) -> np.ndarray:
        # scikit-learn's floor: a weight that underflows to 0 would take its row out of training for good.
        return np.where(self._trained.weight > 0, np.maximum(weight, _WEIGHT_FLOOR), 0.0)

    def prior(self, weight: np.ndarray) -> float:
        return 1.0 - 1.0 / len(self.classes)

    def train(self, weight: np.ndarray, t: int) -> Trained:
        member = clone(self._learner)
        set_seeds(member, self.rng)
        member = self._fit(member, self._trained, weight)
        if not self._folds:
            judged = member.predict(self._trained.X)
            opinion = self._opinion(member, self._judges)
        else:
            judged, opinion = self._judge_by_folds(member, weight)
        predicted = self.classes[class_columns(judged, self.classes, member)]
        return Trained(member, predicted != self._trained.y, predicted=predicted, opinion=opinion)

    def _fit(self, member: Any, rows: _LabelledRows, weight: np.ndarray) -> Any:
        return self._sampling.fit(member, rows.X, rows.y, weight, rows.weight, self.rng)

    def _judge_by_folds(self, member: Any, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        """The classes by which errors are counted, and the opinion on all rows, each by a learner of other folds.

        Learners of the folds have the seeds of the member, and are dropped.
        """
        rows = self._trained
        judged = rows.y.copy() if self._rows.fits_errors else np.asarray(member.predict(rows.X))
        opinions = np.empty((len(rows.y), len(self.classes)))
        for fold in self._folds:
            others = np.setdiff1d(np.arange(len(rows.y)), fold)
            share = weight[others] / weight[others].sum()
            learner, part = self._fit(clone(member), rows.take(others), share), rows.take(fold)
            if self._rows.fits_errors:
                # By way of columns, since an array of labels may be too narrow for a label that is none of the classes.
                judged[fold] = self.classes[class_columns(learner.predict(part.X), self.classes, learner)]
            opinion = self._opinion(learner, part)
            if opinion is not None:
                opinions[fold] = opinion
        return judged, opinions if self._rows.fits_votes else None

    def _opinion(self, member: Any, rows: _LabelledRows | None) -> np.ndarray | None:
        if rows is None or not self._rows.fits_votes:
            return None
        return self._voting.opinion(member, rows.X, self.classes)

    def fitted_votes(self, opinions: np.ndarray) -> np.ndarray:
        judges = cast(_LabelledRows, self._judges)  # opinions are of these
        return self._voting.fit(opinions, np.searchsorted(self.classes, judges.y), judges.weight)

    def first_failure(self, trained: Trained, error: float, prior: float) -> str:
        name, found = type(trained.estimator).__name__, self.later_failure(trained, error, prior)
        return f"The first weak learner, {name}, failed: {found}. Train it longer, or use another."

    def later_failure(self, trained: Trained, error: float, prior: float) -> str:
        found = (
            f"its weighted {'held-out ' if self._rows.fits_errors else ''}error, {error:.4f}, is not below that of "
            f"guessing, {prior:.4f} "
            f"(unweighted accuracy {np.mean(~trained.errors):.4f}"
        )
        said = [] if trained.predicted is None else np.unique(trained.predicted).tolist()
        return f"{found}; it predicts {said[0]!r} for every row)" if len(said) == 1 else f"{found})"


class _LabelledRows(NamedTuple):
    """Rows with their labels and the user's weights."""

    X: Any
    y: np.ndarray
    weight: np.ndarray

    def take(self, rows: np.ndarray) -> _LabelledRows:
        return _LabelledRows(_safe_indexing(self.X, rows), self.y[rows], self.weight[rows])


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
