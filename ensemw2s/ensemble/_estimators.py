"""Learners and model ids as estimators."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import clone
from sklearn.utils.validation import has_fit_parameter

from ensemw2s._validation import as_id, shorten
from ensemw2s.contracts import OptionLearner
from ensemw2s.ensemble._settings import seed_parameters
from ensemw2s.ensemble._weak_learners import as_token_learner
from ensemw2s.ensemble.fine_tuned import FineTunedGenerator
from ensemw2s.ensemble.token_boosting import TokenAdaBoostGenerator


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
    _refuse_bare(weak, "weak")
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
    _refuse_bare(student, name)
    return FineTunedGenerator(student) if _is_learner(student) else student


def leaves_seed_open(model: Any) -> bool:
    """Whether a model draws a seed of its own in every fit, as a model id does."""
    return bool(_open_seeds(_with_learner(model)))


def given_seed(*models: Any) -> int | None:
    """The seed of the first of some models that has one for all its ``random_state`` that are set; None if none has."""
    for model in map(_with_learner, models):
        parameters = model.get_params(deep=True)
        seeds = [parameters[name] for name in seed_parameters(model) if parameters[name] is not None]
        if seeds and all(isinstance(seed, int | np.integer) and seed == seeds[0] for seed in seeds):
            return int(seeds[0])
    return None


def with_seed(model: Any, seed: int) -> Any:
    """A clone in which every ``random_state`` that is None is `seed`; a model id becomes a learner, which has one.

    Parameters
    ----------
    model : estimator
    seed : int

    Returns
    -------
    estimator
    """
    model = _with_learner(model)
    return model.set_params(**dict.fromkeys(_open_seeds(model), seed))


def _with_learner(model: Any) -> Any:
    model = clone(model)
    if not isinstance(model, FineTunedGenerator):
        return model
    return model.set_params(estimator=as_token_learner(model.estimator))


def _open_seeds(model: Any) -> list[str]:
    parameters = model.get_params(deep=True)
    return [name for name in seed_parameters(model) if parameters[name] is None]


def _refuse_bare(model: Any, name: str) -> None:
    """Raise where a model is an `OptionLearner` and nothing more: its ``fit`` takes no answers."""
    if isinstance(model, OptionLearner) and not isinstance(model, type) and not has_fit_parameter(model, "y"):
        raise TypeError(
            f"{name} must be an estimator, a learner or a model id. Got a {type(model).__name__}, an OptionLearner, "
            f"whose fit takes questions alone; pass OpinionPool([{type(model).__name__}(...)])."
        )


def _is_learner(model: Any) -> bool:
    return isinstance(as_id(model), str) or hasattr(model, "token_logits")
