"""Train a strong model on labels once, and keep what it gets right."""

from __future__ import annotations

from typing import Any

import numpy as np

from ensemw2s._credit import credit
from ensemw2s._fingerprint import digest
from ensemw2s.experiments._encoding import pack_credit, unpack_labels
from ensemw2s.experiments._parts import find_parts
from ensemw2s.experiments._spec import TIES, Settings, Unit
from ensemw2s.experiments._store import ResultStore
from ensemw2s.experiments._tasks import Part

__all__ = ["student_result"]


def student_result(
    settings: Settings, unit: Unit, store: ResultStore, labels: dict[str, Any] | None = None, part: str = "strong"
) -> dict[str, Any]:
    """What a strong model gets right on the test part, as JSON.

    Parameters
    ----------
    labels : dict or None
        Pseudo-labels of train-strong; the true ones if None. Equal labels make an equal student, whoever gave them.
    part : {"strong", "weak"}
        What it is trained on.
    """
    description = {
        "data": settings.describe_split(unit.split, unit.seed),
        "learner": unit.strong.describe(),
        "part": part,
        "labels": "true" if labels is None else digest(labels),
        "seed": unit.seed,
        "ties": TIES,
    }
    return store.get("student", description, lambda: _train(settings, unit, store, labels, part))


def _train(
    settings: Settings, unit: Unit, store: ResultStore, labels: dict[str, Any] | None, name: str
) -> dict[str, Any]:
    task = settings.task
    rows = find_parts(settings, unit.split, unit.seed, store)
    part: Part = task.part(rows.strong if name == "strong" else np.sort(np.concatenate([rows.weak, rows.validation])))
    test = task.part(rows.test)
    student = task.student(unit.strong.build(task, unit.seed))
    for questions in (part.X, test.X) if hasattr(student, "check_lengths") else ():
        student.check_lengths(questions)
    student = student.fit(part.X, part.y) if labels is None else unpack_labels(labels, part.X).fit(student)
    result: dict[str, Any] = {"right": pack_credit(credit(student, test.X, test.y))}
    if hasattr(student, "token_error"):
        result["token_error"] = student.token_error(test.X, test.y)
    return result
