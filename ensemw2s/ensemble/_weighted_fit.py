"""Fitting a weak classifier on weighted rows, by weights or by drawing."""

from __future__ import annotations

from typing import Any

import numpy as np
import sklearn
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import has_fit_parameter

from ensemw2s.boosting import draw_tokens
from ensemw2s.ensemble._classifier_rows import take_rows

__all__ = ["fit_resampled", "fit_weighted", "resample_rows", "training_weight", "weight_keyword"]

_FACTOR_BITS = 32


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
    return row_weight * np.ldexp(np.rint(np.ldexp(mantissa, _FACTOR_BITS)), exponent - _FACTOR_BITS)


def fit_weighted(estimator: Any, X: Any, y: np.ndarray, weight: np.ndarray) -> Any:
    """Fit on all rows with their weights; the learner must take them, see `weight_keyword`."""
    keyword = str(weight_keyword(estimator))
    # The weights are the booster's own: whether a user's metadata is routed into the learner does not concern them.
    with sklearn.config_context(enable_metadata_routing=False):
        return estimator.fit(X, y, **{keyword: weight})


def fit_resampled(estimator: Any, X: Any, y: np.ndarray, weight: np.ndarray, rng: np.random.RandomState) -> Any:
    """Fit on n rows drawn by their weights."""
    rows = resample_rows(weight, y, rng)
    return estimator.fit(take_rows(X, rows), y[rows])


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
