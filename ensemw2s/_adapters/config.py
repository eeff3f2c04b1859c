"""PEFT configurations: which of them members of one base can have, and when two say the same."""

from __future__ import annotations

from collections.abc import Set
from typing import TYPE_CHECKING

from ensemw2s._validation import shorten

if TYPE_CHECKING:
    from peft import PeftConfig

# Kinds of adapters that are numbers beside layers. PEFT has others that load a model or a tokenizer which the
# configuration names (SHADOW, CPT, XLORA), or that replace weights of the base (OSF).
ADAPTERS = frozenset({
    "ADALORA", "ADAMSS", "BEFT", "BOFT", "C3A", "DEFT", "DELORA", "FOURIERFT", "FROD", "GLORA", "GRALORA", "HIRA",
    "HRA", "IA3", "LILY", "LN_TUNING", "LOHA", "LOKR", "LORA", "MISS", "OFT", "PEANUT", "PSOFT", "PVERA", "RANDLORA",
    "ROAD", "SHIRA", "SUPERTUNING", "TINYLORA", "TRAINABLE_TOKENS", "UNILORA", "VBLORA", "VERA", "WAVEFT",
})  # fmt: skip

# Settings that say where an adapter comes from and who wrote it.
ORIGIN = {"auto_mapping", "base_model_name_or_path", "inference_mode", "peft_version", "revision"}

# What else is found out by comparing the base with what it was.
_CHANGES_THE_BASE = {
    "layer_replication": "repeats layers of the base",
    "kasa_config": "takes singular values out of the base's weights",
}


class AdapterMisfitError(ValueError):
    """PEFT cannot put adapters of a configuration on a base."""


def config_key(config: PeftConfig) -> str:
    """All that a configuration says but where it comes from; equal for equal ones."""
    return repr(settings_of(config, ORIGIN))


def settings_of(config: PeftConfig, without: Set[str]) -> dict[str, str]:
    """The kind of a configuration and its settings but some, as texts."""
    values = {name: value for name, value in vars(config).items() if name not in without}
    return {"kind": type(config).__name__, **{name: _canonical(values[name]) for name in sorted(values)}}


def _canonical(value: object) -> str:
    if isinstance(value, set):  # its order differs from set to set
        value = sorted(value)
    return repr(value) if value not in ([], {}) else repr(None)


def check_adapter_config(config: PeftConfig) -> None:
    """Refuse adapters that do not leave the base as it is.

    Raises
    ------
    ValueError
        Names the setting of the configuration.
    """
    if config.is_prompt_learning:
        raise ValueError(
            f"peft_config must adapt layers, like LoraConfig. Got {type(config).__name__}, a prompt-learning "
            f"method, whose virtual tokens do not fit left-padded batches."
        )
    peft_type = str(getattr(config.peft_type, "value", config.peft_type))
    if peft_type not in ADAPTERS:
        raise ValueError(
            f"peft_config must be of a kind that leaves the base as it is and loads nothing, like LoraConfig. Got "
            f"{type(config).__name__} instead."
        )
    # PiSSA, OLoRA and others replace the base weights.
    start = getattr(config, "init_lora_weights", True)
    if not (isinstance(start, bool) or start in ("gaussian", "orthogonal", "mica")):
        raise ValueError(
            f"peft_config.init_lora_weights must be True, False, 'gaussian', 'orthogonal' or 'mica', which leave the "
            f"base as it is; all members share it. Got {start!r} instead."
        )
    for name, what in _CHANGES_THE_BASE.items():
        if getattr(config, name, None):
            raise ValueError(
                f"peft_config.{name} must be None: it {what}, and all members share the base. Got "
                f"{shorten(getattr(config, name))} instead; to change a base, save it as a model of its own."
            )
    if getattr(config, "alora_invocation_tokens", None) is not None:
        raise ValueError(
            "peft_config.alora_invocation_tokens must be None. Got tokens instead; pass adapt='answer' to HFCausalLM, "
            "which takes them from prompt_template."
        )
    bias = getattr(config, "bias", "none")
    if bias != "none":
        raise ValueError(
            f"peft_config.bias must be 'none': biases belong to the base, which all members share. Got {bias!r} "
            f"instead; peft_config=None trains all weights."
        )
