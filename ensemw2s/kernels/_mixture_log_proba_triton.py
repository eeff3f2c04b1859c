"""Mixture log-probabilities in Triton: one pass for the members' normalisers, one that mixes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import triton
import triton.language as tl

from ensemw2s.kernels._column_totals_triton import column_totals
from ensemw2s.kernels._shapes import check_mixture
from ensemw2s.kernels._triton_launch import blocks_of, place_of

if TYPE_CHECKING:
    import torch

COLUMNS = 1024  # in a block


def mixture_log_proba(logits: torch.Tensor, log_weights: torch.Tensor) -> torch.Tensor:
    """See `KernelBackend.mixture_log_proba`."""
    import torch

    check_mixture(logits, log_weights)
    n_members, n_rows, n_columns = logits.shape
    logits = logits.contiguous()
    highest, total = column_totals(logits.view(n_members * n_rows, n_columns))  # (T * B, S)
    mixed = torch.empty((n_rows, n_columns), dtype=torch.float32, device=logits.device)
    with place_of(logits):
        _mix[(n_rows, blocks_of(n_columns, COLUMNS))](
            logits, highest, total, log_weights.to(logits.device, torch.float32).contiguous(), mixed,
            n_members, n_rows, n_columns, highest.shape[1],
            BLOCKS=triton.next_power_of_2(highest.shape[1]), COLUMNS=COLUMNS,
        )  # fmt: skip
    return mixed


@triton.jit
def _mix(
    logits: tl.tensor,  # (T, B, V)
    highest: tl.tensor,  # (T, B, S)
    total: tl.tensor,  # (T, B, S)
    log_weights: tl.tensor,  # (T,)
    mixed: tl.tensor,  # (B, V)
    n_members: tl.tensor,
    n_rows: tl.tensor,
    n_columns: tl.tensor,
    n_blocks: tl.tensor,
    BLOCKS: tl.constexpr,
    COLUMNS: tl.constexpr,
) -> None:
    row = tl.program_id(0).to(tl.int64)
    column = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)  # (COLUMNS,)
    block = tl.arange(0, BLOCKS)  # (BLOCKS,)
    best = tl.full((COLUMNS,), -float("inf"), tl.float32)
    mass = tl.zeros((COLUMNS,), tl.float32)  # of exp(value - best) so far
    for member in range(n_members):
        log_weight = tl.load(log_weights + member)
        if log_weight > -float("inf"):  # what has no vote may hold anything
            line = member * n_rows + row
            top = tl.load(highest + line * n_blocks + block, mask=block < n_blocks, other=-float("inf"))
            part = tl.load(total + line * n_blocks + block, mask=block < n_blocks, other=0.0)
            # The normaliser of the whole row from those of its blocks, each relative to its own greatest logit.
            shift = tl.max(top, axis=0)
            log_total = shift + tl.log(tl.sum(part * tl.exp(top - shift), axis=0))
            z = tl.load(logits + line * n_columns + column, mask=column < n_columns, other=-float("inf"))
            value = z.to(tl.float32) - log_total + log_weight
            # A running sum of exponentials: when a greater value comes, what was summed is scaled to it.
            higher = tl.maximum(best, value)
            safe = tl.where(higher == -float("inf"), 0.0, higher)
            mass = mass * tl.exp(best - safe) + tl.exp(value - safe)
            best = higher
    tl.store(mixed + row * n_columns + column, best + tl.log(mass), mask=column < n_columns)
