"""The backend that is always there: torch, on any device."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ensemw2s.kernels._mixture_log_proba import mixture_log_proba
from ensemw2s.kernels._mixture_sample import mixture_sample
from ensemw2s.kernels._stacked_lora import stacked_lora
from ensemw2s.kernels._token_nll import token_nll

if TYPE_CHECKING:
    import torch

__all__ = ["TorchBackend"]


class TorchBackend:
    """The reference; its operations run wherever torch runs."""

    name = "torch"
    requires = "a floating-point dtype"

    mixture_log_proba = staticmethod(mixture_log_proba)
    mixture_sample = staticmethod(mixture_sample)
    token_nll = staticmethod(token_nll)
    stacked_lora = staticmethod(stacked_lora)

    def supports(self, device: torch.device, dtype: torch.dtype) -> bool:
        return dtype.is_floating_point
