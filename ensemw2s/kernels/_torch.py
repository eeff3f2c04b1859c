"""The backend that is always there: torch, on any device."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ensemw2s.kernels._base import KernelBackend

if TYPE_CHECKING:
    import torch


class TorchBackend(KernelBackend):
    """The reference alone; its operations run wherever torch runs."""

    name = "torch"
    requires = "a floating-point dtype"

    def supports(self, device: torch.device, dtype: torch.dtype) -> bool:
        return bool(dtype.is_floating_point)
