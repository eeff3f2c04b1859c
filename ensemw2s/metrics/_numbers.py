"""The number that a written solution ends with, and whether it is the right one."""

from __future__ import annotations

import re
from collections.abc import Sequence
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from ensemw2s._validation import check_same_length, shorten

_VULGAR = {
    "½": "1/2", "⅓": "1/3", "⅔": "2/3", "¼": "1/4", "¾": "3/4", "⅕": "1/5", "⅖": "2/5", "⅗": "3/5", "⅘": "4/5",
    "⅙": "1/6", "⅚": "5/6", "⅐": "1/7", "⅛": "1/8", "⅜": "3/8", "⅝": "5/8", "⅞": "7/8", "⅑": "1/9", "⅒": "1/10",
}  # fmt: skip
# Other minus signs and the fraction slash become ASCII's; 2½ is the mixed number "2 1/2".
_PLAIN = str.maketrans(
    {"−": "-", "﹣": "-", "－": "-", "⁄": "/", **{sign: f" {said}" for sign, said in _VULGAR.items()}}
)
_BLANK = r"[ \t\u00a0\u2009\u202f]"
_NUMBER = re.compile(
    # A minus behind a word, digit or bracket is a hyphen or a difference, one before a blank a bullet or a difference.
    rf"(?P<sign>(?<![\w)\]])[-+](?=[$€£¥\d.])|(?<=[$€£¥])[-+])?[$€£¥]?{_BLANK}?"
    r"(?:"
    rf"(?P<mixed>\d{{1,9}}){_BLANK}+(?P<part>\d{{1,9}})/(?P<parts>\d{{1,9}})"  # 2 1/2
    r"|(?P<top>\d+)/(?P<bottom>\d+)"
    # Groups of three digits, or digits; the exponent is bounded, or "1e999999999" would fill the memory.
    r"|(?P<digits>(?:\d{1,3}(?:[,\u00a0\u2009\u202f]\d{3})+(?!\d)|\d+)(?:\.\d+)?|(?<![\w.])\.\d+)"
    r"(?P<exponent>[eE][-+]?\d{1,3}(?!\d))?"
    r")",
    re.ASCII,
)
_MOST_DIGITS = 1000  # a model that repeats a digit for ever has not said a number


def last_number(text: str) -> Fraction | None:
    """The number that a text says: the first behind ``####``, as in GSM8K, else the last; None where there is none."""
    _, mark, behind = text.translate(_PLAIN).partition("####")
    found = list(_NUMBER.finditer(behind if mark else text.translate(_PLAIN)))
    return _value(found[0 if mark else -1]) if found else None


def number_match(predictions: Sequence[str], references: Sequence[str]) -> NDArray[np.float64]:
    """Whether two texts say the same number.

    The number of a text is the first behind ``####``, as in GSM8K, or else the last. Thousands separators, currency,
    percent signs and other units do not count; ``½``, ``1/2``, ``2 1/2`` and ``1e3`` are read. Numbers are compared as
    fractions, without rounding: 0.5 is 1/2, and 0.33 is not 1/3.

    Parameters
    ----------
    predictions : sequence of str, length n
        Written answers; one without a number is wrong.
    references : sequence of str, length n
        Right answers.

    Returns
    -------
    ndarray of shape (n,)
        0 or 1.

    Raises
    ------
    ValueError
        If the lengths differ, or a reference has no number; the message names the row.

    Examples
    --------
    >>> from ensemw2s import number_match
    >>> number_match(["7 - 4 = 3, so $1,003.00.", "It is 1/2", "many"], ["#### 1003", "0.5", "12"])
    array([1., 1., 0.])
    """
    check_same_length(predictions, references, "predictions", "references")
    wanted = [last_number(right) for right in references]
    if None in wanted:
        row = wanted.index(None)
        raise ValueError(
            f"references must hold a number in each row. Got references[{row}] = {shorten(references[row])}; compare "
            f"such texts with exact_match, or drop the row."
        )
    return np.array([last_number(said) == right for said, right in zip(predictions, wanted, strict=True)], dtype=float)


def _value(match: re.Match[str]) -> Fraction | None:
    if match.end() - match.start() > _MOST_DIGITS:
        return None
    sign = -1 if (match["sign"] or "").startswith("-") else 1
    if match["top"] is not None:
        top, bottom = int(match["top"]), int(match["bottom"])
        return Fraction(sign * top, bottom) if bottom else None
    if match["mixed"] is not None:
        whole, top, bottom = int(match["mixed"]), int(match["part"]), int(match["parts"])
        if not bottom:
            return None
        # "12 3/2" is no mixed number, but two numbers, of which the last counts.
        return sign * (whole + Fraction(top, bottom)) if top < bottom else Fraction(top, bottom)
    digits = re.sub(r"[^\d.]", "", match["digits"])
    return sign * Fraction(f"{digits}{match['exponent'] or ''}")
