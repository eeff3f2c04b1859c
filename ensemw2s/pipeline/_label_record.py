"""All labels of a labeler as one record, and back."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import numpy as np
from sklearn.utils import _safe_indexing
from sklearn.utils.validation import _num_samples

from ensemw2s._validation.row_filter import without_texts
from ensemw2s.datasets import QADataset
from ensemw2s.storage import decode, encode, row_digests

_ARRAYS = ("y", "proba", "confidence", "kept", "classes", "finished")
_LATER_ARRAYS = ("agreement", "sample_weight")  # which records of earlier versions lack


def pack_labels(labels: Any, X: Any, name: str) -> dict[str, Any]:
    """Pseudo-labels as JSON; rows of what was labelled are referred to by their numbers.

    Parameters
    ----------
    labels : PseudoLabels
    X : sequence or QADataset
        What was to be labelled.
    name : str
        What to call the labels in an error.

    Raises
    ------
    TypeError
        If rows that are not among those of `X` are neither texts nor numbers, or if a field cannot be written.
    """
    rows = _numbers(labels.X, X)
    record = {"rows": rows} if rows is not None else {"X": _encode_rows(labels.X, f"{name}.X")}
    record |= {field: encode(getattr(labels, field), f"{name}.{field}") for field in (*_ARRAYS, *_LATER_ARRAYS)}
    return {**record, "soft": bool(labels.soft), "skipped_rows": encode(without_texts(labels.skipped_rows), name)}


def unpack_labels(record: dict[str, Any], X: Any) -> dict[str, Any]:
    """The fields of the pseudo-labels that were packed.

    Raises
    ------
    KeyError, TypeError, ValueError
        If it is no record of `pack_labels`.
    """
    fields: dict[str, Any] = {field: decode(record[field]) for field in _ARRAYS}
    fields |= {field: decode(record.get(field)) for field in _LATER_ARRAYS}
    fields["soft"], fields["skipped_rows"] = record["soft"], tuple(decode(record["skipped_rows"]))
    if "X" in record:
        fields["X"] = _decode_rows(record["X"])
        return fields
    rows = np.asarray(record["rows"], dtype=np.int64)
    if len(rows) != len(fields["y"]) or (len(rows) and not 0 <= rows.min() <= rows.max() < _num_samples(X)):
        raise ValueError("rows do not fit the labels")
    everything = np.array_equal(rows, np.arange(_num_samples(X)))
    fields["X"] = X if everything else _safe_indexing(X, rows)
    return fields


def _numbers(part: Any, X: Any) -> list[int] | None:
    """Numbers in `X` of the rows of `part`; None if a row is not there, or if both are of different kinds."""
    if part is X:
        return list(range(_num_samples(X)))
    if type(part) is not type(X):
        return None
    places: dict[Hashable, int] = {}
    for number, key in enumerate(_keys(X)):
        places.setdefault(key, number)
    found = [places.get(key) for key in _keys(part)]
    return None if None in found else found  # type: ignore[return-value]


def _keys(X: Any) -> list[Hashable]:
    """What tells rows apart."""
    if not isinstance(X, QADataset):
        return row_digests(X).tolist()
    columns = (X.prompts, X.choices, X.answers)
    return list(zip(*(_column_keys(column, len(X)) for column in columns), strict=True))


def _column_keys(column: Any, n_rows: int) -> list[Hashable]:
    return [None] * n_rows if column is None else row_digests(column).tolist()


def _encode_rows(X: Any, name: str) -> Any:
    if isinstance(X, QADataset):
        return {"questions": {key: encode(getattr(X, key), name) for key in ("prompts", "choices", "answers")}}
    try:
        return {"values": encode(X, name)}
    except TypeError as error:
        raise TypeError(
            f"{name} cannot be kept in checkpoint_dir: its rows are not among those that were to be labelled, and a "
            f"{type(X).__name__} cannot be written. Return rows of what label was given, texts, or an array."
        ) from error


def _decode_rows(content: dict[str, Any]) -> Any:
    if "questions" in content:
        columns = {key: decode(value) for key, value in content["questions"].items()}
        return QADataset(columns["prompts"], columns["answers"], columns["choices"])
    return decode(content["values"])
