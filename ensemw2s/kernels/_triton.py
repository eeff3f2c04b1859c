"""Triton kernels, for GPUs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ensemw2s.kernels._base import KernelBackend
from ensemw2s.kernels._mixture_log_proba_triton import mixture_log_proba
from ensemw2s.kernels._mixture_sample_triton import mixture_sample
from ensemw2s.kernels._stacked_lora_triton import stacked_lora
from ensemw2s.kernels._triton_launch import INTERPRETED

if TYPE_CHECKING:
    import torch


class TritonBackend(KernelBackend):
    """Kernels that read each logit once or twice and write what is asked for; importing it needs `triton`."""

    name = "triton"
    requires = (
        "float32, float16 or bfloat16 on a GPU (on a CPU Triton only interprets, for tests: set TRITON_INTERPRET=1 "
        "before the first use)"
    )

    mixture_log_proba = staticmethod(mixture_log_proba)
    mixture_sample = staticmethod(mixture_sample)
    stacked_lora = staticmethod(stacked_lora)

    def supports(self, device: torch.device, dtype: torch.dtype) -> bool:
        import torch

        # ROCm's devices are called cuda as well.
        return device.type == ("cpu" if INTERPRETED else "cuda") and dtype in (
            torch.float32,
            torch.float16,
            torch.bfloat16,
        )
