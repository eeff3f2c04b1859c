"""The answer within a text: what is compared, voted on and counted, where the text says more than the answer."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from typing import TypeAlias

from ensemw2s._validation import is_blank, shorten

Extract: TypeAlias = "Callable[[str], str | None] | str | re.Pattern[str] | None"


def as_extract(extract: Extract) -> Callable[[str], str | None]:
    r"""The function that finds the answer in a text.

    Parameters
    ----------
    extract : callable, str or re.Pattern, optional
        A callable gets the text and returns the answer, or None where there is none. A regular expression is searched
        for: its last match that is not blank is the answer, or group 1 of it, if it has one. None takes the whole text.

    Returns
    -------
    callable
        Text to answer, without blanks around it; None where the text holds none, and for a blank one. It can be
        pickled if `extract` can.

    Raises
    ------
    TypeError
        If `extract` is nothing of the kind, and from the function, if a callable returns no text.
    ValueError
        If `extract` is no regular expression.

    Examples
    --------
    >>> from ensemw2s.metrics import as_extract
    >>> answer = as_extract(r"answer is (\w+)")
    >>> answer("The answer is 3. No, the answer is 4."), answer("I do not know.")
    ('4', None)
    >>> as_extract(None)(" blue ")
    'blue'
    """
    if extract is None:
        return _stripped
    if isinstance(extract, str):
        try:
            extract = re.compile(extract)
        except re.error as error:
            raise ValueError(
                f"extract must be a regular expression. Got {shorten(extract)}, which is none: {error}; "
                f"re.escape(...) makes one of a text."
            ) from error
    if isinstance(extract, re.Pattern):
        if not isinstance(extract.pattern, str):
            raise TypeError(f"extract must be a regular expression of text. Got {shorten(extract)}, one of bytes.")
        return partial(_last_match, extract)
    if not callable(extract) or isinstance(extract, type):
        raise TypeError(f"extract must be a callable, a regular expression or None. Got {shorten(extract)} instead.")
    return partial(_checked, extract)


def _stripped(text: str) -> str | None:
    return None if is_blank(text) else text.strip()


def _last_match(pattern: re.Pattern[str], text: str) -> str | None:
    # A pattern that may be empty, such as \d*, has an empty match at the end of every text: that is no answer.
    group = min(pattern.groups, 1)
    found = [_stripped(match.group(group) or "") for match in pattern.finditer(text)]
    return next((answer for answer in reversed(found) if answer), None)


def _checked(extract: Callable[[str], str | None], text: str) -> str | None:
    answer = extract(text)
    if answer is not None and not isinstance(answer, str):
        raise TypeError(f"extract must return a text or None. Got {shorten(answer)} of {shorten(text)} instead.")
    return None if answer is None else _stripped(str(answer))
