"""Scores of the models of weak-strong pairs, from reports or from a sweep's frame."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from ensemw2s._validation import check_option, shorten
from ensemw2s.pipeline import W2SReport
from ensemw2s.plots._frames import (
    metric_of,
    refuse_duplicates,
    refuse_other_settings,
    refuse_several,
    select,
    short_names,
)
from ensemw2s.plots._palette import MODEL_LABELS

if TYPE_CHECKING:
    import pandas

DRAWN = ("weak", "ensemble", "baseline", "student", "oracle")
_WEAK_SIDE = ("weak", "ensemble", "uniform")


@dataclass
class PairScores:
    """One score per pair and model, (P,) each, with the bounds of its error bar; nan where a model is missing."""

    pairs: list[str]
    score: dict[str, np.ndarray]
    low: dict[str, np.ndarray]
    high: dict[str, np.ndarray]
    chance: np.ndarray
    interval: str
    metric: str = "accuracy"
    groups: list[pandas.DataFrame] = field(default_factory=list)  # of a frame: the rows of each pair


def check_models(models: Sequence[str]) -> list[str]:
    """Return `models` as a list of known names."""
    names = [models] if isinstance(models, str) else list(models)
    unknown = [name for name in names if name not in MODEL_LABELS]
    if unknown or not names:
        raise ValueError(f"models must be among {', '.join(map(repr, MODEL_LABELS))}. Got {shorten(models)} instead.")
    return names


def check_reports(report: Any, label: str | None) -> dict[str, W2SReport]:
    """Return reports by the label of their pair."""
    reports = dict(report) if isinstance(report, Mapping) else {"" if label is None else label: report}
    if not reports or not all(isinstance(one, W2SReport) for one in reports.values()):
        raise TypeError(f"report must be a W2SReport, or a dict of them by label. Got {shorten(report)} instead.")
    return {str(name): one for name, one in reports.items()}


def pairs_of_reports(reports: dict[str, W2SReport], models: Sequence[str]) -> PairScores:
    """Scores with their bootstrap intervals."""
    metrics = list(dict.fromkeys(report.metric for report in reports.values()))
    if len(metrics) > 1:
        raise ValueError(f"report must hold reports of one metric. Got {', '.join(metrics)}; draw each by itself.")
    score, low, high = ({name: np.full(len(reports), np.nan) for name in models} for _ in range(3))
    for place, report in enumerate(reports.values()):
        for name in models:
            if name in report.correct:
                score[name][place] = report.score(name)
                low[name][place], high[name][place] = report.interval(name)
    levels = " / ".join(dict.fromkeys(f"{report.confidence_level:.0%}" for report in reports.values()))
    chance = np.array([report.chance for report in reports.values()])
    return PairScores(list(reports), score, low, high, chance, f"{levels} bootstrap over items, one seed", metrics[0])


def pairs_of_frame(
    frame: object, models: Sequence[str], *, metric: str | None = None, split: object = None, variant: object = None
) -> PairScores:
    """Means over seeds with their standard errors; of a single seed, its bootstrap interval.

    Weak models stand for themselves, whatever strong model they are paired with, if no student is asked for.
    """
    measured = metric_of(frame)
    metric = measured if metric is None else check_option(metric, "metric", (measured, "token_error"))
    rows = select(frame, ("weak", "strong", "seed", "model", metric), split=split, variant=variant)
    refuse_several(rows, ("split", "variant"), "pass {column}=...")
    sides = ["weak"] if set(models) <= set(_WEAK_SIDE) else ["weak", "strong"]
    refuse_other_settings(rows, weak_alone=sides == ["weak"])
    rows = rows[rows["model"].isin(list(models))]
    if rows.empty:
        raise ValueError(f"frame must hold one of the models {', '.join(models)}. Got none of them.")
    if sides == ["weak"]:
        # A sweep's frame has a weak model once for each student that it teaches: one run all the same.
        rows = rows.drop_duplicates(["weak", "seed", "model", metric])
    refuse_duplicates(rows, [*sides, "seed", "model"])

    short = {side: short_names(rows[side]) for side in sides}
    keys, groups = [], []
    for key, group in rows.groupby(sides, sort=False, dropna=False):
        keys.append("\n→ ".join(short[side][name] for side, name in zip(sides, key, strict=True)))
        groups.append(group)
    score, low, high = ({name: np.full(len(groups), np.nan) for name in models} for _ in range(3))
    single = rows.groupby([*sides, "model"], dropna=False)["seed"].nunique().max() == 1
    counts = set()
    for place, group in enumerate(groups):
        for name in models:
            runs = group[group["model"] == name]
            if runs.empty:
                continue
            values = runs[metric].dropna().to_numpy(dtype=float)
            counts.add(len(values))
            score[name][place] = values.mean() if len(values) else np.nan
            if single and metric == measured and {"low", "high"} <= set(runs.columns):
                low[name][place], high[name][place] = runs["low"].iloc[0], runs["high"].iloc[0]
            elif len(values) > 1:
                sem = values.std(ddof=1) / np.sqrt(len(values))
                low[name][place], high[name][place] = score[name][place] - sem, score[name][place] + sem
    if single:
        interval = "bootstrap over items, one seed" if metric == measured and "low" in rows.columns else ""
    else:
        seeds = "–".join(str(count) for count in sorted({min(counts), max(counts)}))
        interval = f"SEM over {seeds} seeds"
    chance = np.full(len(groups), np.nan)
    if metric == measured and "chance" in rows.columns:
        chance = np.array([group["chance"].mean() for group in groups])
    return PairScores(keys, score, low, high, chance, interval, metric, groups)
