"""PGR with its uncertainty, and a short reason where it has none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ensemw2s.metrics import recovered_gap
from ensemw2s.plots._frames import select

if TYPE_CHECKING:
    import pandas

    from ensemw2s.pipeline import W2SReport


@dataclass
class ModelScores:
    """Scores of one pair by model, (n,) each, over test items or over seeds; nan where there is none."""

    scores: dict[str, np.ndarray]
    noise: float  # what the gap has to exceed
    factor: float = 1.0  # standard errors in an error bar
    chance: float = float("nan")


def scores_of_report(report: W2SReport) -> ModelScores:
    """Right or wrong by test item; the noise is that of the report's own PGR."""
    from scipy.special import ndtri

    scores = {name: right.astype(float) for name, right in report.correct.items()}
    noise = 0.0
    if "weak" in scores and "oracle" in scores:
        gap, low, _ = report.difference("oracle", "weak")
        noise = max(gap - low, 0.0)
    return ModelScores(scores, noise, float(ndtri(0.5 + report.confidence_level / 2)), report.chance)


def scores_of_frame(
    group: pandas.DataFrame, comparison: pandas.DataFrame | None = None, metric: str = "accuracy"
) -> ModelScores:
    """Scores by seed, of one pair's rows of a sweep's frame; a comparison decides which gap counts."""
    table = group.pivot(index="seed", columns="model", values=metric)
    scores = {str(name): table[name].to_numpy(dtype=float) for name in table.columns}
    noise = 0.0
    if comparison is not None:
        noise = _noise_of_comparison(group, comparison)
    elif "weak" in scores and "oracle" in scores:
        gap = (scores["oracle"] - scores["weak"])[np.isfinite(scores["oracle"] - scores["weak"])]
        # Seeds may agree by chance, and then say less than their items.
        noise = (
            _noise_over_items(group, metric)
            if len(gap) < 2
            else max(_noise_over_seeds(gap), _noise_over_items(group, metric))
        )
    chance = float(group["chance"].mean()) if "chance" in group.columns else float("nan")
    return ModelScores(scores, noise, chance=chance)


def recovered_gaps(
    runs: Sequence[ModelScores], students: Sequence[str]
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray], dict[str, list[str]]]:
    """PGR of each pair's mean scores, half-length of its error bar, and why it is nan, by student."""
    pgr, error = ({name: np.full(len(runs), np.nan) for name in students} for _ in range(2))
    reasons = {name: [""] * len(runs) for name in students}
    for place, run in enumerate(runs):
        for name in students:
            trio = [run.scores.get(model, np.array([np.nan])) for model in ("weak", name, "oracle")]
            missing = [model for model, one in zip(("weak", name, "oracle"), trio, strict=True) if np.isnan(one).all()]
            if missing:
                reasons[name][place] = f"no {missing[0]}"
                continue
            complete = np.isfinite(trio).all(axis=0)
            if not complete.any():
                reasons[name][place] = "no seed with all models"
                continue
            weak, student, oracle = (values[complete] for values in trio)
            pgr[name][place], reasons[name][place] = _recovered(weak, student, oracle, run)
            if not reasons[name][place]:
                error[name][place] = run.factor * _jackknife_error(weak, student, oracle)
    return pgr, error, reasons


def _recovered(weak: np.ndarray, student: np.ndarray, oracle: np.ndarray, run: ModelScores) -> tuple[float, str]:
    scores = [float(values.mean()) for values in (weak, student, oracle)]
    pgr, reason = recovered_gap(*scores, noise=run.noise, chance=run.chance)
    if not reason:  # else a shorter one, for which there is room
        return pgr, ""
    if scores[2] <= scores[0]:
        return pgr, "oracle ≤ weak"
    return pgr, "gap within noise" if scores[2] - scores[0] <= run.noise else "below chance"


def _noise_of_comparison(group: pandas.DataFrame, comparison: pandas.DataFrame) -> float:
    """1, which no gap of accuracies exceeds, where the comparison has no PGR for this pair; else 0."""
    comparison = comparison.reset_index()
    # A comparison has data set, task and settings where they differ.
    known = [column for column in ("dataset", "task", "settings_digest") if column in comparison.columns]
    cell = [column for column in (*known, "weak", "strong", "split", "variant") if column in group.columns]
    rows = select(comparison, [*cell, "pgr"], "comparison", **{column: [group[column].iloc[0]] for column in cell})
    return 1.0 if np.isnan(rows["pgr"].iloc[0]) else 0.0


def _noise_over_seeds(gap: np.ndarray) -> float:
    """Half-width of the 95 % t-interval of the mean gap, (S,) with S of at least 2."""
    from scipy.special import stdtrit

    return float(stdtrit(len(gap) - 1, 0.975) * gap.std(ddof=1) / np.sqrt(len(gap)))


def _noise_over_items(group: pandas.DataFrame, metric: str) -> float:
    """Half-width over items of the mean gap of S seeds; 0 without the intervals of the models.

    Both models' intervals in quadrature: too wide, as both saw the same items.
    """
    if not {"low", "high"} <= set(group.columns):
        return 0.0
    rows = group.pivot(index="seed", columns="model", values=[metric, "low", "high"])
    below, above = ((rows[first] - rows[second]) for first, second in ((metric, "low"), ("high", metric)))
    if "oracle" not in below or "weak" not in above:
        return 0.0
    widths = np.hypot(below["oracle"].to_numpy(dtype=float), above["weak"].to_numpy(dtype=float))
    known = widths[np.isfinite(widths)]
    return float(np.sqrt(np.sum(known**2)) / len(known)) if len(known) else 0.0


def _jackknife_error(weak: np.ndarray, student: np.ndarray, oracle: np.ndarray) -> float:
    """Standard error of the PGR of mean scores, (n,) each, with one item or seed left out at a time.

    nan for fewer than two, and where leaving one out closes the gap.
    """
    # A ratio of means: the variances of its parts do not add up, since all models answered the same items.
    n = len(weak)
    gap = oracle.sum() - weak.sum() - (oracle - weak)  # (n,), each without one
    if n < 2 or (gap <= 0).any():
        return float("nan")
    ratios = (student.sum() - weak.sum() - (student - weak)) / gap
    return float(np.sqrt((n - 1) / n * np.sum((ratios - ratios.mean()) ** 2)))
