"""One run of a sweep: a pure function of settings, run and folder, which any joblib backend may call."""

from __future__ import annotations

import copy
import shutil
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.base import is_classifier
from sklearn.dummy import DummyClassifier

from ensemw2s.ensemble import BaseTokenGenerator, OpinionPool
from ensemw2s.experiments._grouping import Record
from ensemw2s.experiments._parts import find_parts
from ensemw2s.experiments._record import load_record, pack_bits, pack_credit, unpack_bits
from ensemw2s.experiments._spec import READOUT_VOTES, TIES, Run, Settings, mixed_precision
from ensemw2s.experiments._store import ResultStore
from ensemw2s.experiments._tasks import Part
from ensemw2s.metrics import Metric, credit, number_answers
from ensemw2s.mixture import staged_votes
from ensemw2s.pipeline import PseudoLabels
from ensemw2s.storage import digest


@dataclass(frozen=True)
class RunFailure:
    """A run that raised: its name, the error as one line, and the traceback."""

    name: str
    reason: str
    traceback: str

    def __str__(self) -> str:
        return f"{self.name}: {self.reason}"


def try_run(settings: Settings, run: Run, folder: str) -> RunFailure | None:
    """Compute what the run still lacks and commit it; an error is returned, so that other runs go on."""
    try:
        if (here := mixed_precision()) != settings.mixed_precision:
            raise RuntimeError(
                f"ACCELERATE_MIXED_PRECISION must be {settings.mixed_precision!r}, as where the sweep was planned. Got "
                f"{here!r} in the worker; set it there, too."
            )
        run_record(settings, run, ResultStore(folder))
    except Exception as error:  # noqa: BLE001 - reported by name when the other runs have finished
        return RunFailure(run.name, f"{type(error).__name__}: {error}", traceback.format_exc())
    return None


def describe_run(settings: Settings, run: Run) -> dict[str, object]:
    """All that the run's result depends on, as JSON."""
    return {
        "weak": settings.describe_weak(run),
        "readout": run.variant.readout,
        "strong": run.strong.describe(),
        "train_on_easy": settings.train_on_easy,
        "names": [run.weak.name, run.strong.name, run.variant.name],
    }


def run_record(settings: Settings, run: Run, store: ResultStore) -> Record:
    """The run's record, as JSON, computed where it is missing, with its settings."""
    description = describe_run(settings, run)
    store.get("unit", description, lambda: _compute_record(settings, run, store))
    return load_record(store, store.path("unit", description), description)


def _compute_record(settings: Settings, run: Run, store: ResultStore) -> Record:
    weak = weak_result(settings, run, store)
    asked = next(entry for entry in weak["readouts"] if entry["readout"] == run.variant.readout)
    students = {t: student_result(settings, run, store, labels) for t, labels in asked["labels"].items()}
    trained = {
        "baseline": students["1"],
        "student": students[str(len(weak["votes"]))],
        "oracle": student_result(settings, run, store),
    }
    if settings.train_on_easy:
        trained["easy"] = student_result(settings, run, store, part="weak")
    token_errors = {name: result["token_error"] for name, result in trained.items() if "token_error" in result}
    if "token_errors" in asked:
        stages = asked["token_errors"]["stages"]
        token_errors |= {"weak": stages[0], "ensemble": stages[-1], "uniform": asked["token_errors"]["uniform"]}
    return {
        **run.columns,
        "task": settings.task.name,
        "dataset": settings.task.questions.name or "",
        "metric": settings.measured.name,
        # What guessing would earn by another metric is not known.
        "chance": settings.task.chance if settings.measured.compare is None else float("nan"),
        "rater": f"{settings.rater.name} in {settings.cv} folds" if settings.by_difficulty(run.split) else None,
        "readout": run.variant.readout,
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
        **{name: weak[name] for name in ("member_names", "votes_by") if name in weak},
        "items": weak.get("items"),  # of no weak ensemble that an earlier version has kept
        "students": {t: result["right"] for t, result in students.items()},
        "collapsed": [t for t, result in students.items() if result.get("collapsed")],
        "validation": asked.get("validation"),
        "stage_token_errors": asked.get("token_errors", {}).get("stages"),
    }


def weak_result(settings: Settings, run: Run, store: ResultStore) -> Record:
    """Votes, errors, pseudo-labels and what each prefix of the ensemble gets right, as JSON."""
    description = settings.describe_weak(run)
    rounds = store.path("rounds", description).with_suffix("") if settings.checkpoint_rounds else None
    result: Record = store.get("weak", description, lambda: _train_weak(settings, run, store, rounds))
    if rounds is not None:
        shutil.rmtree(rounds, ignore_errors=True)  # another process, which waited for the result, may do the same
    return result


def _train_weak(settings: Settings, run: Run, store: ResultStore, rounds: Path | None) -> Record:
    task, variant = settings.task, run.variant
    rows = find_parts(settings, run.split, run.seed, store)
    easy, hard, test = task.part(rows.weak), task.part(rows.strong), task.part(rows.test)
    validation = task.part(rows.validation) if len(rows.validation) else None
    learner = run.weak.build(task, run.seed, variant.learner)
    booster = task.booster(learner, {**variant.booster, "random_state": run.seed, "checkpoint_dir": rounds})
    for part in (hard, test) if isinstance(booster, BaseTokenGenerator) else ():
        booster._check_lengths(part.X)
    booster.fit(easy.X, easy.y)
    return {
        "votes": booster.estimator_weights_.tolist(),
        "errors": booster.estimator_errors_.tolist(),
        # Of a pool the error of a guess, and no reason: there are no rounds that could end.
        "priors": getattr(booster, "prior_errors_", np.full(len(booster.estimator_errors_), 1 - task.chance)).tolist(),
        "stop_reason": getattr(booster, "stop_reason_", ""),
        **(booster._described_members() if isinstance(booster, OpinionPool) else {}),
        "items": rows.test.tolist(),
        "readouts": [
            {"readout": readout, **_ask_members(booster, readout, settings, hard, test, validation)}
            for readout in settings.readouts(variant)
        ],
    }


def _ask_members(
    booster: Any, readout: Record, settings: Settings, hard: Part, test: Part, validation: Part | None
) -> Record:
    """Ask the members in one way: labels for the students, right or wrong on the test part."""
    asked = copy.copy(booster)  # the members are shared, what is set on it is its own
    votes = READOUT_VOTES[readout["votes"]](asked.estimator_weights_)
    asked = asked.with_votes(votes).set_params(**{key: value for key, value in readout.items() if key != "votes"})
    n_members = len(votes)
    stages = staged_votes(votes)
    rounds = settings.taught_rounds(n_members)
    labels = {str(t): pack_labels(settings.labeler.label(asked.with_votes(votes[:t]), hard.X)) for t in rounds}
    # One pass of the members over the test part serves all votes: every prefix, even votes, and each member alone.
    every = np.vstack([stages, np.ones(n_members), np.eye(n_members)])
    metric = settings.measured
    answers, earned = _judge(asked, every, test, metric)
    result: Record = {
        "labels": labels,
        "stages": [pack_credit(row) for row in earned[:n_members]],
        "uniform": pack_credit(earned[n_members]),
        "member_credit": [pack_credit(row) for row in earned[n_members + 1 :]],
        "members": number_answers(
            [metric.keys(row) for row in answers[n_members + 1 :]], metric.keys(test.y, references=True)
        ).tolist(),
    }
    if hasattr(asked, "token_error_under"):
        errors = asked.token_error_under(every[: n_members + 1], test.X, test.y)
        result["token_errors"] = {"stages": errors[:-1].tolist(), "uniform": float(errors[-1])}
    if validation is not None:
        _, earned = _judge(asked, stages, validation, metric)
        result["validation"] = earned.mean(axis=1).tolist()
    return result


def _judge(asked: Any, votes: np.ndarray, part: Part, metric: Metric) -> tuple[list[np.ndarray], np.ndarray]:
    """What the members answer under several vote vectors, and what the items earn them, (S, n)."""
    if metric.compare is None:
        judged: tuple[list[np.ndarray], np.ndarray] = asked.judge_under(votes, part.X, part.y)
        return judged
    answers = asked.predict_under(votes, part.X)
    return answers, np.array([metric(row, part.y) for row in answers])


def student_result(
    settings: Settings, run: Run, store: ResultStore, labels: Record | None = None, part: str = "strong"
) -> Record:
    """What a strong model gets right on the test part, as JSON.

    Parameters
    ----------
    labels : dict or None
        Pseudo-labels of train-strong; the true ones if None. Equal labels make an equal student, whoever gave them.
    part : {"strong", "weak"}
        What it is trained on.
    """
    description = {
        "data": settings.describe_split(run.split, run.seed),
        "learner": run.strong.describe(),
        "part": part,
        "labels": "true" if labels is None else digest(labels),
        "seed": run.seed,
        "ties": TIES,
        **settings.describe_metric(),
    }
    return store.get("student", description, lambda: _train_student(settings, run, store, labels, part))


def _train_student(settings: Settings, run: Run, store: ResultStore, labels: Record | None, name: str) -> Record:
    task = settings.task
    rows = find_parts(settings, run.split, run.seed, store)
    # What was held out to choose a round on is train-weak all the same, for a model that chooses none.
    part: Part = task.part(rows.strong if name == "strong" else np.sort(np.concatenate([rows.weak, rows.validation])))
    test = task.part(rows.test)
    student = task.student(run.strong.build(task, run.seed))
    for questions in (part.X, test.X) if isinstance(student, BaseTokenGenerator) else ():
        student._check_lengths(questions)
    collapsed = False
    if labels is None:
        student = student.fit(part.X, part.y)
    else:
        given = unpack_labels(labels, part.X)
        collapsed = _has_one_class(given, student)
        student = _constant(given) if collapsed else given.fit(student)
    result: Record = {"right": pack_credit(credit(student, test.X, test.y, settings.measured)), "collapsed": collapsed}
    if hasattr(student, "token_error"):
        result["token_error"] = student.token_error(test.X, test.y)
    return result


def _has_one_class(labels: PseudoLabels, student: object) -> bool:
    """Whether the teacher has collapsed: a classifier can learn nothing but to repeat it."""
    hard = not labels.soft or labels.proba is None
    return is_classifier(student) and hard and len(np.unique(labels.y[labels.kept])) == 1


def _constant(labels: PseudoLabels) -> Any:
    """What a student becomes whose teacher always says the same; a seed without it would be missing in the means."""
    answer = labels.y[labels.kept][:1]
    return DummyClassifier(strategy="constant", constant=answer[0]).fit(answer, answer)


def pack_labels(labels: PseudoLabels) -> Record:
    """Pseudo-labels without their questions; probabilities only where students learn from them."""
    return {
        "y": np.asarray(labels.y).tolist(),
        "kept": pack_bits(labels.kept),
        "soft": bool(labels.soft),
        "proba": labels.proba.tolist() if labels.soft and labels.proba is not None else None,
        "classes": None if labels.classes is None else np.asarray(labels.classes).tolist(),
        **({} if labels.sample_weight is None else {"sample_weight": labels.sample_weight.tolist()}),
    }


def unpack_labels(packed: Record, X: object) -> PseudoLabels:
    """Pseudo-labels from `pack_labels`, for the same questions."""
    texts = isinstance(packed["y"][0], str)
    written = texts and getattr(X, "choices", None) is None
    return PseudoLabels(
        X,
        np.array(packed["y"], dtype=object if texts else None),
        None if packed["proba"] is None else np.array(packed["proba"]),
        None,
        unpack_bits(packed["kept"]),
        packed["soft"],
        None if packed["classes"] is None else np.array(packed["classes"]),
        finished=np.ones(len(packed["y"]), dtype=bool) if written else None,  # as far as they are kept
        sample_weight=np.array(packed["sample_weight"]) if "sample_weight" in packed else None,
    )
