"""What the ensemble brings the student, over the seeds of one pair, split and variant."""

from __future__ import annotations

import warnings
from typing import Any, NamedTuple

import numpy as np

from ensemw2s.experiments._encoding import unpack_bits
from ensemw2s.metrics import paired_bootstrap_interval, performance_gap_recovered

__all__ = ["Difference", "compare", "difference"]


class Difference(NamedTuple):
    """Of two accuracies: mean over seeds, interval over the items of all seeds, standard error over seeds."""

    mean: float
    low: float
    high: float
    sem: float


def difference(records: list[dict[str, Any]], first: str, second: str, confidence_level: float) -> Difference:
    """Accuracy of `first` minus that of `second`, two keys of a record's "correct"."""
    pairs = [[unpack_bits(record["correct"][name]).astype(float) for name in (first, second)] for record in records]
    by_seed = [float(a.mean() - b.mean()) for a, b in pairs]
    low, high = paired_bootstrap_interval(
        np.concatenate([a for a, _ in pairs]),
        np.concatenate([b for _, b in pairs]),
        confidence_level=confidence_level,
        random_state=0,
    )
    sem = float(np.std(by_seed, ddof=1) / np.sqrt(len(by_seed))) if len(by_seed) > 1 else float("nan")
    return Difference(float(np.mean(by_seed)), low, high, sem)


def compare(records: list[dict[str, Any]], confidence_level: float) -> dict[str, Any]:
    """One row of `SweepResult.comparison`."""
    student = difference(records, "student", "baseline", confidence_level)
    ensemble = difference(records, "ensemble", "weak", confidence_level)
    return {
        "student_minus_baseline": student.mean,
        "low": student.low,
        "high": student.high,
        "sem": student.sem,
        "ensemble_minus_weak": ensemble.mean,
        "ensemble_low": ensemble.low,
        "ensemble_high": ensemble.high,
        **_recovered(records, confidence_level),
        "n_seeds": len(records),
        "n_test": sum(len(record["correct"]["weak"]) for record in records),
    }


def _recovered(records: list[dict[str, Any]], confidence_level: float) -> dict[str, Any]:
    gap = difference(records, "oracle", "weak", confidence_level)
    score = {
        name: float(np.mean([unpack_bits(record["correct"][name]).mean() for record in records]))
        for name in ("weak", "baseline", "student", "oracle")
    }
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        recovered: dict[str, Any] = {
            column: performance_gap_recovered(
                score["weak"], score[name], score["oracle"], noise=max(gap.mean - gap.low, 0.0)
            )
            for column, name in (("pgr", "student"), ("pgr_baseline", "baseline"))
        }
    return {**recovered, "pgr_reason": str(caught[0].message) if caught else ""}
