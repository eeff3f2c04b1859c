"""Tables (lists of dicts, files, `datasets.Dataset`, pandas frames) to and from the columns of a `QADataset`."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from ensemw2s._validation import is_blank, shorten
from ensemw2s._validation.class_labels import is_missing
from ensemw2s.datasets._files import Rows
from ensemw2s.datasets._gold import gold_positions

if TYPE_CHECKING:
    import datasets
    import pandas

    from ensemw2s.datasets._columns import Columns

# name in a row of a table -> parameter of QADataset
_PARAMETERS = {
    "prompt": "prompts",
    "answer": "answers",
    "choices": "choices",
    "label": "labels",
    "id": "ids",
    "difficulty": "difficulty",
}
_ALIASES = {"prompt": "question"}


class Table(NamedTuple):
    """What a table holds, and how it says which option is gold."""

    columns: dict[str, Any]
    """Keyword arguments for `QADataset`."""
    by_text: bool
    """Whether by the text of the option."""
    by_column: bool
    """Whether each option has a column of its own."""


def columns_from_list(rows: Sequence[Mapping[str, Any]]) -> Table:
    """Read a list of dicts that share their keys."""
    rows = list(rows)
    for row, values in enumerate(rows):
        if not isinstance(values, Mapping):
            raise TypeError(f"rows[{row}] must be a dict. Got {values!r} instead; give one dict per question.")
        if unknown := sorted(set(values) - set(_PARAMETERS) - set(_ALIASES.values()), key=str):
            raise ValueError(
                f"rows[{row}] must have keys among {[*_PARAMETERS, *_ALIASES.values()]}. Got {unknown} instead; rename "
                "or drop them."
            )
        if len({"prompt", "question"} & set(values)) != 1:
            raise ValueError(
                f"rows[{row}] must have the key 'prompt', or 'question' in its place. Got {list(values)} instead; "
                "give the question once."
            )
        if set(values) != set(rows[0]):
            raise ValueError(
                f"rows[{row}] must have the keys of rows[0], {list(rows[0])}. Got {list(values)} instead; "
                "give every question the same keys."
            )
    keys = list(rows[0]) if rows else ["prompt"]
    return _columns(keys, lambda key: [values[key] for values in rows], dict.fromkeys(_PARAMETERS))


def columns_from_dataset(dataset: datasets.Dataset, names: Mapping[str, str | Sequence[str] | None]) -> Table:
    """Read a Hugging Face data set."""
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
    return _columns(
        plain.column_names, lambda column: [_named(entry, plain.features[column]) for entry in plain[column]], names
    )


def columns_from_pandas(frame: pandas.DataFrame, names: Mapping[str, str | Sequence[str] | None]) -> Table:
    """Read a pandas frame."""
    import pandas

    if not isinstance(frame, pandas.DataFrame):
        raise TypeError(
            f"frame must be a pandas.DataFrame. Got {type(frame).__name__} instead; use from_list or from_dataset."
        )
    return _columns(list(frame.columns), lambda column: _cells(frame, column), names)


def columns_from_file(rows: Rows, names: Mapping[str, str | Sequence[str] | None]) -> Table:
    """Read the rows of a file; what a row lacks is None there.

    Raises
    ------
    TypeError, ValueError
        With the place in the file where a cell is wrong.
    """
    available = list(dict.fromkeys(key for row in rows.rows for key in row))
    kinds = {names["difficulty"] or "difficulty": _number_in_cell}  # cells of a CSV file are texts
    if names["choices"] is None or isinstance(names["choices"], str):
        kinds[names["choices"] or "choices"] = _list_in_cell

    def read(column: str) -> list[Any]:
        cells = [row.get(column) for row in rows.rows]
        kind = kinds.get(column)
        return cells if kind is None else [kind(cell, row) for row, cell in enumerate(cells)]

    return _columns(available, read, names)


def place_in_file(message: str, rows: Rows, names: Mapping[str, str | Sequence[str] | None]) -> str:
    """Line and column of the cell that an error names as ``parameter[row]``, or nothing."""
    found = re.search(r"\b(\w+)\[(\d+)\]", message)
    keys = {parameter: key for key, parameter in _PARAMETERS.items()} | {key: key for key in _PARAMETERS}
    if found is None or found[1] not in keys or int(found[2]) >= len(rows.places):
        return ""
    key = keys[found[1]]
    column = names[key] or (key if key in rows.rows[0] else _ALIASES.get(key, key))
    return f" {rows.places[int(found[2])]}, column {column if isinstance(column, str) else ', '.join(column)}"


def _list_in_cell(cell: Any, row: int) -> Any:
    if not isinstance(cell, str):
        return cell
    try:
        return json.loads(cell)
    except json.JSONDecodeError as error:
        raise ValueError(
            f"choices[{row}] must be a JSON list of options. Got {shorten(cell)} instead; write it as "
            '["tin", "mercury"], or give each option a column, and choices the list of them.'
        ) from error


def _number_in_cell(cell: Any, row: int) -> Any:
    try:
        return float(cell) if isinstance(cell, str) else cell
    except ValueError as error:
        raise ValueError(
            f"difficulty[{row}] must be a number. Got {shorten(cell)} instead; correct that row."
        ) from error


def _cells(frame: pandas.DataFrame, column: str) -> list[Any]:
    cells = frame[column]
    if cells.ndim != 1:
        raise ValueError(
            f"frame must have one column {column!r}. Got {cells.shape[1]} of this name; rename or drop the others."
        )
    return list(cells)


def to_dataset(qa: Columns) -> datasets.Dataset:
    """Return the columns that exist as a `datasets.Dataset`."""
    from datasets import Dataset

    return Dataset.from_dict(_table(qa))


def to_pandas(qa: Columns) -> pandas.DataFrame:
    """Return the columns that exist as a pandas frame."""
    import pandas

    return pandas.DataFrame(_table(qa))


def _table(qa: Columns) -> dict[str, list[Any]]:
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
) -> Table:
    found: dict[str, Any] = {}
    # A column that is named for one parameter is not taken for another that is called like it: in MMLU's table
    # label="answer" says that this column holds no texts.
    taken = {
        column for wanted in names.values() if wanted for column in ([wanted] if isinstance(wanted, str) else wanted)
    }
    for key, wanted in names.items():
        column = wanted
        if column is None:
            free = [name for name in (key, _ALIASES.get(key)) if name in available and name not in taken]
            if not free and key != "prompt":
                continue
            column = free[0] if free else key
        if isinstance(column, str):
            _check_column(key, column, available)
            found[key] = read(column)
        elif key == "choices" and column is not None:
            for part in column:
                _check_column(key, part, available)
            found[key] = [list(options) for options in zip(*(read(part) for part in column), strict=True)]
        else:
            raise TypeError(
                f"{key} must name one column. Got {column!r} instead; only choices may be a list of columns."
            )
    wanted, labels = names["choices"], found.get("label")
    by_column = wanted is not None and not isinstance(wanted, str)
    if found.get("choices"):
        if by_column:
            _join_columns(found, list(wanted or ()))
        else:
            _unfold_choices(found)
    # Whether rows name the gold option by its words: then its place may be the table's doing, see `_conversions._made`.
    by_text = labels is None
    if labels is not None and found.get("choices"):
        pairs = zip(labels, found["choices"], strict=False)
        by_text = all(isinstance(options, Iterable) and label in options for label, options in pairs)
    return Table({_PARAMETERS[key]: values for key, values in found.items()}, by_text, by_column)


def _check_column(key: str, column: str, available: Sequence[str]) -> None:
    if column not in available:
        raise ValueError(f"{key} must name a column of the table, one of {list(available)}. Got {column!r} instead.")


def _named(entry: Any, feature: Any) -> Any:
    """The entry with class numbers as names: they count the names of the column, not the options of the question."""
    import datasets

    if isinstance(feature, datasets.ClassLabel):
        # -1 is how `datasets` writes a class that is not known.
        return None if entry is None or entry == -1 else feature.int2str(entry)
    if isinstance(feature, Mapping) and isinstance(entry, Mapping):
        return {key: _named(value, feature[key]) if key in feature else value for key, value in entry.items()}
    inner = getattr(feature, "feature", feature[0] if isinstance(feature, list) and feature else None)
    if isinstance(entry, (list, tuple)) and inner is not None:
        return [_named(value, inner) for value in entry]
    return entry


def _unfold_choices(found: dict[str, Any]) -> None:
    """Options as plain lists, and labels as positions in them."""
    choices, keys = found["choices"], None
    if isinstance(choices[0], Mapping):
        for row, entry in enumerate(choices):
            if not isinstance(entry, Mapping) or not {"text", "label"} <= set(entry):
                raise ValueError(
                    f"choices[{row}] must have the keys 'text' and 'label'. Got {entry!r} instead; correct that row."
                )
            if any(entry[key] is None for key in ("text", "label")) or len(entry["text"]) != len(entry["label"]):
                raise ValueError(
                    f"choices[{row}] must have one label for each text. Got {entry!r} instead; correct that row."
                )
        keys = [list(entry["label"]) for entry in choices]
        found["choices"] = [list(entry["text"]) for entry in choices]
    if "label" in found:
        found["label"] = gold_positions(found["label"], found["choices"], keys)


def _join_columns(found: dict[str, Any], columns: list[str]) -> None:
    """Options from one column each: empty cells are no options, and a label may be the name of a column."""
    cells = found["choices"]
    kept = [[place for place, cell in enumerate(row) if not _is_empty(cell)] for row in cells]
    found["choices"] = [[row[place] for place in places] for row, places in zip(cells, kept, strict=True)]
    if "label" not in found:
        return
    labels, names = found["label"], {str(column).strip().casefold() for column in columns}
    named = all(not isinstance(label, str) or label.strip().casefold() in names for label in labels)
    positions = gold_positions(labels, cells, [columns] * len(cells) if named else None)
    # So far a position counts columns; from here on it counts the cells of the row that are not empty.
    for row, (label, place, places) in enumerate(zip(labels, positions, kept, strict=True)):
        if not named and isinstance(label, str):
            _check_one_reading(row, label, place, columns)
        if not isinstance(place, int) or isinstance(place, bool):
            continue  # an error of QADataset's
        if 0 <= place < len(columns) and place not in places:
            raise ValueError(
                f"label[{row}] names the option in column {columns[place]!r}, which is empty there; correct that row."
            )
        positions[row] = places.index(place) if place in places else place
    found["label"] = positions


def _check_one_reading(row: int, label: str, place: int, columns: list[str]) -> None:
    """Refuse a letter, number or text of one option that is the name of another's column."""
    for column, name in enumerate(columns):
        if str(name).strip() == label.strip() and column != place:
            raise ValueError(
                f"label[{row}] = {label!r} can be read as the name of a column and as option {columns[place]!r}, since "
                f"other rows name no column of {columns}. Name a column in every row, or pass positions as int."
            )


def _is_empty(cell: Any) -> bool:
    return is_missing(cell) or (isinstance(cell, str) and is_blank(cell))
