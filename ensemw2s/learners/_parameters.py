"""Checks of the parameters of a Hugging Face learner, before anything is loaded."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from ensemw2s._adapters.config import check_adapter_config
from ensemw2s._training.arguments import check_training_args
from ensemw2s._validation import (
    as_id,
    check_bool,
    check_integer,
    check_option,
    check_positive,
    check_seed,
    dtype_name,
    shorten,
)
from ensemw2s.tokens import check_template

# Settings of a LoraConfig that PEFT does not combine with alora_invocation_tokens, or applies to all tokens.
_ACTS_EVERYWHERE = (
    "modules_to_save", "trainable_token_indices", "target_parameters", "use_dora", "use_qalora", "use_bdlora",
    "arrow_config", "kasa_config", "monteclora_config", "velora_config",
)  # fmt: skip


def check_parameters(learner: Any, *, truncations: tuple[str, ...] = ("error", "prompt")) -> None:
    """Check a learner's parameters; nothing is loaded.

    Parameters
    ----------
    learner : estimator
        With the parameters that `HFCausalLM` and `HFClassifier` share.
    truncations : tuple of str
        What the parameter ``truncation`` may be.

    Raises
    ------
    TypeError, ValueError
        Names the parameter.
    """
    _check_model(learner)
    check_template(learner.prompt_template)
    _check_peft_config(learner.peft_config)
    _check_adapt(learner)
    check_positive(learner.epochs, "epochs")
    for name in ("batch_size", "eval_batch_size"):
        if check_integer(getattr(learner, name), name, minimum=1) > sys.maxsize:
            raise ValueError(f"{name} must be at most {sys.maxsize}. Got {shorten(getattr(learner, name))} instead.")
    check_bool(learner.verbose, "verbose")
    if learner.max_length is not None:
        check_integer(learner.max_length, "max_length", minimum=2)
    check_option(learner.truncation, "truncation", truncations)
    _check_callbacks(learner.callbacks)
    _check_torch_names(learner.dtype, learner.device)
    check_positive(learner.lr, "lr", most=_largest(learner.dtype))  # the optimiser would be given infinity
    on_cpu = learner._device().partition(":")[0] == "cpu"
    check_training_args(learner.training_args, on_cpu=on_cpu, adapt=getattr(learner, "adapt", "all"))
    check_seed(learner.random_state, "random_state")


def _check_model(learner: Any) -> None:
    if not (isinstance(as_id(learner.model), str) or callable(learner.model)) or hasattr(learner.model, "state_dict"):
        raise TypeError(
            f"model must be a hub id, a folder or a function that returns a model. Got "
            f"{type(learner.model).__name__} instead; save a live model with save_pretrained and pass its folder."
        )
    for name in ("gguf_file", "revision"):
        if getattr(learner, name, None) is not None and not isinstance(as_id(learner.model), str):
            raise ValueError(
                f"{name} must be None when model is a function: it belongs to a hub id or folder. Got "
                f"{shorten(getattr(learner, name))} instead."
            )


def _check_peft_config(peft_config: Any) -> None:
    from peft import PeftConfig

    if isinstance(peft_config, PeftConfig):
        check_adapter_config(peft_config)
    elif not (peft_config is None or (isinstance(peft_config, str) and peft_config == "default")):
        raise ValueError(f"peft_config must be 'default', a PeftConfig or None. Got {shorten(peft_config)} instead.")


def _check_adapt(learner: Any) -> None:
    if check_option(getattr(learner, "adapt", "all"), "adapt", ("all", "answer")) == "all":
        return
    config = learner.peft_config
    if config is None:
        raise ValueError(
            "adapt must be 'all' where peft_config is None: with all weights trained, no prompt's keys and values can "
            "be shared. Got 'answer' instead."
        )
    if not isinstance(config, str) and config.peft_type != "LORA":
        raise ValueError(f"adapt='answer' needs LoRA; peft_config must be a LoraConfig. Got {type(config).__name__}.")
    settings = [name for name in _ACTS_EVERYWHERE if getattr(config, name, None)]
    if settings:
        raise ValueError(
            f"adapt must be 'all' with peft_config.{settings[0]}, for which there is no activated LoRA. Got 'answer' "
            f"instead."
        )
    if isinstance(learner.prompt_template, str) and learner.prompt_template.endswith("{prompt}"):
        raise ValueError(
            f"prompt_template must have text behind '{{prompt}}', the cue from which on adapt='answer' acts, such as "
            f"'\\nAnswer:'. Got {learner.prompt_template!r} instead."
        )


def _check_callbacks(callbacks: Any) -> None:
    from transformers import TrainerCallback

    if not isinstance(callbacks, Sequence):
        raise TypeError(f"callbacks must be a sequence of TrainerCallback. Got {shorten(callbacks)} instead.")
    for place, callback in enumerate(callbacks):
        kind = callback if isinstance(callback, type) else type(callback)
        if not issubclass(kind, TrainerCallback):
            raise TypeError(f"callbacks[{place}] must be a TrainerCallback. Got {shorten(callback)} instead.")


def _largest(dtype: Any) -> float:
    import torch

    return float(torch.finfo(getattr(torch, dtype_name(dtype))).max)


def _check_torch_names(dtype: Any, device: Any) -> None:
    import torch

    torch_dtype = getattr(torch, dtype_name(dtype), None) if isinstance(dtype_name(dtype), str) else None
    # Those of a byte, float8, store weights only: nothing is computed with them.
    if not (isinstance(torch_dtype, torch.dtype) and torch_dtype.is_floating_point and torch_dtype.itemsize > 1):
        raise ValueError(f"dtype must name a floating-point torch dtype, such as 'float32'. Got {dtype!r} instead.")
    if device is None:
        return
    try:
        torch.device(device)
    except (RuntimeError, TypeError) as error:
        raise ValueError(f"device must be a torch device, such as 'cpu' or 'cuda'. Got {device!r} instead.") from error
