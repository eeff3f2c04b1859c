"""Tables of a sweep, from the records of its runs: tidy rows, differences over seeds, and Markdown."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ensemw2s.experiments._grouping import CELL, Record, metric_of
from ensemw2s.experiments._record import accuracy, brief_settings, unpack_credit
from ensemw2s.experiments._spec import READOUT_VOTES
from ensemw2s.metrics import (
    ACCURACY,
    bootstrap_interval,
    error_correlation,
    gap_over_seeds,
    interval_over_seeds,
    mean_over_pairs,
    pairwise_disagreement,
    q_statistic,
    staged_margins,
)

MODELS = ("weak", "ensemble", "uniform", "baseline", "student", "oracle", "easy")
_LOW = 10  # percentile: the margins of the hard tail, which boosting is meant to raise
_NAMED = 3  # runs that a remark names

PGR_REMARK = (
    "PGR of the mean accuracies; – where the gap between oracle and weak model is inside its interval, or an "
    "accuracy below chance."
)


def model_rows(record: Record, confidence_level: float) -> list[Record]:
    """One row per model of a run, see `SweepResult.frame`."""
    rows = []
    for model in MODELS:
        if model not in record["correct"]:
            continue
        right = unpack_credit(record["correct"][model])
        low, high = bootstrap_interval(right, confidence_level=confidence_level, random_state=0)
        rows.append({
            **_run_columns(record),
            "model": model,
            metric_of(record): float(right.mean()),
            "low": low,
            "high": high,
            "token_error": record["token_errors"].get(model, float("nan")),
            "metric": metric_of(record),
            "chance": record["chance"],
            "n_test": len(right),
            "n_tied": int(np.sum((right > 0) & (right < 1))) if metric_of(record) == ACCURACY else 0,
            **_settings_columns(record),
        })  # fmt: skip
    return rows


def round_rows(record: Record) -> list[Record]:
    """One row per round of a run's ensemble, see `SweepResult.rounds`."""
    metric, n_rounds = metric_of(record), len(record["stages"])
    unknown = [float("nan")] * n_rounds
    diversity = _diversity_by_round(record)
    alone = member_credit(record)
    students = {int(t): accuracy(bits) for t, bits in record["students"].items()}
    return [
        {
            **_run_columns(record),
            "round": t + 1,
            "member": (record.get("member_names") or [""] * n_rounds)[t],
            "vote": record["votes"][t],
            "error": record["errors"][t],
            "prior": record["priors"][t],
            metric: accuracy(record["stages"][t]),
            "token_error": (record["stage_token_errors"] or unknown)[t],
            f"member_{metric}": float(alone[t].mean()),
            f"any_member_{metric}": float(np.max(alone[: t + 1], axis=0).mean()),
            f"validation_{metric}": (record["validation"] or unknown)[t],
            f"student_{metric}": students.get(t + 1, float("nan")),
            "metric": metric,
            "chance": record["chance"],
            **diversity[t],
            **_settings_columns(record),
        }
        for t in range(n_rounds)
    ]


def member_credit(record: Record) -> list[np.ndarray]:
    """What the items earn each member of a run's ensemble alone, T arrays of shape (n,)."""
    if "member_credit" in record:
        return [unpack_credit(packed) for packed in record["member_credit"]]
    # of a version in which the first of tied options counted
    return [np.equal(answers, 0) for answers in record["members"]]


def selection_row(record: Record) -> Record:
    """The number of rounds of a run, chosen on validation and on test, see `SweepResult.selected_rounds`."""
    rounds, metric = round_rows(record), metric_of(record)
    chosen = max(rounds, key=lambda row: row[f"validation_{metric}"])  # the earliest of equal ones
    best = max(rounds, key=lambda row: row[f"student_{metric}"])
    return {
        **_run_columns(record),
        "chosen_round": chosen["round"],
        f"ensemble_{metric}": chosen[metric],
        f"student_{metric}": chosen[f"student_{metric}"],
        "best_round": best["round"],
        f"best_student_{metric}": best[f"student_{metric}"],
    }


def _run_columns(record: Record) -> Record:
    return {column: record[column] for column in ("dataset", "task", *CELL, "seed")}


def _settings_columns(record: Record) -> dict[str, str]:
    digests = {name: record.get(name, "") for name in ("settings_digest", "weak_settings_digest")}
    return {"settings": brief_settings(record), **digests}


def _diversity_by_round(record: Record) -> list[dict[str, float]]:
    """For the first 1, 2, ..., T members of a run's ensemble.

    Parameters
    ----------
    record : dict
        A run's; ``members`` holds answers as numbers, 0 the right one.

    Returns
    -------
    list of T dict
        "margin" and "margin_low", mean and tenth percentile over test items; "disagreement", "error_correlation" and
        "q_statistic", means over pairs of members, nan for one member or where no pair has a value.
    """
    members = np.array(record["members"])
    gold = np.zeros(members.shape[1], dtype=members.dtype)
    votes = READOUT_VOTES[record["readout"]["votes"]](np.array(record["votes"]))
    matrices = {
        "disagreement": pairwise_disagreement(members),
        "error_correlation": error_correlation(members, gold),
        "q_statistic": q_statistic(members, gold),
    }
    rounds = []
    for t, margin in enumerate(staged_margins(members, gold, votes), start=1):
        means = {name: mean_over_pairs(matrix[:t, :t]) for name, matrix in matrices.items()}
        rounds.append({"margin": float(margin.mean()), "margin_low": float(np.percentile(margin, _LOW)), **means})
    return rounds


class Difference(NamedTuple):
    """Of two accuracies: mean over seeds, interval of `interval_over_seeds`, standard error over seeds."""

    mean: float
    low: float
    high: float
    sem: float


def difference(records: list[Record], first: str, second: str, confidence_level: float) -> Difference:
    """Accuracy of `first` minus that of `second`, two keys of a record's "correct"."""
    differences = [a - b for a, b in zip(_scores(records, first), _scores(records, second), strict=True)]
    by_seed = [float(values.mean()) for values in differences]
    low, high = interval_over_seeds(
        differences, items=items_of(records), confidence_level=confidence_level, random_state=0
    )
    sem = float(np.std(by_seed, ddof=1) / np.sqrt(len(by_seed))) if len(by_seed) > 1 else float("nan")
    return Difference(float(np.mean(by_seed)), low, high, sem)


def gap_recovered(records: list[Record], student: str, confidence_level: float) -> tuple[float, str]:
    """PGR of the mean accuracies of a student, a key of a record's "correct", and the reason where there is none."""
    return gap_over_seeds(
        _scores(records, "weak"), _scores(records, student), _scores(records, "oracle"),
        chance=float(np.mean([record["chance"] for record in records])),
        items=items_of(records), confidence_level=confidence_level,
    )  # fmt: skip


def compare(records: list[Record], confidence_level: float) -> Record:
    """One row of `SweepResult.comparison`."""
    student = difference(records, "student", "baseline", confidence_level)
    ensemble = difference(records, "ensemble", "weak", confidence_level)
    pgr, reason = gap_recovered(records, "student", confidence_level)
    return {
        "student_minus_baseline": student.mean,
        "low": student.low,
        "high": student.high,
        "sem": student.sem,
        "ensemble_minus_weak": ensemble.mean,
        "ensemble_low": ensemble.low,
        "ensemble_high": ensemble.high,
        "pgr": pgr,
        "pgr_baseline": gap_recovered(records, "baseline", confidence_level)[0],
        "pgr_reason": reason,
        "n_seeds": len(records),
        "n_test": sum(len(record["correct"]["weak"]) for record in records),
    }


def items_of(records: list[Record]) -> list[Any] | None:
    """Row numbers of each seed's test items; None where a record, of an earlier version, does not say them."""
    items = [record.get("items") for record in records]
    return None if any(rows is None for rows in items) else items


def _scores(records: list[Record], model: str) -> list[np.ndarray]:
    return [unpack_credit(record["correct"][model]) for record in records]


class SweepTable(NamedTuple):
    """Titles, cells, and what is needed to read them."""

    columns: list[str]
    rows: list[list[str]]
    remark: str


def sweep_table(summary: Any, comparison: Any, confidence_level: float, records: list[Record]) -> SweepTable:
    """A row per pair, split and variant.

    Parameters
    ----------
    summary, comparison : pandas.DataFrame
        From `SweepResult`.
    confidence_level : float
        Of the intervals in `comparison`.
    records : list of dict
        The runs.
    """
    metric = metric_of(records[0])
    name, pgr_remark = "Accuracy", PGR_REMARK
    if metric != ACCURACY:
        name = metric.replace("_", " ")
        pgr_remark = PGR_REMARK.replace("accuracies", "scores").replace("an accuracy", "a score")
    models = [name for name in MODELS if name in summary.index.get_level_values("model")]
    others = comparison.index.names[:-4]  # what tells data sets or settings apart
    head = [
        *others, "weak → strong", "split", "variant", *models, "student − baseline", "PGR", "chance", "seeds × items",
    ]  # fmt: skip
    rows = []
    for cell, row in comparison.iterrows():
        *where, weak, strong, split, variant = cell
        scores = [_plus_minus(summary, metric, (*cell, model)) for model in models]
        rows.append([
            *where, f"{weak} → {strong}", split, variant, *scores,
            f"{row['student_minus_baseline']:+.3f} [{row['low']:+.3f}, {row['high']:+.3f}]",
            _number(row["pgr"], 2), _number(summary.loc[(*cell, models[0]), "chance"], 3),
            f"{row['n_seeds']} × {row['n_test'] // row['n_seeds']}",
        ])  # fmt: skip
    remark = (
        f"{name}, mean ± standard error over seeds; {interval_remark(comparison['n_seeds'], confidence_level)} "
        f"{pgr_remark}"
    )
    return SweepTable(head, rows, " ".join([remark, *collapse_remark(records)]))


def collapse_remark(records: list[Record]) -> list[str]:
    """Which runs have a student whose teacher gave every question the same class; no sentence where none has."""
    names = [
        f"{record['weak']} → {record['strong']}, {record['split']}, {record['variant']}, seed {record['seed']} "
        f"(T = {', '.join(record['collapsed'])})"
        for record in records
        if record.get("collapsed")
    ]
    if not names:
        return []
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return [
        f"The teacher has collapsed to one class, and its student is the constant that says it, in "
        f"{'; '.join(names[:_NAMED])}{more}."
    ]


def interval_remark(n_seeds: Any, confidence_level: float) -> str:
    """What the intervals of `interval_over_seeds` are, for the numbers of seeds that there are."""
    several = f"{confidence_level:.0%} t interval over seeds, paired, never narrower than over the test items alone."
    one = (
        f"{confidence_level:.0%} paired bootstrap interval over test items only: one seed does not tell the variance "
        f"between trainings, and the interval understates."
    )
    if min(n_seeds) > 1:
        return several
    return one if max(n_seeds) == 1 else f"{several} Of a single seed: {one}"


def _plus_minus(summary: Any, metric: str, row: tuple[str, ...]) -> str:
    if row not in summary.index:
        return ""
    mean, sem = summary.loc[row, [metric, "sem"]]
    return f"{mean:.3f}" if np.isnan(sem) else f"{mean:.3f} ± {sem:.3f}"


def _number(value: float, digits: int) -> str:
    return "–" if np.isnan(value) else f"{value:.{digits}f}"
