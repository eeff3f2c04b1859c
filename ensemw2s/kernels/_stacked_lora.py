"""Low-rank updates of several members in torch: the reference."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ensemw2s.kernels._shapes import check_lora

if TYPE_CHECKING:
    import torch


def stacked_lora(x: torch.Tensor, a: torch.Tensor, b: torch.Tensor, scaling: float | torch.Tensor) -> torch.Tensor:
    """See `KernelBackend.stacked_lora`."""
    import torch

    check_lora(x, a, b)
    narrow = torch.bmm(x, a.mT)  # (T, R, r)
    # Scaled where there are r columns instead of `out`.
    narrow = narrow * (scaling.to(x)[:, None, None] if isinstance(scaling, torch.Tensor) else scaling)
    return torch.bmm(narrow, b.mT)  # (T, R, out)
