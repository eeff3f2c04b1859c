"""Learners and model ids as estimators."""

from __future__ import annotations

from typing import Any

from ensemw2s._validation import shorten
from ensemw2s.ensemble import FineTunedGenerator, TokenAdaBoostGenerator

__all__ = ["as_booster", "as_student"]


def as_booster(weak: Any) -> Any:
    """The weak side as an estimator: learners and model ids are boosted.

    Raises
    ------
    TypeError
        If it is a list.
    """
    if isinstance(weak, list | tuple):
        raise TypeError(
            f"weak must be an estimator, a learner or a model id. Got {shorten(weak)} instead; pass "
            f"TokenAdaBoostGenerator(estimators=...), which boosts a list."
        )
    return TokenAdaBoostGenerator(weak) if _is_learner(weak) else weak


def as_student(student: Any, name: str = "student") -> Any:
    """The strong side as an estimator: learners and model ids are fine-tuned.

    Raises
    ------
    TypeError
        If it is a list; `name` says of which parameter.
    """
    if isinstance(student, list | tuple):
        raise TypeError(
            f"{name} must be an estimator, a learner or a model id. Got {shorten(student)} instead; pass one of them, "
            f"or boost them together, TokenAdaBoostGenerator(estimators=...)."
        )
    return FineTunedGenerator(student) if _is_learner(student) else student


def _is_learner(model: Any) -> bool:
    return isinstance(model, str) or hasattr(model, "token_logits")
