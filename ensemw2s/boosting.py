"""The equations of token-level boosting (EnsemW2S, Algorithm 1) as pure float64 functions.

One round, with token weights :math:`D_t` that sum to 1::

    drawn = draw_tokens(weight, random_state=seed)             # line 4: what to train on
    error = weighted_error(errors, weight)                     # line 6: measured on all tokens, not on the drawn ones
    vote = estimator_weight(error, prior_error)                # line 9: break before it when error >= prior_error
    weight = reweight(weight, errors, vote)                    # line 10

`errors` holds the 0/1 mistakes of a learner, one entry per answer token, or fractions in [0, 1] where the unit is
larger than a token (see `window_error`).

Made for hundreds of millions of tokens: beside its arguments no function holds more than two float64 arrays of their
length, its result among them (three in `window_error` with short windows). Mistakes given as booleans stay at one byte
per token; weights of another type than float64 are converted, which takes one array more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ensemw2s._validation import (
    RandomState,
    as_generator,
    check_in_unit_interval,
    check_integer,
    check_open_unit,
    check_option,
    check_real,
    check_vector,
    check_weight,
)

_BLOCK = 1 << 16  # tokens per step where a whole-array temporary would cost memory; they fit in a core's cache


class Sampling(NamedTuple):
    """How tokens are weighed in a round's training."""

    draws: bool
    """Whether n tokens are drawn, so that some have no weight; else each token counts as often as it is expected to."""
    weigh: Callable[[NDArray[np.float64]], NDArray[np.float64]]
    """Training weights from how often each token counts; may overwrite it."""


# By the name that the parameter `sampling` has.
SAMPLINGS = {
    "binary": Sampling(True, lambda counts: np.minimum(counts, 1.0, out=counts)),
    "count": Sampling(True, lambda counts: counts),
    "weight": Sampling(False, lambda expected: expected),
}


def weighted_error(errors: ArrayLike, weight: ArrayLike) -> float:
    r"""Weighted error of one weak learner (EnsemW2S, Algorithm 1, lines 2 and 6).

    :math:`\epsilon_t = \sum_{i,j} D_t(i,j)\, 1[h_t(x_i, y_i^{j-1}) \ne y_i^j]`, over the whole training set.

    Parameters
    ----------
    errors : array-like of shape (n_tokens,)
        Mistakes, 0 or 1 (or fractions in [0, 1]), one per answer token.
    weight : array-like of shape (n_tokens,)
        Token weights :math:`D_t \ge 0` with a positive sum; they are divided by their sum.

    Returns
    -------
    float
        The error, in [0, 1].

    Raises
    ------
    ValueError
        If an array is empty, not one-dimensional, not finite or out of range, or if the lengths differ.

    Examples
    --------
    >>> from ensemw2s import weighted_error
    >>> weighted_error([1, 0, 0, 0, 0], [0.6, 0.1, 0.1, 0.1, 0.1])
    0.6
    """
    errors = _check_errors(errors)
    weight = check_weight(weight, "weight", length=errors.size)
    # The same summation order above and below, so that the quotient never leaves [0, 1].
    return float(np.sum(weight * errors) / np.sum(weight))


def estimator_weight(error: float, prior_error: float, *, learning_rate: float = 1.0) -> float:
    r"""Vote of one weak learner (EnsemW2S, Algorithm 1, line 9).

    :math:`\alpha_t = \log\frac{1-\epsilon_t}{\epsilon_t} + \log\left(\frac{1}{1-\epsilon_{pre}} - 1\right)
    = \operatorname{logit}(\epsilon_{pre}) - \operatorname{logit}(\epsilon_t)`, in nats, times `learning_rate`.

    Parameters
    ----------
    error : float in (0, 1)
        Weighted error :math:`\epsilon_t` of this round.
    prior_error : float in (0, 1)
        Error :math:`\epsilon_{pre}` that the vote is measured against: the error of the model before training, or
        :math:`1 - 1/K`, the error of guessing among K classes.
    learning_rate : float > 0, default=1.0
        Shrinkage of the vote.

    Returns
    -------
    float
        The vote: positive exactly when ``error < prior_error``, 0 when they are equal. A booster stops at
        ``error >= prior_error``.

    Raises
    ------
    ValueError
        If an error lies outside (0, 1), or `learning_rate` is not positive. An error of 0 has an infinite vote; clamp
        it to :math:`1/(2n)` for n tokens.

    Notes
    -----
    With ``prior_error = 1 - 1/K`` this is the vote of SAMME [1]_ and of scikit-learn's ``AdaBoostClassifier``. The vote
    of the paper's Algorithm 2, :math:`\frac12\log\frac{1-\epsilon}{\epsilon}` with labels ±1, is exactly half of it at
    K = 2, with the same weights :math:`D_t` in every round and the same decision: to compare with Tables 1-2,
    halve the votes.

    References
    ----------
    .. [1] Zhu, Zou, Rosset, Hastie, "Multi-class AdaBoost", Statistics and Its Interface 2(3), 2009.

    Examples
    --------
    >>> from ensemw2s import estimator_weight
    >>> round(estimator_weight(0.30, 0.80), 4)
    2.2336
    >>> round(estimator_weight(0.85, 0.80), 4)
    -0.3483
    """
    from scipy.special import logit

    error = check_open_unit(error, "error", remedy="For n tokens clamp an error of 0 to 1 / (2 * n).")
    prior_error = check_open_unit(prior_error, "prior_error")
    learning_rate = check_real(learning_rate, "learning_rate")
    if learning_rate <= 0.0:
        raise ValueError(f"learning_rate must be positive. Got {learning_rate!r} instead.")
    vote = logit(prior_error) - logit(error)
    if abs(vote) < 0.5:
        # Two rounded logits can be equal although error < prior_error; the gap itself keeps the sign and the digits.
        vote = np.log1p((prior_error - error) / error / (1.0 - prior_error))
    return float(learning_rate * vote)


def reweight(weight: ArrayLike, errors: ArrayLike, vote: float) -> NDArray[np.float64]:
    r"""Token weights of the next round (EnsemW2S, Algorithm 1, line 10).

    :math:`D_{t+1} = D_t \exp(\alpha_t\, 1[\text{wrong}]) / Z_t`, with :math:`Z_t` the sum of the numerators.

    Parameters
    ----------
    weight : array-like of shape (n_tokens,)
        Token weights :math:`D_t \ge 0` with a positive sum.
    errors : array-like of shape (n_tokens,)
        Mistakes, 0 or 1 (or fractions in [0, 1]), one per answer token.
    vote : float
        Vote :math:`\alpha_t` of the learner that made the mistakes, in nats.

    Returns
    -------
    ndarray of shape (n_tokens,)
        Token weights :math:`D_{t+1} \ge 0`, float64, sum 1. After a vote without shrinkage the mass on the mistakes is
        :math:`\epsilon_{pre}`. A weight of 0 stays 0.

    Raises
    ------
    ValueError
        If an array is empty, not one-dimensional, not finite or out of range, if the lengths differ, or if `vote` is
        not finite.

    Examples
    --------
    >>> from ensemw2s import estimator_weight, reweight
    >>> vote = estimator_weight(0.2, 0.6)
    >>> reweight([0.2, 0.2, 0.2, 0.2, 0.2], [1, 0, 0, 0, 0], vote)
    array([0.6, 0.1, 0.1, 0.1, 0.1])
    """
    errors = _check_errors(errors)
    weight = check_weight(weight, "weight", length=errors.size)
    vote = check_real(vote, "vote")
    # In logarithms, relative to the largest: a large vote neither overflows nor empties the other entries at once.
    with np.errstate(divide="ignore"):
        log_weight = np.log(weight)
    for block in _blocks(errors.size):
        log_weight[block] += vote * errors[block]
    log_weight -= log_weight.max()
    updated = np.exp(log_weight, out=log_weight)
    updated /= updated.sum()
    return updated


def draw_tokens(
    weight: ArrayLike,
    *,
    sampling: Literal["binary", "count", "weight"] = "binary",
    random_state: RandomState = None,
) -> NDArray[np.float64]:
    r"""Training weight of every answer token in one round (EnsemW2S, Algorithm 1, line 4).

    n tokens are drawn from :math:`D_t` with replacement; c counts how often each came up.

    Parameters
    ----------
    weight : array-like of shape (n_tokens,)
        Token weights :math:`D_t \ge 0` with a positive sum; they are divided by their sum.
    sampling : {"binary", "count", "weight"}, default="binary"
        What to train on. ``"binary"``: the tokens that were drawn at all, :math:`1[c > 0]`, the paper's label mask.
        ``"count"``: the counts c, which sum to n. ``"weight"``: no draw, :math:`n D_t`.
    random_state : int, Generator, RandomState or None, default=None
        Source of the draw. An integer gives the same draw every time.

    Returns
    -------
    ndarray of shape (n_tokens,)
        Training weights, float64, not negative; 0 wherever `weight` is 0. The training loss is the mean of the token
        losses under these weights; for ``"count"`` its expectation is :math:`\sum D_t \ell`, the loss of ``"weight"``.

    Raises
    ------
    ValueError
        If `weight` is empty, not one-dimensional, negative or not finite, or `sampling` is unknown.

    Examples
    --------
    >>> from ensemw2s import draw_tokens
    >>> draw_tokens([0.6, 0.1, 0.1, 0.1, 0.1], sampling="weight")
    array([3. , 0.5, 0.5, 0.5, 0.5])
    >>> counts = draw_tokens([0.6, 0.1, 0.1, 0.1, 0.1], sampling="count", random_state=0)
    >>> float(counts.sum())
    5.0
    """
    weight = check_weight(weight, "weight")
    rule = SAMPLINGS[check_option(sampling, "sampling", SAMPLINGS)]
    share = weight / weight.sum()
    if rule.draws:
        return rule.weigh(_draw_counts(share, random_state))
    share *= weight.size
    return rule.weigh(share)


def _draw_counts(share: NDArray[np.float64], random_state: RandomState) -> NDArray[np.float64]:
    """How often each token is drawn in n draws; the shares, which sum to 1, are overwritten."""
    n_tokens = share.size
    cumulative = np.cumsum(share, out=share)
    # A uniform in [0, 1) times the total stays below the total.
    position = as_generator(random_state).random(n_tokens)
    position.sort()
    position *= cumulative[-1]
    # Token i was drawn by the positions in [cumulative[i - 1], cumulative[i]): none where its weight is 0.
    counts, n_below = cumulative, 0
    for block in _blocks(n_tokens):
        bounds = cumulative[block]
        below = n_below + int(np.searchsorted(position[n_below:], bounds[-1]))
        # The bounds are overwritten by the counts: later blocks do not look back.
        counts[block] = np.diff(np.searchsorted(position[n_below:below], bounds), prepend=0)
        n_below = below
    return counts


def window_error(errors: ArrayLike, indptr: ArrayLike, length: int, *, sliding: bool = False) -> NDArray[np.float64]:
    r"""Error of every token as the mean over its window of answer tokens (EnsemW2S, appendix G.2, ablation of L).

    *Tiling* windows of `length` tokens lie one after the other in each answer, from its first token on; the last one
    may be shorter, and all tokens of a window have one error. From the longest answer on, every answer is one window.
    A *sliding* window, which the paper names, ends with its token: it holds the token and the ``length - 1`` before it,
    or those that the answer has. With ``length=1`` the errors come back unchanged in both.

    Parameters
    ----------
    errors : array-like of shape (n_tokens,)
        Mistakes, 0 or 1 (or fractions in [0, 1]), one per answer token.
    indptr : array-like of int of shape (n_answers + 1,)
        Answer i owns the tokens ``indptr[i]:indptr[i + 1]``.
    length : int >= 1
        Window length L, in tokens.
    sliding : bool, default=False
        Whether windows slide, or tile the answer.

    Returns
    -------
    ndarray of shape (n_tokens,)
        Mean error of the window that each token lies in, or that ends with it, in [0, 1].

    Raises
    ------
    ValueError
        If `errors` is out of range, `indptr` does not rise from 0 to n_tokens, or `length` is not a positive integer.

    Examples
    --------
    >>> from ensemw2s import window_error
    >>> window_error([1, 0, 1, 0, 0], [0, 3, 5], length=2)
    array([0.5, 0.5, 1. , 0. , 0. ])
    >>> window_error([1, 0, 1, 0, 0], [0, 3, 5], length=2, sliding=True)
    array([1. , 0.5, 0.5, 0. , 0. ])
    """
    errors = _check_errors(errors)
    bounds = _check_indptr(indptr, errors.size)
    length = check_integer(length, "length", minimum=1)
    if length == 1:
        return errors.astype(np.float64)
    if sliding:
        return _sliding_means(errors, bounds, length)
    starts = _window_starts(bounds, length)
    means = np.add.reduceat(errors, starts, dtype=np.float64)  # booleans would be or-ed, not added
    window_sizes = np.empty_like(starts)  # np.diff(starts, append=...) makes a copy of `starts` beside it
    np.subtract(starts[1:], starts[:-1], out=window_sizes[:-1])
    window_sizes[-1] = errors.size - starts[-1]
    del starts
    means /= window_sizes
    return np.repeat(means, window_sizes)


def training_error_bound(errors: ArrayLike, prior_errors: ArrayLike) -> float:
    r"""Bound on the training error of the hard vote, after the given rounds.

    :math:`\prod_t \sqrt{\frac{\epsilon_t (1-\epsilon_t)}{p_t (1-p_t)}}`. With :math:`p = 1/2` it is AdaBoost's
    :math:`\prod_t 2\sqrt{\epsilon_t(1-\epsilon_t)}`.

    Parameters
    ----------
    errors : array-like of shape (n_rounds,)
        Weighted error :math:`\epsilon_t` of each round, in [0, 1].
    prior_errors : float or array-like of shape (n_rounds,)
        The error :math:`p_t` that each vote was measured against, in (0, 1).

    Returns
    -------
    float
        The bound. It says nothing where it is 1 or more: a round lowers it only while
        :math:`\epsilon(1-\epsilon) < p(1-p)`, which fails for :math:`1-p < \epsilon < p`.

    Raises
    ------
    ValueError
        If an error is out of range or the lengths differ.

    Notes
    -----
    It bounds the :math:`D_1`-weighted share of tokens on which the learners that are right hold no more than half of
    the votes (a tie counts as an error), for 0/1 mistakes and votes without shrinkage. The soft vote of Eq. 1 has no
    such bound.

    Examples
    --------
    >>> from ensemw2s import training_error_bound
    >>> round(training_error_bound([0.2, 0.3], 0.5), 4)
    0.7332
    """
    errors = _check_errors(errors)
    priors = np.full(errors.size, prior_errors) if np.ndim(prior_errors) == 0 else prior_errors
    priors = check_vector(priors, "prior_errors", length=errors.size, per="round")
    if priors.min() <= 0.0 or priors.max() >= 1.0:
        row = int(np.argmax((priors <= 0.0) | (priors >= 1.0)))
        raise ValueError(f"prior_errors must lie in (0, 1). Got prior_errors[{row}] = {float(priors[row])!r} instead.")
    return float(np.prod(np.sqrt(errors * (1.0 - errors) / (priors * (1.0 - priors)))))


def _check_errors(errors: ArrayLike) -> NDArray[Any]:
    if isinstance(errors, np.ndarray) and errors.dtype == np.bool_ and errors.ndim == 1 and errors.size:
        return errors  # one byte per token instead of eight; a product with a float is a float
    vector = check_vector(errors, "errors")
    check_in_unit_interval(vector, "errors")
    return vector


def _check_indptr(indptr: ArrayLike, n_tokens: int) -> NDArray[np.int64]:
    bounds = np.asarray(indptr)
    if bounds.ndim != 1 or bounds.size < 2 or not np.issubdtype(bounds.dtype, np.integer):
        raise ValueError(
            "indptr must be a vector of at least two integers, the bounds of the answers. "
            f"Got shape {bounds.shape} and dtype {bounds.dtype} instead."
        )
    bounds = bounds.astype(np.int64, copy=False)
    if bounds[0] != 0 or bounds[-1] != n_tokens or np.any(np.diff(bounds) < 0):
        raise ValueError(
            f"indptr must rise from 0 to the number of tokens, {n_tokens}. "
            f"Got {bounds[0]} … {bounds[-1]}{' with a descent between' if np.any(np.diff(bounds) < 0) else ''} instead."
        )
    return bounds


def _sliding_means(errors: NDArray[np.generic], bounds: NDArray[np.int64], length: int) -> NDArray[np.float64]:
    """Mean of each entry and of those before it in its answer, `length` of them in all at most."""
    total = np.zeros(errors.size + 1)
    np.cumsum(errors, dtype=np.float64, out=total[1:])
    starts = np.repeat(bounds[:-1], np.diff(bounds))
    ends = np.arange(1, errors.size + 1)
    np.maximum(starts, ends - length, out=starts)
    means = total[1:] - total[starts]
    means /= np.subtract(ends, starts, out=starts)
    return np.clip(means, 0.0, 1.0, out=means)  # fractions are summed with rounding


def _window_starts(bounds: NDArray[np.int64], length: int) -> NDArray[np.int64]:
    n_windows = np.diff(bounds)  # per answer, rounded up; in place, since answers may be of one token
    n_windows += length - 1
    n_windows //= length
    offset = np.cumsum(n_windows)
    offset -= n_windows  # windows before an answer's first one
    offset *= -length
    offset += bounds[:-1]
    starts = np.repeat(offset, n_windows)
    del offset, n_windows
    starts += np.arange(0, starts.size * length, length)
    return starts


def _blocks(n_tokens: int) -> Iterator[slice]:
    for start in range(0, n_tokens, _BLOCK):
        yield slice(start, start + _BLOCK)
