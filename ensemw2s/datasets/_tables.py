"""Tables (lists of dicts, `datasets.Dataset`, pandas frames) to and from the columns of a `QADataset`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import datasets
    import pandas

    from ensemw2s.datasets._qa import QADataset

# name in a row of a table -> parameter of QADataset
_PARAMETERS = {
    "prompt": "prompts",
    "answer": "answers",
    "choices": "choices",
    "label": "labels",
    "id": "ids",
    "difficulty": "difficulty",
}


def columns_from_list(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return keyword arguments for `QADataset` from a list of dicts that share their keys."""
    rows = list(rows)
    for row, values in enumerate(rows):
        if not isinstance(values, Mapping):
            raise TypeError(f"rows[{row}] must be a dict. Got {values!r} instead; give one dict per question.")
        if unknown := sorted(set(values) - set(_PARAMETERS)):
            raise ValueError(
                f"rows[{row}] must have keys among {list(_PARAMETERS)}. Got {unknown} instead; rename or drop them."
            )
        if "prompt" not in values:
            raise ValueError(f"rows[{row}] must have the key 'prompt'. Got {list(values)} instead; add the question.")
        if set(values) != set(rows[0]):
            raise ValueError(
                f"rows[{row}] must have the keys of rows[0], {list(rows[0])}. Got {list(values)} instead; "
                "give every question the same keys."
            )
    keys = rows[0] if rows else ("prompt",)
    return {_PARAMETERS[key]: [values[key] for values in rows] for key in _PARAMETERS if key in keys}


def columns_from_dataset(dataset: datasets.Dataset, names: Mapping[str, str | Sequence[str] | None]) -> dict[str, Any]:
    """Return keyword arguments for `QADataset` from a Hugging Face data set."""
    import datasets

    if isinstance(dataset, datasets.DatasetDict):
        raise TypeError(
            f"dataset must be one split. Got a DatasetDict with {list(dataset)} instead; pass dataset['train']."
        )
    if isinstance(dataset, datasets.IterableDataset):
        raise TypeError(
            "dataset must be a datasets.Dataset. Got IterableDataset instead; take rows of a stream, as in "
            "datasets.Dataset.from_list(list(stream.take(1000)))."
        )
    if not isinstance(dataset, datasets.Dataset):
        raise TypeError(
            f"dataset must be a datasets.Dataset. Got {type(dataset).__name__} instead; use from_list or from_pandas."
        )
    plain = dataset.with_format(None)  # no tensors
    return _columns(plain.column_names, lambda column: list(plain[column]), names)


def columns_from_pandas(frame: pandas.DataFrame, names: Mapping[str, str | Sequence[str] | None]) -> dict[str, Any]:
    """Return keyword arguments for `QADataset` from a pandas frame."""
    import pandas

    if not isinstance(frame, pandas.DataFrame):
        raise TypeError(
            f"frame must be a pandas.DataFrame. Got {type(frame).__name__} instead; use from_list or from_dataset."
        )
    return _columns(list(frame.columns), lambda column: list(frame[column]), names)


def to_dataset(qa: QADataset) -> datasets.Dataset:
    """Return the columns that exist as a `datasets.Dataset`."""
    from datasets import Dataset

    return Dataset.from_dict(_table(qa))


def to_pandas(qa: QADataset) -> pandas.DataFrame:
    """Return the columns that exist as a pandas frame."""
    import pandas

    return pandas.DataFrame(_table(qa))


def _table(qa: QADataset) -> dict[str, list[Any]]:
    table: dict[str, list[Any]] = {}
    for key, parameter in _PARAMETERS.items():
        column = getattr(qa, parameter)
        if column is not None:
            table[key] = [list(options) for options in column] if key == "choices" else [*map(_plain, column)]
    return table


def _plain(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else value


def _columns(
    available: Sequence[str], read: Callable[[str], list[Any]], names: Mapping[str, str | Sequence[str] | None]
) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, wanted in names.items():
        column = wanted
        if column is None:
            column = key if key in available else "question" if key == "prompt" else None
            if column is None:
                continue
        if isinstance(column, str):
            _check_column(key, column, available)
            found[key] = read(column)
        elif key == "choices":
            for part in column:
                _check_column(key, part, available)
            found[key] = [list(options) for options in zip(*(read(part) for part in column), strict=True)]
        else:
            raise TypeError(
                f"{key} must name one column. Got {column!r} instead; only choices may be a list of columns."
            )
    _unfold_choices(found)
    return {_PARAMETERS[key]: values for key, values in found.items()}


def _check_column(key: str, column: str, available: Sequence[str]) -> None:
    if column not in available:
        raise ValueError(f"{key} must name a column of the table, one of {list(available)}. Got {column!r} instead.")


def _unfold_choices(found: dict[str, Any]) -> None:
    choices = found.get("choices")
    if not choices or not isinstance(choices[0], Mapping):
        return
    for row, entry in enumerate(choices):
        if not isinstance(entry, Mapping) or not {"text", "label"} <= set(entry):
            raise ValueError(
                f"choices[{row}] must have the keys 'text' and 'label'. Got {entry!r} instead; correct that row."
            )
    found["choices"] = [list(entry["text"]) for entry in choices]
    if "label" in found:
        found["label"] = [
            _index_of_key(row, key, list(entry["label"])) if isinstance(key, str) else key
            for row, (key, entry) in enumerate(zip(found["label"], choices, strict=True))
        ]


def _index_of_key(row: int, key: str, keys: Sequence[str]) -> int:
    if key not in keys:
        raise ValueError(
            f"label[{row}] must be one of that question's option labels {keys}. Got {key!r} instead; correct that row."
        )
    return keys.index(key)
