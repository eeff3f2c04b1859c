"""Rows of a sweep's tidy frames: which to draw, and which belong together."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from ensemw2s._validation import shorten

if TYPE_CHECKING:
    import pandas

_CELL = ("dataset", "task", "weak", "strong", "split", "variant")


def select(frame: Any, columns: Sequence[str], name: str = "frame", **wanted: Any) -> pandas.DataFrame:
    """Return the rows of `frame` whose columns have the values wanted.

    Parameters
    ----------
    frame : pandas.DataFrame
        Tidy frame.
    columns : sequence of str
        What it must have.
    name : str
        What an error calls the frame.
    **wanted
        Value, or list of values, by column; None stands for all.

    Raises
    ------
    TypeError, ValueError
        If `frame` is no frame, lacks a column, or has no such row; the message lists what there is.
    """
    import pandas as pd

    if not isinstance(frame, pd.DataFrame):
        raise TypeError(f"{name} must be a pandas DataFrame. Got {shorten(frame)} instead.")
    wanted = {column: value for column, value in wanted.items() if value is not None}
    missing = [column for column in (*columns, *wanted) if column not in frame.columns]
    if missing:
        raise ValueError(f"{name} must have the column {missing[0]!r}. Got {', '.join(map(str, frame.columns))}.")
    for column, value in wanted.items():
        values = [value] if isinstance(value, str) or not isinstance(value, Iterable) else list(value)
        found = frame[column].isin(values)
        if not found.any():
            raise ValueError(f"{column} must be one of {_listed(frame[column])}. Got {value!r} instead.")
        frame = frame[found]
    if frame.empty:
        raise ValueError(f"{name} must have at least one row. Got none.")
    return frame


def refuse_several(frame: pandas.DataFrame, columns: Iterable[str], remedy: str) -> None:
    """Raise where a column holds several values, which would be averaged as if they were seeds."""
    for column in columns:
        if column in frame.columns and frame[column].nunique(dropna=False) > 1:
            raise ValueError(
                f"frame holds several values of {column!r}, {_listed(frame[column])}, which must not be averaged; "
                f"{remedy.format(column=column)}."
            )


def refuse_other_settings(frame: pandas.DataFrame, apart: Iterable[str] = (), *, weak_alone: bool = False) -> None:
    """Raise where runs of one pair, split and variant were computed from other data or with other settings.

    Parameters
    ----------
    frame : pandas.DataFrame
        Tidy frame; what columns it lacks are taken for one value.
    apart : iterable of str
        Columns whose values are kept apart.
    weak_alone : bool, default=False
        Whether runs with different strong models are taken for runs of one weak ensemble.
    """
    where = [column for column in ("dataset", "task") if column not in apart]
    refuse_several(frame, where, "pass the rows of one, as SweepResult.select({column}=...) gives them")
    if "settings_digest" not in frame.columns or "settings_digest" in apart:
        return
    weak_alone = weak_alone and "weak_settings_digest" in frame.columns
    digest, left_out = ("weak_settings_digest", ["strong"]) if weak_alone else ("settings_digest", [])
    cell = [column for column in (*apart, *_CELL) if column in frame.columns and column not in left_out]
    for _, rows in frame.groupby(cell, dropna=False) if cell else [("", frame)]:
        refuse_several(
            rows, [digest],
            "pass the rows of one, as SweepResult.select(settings_digest=...) gives them; the column 'settings' says "
            "which",
        )  # fmt: skip


def refuse_duplicates(frame: pandas.DataFrame, key: Sequence[str]) -> None:
    """Raise where two rows have the same key: counted twice, they would make the error bars too small."""
    twice = frame.duplicated(list(key))
    if twice.any():
        row = frame[twice].iloc[0]
        which = ", ".join(f"{column}={row[column]}" for column in key)
        raise ValueError(f"frame must have one row per {', '.join(key)}. Got several for {which}; drop the others.")


def short_names(names: Iterable[Any]) -> dict[Any, str]:
    """Names without the folder or owner in front, unless two would look alike."""
    full = list(dict.fromkeys(names))
    last = {name: PurePath(str(name)).name or str(name) for name in full}
    return last if len(set(last.values())) == len(full) else {name: str(name) for name in full}


def _listed(column: pandas.Series) -> str:
    return ", ".join(map(repr, column.unique().tolist()))


def metric_of(frame: object) -> str:
    """What the models of a sweep's frame are measured by, the name of a column: "accuracy" unless it says so."""
    columns = getattr(frame, "columns", ())
    if "metric" not in columns:
        return "accuracy"
    metrics = list(dict.fromkeys(frame["metric"]))  # type: ignore[index]
    if len(metrics) != 1:
        raise ValueError(
            f"frame must hold runs of one metric. Got {', '.join(map(str, metrics)) or 'none'}; select those of one."
        )
    return str(metrics[0])
