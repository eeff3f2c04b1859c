"""PEFT configurations as JSON; of what a file says, only what is on a list is built."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import MISSING, fields
from functools import partial
from typing import TYPE_CHECKING, Any

from ensemw2s._adapters.config import ADAPTERS, config_key
from ensemw2s._adapters.module_patterns import is_plain_name, pattern_fault
from ensemw2s._validation import shorten
from ensemw2s.storage import decode, encode

if TYPE_CHECKING:
    from peft import PeftConfig

_MOST_NAMES, _MOST_PATTERNS, _MOST_IDS = 10_000, 1_000, 2**20
_LARGEST_RANK = 2**14  # or another side of a matrix
_LARGEST_COUNT = 2**28  # of single numbers


def encode_peft_config(config: PeftConfig, name: str) -> Any:
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


def build_peft_config(settings: object) -> PeftConfig:
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


def _fault(name: str, value: object, defaults: dict[str, object]) -> str:
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


def _is_default(value: object, default: object) -> bool:
    if default is MISSING:
        return False
    return value == (vars(default) if hasattr(default, "__dataclass_fields__") else default)


def _flag(value: object) -> str:
    return "" if isinstance(value, bool) else "must be true or false"


def _integer(value: object, largest: int = 2**63 - 1) -> str:
    fine = isinstance(value, int) and not isinstance(value, bool) and -1 <= value <= largest
    return "" if fine else f"must be an integer of at most {largest:,}"


def _rank(value: object) -> str:
    return _integer(value, _LARGEST_RANK)


def _number(value: object) -> str:
    fine = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= 1e12  # not so of NaN
    return "" if fine else "must be a finite number"


def _word(value: object) -> str:
    fine = isinstance(value, bool) or (isinstance(value, str) and len(value) <= 64 and value.isidentifier())
    return "" if fine else "must be true, false or a word"


def _text(value: object) -> str:
    return "" if isinstance(value, str) and len(value) <= 4096 else "must be a text"


def _integers(value: object, most: int = _MOST_IDS) -> str:
    if isinstance(value, int):
        return _integer(value)
    fine = isinstance(value, list | tuple) and len(value) <= most and not any(map(_integer, value))
    return "" if fine else f"must be at most {most:,} integers"


def _tokens(value: object) -> str:
    if not isinstance(value, dict):
        return _integers(value)
    if len(value) > _MOST_NAMES or not all(map(is_plain_name, value)):
        return "must be by names of modules"
    return next(filter(None, map(_integers, value.values())), "")


def _names(value: object) -> str:
    names = [value] if isinstance(value, str) else value
    fine = isinstance(names, list | tuple | set) and len(names) <= _MOST_NAMES and all(map(is_plain_name, names))
    return "" if fine else f"must be names of modules, at most {_MOST_NAMES:,}"


def _names_or_pattern(value: object) -> str:
    return pattern_fault(value) if isinstance(value, str) else _names(value)


def _by_pattern(value: object, check: Callable[[object], str]) -> str:
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


# What each setting may be, by its check. Where an adapter comes from is kept, or left out.
_NAMES_BY_CHECK: list[tuple[Callable[[object], str], str]] = [
    (lambda _: "", "auto_mapping"),
    (_text, "base_model_name_or_path peft_version revision"),
    (
        _word,
        "peft_type task_type act_fn config_A_B config_C config_D_E decomposition_method ab_svd_init bias "
        "init_lora_weights init_weights mask_type psoft_svd variant wavelet_family",
    ),
    (
        _flag,
        "inference_mode para progressbar runtime_offload_base_weight sample_at_inference save_precomputed_indices "
        "select_top use_asa use_dynamic_rank apply_GS block_share coft decompose_both ensure_weight_tying "
        "fan_in_fan_out init_ia3_weights lora_bias proportional_parameters psoft_mag_a psoft_mag_b psoft_orth "
        "rank_dropout_scale save_indices save_only_topk_weights save_projection sparse use_cayley_neumann "
        "use_dora use_effective_conv2d use_idwt use_qalora use_rslora very_sparse",
    ),
    (_names, "layers_pattern modules_to_save target_parameters"),
    (_names_or_pattern, "exclude_modules feedforward_modules target_modules"),
    (partial(_integers, most=_MOST_NAMES), "layers_to_transform alora_invocation_tokens"),
    (_integers, "token_indices"),
    (_tokens, "trainable_token_indices"),
    (partial(_by_pattern, check=_rank), "block_size_pattern n_frequency_pattern rank_pattern"),
    (partial(_by_pattern, check=_number), "alpha_pattern lambda_pattern"),
    (
        _rank,
        "init_r mini_r r target_r hybrid_r block_size boft_block_num boft_block_size boft_n_butterfly_factor "
        "decompose_factor gralora_k group_size num_B num_cayley_neumann_terms num_vectors oft_block_size "
        "qalora_group_size stride_A topk u vector_length num_subspaces subspace_rank asa_target_subspaces "
        "psoft_svd_lowrank_niter",
    ),
    (partial(_integer, largest=100), "depth"),
    (partial(_integer, largest=_LARGEST_COUNT), "n_frequency theta_d_length"),
    (
        _integer,
        "final_warmup generator_seed init_warmup mask_interval deltaT proj_seed projection_prng_key "
        "projection_seed random_loc_seed random_seed tfinal tinit total_step",
    ),
    (
        _number,
        "asa_importance_beta asa_schedule_exponent asa_uncertainty_beta deft_dropout frod_dropout init_scale "
        "pvera_dropout regularization_alpha sparse_rate sparsity svd_threshold alpha beta1 beta2 boft_dropout "
        "cayley_neumann_eps d_initial delora_lambda eps gralora_dropout hira_dropout init_logits_std "
        "init_theta_d_bound init_v_bound init_vector_bank_bound lora_alpha lora_dropout miss_dropout "
        "module_dropout orth_reg_weight psoft_alpha psoft_dropout randlora_alpha randlora_dropout rank_dropout "
        "scaling tinylora_dropout unilora_dropout vblora_dropout vera_dropout weight_tying",
    ),
]
_FIELDS = {name: check for check, names in _NAMES_BY_CHECK for name in names.split()}
