"""What a stored result was computed from, as plain JSON, and its hash; and a hash for each row of data."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from ensemw2s._validation import as_id, dtype_name, shorten
from ensemw2s._version import __version__
from ensemw2s.storage._contents import (
    Describe,
    describe_array,
    describe_contents,
    describe_function,
    describe_table,
    held_beside_entries,
    module_of,
    name_of,
    plain_container,
)

Knows: TypeAlias = Callable[[Any], bool]
DescribeFor: TypeAlias = Callable[[Any, Any], Any]
# Parameters of estimators that do not change a result.
_WITHOUT_EFFECT = ("n_jobs", "verbose", "backend", "checkpoint_dir", "on_locked")
# Settings of `transformers.TrainingArguments` that do not.
_REPORTS = ("report_to", "output_dir", "run_name", "project")
# Parameters that came later, with what was done before them: there they leave fingerprints of old results alone.
_CAME_LATER = {
    "adapt": repr("all"),
    "HFCausalLM.loss": repr("cross-entropy"),
    "errors": repr("train"),
    "estimators": repr(None),
    "model_kwargs": repr(None),
    "pick": repr("cycle"),
    "votes": repr("alpha"),
    "zero_shot": repr(False),
    # of one class: others always had parameters of these names
    "PseudoLabeler.n_samples": repr(1),
    **{f"{name}.validation_fraction": repr(None) for name in ("HFCausalLM", "HFClassifier", "HFVerifier")},
    **{f"PseudoLabeler.{name}": repr(None) for name in ("agreement", "filter", "weights", "vote", "rerank", "extract")},
}

_PACKAGES = ("numpy", "scipy", "scikit-learn", "torch", "transformers", "peft", "accelerate")


def digest(description: object) -> str:
    """SHA-256 of a JSON value, 16 hexadecimal digits: enough to tell millions of results apart."""
    text = json.dumps(description, sort_keys=True, ensure_ascii=True, allow_nan=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def versions() -> dict[str, str]:
    """Versions of what computes, of the packages that are installed; and what the environment makes of all training."""
    found = {package: _version(package) for package in _PACKAGES}
    known = {"ensemw2s": __version__, **{package: number for package, number in found.items() if number is not None}}
    precision = mixed_precision()
    return known if precision == "no" else {**known, "ACCELERATE_MIXED_PRECISION": precision}


def mixed_precision() -> str:
    """What the environment asks accelerate for, such as "bf16"; "no" if nothing."""
    return os.environ.get("ACCELERATE_MIXED_PRECISION", "").strip().lower() or "no"


@cache
def _version(package: str) -> str | None:
    """What the running process has loaded, or would load; an upgrade beside it changes nothing in it."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def row_digests(rows: Any) -> np.ndarray:
    """A hash for each row of texts, lists of texts, numbers, of a table or of a sparse matrix.

    Returns
    -------
    ndarray of shape (n_rows,), uint64
        Equal for equal rows, also in another process.
    """
    if hasattr(rows, "iloc"):
        from pandas.util import hash_pandas_object

        salt = int(digest([[str(name) for name in rows.columns], [str(kind) for kind in rows.dtypes]]), 16)
        return np.asarray(hash_pandas_object(rows, index=False), dtype=np.uint64) ^ np.uint64(salt)
    if hasattr(rows, "tocsr"):
        table = rows.tocsr().sorted_indices()
        pieces = zip(table.indptr[:-1], table.indptr[1:], strict=True)
        kind = f"{table.shape[1]} {table.dtype}".encode()  # columns without an entry count too
        contents = [table.indices[a:b].astype(np.int64).tobytes() + table.data[a:b].tobytes() + kind for a, b in pieces]
    elif isinstance(rows, np.ndarray) and not rows.dtype.hasobject and rows.dtype.kind != "U":
        contents = [row.tobytes() + str(rows.dtype).encode() for row in np.ascontiguousarray(rows)]
    else:
        contents = [
            row.encode() if isinstance(row, str) else json.dumps(describe(row, f"row {number}")).encode()
            for number, row in enumerate(rows)
        ]
    hashes = b"".join(hashlib.sha256(content).digest()[:8] for content in contents)
    return np.frombuffer(hashes, dtype="<u8").astype(np.uint64)


def describe_model(model: object, name: str = "model") -> Any:
    """A model id, the name of a folder with the sizes and times of its files, or an estimator with its parameters."""
    model = as_id(model)
    if isinstance(model, str) and Path(model).is_dir():
        files = sorted(path for path in Path(model).iterdir() if path.is_file())
        # The same folder with other weights is another model; its time of change says so without reading gigabytes.
        return {"folder": Path(model).resolve().name, "files": [[path.name, *_size_and_time(path)] for path in files]}
    return describe(model, name)


def describe_by(knows: Knows, describe: DescribeFor) -> None:
    """Have values of a type of another package described by a function.

    Parameters
    ----------
    knows : callable
        Whether a value is of this type.
    describe : callable
        Gets the value, and the estimator whose parameter it is, or None; returns JSON.
    """
    _DESCRIBERS.append((knows, describe))


_DESCRIBERS: list[tuple[Knows, DescribeFor]] = []


def _describe_other(value: object, owner: object = None) -> Any:
    """A value of a type of `describe_by`; None if it is none."""
    if isinstance(value, type):
        return None
    return next((describe(value, owner) for knows, describe in _DESCRIBERS if knows(value)), None)


def describe(value: object, name: str) -> Any:
    """A value as JSON that is the same in every process, and another for another value.

    Parameters
    ----------
    value : object
        Numbers, texts, containers, arrays, tables, estimators, tokenizers, PEFT configurations, functions of a module,
        objects whose class says what tells them apart (``_ensemw2s_fingerprint()``), and objects that hold these.
    name : str
        What to call it in an error.

    Raises
    ------
    ValueError
        If two equal values could not be recognised as equal.
    """
    return _describe(value, name, ())


def _describe(value: Any, name: str, around: tuple[int, ...]) -> Any:
    """`describe`, within objects with the ids `around`."""
    value = as_id(dtype_name(value))
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, np.generic) and not isinstance(value.item(), np.generic):
        return _describe(value.item(), name, around)
    if id(value) in around:
        raise _unknown(value, name)

    def inner(entry: object, place: str) -> Any:
        return _describe(entry, place, (*around, id(value)))

    # From what is known by its contents to what only pickle knows: a frame of pandas has a `to_dict`, too, and a
    # dictionary of the user's own class is more than its entries.
    table = describe_table(value, name, inner)
    if table is not None:
        return table
    if isinstance(value, np.ndarray):
        return describe_array(value, name, inner)
    if isinstance(value, bytes | bytearray | memoryview):
        return {"bytes": hashlib.sha256(value).hexdigest()}
    held = held_beside_entries(value)
    if held:  # what is known by its entries below has more to it
        return {
            "class": name_of(type(value)),
            "entries": inner(plain_container(value), name),
            "holds": inner(held, name),
        }
    if isinstance(value, Mapping):
        if all(isinstance(key, str) for key in value):
            return {str(key): inner(entry, f"{name}[{key!r}]") for key, entry in value.items()}
        return {"items": [[inner(key, f"a key of {name}"), inner(value[key], f"{name}[{key!r}]")] for key in value]}
    if isinstance(value, list | tuple | set | frozenset):
        entries = [inner(entry, f"{name}[{row}]") for row, entry in enumerate(value)]
        return sorted(entries, key=repr) if isinstance(value, set | frozenset) else entries
    if hasattr(type(value), "_ensemw2s_fingerprint"):
        return value._ensemw2s_fingerprint()
    if isinstance(value, np.random.RandomState):
        return {"random state": digest(inner(value.get_state(legacy=False), name))}
    if hasattr(value, "get_params") and not isinstance(value, type):
        return _describe_estimator(value, name, inner)
    other = _describe_other(value)
    if other is not None:
        return other
    if hasattr(value, "to_dict") and not isinstance(value, type):  # PEFT's and transformers' configurations
        return {"class": type(value).__qualname__, "settings": inner(value.to_dict(), name)}
    try:
        function = describe_function(value, name, inner)
        return describe_contents(value, name, inner) if function is None else function
    except (ValueError, RecursionError) as error:
        if isinstance(error, RecursionError) or str(error) == name:
            raise _unknown(value, name) from error
        raise


def _unknown(value: object, name: str) -> ValueError:
    return ValueError(
        f"{name} must be something that can be recognised in the next run: a model id, a folder, a function of a "
        f"module, an estimator, or an object of a module's class that pickle could store. Got {shorten(value)} instead."
    )


def _describe_estimator(value: Any, name: str, inner: Describe) -> Any:
    parameters = value.get_params(deep=False)
    described = {
        key: inner(without_reports(entry) if key == "training_args" else entry, f"{name}.{key}")
        for key, entry in parameters.items()
        if key not in ("model", "tokenizer", *_WITHOUT_EFFECT, *idle_parameters(parameters))
        and not _is_as_before(type(value), key, entry)
    }
    if "model" in parameters:
        described["model"] = describe_model(parameters["model"], f"{name}.model")
    if "tokenizer" in parameters:
        tokenizer = parameters["tokenizer"]  # an object by what it holds, a folder by its files
        described["tokenizer"] = _describe_other(tokenizer, value) or describe_model(tokenizer, f"{name}.tokenizer")
    return {"class": f"{module_of(type(value))}.{type(value).__qualname__}", "parameters": described}


def idle_parameters(parameters: Mapping[str, Any]) -> tuple[str, ...]:
    """Parameters of a booster that say how rows are held out, where none are, or by folds."""
    if "votes" not in parameters or "errors" not in parameters:
        return ()  # other estimators have a `cv` of their own
    if "held-out" not in (parameters["votes"], parameters["errors"]):
        return ("cv", "validation_fraction")
    has_folds = parameters["errors"] == "held-out" or parameters["cv"] is not None
    return ("validation_fraction",) if has_folds else ()


def _is_as_before(kind: type, parameter: str, value: object) -> bool:
    """Whether a parameter that came later says what was done before."""
    of_class = (_CAME_LATER.get(f"{base.__name__}.{parameter}") for base in kind.__mro__)
    return repr(value) in (_CAME_LATER.get(parameter), *of_class)


def without_reports(training_args: object) -> Any:
    """Settings of Trainer without those that say where it reports; None where there are no others."""
    if not isinstance(training_args, Mapping) or not any(name in training_args for name in _REPORTS):
        return training_args
    return {name: value for name, value in training_args.items() if name not in _REPORTS} or None


def _size_and_time(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_size, status.st_mtime_ns
