"""Records of units as tidy rows."""

from __future__ import annotations

from typing import Any

import numpy as np

from ensemw2s.experiments._grouping import CELL, brief_settings
from ensemw2s.experiments._record import unpack_credit
from ensemw2s.experiments._rounds_diversity import diversity_by_round
from ensemw2s.metrics import bootstrap_interval

__all__ = ["MODELS", "accuracy", "model_rows", "round_rows", "selection_rows"]

MODELS = ("weak", "ensemble", "uniform", "baseline", "student", "oracle", "easy")


def accuracy(packed: str | list[int]) -> float:
    """Mean of what items earn, from `pack_credit`."""
    return float(unpack_credit(packed).mean())


def model_rows(record: dict[str, Any], confidence_level: float) -> list[dict[str, Any]]:
    """One row per model of a unit, see `SweepResult.frame`."""
    rows = []
    for model in MODELS:
        if model not in record["correct"]:
            continue
        right = unpack_credit(record["correct"][model])
        low, high = bootstrap_interval(right, confidence_level=confidence_level, random_state=0)
        rows.append({
            **_unit_columns(record),
            "model": model,
            "accuracy": float(right.mean()),
            "low": low,
            "high": high,
            "token_error": record["token_errors"].get(model, float("nan")),
            "chance": record["chance"],
            "n_test": len(right),
            "n_tied": int(np.sum((right > 0) & (right < 1))),
            **_settings_columns(record),
        })  # fmt: skip
    return rows


def round_rows(record: dict[str, Any]) -> list[dict[str, Any]]:
    """One row per round of a unit's ensemble, see `SweepResult.rounds`."""
    n_rounds = len(record["stages"])
    unknown = [float("nan")] * n_rounds
    diversity = diversity_by_round(record)
    if "member_credit" in record:
        member_accuracy = [accuracy(packed) for packed in record["member_credit"]]
    else:  # of a version in which the first of tied options counted
        member_accuracy = [float(np.mean(np.equal(answers, 0))) for answers in record["members"]]
    students = {int(t): accuracy(bits) for t, bits in record["students"].items()}
    return [
        {
            **_unit_columns(record),
            "round": t + 1,
            "vote": record["votes"][t],
            "error": record["errors"][t],
            "prior": record["priors"][t],
            "accuracy": accuracy(record["stages"][t]),
            "token_error": (record["stage_token_errors"] or unknown)[t],
            "member_accuracy": member_accuracy[t],
            "validation_accuracy": (record["validation"] or unknown)[t],
            "student_accuracy": students.get(t + 1, float("nan")),
            "chance": record["chance"],
            **diversity[t],
            **_settings_columns(record),
        }
        for t in range(n_rounds)
    ]


def selection_rows(record: dict[str, Any]) -> dict[str, Any]:
    """The number of rounds of a unit, chosen on validation and on test, see `SweepResult.selected_rounds`."""
    rounds = round_rows(record)
    chosen = max(rounds, key=lambda row: row["validation_accuracy"])  # the earliest of equal ones
    best = max(rounds, key=lambda row: row["student_accuracy"])
    return {
        **_unit_columns(record),
        "chosen_round": chosen["round"],
        "ensemble_accuracy": chosen["accuracy"],
        "student_accuracy": chosen["student_accuracy"],
        "best_round": best["round"],
        "best_student_accuracy": best["student_accuracy"],
    }


def _unit_columns(record: dict[str, Any]) -> dict[str, Any]:
    return {column: record[column] for column in ("dataset", "task", *CELL, "seed")}


def _settings_columns(record: dict[str, Any]) -> dict[str, str]:
    digests = {name: record.get(name, "") for name in ("settings_digest", "weak_settings_digest")}
    return {"settings": brief_settings(record), **digests}
