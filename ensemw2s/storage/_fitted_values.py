"""What values the fitted attributes of this package's estimators have."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ensemw2s._validation import shorten


def check_fitted_value(name: str, value: object) -> None:
    """Raise a ValueError where a value is not what `fit` sets under that name."""
    expected, check = _VALUES.get(name, ("", _anything))
    if not check(value):
        raise ValueError(f"{name} must be {expected}. Got {shorten(value)} instead")


def _anything(value: object) -> bool:
    return True


def _is_length(value: object) -> bool:
    return value is None or (isinstance(value, int) and not isinstance(value, bool) and 1 <= value < 2**63)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _are_numbers(value: object) -> bool:
    return isinstance(value, np.ndarray) and value.ndim == 1 and value.dtype.kind == "f"


def _are_finite(value: Any) -> bool:
    return _are_numbers(value) and bool(np.isfinite(value).all())


def _are_places(value: object) -> bool:
    return isinstance(value, np.ndarray) and value.ndim == 1 and value.dtype.kind == "i" and bool((value >= 0).all())


def _are_classes(value: object) -> bool:
    return isinstance(value, np.ndarray) and value.ndim == 1 and len(np.unique(value)) == len(value) > 0


def _are_steps(value: object) -> bool:
    return isinstance(value, list) and all(
        isinstance(step, dict) and all(isinstance(key, str) for key in step) and all(map(_is_number, step.values()))
        for step in value
    )


def _is_text(value: object) -> bool:
    return value is None or isinstance(value, str)


def _are_tokens(value: object) -> bool:
    return value is None or (
        isinstance(value, list | tuple) and all(isinstance(entry, int) and entry >= 0 for entry in value)
    )


_VALUES: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "alphas_": ("finite numbers", _are_finite),
    "classes_": ("different labels", _are_classes),
    "cue_ids_": ("token ids", _are_tokens),
    "estimator_errors_": ("numbers", _are_numbers),
    "estimator_weights_": ("finite numbers", _are_finite),
    "held_out_rows_": ("numbers of rows", _are_places),
    "history_": ("numbers by step", _are_steps),
    "max_length_": ("a positive number of tokens, or None", _is_length),
    "max_new_tokens_": ("a positive number of tokens, or None", _is_length),
    "picks_": ("places of learners", _are_places),
    "pretrained_error_": ("a number", _is_number),
    "pretrained_errors_": ("numbers", _are_numbers),
    "prior_errors_": ("numbers", _are_numbers),
    "stop_reason_": ("a text", _is_text),
}
