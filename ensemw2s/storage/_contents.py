"""Arrays, tables and objects by what they hold, as JSON that is the same in every process."""

from __future__ import annotations

import copyreg
import hashlib
import sys
from collections import defaultdict
from collections.abc import Callable
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import Any, TypeAlias

import numpy as np

from ensemw2s.storage._json import JsonObject

Describe: TypeAlias = Callable[[Any, str], Any]

# Results are kept under a hash of the names below: what has moved since is known by the module where it stood before.
_STOOD_IN = {
    "ensemw2s.pipeline._pseudo": "ensemw2s.pseudo",
    "ensemw2s.tokens._dataset": "ensemw2s.tokens",
    "ensemw2s.tokens._tokenizers": "ensemw2s.tokenizers",
    **dict.fromkeys((f"ensemw2s.metrics.{name}" for name in ("_accuracy", "_intervals", "_pgr")), "ensemw2s.metrics"),
    "ensemw2s.metrics._diversity": "ensemw2s.diversity",
}

_JSON_KINDS = "biufU"
_CONTAINERS = (dict, list, tuple, set, frozenset)


def name_of(value: object) -> str:
    """Module and name of a class or function; "" if it has none that another process could know it by."""
    module, name = module_of(value), getattr(value, "__qualname__", "")
    return f"{module}.{name}" if module and name and "<" not in name else ""


def module_of(value: object) -> Any:
    """The module of a class or function, or where it stood before it moved; None without one."""
    module: Any = getattr(value, "__module__", None)
    return _STOOD_IN.get(module, module)


def describe_array(value: np.ndarray, name: str, describe: Describe) -> Any:
    """An array by its entries."""
    if value.dtype.kind == "O":
        return {"array": [describe(entry, f"{name}[{row}]") for row, entry in enumerate(value.tolist())]}
    if value.dtype.kind == "f" and value.dtype.itemsize > 8:  # padded, and more than a float of JSON holds
        return {"array": [repr(entry) for entry in value.ravel()], "shape": list(value.shape)}
    if value.dtype.kind not in _JSON_KINDS:
        return {"array": _sha256(np.ascontiguousarray(value)), "dtype": str(value.dtype), "shape": list(value.shape)}
    return {"array": value.tolist()} if value.size else {"array": [], "shape": list(value.shape)}


def describe_table(value: Any, name: str, describe: Describe) -> Any:
    """A sparse matrix, a frame or series of pandas, or a tensor of torch; None if it is none of these."""
    if isinstance(value, type):
        return None
    if hasattr(value, "tocoo"):
        entries = value.tocoo(copy=True)
        entries.sum_duplicates()
        places = entries.coords if hasattr(entries, "coords") else (entries.row, entries.col)
        parts = [_sha256(np.asarray(part, dtype=np.int64)) for part in places]
        kind = str(entries.dtype)
        return {"sparse": [*parts, _sha256(entries.data)], "dtype": kind, "shape": list(entries.shape)}
    if hasattr(value, "iloc"):
        from pandas.util import hash_pandas_object

        columns = [str(column) for column in getattr(value, "columns", [value.name] if hasattr(value, "name") else [])]
        kinds = [str(kind) for kind in np.atleast_1d(getattr(value, "dtypes", []))]
        return {"table": _sha256(hash_pandas_object(value, index=True).to_numpy()), "columns": columns, "dtypes": kinds}
    if hasattr(value, "untyped_storage"):
        import torch

        flat = value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy()
        return {"tensor": _sha256(flat), "dtype": str(value.dtype), "shape": list(value.shape)}
    return None


def describe_function(value: object, name: str, describe: Describe) -> Any:
    """A class by its name, a function by its name and what it has brought from where it was made; None for all else.

    Raises
    ------
    ValueError
        If it has no name that another process could know it by.
    """
    is_bound = isinstance(value, BuiltinFunctionType) and not isinstance(value.__self__, ModuleType | None)
    if not isinstance(value, type | FunctionType | BuiltinFunctionType) or is_bound:
        return None
    qualified = name_of(value)
    if not qualified and isinstance(value, BuiltinFunctionType):
        qualified = value.__qualname__
    if not qualified:
        raise ValueError(name)
    cells = getattr(value, "__closure__", None) or ()
    if not cells:
        return {"function": qualified}
    # A decorated function has the name of the one inside, whatever it was decorated with.
    held = [describe(cell.cell_contents, f"{name}.closure[{place}]") for place, cell in enumerate(cells)]
    return {"function": qualified, "closure": held}


def describe_contents(value: object, name: str, describe: Describe) -> Any:
    """An object by its class and what pickle would store of it: its attributes, or what it is made from again.

    Raises
    ------
    ValueError
        If nothing says what it holds, or if its class has no name that another process could know it by.
    """
    kind = type(value)
    if isinstance(value, ModuleType) or not name_of(kind):
        raise ValueError(name)
    try:
        reducer = copyreg.dispatch_table.get(kind)
        reduced: Any = value.__reduce_ex__(4) if reducer is None else reducer(value)
    except Exception as error:  # whatever a class raises that cannot be pickled
        raise ValueError(name) from error
    described: JsonObject = {"class": name_of(kind)}
    if isinstance(reduced, str):  # the name of a global
        return {**described, "name": reduced}
    # What pickle would store is all that makes the object, by its own account; only hashed here, never loaded.
    make, arguments, *rest = reduced
    state, items, entries = ([*rest, None, None, None])[:3]
    if getattr(make, "__module__", "") != "copyreg":  # whose functions say no more than the class
        described["made by"] = describe(make, f"{name}.__reduce__")
    given = arguments[1:] if arguments and arguments[0] is kind else arguments
    if given:
        described["from"] = describe(list(given), name)
    if state is not None:
        described["holds"] = describe(_ordered(state), name)
    if items is not None:
        described["items"] = describe(list(items), name)
    if entries is not None:
        described["entries"] = describe([list(entry) for entry in entries], name)
    return described


def held_beside_entries(value: object) -> JsonObject:
    """Attributes of a dict, list, tuple or set of one's own class, and what a defaultdict makes; {} for all else."""
    if not isinstance(value, _CONTAINERS):
        return {}
    attributes = getattr(value, "__dict__", {})
    held = {} if attributes is value else dict(attributes)  # a dict whose entries are its attributes
    return {**held, "default_factory": value.default_factory} if isinstance(value, defaultdict) else held


def plain_container(value: Any) -> Any:
    """The entries alone, in a container of Python's own."""
    return next(kind for kind in _CONTAINERS if isinstance(value, kind))(value)


def _ordered(state: object) -> Any:
    """The state of an object with its attributes by name, not in the order in which they were set."""
    if isinstance(state, dict):
        return {key: state[key] for key in sorted(state, key=str)}
    if isinstance(state, tuple) and len(state) == 2:  # __dict__ and __slots__
        return [_ordered(part) for part in state]
    return state


def _sha256(array: np.ndarray) -> str:
    values = array if sys.byteorder == "little" else array.byteswap()
    return hashlib.sha256(np.ascontiguousarray(values).tobytes()).hexdigest()
