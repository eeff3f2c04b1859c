"""Which runs of a sweep a table or figure is about, and which round's student it shows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from ensemw2s._validation import check_option
from ensemw2s.experiments import Record, SweepResult, accuracy


class Choice(NamedTuple):
    """Which round's ensemble and student stand for a run."""

    remark: str
    """What a reader must know."""
    models: tuple[str, ...]
    """Models that it may change, so that a table gives them a column; of "last" all that there are."""
    scores: Callable[[Record], list[float]] | None = None
    """Of each round of a run; the round with the highest is taken, the earliest of equal ones. None takes the last."""
    on_validation: bool = False


def _student_scores(record: Record) -> list[float]:
    return [accuracy(record["students"][str(t)]) for t in range(1, len(record["stages"]) + 1)]


# By the name that the parameter `choice` has.
CHOICES = {
    "last": Choice(
        "Ensemble and W2S student of the last round.", ("weak", "ensemble", "baseline", "student", "oracle")
    ),
    "validation": Choice(
        "Ensemble and W2S student of the round that is best on validation.",
        ("ensemble", "student"),
        lambda record: record["validation"],
        on_validation=True,
    ),
    "best": Choice(
        "Ensemble and W2S student of the round that is best on test, as in the paper: optimistic.",
        ("student",),
        _student_scores,
    ),
}


def one_variant(result: SweepResult, variant: str | None) -> SweepResult:
    """The runs of one variant: the named one, or the only one, or "boosting".

    Raises
    ------
    ValueError
        If there is no such variant.
    """
    if variant is None:
        names = {record["variant"] for record in result.records}
        variant = next(iter(names)) if len(names) == 1 else "boosting"
    return result.select(variant=variant)


def first_seed(result: SweepResult) -> SweepResult:
    """A single run of each pair and split, that of its smallest seed."""
    first: dict[tuple[str, ...], int] = {}
    for record in result.records:
        first[_experiment(record)] = min(record["seed"], first.get(_experiment(record), record["seed"]))
    records = [record for record in result.records if record["seed"] == first[_experiment(record)]]
    return SweepResult(records, confidence_level=result.confidence_level)


def say_runs(result: SweepResult) -> str:
    """Which seed the single runs of a result have, as a sentence."""
    seeds = {_experiment(record): record["seed"] for record in result.records}
    if len(set(seeds.values())) == 1:
        return f"One run, seed {result.records[0]['seed']}."
    named = "; ".join(f"{weak} → {strong}, {split}: {seed}" for (weak, strong, split, *_), seed in seeds.items())
    return f"One run each, with the smallest seed that there is ({named})."


def _experiment(record: Record) -> tuple[str, ...]:
    columns = ("weak", "strong", "split", "dataset", "task")
    return (*(record[column] for column in columns), record.get("settings_digest", ""))


def say_sizes(result: SweepResult) -> str:
    """Chance, seeds and number of test items, as a phrase."""
    chances = [f"{chance:.3f}" for chance in {record["chance"] for record in result.records} if chance == chance]
    sizes = [len(record["correct"]["weak"]) for record in result.records]
    seeds = sorted({record["seed"] for record in result.records})
    few = ", ".join(map(str, seeds)) if len(seeds) <= 6 else f"{seeds[0]} to {seeds[-1]}, {len(seeds)} in all"
    named = (
        f"seed {few}, n = {_span(sizes)} test items"
        if len(seeds) == 1
        else f"seeds {few}, n = {_span(sizes)} test items each"
    )
    return f"Chance {_span(chances) or 'unknown'}; {named}"


def _span(values: list[Any]) -> str:
    """Smallest and largest, or the only one."""
    return " to ".join(str(value) for value in dict.fromkeys([min(values), max(values)])) if values else ""


def can_choose(result: SweepResult, choice: str) -> bool:
    """Whether every run has what `at_round` needs for a choice."""
    return CHOICES[choice].scores is None or not any(_lacks(record, choice) for record in result.records)


def at_round(result: SweepResult, choice: str | None = None) -> SweepResult:
    """The same runs, with ensemble and student of a chosen round in place of the last one's.

    Parameters
    ----------
    result : SweepResult
        Of a sweep with ``student_rounds="all"``, and with ``validation_size`` where validation is to choose.
    choice : {"last", "validation", "best"}, optional
        The last round; the one whose ensemble is most accurate on validation; or the one whose student is most
        accurate on test. The paper plots the best one. It is optimistic: the maximum over rounds is high by chance.
        If None "validation" where the sweep has what it needs, else "last".

    Returns
    -------
    SweepResult
        Its ``rounds`` are those of `result`. A student that is neither the first nor the last round's has no token
        error.

    Raises
    ------
    ValueError
        If the sweep lacks what the choice needs.

    Examples
    --------
    >>> from ensemw2s import BigramLearner, make_qa, paper, run_sweep
    >>> result = run_sweep([(("weak", BigramLearner()), ("strong", BigramLearner(smoothing=0.1)))], seeds=1,
    ...                    dataset=make_qa(60, random_state=0), splits=["random"], n_estimators=3,
    ...                    student_rounds="all", booster_params={"prior": "uniform"})
    >>> best = paper.at_round(result, "best").reports[0].student_score
    >>> bool(best == result.rounds["student_accuracy"].max())
    True
    """
    choice = _default(result) if choice is None else check_option(choice, "choice", CHOICES)
    scores = CHOICES[choice].scores
    if scores is None:
        return result
    for record in result.records:
        if lacking := _lacks(record, choice):
            raise ValueError(f"choice={choice!r} needs a sweep with {lacking}. Got one without it.")
    by_run = [(record, scores(record)) for record in result.records]
    chosen = [_chosen(record, values.index(max(values)) + 1) for record, values in by_run]
    return SweepResult(chosen, confidence_level=result.confidence_level)


def remark_on_rounds(result: SweepResult, choice: str | None = None) -> list[str]:
    """What a reader must know about the choice of the round, with the paper's own choice beside it."""
    choice = _default(result) if choice is None else check_option(choice, "choice", CHOICES)
    said = CHOICES[choice].remark
    if choice == "best" or not can_choose(result, "best"):
        return [said]
    best = at_round(result, "best")
    means = {name: _mean(found, "student") for name, found in (("here", at_round(result, choice)), ("best", best))}
    return [
        f"{said} Mean W2S accuracy of the runs shown {means['here']:.3f}; of the round that is best on test, which the "
        f"paper takes and which is optimistic, {means['best']:.3f}."
    ]


def _default(result: SweepResult) -> str:
    return "validation" if can_choose(result, "validation") else "last"


def _lacks(record: Record, choice: str) -> str:
    if len(record["students"]) < len(record["stages"]):
        return "student_rounds='all'"
    return "validation_size" if CHOICES[choice].on_validation and record["validation"] is None else ""


def _chosen(record: Record, chosen: int) -> Record:
    correct = {
        **record["correct"],
        "ensemble": record["stages"][chosen - 1],
        "student": record["students"][str(chosen)],
    }
    errors = dict(record["token_errors"])
    if "student" in errors and chosen < len(record["stages"]):
        # Kept for the first and the last round only; the first one's student is the baseline.
        errors["student"] = errors["baseline"] if chosen == 1 else float("nan")
    if record["stage_token_errors"] is not None:
        errors["ensemble"] = record["stage_token_errors"][chosen - 1]
    return {**record, "correct": correct, "token_errors": errors}


def _mean(result: SweepResult, model: str) -> float:
    frame = result.frame
    return float(frame.loc[frame["model"] == model, "accuracy"].mean())
