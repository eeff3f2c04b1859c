"""A sweep's results as one Markdown table."""

from __future__ import annotations

from typing import Any

import numpy as np

from ensemw2s.experiments._frames import MODELS

__all__ = ["sweep_table"]


def sweep_table(summary: Any, comparison: Any, confidence_level: float) -> str:
    """A row per pair, split and variant.

    Parameters
    ----------
    summary, comparison : pandas.DataFrame
        From `SweepResult`.
    confidence_level : float
        Of the intervals in `comparison`.
    """
    models = [name for name in MODELS if name in summary.index.get_level_values("model")]
    head = ["weak → strong", "split", "variant", *models, "student − baseline", "PGR", "chance", "seeds × items"]
    lines = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    for cell, row in comparison.iterrows():
        weak, strong, split, variant = cell
        scores = [_plus_minus(summary, (*cell, model)) for model in models]
        interval = f"{row['student_minus_baseline']:+.3f} [{row['low']:+.3f}, {row['high']:+.3f}]"
        chance = summary.loc[(*cell, models[0]), "chance"]
        size = f"{row['n_seeds']} × {row['n_test'] // row['n_seeds']}"
        cells = [
            f"{weak} → {strong}",
            split,
            variant,
            *scores,
            interval,
            _number(row["pgr"], 2),
            _number(chance, 3),
            size,
        ]
        lines.append("| " + " | ".join(cells) + " |")
    remark = (
        f"Accuracy, mean ± standard error over seeds; {confidence_level:.0%} paired bootstrap interval over the test "
        "items of all seeds. PGR of the mean accuracies; – where the gap between oracle and weak model is inside its "
        "interval."
    )
    return "\n".join([*lines, "", remark])


def _plus_minus(summary: Any, row: tuple[str, ...]) -> str:
    if row not in summary.index:
        return ""
    mean, sem = summary.loc[row, ["accuracy", "sem"]]
    return f"{mean:.3f}" if np.isnan(sem) else f"{mean:.3f} ± {sem:.3f}"


def _number(value: float, digits: int) -> str:
    return "–" if np.isnan(value) else f"{value:.{digits}f}"
