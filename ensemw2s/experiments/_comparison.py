"""What the ensemble brings the student, over the seeds of one pair, split and variant."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ensemw2s.experiments._record import unpack_credit
from ensemw2s.metrics import gap_over_seeds, interval_over_seeds

__all__ = ["Difference", "compare", "difference", "items_of", "recovered"]


class Difference(NamedTuple):
    """Of two accuracies: mean over seeds, interval of `interval_over_seeds`, standard error over seeds."""

    mean: float
    low: float
    high: float
    sem: float


def difference(records: list[dict[str, Any]], first: str, second: str, confidence_level: float) -> Difference:
    """Accuracy of `first` minus that of `second`, two keys of a record's "correct"."""
    differences = [a - b for a, b in zip(_scores(records, first), _scores(records, second), strict=True)]
    by_seed = [float(values.mean()) for values in differences]
    low, high = interval_over_seeds(
        differences, items=items_of(records), confidence_level=confidence_level, random_state=0
    )
    sem = float(np.std(by_seed, ddof=1) / np.sqrt(len(by_seed))) if len(by_seed) > 1 else float("nan")
    return Difference(float(np.mean(by_seed)), low, high, sem)


def recovered(records: list[dict[str, Any]], student: str, confidence_level: float) -> tuple[float, str]:
    """PGR of the mean accuracies of a student, a key of a record's "correct", and the reason where there is none."""
    return gap_over_seeds(
        _scores(records, "weak"), _scores(records, student), _scores(records, "oracle"),
        chance=float(np.mean([record["chance"] for record in records])),
        items=items_of(records), confidence_level=confidence_level,
    )  # fmt: skip


def compare(records: list[dict[str, Any]], confidence_level: float) -> dict[str, Any]:
    """One row of `SweepResult.comparison`."""
    student = difference(records, "student", "baseline", confidence_level)
    ensemble = difference(records, "ensemble", "weak", confidence_level)
    pgr, reason = recovered(records, "student", confidence_level)
    return {
        "student_minus_baseline": student.mean,
        "low": student.low,
        "high": student.high,
        "sem": student.sem,
        "ensemble_minus_weak": ensemble.mean,
        "ensemble_low": ensemble.low,
        "ensemble_high": ensemble.high,
        "pgr": pgr,
        "pgr_baseline": recovered(records, "baseline", confidence_level)[0],
        "pgr_reason": reason,
        "n_seeds": len(records),
        "n_test": sum(len(record["correct"]["weak"]) for record in records),
    }


def items_of(records: list[dict[str, Any]]) -> list[Any] | None:
    """Row numbers of each seed's test items; None where a record, of an earlier version, does not say them."""
    items = [record.get("items") for record in records]
    return None if any(rows is None for rows in items) else items


def _scores(records: list[dict[str, Any]], model: str) -> list[np.ndarray]:
    return [unpack_credit(record["correct"][model]) for record in records]
