"""Several processes that run the same script: what they agree on, and a model sharded over them.

`accelerate launch` (or ``torchrun``) starts the processes. Each of them runs the whole script on the same data with
the same seeds; they meet in training, where each takes its part of every batch, and, where the model is sharded, in
every forward pass.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

if TYPE_CHECKING:
    import torch

_T = TypeVar("_T")


def n_processes() -> int:
    """Number of processes that were launched together; 1 without a launcher."""
    # LOCAL_RANK is set by the launchers alone; some batch systems set WORLD_SIZE for what is no launch.
    return int(os.environ.get("WORLD_SIZE", 1)) if "LOCAL_RANK" in os.environ else 1


def current_launch(device: str) -> Launch:
    """The launch that this process is part of, connected to the other processes.

    Parameters
    ----------
    device : str
        torch device of the learner, such as "cpu" or "cuda".

    Returns
    -------
    Launch
        Of one process without a launcher; nothing is then imported or started.
    """
    count, kind = n_processes(), device.partition(":")[0]
    if count == 1:
        return Launch(1, 0, kind, sharded=False)
    import torch
    import torch.distributed as dist

    if not dist.is_initialized():
        if kind != "cpu":
            getattr(torch, kind).set_device(int(os.environ["LOCAL_RANK"]))  # what "cuda" stands for from here on
        # Longer than the default: the others wait for the first to read a large checkpoint.
        dist.init_process_group(timeout=timedelta(hours=1))
    return Launch(
        count, dist.get_rank(), kind, sharded=os.environ.get("ACCELERATE_USE_FSDP", "false").lower() == "true"
    )


@dataclass(frozen=True)
class Launch:
    """Processes that run the same script; with a single one, every method leaves things as they are.

    Attributes
    ----------
    n_processes : int
    rank : int
        Of this process, from 0.
    device_type : str
        "cpu", "cuda", …
    sharded : bool
        Whether models are to be sharded over the processes (FSDP).
    """

    n_processes: int
    rank: int
    device_type: str
    sharded: bool

    def from_first(self, value: _T) -> _T:
        """The first process' value of something small, such as a seed."""
        if self.n_processes == 1:
            return value
        import torch.distributed as dist

        values = [value]
        dist.broadcast_object_list(values, src=0)
        return values[0]

    def tensor_from_first(self, tensor: torch.Tensor) -> torch.Tensor:
        """The first process' value of a tensor that has the same shape in all.

        What decides about the next step (an error, the token to write) has to be the same to the last bit, or one
        process would leave the others waiting.
        """
        if self.n_processes == 1:
            return tensor
        import torch
        import torch.distributed as dist

        tensor = tensor.clone(memory_format=torch.contiguous_format)
        dist.broadcast(tensor, src=0)
        return tensor

    def mean(self, tensor: torch.Tensor) -> torch.Tensor:
        """Mean over the processes."""
        if self.n_processes == 1:
            return tensor
        import torch
        import torch.distributed as dist

        total = tensor.detach().clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total / self.n_processes

    def concatenate(self, items: list[_T]) -> list[_T]:
        """The items of all processes, one process after the other."""
        if self.n_processes == 1:
            return items
        import torch.distributed as dist

        gathered: list[Any] = [None] * self.n_processes
        dist.all_gather_object(gathered, items)
        return [item for part in gathered for item in part]

    def check_same(self, *arrays: np.ndarray) -> None:
        """Refuse training data that differ between the processes.

        Raises
        ------
        ValueError
            In all processes, if they differ in any.
        """
        if self.n_processes == 1:
            return
        digest = hashlib.sha256()
        for array in arrays:
            digest.update(repr((array.shape, array.dtype.str)).encode())
            digest.update(np.ascontiguousarray(array).tobytes())
        digests = self.concatenate([digest.hexdigest()])
        different = [rank for rank, other in enumerate(digests) if other != digests[0]]
        if different:
            raise ValueError(
                f"All processes of a launch must train on the same rows with the same weights. Those of process "
                f"{different[0]} differ from those of process 0; give every random_state an int, of the boosters and "
                f"of the splits of the data too."
            )

    def share_of_batch(self, batch_size: int) -> int:
        """Rows of a batch that each process takes.

        Raises
        ------
        ValueError
            If the rows cannot be shared out evenly.
        """
        if batch_size % self.n_processes:
            raise ValueError(
                f"batch_size must be a multiple of the number of processes, {self.n_processes}, among which a batch is "
                f"shared out. Got {batch_size} instead."
            )
        return batch_size // self.n_processes

    def average_gradients(self, parameters: Iterable[torch.nn.Parameter]) -> None:
        """Average the gradients of parameters that every process holds as a whole; FSDP does so for those it shards."""
        if self.n_processes == 1:
            return
        import torch
        import torch.distributed as dist
        from torch.distributed.tensor import DTensor

        by_dtype: dict[torch.dtype, list[torch.Tensor]] = {}
        for parameter in parameters:
            if parameter.grad is not None and not isinstance(parameter, DTensor):
                by_dtype.setdefault(parameter.grad.dtype, []).append(parameter.grad)
        for gradients in by_dtype.values():
            flat = torch.cat([gradient.flatten() for gradient in gradients])  # one message, not one per parameter
            # FSDP has averaged the shards already, and what is not sharded is left to us, see `own_training`.
            dist.all_reduce(flat)
            flat /= self.n_processes
            averaged = flat.split([gradient.numel() for gradient in gradients])
            for gradient, mean in zip(gradients, averaged, strict=True):
                gradient.copy_(mean.view_as(gradient))

    def place(self, model: Any, *, device: str, whole: Iterable[str] = (), as_base: bool = False) -> Any:
        """Put a model where it is used: on the device, or, one part each, on the devices of all processes.

        Parameters
        ----------
        model : transformers.PreTrainedModel
            As loaded.
        device : str
            torch device.
        whole : iterable of str
            Names of modules, or the ends of their names, that are not sharded.
        as_base : bool
            Whether the model is to be wrapped by PEFT, which calls ``forward`` and so passes by the hooks of FSDP.
        """
        if not self.sharded:
            # What from_pretrained has placed (device_map), or quantised, stays where it is.
            return model if getattr(model, "hf_device_map", None) else model.to(device)
        from ensemw2s._launch.sharding import shard

        return shard(model, self.device_type, whole=whole, as_base=as_base)

    def check_adapters(self, peft_config: object) -> None:
        """Refuse adapters that read weights of which this process holds only a part.

        Raises
        ------
        ValueError
            Names the setting.
        """
        if not self.sharded:
            return
        if getattr(peft_config, "use_dora", False):
            raise ValueError("peft_config.use_dora must be False where the base is sharded (FSDP). Got True instead.")
        start = getattr(peft_config, "init_lora_weights", True)
        if not isinstance(start, bool) and start != "gaussian":
            raise ValueError(
                f"peft_config.init_lora_weights must be True, False or 'gaussian' where the base is sharded (FSDP). "
                f"Got {start!r} instead."
            )

    def no_grad(self) -> AbstractContextManager[Any]:
        """Context manager for forward passes without gradients."""
        import torch

        # FSDP keeps the buffers of its first pass; from an inference-mode pass they could not be trained with.
        mode: AbstractContextManager[Any] = torch.no_grad() if self.sharded else torch.inference_mode()
        return mode

    @contextmanager
    def own_training(self, model: Any) -> Iterator[None]:
        """Keep accelerate from wrapping a model whose shards and gradients are looked after here."""
        if self.n_processes == 1:
            yield
            return
        before = os.environ.get("ACCELERATE_USE_FSDP")
        os.environ["ACCELERATE_USE_FSDP"] = "false"
        # accelerate's own mark of a model that it has wrapped: it then adds no DistributedDataParallel around it.
        model._is_accelerate_prepared = True
        try:
            yield
        finally:
            del model._is_accelerate_prepared
            if before is None:
                del os.environ["ACCELERATE_USE_FSDP"]
            else:
                os.environ["ACCELERATE_USE_FSDP"] = before


def local_part(tensor: torch.Tensor) -> torch.Tensor:
    """What this process holds of a tensor: its part where it is sharded, else the tensor."""
    from torch.distributed.tensor import DTensor

    return tensor.detach().to_local() if isinstance(tensor, DTensor) else tensor
