"""Train a weak ensemble once, and keep all that its students and tables need of it."""

from __future__ import annotations

import copy
import shutil
from pathlib import Path
from typing import Any

import numpy as np

from ensemw2s.experiments._parts import find_parts
from ensemw2s.experiments._record import number_answers, pack_credit, pack_labels
from ensemw2s.experiments._spec import Settings, Unit
from ensemw2s.experiments._store import ResultStore
from ensemw2s.experiments._tasks import Part
from ensemw2s.mixing import staged_votes

__all__ = ["weak_result"]


def weak_result(settings: Settings, unit: Unit, store: ResultStore) -> dict[str, Any]:
    """Votes, errors, pseudo-labels and what each prefix of the ensemble gets right, as JSON."""
    description = settings.describe_weak(unit)
    rounds = store.path("rounds", description).with_suffix("") if settings.checkpoint_rounds else None
    result: dict[str, Any] = store.get("weak", description, lambda: _train(settings, unit, store, rounds))
    if rounds is not None:
        shutil.rmtree(rounds, ignore_errors=True)  # another process, which waited for the result, may do the same
    return result


def _train(settings: Settings, unit: Unit, store: ResultStore, rounds: Path | None) -> dict[str, Any]:
    task, variant = settings.task, unit.variant
    rows = find_parts(settings, unit.split, unit.seed, store)
    easy, hard, test = task.part(rows.weak), task.part(rows.strong), task.part(rows.test)
    validation = task.part(rows.validation) if len(rows.validation) else None
    learner = unit.weak.build(task, unit.seed, variant.learner)
    booster = task.booster(learner, {**variant.booster, "random_state": unit.seed, "checkpoint_dir": rounds})
    for part in (hard, test) if hasattr(booster, "check_lengths") else ():
        booster.check_lengths(part.X)
    booster.fit(easy.X, easy.y)
    return {
        "votes": booster.estimator_weights_.tolist(),
        "errors": booster.estimator_errors_.tolist(),
        "priors": booster.prior_errors_.tolist(),
        "stop_reason": booster.stop_reason_,
        "items": rows.test.tolist(),
        "readouts": [
            {"readout": readout, **_read(booster, readout, settings, hard, test, validation)}
            for readout in settings.readouts(variant)
        ],
    }


def _read(
    booster: Any, readout: dict[str, Any], settings: Settings, hard: Part, test: Part, validation: Part | None
) -> dict[str, Any]:
    """Ask the members in one way: labels for the students, right or wrong on the test part."""
    asked = copy.copy(booster)
    votes = asked.estimator_weights_
    if readout["votes"] == "uniform":
        votes = np.ones_like(votes)
    asked = asked.with_votes(votes).set_params(**{key: value for key, value in readout.items() if key != "votes"})
    n_members = len(votes)
    stages = staged_votes(votes)
    rounds = range(1, n_members + 1) if settings.student_rounds == "all" else sorted({1, n_members})
    labels = {str(t): pack_labels(settings.labeler.label(asked.with_votes(votes[:t]), hard.X)) for t in rounds}
    every = np.vstack([stages, np.ones(n_members), np.eye(n_members)])
    answers, credit = asked.judge_under(every, test.X, test.y)
    predicted = np.stack([np.asarray(row, dtype=object) for row in answers])
    result: dict[str, Any] = {
        "labels": labels,
        "stages": [pack_credit(row) for row in credit[:n_members]],
        "uniform": pack_credit(credit[n_members]),
        "member_credit": [pack_credit(row) for row in credit[n_members + 1 :]],
        "members": number_answers(predicted[n_members + 1 :], test.y),
    }
    if hasattr(asked, "token_error_under"):
        errors = asked.token_error_under(every[: n_members + 1], test.X, test.y)
        result["token_errors"] = {"stages": errors[:-1].tolist(), "uniform": float(errors[-1])}
    if validation is not None:
        _, credit = asked.judge_under(stages, validation.X, validation.y)
        result["validation"] = credit.mean(axis=1).tolist()
    return result
