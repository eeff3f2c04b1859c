"""What `fit` has set, as far as it is numbers and texts: taken from an estimator, and put back, checked."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ensemw2s._validation import shorten

__all__ = ["fitted_attributes", "restore_attributes"]

# Have files of their own.
_IN_FILES = {
    "adapter_", "baseline_", "estimators_", "log_proba_", "members_", "model_", "oracle_", "student_", "token_weight_",
    "tokenizer_", "weak_",
}  # fmt: skip


def fitted_attributes(estimator: Any, *, without: tuple[str, ...] = ()) -> dict[str, Any]:
    """What `fit` has set, by scikit-learn's naming rule."""
    return {
        name: value
        for name, value in vars(estimator).items()
        if name.endswith("_") and not name.startswith("_") and name not in without
    }


def restore_attributes(estimator: Any, attributes: dict[str, Any]) -> None:
    """Set what `fit` had set.

    Raises
    ------
    ValueError
        If a name is not one of `fit`'s, or a value is not what `fit` sets.
    """
    for name, value in attributes.items():
        if not name.endswith("_") or name.startswith("_") or name in _IN_FILES or hasattr(type(estimator), name):
            raise ValueError(f"{name!r} is no fitted attribute of {type(estimator).__name__}")
        expected, check = _VALUES.get(name, ("", _anything))
        if not check(value):
            raise ValueError(f"{name} must be {expected}. Got {shorten(value)} instead")
        setattr(estimator, name, value)


def _anything(value: Any) -> bool:
    return True


def _is_length(value: Any) -> bool:
    return value is None or (isinstance(value, int) and not isinstance(value, bool) and 1 <= value < 2**63)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _are_numbers(value: Any) -> bool:
    return isinstance(value, np.ndarray) and value.ndim == 1 and value.dtype.kind == "f"


def _are_finite(value: Any) -> bool:
    return _are_numbers(value) and bool(np.isfinite(value).all())


def _are_places(value: Any) -> bool:
    return isinstance(value, np.ndarray) and value.ndim == 1 and value.dtype.kind == "i" and bool((value >= 0).all())


def _are_classes(value: Any) -> bool:
    return isinstance(value, np.ndarray) and value.ndim == 1 and len(np.unique(value)) == len(value) > 0


def _are_steps(value: Any) -> bool:
    return isinstance(value, list) and all(
        isinstance(step, dict) and all(isinstance(key, str) for key in step) and all(map(_is_number, step.values()))
        for step in value
    )


def _is_text(value: Any) -> bool:
    return value is None or isinstance(value, str)


def _are_tokens(value: Any) -> bool:
    return value is None or (
        isinstance(value, list | tuple) and all(isinstance(entry, int) and entry >= 0 for entry in value)
    )


_VALUES: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "classes_": ("different labels", _are_classes),
    "cue_ids_": ("token ids", _are_tokens),
    "estimator_errors_": ("numbers", _are_numbers),
    "estimator_weights_": ("finite numbers", _are_finite),
    "history_": ("numbers by step", _are_steps),
    "max_length_": ("a positive number of tokens, or None", _is_length),
    "max_new_tokens_": ("a positive number of tokens, or None", _is_length),
    "picks_": ("places of learners", _are_places),
    "pretrained_error_": ("a number", _is_number),
    "pretrained_errors_": ("numbers", _are_numbers),
    "prior_errors_": ("numbers", _are_numbers),
    "stop_reason_": ("a text", _is_text),
}
