"""Linear scores of options, fitted by the cross-entropy of the softmax over the options of a question."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def option_loss(
    coef: Floats, features: Floats, starts: NDArray[np.int64], target: Floats, weight: Floats, penalty: float
) -> tuple[float, Floats]:
    r"""Loss of linear scores, and its gradient.

    .. math:: \sum_i q_i \Big(\log \sum_k e^{v \cdot z_{ik}} - \sum_k t_{ik} \, v \cdot z_{ik}\Big)
        + \lambda \lVert v \rVert^2

    Parameters
    ----------
    coef : ndarray of shape (F,)
        :math:`v`.
    features : ndarray of shape (R, F)
        :math:`z`, one row per option, the options of a question one after the other.
    starts : ndarray of shape (n,)
        Row of each question's first option.
    target : ndarray of shape (R,)
        :math:`t`, which sums to 1 over the options of a question: 1 for the right one, or a probability of each.
    weight : ndarray of shape (n,)
        :math:`q`.
    penalty : float
        :math:`\lambda`.

    Returns
    -------
    loss : float
    gradient : ndarray of shape (F,)
    """
    scores = features @ coef
    sizes = np.diff(np.append(starts, len(scores)))
    highest = np.maximum.reduceat(scores, starts)
    exponential = np.exp(scores - np.repeat(highest, sizes))
    total = np.add.reduceat(exponential, starts)
    loss = weight @ (highest + np.log(total) - np.add.reduceat(target * scores, starts)) + penalty * (coef @ coef)
    pull = exponential * np.repeat(weight / total, sizes) - target * np.repeat(weight, sizes)
    return float(loss), pull @ features + 2 * penalty * coef


def fit_option_softmax(
    features: Floats,
    starts: NDArray[np.int64],
    target: Floats,
    weight: Floats,
    *,
    penalty: float,
    nonnegative: bool = False,
) -> Floats:
    """The coefficients of the least `option_loss`, which is convex, by L-BFGS-B.

    Parameters
    ----------
    features, starts, target, penalty
        As in `option_loss`.
    weight : ndarray of shape (n,)
        Not negative; scaled to sum 1.
    nonnegative : bool, default=False
        Whether no coefficient may be negative.

    Returns
    -------
    ndarray of shape (F,)
    """
    from scipy.optimize import minimize

    found = minimize(
        option_loss,
        np.full(features.shape[1], float(nonnegative)),  # not on the bound, where a step may be cut to nothing
        args=(features, starts, target, weight / weight.sum(), penalty),
        jac=True,
        method="L-BFGS-B",
        bounds=[(0.0, None)] * features.shape[1] if nonnegative else None,
        options={"maxiter": 2000, "maxfun": 4000, "ftol": 1e-12, "gtol": 1e-7},
    )
    return np.asarray(found.x, dtype=np.float64)
