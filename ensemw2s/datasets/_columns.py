"""Checks that turn user columns into the immutable columns of a `QADataset`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ensemw2s._validation import as_texts, check_same_length, shorten


def check_texts(values: Any, name: str, prompts: Sequence[str], *, what: str) -> tuple[str, ...]:
    """Return a column of non-blank texts, one per prompt."""
    texts = as_texts(values, name, what=what)
    check_same_length(prompts, texts, "prompts", name)
    return tuple(texts)


def check_ids(values: Any, prompts: Sequence[str]) -> tuple[str, ...]:
    """Return identifiers, one per prompt, as texts."""
    rows = _listed("ids", values, "str or int", prompts)
    texts = [str(value) if isinstance(value, (int, np.integer)) else value for value in rows]
    return check_texts(texts, "ids", prompts, what="id")


def check_choices(values: Any, prompts: Sequence[str]) -> tuple[tuple[str, ...], ...]:
    """Return two or more different options per prompt; rows may differ in length."""
    rows = _listed("choices", values, "list of options", prompts)
    checked = []
    for row, options in enumerate(rows):
        if not isinstance(options, (list, tuple, np.ndarray)):
            raise TypeError(
                f"choices[{row}] must be a list of options; got {shorten(options)} ({type(options).__name__}). "
                "Give one list per question."
            )
        if len(options) < 2:
            raise ValueError(
                f"choices[{row}] must hold at least two options; got {shorten(list(options))}. "
                "Drop the row, or leave choices out for free-text questions."
            )
        texts = tuple(as_texts(options, f"choices[{row}]", what="option"))
        if len(set(texts)) < len(texts):
            twice = next(text for text in texts if texts.count(text) > 1)
            raise ValueError(
                f"choices[{row}] must hold different options; got {twice!r} {texts.count(twice)} times. "
                "Merge the repeated options, or drop the row."
            )
        checked.append(texts)
    return tuple(checked)


def check_labels(values: Any, choices: Sequence[Sequence[str]], prompts: Sequence[str]) -> NDArray[np.int64]:
    """Return the indices of the gold options as a read-only array."""
    rows = _listed("labels", values, "int", prompts)
    for row, value in enumerate(rows):
        if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, np.integer)):
            raise TypeError(
                f"labels[{row}] must be an int, the index of the gold option; got {value!r} ({type(value).__name__}). "
                "Turn option letters into indices first, for instance 'ABCD'.index(letter)."
            )
        if not 0 <= value < len(choices[row]):
            raise ValueError(
                f"labels[{row}] must lie in [0, {len(choices[row])}), the options of that question; got {value}. "
                "Labels count from 0."
            )
    return frozen(np.asarray(rows, dtype=np.int64))


def labels_from_answers(answers: Sequence[str], choices: Sequence[Sequence[str]]) -> NDArray[np.int64]:
    """Return where each answer stands among its options, as a read-only array."""
    labels = np.empty(len(answers), dtype=np.int64)
    for row, (answer, options) in enumerate(zip(answers, choices, strict=True)):
        if answer not in options:
            loose = [option for option in options if option.strip().casefold() == answer.strip().casefold()]
            hint = f" ({loose[0]!r} differs from it only in case or blanks)" if loose else ""
            raise ValueError(
                f"answers[{row}] must be one of choices[{row}] {list(options)}; got {answer!r}{hint}. "
                "Correct the row, drop it, or leave choices out for free-text answers."
            )
        labels[row] = list(options).index(answer)
    return frozen(labels)


def check_difficulty(values: Any, prompts: Sequence[str]) -> NDArray[np.float64]:
    """Return finite ratings as a read-only float64 array."""
    rows = _listed("difficulty", values, "number", prompts)
    for row, value in enumerate(rows):
        if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, float, np.integer, np.floating)):
            raise TypeError(
                f"difficulty[{row}] must be a number; got {value!r} ({type(value).__name__}). "
                "Rate every question, or leave difficulty out."
            )
        if not np.isfinite(value):
            raise ValueError(
                f"difficulty[{row}] must be finite; got {value}. Rate every question, or leave difficulty out."
            )
    return frozen(np.asarray(rows, dtype=np.float64))


def frozen(array: NDArray[Any]) -> NDArray[Any]:
    """Mark `array` read-only, in place, and return it."""
    array.flags.writeable = False
    return array


def _listed(name: str, values: Any, entry: str, prompts: Sequence[str]) -> list[Any]:
    if isinstance(values, (str, bytes)) or not isinstance(values, Iterable):
        raise TypeError(f"{name} must be a sequence with one {entry} per question; got {shorten(values)}.")
    rows = list(values)
    check_same_length(prompts, rows, "prompts", name)
    return rows
