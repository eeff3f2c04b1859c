"""Which records belong together: the seeds of one experiment, and what must not be shown as one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, TypeAlias

from ensemw2s._validation import shorten
from ensemw2s.metrics import ACCURACY

# What a run was, has found and was computed with: from JSON, by the names that `experiments._run` gives.
Record: TypeAlias = dict[str, Any]
# What a mean over seeds is taken for, beside the data set, the task and the settings.
CELL = ("weak", "strong", "split", "variant")
_WHERE = ("dataset", "task")
_SHOWN = 3  # differences that an error names


def merge_records(records: Iterable[Record]) -> list[Record]:
    """One record per run: sweeps that ask for more of the same leave a result each.

    Students of other rounds, and one of easy data, are taken over from results that agree in all that they share.
    """
    found: dict[tuple[object, ...], Record] = {}
    for record in records:
        key = (*_cell(record), record["seed"])
        found[key] = _merged(found[key], record) if key in found else record
    return list(found.values())


def varying_columns(records: list[Record]) -> list[str]:
    """Columns beside the cell's that tell rows of a summary apart: of data set, task and settings, those that must."""
    columns = [column for column in _WHERE if len({record[column] for record in records}) > 1]
    digests: dict[tuple[object, ...], set[str]] = {}
    for record in records:
        digests.setdefault(_cell(record)[:-1], set()).add(_digest(record))
    return [*columns, "settings_digest"] if any(len(found) > 1 for found in digests.values()) else columns


def group_seeds(records: list[Record]) -> Iterator[list[Record]]:
    """The seeds of each data set, task, pair, split, variant and settings.

    Raises
    ------
    ValueError
        If a seed is there twice: it would be counted as two.
    """
    found: dict[tuple[object, ...], list[Record]] = {}
    for record in records:
        found.setdefault(_cell(record), []).append(record)
    for group in found.values():
        seeds = [record["seed"] for record in group]
        if len(set(seeds)) < len(seeds):
            twice = next(seed for seed in seeds if seeds.count(seed) > 1)
            raise ValueError(f"records must hold each seed once. Got seed {twice} of {_name(group[0])} several times.")
        yield group


def refuse_mixed_runs(records: list[Record], shown: str, *, true_labels: bool = False) -> None:
    """Raise where a table or figure would show different experiments as one.

    Parameters
    ----------
    records : list of dict
        Of the runs that are shown.
    shown : str
        What the error calls the table or figure.
    true_labels : bool, default=False
        Whether students on true labels are shown, one for each strong model, whatever the weak one.

    Raises
    ------
    ValueError
        If there are several data sets, tasks, or settings of a pair, split and variant; it says how to pick one.
    """
    for column in _WHERE:
        values = list(dict.fromkeys(record[column] for record in records))
        if len(values) > 1:
            raise ValueError(
                f"{shown} must show one {column}. Got {', '.join(map(repr, values))}; pass "
                f"result.select({column}={values[0]!r})."
            )
    others = [metric for metric in map(metric_of, records) if metric != ACCURACY]
    if others:
        raise ValueError(f"{shown} is one of accuracies. Got runs by {others[0]}; see SweepResult.summary for these.")
    first: dict[tuple[object, ...], Record] = {}
    for record in records:
        # Without the digest, which is what must agree.
        key = (record["strong"], record["split"]) if true_labels else _cell(record)[:-1]
        other = first.setdefault(key, record)
        ours, theirs = (_of_true_labels(one) if true_labels else one.get("settings") for one in (record, other))
        if ours != theirs:
            found = list(_differences(theirs, ours, ""))
            more = f", and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
            raise ValueError(
                f"{shown} must show one setting of {_name(record)}. Got two, which differ in "
                f"{'; '.join(found[:_SHOWN])}{more}. Pass result.select(settings_digest={_digest(other)!r}), or "
                f"{_digest(record)!r}."
            )


def _cell(record: Record) -> tuple[object, ...]:
    return (*(record[column] for column in (*_WHERE, *CELL)), _digest(record))


def _digest(record: Record) -> str:
    """Of records that no sweep has written, which hold no settings, all are taken for one."""
    return str(record.get("settings_digest", ""))


def _of_true_labels(record: Record) -> Any:
    """What a student on true labels was computed with: nothing of the weak model but who rated the questions."""
    settings = record.get("settings")
    if not settings:
        return settings
    return {**settings, "weak": {"data": settings["weak"]["data"]}, "readout": None}


def _name(record: Record) -> str:
    return f"{record['weak']} → {record['strong']}, {record['split']}, {record['variant']}"


def _merged(one: Record, other: Record) -> Record:
    parts = ("correct", "students", "token_errors")
    for part in parts:
        common = one[part].keys() & other[part].keys()
        if any(one[part][name] != other[part][name] for name in common):
            return one  # computed twice, with another outcome: a seed counts once all the same
    return {**other, **one, **{part: {**other[part], **one[part]} for part in parts}}


def _differences(one: object, other: object, name: str) -> Iterator[str]:
    if isinstance(one, dict) and isinstance(other, dict):
        for key in sorted({*one, *other}):
            yield from _differences(one.get(key), other.get(key), f"{name}.{key}" if name else key)
    elif one != other:
        yield f"{name}, {shorten(one)} and {shorten(other)}"


def metric_of(record: Record) -> str:
    """Name of what answers are compared by; accuracy in records of a version that knew no other."""
    return str(record.get("metric", ACCURACY))
