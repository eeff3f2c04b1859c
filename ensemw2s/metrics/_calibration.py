"""How far probabilities can be believed, and intervals of numbers that are no means over items."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ensemw2s._validation import as_generator, check_integer

_RESAMPLES = 1000


def expected_calibration_error(proba: ArrayLike, labels: ArrayLike, *, n_bins: int = 10) -> float:
    r"""Gap between confidence and accuracy, over bins of confidence (Guo et al., 2017).

    .. math:: \sum_b \frac{n_b}{n} |\mathrm{acc}(b) - \mathrm{conf}(b)|,

    where the confidence of an item is the highest of its probabilities, and the bins of it are equally wide.

    Parameters
    ----------
    proba : array-like of shape (n, K)
        Probabilities of classes or options.
    labels : array-like of int of shape (n,)
        Columns of the right ones; -1 where none is right.
    n_bins : int, default=10
        Number of bins of (0, 1].

    Returns
    -------
    float
        In [0, 1]. Of m equally probable classes, the right one among them, 1/m is right.

    Raises
    ------
    ValueError
        If shapes differ, or `n_bins` is below 1.

    References
    ----------
    .. [1] Guo, Pleiss, Sun, Weinberger, "On Calibration of Modern Neural Networks", ICML 2017.

    Examples
    --------
    >>> from ensemw2s import expected_calibration_error
    >>> round(expected_calibration_error([[0.8, 0.2], [0.7, 0.3]], [0, 1]), 3)
    0.45
    """
    check_integer(n_bins, "n_bins", minimum=1)
    confidence, right = confidence_and_credit(np.asarray(proba, dtype=np.float64), np.asarray(labels))
    # (0, .1], (.1, .2], ...: bins as in the paper, closed above.
    bins = np.clip(np.ceil(confidence * n_bins).astype(np.int64) - 1, 0, n_bins - 1)
    return float(np.abs(np.bincount(bins, weights=right - confidence)).sum() / len(confidence))


def confidence_and_credit(
    proba: NDArray[np.float64], labels: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Highest probability of each item, and whether it is the right one's: 1/m where that is one of m."""
    if proba.ndim != 2 or labels.shape != (len(proba),) or not len(labels):
        raise ValueError(f"proba must have shape (n, K) and labels (n,). Got {proba.shape} and {labels.shape} instead.")
    best = proba == proba.max(axis=1, keepdims=True)
    named = np.where(labels < 0, False, best[np.arange(len(labels)), np.maximum(labels, 0)])
    return proba.max(axis=1), named / best.sum(axis=1)


def brier_scores(proba: NDArray[np.float64], labels: NDArray[np.int64]) -> NDArray[np.float64]:
    """Squared distance of each item's probabilities to the truth, halved for two classes as scikit-learn does, (n,)."""
    truth = np.arange(proba.shape[1]) == labels[:, None]
    scores: NDArray[np.float64] = ((proba - truth) ** 2).sum(axis=1) / (2.0 if proba.shape[1] == 2 else 1.0)
    return scores


def resampled_interval(
    statistic: Callable[[NDArray[np.int64]], float], n: int, *, confidence_level: float
) -> tuple[float, float]:
    """Percentile bootstrap interval over n items of a statistic of their row numbers; nan where it is never defined."""
    rng = as_generator(0)
    drawn = np.array([statistic(rng.integers(n, size=n)) for _ in range(_RESAMPLES)])
    drawn = drawn[np.isfinite(drawn)]
    if not len(drawn):
        return float("nan"), float("nan")
    low, high = np.quantile(drawn, [(1 - confidence_level) / 2, (1 + confidence_level) / 2])
    return float(low), float(high)
