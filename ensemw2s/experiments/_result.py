"""What a sweep found, as tidy tables."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ensemw2s._html.pieces import lines, panel, table
from ensemw2s._markdown import table_lines
from ensemw2s.experiments._grouping import CELL, Record, group_seeds, merge_records, metric_of, varying_columns
from ensemw2s.experiments._record import load_record, unpack_bits, unpack_credit
from ensemw2s.experiments._store import ResultStore
from ensemw2s.experiments._tables import (
    SweepTable,
    compare,
    member_credit,
    model_rows,
    round_rows,
    selection_row,
    sweep_table,
)
from ensemw2s.metrics import ACCURACY
from ensemw2s.pipeline import W2SReport

if TYPE_CHECKING:
    import pandas

_SELECT = ("dataset", "task", "metric", *CELL, "seed", "settings_digest")


class SweepResult:
    """Results of the units of a sweep.

    Parameters
    ----------
    records : list of dict
        One per unit, as stored.
    confidence_level : float in (0, 1), default=0.95
        Of all intervals.

    Examples
    --------
    >>> from ensemw2s import BigramLearner, make_qa, run_sweep
    >>> models = ("weak", BigramLearner()), ("strong", BigramLearner(smoothing=0.1))
    >>> result = run_sweep([models], dataset=make_qa(60, random_state=0), splits=["random"], seeds=1, n_estimators=1,
    ...                    booster_params={"prior": "uniform"})
    >>> len(result), result.reports[0].n
    (1, 12)
    """

    def __init__(self, records: Sequence[Record], *, confidence_level: float = 0.95) -> None:
        self.records = list(records)
        self.confidence_level = confidence_level

    @classmethod
    def load(cls, out_dir: str | os.PathLike[str], *, confidence_level: float = 0.95) -> SweepResult:
        """All units that are finished in a folder.

        Parameters
        ----------
        out_dir : path
            Where `run_sweep` kept its results. Several sweeps may share it: what they have in common is there once, and
            results of other data or settings are never averaged, see `summary` and `select`.
        confidence_level : float in (0, 1), default=0.95
            Of all intervals.

        Returns
        -------
        SweepResult

        Raises
        ------
        FileNotFoundError
            If no unit is finished there.
        CheckpointError
            If a result is damaged, or no result of a unit.
        """
        store = ResultStore(out_dir)
        paths = sorted((store.folder / "unit").glob("*.json"))
        if not paths:
            raise FileNotFoundError(f"out_dir must hold finished units of a sweep. Found none in {store.folder}.")
        return cls(merge_records(load_record(store, path) for path in paths), confidence_level=confidence_level)

    def select(self, **values: Any) -> SweepResult:
        """The runs with given values.

        Parameters
        ----------
        **values
            Value, or list of values, by column: "dataset", "task", "metric", "weak", "strong", "split", "variant",
            "seed", "settings_digest".

        Returns
        -------
        SweepResult

        Raises
        ------
        ValueError
            If a column is unknown, or there is no such run; the message lists the values that there are.
        """
        records = self.records
        for column, value in values.items():
            if column not in _SELECT:
                raise ValueError(f"select takes {', '.join(_SELECT)}. Got {column!r} instead.")
            wanted = [value] if isinstance(value, str) or not isinstance(value, Iterable) else list(value)
            found = [record for record in records if _value(record, column) in wanted]
            if not found:
                known = ", ".join(map(repr, dict.fromkeys(_value(record, column) for record in records)))
                raise ValueError(f"The sweep must have runs with {column}={value!r}. Got {column} {known}.")
            records = found
        return SweepResult(records, confidence_level=self.confidence_level)

    def __len__(self) -> int:
        return len(self.records)

    def __repr__(self) -> str:
        return f"SweepResult({len(self)} units)\n{self.to_markdown()}"

    @property
    def metric(self) -> str:
        """What the models are measured by, the name of a column.

        Raises
        ------
        ValueError
            If the runs differ in it.
        """
        metrics = list(dict.fromkeys(map(metric_of, self.records)))
        if len(metrics) > 1:
            raise ValueError(
                f"The runs must have one metric. Got {', '.join(metrics)}; pass result.select(metric={metrics[0]!r})."
            )
        return metrics[0] if metrics else ACCURACY

    @property
    def reports(self) -> list[W2SReport]:
        """One `W2SReport` per unit, in the order of the records."""
        return [
            W2SReport(
                {name: _credit(record, packed) for name, packed in record["correct"].items()},
                [_credit(record, packed) for packed in record["stages"]],
                record["chance"],
                record["token_errors"],
                votes=np.array(record["votes"]),
                errors=np.array(record["errors"]),
                stop_reason=record["stop_reason"],
                member_answers=record["members"],
                member_correct=member_credit(record),
                member_names=record.get("member_names", []),
                votes_by=record.get("votes_by", ""),
                confidence_level=self.confidence_level,
                metric=metric_of(record),
            )
            for record in self.records
        ]

    @property
    def frame(self) -> pandas.DataFrame:
        """One row per unit and model.

        Columns: dataset, task, weak, strong, split, variant, seed, model ("weak", "ensemble", "uniform", "baseline",
        "student", "oracle", "easy"), accuracy, or whatever else metric says, with its bootstrap interval over items
        (low, high), token_error, metric, chance, n_test, n_tied (the items of which m options were tied for the
        likeliest, and which count 1/m), settings (what was asked for, as JSON), settings_digest (a hash of all that the
        run depends on but the seed, versions of packages included), weak_settings_digest (of what the weak ensemble
        alone depends on).
        """
        import pandas as pd

        return pd.DataFrame([row for record in self.records for row in model_rows(record, self.confidence_level)])

    @property
    def rounds(self) -> pandas.DataFrame:
        """One row per unit and round of boosting.

        Columns: dataset, task, weak, strong, split, variant, seed, round, member (the name of a pool's expert, "" of
        other ensembles), vote, error and prior (of training), accuracy and token_error of the first `round` members on
        test, member_accuracy, validation_accuracy, student_accuracy (of the student of the first `round` members), and
        for these members any_member_accuracy (the share of test items
        that at least one has right), margin (mean over test items), margin_low (tenth percentile), disagreement,
        error_correlation and q_statistic (means over pairs), settings, settings_digest and weak_settings_digest as in
        `frame`. nan where there is none.
        """
        import pandas as pd

        return pd.DataFrame([row for record in self.records for row in round_rows(record)])

    def summary(self) -> pandas.DataFrame:
        """Mean and standard error over seeds of each model.

        Returns
        -------
        pandas.DataFrame
            Indexed by weak, strong, split, variant and model; columns accuracy, sem (nan for one seed), token_error,
            chance, n_seeds, n_test (items of all seeds together). Where data sets or tasks differ, or a pair, split and
            variant has several settings, "dataset", "task" or "settings_digest" are levels in front of the others.
        """
        self._require_records("summary")
        list(group_seeds(self.records))  # a seed that is there twice is no further seed
        grouped = self.frame.groupby([*varying_columns(self.records), *CELL, "model"], sort=False)
        return grouped.agg(
            **{self.metric: (self.metric, "mean")},
            sem=(self.metric, "sem"),
            token_error=("token_error", "mean"),
            chance=("chance", "mean"),
            n_seeds=("seed", "nunique"),
            n_test=("n_test", "sum"),
        )

    def comparison(self) -> pandas.DataFrame:
        """What the ensemble brings the student, for each pair, split and variant.

        Returns
        -------
        pandas.DataFrame
            Indexed by weak, strong, split and variant, and what `summary` puts in front of them.
            ``student_minus_baseline`` with its interval, paired, of `interval_over_seeds` (low, high) and the standard
            error over seeds (sem); ``ensemble_minus_weak`` likewise (ensemble_low, ensemble_high); ``pgr`` and
            ``pgr_baseline`` of the mean accuracies, nan where the oracle is not better than the weak model beyond the
            interval of their difference or a model is below chance, and pgr_reason then; n_seeds and n_test (items of
            all seeds together). Of a single seed the intervals are over its test items only.
        """
        import pandas as pd

        self._require_records("comparison")
        index = [*varying_columns(self.records), *CELL]
        rows = [
            {**{column: records[0][column] for column in index}, **compare(records, self.confidence_level)}
            for records in group_seeds(self.records)
        ]
        return pd.DataFrame(rows).set_index(index)

    def selected_rounds(self) -> pandas.DataFrame:
        """The number of rounds chosen on validation, beside the best round on test.

        The paper plots the round whose student does best on test, which is no fair estimate: the maximum over rounds
        is high by chance. Here the ensemble's accuracy on validation chooses.

        Returns
        -------
        pandas.DataFrame
            One row per unit: chosen_round and its ensemble_accuracy and student_accuracy on test; best_round, the one
            with the highest student accuracy on test, and best_student_accuracy.

        Raises
        ------
        ValueError
            If the sweep had no validation split, or students after the last round only.
        """
        import pandas as pd

        for record in self.records:
            if record["validation"] is None or len(record["students"]) < len(record["stages"]):
                raise ValueError("selected_rounds needs run_sweep(validation_size=..., student_rounds='all').")
        chosen = pd.DataFrame([selection_row(record) for record in self.records])
        index = [*varying_columns(self.records), *CELL, "seed"]
        return chosen.set_index(index)[[column for column in chosen.columns if column not in _SELECT]]

    def to_markdown(self) -> str:
        """Mean ± standard error over seeds of every model, and what the ensemble brings, as a Markdown table.

        Returns
        -------
        str
        """
        if not self.records:
            return "No unit is finished."
        columns, rows, remark = self._table()
        return "\n".join([*table_lines(columns, rows), "", remark])

    def _repr_html_(self) -> str:
        title = f"SweepResult of {len(self)} unit{'' if len(self) == 1 else 's'}"
        if not self.records:
            return panel(title, lines(["No unit is finished."]))
        columns, rows, remark = self._table()
        texts = {"weak → strong", "split", "variant", *varying_columns(self.records)}
        return panel(title, table(columns, rows, numeric=set(columns) - texts), lines([remark]))

    def _table(self) -> SweepTable:
        return sweep_table(self.summary(), self.comparison(), self.confidence_level, self.records)

    def _require_records(self, name: str) -> None:
        if not self.records:
            raise ValueError(f"{name} needs at least one finished unit. Got none.")


def _value(record: Record, column: str) -> object:
    return metric_of(record) if column == "metric" else record.get(column, "")


def _credit(record: Record, packed: Any) -> np.ndarray:
    # A record of a version in which the first of tied options counted knows of no ties: its truth values stay such.
    return unpack_credit(packed) if "member_credit" in record else unpack_bits(packed)
