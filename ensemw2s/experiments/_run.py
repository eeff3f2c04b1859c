"""One unit of a sweep: a pure function of settings, unit and folder, which any joblib backend may run."""

from __future__ import annotations

import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ensemw2s._validation import shorten
from ensemw2s.exceptions import CheckpointError
from ensemw2s.experiments._grouping import brief_settings, with_settings
from ensemw2s.experiments._record import unpack_credit
from ensemw2s.experiments._spec import Settings, Unit, mixed_precision
from ensemw2s.experiments._store import ResultStore
from ensemw2s.experiments._student_step import student_result
from ensemw2s.experiments._weak_step import weak_result
from ensemw2s.storage import MALFORMED

__all__ = ["UnitFailure", "describe_unit", "load_unit", "read_unit", "run_unit"]

# Of a unit's result, whatever version has written it.
_DICTS = ("readout", "correct", "token_errors", "students")
_LISTS = ("votes", "errors", "priors", "stages", "members")
_NUMBERS = ("votes", "errors", "priors")
_TEXTS = ("weak", "strong", "split", "variant", "task", "dataset", "stop_reason")


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
        if (here := mixed_precision()) != settings.mixed_precision:
            raise RuntimeError(
                f"ACCELERATE_MIXED_PRECISION must be {settings.mixed_precision!r}, as where the sweep was planned. Got "
                f"{here!r} in the worker; set it there, too."
            )
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
    """The unit's result as JSON, computed where it is missing, with its settings."""
    description = describe_unit(settings, unit)
    store.get("unit", description, lambda: _compute(settings, unit, store))
    return load_unit(store, store.path("unit", description), description)


def load_unit(store: ResultStore, path: Path, description: dict[str, Any] | None = None) -> dict[str, Any]:
    """A unit's stored result, with its settings.

    Raises
    ------
    CheckpointError
        If the file is damaged, or holds no result of a unit.
    """
    stored = store.read_record(path, description)
    try:
        record = with_settings(stored["result"], stored)
        brief_settings(record)
        complaint = _complaint(record)
    except MALFORMED as error:
        complaint = f"{type(error).__name__}: {error}"
    if complaint:
        raise CheckpointError(f"{path} holds no result of a unit ({complaint}); delete it to compute it again.")
    return record


def _complaint(record: dict[str, Any]) -> str:
    """What is missing or odd in a unit's result; "" if nothing is."""
    kinds = [(_DICTS, dict), (_LISTS, list), (_TEXTS, str), (("seed",), int), (("chance",), float)]
    for names, kind in kinds:
        for name in names:
            if type(record[name]) is not kind:
                return f"{name} is {shorten(record[name])}"
    n_rounds, n_items = len(record["stages"]), len(record["correct"]["weak"])
    if any(len(record[name]) != n_rounds for name in _LISTS):
        return f"not all of {', '.join(_LISTS)} have {n_rounds} entries"
    answers = [*record["correct"].values(), *record["students"].values(), *record["stages"]]
    if n_rounds == 0 or any(len(one) != n_items for one in [*answers, *record["members"]]):
        return f"not all models have {n_items} answers"
    if any((unpack_credit(packed) < 0).any() for packed in answers):
        return "answers count less than nothing"
    np.array(record["members"], dtype=np.int64)
    by_round = (record[name] or [0.0] * n_rounds for name in ("validation", "stage_token_errors"))
    for numbers in (*(record[name] for name in _NUMBERS), list(record["token_errors"].values()), *by_round):
        if any(type(number) not in (int, float) for number in numbers):
            return f"{shorten(numbers)} are not all numbers"
        np.array(numbers, dtype=np.float64)  # raises where one is too large
    if record.get("items") is not None and len(record["items"]) != n_items:
        return f"items has not {n_items} entries"
    return ""


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
        "rater": f"{settings.rater.name} in {settings.cv} folds" if unit.split == "easy-hard" else None,
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
        "collapsed": [t for t, result in students.items() if result.get("collapsed")],
        "validation": asked.get("validation"),
        "stage_token_errors": asked.get("token_errors", {}).get("stages"),
    }
