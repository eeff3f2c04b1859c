"""Learners and model ids as estimators."""

from __future__ import annotations

from typing import Any

from ensemw2s.ensemble import FineTunedGenerator, TokenAdaBoostGenerator

__all__ = ["as_booster", "as_student"]


def as_booster(weak: Any) -> Any:
    """The weak side as an estimator: learners and model ids are boosted."""
    return TokenAdaBoostGenerator(weak) if _is_learner(weak) else weak


def as_student(student: Any) -> Any:
    """The strong side as an estimator: learners and model ids are fine-tuned."""
    return FineTunedGenerator(student) if _is_learner(student) else student


def _is_learner(model: Any) -> bool:
    return isinstance(model, str) or hasattr(model, "token_logits")
