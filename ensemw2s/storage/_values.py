"""Parameters and fitted numbers as JSON, and back, to the bit."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeAlias

import numpy as np

from ensemw2s._validation import shorten
from ensemw2s.storage._json import JsonObject

# What JSON lacks is an object with one key that begins with "$".
Encode: TypeAlias = Callable[[Any, str], Any]
Decode: TypeAlias = Callable[[str, Any], Any]
_NUMBERS = "biuf"
_LARGEST_ARRAY = 2**30  # bytes
# Of these types alone: a Counter or a named tuple would come back as something else.
_CONTAINERS: dict[type, str] = {list: "", tuple: "$tuple", set: "$set", frozenset: "$frozenset"}


def encode(value: Any, name: str, special: Encode | None = None) -> Any:
    """A value as JSON.

    Parameters
    ----------
    value : object
        None, truth values, numbers, texts, paths, NumPy scalars and arrays, and containers of these.
    name : str
        What to call it in an error.
    special : callable, optional
        Asked first, with value and name: the JSON of what it knows, None for all else.

    Raises
    ------
    TypeError
        If it cannot be written; names it.
    """
    known = None if special is None else special(value, name)
    if known is not None:
        return known
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float | np.floating) and not isinstance(value, np.longdouble):
        number = float(value)
        return number if math.isfinite(number) else {"$float": repr(number)}
    if isinstance(value, str):
        return str(value.value if hasattr(value, "value") else value)  # PEFT's enumerations are texts
    if isinstance(value, np.bool_ | np.integer):
        return value.item()
    if isinstance(value, Path):
        return {"$path": str(value)}
    if isinstance(value, np.ndarray):
        return {"$array": _encode_array(value, name)}
    if type(value) in (dict, OrderedDict, MappingProxyType):
        return _encode_mapping(value, name, special)
    if type(value) in _CONTAINERS:
        ordered = sorted(value, key=repr) if isinstance(value, set | frozenset) else value
        entries = [encode(entry, f"{name}[{row}]", special) for row, entry in enumerate(ordered)]
        tag = _CONTAINERS[type(value)]
        return {tag: entries} if tag else entries
    raise TypeError(
        f"{name} cannot be saved. Got {shorten(value)}, of type {type(value).__name__}; only numbers, texts, arrays, "
        f"plain lists, tuples, sets and dicts of these, and classes that say how they are stored are written, see "
        f"PretrainedMixin. Replace a parameter by set_params before saving; a fitted attribute can be left out by the "
        f"class's _saved_state."
    )


def decode(value: object, special: Decode | None = None) -> Any:
    """The value that was encoded.

    Parameters
    ----------
    value : object
        JSON of `encode`.
    special : callable, optional
        Gets tag and content of what it encoded.

    Raises
    ------
    ValueError
        If it is no JSON of `encode`.
    """
    if isinstance(value, list):
        return [decode(entry, special) for entry in value]
    if not isinstance(value, dict):
        return value
    tags = [key for key in value if key.startswith("$")]
    if not tags:
        return {key: decode(entry, special) for key, entry in value.items()}
    if len(value) != 1:
        raise ValueError(f"{shorten(value)} is no value of ensemw2s")
    tag, content = tags[0], value[tags[0]]
    if tag == "$float" and content in ("nan", "inf", "-inf"):
        return float(content)
    if tag == "$path" and isinstance(content, str):
        return Path(content)
    if tag == "$array":
        return _decode_array(content)
    if tag in ("$tuple", "$set", "$frozenset") and isinstance(content, list):
        return {"$tuple": tuple, "$set": set, "$frozenset": frozenset}[tag](decode(content, special))
    if tag == "$items" and isinstance(content, list):
        return {decode(key, special): decode(entry, special) for key, entry in content}
    if special is None:
        raise ValueError(f"{tag} is unknown")
    return special(tag, content)


def _encode_mapping(value: Mapping, name: str, special: Encode | None) -> Any:
    entries = [(key, encode(entry, f"{name}[{key!r}]", special)) for key, entry in value.items()]
    if all(type(key) is str and not key.startswith("$") for key, _ in entries):
        return dict(entries)
    return {"$items": [[encode(key, f"a key of {name}", special), entry] for key, entry in entries]}


def _encode_array(array: np.ndarray, name: str) -> JsonObject:
    kind = array.dtype.kind
    texts = kind == "U" or (kind == "O" and all(isinstance(entry, str) for entry in array.flat))
    if not texts and (kind not in _NUMBERS or array.dtype.itemsize > 8):
        raise TypeError(
            f"{name} cannot be saved: an array of {array.dtype} is neither one of numbers nor of texts. "
            f"Replace it by set_params before saving."
        )
    flat = [str(entry) if texts else entry for entry in array.ravel().tolist()]
    return {
        "dtype": array.dtype.str if kind != "O" else "O",
        "shape": list(array.shape),
        "values": [encode(entry, name) for entry in flat],
    }


def _decode_array(content: Any) -> np.ndarray:
    dtype, shape, values = np.dtype(content["dtype"]), tuple(content["shape"]), content["values"]
    is_text = dtype.kind in "UO"
    if dtype.kind not in _NUMBERS + "UO" or dtype.hasobject != (dtype.kind == "O") or math.prod(shape) != len(values):
        raise ValueError(f"an array of {dtype} and shape {shape} cannot have {len(values)} values")
    if dtype.itemsize * len(values) > _LARGEST_ARRAY:
        raise ValueError(f"an array of {dtype} and shape {shape} is too large")
    entries = [decode(entry) for entry in values]
    if not all(isinstance(entry, str) == is_text for entry in entries):
        raise ValueError(f"an array of {dtype} has values of another kind")
    if dtype.kind == "U" and any(len(entry) > dtype.itemsize // 4 for entry in entries):
        raise ValueError(f"an array of {dtype} has longer texts")
    return np.array(entries, dtype=dtype).reshape(shape)
