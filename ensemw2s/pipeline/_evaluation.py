"""All models of a run asked for the answers to a test set."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from sklearn.base import is_classifier

from ensemw2s._inputs.classifier_rows import usable_examples
from ensemw2s._inputs.questions import check_questions, require_answers
from ensemw2s._launch.rng import isolated_rng
from ensemw2s._validation import check_integer, is_overridden
from ensemw2s.contracts import has_members
from ensemw2s.ensemble import OpinionPool
from ensemw2s.metrics import Extract, Metric, MetricLike, as_metric, chance_level, credit, majority_at_k, number_answers
from ensemw2s.mixture import staged_votes
from ensemw2s.pipeline._report import W2SReport
from ensemw2s.tokens import tokenized_once


class TestSet(NamedTuple):
    """A test set that can be asked."""

    X: Any
    gold: np.ndarray
    chance: float
    kind: str
    """What is chosen or written: "classes", "options" or "texts"."""
    metric: Metric


def checked_test(weak: Any, name: str, columns: Any, metric: MetricLike, extract: Extract) -> TestSet:
    """One test set: rows, or a tuple of rows, answers and options; an error says its name."""
    X: Any
    try:
        if isinstance(columns, tuple) and len(columns) not in (2, 3):
            raise ValueError(f"a tuple must be (X, y) or (X, y, choices). Got {len(columns)} entries instead.")
        X, y, choices = (*columns, None)[:3] if isinstance(columns, tuple) else (columns, None, None)
        if is_classifier(weak):
            if y is None:
                raise ValueError("y must hold the true classes. Got None; pass them.")
            usable_examples(X, y)
            gold, chance, kind = np.asarray(y), 1.0 / len(weak.classes_), "classes"
        else:
            X = check_questions(X, y, choices)
            gold = np.asarray(require_answers(X), dtype=object)
            chance, kind = (float("nan"), "texts") if X.choices is None else (chance_level(X.n_choices), "options")
        measured = as_metric(metric, extract, kind=kind)
        measured.check(gold)
    except (TypeError, ValueError) as error:
        if not name:
            raise
        raise (TypeError if isinstance(error, TypeError) else ValueError)(f"X[{name!r}]: {error}") from error
    if measured.compare is not None:  # what guessing would earn by it is not known
        chance = float("nan")
    return TestSet(X, gold, chance, kind, measured)


def check_drawing(n_samples: Any, generation_kwargs: Any, seed: Any, kind: str) -> dict[str, Any]:
    """The keywords of ``generate`` that draw several answers a question; none where none are asked for."""
    if n_samples is None:
        if generation_kwargs is not None:
            raise ValueError("generation_kwargs are of drawn answers. Got them without n_samples; pass it, too.")
        return {}
    n = check_integer(n_samples, "n_samples", minimum=1)
    check_integer(seed, "random_state", minimum=0)
    if kind != "texts":
        raise ValueError(f"n_samples are of written answers. Got {n}, and {kind} to choose from; leave it out.")
    given = dict(generation_kwargs or {})
    if "num_return_sequences" in given:
        raise ValueError("generation_kwargs must leave out num_return_sequences, which n_samples says.")
    return {"do_sample": True, "top_k": 0, **given, "num_return_sequences": n}


def judged(
    weak: Any,
    students: dict[str, Any],
    test: TestSet,
    *,
    confidence_level: float,
    details: bool,
    drawing: dict[str, Any],
    seed: int,
) -> W2SReport:
    """The report of the weak side and of each student, by name, on one test set; a student may be None."""
    X, gold, chance, kind, measured = test
    with tokenized_once():
        of_weak = _score_weak(weak, X, gold, measured)
        correct, token_errors = of_weak["correct"], of_weak["token_errors"]
        for name, model in students.items():
            if model is not None:
                correct[name] = credit(model, X, gold, measured)
                if hasattr(model, "token_error"):
                    token_errors[name] = model.token_error(X)
        more = _ask_more(weak, students, X, gold, kind, measured) if details else {}
        if drawing:
            more |= _draw_samples(weak, students, X, gold, measured, drawing, seed)
    return W2SReport(
        **of_weak,
        **more,
        chance=chance,
        votes=getattr(weak, "estimator_weights_", np.empty(0)),
        errors=getattr(weak, "estimator_errors_", np.empty(0)),
        stop_reason=getattr(weak, "stop_reason_", ""),
        confidence_level=confidence_level,
        metric=measured.name,
    )


def _score_weak(weak: Any, X: Any, gold: np.ndarray, metric: Metric) -> dict[str, Any]:
    """What a `W2SReport` says of the weak side: as a whole, by number of members, and of each member alone."""
    if not has_members(weak):
        right = credit(weak, X, gold, metric)
        token_errors = {"weak": weak.token_error(X)} if hasattr(weak, "token_error") else {}
        return {"correct": {"weak": right}, "staged": [right], "token_errors": token_errors}
    alpha = weak.estimator_weights_
    # One row of votes per prefix of the ensemble, the uniform vote, and each member alone, the first of which is
    # the first prefix: the members run once for all of them.
    T = len(alpha)
    votes = np.vstack([staged_votes(alpha), np.ones(T), np.eye(T)[1:]])
    alone = [0, *range(T + 1, len(votes))]
    if is_overridden(weak, "predict", since="predict_under"):  # which would pass over it
        asked = [weak.with_votes(row) for row in votes]
        right_rows = [credit(one, X, gold, metric) for one in asked]
        answers = {row: asked[row].predict(X) for row in alone}
    elif metric.compare is not None:
        answers = weak.predict_under(votes, X)
        right_rows = [metric(row, gold) for row in answers]
    elif hasattr(weak, "judge_under") and not is_overridden(weak, "predict_under", since="judge_under"):
        answers, earned = weak.judge_under(votes, X, gold)
        right_rows = list(earned)
    else:  # an ensemble of one's own, which need not know of ties
        answers = weak.predict_under(votes, X)
        right_rows = [np.asarray(row == gold, dtype=np.float64) for row in answers]
    token_errors = {}
    if hasattr(weak, "token_error_under"):
        errors = weak.token_error_under(votes[: T + 1], X)
        token_errors = {"weak": errors[0], "ensemble": errors[-2], "uniform": errors[-1]}
    return {
        "correct": {"weak": right_rows[0], "ensemble": right_rows[T - 1], "uniform": right_rows[T]},
        "staged": right_rows[:T],
        "token_errors": token_errors,
        "member_answers": number_answers(
            [metric.keys(answers[row]) for row in alone], metric.keys(gold, references=True)
        ),
        "member_correct": [right_rows[row] for row in alone],
        **(weak._described_members() if isinstance(weak, OpinionPool) else {}),
    }


def _ask_more(
    weak: Any, students: dict[str, Any], X: Any, gold: np.ndarray, kind: str, metric: Metric
) -> dict[str, Any]:
    """What each model answers, and its probabilities of options or classes in the order of the weak side's."""
    models = {"weak": weak, **students}
    if has_members(weak):
        models |= {"weak": weak.with_votes(weak.estimator_weights_[:1]), "ensemble": weak}
    asked = {name: model for name, model in models.items() if model is not None}
    found: dict[str, Any] = {"predicted": {name: metric.keys(model.predict(X)) for name, model in asked.items()}}
    if kind == "texts":
        return found
    classes = list(weak.classes_) if kind == "classes" else []
    found["labels"] = X.labels if kind == "options" else [classes.index(y) if y in classes else -1 for y in gold]
    found["proba"] = {
        name: model.predict_proba(X) if kind == "options" else _in_order(model.predict_proba(X), model, classes)
        for name, model in asked.items()
        if hasattr(model, "predict_proba")
    }
    return found


def _draw_samples(
    weak: Any, students: dict[str, Any], X: Any, gold: np.ndarray, metric: Metric, drawing: dict[str, Any], seed: int
) -> dict[str, Any]:
    """What each of several answers a question earns, (n, S), and what the most frequent one does, (n,)."""
    teacher = "ensemble" if has_members(weak) else "weak"
    earned, majority, n = {}, {}, drawing["num_return_sequences"]
    for name, model in {teacher: weak, **students}.items():
        if model is None:
            continue
        with isolated_rng(seed):
            texts = model.generate(X, **drawing)
        rows = [[row] if isinstance(row, str) else row for row in texts]
        flat = metric([text for row in rows for text in row], np.repeat(gold, n))
        earned[name] = flat.reshape(len(rows), n)
        majority[name] = majority_at_k([metric.keys(row) for row in rows], earned[name])
    return {"samples": earned, "majority": majority}


def _in_order(proba: np.ndarray, model: Any, classes: list[Any]) -> np.ndarray:
    """A classifier's probabilities in the columns of these classes; 0 for one that it has not seen."""
    ordered = np.zeros((len(proba), len(classes)))
    for column, label in enumerate(model.classes_):
        if label in classes:
            ordered[:, classes.index(label)] = proba[:, column]
    return ordered
