"""The immutable columns of a `QADataset`, and the checks that make them of what a user passes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ensemw2s._validation import as_texts, check_same_length, is_number, of_kind, shorten
from ensemw2s.datasets._example import QAExample


class Columns(NamedTuple):
    """Checked columns of equal length; all but the prompts may be None."""

    prompts: tuple[str, ...]
    answers: tuple[str, ...] | None
    choices: tuple[tuple[str, ...], ...] | None
    labels: NDArray[np.int64] | None
    ids: tuple[str, ...] | None
    difficulty: NDArray[np.float64] | None

    @property
    def n_choices(self) -> NDArray[np.int64] | None:
        """Number of options of each question, shape (n,), or None."""
        if self.choices is None:
            return None
        return frozen(np.array([len(options) for options in self.choices], dtype=np.int64))

    def example(self, row: int) -> QAExample:
        """One question."""
        entries: Any = (None if column is None else column[row] for column in self)
        prompt, answer, choices, label, name, difficulty = entries
        label, difficulty = None if label is None else int(label), None if difficulty is None else float(difficulty)
        return QAExample(prompt, answer, choices, label, name, difficulty)

    def take(self, rows: NDArray[np.int64]) -> Columns:
        """Some of the rows, in the order given."""
        places = rows.tolist()

        def pick(column: Any) -> Any:
            if isinstance(column, np.ndarray):
                return frozen(column[rows])
            return None if column is None else tuple(column[row] for row in places)

        return Columns(*map(pick, self))


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
    return tuple(check_options(options, row) for row, options in enumerate(rows))


def check_options(options: Any, row: int, name: str = "choices") -> tuple[str, ...]:
    """Return the options of one question, two or more different ones; `name` is that of the column."""
    if not isinstance(options, (list, tuple, np.ndarray)):
        error: Exception = TypeError(
            f"{name}[{row}] must be a list of options. Got {shorten(options)} ({type(options).__name__}) instead; "
            "give one list per question."
        )
        raise of_kind(error, "options that are no list")
    if len(options) < 2:
        error = ValueError(
            f"{name}[{row}] must hold at least two options. Got {shorten(list(options))} instead; drop the row, or "
            "leave choices out for free-text questions."
        )
        raise of_kind(error, "fewer than two options")
    texts = tuple(as_texts(options, f"{name}[{row}]", what="option"))
    if len(set(texts)) < len(texts):
        twice = next(text for text in texts if texts.count(text) > 1)
        error = ValueError(
            f"{name}[{row}] must hold different options. Got {shorten(twice)} {texts.count(twice)} times; merge the "
            "repeated options, or drop the row."
        )
        raise of_kind(error, "an option twice")
    return texts


def check_labels(values: Any, choices: Sequence[Sequence[str]], prompts: Sequence[str]) -> NDArray[np.int64]:
    """Return the indices of the gold options as a read-only array."""
    rows = _listed("labels", values, "int", prompts)
    for row, value in enumerate(rows):
        if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, np.integer)):
            raise TypeError(
                f"labels[{row}] must be an int, the index of the gold option. Got {shorten(value)} "
                f"({type(value).__name__}) instead; turn option letters into indices, as with 'ABCD'.index(letter)."
            )
        if not 0 <= value < len(choices[row]):
            raise ValueError(
                f"labels[{row}] must lie in [0, {len(choices[row])}), the options of that question. Got {value} "
                "instead; labels count from 0."
            )
    return frozen(np.asarray(rows, dtype=np.int64))


def labels_from_answers(answers: Sequence[str], choices: Sequence[Sequence[str]]) -> NDArray[np.int64]:
    """Return where each answer stands among its options, as a read-only array."""
    pairs = enumerate(zip(answers, choices, strict=True))
    labels = [gold_option(answer, options, row) for row, (answer, options) in pairs]
    return frozen(np.array(labels, dtype=np.int64))


def gold_option(answer: str, options: Sequence[str], row: int, names: Sequence[str] = ("answers", "choices")) -> int:
    """Return where the answer to one question stands among its options; `names` are those of the two columns."""
    if answer not in options:
        loose = [option for option in options if option.strip().casefold() == answer.strip().casefold()]
        hint = f" ({loose[0]!r} differs from it only in case or blanks)" if loose else ""
        error = ValueError(
            f"{names[0]}[{row}] must be one of {names[1]}[{row}] {shorten(list(options), 200)}. Got {shorten(answer)}"
            f"{hint} instead; correct the row, drop it, or leave choices out for free-text answers."
        )
        raise of_kind(error, "an answer that is none of the options")
    return list(options).index(answer)


def check_difficulty(values: Any, prompts: Sequence[str]) -> NDArray[np.float64]:
    """Return finite ratings as a read-only float64 array."""
    rows = _listed("difficulty", values, "number", prompts)
    for row, value in enumerate(rows):
        if not is_number(value):
            raise TypeError(
                f"difficulty[{row}] must be a number. Got {shorten(value)} ({type(value).__name__}) instead; rate "
                "every question, or leave difficulty out."
            )
        if not np.isfinite(value):
            raise ValueError(
                f"difficulty[{row}] must be finite. Got {value} instead; rate every question, or leave difficulty out."
            )
    return frozen(np.asarray(rows, dtype=np.float64))


def frozen(array: NDArray[Any]) -> NDArray[Any]:
    """Mark `array` read-only, in place, and return it."""
    array.flags.writeable = False
    return array


def _listed(name: str, values: Any, entry: str, prompts: Sequence[str]) -> list[Any]:
    if isinstance(values, (str, bytes)) or not isinstance(values, Iterable):
        raise TypeError(f"{name} must be a sequence with one {entry} per question. Got {shorten(values)} instead.")
    rows = list(values)
    check_same_length(prompts, rows, "prompts", name)
    return rows
