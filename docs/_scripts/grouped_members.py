"""The members of a class by what they are for, as the template of its page lists them."""

from __future__ import annotations

import functools
import importlib
import inspect
import pydoc
import re
from typing import Any

# The first pattern that a name matches says its group. What a class offers other parts of the library comes last, so
# that nobody who looks for `predict` reads through it.
GROUPS = {
    "Fit": "(fit|initialize|label|start|run|split|get_n_splits).*",
    "Predict and judge": "(predict(?!_under)|staged_|score|generate|evaluate|decision_function|option_scores|credit"
    "|forward|answer_error|answer_nll|member_predictions|token_error(?!_under)).*",
    "Make": "(from_(?!pretrained)|with_|take|concat|shuffle|drop_answers|for_|select|plot).*",
    "Store": "(save|load$|from_pretrained|push_to_hub).*",
    "For other parts of the library": "(.*_under|check_.*|lend_model|stack.*|branch_logits|decode_step|longest_tree"
    "|token_logits|answer_logits)",
    "Look": ".*",
}
ORDER = ("Fit", "Predict and judge", "Look", "Make", "Store", "For other parts of the library")


def of_all_classes(*modules: str) -> dict[str, list[tuple[str, list[dict[str, str]]]]]:
    """`grouped_members` by the full name of a class; plain values, since Sphinx keeps its settings in a file."""
    names = [f"{module}.{name}" for module in modules for name in importlib.import_module(module).__all__]
    return {name: grouped_members(name) for name in names if inspect.isclass(pydoc.locate(name))}


def grouped_members(fullname: str) -> list[tuple[str, list[dict[str, str]]]]:
    """Titles, each with the public members that our own classes define, as name and the directive that documents it."""
    documented = pydoc.locate(fullname)
    found: dict[str, list[dict[str, str]]] = {title: [] for title in ORDER}
    for member in sorted(dir(documented)):
        value = inspect.getattr_static(documented, member)
        if member.startswith("_") or not is_ours(value) or is_foreign_name(documented, member):
            continue
        title = next(group for group, pattern in GROUPS.items() if re.fullmatch(pattern, member))
        kind = "property" if isinstance(value, property | functools.cached_property) else "method"
        found[title].append({"name": member, "kind": kind})
    return [(title, members) for title, members in found.items() if members]


def is_ours(value: Any) -> bool:
    """Whether a member is defined in this package, and said to be for users by a docstring."""
    function = inspect.unwrap(
        getattr(value, "fget", None) or getattr(value, "func", None) or getattr(value, "__func__", value)
    )
    return (
        callable(function)
        and str(getattr(function, "__module__", "")).startswith("ensemw2s")
        and bool(function.__doc__)
    )


def is_foreign_name(documented: type, member: str) -> bool:
    """Whether torch or transformers document it: dozens of which we replace to refuse them, and few that serve."""
    if member in ("forward", "generate", "from_pretrained", "save_pretrained", "push_to_hub"):
        return False
    return any(
        member in vars(base)
        for base in documented.__mro__
        if base.__module__.partition(".")[0] in ("torch", "transformers")
    )
