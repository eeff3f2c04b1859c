"""Learners from adapters that were trained elsewhere."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ensemw2s._adapters.config import AdapterMisfitError, check_adapter_config
from ensemw2s._adapters.peft_settings import build_peft_config
from ensemw2s.exceptions import CheckpointError
from ensemw2s.storage import MALFORMED, download_folder, links_of, read_json, read_tensors

if TYPE_CHECKING:
    import torch
    from peft import PeftConfig, PeftModel


def learner_from_peft(
    kind: Callable[..., Any],
    name: str | os.PathLike[str],
    adapter_revision: str | None,
    model: str | Callable[[], Any] | None,
    parameters: dict[str, Any],
) -> Any:
    """See `HFCausalLM.from_peft`, whose class `kind` is."""
    folder = download_folder(name, adapter_revision, ("adapter_config.json", "adapter_model.safetensors"))
    config = _read_config(folder / "adapter_config.json")
    named, revision = config.base_model_name_or_path, config.revision
    if model is None:
        if named is None:
            raise ValueError(f"model must be given, the base of {folder}, which names none. Got None.")
        model = named
        parameters = {"revision": revision, **parameters}
    cue_ids = getattr(config, "alora_invocation_tokens", None)
    # Or PEFT would warn that the base has another name.
    config.base_model_name_or_path = config.revision = None
    config.inference_mode = False
    if cue_ids is not None:
        config.alora_invocation_tokens = None
    check_adapter_config(config)
    learner = kind(model, peft_config=config, adapt="all" if cue_ids is None else "answer", **parameters)
    try:
        learner.initialize()
        host = learner._host()
    except AdapterMisfitError as error:
        raise CheckpointError(f"{folder / 'adapter_config.json'} belongs to another base: {error}") from error
    if cue_ids is not None and learner.cue_ids_ != cue_ids:
        raise ValueError(
            f"prompt_template must end with the tokens {cue_ids}, from which on the adapter of {folder} acts. Got "
            f"{learner.prompt_template!r}, which ends with {learner.cue_ids_}."
        )
    source = folder / "adapter_model.safetensors"
    with host.held() as base:
        tensors = _without_base(_read_tensors(source), base, source)
    try:
        learner.adapter_ = host.load(tensors, source, any_precision=True)
    except AdapterMisfitError as error:
        raise CheckpointError(f"{folder / 'adapter_config.json'} is not read: {error}") from error
    return learner


def _read_config(path: Path) -> PeftConfig:
    try:
        settings, _ = read_json(path, links_of(path.parent))
    except FileNotFoundError as error:
        raise CheckpointError(f"{path} is missing. Pass the folder of an adapter that PEFT has saved.") from error
    try:
        return build_peft_config(settings)
    except MALFORMED as error:
        raise CheckpointError(f"{path} holds no configuration of an adapter that is read: {error}") from error


def _read_tensors(path: Path) -> dict[str, torch.Tensor]:
    try:
        return read_tensors(path, links_of(path.parent))
    except FileNotFoundError as error:
        raise CheckpointError(
            f"{path} is missing; weights in another format are not read. Save the adapter anew."
        ) from error


def _without_base(tensors: dict[str, torch.Tensor], model: PeftModel, source: Path) -> dict[str, torch.Tensor]:
    """Leave out weights of the base, which PEFT saves along where the head or the embeddings are adapted."""
    frozen = {
        name: parameter
        for name, parameter in model.named_parameters(remove_duplicate=False)  # or tied weights had one name
        if not parameter.requires_grad
    }
    for name in tensors.keys() & frozen.keys():
        if not _are_same(tensors[name], frozen[name]):
            raise CheckpointError(
                f"{source} belongs to a base whose weights were changed along with the adapter: {name} is not that of "
                f"the model, and members share their base as it is. Save the changed base, "
                f"peft_model.unload().save_pretrained(FOLDER), and pass model=FOLDER."
            )
    return {name: tensor for name, tensor in tensors.items() if name not in frozen}


def _are_same(saved: torch.Tensor, loaded: torch.Tensor) -> bool:
    # Either may have been rounded to half precision.
    dtype = min(saved.dtype, loaded.dtype, key=lambda dtype: dtype.itemsize)
    return saved.shape == loaded.shape and bool((saved.to(dtype) == loaded.cpu().to(dtype)).all())
