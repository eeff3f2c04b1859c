"""Checks of what a learner is given: parameters, answer tokens and classes, before anything is loaded."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ensemw2s._adapters.config import check_adapter_config
from ensemw2s._inputs.classifier_rows import check_labels
from ensemw2s._launch.processes import current_launch
from ensemw2s._training.arguments import check_training_args
from ensemw2s._training.evaluation import check_validation_fraction
from ensemw2s._validation import (
    as_id,
    check_bool,
    check_integer,
    check_option,
    check_positive,
    check_seed,
    check_weight,
    dtype_name,
    shorten,
)
from ensemw2s.tokens import TokenDataset, check_template

# Settings of a LoraConfig that PEFT does not combine with alora_invocation_tokens, or applies to all tokens.
_ACTS_EVERYWHERE = (
    "modules_to_save", "trainable_token_indices", "target_parameters", "use_dora", "use_qalora", "use_bdlora",
    "arrow_config", "kasa_config", "monteclora_config", "velora_config",
)  # fmt: skip

# Arguments of `from_pretrained` that a user may pass. Others would change the configuration, or have code run.
_MODEL_KWARGS = ("attn_implementation", "device_map", "max_memory", "offload_folder", "quantization_config")
# Where the package is missing, transformers would run code of the hub instead.
_ATTENTION = {
    "eager": "torch", "sdpa": "torch", "flex_attention": "torch", "flash_attention_2": "flash_attn",
    "flash_attention_3": "flash_attn_interface",
}  # fmt: skip


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
    _check_model_kwargs(learner)
    _check_adapt(learner)
    check_positive(learner.epochs, "epochs")
    for name in ("batch_size", "eval_batch_size"):
        if check_integer(getattr(learner, name), name, minimum=1) > sys.maxsize:
            raise ValueError(f"{name} must be at most {sys.maxsize}. Got {shorten(getattr(learner, name))} instead.")
    check_bool(learner.verbose, "verbose")
    check_validation_fraction(learner.validation_fraction)
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


def _check_peft_config(peft_config: object) -> None:
    from peft import PeftConfig

    if isinstance(peft_config, PeftConfig):
        check_adapter_config(peft_config)
    elif not (peft_config is None or (isinstance(peft_config, str) and peft_config == "default")):
        raise ValueError(f"peft_config must be 'default', a PeftConfig or None. Got {shorten(peft_config)} instead.")


def _check_model_kwargs(learner: Any) -> None:
    given = learner.model_kwargs
    if given is None:
        return
    if not isinstance(given, Mapping):
        raise TypeError(f"model_kwargs must be a dict of arguments of from_pretrained. Got {shorten(given)} instead.")
    other = [name for name in given if name not in _MODEL_KWARGS]
    if other:
        raise ValueError(
            f"model_kwargs may hold {', '.join(_MODEL_KWARGS)}. Got {shorten(other[0])}; pass what is a parameter of "
            f"the learner, such as dtype or revision, as that, and build anything else in a function passed as model."
        )
    if given and not isinstance(as_id(learner.model), str):
        raise ValueError(
            f"model_kwargs must be None when model is a function, which loads the model itself. Got {shorten(given)} "
            f"instead."
        )
    if given and current_launch(learner._device()).sharded:
        raise ValueError("model_kwargs must be None where the base is sharded (FSDP), which places the weights.")
    attention = given.get("attn_implementation")
    if attention is not None:
        check_option(attention, "model_kwargs['attn_implementation']", _ATTENTION)
        if find_spec(_ATTENTION[attention]) is None:
            raise ValueError(
                f"model_kwargs['attn_implementation']={attention!r} needs the package {_ATTENTION[attention]}, which "
                f"is not installed; install it, or pass 'sdpa', with which PyTorch uses FlashAttention where it can."
            )
    if given.get("quantization_config") is not None:
        _check_quantization(learner, given["quantization_config"])


def _check_quantization(learner: Any, config: Any) -> None:
    from transformers.utils.quantization_config import QuantizationConfigMixin

    if not isinstance(config, QuantizationConfigMixin):
        raise TypeError(
            f"model_kwargs['quantization_config'] must be a configuration of transformers, such as BitsAndBytesConfig("
            f"load_in_4bit=True). Got {shorten(config)} instead."
        )
    if learner.peft_config is None:
        raise ValueError(
            "peft_config must not be None with model_kwargs['quantization_config']: quantised weights are not trained, "
            "an adapter on them is (QLoRA). Pass peft_config='default', or a PeftConfig."
        )
    if str(getattr(config.quant_method, "value", config.quant_method)) != "bitsandbytes":
        return  # transformers says itself what another method lacks
    if find_spec("bitsandbytes") is None:
        raise ValueError(
            "model_kwargs['quantization_config'] needs the package bitsandbytes, which is not installed. Run pip "
            "install bitsandbytes, or leave the base as it is."
        )
    bitsandbytes = import_module("bitsandbytes")
    kind = learner._device().partition(":")[0]
    if kind not in bitsandbytes.supported_torch_devices:
        raise ValueError(
            f"model_kwargs['quantization_config'] cannot be used on the device {kind!r}: bitsandbytes "
            f"{bitsandbytes.__version__} computes on {', '.join(sorted(bitsandbytes.supported_torch_devices))}. Pass "
            f"another device, or install a newer version."
        )


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


def _check_callbacks(callbacks: object) -> None:
    from transformers import TrainerCallback

    if not isinstance(callbacks, Sequence):
        raise TypeError(f"callbacks must be a sequence of TrainerCallback. Got {shorten(callbacks)} instead.")
    for place, callback in enumerate(callbacks):
        kind = callback if isinstance(callback, type) else type(callback)
        if not issubclass(kind, TrainerCallback):
            raise TypeError(f"callbacks[{place}] must be a TrainerCallback. Got {shorten(callback)} instead.")


def _largest(dtype: object) -> float:
    import torch

    return float(torch.finfo(getattr(torch, dtype_name(dtype))).max)


def _check_torch_names(dtype: object, device: Any) -> None:
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


def check_fit_input(tokens: object, token_weight: ArrayLike) -> np.ndarray:
    """The weights as an array; nothing has to be loaded for this check."""
    if not isinstance(tokens, TokenDataset):
        raise TypeError(
            f"tokens must be a TokenDataset. Got {type(tokens).__name__} instead; to train on texts use "
            f"FineTunedGenerator(HFCausalLM(...)).fit(X, y)."
        )
    return check_weight(token_weight, "token_weight", length=tokens.n_tokens, per="answer token")


def check_tokens(
    tokens: TokenDataset, *, n_vocabulary: int, max_length: int | None, cue_ids: Sequence[int] | None
) -> None:
    """Refuse tokens that were not made for a learner.

    Raises
    ------
    ValueError
        If a token is not in its vocabulary, a row too long, or a prompt without its cue.
    """
    if max(tokens.labels.max(), tokens.prompt_ids.max()) >= n_vocabulary:
        raise ValueError(
            f"tokens must come from this learner's tokenizer, of {n_vocabulary} tokens. Got a larger token "
            f"id; use TokenDataset.for_learner."
        )
    if max_length is not None and tokens.lengths.max() > max_length:
        row = int(np.argmax(tokens.lengths > max_length))
        raise ValueError(
            f"tokens must have rows of at most {max_length} tokens. Got {tokens.lengths[row]} in row {row}; "
            f"use TokenDataset.for_learner."
        )
    if cue_ids is None:
        return
    columns = tokens.prompt_indptr[1:, None] - len(cue_ids) + np.arange(len(cue_ids))  # (n_rows, C)
    ends = (tokens.prompt_ids[columns.clip(min=0)] == cue_ids).all(axis=1)
    ends &= np.diff(tokens.prompt_indptr) >= len(cue_ids)
    if not ends.all():
        raise ValueError(
            f"tokens must have prompts that end with the answer cue, {shorten(list(cue_ids))}, from which on "
            f"adapt='answer' acts. Row {int(np.argmin(ends))} does not; use TokenDataset.for_learner."
        )


def class_targets(y: ArrayLike, classes: Sequence[Any] | None, n_rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Validate labels.

    Parameters
    ----------
    y : array-like of shape (n,) or (n, K)
        Classes, or the probability of each class.
    classes : sequence of length K, optional
        Classes in the order of the columns; the sorted labels, or 0, ..., K-1 for probabilities, if None.
    n_rows : int
        n.

    Returns
    -------
    classes : ndarray of shape (K,)
    targets : ndarray of shape (n, K), float64
        One-hot for hard labels.

    Raises
    ------
    ValueError
        Names the row.
    """
    known = None if classes is None else _check_classes(classes)
    if y is None:
        raise ValueError("y must hold a class, or class probabilities, for each row. Got None.")
    shape = _shape(y)
    if len(shape) == 2 and shape[1] > 1:
        targets = _check_probabilities(y)
        known = np.arange(targets.shape[1]) if known is None else known
        if len(known) != targets.shape[1]:
            raise ValueError(
                f"y must have a column for each of the {len(known)} classes. Got shape {targets.shape} instead."
            )
        return known, targets
    labels = check_labels(y, n_rows)
    if known is None:
        known = np.unique(labels)
        if len(known) < 2:
            raise ValueError(
                f"y must hold at least two classes. Got one class in all {len(labels)} rows, "
                f"{shorten(known.tolist())}; pass classes to name those without a row."
            )
    column_of = {label: column for column, label in enumerate(known.tolist())}
    columns = np.array([column_of.get(label, -1) for label in labels.tolist()])
    if columns.min() < 0:
        row = int(columns.argmin())
        raise ValueError(
            f"y must hold labels of classes, {shorten(known.tolist())}. "
            f"Got y[{row}] = {shorten(labels.tolist()[row])} instead; label the row anew or drop it."
        )
    return known, np.eye(len(known))[columns]


def _shape(y: Any) -> tuple[int, ...]:
    try:
        return np.shape(y)
    except ValueError:  # ragged
        return (len(y),)


def _check_classes(classes: Sequence[Any]) -> np.ndarray:
    known = np.asarray(classes)
    if known.ndim != 1 or len(known) < 2 or len(set(known.tolist())) != len(known):
        raise ValueError(f"classes must hold at least two classes, each once. Got {shorten(classes)} instead.")
    return known


def _check_probabilities(y: ArrayLike) -> np.ndarray:
    try:
        targets = np.asarray(y, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(
            "y must be one-dimensional, or hold class probabilities in its columns. Got columns that are no numbers."
        ) from error
    good = np.isfinite(targets).all(axis=1) & (targets >= 0).all(axis=1)
    good &= np.abs(targets.sum(axis=1) - 1.0) < 1e-3
    if not good.all():
        row = int(np.argmin(good))
        raise ValueError(
            f"y must hold class probabilities, >= 0 with sum 1 in each row. "
            f"Got y[{row}] = {targets[row].tolist()} instead."
        )
    return targets / targets.sum(axis=1, keepdims=True)
