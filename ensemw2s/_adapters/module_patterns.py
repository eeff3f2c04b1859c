"""Regular expressions that name modules, where a file has brought them: only those that are quickly done with."""

from __future__ import annotations

import math
import re
from typing import Any

_LONGEST = 1000  # characters
_NAME = re.compile(r"[A-Za-z0-9_.\-]{1,255}")
_PLACES = 64  # where in the name of a module a repetition may end
_MOST_WAYS = 3 * 10**6  # to match one name


def is_plain_name(name: object) -> bool:
    """Whether a value is the name of a module, or its end, which stands for itself (and a point for any character)."""
    return isinstance(name, str) and _NAME.fullmatch(name) is not None


def pattern_fault(pattern: object) -> str:
    """What is wrong with a regular expression for names of modules; "" if nothing is.

    `re` tries one way after another to match a name: their number must be small. So nothing that has choices may be
    repeated, as in ``(a+)+``, and repetitions in a row, as in ``.*.*.*.*.*x``, are counted.
    """
    if not isinstance(pattern, str):
        return "is no text"
    if is_plain_name(pattern):
        return ""
    if len(pattern) > _LONGEST:
        return f"has more than {_LONGEST:,} characters"
    try:
        re.compile(pattern)
        ways, repeats = _ways(_parse(pattern))
    except (re.error, OverflowError, RecursionError) as error:
        return f"is no regular expression ({error})"
    except _TooManyWaysError as error:
        return f"could take for ever to compare with a name: {error}"
    # Choices in sequence multiply. For repetitions it is the number of sets of places where they can end:
    # Repetitions in a row divide the same characters among each other.
    if ways * _PLACES**repeats // math.factorial(repeats) > _MOST_WAYS:
        return "could take for ever to compare with a name: it has too many repetitions and alternatives"
    return ""


class _TooManyWaysError(Exception):
    """A regular expression of a kind that is refused, whatever its size."""


def _parse(pattern: str) -> Any:
    try:
        from re import _parser  # type: ignore[attr-defined]
    except ImportError:  # Python 3.10
        import sre_parse as _parser
    return _parser.parse(pattern)


def _ways(items: Any) -> tuple[int, int]:
    """In how many ways a sequence can match at one place, but for its repetitions of a character; and those."""
    ways, repeats = 1, 0
    for kind, content in items:
        name = str(kind)
        # One character, or a position: either it fits or it does not, there is nothing to try.
        if name in ("LITERAL", "NOT_LITERAL", "ANY", "IN", "AT"):
            continue
        if name == "SUBPATTERN":
            more, longer = _ways(content[-1])
        elif name == "BRANCH":
            more, longer = _ways_of_branches(content[1])
        elif name in ("MAX_REPEAT", "MIN_REPEAT"):
            more, longer = _ways_of_repeat(*content)
        else:
            raise _TooManyWaysError(f"{name} is not taken from a file")
        ways, repeats = ways * more, repeats + longer
    return ways, repeats


def _ways_of_branches(branches: Any) -> tuple[int, int]:
    counted = [_ways(branch) for branch in branches]
    repeats = max(longer for _, longer in counted)
    texts = [_literal(branch) for branch in branches]
    if None not in texts and not any(
        one is not other and str(one).startswith(str(other)) for one in texts for other in texts
    ):
        return 1, repeats  # at one place at most one of them matches
    return sum(more for more, _ in counted), repeats


def _literal(items: Any) -> str | None:
    """The text that a sequence stands for, if it is one."""
    found = [chr(content) for kind, content in items if str(kind) == "LITERAL"]
    return "".join(found) if len(found) == len(items) else None


def _ways_of_repeat(fewest: int, most: Any, items: Any) -> tuple[int, int]:
    # (ways, repetitions) of x{3}: one way. Of x* or x{1,5}: the place of its end varies, which is counted by the
    # caller. Of x?: with the character or without it.
    single = len(items) == 1 and str(items[0][0]) in ("LITERAL", "NOT_LITERAL", "ANY", "IN")
    if single:
        return (1, 0) if fewest == most else (1, 1) if int(most) - fewest > 1 else (2, 0)
    # (...)? is the group or nothing. A group that repeats is where matching takes exponential time: refused below.
    if (fewest, most) in ((0, 1), (1, 1)):
        more, longer = _ways(items)
        return more + 1, longer
    raise _TooManyWaysError("a group is repeated")
