"""A model in parts, one on each process (FSDP2, ``torch.distributed.fsdp.fully_shard``)."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor, distribute_tensor


def shard(model: Any, device_type: str, *, whole: Iterable[str] = (), as_base: bool = False) -> Any:
    """Keep one part of every parameter in this process; all processes call this together.

    Every layer is gathered when it is reached and freed after it, in the forward and in the backward pass: a device
    holds its part of the model, and one layer. What belongs to no layer (embeddings, the head) is one group, gathered
    for the whole pass.

    Parameters
    ----------
    model : transformers.PreTrainedModel
        On the CPU. With accelerate's ``fsdp_cpu_ram_efficient_loading`` some or all parameters may be without memory
        (on "meta") in all but the first process of a machine.
    device_type : str
        "cpu", "cuda", …; each process uses its current device.
    whole : iterable of str
        Names of modules, or the ends of their names, that every process keeps as a whole.
    as_base : bool
        Whether PEFT wraps the model, whose wrapper calls ``forward`` instead of the module.

    Returns
    -------
    transformers.PreTrainedModel
        The model itself, changed in place.

    Raises
    ------
    ValueError
        If the configuration of the launch asks for what is not supported, or the layers are not found.
    """
    _check_configuration()
    layers = _layers(model)
    from_first = _flag("FSDP_CPU_RAM_EFFICIENT_LOADING")
    if from_first:
        _allocate(model)
    # Noted before fully_shard, which puts shards in the place of the parameters.
    loaded = dict(model.named_parameters()) if from_first and dist.get_rank() == 0 else {}
    loaded = {name: parameter.detach() for name, parameter in loaded.items()}
    ends = tuple("." + name for name in whole)
    kept = [p for name, module in model.named_modules() if ("." + name).endswith(ends) for p in module.parameters()]
    settings: dict[str, Any] = {
        "mesh": init_device_mesh(device_type, (dist.get_world_size(),)),
        # Also for the outermost group, or it would stay on every device between two passes.
        "reshard_after_forward": True,
        "mp_policy": _mixed_precision(),
    }
    if kept:
        settings["ignored_params"] = set(kept)
    # From the inside out, as fully_shard asks: the last call takes what belongs to no layer.
    for layer in layers:
        fully_shard(layer, **settings)
    fully_shard(model, **settings)
    device = torch.device(device_type) if device_type == "cpu" else torch.device(device_type, _current(device_type))
    for parameter in kept:
        parameter.data = parameter.data.to(device)
    if from_first:
        _send_from_first(model, loaded, device)
    if as_base:
        register_fsdp_forward_method(model, "forward")
    return model


def _layers(model: Any) -> list[nn.Module]:
    named = os.environ.get("FSDP_TRANSFORMER_CLS_TO_WRAP", "")
    names = {name.strip() for name in named.split(",") if name.strip()} or set(model._no_split_modules or ())
    layers = [module for module in model.modules() if type(module).__name__ in names]
    if not layers:
        raise ValueError(
            f"The layers of {type(model).__name__} are needed to shard it, and it has none of class "
            f"{sorted(names) or '(unknown)'}; name their class in fsdp_transformer_layer_cls_to_wrap."
        )
    return layers


def _check_configuration() -> None:
    version = os.environ.get("FSDP_VERSION", "1")
    if version != "2":
        raise ValueError(f"fsdp_version must be 2, see docs/howto_large_models.md. Got {version} instead.")
    if _flag("FSDP_OFFLOAD_PARAMS"):
        raise ValueError("fsdp_offload_params must be false: parameters are sharded over the devices, not offloaded.")


def _mixed_precision() -> MixedPrecisionPolicy:
    name = os.environ.get("ACCELERATE_MIXED_PRECISION", "no")
    if name == "no":
        return MixedPrecisionPolicy()
    if name != "bf16":
        raise ValueError(f"mixed_precision must be 'no' or 'bf16' where a model is sharded. Got {name!r} instead.")
    return MixedPrecisionPolicy(param_dtype=torch.bfloat16, reduce_dtype=torch.float32)


def _allocate(model: nn.Module) -> None:
    # Memory that is never written costs nothing; the shards are filled from the first process.
    made: dict[int, nn.Parameter] = {}
    for module in model.modules():
        for name, parameter in module._parameters.items():
            if parameter is not None and parameter.is_meta:
                if id(parameter) not in made:  # one for tied weights
                    empty = torch.empty_like(parameter, device="cpu")
                    made[id(parameter)] = nn.Parameter(empty, requires_grad=parameter.requires_grad)
                module._parameters[name] = made[id(parameter)]


def _send_from_first(model: nn.Module, loaded: dict[str, torch.Tensor], device: torch.device) -> None:
    for name, parameter in model.named_parameters():
        if dist.get_rank() == 0:
            # One at a time, in an order that all processes share; popped, so that the first one's memory shrinks as it
            # goes.
            full = loaded.pop(name).to(device)
        else:
            full = torch.empty(parameter.shape, dtype=parameter.dtype, device=device)
        if isinstance(parameter, DTensor):
            parts = distribute_tensor(full, parameter.device_mesh, parameter.placements)  # scatters the first one's
            parameter.detach().to_local().copy_(parts.to_local())
        else:
            dist.broadcast(full, src=0)
            parameter.data = full
    for buffer in model.buffers():
        dist.broadcast(buffer, src=0)


def _current(device_type: str) -> int:
    return int(getattr(torch, device_type).current_device())


def _flag(name: str) -> bool:
    return os.environ.get(name, "false").lower() in ("1", "true", "yes")
