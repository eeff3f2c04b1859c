"""A sweep's results as one Markdown table."""

from __future__ import annotations

from typing import Any

import numpy as np

from ensemw2s._markdown import table_lines
from ensemw2s.experiments._tables import MODELS

__all__ = ["PGR_REMARK", "collapse_remark", "interval_remark", "sweep_table"]

_NAMED = 3  # units that a remark names

PGR_REMARK = (
    "PGR of the mean accuracies; – where the gap between oracle and weak model is inside its interval, or an "
    "accuracy below chance."
)


def sweep_table(summary: Any, comparison: Any, confidence_level: float, records: list[dict[str, Any]]) -> str:
    """A row per pair, split and variant.

    Parameters
    ----------
    summary, comparison : pandas.DataFrame
        From `SweepResult`.
    confidence_level : float
        Of the intervals in `comparison`.
    records : list of dict
        The units.
    """
    models = [name for name in MODELS if name in summary.index.get_level_values("model")]
    others = comparison.index.names[:-4]  # what tells data sets or settings apart
    head = [
        *others,
        "weak → strong",
        "split",
        "variant",
        *models,
        "student − baseline",
        "PGR",
        "chance",
        "seeds × items",
    ]
    rows = []
    for cell, row in comparison.iterrows():
        *where, weak, strong, split, variant = cell
        scores = [_plus_minus(summary, (*cell, model)) for model in models]
        interval = f"{row['student_minus_baseline']:+.3f} [{row['low']:+.3f}, {row['high']:+.3f}]"
        chance = summary.loc[(*cell, models[0]), "chance"]
        size = f"{row['n_seeds']} × {row['n_test'] // row['n_seeds']}"
        rows.append([
            *where,
            f"{weak} → {strong}",
            split,
            variant,
            *scores,
            interval,
            _number(row["pgr"], 2),
            _number(chance, 3),
            size,
        ])  # fmt: skip
    remark = (
        f"Accuracy, mean ± standard error over seeds; {interval_remark(comparison['n_seeds'], confidence_level)} "
        f"{PGR_REMARK}"
    )
    return "\n".join([*table_lines(head, rows), "", " ".join([remark, *collapse_remark(records)])])


def collapse_remark(records: list[dict[str, Any]]) -> list[str]:
    """Which units have a student whose teacher gave every question the same class; no sentence where none has."""
    names = [
        f"{record['weak']} → {record['strong']}, {record['split']}, {record['variant']}, seed {record['seed']} "
        f"(T = {', '.join(record['collapsed'])})"
        for record in records
        if record.get("collapsed")
    ]
    if not names:
        return []
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return [
        f"The teacher has collapsed to one class, and its student is the constant that says it, in "
        f"{'; '.join(names[:_NAMED])}{more}."
    ]


def interval_remark(n_seeds: Any, confidence_level: float) -> str:
    """What the intervals of `interval_over_seeds` are, for the numbers of seeds that there are."""
    several = f"{confidence_level:.0%} t interval over seeds, paired, never narrower than over the test items alone."
    one = (
        f"{confidence_level:.0%} paired bootstrap interval over test items only: one seed does not tell the variance "
        f"between trainings, and the interval understates."
    )
    if min(n_seeds) > 1:
        return several
    return one if max(n_seeds) == 1 else f"{several} Of a single seed: {one}"


def _plus_minus(summary: Any, row: tuple[str, ...]) -> str:
    if row not in summary.index:
        return ""
    mean, sem = summary.loc[row, ["accuracy", "sem"]]
    return f"{mean:.3f}" if np.isnan(sem) else f"{mean:.3f} ± {sem:.3f}"


def _number(value: float, digits: int) -> str:
    return "–" if np.isnan(value) else f"{value:.{digits}f}"
