"""PEFT configurations as JSON."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from ensemw2s._validation import shorten
from ensemw2s.storage import decode, encode

__all__ = ["build_peft_config", "encode_peft_config"]


def encode_peft_config(config: Any, name: str) -> Any:
    """A configuration as JSON; `name` is what to call it in an error.

    Raises
    ------
    TypeError
        If it could not be built again from that.
    """
    settings = encode(config.to_dict(), name)
    if build_peft_config(settings) != config:
        raise TypeError(f"{name} cannot be saved. Got {shorten(config)}, which does not survive its own to_dict().")
    return settings


def build_peft_config(settings: Any) -> Any:
    """The configuration that was encoded.

    Raises
    ------
    ValueError
        If it is none, or names a module to import.
    """
    from peft import PEFT_TYPE_TO_CONFIG_MAPPING

    settings = decode(settings)
    if settings.get("megatron_config") is not None:  # PEFT would import what megatron_core names
        raise ValueError(
            f"peft_config.megatron_config must be None: PEFT would import what it names. Got "
            f"{shorten(settings['megatron_config'])}"
        )
    if settings.get("peft_type") not in PEFT_TYPE_TO_CONFIG_MAPPING:
        raise ValueError(f"peft_type {shorten(settings.get('peft_type'))} is unknown to PEFT")
    kind = PEFT_TYPE_TO_CONFIG_MAPPING[settings["peft_type"]]
    known = {field.name for field in fields(kind) if field.init}
    return kind(**{name: value for name, value in settings.items() if name in known})
