"""What every launch of a Triton kernel needs."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from triton import cdiv, knobs

if TYPE_CHECKING:
    import torch

# `triton.jit` looks at this once, when it decorates a kernel.
INTERPRETED: bool = knobs.runtime.interpret


def blocks_of(n: int, size: int) -> int:
    """Blocks of this size that cover `n`."""
    return int(cdiv(n, size))


def place_of(tensor: torch.Tensor) -> AbstractContextManager[None]:
    """Context manager that makes a tensor's device the current one: Triton launches there, wherever the tensor is."""
    import torch

    place: AbstractContextManager[None] = torch.cuda.device_of(tensor)
    return place
