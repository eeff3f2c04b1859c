"""The paper's tables: their rows, and a table that people read as Markdown and programs as a frame."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from ensemw2s._markdown import table_lines
from ensemw2s.experiments import (
    PGR_REMARK,
    Record,
    SweepResult,
    difference,
    gap_recovered,
    interval_remark,
    refuse_mixed_runs,
)
from ensemw2s.paper._selection import CHOICES, at_round, can_choose, remark_on_rounds, say_runs

if TYPE_CHECKING:
    import pandas

_PAIR = ["weak", "strong"]
_SEM = "Mean ± standard error over seeds."
_HALF = "The paper's α of the binary task is half of this one: ½ log((1 − ε)/ε); both vote alike."
# The first member has a name of its own: "weak" is the column of the pairs.
_COLUMNS = {"weak": "weak_member"}

_PARTS = ("_sem", "_low", "_high")
_TITLES = {
    "weak": "weak",
    "weak_member": "weak, first member",
    "strong": "strong",
    "round": "T",
    "alpha": "α (nats)",
    "error": "training error ε",
    "ensemble": "weak ensemble",
    "ensemble_validation": "weak ensemble, round chosen on validation",
    "student": "W2S student",
    "student_validation": "W2S student, round chosen on validation",
    "student_best": "W2S student, best round on test (optimistic)",
    "improvement": "W2S − baseline",
    "pgr": "PGR",
    "pgr_baseline": "PGR of baseline",
    "easy": "trained on easy",
    "hard": "trained on hard",
    "difference": "hard − easy",
    "n_seeds": "seeds",
    "n_test": "test items of all seeds",
}


@dataclass(frozen=True)
class PaperTable:
    """Numbers of a table, with its title and what a reader must know.

    Attributes
    ----------
    title : str
        Number in the paper, and what it shows here.
    frame : pandas.DataFrame
        The numbers, one column each. Beside a column ``x`` there may be ``x_sem``, its standard error over seeds, and
        ``x_low`` and ``x_high``, its interval.
    remarks : tuple of str
        Sentences below the table.

    Examples
    --------
    >>> import pandas as pd
    >>> from ensemw2s.paper import PaperTable
    >>> frame = pd.DataFrame({"accuracy": [0.5], "accuracy_sem": [0.01]}, index=pd.Index(["weak"], name="model"))
    >>> print(PaperTable("Table 1. An example.", frame, remarks=("2 seeds.",)))
    **Table 1. An example.**
    <BLANKLINE>
    | model | accuracy |
    | --- | --- |
    | weak | 0.500 ± 0.010 |
    <BLANKLINE>
    2 seeds.
    """

    title: str
    frame: pandas.DataFrame
    remarks: tuple[str, ...] = field(default=())

    def __str__(self) -> str:
        return self.to_markdown()

    def to_markdown(self) -> str:
        """Title, table and remarks.

        Returns
        -------
        str
        """
        columns = [name for name in self.frame.columns if not self._is_part(name)]
        # A column without a number would only take room; that there is no PGR says something.
        columns = [name for name in columns if name.startswith("pgr") or self.frame[name].notna().any()]
        head = [_TITLES.get(str(name), str(name)) for name in (*self.frame.index.names, *columns)]
        rows = [
            [*(key if isinstance(key, tuple) else (key,)), *(_cell(row, name) for name in columns)]
            for key, row in self.frame.iterrows()
        ]
        lines = table_lines(head, rows)
        return "\n".join([f"**{self.title}**", "", *lines, "", " ".join(self.remarks)]).rstrip()

    def to_csv(self, path: str | os.PathLike[str]) -> None:
        """Write the numbers, unrounded.

        Parameters
        ----------
        path : path
            File to write; an existing one is replaced.
        """
        self.frame.to_csv(path)

    def _is_part(self, name: str) -> bool:
        return any(name.endswith(part) and name.removesuffix(part) in self.frame.columns for part in _PARTS)


def rounds_by_pair(result: SweepResult) -> tuple[pandas.DataFrame, list[str]]:
    """Votes, errors and accuracies by number of members T (Tables 1 and 2)."""
    import pandas as pd

    scores: Any = result.frame.pivot(index=[*_PAIR, "seed"], columns="model", values="accuracy")
    rows = []
    rounds: Any = result.rounds
    for (*pair, members), group in rounds.groupby([*_PAIR, "round"], sort=False):
        runs = group.set_index("seed")
        records = [record for record in _of_pair(result, pair) if len(record["stages"]) >= members]
        others = scores.loc[tuple(pair)].loc[runs.index]
        row: Record = {**dict(zip(_PAIR, pair, strict=True)), "round": members}
        for name, values in {
            "alpha": runs["vote"],
            "error": runs["error"],
            "ensemble": runs["accuracy"],
            "student": runs["student_accuracy"],
            "oracle": others["oracle"],
        }.items():
            # A student of some seeds only would not compare with the ensembles of all.
            row |= {name: values.mean(skipna=False), f"{name}_sem": values.sem(skipna=False)}
        pgr = _pgr_at(records, members, result.confidence_level)
        rows.append({**row, "chance": runs["chance"].mean(), "pgr": pgr, **_sizes(records)})
    frame = pd.DataFrame(rows).set_index([*_PAIR, "round"])
    remarks = ["The ensemble's first T members on test, and the student that they teach; T = 1 is the baseline."]
    if result.records[0]["task"] == "classification":
        remarks.append(_HALF)
    remarks.append(_SEM)
    if (frame["n_seeds"] < frame.groupby(_PAIR)["n_seeds"].transform("max")).any():
        remarks.append("Later rounds have fewer seeds where boosting ended early.")
    remarks.append(PGR_REMARK)
    return frame, remarks


def models_by_pair(result: SweepResult) -> tuple[pandas.DataFrame, list[str]]:
    """Option accuracy and token error of every model (Tables 3, 4, 6, 7)."""
    import pandas as pd

    shown = {choice: at_round(result, choice) for choice in CHOICES if can_choose(result, choice)}
    cells: dict[tuple[str, ...], dict[str, float]] = {}
    for measure in ("accuracy", "token_error"):
        for choice, runs in shown.items():
            frame: Any = runs.frame
            for (*pair, model), values in frame.groupby([*_PAIR, "model"], sort=False)[measure]:
                if model in CHOICES[choice].models and values.notna().any():
                    name = _COLUMNS.get(model, model) if choice == "last" else f"{model}_{choice}"
                    cell = cells.setdefault((*pair, measure.replace("_", " ")), {})
                    # Of some seeds only, a mean would not compare with the others.
                    cell |= {name: values.mean(skipna=False), f"{name}_sem": values.sem(skipna=False)}
    comparison: Any = result.comparison()
    for key, row in comparison.iterrows():
        weak, strong = key[:2]
        records = _of_pair(result, (weak, strong))
        for measure in ("accuracy", "token error"):
            if (weak, strong, measure) in cells:
                cells[weak, strong, measure] |= _sizes(records)
        cells[weak, strong, "accuracy"] |= {
            "chance": np.mean([record["chance"] for record in records]),
            "improvement": row["student_minus_baseline"],
            "improvement_low": row["low"],
            "improvement_high": row["high"],
            "pgr_baseline": row["pgr_baseline"],
            "pgr": row["pgr"],
        }
    order = [
        "weak_member", "ensemble", "ensemble_validation", "baseline", "student", "student_validation", "student_best",
        "oracle",
    ]  # fmt: skip
    frame = pd.DataFrame.from_dict(cells, orient="index")
    frame.index = pd.MultiIndex.from_tuples(frame.index, names=[*_PAIR, "measure"])
    columns = [f"{name}{part}" for name in order for part in ("", "_sem") if name in frame.columns]
    last = ["chance", "improvement", "improvement_low", "improvement_high", "pgr_baseline", "pgr", "n_seeds", "n_test"]
    # pandas sorts by name; pairs shall stand in the sweep's order, accuracy above token error.
    frame = frame[[*columns, *last]].sort_index(level="measure", sort_remaining=False, kind="stable")
    frame = frame.loc[sorted(frame.index, key=lambda key: list(dict.fromkeys(k[:2] for k in cells)).index(key[:2]))]
    interval = interval_remark(comparison["n_seeds"], result.confidence_level)
    remarks = [_SEM, interval, PGR_REMARK, "Students of the last round, unless the head of a column names another one."]
    return frame, remarks


def single_runs(result: SweepResult) -> tuple[pandas.DataFrame, list[str]]:
    """One run of each experiment, and what W2S brings over the baseline (Tables 5 and 8)."""
    import pandas as pd

    chosen = at_round(result)
    comparison: Any = chosen.comparison()
    scores: Any = chosen.frame.pivot(index=["split", *_PAIR], columns="model", values="accuracy")
    chance: Any = chosen.frame.groupby(["split", *_PAIR])["chance"].mean()
    rows = [
        {
            **{
                _COLUMNS.get(name, name): scores.loc[(split, weak, strong), name]
                for name in ("weak", "ensemble", "baseline", "student", "oracle")
            },
            "chance": chance[split, weak, strong],
            "improvement": row["student_minus_baseline"],
            "improvement_low": row["low"],
            "improvement_high": row["high"],
            "n_seeds": row["n_seeds"],
            "n_test": row["n_test"],
        }
        for (weak, strong, split, _), row in comparison.iterrows()
    ]
    index = [(split, weak, strong) for weak, strong, split, _ in comparison.index]
    frame = pd.DataFrame(rows, index=pd.MultiIndex.from_tuples(index, names=["split", *_PAIR]))
    frame = frame.sort_index(level="split", sort_remaining=False, kind="stable", ascending=False)
    remarks = [
        say_runs(result),
        interval_remark(comparison["n_seeds"], result.confidence_level),
        *remark_on_rounds(result),
    ]
    return frame, remarks


def trained_on_easy_or_hard(result: SweepResult) -> tuple[pandas.DataFrame, list[str]]:
    """The strong model on true answers of the easy or of the hard part, tested on hard questions ("Figure 5")."""
    import pandas as pd

    refuse_mixed_runs(result.records, "Figure 5", true_labels=True)
    found: dict[str, dict[int, Record]] = {}
    for record in result.records:
        if "easy" not in record["correct"]:
            raise ValueError(
                "The comparison of easy and hard needs run_sweep(train_on_easy=True). Got a sweep without."
            )
        # Both know nothing of the weak model: whichever pair they were trained for, they are the same.
        found.setdefault(record["strong"], {})[record["seed"]] = record
    scores: Any = result.frame.drop_duplicates(["strong", "seed", "model"]).set_index(["strong", "model"])["accuracy"]
    rows = []
    for strong, runs in found.items():
        records = list(runs.values())
        easy, hard = scores.loc[[(strong, "easy")]], scores.loc[[(strong, "oracle")]]
        gain = difference(records, "oracle", "easy", result.confidence_level)
        rows.append({
            "easy": easy.mean(), "easy_sem": easy.sem(), "hard": hard.mean(), "hard_sem": hard.sem(),
            "chance": np.mean([record["chance"] for record in records]),
            "difference": gain.mean, "difference_low": gain.low, "difference_high": gain.high, **_sizes(records),
        })  # fmt: skip
    frame = pd.DataFrame(rows, index=pd.Index(list(found), name="strong"))
    interval = interval_remark(frame["n_seeds"], result.confidence_level)
    return frame, ["Accuracy on hard test questions of models trained on true answers.", _SEM, interval]


def _of_pair(result: SweepResult, pair: Any) -> list[Record]:
    return [record for record in result.records if [record[side] for side in _PAIR] == list(pair)]


def _sizes(records: list[Record]) -> dict[str, int]:
    """Seeds, and test items of all of them together."""
    return {"n_seeds": len(records), "n_test": sum(len(record["correct"]["weak"]) for record in records)}


def _pgr_at(records: list[Record], members: int, confidence_level: float) -> float:
    """PGR of the students that the first `members` have taught; nan where one was not trained."""
    if any(str(members) not in record["students"] for record in records):
        return float("nan")
    students = [
        {**record, "correct": {**record["correct"], "student": record["students"][str(members)]}} for record in records
    ]
    return gap_recovered(students, "student", confidence_level)[0]


def _cell(row: Any, name: str) -> str:
    value = row[name]
    if isinstance(value, str):
        return value
    if np.isnan(value):
        return "–"
    if name.startswith("n_"):
        return str(int(value))
    signed = "+" if name in ("improvement", "difference") else ""
    digits = 2 if name.startswith("pgr") else 3
    text = f"{value:{signed}.{digits}f}"
    if not np.isnan(row.get(f"{name}_sem", np.nan)):
        text += f" ± {row[f'{name}_sem']:.{digits}f}"
    if not np.isnan(row.get(f"{name}_low", np.nan)):
        text += f" [{row[f'{name}_low']:{signed}.{digits}f}, {row[f'{name}_high']:{signed}.{digits}f}]"
    return text.replace("-", "−")
