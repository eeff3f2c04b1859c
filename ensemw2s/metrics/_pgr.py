"""Performance gap recovered: how much of the way from the weak model to the oracle the student has gone."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from ensemw2s._validation import check_real
from ensemw2s.metrics._intervals import interval_over_seeds

# Means of equal things that were summed in another order.
_ROUNDING = 1e-9


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
