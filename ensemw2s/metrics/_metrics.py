"""Numbers that say how good a model is: errors, accuracies, PGR, chance and intervals."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ensemw2s._validation import (
    RandomState,
    as_generator,
    check_integer,
    check_open_unit,
    check_real,
    check_vector,
)

__all__ = [
    "bootstrap_interval",
    "chance_level",
    "gap_over_seeds",
    "interval_over_seeds",
    "option_accuracy",
    "paired_bootstrap_interval",
    "performance_gap_recovered",
    "recovered_gap",
    "token_error",
]

# BCa's jackknife costs O(n^2): beyond this many values it takes seconds, and its correction, O(1/sqrt(n)), is not seen.
_BCA_LIMIT = 10_000
# Entries of one block of resamples: 32 MB of float64.
_BLOCK = 1 << 22
# Means of equal things that were summed in another order.
_ROUNDING = 1e-9


def token_error(predicted: ArrayLike, labels: ArrayLike) -> float:
    """Share of answer tokens that are predicted wrongly, teacher forced (EnsemW2S, section 3.2, token-wise).

    The average is taken over tokens (micro-average): long answers count more.

    Parameters
    ----------
    predicted : array-like of int of shape (n_tokens,)
        Predicted token ids of all answers, one after the other.
    labels : array-like of int of shape (n_tokens,)
        Token ids of the gold answers.

    Returns
    -------
    float
        The error, in [0, 1].

    Raises
    ------
    ValueError
        If an array is empty or not one-dimensional, or if the lengths differ.

    Examples
    --------
    >>> from ensemw2s import token_error
    >>> token_error([5, 7, 7, 2], [5, 7, 8, 2])
    0.25
    """
    return float(np.mean(~_equal("predicted", predicted, "labels", labels, per="answer token")))


def option_accuracy(chosen: ArrayLike, gold: ArrayLike) -> float:
    """Share of questions whose gold option was chosen (EnsemW2S, section 3.2, option-wise).

    Each question has one chosen option here. `score` of the generators, and their ``credit`` by question, count a gold
    option that is tied with others as 1/m, so that nothing depends on which of them is chosen.

    Parameters
    ----------
    chosen : array-like of int or str of shape (n_questions,)
        Option chosen for each question, as an index, a label or a text.
    gold : array-like of int or str of shape (n_questions,)
        The right option, written the same way.

    Returns
    -------
    float
        The accuracy, in [0, 1]. `chance_level` gives the accuracy of guessing, to be printed beside it.

    Raises
    ------
    ValueError
        If an array is empty or not one-dimensional, if the lengths differ, or if one holds texts and the other numbers.

    Examples
    --------
    >>> from ensemw2s import option_accuracy
    >>> option_accuracy(["A", "C", "D"], ["A", "B", "D"])
    0.6666666666666666
    """
    return float(np.mean(_equal("chosen", chosen, "gold", gold, per="question")))


def chance_level(n_choices: ArrayLike) -> float:
    """Accuracy of guessing uniformly among the choices, averaged over the questions.

    Parameters
    ----------
    n_choices : int or array-like of int of shape (n_questions,)
        Number of choices, of all questions or of each.

    Returns
    -------
    float
        Mean of 1 / n_choices, in (0, 1].

    Raises
    ------
    ValueError
        If there is no question, or a number of choices is not an integer of at least 1.

    Examples
    --------
    >>> from ensemw2s import chance_level
    >>> chance_level(4)
    0.25
    >>> chance_level([4, 4, 2])
    0.3333333333333333
    """
    counts = check_vector(np.atleast_1d(np.asarray(n_choices)), "n_choices", per="question")
    bad = (counts < 1) | (counts != np.floor(counts))
    if bad.any():
        row = int(np.argmax(bad))
        raise ValueError(f"n_choices must hold integers of at least 1. Got {counts[row]:g} in row {row} instead.")
    return float(np.mean(1.0 / counts))


def performance_gap_recovered(
    weak: float, student: float, oracle: float, *, noise: float = 0.0, chance: float = float("nan")
) -> float:
    r"""Share of the gap between weak model and oracle that the student recovers (PGR).

    :math:`PGR = \frac{\text{student} - \text{weak}}{\text{oracle} - \text{weak}}`, never clipped: above 1 the student
    beats the oracle, below 0 it falls behind the weak model.

    Parameters
    ----------
    weak : float
        Score of the weak model; in the paper that of the single weak model. Higher is better, for all three.
    student : float
        Score of the strong student that was trained on pseudo-labels.
    oracle : float
        Score of the same student trained on the true labels.
    noise : float >= 0, default=0.0
        Gap up to which oracle and weak model cannot be told apart, for example the half-width of the confidence
        interval of their difference.
    chance : float, default=nan
        Score of guessing; nan for none. Below it a model has learnt less than nothing, and a share of such scores is no
        measure of what a student makes of its labels.

    Returns
    -------
    float
        The PGR; nan, with a warning, where it has no meaning: ``oracle <= weak``, a score below `chance`, or a gap of
        at most `noise`.

    Raises
    ------
    ValueError
        If a score is not a finite number, `chance` is infinite, or `noise` is negative.

    Warns
    -----
    RuntimeWarning
        Where the result is nan; it names the scores and the reason.

    Examples
    --------
    >>> from ensemw2s import performance_gap_recovered
    >>> round(performance_gap_recovered(0.70, 0.74, 0.78), 12)
    0.5
    >>> round(performance_gap_recovered(0.70, 0.72, 0.705), 12)
    4.0
    """
    pgr, reason = recovered_gap(weak, student, oracle, noise=noise, chance=chance)
    if reason:
        warnings.warn(reason, RuntimeWarning, stacklevel=2)
    return pgr


def recovered_gap(
    weak: float, student: float, oracle: float, *, noise: float = 0.0, chance: float = float("nan")
) -> tuple[float, str]:
    """PGR as in `performance_gap_recovered`, and why it is nan; an empty reason where it is a number."""
    weak, student, oracle = (
        check_real(score, name) for name, score in (("weak", weak), ("student", student), ("oracle", oracle))
    )
    noise = check_real(noise, "noise")
    if noise < 0.0:
        raise ValueError(f"noise must not be negative. Got {noise!r} instead.")
    if not (isinstance(chance, float | np.floating) and np.isnan(chance)):
        chance = check_real(chance, "chance")
    gap = oracle - weak
    scores = {"weak model": weak, "student": student, "oracle": oracle}
    below_chance = [f"{name} ({score:g})" for name, score in scores.items() if score < chance - _ROUNDING]
    if gap > noise and not below_chance:
        return (student - weak) / gap, ""
    if gap <= 0.0:
        reason = f"the oracle ({oracle:g}) is not better than the weak model ({weak:g}), there is no gap to recover"
    elif below_chance:
        reason = f"below chance ({chance:g}) lies the {' and the '.join(below_chance)}"
    else:
        reason = f"the gap between oracle ({oracle:g}) and weak model ({weak:g}) is within the noise ({noise:g})"
    return float("nan"), f"performance_gap_recovered is nan: {reason}."


def bootstrap_interval(
    values: ArrayLike,
    *,
    confidence_level: float = 0.95,
    n_resamples: int = 2000,
    random_state: RandomState = None,
) -> tuple[float, float]:
    """Bootstrap confidence interval of a mean, such as an accuracy.

    Parameters
    ----------
    values : array-like of shape (n_questions,)
        One number per question, for example 1 where the gold option was chosen and 0 elsewhere.
    confidence_level : float in (0, 1), default=0.95
        Share of such intervals that shall hold the mean of the population.
    n_resamples : int >= 2, default=2000
        Number of resamples.
    random_state : int, Generator, RandomState or None, default=None
        Source of the resamples. An integer gives the same interval every time.

    Returns
    -------
    low, high : float
        The bounds, in the unit of `values`.

    Raises
    ------
    ValueError
        If `values` is empty, not one-dimensional or not finite, or another argument is out of range.

    Notes
    -----
    ``scipy.stats.bootstrap`` with the bias-corrected and accelerated method (BCa). Where BCa is undefined, and beyond
    10,000 values, where it is costly and no longer differs, the percentile method serves. Values that are all equal
    give an interval of no width: the bootstrap cannot know more than the sample shows.

    Examples
    --------
    >>> from ensemw2s import bootstrap_interval
    >>> low, high = bootstrap_interval([1, 0, 1, 1, 0, 1, 1, 1], random_state=0)
    >>> 0.25 <= low < 0.75 < high <= 1
    True
    """
    from scipy import stats  # half a second that only intervals need

    sample = check_vector(values, "values", per="question")
    confidence_level = check_open_unit(confidence_level, "confidence_level")
    n_resamples = check_integer(n_resamples, "n_resamples", minimum=2)
    if sample.min() == sample.max():
        return float(sample[0]), float(sample[0])
    with np.errstate(divide="ignore", invalid="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore", stats.DegenerateDataWarning)  # a nan is answered below
        result = stats.bootstrap(
            (sample,),
            np.mean,
            vectorized=True,
            n_resamples=n_resamples,
            confidence_level=confidence_level,
            batch=max(1, _BLOCK // sample.size),
            method="BCa" if sample.size <= _BCA_LIMIT else "percentile",
            rng=as_generator(random_state),
        )
    low, high = result.confidence_interval
    if not (np.isfinite(low) and np.isfinite(high)):
        tail = (1.0 - confidence_level) / 2.0
        low, high = np.quantile(result.bootstrap_distribution, (tail, 1.0 - tail))
    return float(low), float(high)


def paired_bootstrap_interval(
    a: ArrayLike,
    b: ArrayLike,
    *,
    confidence_level: float = 0.95,
    n_resamples: int = 2000,
    random_state: RandomState = None,
) -> tuple[float, float]:
    """Bootstrap confidence interval of the mean of ``a - b``, two models on the same questions.

    Questions are resampled, not answers: what the models share (hard and easy questions) cancels, and the interval is
    narrower than that of two independent samples.

    Parameters
    ----------
    a, b : array-like of shape (n_questions,)
        One number per question and model, in the same order of questions.
    confidence_level : float in (0, 1), default=0.95
        Share of such intervals that shall hold the difference in the population.
    n_resamples : int >= 2, default=2000
        Number of resamples.
    random_state : int, Generator, RandomState or None, default=None
        Source of the resamples. An integer gives the same interval every time.

    Returns
    -------
    low, high : float
        The bounds. An interval without 0 speaks for a difference.

    Raises
    ------
    ValueError
        If an array is empty, not one-dimensional or not finite, if the lengths differ, or if another argument is out
        of range.

    Examples
    --------
    >>> from ensemw2s import paired_bootstrap_interval
    >>> paired_bootstrap_interval([1, 1, 0, 1], [0, 0, -1, 0], random_state=0)
    (1.0, 1.0)
    """
    first = check_vector(a, "a", per="question")
    second = check_vector(b, "b", length=first.size, per="question, as a has")
    return bootstrap_interval(
        first - second, confidence_level=confidence_level, n_resamples=n_resamples, random_state=random_state
    )


def interval_over_seeds(
    values: Sequence[ArrayLike],
    *,
    items: Sequence[ArrayLike] | None = None,
    confidence_level: float = 0.95,
    random_state: RandomState = None,
) -> tuple[float, float]:
    r"""Confidence interval of a mean over seeds, each of which trained models of its own and tested them on items.

    Items alone do not tell how much another training would change: an interval over the items of all seeds excludes a
    true difference of zero far too often. This one is a t interval over the means of the seeds, and never narrower than
    the interval over items.

    Parameters
    ----------
    values : sequence of S array-like of shape (n_s,)
        For each seed one number per test item, for example the difference of two models' right (1) and wrong (0)
        answers. Seeds count alike, whatever the number of their items. Of seeds whose means alone are known, one number
        each: ``[[0.03], [0.05], [0.02]]``.
    items : sequence of S array-like of shape (n_s,), optional
        What tells the items of each seed from others, such as row numbers, where seeds share some. If None no item is
        in two seeds.
    confidence_level : float in (0, 1), default=0.95
        Share of such intervals that shall hold the mean of the population.
    random_state : int, Generator, RandomState or None, default=None
        Of the bootstrap that serves for a single seed.

    Returns
    -------
    low, high : float
        The bounds, around the mean of the seeds' means. Of a single seed `bootstrap_interval`, which is over items only
        and understates: one training says nothing about the variance between trainings.

    Raises
    ------
    ValueError
        If there is no seed, a seed has no item, a value is not finite, lengths differ, or `confidence_level` is out of
        range.

    Notes
    -----
    With the means :math:`m_s` of S seeds, their standard error :math:`s = sd(m_s) / \sqrt S`, the variance :math:`v` of
    the grand mean over items, as if no two seeds shared one, and the same, :math:`v_c`, with the deviations of equal
    items summed first, the half-width is :math:`\max(\sqrt{t_{S-1}^2 s^2 + z^2 \max(v_c - v, 0)}, z \sqrt{v_c})`.

    In simulations of a difference of zero, 95 % intervals that exclude it, with a standard deviation of .02 between
    trainings, 3 seeds and 300 items: over pooled items .15, hierarchical bootstrap .06, t interval .05, this one .03;
    with .03, 5 seeds, 600 items: .35, .08, .05, .05; with .02, 3 seeds, 2,000 items: .45, .16, .05, .05.

    Examples
    --------
    >>> from ensemw2s import interval_over_seeds
    >>> [round(bound, 3) for bound in interval_over_seeds([[0, 0, 1, 1], [0, 1, 1, 1], [1, 1, 1, 1]])]
    [0.129, 1.371]
    """
    from scipy.special import ndtri, stdtrit

    samples = [check_vector(sample, f"values[{seed}]", per="test item") for seed, sample in enumerate(values)]
    if not samples:
        raise ValueError("values must hold the values of at least one seed. Got none.")
    tail = 1.0 - (1.0 - check_open_unit(confidence_level, "confidence_level")) / 2.0
    names = None if items is None else _item_names(items, samples)
    if len(samples) == 1:
        return bootstrap_interval(samples[0], confidence_level=confidence_level, random_state=random_state)
    n_seeds, z = len(samples), ndtri(tail)
    means = np.array([sample.mean() for sample in samples])
    # What each item moves the grand mean by, seen from its seed's own mean; unbiased for the variance.
    shares = np.concatenate([
        (sample - mean) / (n_seeds * np.sqrt(sample.size * max(sample.size - 1, 1)))
        for sample, mean in zip(samples, means, strict=True)
    ])  # fmt: skip
    apart = together = float(np.sum(shares**2))
    if names is not None:
        together = float(np.sum(np.bincount(names, weights=shares) ** 2))
    between = float(stdtrit(n_seeds - 1, tail) * means.std(ddof=1)) / np.sqrt(n_seeds)
    half = max(np.sqrt(between**2 + z**2 * max(together - apart, 0.0)), z * np.sqrt(together))
    return float(means.mean() - half), float(means.mean() + half)


def gap_over_seeds(
    weak: Sequence[ArrayLike],
    student: Sequence[ArrayLike],
    oracle: Sequence[ArrayLike],
    *,
    chance: float = float("nan"),
    items: Sequence[ArrayLike] | None = None,
    confidence_level: float = 0.95,
) -> tuple[float, str]:
    """PGR of the mean scores of one or several seeds, and the reason where there is none.

    The noise that the gap between oracle and weak model has to exceed is that of `interval_over_seeds`.

    Parameters
    ----------
    weak, student, oracle : sequence of S array-like of shape (n_s,)
        Score of each test item, by seed.
    chance : float, default=nan
        Score of guessing; nan for none.
    items, confidence_level
        As in `interval_over_seeds`.

    Returns
    -------
    pgr : float
        Or nan.
    reason : str
        Empty where there is a PGR.

    Raises
    ------
    ValueError
        If the models differ in the number of seeds or of a seed's items, or as `interval_over_seeds`.
    """
    sizes = {
        name: [np.size(sample) for sample in model]
        for name, model in (("weak", weak), ("student", student), ("oracle", oracle))
    }
    for name, found in sizes.items():
        if found != sizes["weak"]:
            raise ValueError(
                f"{name} must have the seeds and items of weak, {sizes['weak']} items by seed. Got {found} instead."
            )
    gaps = [np.subtract(np.asarray(o, float), np.asarray(w, float)) for o, w in zip(oracle, weak, strict=True)]
    low, _ = interval_over_seeds(gaps, items=items, confidence_level=confidence_level, random_state=0)
    scores = [
        float(np.mean([np.asarray(sample, float).mean() for sample in model])) for model in (weak, student, oracle)
    ]
    noise = max(float(np.mean([gap.mean() for gap in gaps])) - low, 0.0)
    return recovered_gap(*scores, noise=noise, chance=chance)


def _item_names(items: Any, samples: list[NDArray[np.float64]]) -> NDArray[np.intp]:
    """One number for each item of all seeds, equal for equal items."""
    arrays = [np.asarray(names) for names in items]
    if len(arrays) > len(samples):
        raise ValueError(f"items must have {len(samples)} entries, one per seed. Got {len(arrays)} instead.")
    for seed, sample in enumerate(samples):
        shape = arrays[seed].shape if seed < len(arrays) else None
        if shape != sample.shape:
            raise ValueError(
                f"items[{seed}] must have shape {sample.shape}, as values[{seed}] has. Got {shape} instead."
            )
    numbers: dict[Any, int] = {}  # of texts and numbers as well, which have no order
    return np.array([numbers.setdefault(name, len(numbers)) for names in arrays for name in names.tolist()])


def _equal(first_name: str, first: ArrayLike, second_name: str, second: ArrayLike, *, per: str) -> NDArray[np.bool_]:
    left, right = np.asarray(first), np.asarray(second)
    for name, array in ((first_name, left), (second_name, right)):
        if array.ndim != 1:
            raise ValueError(f"{name} must have one dimension. Got shape {array.shape} instead.")
    if left.shape != right.shape:
        raise ValueError(
            f"{first_name} and {second_name} must have the same length, one entry per {per}. "
            f"Got {left.size} and {right.size} instead."
        )
    if left.size == 0:
        raise ValueError(f"{first_name} and {second_name} must not be empty; pass at least one {per}.")
    if _kind(left) != _kind(right):
        raise ValueError(
            f"{first_name} and {second_name} must be written the same way. "
            f"Got dtypes {left.dtype} and {right.dtype}, which are never equal."
        )
    return np.asarray(left == right, dtype=bool)


def _kind(array: NDArray[np.generic]) -> str:
    """Return "text" or "number"; an object array is what its first entry is."""
    if array.dtype.kind == "O":
        return "text" if isinstance(array[0], str) else "number"
    return "text" if array.dtype.kind in "UT" else "number"
