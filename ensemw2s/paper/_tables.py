"""Rows of the paper's tables."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from ensemw2s.experiments import SweepResult
from ensemw2s.metrics import paired_bootstrap_interval, performance_gap_recovered
from ensemw2s.paper._selection import at_round, can_choose, first_seed, remark_on_rounds, with_split

if TYPE_CHECKING:
    import pandas

__all__ = ["models_by_pair", "rounds_by_pair", "single_runs", "trained_on_easy_or_hard"]

_PAIR = ["weak", "strong"]
_SEM = "Mean ± standard error over seeds."
_HALF = "The paper's α of the binary task is half of this one: ½ log((1 − ε)/ε); both vote alike."
_PGR = "PGR of the mean accuracies; – where the gap between oracle and weak model is inside its interval."


def rounds_by_pair(result: SweepResult, split: str) -> tuple[pandas.DataFrame, list[str]]:
    """Votes, errors and accuracies by number of members T (Tables 1 and 2)."""
    import pandas as pd

    result = with_split(result, split)
    scores: Any = result.frame.pivot(index=[*_PAIR, "seed"], columns="model", values="accuracy")
    known: Any = result.comparison()["pgr"].notna().groupby(_PAIR).all()
    rows = []
    rounds: Any = result.rounds
    for (*pair, members), group in rounds.groupby([*_PAIR, "round"], sort=False):
        runs = group.set_index("seed")
        others = scores.loc[tuple(pair)].loc[runs.index]
        row: dict[str, Any] = {**dict(zip(_PAIR, pair, strict=True)), "round": members}
        for name, values in {
            "alpha": runs["vote"],
            "error": runs["error"],
            "ensemble": runs["accuracy"],
            "student": runs["student_accuracy"],
            "oracle": others["oracle"],
        }.items():
            row |= {name: values.mean(), f"{name}_sem": values.sem()}
        recovered = _recovered(others["weak"].mean(), row["student"], row["oracle"]) if known[tuple(pair)] else np.nan
        rows.append({**row, "pgr": recovered, "n_seeds": len(runs)})
    frame = pd.DataFrame(rows).set_index([*_PAIR, "round"])
    remarks = ["The ensemble's first T members on test, and the student that they teach; T = 1 is the baseline."]
    if result.records[0]["task"] == "classification":
        remarks.append(_HALF)
    remarks += [_SEM, "Later rounds have fewer seeds where boosting ended early.", _PGR]
    return frame, remarks


def models_by_pair(result: SweepResult, split: str) -> tuple[pandas.DataFrame, list[str]]:
    """Option accuracy and token error of every model (Tables 3, 4, 6, 7)."""
    import pandas as pd

    result = with_split(result, split)
    shown = {"last": result} | {
        choice: at_round(result, choice) for choice in ("validation", "best") if can_choose(result, choice)
    }
    cells: dict[tuple[str, ...], dict[str, float]] = {}
    for measure in ("accuracy", "token_error"):
        for choice, runs in shown.items():
            models = ["weak", "ensemble", "baseline", "student", "oracle"] if choice == "last" else ["student"]
            if choice == "validation":
                models = ["ensemble", "student"]
            frame: Any = runs.frame
            for (*pair, model), values in frame.groupby([*_PAIR, "model"], sort=False)[measure]:
                if model in models and values.notna().any():
                    name = model if choice == "last" else f"{model}_{choice}"
                    cell = cells.setdefault((*pair, measure.replace("_", " ")), {})
                    # Of some seeds only, a mean would not compare with the others.
                    cell |= {name: values.mean(skipna=False), f"{name}_sem": values.sem(skipna=False)}
    comparison: Any = result.comparison()
    for key, row in comparison.iterrows():
        weak, strong = key[:2]
        cells[weak, strong, "accuracy"] |= {
            "improvement": row["student_minus_baseline"],
            "improvement_low": row["low"],
            "improvement_high": row["high"],
            "pgr_baseline": row["pgr_baseline"],
            "pgr": row["pgr"],
            "n_seeds": row["n_seeds"],
        }
    order = [
        "weak", "ensemble", "ensemble_validation", "baseline", "student", "student_validation", "student_best",
        "oracle",
    ]  # fmt: skip
    frame = pd.DataFrame.from_dict(cells, orient="index")
    frame.index = pd.MultiIndex.from_tuples(frame.index, names=[*_PAIR, "measure"])
    columns = [f"{name}{part}" for name in order for part in ("", "_sem") if name in frame.columns]
    last = ["improvement", "improvement_low", "improvement_high", "pgr_baseline", "pgr", "n_seeds"]
    frame = frame[[*columns, *last]].sort_index(level="measure", sort_remaining=False, kind="stable")
    frame = frame.loc[sorted(frame.index, key=lambda key: list(dict.fromkeys(k[:2] for k in cells)).index(key[:2]))]
    interval = f"{result.confidence_level:.0%} paired bootstrap interval over the test items of all seeds."
    remarks = [_SEM, interval, _PGR, "Students of the last round, unless the head of a column names another one."]
    return frame, remarks


def single_runs(result: SweepResult) -> tuple[pandas.DataFrame, list[str]]:
    """One run of each experiment, and what W2S brings over the baseline (Tables 5 and 8)."""
    import pandas as pd

    result = first_seed(result)
    chosen = at_round(result)
    comparison: Any = chosen.comparison()
    scores: Any = chosen.frame.pivot(index=["split", *_PAIR], columns="model", values="accuracy")
    rows = [
        {
            **{name: scores.loc[(split, weak, strong), name] for name in ("weak", "ensemble", "baseline", "student")},
            "oracle": scores.loc[(split, weak, strong), "oracle"],
            "improvement": row["student_minus_baseline"],
            "improvement_low": row["low"],
            "improvement_high": row["high"],
        }
        for (weak, strong, split, _), row in comparison.iterrows()
    ]
    index = [(split, weak, strong) for weak, strong, split, _ in comparison.index]
    frame = pd.DataFrame(rows, index=pd.MultiIndex.from_tuples(index, names=["split", *_PAIR]))
    frame = frame.sort_index(level="split", sort_remaining=False, kind="stable", ascending=False)
    remarks = [
        f"One run, seed {result.records[0]['seed']}; {result.confidence_level:.0%} paired bootstrap interval over test "
        f"items.",
        *remark_on_rounds(result),
    ]
    return frame, remarks


def trained_on_easy_or_hard(result: SweepResult) -> tuple[pandas.DataFrame, list[str]]:
    """The strong model on true answers of the easy or of the hard part, tested on hard questions ("Figure 5")."""
    import pandas as pd

    result = with_split(result, "easy-hard")
    found: dict[str, dict[int, tuple[np.ndarray, np.ndarray]]] = {}
    for record, report in zip(result.records, result.reports, strict=True):
        if "easy" not in report.correct:
            raise ValueError(
                "The comparison of easy and hard needs run_sweep(train_on_easy=True). Got a sweep without."
            )
        # Both know nothing of the weak model: whichever pair they were trained for, they are the same.
        pair = (report.correct["easy"].astype(float), report.correct["oracle"].astype(float))
        found.setdefault(record["strong"], {})[record["seed"]] = pair
    rows = []
    for runs in found.values():
        easy, hard = (np.array([pair[side].mean() for pair in runs.values()]) for side in (0, 1))
        low, high = paired_bootstrap_interval(
            np.concatenate([pair[1] for pair in runs.values()]),
            np.concatenate([pair[0] for pair in runs.values()]),
            confidence_level=result.confidence_level,
            random_state=0,
        )
        rows.append({
            "easy": easy.mean(), "easy_sem": _sem(easy), "hard": hard.mean(), "hard_sem": _sem(hard),
            "difference": (hard - easy).mean(), "difference_low": low, "difference_high": high, "n_seeds": len(runs),
        })  # fmt: skip
    frame = pd.DataFrame(rows, index=pd.Index(list(found), name="strong"))
    interval = f"{result.confidence_level:.0%} paired bootstrap interval over the test items of all seeds."
    return frame, ["Accuracy on hard test questions of models trained on true answers.", _SEM, interval]


def _recovered(weak: float, student: float, oracle: float) -> float:
    if np.isnan(student):
        return float("nan")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # the remark says what a dash means
        return performance_gap_recovered(weak, student, oracle)


def _sem(values: np.ndarray) -> float:
    return float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else float("nan")
