"""Votes, errors and accuracies by round, from a booster or from a sweep's frame."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.base import is_classifier
from sklearn.utils.validation import check_is_fitted

from ensemw2s._inputs.questions import check_questions, require_answers
from ensemw2s._validation import shorten
from ensemw2s.metrics import chance_level
from ensemw2s.plots._frames import (
    metric_of,
    refuse_duplicates,
    refuse_other_settings,
    refuse_several,
    select,
    short_names,
)

if TYPE_CHECKING:
    import pandas

TITLES = {
    "vote": "vote α (nats)",
    "error": "weighted training error",
    "accuracy": "test accuracy\nof the first t members",
    "token_error": "test token error\nof the first t members",
    "validation_accuracy": "validation accuracy\nof the first t members",
    "member_accuracy": "test accuracy\nof member t alone",
    "any_member_accuracy": "items that one of the first\nt members has right",
    "student_accuracy": "test accuracy of the\nfirst t members' student",
    "margin": "mean margin\nof the first t members",
    "margin_low": "10th percentile of the margins\nof the first t members",
    "disagreement": "pairwise disagreement\nof the first t members",
    "error_correlation": "error correlation\nof the first t members",
    "q_statistic": "Q statistic\nof the first t members",
}
QUANTITIES = (*TITLES, "prior")
_LINES = ("weak", "split", "variant")


@dataclass
class RoundStatistics:
    """Mean, standard error and number of runs by quantity, (n_lines, T) each, with the lines' names."""

    mean: dict[str, np.ndarray]
    sem: dict[str, np.ndarray]
    n_runs: dict[str, np.ndarray]
    labels: list[str]
    chance: list[float]
    metric: str = "accuracy"


def training_rounds(booster: Any) -> dict[str, np.ndarray]:
    """Votes, weighted errors and priors of a fitted booster, (1, T) each."""
    if not (hasattr(booster, "fit") and hasattr(booster, "staged_score")):
        raise TypeError(
            f"booster must be a TokenAdaBoostGenerator or LLMAdaBoostClassifier. Got {shorten(booster)} instead."
        )
    check_is_fitted(booster, "estimators_")
    errors = getattr(booster, "estimator_errors_", None)
    if errors is None:
        raise TypeError(f"booster must be boosted, round by round. Got {shorten(booster)}, which has a single member.")
    return {
        "vote": np.array([booster.estimator_weights_]),
        "error": np.array([errors]),
        "prior": np.array([booster.prior_errors_]),
    }


def tested_rounds(
    booster: Any, X: Any, y: Any, choices: Sequence | None, drawn: str | Sequence[str] | None
) -> tuple[dict[str, np.ndarray], float]:
    """Accuracy and token error of the first t members on test data, (1, T) each, and the chance level."""
    if is_classifier(booster):
        if y is None:
            raise ValueError("y must hold the classes of X. Got None instead.")
        return {"accuracy": np.array([list(booster.staged_score(X, y))])}, 1.0 / len(booster.classes_)
    questions = check_questions(X, y, choices)
    require_answers(questions)
    tested = {}
    try:
        staged_token_error = booster.staged_token_error
    except AttributeError as error:  # members that read differently have no common tokens
        if "token_error" in ([drawn] if isinstance(drawn, str) else drawn or ()):
            raise ValueError(
                f"quantities must leave out 'token_error', which this booster does not have. {error.__cause__} Draw "
                f"'accuracy', with choices."
            ) from error
    else:
        tested["token_error"] = np.array([list(staged_token_error(questions))])
    if questions.n_choices is None:
        return tested, float("nan")
    return {"accuracy": np.array([list(booster.staged_score(questions))]), **tested}, chance_level(questions.n_choices)


def rounds_of_frame(
    frame: object,
    by: str | Sequence[str] | None,
    chance: float | None,
    drawn: str | Sequence[str] | None,
    **wanted: Any,
) -> RoundStatistics:
    """Statistics over seeds, one line per value of `by`, or of what varies beside the seed."""
    metric = metric_of(frame)
    rows = select(frame, ("round", "seed"), **wanted)
    if metric != "accuracy":  # here a quantity is known by its part, which "accuracy" names
        rows = rows.rename(columns={name.replace("accuracy", metric): name for name in TITLES if "accuracy" in name})
    quantities = [name for name in QUANTITIES if name in rows.columns]
    if not quantities:
        raise ValueError(f"frame must have one of the columns {', '.join(QUANTITIES)}. Got {', '.join(rows.columns)}.")
    lines = list(_LINES)
    if drawn is not None and "student_accuracy" in ([drawn] if isinstance(drawn, str) else drawn):
        lines.insert(1, "strong")
    present = [column for column in lines if column in rows.columns]
    if by is None:
        columns = [column for column in present if rows[column].nunique(dropna=False) > 1]
    else:
        columns = [by] if isinstance(by, str) else list(by)
        rows = select(rows, columns)
    others = [column for column in present if column not in columns]
    refuse_several(rows, others, "name it in by, or pass {column}=...")
    weak_alone = "strong" not in {*columns, *others}
    refuse_other_settings(rows, columns, weak_alone=weak_alone)
    if weak_alone:  # a weak ensemble is the same, whatever student it teaches
        quantities = [name for name in quantities if name != "student_accuracy"]
        rows = rows.drop_duplicates([*present, *columns, "seed", "round", *quantities])
    refuse_duplicates(rows, [*columns, "seed", "round"])

    groups = [group for _, group in rows.groupby(columns, sort=False, dropna=False)] if columns else [rows]
    order = range(1, int(rows["round"].max()) + 1)
    by_round = [group.groupby("round")[quantities] for group in groups]
    mean, sem, n_runs = (
        {name: np.stack([table[name].reindex(order).to_numpy(dtype=float) for table in tables]) for name in quantities}
        for tables in (
            [group.mean() for group in by_round],
            [group.sem() for group in by_round],
            [group.count() for group in by_round],
        )
    )
    if chance is None:
        levels = [float(group["chance"].mean()) if "chance" in rows.columns else np.nan for group in groups]
    else:
        levels = [chance] * len(groups)
    return RoundStatistics(mean, sem, n_runs, _labels(rows, groups, columns), levels, metric)


def _labels(rows: pandas.DataFrame, groups: list[pandas.DataFrame], columns: list[str]) -> list[str]:
    short = short_names(rows["weak"]) if "weak" in columns else {}
    keys = [[group[column].iloc[0] for column in columns] for group in groups]
    return [", ".join(short.get(value, str(value)) for value in key) for key in keys]
