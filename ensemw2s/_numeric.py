"""Checks of numeric arguments, with one wording: parameter, what it must be, what was got."""

from __future__ import annotations

import numbers
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

RandomState: TypeAlias = "int | np.random.Generator | np.random.RandomState | None"


def check_vector(name: str, values: ArrayLike, *, length: int | None = None, per: str = "entry") -> NDArray[np.float64]:
    """Return `values` as a finite float64 vector, not empty, of `length` where one is given ("one per `per`")."""
    try:
        vector = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} must hold numbers. Got {_shorten(values)} instead.") from error
    if vector.ndim != 1:
        raise ValueError(f"{name} must have one dimension. Got shape {vector.shape} instead.")
    if length is not None and vector.shape != (length,):
        raise ValueError(f"{name} must have shape ({length},), one per {per}. Got shape {vector.shape} instead.")
    if vector.size == 0:
        raise ValueError(f"{name} must not be empty.")
    _refuse_where(name, vector, ~np.isfinite(vector), "finite numbers")
    return vector


def check_in_unit_interval(name: str, vector: NDArray[np.float64]) -> None:
    """Refuse a vector with an entry outside [0, 1]."""
    if vector.min() < 0.0 or vector.max() > 1.0:
        _refuse_where(name, vector, (vector < 0.0) | (vector > 1.0), "numbers in [0, 1]")


def check_weight(name: str, weight: ArrayLike, *, length: int | None = None, per: str = "token") -> NDArray[np.float64]:
    """Return `weight` as a float64 vector of non-negative numbers with a positive sum."""
    vector = check_vector(name, weight, length=length, per=per)
    if vector.min() < 0.0:
        _refuse_where(name, vector, vector < 0.0, "non-negative numbers")
    if vector.max() == 0.0:
        raise ValueError(f"{name} must have a positive sum. Got {vector.size} zeros instead.")
    return vector


def check_open_unit(name: str, value: Any, *, remedy: str = "") -> float:
    """Return `value` as a float strictly between 0 and 1."""
    number = check_real(name, value)
    if not 0.0 < number < 1.0:
        raise ValueError(f"{name} must lie in (0, 1). Got {number!r} instead.{' ' + remedy if remedy else ''}")
    return number


def check_real(name: str, value: Any) -> float:
    """Return `value` as a finite float."""
    if isinstance(value, bool | np.bool_) or not isinstance(value, numbers.Real):
        raise ValueError(f"{name} must be a number. Got {_shorten(value)} instead.")
    number = float(value)
    if not np.isfinite(number):
        raise ValueError(f"{name} must be finite. Got {number!r} instead.")
    return number


def check_integer(name: str, value: Any, *, minimum: int) -> int:
    """Return `value` as an int of at least `minimum`."""
    if isinstance(value, bool | np.bool_) or not isinstance(value, numbers.Integral) or value < minimum:
        raise ValueError(f"{name} must be an integer of at least {minimum}. Got {_shorten(value)} instead.")
    return int(value)


def as_generator(random_state: RandomState) -> np.random.Generator:
    """Return the generator that `random_state` stands for; a generator is used, and advanced, itself."""
    if random_state is None or isinstance(random_state, np.random.Generator):
        return np.random.default_rng(random_state)
    if isinstance(random_state, np.random.RandomState):
        return np.random.default_rng(random_state.randint(2**31))
    return np.random.default_rng(check_integer("random_state", random_state, minimum=0))


def _refuse_where(name: str, vector: NDArray[np.float64], bad: NDArray[np.bool_], constraint: str) -> None:
    if bad.any():
        row = int(np.argmax(bad))
        raise ValueError(f"{name} must hold {constraint}. Got {name}[{row}] = {float(vector[row])!r} instead.")


def _shorten(value: Any, limit: int = 80) -> str:
    text = repr(value)
    return text if len(text) <= limit else f"{text[: limit - 1]}…"
