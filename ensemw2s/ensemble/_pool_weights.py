"""Opinion pools as functions of the experts' scores: how these are joined, and what weights suit known answers."""

from __future__ import annotations

import warnings

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_softmax, logsumexp

from ensemw2s._training.option_softmax import fit_option_softmax

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

PENALTY = 1e-3
"""Of the squared weights, per question: without it experts of one mind would share their weight at random."""

# Nats below an expert's favourite beyond which all is the same to it: float64 knows no smaller probability.
_FLOOR = -700.0


def centred(scores: Floats, exists: Bools) -> Floats:
    """Scores around their mean over the options of each question; 0 where there is no option.

    Parameters
    ----------
    scores : ndarray of shape (..., n, K)
        Finite, or ``-inf`` for options that an expert excludes.
    exists : ndarray of shape (n, K), bool
        Which options there are.

    Returns
    -------
    ndarray of shape (..., n, K)
    """
    there = np.where(exists, scores, -np.inf)
    best = there.max(axis=-1, keepdims=True)
    with np.errstate(invalid="ignore"):  # -inf - -inf, where all are excluded
        below = np.where(np.isfinite(best), np.maximum(there - best, _FLOOR), 0.0)
    below = np.where(exists, below, 0.0)
    return np.where(exists, below - below.sum(axis=-1, keepdims=True) / exists.sum(axis=-1, keepdims=True), 0.0)


def score_scales(scores: Floats, exists: Bools, weight: Floats) -> Floats:
    """Standard deviation of each expert's centred scores, (G,); 1 for an expert that tells nothing apart."""
    of_option = weight[:, None] * exists / exists.sum(axis=1, keepdims=True)
    scales = np.sqrt((np.square(scores) * of_option).sum(axis=(1, 2)) / weight.sum())
    return np.where(scales > 1e-12, scales, 1.0)


def fit_logarithmic(scaled: Floats, exists: Bools, labels: NDArray[np.int64], weight: Floats) -> Floats:
    r"""Weights :math:`w \ge 0` of least :math:`-\sum_i q_i \log p_w(y_i) + \lambda \lVert w \rVert^2`.

    Parameters
    ----------
    scaled : ndarray of shape (G, n, K)
        Centred scores on one scale.
    exists : ndarray of shape (n, K), bool
        Which options there are.
    labels : ndarray of shape (n,)
        Places of the right options.
    weight : ndarray of shape (n,)
        :math:`q`, of the questions; only ratios matter.

    Returns
    -------
    ndarray of shape (G,)
    """
    n_choices = exists.sum(axis=1)
    starts = np.cumsum(n_choices) - n_choices
    rows = np.moveaxis(scaled, 0, -1)[exists]  # (n_options, G)
    target = np.zeros(len(rows))
    target[starts + labels] = 1.0
    return fit_option_softmax(rows, starts, target, weight, penalty=PENALTY, nonnegative=True)


def fit_linear(scores: Floats, exists: Bools, labels: NDArray[np.int64], weight: Floats) -> Floats:
    r"""Weights of least :math:`-\sum_i q_i \log \sum_g w_g p_g(y_i)` that are not negative and sum to 1.

    Parameters
    ----------
    scores : ndarray of shape (G, n, K)
        Centred.
    exists, labels, weight
        As in `fit_logarithmic`.

    Returns
    -------
    ndarray of shape (G,)
    """
    log_proba = log_softmax(np.where(exists, scores, -np.inf), axis=-1)
    return fit_shares(log_proba[:, np.arange(len(labels)), labels], weight)


def fit_shares(log_gold: Floats, weight: Floats) -> Floats:
    r"""Shares of least :math:`-\sum_i q_i \log \sum_g w_g p_{gi}`: not negative, of sum 1, as EM finds them.

    The sum is no constraint of its own: where :math:`\sum_g w_g` is added, the least value has it equal to 1.

    Parameters
    ----------
    log_gold : ndarray of shape (G, n)
        :math:`\log p_{gi}`, of what is right in item i, such as an option or a token; ``-inf`` for probability 0.
    weight : ndarray of shape (n,)
        :math:`q`; only ratios matter.

    Returns
    -------
    ndarray of shape (G,)
    """
    from scipy.optimize import minimize

    # Relative to the best: the loss differs by a constant, and whole answers of probability e^-1000 can be compared.
    best = np.max(log_gold, axis=0)
    gold = np.exp(np.maximum(log_gold - np.where(np.isfinite(best), best, 0.0), _FLOOR))  # (G, n)
    share = weight / weight.sum()

    def loss(weights: Floats) -> tuple[float, Floats]:
        mixed = weights @ gold
        return float(weights.sum() - share @ np.log(mixed)), 1.0 - gold @ (share / mixed)

    start = np.full(len(gold), 1.0 / len(gold))
    found: Floats = minimize(
        loss, start, jac=True, method="L-BFGS-B", bounds=[(0.0, None)] * len(gold),
        options={"maxiter": 2000, "ftol": 1e-14, "gtol": 1e-9},
    ).x  # fmt: skip
    shares: Floats = found / found.sum()
    return shares


def even_where_none(weights: Floats, who: str, right: str, *, stacklevel: int) -> Floats:
    """The weights; even ones with a warning where all are 0, since nobody is better than a guess."""
    if weights.max() >= 1e-6:
        return weights
    warnings.warn(
        f"No {who} tells the right {right} from the others: all weights would be 0, and even ones are taken. Train the "
        f"{who}s longer, or on more of these.",
        stacklevel=stacklevel,
    )
    return np.full(len(weights), 1.0 / len(weights))


def pooled_log_proba(scores: Floats, exists: Bools, weights: Floats, *, logarithmic: bool) -> Floats:
    """Logarithm of the pool's probabilities.

    Parameters
    ----------
    scores : ndarray of shape (G, n, K)
        Centred; of a logarithmic pool on one scale.
    exists : ndarray of shape (n, K), bool
        Which options there are.
    weights : ndarray of shape (S, G)
        Not negative, one pool per row; those of a linear pool are scaled to sum 1.
    logarithmic : bool
        Whether logarithms of probabilities are averaged, or probabilities.

    Returns
    -------
    ndarray of shape (S, n, K)
        ``-inf`` where there is no option.
    """
    log_proba: Floats
    if logarithmic:
        log_proba = log_softmax(np.where(exists, np.tensordot(weights, scores, axes=1), -np.inf), axis=-1)
        return log_proba
    log_proba = log_softmax(np.where(exists, scores, -np.inf), axis=-1)
    shares = weights / weights.sum(axis=1, keepdims=True)
    return np.stack([logsumexp(log_proba, axis=0, b=row[:, None, None]) for row in shares])
