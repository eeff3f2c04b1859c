"""Learners from adapters that were trained elsewhere."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ensemw2s.exceptions import CheckpointError
from ensemw2s.learners._peft_settings import build_peft_config
from ensemw2s.storage import read_tensors

if TYPE_CHECKING:
    import torch
    from peft import PeftConfig

    from ensemw2s.learners.hf_causal_lm import HFCausalLM

__all__ = ["learner_from_peft"]


def learner_from_peft(
    kind: type[HFCausalLM], folder: Path, model: str | Callable[[], Any] | None, parameters: dict[str, Any]
) -> HFCausalLM:
    """See `HFCausalLM.from_peft`."""
    config = _read_config(folder / "adapter_config.json")
    named, revision = config.base_model_name_or_path, config.revision
    if model is None:
        if named is None:
            raise ValueError(f"model must be given, the base of {folder}, which names none. Got None.")
        model = named
        parameters = {"revision": revision, **parameters}
    cue_ids = getattr(config, "alora_invocation_tokens", None)
    # What says where the adapter comes from is no part of its shape, by which learners find a base to share.
    config.base_model_name_or_path = config.revision = None
    config.inference_mode = False
    if cue_ids is not None:
        config.alora_invocation_tokens = None
    learner = kind(model, peft_config=config, adapt="all" if cue_ids is None else "answer", **parameters).initialize()
    if cue_ids is not None and learner.cue_ids_ != cue_ids:
        raise ValueError(
            f"prompt_template must end with the tokens {cue_ids}, from which on the adapter of {folder} acts. Got "
            f"{learner.prompt_template!r}, which ends with {learner.cue_ids_}."
        )
    source = folder / "adapter_model.safetensors"
    learner.adapter_ = learner._host().load(_in_single_precision(_read_tensors(source)), source)
    return learner


def _read_config(path: Path) -> PeftConfig:
    if not path.is_file():
        raise CheckpointError(f"{path} is missing. Pass the folder of an adapter that PEFT has saved.")
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise CheckpointError(f"{path} is damaged: it is no JSON ({error}). Copy or save the folder again.") from error
    if isinstance(settings.get("target_modules"), list):
        settings["target_modules"].sort()  # PEFT writes a set, in any order; the base is found by the configuration
    return build_peft_config(settings)


def _read_tensors(path: Path) -> dict[str, torch.Tensor]:
    if not path.is_file():
        raise CheckpointError(f"{path} is missing; weights in another format are not read. Save the adapter anew.")
    return read_tensors(path)


def _in_single_precision(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    # As PEFT does: adapters are float32 also where the base is not.
    return {
        name: tensor.float() if tensor.dtype.itemsize == 2 and tensor.is_floating_point() else tensor
        for name, tensor in tensors.items()
    }
