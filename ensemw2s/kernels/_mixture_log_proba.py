"""Mixture log-probabilities in torch: the reference."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from ensemw2s.kernels._shapes import accumulator, check_mixture

if TYPE_CHECKING:
    import torch

__all__ = ["mixture_log_proba"]


def mixture_log_proba(logits: torch.Tensor, log_weights: torch.Tensor) -> torch.Tensor:
    """See `KernelBackend.mixture_log_proba`."""
    import torch

    check_mixture(logits, log_weights)
    dtype = accumulator(logits.dtype)
    mixed: torch.Tensor | None = None
    # Member by member, so that no second (T, B, V) is made.
    for member, log_weight in zip(logits, log_weights.tolist(), strict=True):
        if log_weight == -math.inf:
            continue
        log_proba = member.to(dtype).log_softmax(dim=-1) + log_weight  # (B, V)
        mixed = log_proba if mixed is None else torch.logaddexp(mixed, log_proba)
    if mixed is None:
        raise ValueError("log_weights must hold a finite number. Got no member with a vote.")
    return mixed
