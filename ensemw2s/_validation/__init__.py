"""Checks of arguments and of rows, with one wording: parameter, what it must be, what was got."""

from __future__ import annotations

import numbers
import os
import unicodedata
from collections.abc import Collection, Iterable, Mapping, Set, Sized
from typing import Any, TypeAlias, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

# What is wrong with a row, in words that may be written into a file: a message quotes the row.
BAD_ROWS = frozenset({
    "a label of another kind", "a label of no kind", "a row of another length", "a text that the chat template changes",
    "a token without an embedding",
    "an answer that does not come back from its tokens", "an answer that holds the end-of-answer token",
    "an answer that is none of the options", "an option twice", "blank", "fewer than two options", "no label",
    "not UTF-8", "not a text", "numbers that are not finite", "options that are no list", "too long",
    "The teacher's answer is blank.", "The teacher's answer is none of the options.",
    "The teacher's answer spells a token that ends answers.",
})  # fmt: skip

RandomState: TypeAlias = "int | np.random.Generator | np.random.RandomState | None"


class CheckedTexts(list[str]):
    """Texts that `as_texts` has returned, and does not look at again."""


class CheckedColumn(np.ndarray):
    """`CheckedTexts` as an object array, as are rows that are taken from it; what is computed from it is plain."""

    @classmethod
    def of(cls, texts: CheckedTexts) -> CheckedColumn:
        """The same texts."""
        return np.array(texts, dtype=object).view(cls)

    def __array_wrap__(self, array: NDArray[Any], *_: object) -> NDArray[Any]:  # type: ignore[override]
        return np.asarray(array)


def as_texts(values: Iterable[str], name: str, *, what: str = "text") -> CheckedTexts:
    """Return the rows of `values` as a list of texts, none of them blank; `what` names one row in messages."""
    if isinstance(values, CheckedTexts):
        return values
    if isinstance(values, CheckedColumn) and values.ndim == 1 and len(values):
        return CheckedTexts(values.tolist())
    rows = as_column(values, name, what=what)
    for row, value in enumerate(rows):
        check_text(value, name, row, what=what)
    return CheckedTexts(str(value) for value in rows)  # numpy.str_ becomes a plain str


def as_column(values: object, name: str, *, what: str = "text") -> list[Any]:
    """Return the rows of `values`, at least one, whatever they are; `what` names one row in messages."""
    if isinstance(values, str | bytes) or not isinstance(values, Iterable):
        raise TypeError(f"{name} must be a sequence of {what}s. Got {shorten(values)} instead; put it in a list.")
    if isinstance(values, Set | Mapping):
        # Their order is not that of the other columns.
        raise TypeError(f"{name} must be a sequence of {what}s. Got a {type(values).__name__} instead; pass a list.")
    shape = getattr(values, "shape", None)
    if isinstance(shape, tuple) and len(shape) != 1:
        # A DataFrame would be read as the list of its columns' names.
        raise ValueError(
            f"{name} must be one-dimensional, one {what} per row. Got shape {shape} instead; "
            f"pass a single column, such as {name}['{what}']."
        )
    rows = list(values)
    if not rows:
        raise ValueError(f"{name} must not be empty; pass at least one {what}.")
    return rows


_Error = TypeVar("_Error", bound=Exception)


def of_kind(error: _Error, kind: str) -> _Error:
    """An error about a row with what is wrong with it in general, one of `BAD_ROWS`: its message quotes the row."""
    error.kind = kind  # type: ignore[attr-defined]
    return error


def check_text(value: object, name: str, row: int, *, what: str = "text") -> None:
    """Refuse what is no text, blank, or cannot be written down; `what` names the entry in messages."""
    if not isinstance(value, str):
        raise of_kind(
            TypeError(f"{name} must hold texts. Got {name}[{row}] = {shorten(value)} instead; fill or drop the row."),
            "not a text",
        )
    if is_blank(value):
        raise of_kind(
            ValueError(f"{name} must not hold a blank {what}. Got {name}[{row}] = {shorten(value)}; fill or drop it."),
            "blank",
        )
    try:
        value.encode()
    except UnicodeEncodeError as error:
        message = f"{name}[{row}] cannot be written as UTF-8 ({error.reason}); repair the {what}, or drop the row."
        raise of_kind(ValueError(message), "not UTF-8") from None


def is_blank(text: str) -> bool:
    """Whether no character of `text` can be seen: blanks, control characters, zero-width and direction marks."""
    return all(letter.isspace() or unicodedata.category(letter) in ("Cc", "Cf") for letter in text)


def check_same_length(first: Sized, second: Sized, first_name: str, second_name: str) -> None:
    """Refuse two columns of different lengths."""
    ours, theirs = row_count(first), row_count(second)
    if ours != theirs:
        raise ValueError(f"{first_name} and {second_name} must have the same length. Got {ours} and {theirs} instead.")


def row_count(column: Any) -> int:
    """Number of rows; a sparse matrix has no length, or that of its entries."""
    shape = getattr(column, "shape", ())
    return int(shape[0]) if shape else len(column)


def check_option(value: object, name: str, options: Collection[str]) -> str:
    """Return `value`, one of the strings in `options`."""
    if not isinstance(value, str) or value not in options:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, options))}. Got {shorten(value)} instead.")
    return value


def shorten(value: object, limit: int = 80) -> str:
    """Return the repr of `value`, cut to fit a message."""
    text = repr(value)
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def check_vector(values: ArrayLike, name: str, *, length: int | None = None, per: str = "entry") -> NDArray[np.float64]:
    """Return `values` as a finite float64 vector, not empty, of `length` where one is given ("one per `per`")."""
    try:
        vector = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} must hold numbers. Got {shorten(values)} instead.") from error
    if vector.ndim != 1:
        raise ValueError(f"{name} must have one dimension. Got shape {vector.shape} instead.")
    if length is not None and vector.shape != (length,):
        raise ValueError(f"{name} must have shape ({length},), one per {per}. Got shape {vector.shape} instead.")
    if vector.size == 0:
        raise ValueError(f"{name} must not be empty; pass at least one number.")
    _refuse_where(vector, name, ~np.isfinite(vector), "finite numbers")
    return vector


def check_in_unit_interval(vector: NDArray[np.float64], name: str) -> None:
    """Refuse a vector with an entry outside [0, 1]."""
    if vector.min() < 0.0 or vector.max() > 1.0:
        _refuse_where(vector, name, (vector < 0.0) | (vector > 1.0), "numbers in [0, 1]")


def check_weight(weight: ArrayLike, name: str, *, length: int | None = None, per: str = "token") -> NDArray[np.float64]:
    """Return `weight` as a float64 vector of non-negative numbers with a positive, finite sum."""
    vector = check_vector(weight, name, length=length, per=per)
    if vector.min() < 0.0:
        _refuse_where(vector, name, vector < 0.0, "non-negative numbers")
    with np.errstate(over="ignore"):
        total = float(vector.sum())
    if not 0.0 < total < np.inf:
        raise ValueError(f"{name} must have a positive, finite sum. Got {total!r} instead.")
    return vector


def is_number(value: object) -> bool:
    """Whether it is a number of Python's or NumPy's, and no bool; NaN is one."""
    return isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)


def check_open_unit(value: object, name: str, *, remedy: str = "") -> float:
    """Return `value` as a float strictly between 0 and 1."""
    number = check_real(value, name)
    if not 0.0 < number < 1.0:
        raise ValueError(f"{name} must lie in (0, 1). Got {number!r} instead.{' ' + remedy if remedy else ''}")
    return number


def check_real(value: object, name: str) -> float:
    """Return `value` as a finite float."""
    if isinstance(value, bool | np.bool_) or not isinstance(value, numbers.Real):
        raise ValueError(f"{name} must be a number. Got {shorten(value)} instead.")
    try:
        number = float(value)
    except OverflowError:  # of an int
        number = float("inf")
    if not np.isfinite(number):
        raise ValueError(f"{name} must be finite. Got {number!r} instead.")
    return number


def check_positive(value: object, name: str, *, least: float = 0.0, most: float = 1e9) -> float:
    """Return `value` as a float above 0, not below `least` nor above `most`, beyond which arithmetic would overflow."""
    number = check_real(value, name)
    if number <= 0:
        raise ValueError(f"{name} must be > 0. Got {value!r} instead.")
    if not least <= number <= most:
        raise ValueError(f"{name} must lie between {least:g} and {most:g}. Got {value!r} instead.")
    return number


def check_bool(value: object, name: str) -> bool:
    """Return `value` as a bool; a text such as "false" would be taken for True."""
    if not isinstance(value, bool | np.bool_):
        raise ValueError(f"{name} must be True or False. Got {shorten(value)} instead.")
    return bool(value)


def as_id(model: object) -> Any:
    """A model's or tokenizer's path as text; anything else, such as a hub id or a function, as it is."""
    return os.fspath(model) if isinstance(model, os.PathLike) else model


def dtype_name(dtype: object) -> Any:
    """The name of a torch dtype, "bfloat16" of `torch.bfloat16`; a name as it is."""
    return str(dtype).removeprefix("torch.") if is_torch_dtype(dtype) else dtype


def is_torch_dtype(value: object) -> bool:
    """Whether it is one, found without torch."""
    return (type(value).__module__, type(value).__name__) == ("torch", "dtype")


def check_path(value: object, name: str) -> None:
    """Refuse what is neither a path nor None."""
    if value is not None and (not isinstance(value, str | os.PathLike) or not os.fspath(value)):
        raise TypeError(f"{name} must be a path or None. Got {shorten(value)} instead.")


def check_integer(value: object, name: str, *, minimum: int) -> int:
    """Return `value` as an int of at least `minimum`."""
    if isinstance(value, bool | np.bool_) or not isinstance(value, numbers.Integral) or value < minimum:
        raise ValueError(f"{name} must be an integer of at least {minimum}. Got {shorten(value)} instead.")
    return int(value)


def check_seed(value: object, name: str) -> None:
    """Refuse what `sklearn.utils.check_random_state` would: it does not name the parameter, and is asked later."""
    if value is None or value is np.random or isinstance(value, np.random.RandomState):
        return
    if not isinstance(value, numbers.Integral) or not 0 <= int(value) < 2**32:
        raise ValueError(
            f"{name} must be an integer from 0 to 2**32 - 1, a RandomState or None. Got {shorten(value)} instead."
        )


def as_generator(random_state: RandomState) -> np.random.Generator:
    """Return the generator that `random_state` stands for; a generator is used, and advanced, itself."""
    if random_state is None or isinstance(random_state, np.random.Generator):
        return np.random.default_rng(random_state)
    if isinstance(random_state, np.random.RandomState):
        return np.random.default_rng(random_state.randint(2**31))
    return np.random.default_rng(check_integer(random_state, "random_state", minimum=0))


def _refuse_where(vector: NDArray[np.float64], name: str, bad: NDArray[np.bool_], constraint: str) -> None:
    if bad.any():
        row = int(np.argmax(bad))
        raise ValueError(f"{name} must hold {constraint}. Got {name}[{row}] = {float(vector[row])!r} instead.")


def is_overridden(value: object, method: str, *, since: str) -> bool:
    """Whether a class has a `method` of its own that is newer than another one, which therefore knows nothing of it."""
    if method in vars(value):
        return since not in vars(value)
    places = {name: _place(type(value), name) for name in (method, since)}
    return places[method] < places[since]


def _place(kind: type, name: str) -> int:
    """How far up among the classes that a class derives from the one is that defines a name."""
    return next((place for place, base in enumerate(kind.__mro__) if name in vars(base)), len(kind.__mro__))
