"""Train a strong model on labels once, and keep what it gets right."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import is_classifier
from sklearn.dummy import DummyClassifier

from ensemw2s._credit import credit
from ensemw2s._fingerprint import digest
from ensemw2s.experiments._parts import find_parts
from ensemw2s.experiments._record import pack_credit, unpack_labels
from ensemw2s.experiments._spec import TIES, Settings, Unit
from ensemw2s.experiments._store import ResultStore
from ensemw2s.experiments._tasks import Part
from ensemw2s.pseudo import PseudoLabels

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
    collapsed = False
    if labels is None:
        student = student.fit(part.X, part.y)
    else:
        given = unpack_labels(labels, part.X)
        collapsed = _has_one_class(given, student)
        student = _constant(given) if collapsed else given.fit(student)
    result: dict[str, Any] = {"right": pack_credit(credit(student, test.X, test.y)), "collapsed": collapsed}
    if hasattr(student, "token_error"):
        result["token_error"] = student.token_error(test.X, test.y)
    return result


def _has_one_class(labels: PseudoLabels, student: Any) -> bool:
    """Whether the teacher has collapsed: a classifier can learn nothing but to repeat it."""
    hard = not labels.soft or labels.proba is None
    return is_classifier(student) and hard and len(np.unique(labels.y[labels.kept])) == 1


def _constant(labels: PseudoLabels) -> Any:
    """What a student becomes whose teacher always says the same; a seed without it would be missing in the means."""
    answer = labels.y[labels.kept][:1]
    return DummyClassifier(strategy="constant", constant=answer[0]).fit(answer, answer)
