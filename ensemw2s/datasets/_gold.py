"""Where the gold option stands: from its number, its key, its letter or its text, whichever a table holds."""

from __future__ import annotations

import string
from collections.abc import Iterable, Sequence
from typing import Any

from ensemw2s._validation import is_number, shorten
from ensemw2s._validation.class_labels import is_missing


def gold_positions(
    labels: Sequence[Any], options: Sequence[Sequence[Any]], keys: Sequence[Sequence[Any]] | None = None
) -> list[Any]:
    """Return the position of each question's gold option.

    Parameters
    ----------
    labels : sequence of int or str, length n
        What the table says. A number is a position, counted from 0, also one that is written as a text or a float, as
        CSV files and pandas do; a text is one of the row's `keys`, or without keys a letter from A on, or an option.
    options : sequence of sequences, length n
        The options of each question.
    keys : sequence of sequences of str or int, length n, or None
        The names of the options of each question, such as ``["A", "B", "C", "D"]``.

    Returns
    -------
    list of int
        Entries of other types than these are left to the checks of `QADataset`.

    Raises
    ------
    ValueError
        If a label is missing, is none of the row's keys, or can be read in two ways that differ.
    """
    for row, label in enumerate(labels):
        if is_missing(label):
            raise ValueError(f"label[{row}] is missing ({label!r}); fill it, or drop the row.")
    if keys is None:
        return [
            _of_plain(row, label, choices) for row, (label, choices) in enumerate(zip(labels, options, strict=True))
        ]
    names = [[str(key).strip() for key in row] for row in keys]
    if _numbers_are_keys(labels, names):
        labels = [str(_whole(label)) if is_number(label) else label for label in labels]
    return [_of_key(row, label, row_names) for row, (label, row_names) in enumerate(zip(labels, names, strict=True))]


def _of_plain(row: int, label: Any, options: Sequence[Any]) -> Any:
    """Position for a label beside options that have no keys."""
    if not isinstance(label, str) or not isinstance(options, Iterable):
        return _whole(label)
    text = label.strip()
    found = [place for place, option in enumerate(options) if isinstance(option, str) and option.strip() == text][:1]
    if len(text) == 1 and text.upper() in string.ascii_uppercase:
        found.append(string.ascii_uppercase.index(text.upper()))
    if text.isascii() and text.isdecimal():
        found.append(int(text))
    found = [place for place in dict.fromkeys(found) if place < len(options)]
    if len(found) == 1:
        return found[0]
    wrong = f"Got {shorten(label)} beside {shorten(list(options), 200)}"
    if found:
        raise ValueError(
            f"label[{row}] can be read as an option and as a letter or number of one, which differ. {wrong}; "
            "pass the texts as answer, or positions as int."
        )
    raise ValueError(
        f"label[{row}] must name an option: its position counted from 0, its letter from A on, or its text. {wrong} "
        "instead; correct that row."
    )


def _of_key(row: int, label: Any, names: list[str]) -> Any:
    if not isinstance(label, str):
        return _whole(label)
    text = label.strip()
    same = [place for place, name in enumerate(names) if name == text]
    # Keys that differ in case alone are two keys.
    same = same or [place for place, name in enumerate(names) if name.casefold() == text.casefold()]
    if len(same) != 1:
        fault = "must be one of that question's option labels" if not same else "must name one option of the labels"
        raise ValueError(f"label[{row}] {fault} {names}. Got {shorten(label)} instead; correct that row.")
    return same[0]


def _numbers_are_keys(labels: Sequence[Any], names: Sequence[list[str]]) -> bool:
    """Whether whole numbers are keys here: a CSV file turns the keys "1", "2" into numbers.

    They are where every row has its number among its keys and some number is no position, and are not where some row
    has not. Where both readings are possible throughout and differ, neither is taken.
    """
    rows = [
        (row, int(label), names[row])
        for row, label in enumerate(labels)
        if is_number(label) and float(label).is_integer()
    ]
    if not rows or not all(str(number) in keys for _, number, keys in rows):
        return False
    # One number that cannot be a position settles it for the whole column.
    if any(not 0 <= number < len(keys) for _, number, keys in rows):
        return True
    for row, number, keys in rows:
        if keys.index(str(number)) != number:
            raise ValueError(
                f"label[{row}] = {number} can be read as a position counted from 0 and as one of that question's "
                f"option labels {keys}, which differ. Pass texts (str(label)) for option labels, or, for "
                "positions, choices as plain lists without labels (columns: under names that are no numbers)."
            )
    return False


def _whole(label: Any) -> Any:
    """The label as an int where it is a whole number: pandas makes floats of a column that lacks an entry somewhere."""
    return int(label) if is_number(label) and float(label).is_integer() else label
