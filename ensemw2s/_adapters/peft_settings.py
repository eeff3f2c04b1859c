"""PEFT configurations as JSON; of what a file says, only what is on a list is built."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import MISSING, fields
from typing import Any

from ensemw2s._adapters.config import ADAPTERS, config_key
from ensemw2s._adapters.module_patterns import is_plain_name, pattern_fault
from ensemw2s._validation import shorten
from ensemw2s.storage import decode, encode

_MOST_NAMES, _MOST_PATTERNS, _MOST_IDS = 10_000, 1_000, 2**20
_LARGEST_RANK = 2**14  # or another side of a matrix
_LARGEST_COUNT = 2**28  # of single numbers


def encode_peft_config(config: Any, name: str) -> Any:
    """A configuration as JSON; `name` is what to call it in an error.

    Raises
    ------
    TypeError
        If it could not be built again from that.
    """
    settings = encode(config.to_dict(), name)
    try:
        same = config_key(build_peft_config(settings)) == config_key(config)
    except ValueError as error:
        raise TypeError(f"{name} cannot be saved, since it would not be read again: {error}") from error
    if not same:
        raise TypeError(f"{name} cannot be saved. Got {shorten(config)}, which does not survive its own to_dict().")
    return settings


def build_peft_config(settings: Any) -> Any:
    """The configuration that a file holds, if nothing in it loads something, or takes for ever.

    Parameters
    ----------
    settings : object
        Content of an ``adapter_config.json``, or of `encode_peft_config`.

    Raises
    ------
    ValueError
        Names the kind of adapter or the setting that is not read.
    """
    from peft import PEFT_TYPE_TO_CONFIG_MAPPING

    settings = decode(settings)
    if not isinstance(settings, dict):
        raise ValueError(f"a PEFT configuration must be an object of settings. Got {shorten(settings)} instead.")
    peft_type = settings.get("peft_type")
    if not isinstance(peft_type, str) or peft_type not in ADAPTERS or peft_type not in PEFT_TYPE_TO_CONFIG_MAPPING:
        raise ValueError(
            f"peft_type {shorten(peft_type)} is not read from a file; only {', '.join(sorted(ADAPTERS))} are, which "
            f"load nothing."
        )
    kind = PEFT_TYPE_TO_CONFIG_MAPPING[peft_type]
    defaults = {
        field.name: field.default if field.default_factory is MISSING else field.default_factory()
        for field in fields(kind)
        if field.init
    }
    for name, value in settings.items():
        fault = _fault(name, value, defaults)
        if fault:
            raise ValueError(f"peft_config.{shorten(name)} {fault}. Got {shorten(value)} in the file.")
    known = {name: value for name, value in settings.items() if name in defaults}
    # A module that PEFT would import when somebody opens with it what is saved here.
    return kind(**{**known, "auto_mapping": None})


def _fault(name: Any, value: Any, defaults: dict[str, Any]) -> str:
    """What is wrong with a setting; "" if nothing is."""
    # Off, in every kind of adapter: so versions of peft may write settings that the installed one does not have.
    if value is None or value is False or (isinstance(value, dict | list | tuple | set) and not value):
        return ""
    check = _FIELDS.get(name)
    if check is not None:
        return check(value)
    if name in defaults and _is_default(value, defaults[name]):
        return ""
    if name not in defaults:
        return "is not known to the installed version of peft, which may need to be updated"
    return "is not read from a file; it must be left out"


def _is_default(value: Any, default: Any) -> bool:
    if default is MISSING:
        return False
    return value == (vars(default) if hasattr(default, "__dataclass_fields__") else default)


def _flag(value: Any) -> str:
    return "" if isinstance(value, bool) else "must be true or false"


def _integer(value: Any, largest: int = 2**63 - 1) -> str:
    fine = isinstance(value, int) and not isinstance(value, bool) and -1 <= value <= largest
    return "" if fine else f"must be an integer of at most {largest:,}"


def _rank(value: Any) -> str:
    return _integer(value, _LARGEST_RANK)


def _count(value: Any) -> str:
    return _integer(value, _LARGEST_COUNT)


def _small(value: Any) -> str:
    return _integer(value, 100)


def _number(value: Any) -> str:
    fine = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return "" if fine and abs(value) <= 1e12 else "must be a finite number"


def _word(value: Any) -> str:
    fine = isinstance(value, bool) or (isinstance(value, str) and len(value) <= 64 and value.isidentifier())
    return "" if fine else "must be true, false or a word"


def _text(value: Any) -> str:
    return "" if isinstance(value, str) and len(value) <= 4096 else "must be a text"


def _anything(value: Any) -> str:
    return ""


def _integers(value: Any, most: int = _MOST_IDS) -> str:
    if isinstance(value, int):
        return _integer(value)
    fine = isinstance(value, list | tuple) and len(value) <= most and not any(map(_integer, value))
    return "" if fine else f"must be at most {most:,} integers"


def _layers(value: Any) -> str:
    return _integers(value, _MOST_NAMES)


def _tokens(value: Any) -> str:
    if not isinstance(value, dict):
        return _integers(value)
    if len(value) > _MOST_NAMES or not all(map(is_plain_name, value)):
        return "must be by names of modules"
    return next(filter(None, map(_integers, value.values())), "")


def _names(value: Any) -> str:
    names = [value] if isinstance(value, str) else value
    fine = isinstance(names, list | tuple | set) and len(names) <= _MOST_NAMES and all(map(is_plain_name, names))
    return "" if fine else f"must be names of modules, at most {_MOST_NAMES:,}"


def _names_or_pattern(value: Any) -> str:
    return pattern_fault(value) if isinstance(value, str) else _names(value)


def _by_pattern(value: Any, check: Callable[[Any], str]) -> str:
    if not isinstance(value, dict) or len(value) > _MOST_PATTERNS:
        return f"must give numbers to names of modules, at most {_MOST_PATTERNS:,}"
    for pattern, number in value.items():
        # As PEFT compares it.
        fault = pattern_fault(pattern) or pattern_fault(rf"(.*\.)?({pattern})$")
        if fault and not is_plain_name(pattern):
            return f"has a pattern that {fault}"
        flags = isinstance(number, list) and len(number) <= _LARGEST_RANK and not any(map(_flag, number))  # of AdaLoRA
        if not flags and check(number):
            return f"has a number that {check(number)}"
    return ""


def _ranks(value: Any) -> str:
    return _by_pattern(value, _rank)


def _scales(value: Any) -> str:
    return _by_pattern(value, _number)


_FIELDS: dict[Any, Callable[[Any], str]] = {
    # Where an adapter comes from: kept, or left out.
    "auto_mapping": _anything, "base_model_name_or_path": _text, "inference_mode": _flag, "peft_type": _word,
    "peft_version": _text, "revision": _text, "task_type": _word,
    # Which modules.
    "exclude_modules": _names_or_pattern, "feedforward_modules": _names_or_pattern, "layers_pattern": _names,
    "layers_to_transform": _layers, "modules_to_save": _names, "target_modules": _names_or_pattern,
    "target_parameters": _names, "token_indices": _integers, "trainable_token_indices": _tokens,
    "alora_invocation_tokens": _layers,
    # Shapes.
    "alpha_pattern": _scales, "block_size_pattern": _ranks, "lambda_pattern": _scales, "n_frequency_pattern": _ranks,
    "rank_pattern": _ranks,
    "init_r": _rank, "mini_r": _rank, "r": _rank, "target_r": _rank, "hybrid_r": _rank,
    "block_size": _rank, "boft_block_num": _rank, "boft_block_size": _rank, "boft_n_butterfly_factor": _rank,
    "decompose_factor": _rank, "gralora_k": _rank, "group_size": _rank, "n_frequency": _count, "num_B": _rank,
    "num_cayley_neumann_terms": _rank, "num_vectors": _rank, "oft_block_size": _rank, "qalora_group_size": _rank,
    "stride_A": _rank, "theta_d_length": _count, "topk": _rank, "u": _rank, "vector_length": _rank,
    "depth": _small, "num_subspaces": _rank, "subspace_rank": _rank, "asa_target_subspaces": _rank,
    # Numbers.
    "asa_importance_beta": _number, "asa_schedule_exponent": _number, "asa_uncertainty_beta": _number,
    "deft_dropout": _number, "frod_dropout": _number, "init_scale": _number, "pvera_dropout": _number,
    "regularization_alpha": _number, "sparse_rate": _number, "sparsity": _number, "svd_threshold": _number,
    "final_warmup": _integer, "generator_seed": _integer, "init_warmup": _integer, "mask_interval": _integer,
    "alpha": _number, "beta1": _number, "beta2": _number, "boft_dropout": _number, "cayley_neumann_eps": _number,
    "d_initial": _number, "delora_lambda": _number, "eps": _number, "gralora_dropout": _number, "hira_dropout": _number,
    "init_logits_std": _number, "init_theta_d_bound": _number, "init_v_bound": _number,
    "init_vector_bank_bound": _number, "lora_alpha": _number, "lora_dropout": _number, "miss_dropout": _number,
    "module_dropout": _number, "orth_reg_weight": _number, "psoft_alpha": _number, "psoft_dropout": _number,
    "randlora_alpha": _number, "randlora_dropout": _number, "rank_dropout": _number, "scaling": _number,
    "tinylora_dropout": _number, "unilora_dropout": _number, "vblora_dropout": _number, "vera_dropout": _number,
    "weight_tying": _number,
    "deltaT": _integer, "proj_seed": _integer, "projection_prng_key": _integer, "projection_seed": _integer,
    "psoft_svd_lowrank_niter": _rank, "random_loc_seed": _integer, "random_seed": _integer, "tfinal": _integer,
    "tinit": _integer, "total_step": _integer,
    # Choices.
    "act_fn": _word, "config_A_B": _word, "config_C": _word, "config_D_E": _word, "decomposition_method": _word,
    "para": _flag, "progressbar": _flag, "runtime_offload_base_weight": _flag, "sample_at_inference": _flag,
    "save_precomputed_indices": _flag, "select_top": _flag, "use_asa": _flag, "use_dynamic_rank": _flag,
    "ab_svd_init": _word, "apply_GS": _flag, "bias": _word, "block_share": _flag, "coft": _flag,
    "decompose_both": _flag, "ensure_weight_tying": _flag, "fan_in_fan_out": _flag, "init_ia3_weights": _flag,
    "init_lora_weights": _word, "init_weights": _word, "lora_bias": _flag, "mask_type": _word,
    "proportional_parameters": _flag, "psoft_mag_a": _flag, "psoft_mag_b": _flag, "psoft_orth": _flag,
    "psoft_svd": _word, "rank_dropout_scale": _flag, "save_indices": _flag, "save_only_topk_weights": _flag,
    "save_projection": _flag, "sparse": _flag, "use_cayley_neumann": _flag, "use_dora": _flag,
    "use_effective_conv2d": _flag, "use_idwt": _flag, "use_qalora": _flag, "use_rslora": _flag, "variant": _word,
    "very_sparse": _flag, "wavelet_family": _word,
}  # fmt: skip
