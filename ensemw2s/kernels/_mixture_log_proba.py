"""Mixture log-probabilities in torch: the reference."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from ensemw2s.kernels._shapes import accumulator, check_mixture

if TYPE_CHECKING:
    import torch


def mixture_log_proba(logits: torch.Tensor, log_weights: torch.Tensor) -> torch.Tensor:
    """See `KernelBackend.mixture_log_proba`.

    Summed are probabilities, which takes half the time of a sum in logarithms; the latter is for the tokens that are
    too improbable for it under all members.
    """
    import torch

    check_mixture(logits, log_weights)
    dtype = accumulator(logits.dtype)
    voters = [vote for vote in enumerate(log_weights.tolist()) if vote[1] > -math.inf]
    if not voters:
        raise ValueError("log_weights must hold a finite number. Got no member with a vote.")
    if len(voters) == 1:
        [(member, log_weight)] = voters
        return logits[member].to(dtype).log_softmax(dim=-1) + log_weight
    total = torch.zeros(logits.shape[1:], dtype=dtype, device=logits.device)  # (B, V)
    # Member by member, so that no second (T, B, V) is made.
    for member, log_weight in voters:
        total.add_(logits[member].to(dtype).softmax(dim=-1), alpha=math.exp(log_weight))
    mixed = total.log()
    # Where exponentials are cut off below the normal range, larger sums lose less than they round.
    smallest = torch.finfo(dtype).tiny / torch.finfo(dtype).eps
    if logits.numel() and not total.amin() >= smallest:  # also beside a row that is not a number
        mixed[total < smallest] = _in_logarithms(logits, voters, total < smallest)
    return mixed


def _in_logarithms(logits: torch.Tensor, voters: list[tuple[int, float]], chosen: torch.Tensor) -> torch.Tensor:
    """The same for some tokens, bool of shape (B, V), as a flat tensor; -inf stays where no member allows a token."""
    import torch

    row, column = chosen.nonzero(as_tuple=True)
    dtype = accumulator(logits.dtype)
    mixed = torch.full(row.shape, -torch.inf, dtype=dtype, device=logits.device)
    for member, log_weight in voters:
        log_total = logits[member].to(dtype).logsumexp(dim=-1)  # (B,)
        mixed = torch.logaddexp(mixed, logits[member, row, column].to(dtype) - log_total[row] + log_weight)
    return mixed
