"""One unit of a sweep: a pure function of settings, unit and folder, which any joblib backend may run."""

from __future__ import annotations

import traceback
from dataclasses import dataclass
from typing import Any

from ensemw2s.experiments._spec import Settings, Unit
from ensemw2s.experiments._store import ResultStore
from ensemw2s.experiments._student_step import student_result
from ensemw2s.experiments._weak_step import weak_result

__all__ = ["UnitFailure", "describe_unit", "read_unit", "run_unit"]


@dataclass(frozen=True)
class UnitFailure:
    """A unit that raised: its name, the error as one line, and the traceback."""

    name: str
    reason: str
    traceback: str

    def __str__(self) -> str:
        return f"{self.name}: {self.reason}"


def run_unit(settings: Settings, unit: Unit, folder: str) -> UnitFailure | None:
    """Compute what the unit still lacks and commit it; an error is returned, so that other units go on."""
    try:
        read_unit(settings, unit, ResultStore(folder))
    except Exception as error:  # noqa: BLE001 - reported by name when the other units have finished
        return UnitFailure(unit.name, f"{type(error).__name__}: {error}", traceback.format_exc())
    return None


def describe_unit(settings: Settings, unit: Unit) -> dict[str, Any]:
    """All that the unit's result depends on, as JSON."""
    return {
        "weak": settings.describe_weak(unit),
        "readout": unit.variant.readout,
        "strong": unit.strong.describe(),
        "train_on_easy": settings.train_on_easy,
        "names": [unit.weak.name, unit.strong.name, unit.variant.name],
    }


def read_unit(settings: Settings, unit: Unit, store: ResultStore) -> dict[str, Any]:
    """The unit's result as JSON, computed where it is missing."""
    return store.get("unit", describe_unit(settings, unit), lambda: _compute(settings, unit, store))


def _compute(settings: Settings, unit: Unit, store: ResultStore) -> dict[str, Any]:
    weak = weak_result(settings, unit, store)
    asked = next(entry for entry in weak["readouts"] if entry["readout"] == unit.variant.readout)
    students = {t: student_result(settings, unit, store, labels) for t, labels in asked["labels"].items()}
    trained = {
        "baseline": students["1"],
        "student": students[str(len(weak["votes"]))],
        "oracle": student_result(settings, unit, store),
    }
    if settings.train_on_easy:
        trained["easy"] = student_result(settings, unit, store, part="weak")
    token_errors = {name: result["token_error"] for name, result in trained.items() if "token_error" in result}
    if "token_errors" in asked:
        stages = asked["token_errors"]["stages"]
        token_errors |= {"weak": stages[0], "ensemble": stages[-1], "uniform": asked["token_errors"]["uniform"]}
    return {
        "weak": unit.weak.name,
        "strong": unit.strong.name,
        "split": unit.split,
        "variant": unit.variant.name,
        "seed": unit.seed,
        "task": settings.task.name,
        "dataset": settings.task.questions.name or "",
        "chance": settings.task.chance,
        "readout": unit.variant.readout,
        **{name: weak[name] for name in ("votes", "errors", "priors", "stop_reason")},
        "correct": {
            "weak": asked["stages"][0],
            "ensemble": asked["stages"][-1],
            "uniform": asked["uniform"],
            **{name: result["right"] for name, result in trained.items()},
        },
        "token_errors": token_errors,
        "stages": asked["stages"],
        "members": asked["members"],
        "member_credit": asked["member_credit"],
        "items": weak.get("items"),  # of no weak ensemble that an earlier version has kept
        "students": {t: result["right"] for t, result in students.items()},
        "validation": asked.get("validation"),
        "stage_token_errors": asked.get("token_errors", {}).get("stages"),
    }
