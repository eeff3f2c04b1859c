"""What the checks of both contracts have in common."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from ensemw2s.exceptions import WeakLearnerError


def missing_members(learner: object, methods: Mapping[str, str], *, fit: str, weight: str) -> list[str]:
    """What an object lacks of some methods, said in words, of ``fit`` with a keyword for weights, and of cloning."""
    problems = [text for name, text in methods.items() if not callable(getattr(learner, name, None))]
    method = getattr(learner, "fit", None)
    if not callable(method):
        problems.append(f"{fit} is missing")
    elif weight.partition(",")[0] not in inspect.signature(method).parameters:
        problems.append(f"fit must take the keyword {weight}")
    if not callable(getattr(learner, "get_params", None)):
        problems.append("get_params() is missing: derive from sklearn.base.BaseEstimator, so that clone works")
    return problems


def refuse_incomplete(learner: object, kind: str, problems: list[str]) -> None:
    """Raise a WeakLearnerError that lists the problems, where there are any."""
    if problems:
        listed = "\n".join(f"- {text}" for text in problems)
        raise WeakLearnerError(f"{type(learner).__name__} is not a complete {kind}:\n{listed}")


def seeded_clone(learner: object) -> Any:
    """A clone in which every random_state has a seed: two fits are compared."""
    from sklearn.base import clone

    cloned: Any = clone(learner)
    names = [name for name in cloned.get_params(deep=True) if name.rpartition("__")[2] == "random_state"]
    return cloned.set_params(**dict.fromkeys(names, 0)) if names else cloned
