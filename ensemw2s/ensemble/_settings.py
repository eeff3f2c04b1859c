"""The parameters of boosters: checked, seeded, and described as JSON, for a checkpoint to be compared with."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from sklearn.base import clone
from sklearn.utils.validation import has_fit_parameter

from ensemw2s._loading.models import load_generation_config
from ensemw2s._validation import as_id, check_bool, check_integer, check_option, check_positive, check_seed
from ensemw2s.ensemble._held_out import check_held_out
from ensemw2s.learners import BigramLearner, HFCausalLM, HFClassifier, HFVerifier
from ensemw2s.storage import class_name, describe, describe_model, idle_parameters, parameter_names, without_reports
from ensemw2s.tokens import describe_tokenizer

_WITHOUT_EFFECT = ("backend", "checkpoint_dir", "on_locked", "n_jobs", "verbose")
# What says where base and tokenizer are: these may move, as long as they stay what they are.
_PLACES = ("model", "revision", "gguf_file", "tokenizer")
# Parameters that came when checkpoints had been written, with what was done before: these are still gone on with.
_CAME_LATER = {
    "errors": repr("train"), "votes": repr("alpha"), "zero_shot": repr(False), "validation_fraction": repr(None),
}  # fmt: skip


def check_loop_parameters(booster: Any) -> None:
    """Raise a TypeError or ValueError where a parameter that both boosters have is out of order."""
    check_integer(booster.n_estimators, "n_estimators", minimum=1)
    # Beyond it votes, or their sum, would be infinite or 0.
    check_positive(booster.learning_rate, "learning_rate", least=1e-100, most=1e100)
    check_bool(booster.reweight, "reweight")
    check_bool(booster.verbose, "verbose")
    check_option(booster.on_failure, "on_failure", ("raise", "keep"))
    check_seed(booster.random_state, "random_state")
    check_held_out(booster)


def check_own_validation(booster: Any) -> None:
    """Raise a ValueError where a weak learner, which is known to be one, holds out rows of its own."""
    several = booster.get_params(deep=False).get("estimators") or ()
    for learner in (*booster.get_params(deep=True).values(), *several):
        if isinstance(learner, HFCausalLM | HFClassifier | HFVerifier) and learner.validation_fraction is not None:
            # Each round would hold out other rows, on which its error is counted all the same.
            raise ValueError(
                f"validation_fraction of a weak learner must be None in a booster. Got "
                f"{learner.validation_fraction!r} of {type(learner).__name__}; leave it out, "
                f"or pass eval_set to TokenAdaBoostGenerator.fit."
            )


def given_eval_set(eval_set: Any) -> dict[str, Any]:
    """`eval_set` as a keyword of a learner's ``fit``; none of None, which learners need not take."""
    return {} if eval_set is None else {"eval_set": eval_set}


def check_takes_eval_set(learners: Sequence[Any], eval_set: Any) -> None:
    """Raise where `eval_set` is given and a learner's ``fit`` has no such keyword."""
    for learner in learners if eval_set is not None else ():
        if not has_fit_parameter(learner, "eval_set"):
            raise TypeError(
                f"eval_set must be None where a learner's fit does not take it. Got one, and a "
                f"{type(learner).__name__}; HFCausalLM, HFClassifier and HFVerifier do."
            )


def seed_parameters(estimator: Any) -> list[str]:
    """Names of all parameters that take a seed, nested ones included, in the order in which scikit-learn sets them."""
    names = sorted(estimator.get_params(deep=True))
    return [name for name in names if name == "random_state" or name.endswith("__random_state")]


def set_seeds(estimator: Any, rng: np.random.RandomState) -> None:
    """Give each of these parameters a seed of its own, drawn as scikit-learn draws them."""
    estimator.set_params(**{name: int(rng.randint(np.iinfo(np.int32).max)) for name in seed_parameters(estimator)})


def describe_parameters(booster: Any, learners: Sequence[Any], *, without: tuple[str, ...]) -> dict[str, Any]:
    """A booster's parameters and those of its learners, whose seeds it sets itself.

    Parameters
    ----------
    booster : estimator
    learners : sequence of estimator
        Clones of the weak learners.
    without : tuple of str
        Parameters of the booster that may change.
    """
    parameters = booster.get_params(deep=False)
    several = parameters.pop("estimators", None) is not None
    # Rounds are the same whatever the votes are, unless these are fitted by what the rounds hold out.
    unused = idle_parameters(parameters) + (() if parameters.get("votes") == "held-out" else ("votes",))
    described = {
        name: describe(value, name)
        for name, value in parameters.items()
        if name not in (*_WITHOUT_EFFECT, *without, *unused, "estimator")
        and _CAME_LATER.get(name) != repr(value)
        and (several or name != "pick")
    }
    unseeded = [clone(learner).set_params(**dict.fromkeys(seed_parameters(learner))) for learner in learners]
    if not several:
        return {**described, "estimator": describe_estimator(unseeded[0], "estimator")}
    return {**described, "estimators": _describe_several(unseeded, "estimators")}


def describe_estimator(estimator: Any, name: str) -> Any:
    """Any estimator with its parameters, a model id, or None.

    Of a language model with adapters only the tokenizer and its settings are described: the weights of its base are
    compared when the adapters are read.
    """
    if estimator is None or isinstance(as_id(estimator), str):
        return as_id(estimator)
    if isinstance(estimator, HFCausalLM | HFClassifier | BigramLearner):
        return _describe_learner(estimator, name)
    parameters = estimator.get_params(deep=False)
    if "estimator" not in parameters:
        return describe(estimator, name)
    inner = {"estimator": describe_estimator(parameters.pop("estimator"), f"{name}.estimator")}
    if "estimators" in parameters:
        several = parameters.pop("estimators")
        if several is None:
            parameters.pop("pick")
        else:
            inner["estimators"] = _describe_several(several, f"{name}.estimators")
    return {"class": class_name(type(estimator)), **_describe(parameters, name), **inner}


def _describe_several(estimators: Sequence[Any], name: str) -> list[Any]:
    return [describe_estimator(each, f"{name}[{place}]") for place, each in enumerate(estimators)]


def _describe_learner(learner: Any, name: str) -> dict[str, Any]:
    # A class with fewer parameters than the one it derives from sets the others itself.
    parameters = {key: getattr(learner, key) for key in parameter_names(learner)}
    if "callbacks" in parameters:
        parameters["callbacks"] = [type(callback).__name__ for callback in parameters["callbacks"]]
    described = _describe({key: value for key, value in parameters.items() if key not in _PLACES}, name)
    described["tokenizer"] = describe_tokenizer(learner._given_tokenizer(), learner)
    if isinstance(learner, HFCausalLM) and not callable(learner.model) and os.path.isdir(learner.model):
        generation = load_generation_config(str(learner.model))
        described["end of generation"] = getattr(generation, "eos_token_id", None)
    if parameters.get("peft_config", "default") is None:
        # All its weights are trained, so no round keeps those that it started from.
        model = as_id(parameters["model"])
        named = f"{getattr(model, '__module__', '')}.{getattr(model, '__qualname__', type(model).__name__)}"
        described["model"] = describe_model(model, f"{name}.model") if isinstance(model, str) else named
        described["revision"] = parameters["revision"]
    return {"class": class_name(type(learner)), **described}


def _describe(parameters: Mapping[str, Any], name: str) -> dict[str, Any]:
    unused = idle_parameters(parameters)
    return {
        key: describe(without_reports(value) if key == "training_args" else value, f"{name}.{key}")
        for key, value in parameters.items()
        if key not in (*_WITHOUT_EFFECT, *unused) and _CAME_LATER.get(key) != repr(value)
    }
