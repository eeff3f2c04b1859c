"""A draw from the mixture in Triton: only the member that was picked is read."""

from __future__ import annotations

from typing import TYPE_CHECKING

import triton
import triton.language as tl

from ensemw2s.kernels._column_totals_triton import COLUMNS, column_totals
from ensemw2s.kernels._mixture_sample import pick_member
from ensemw2s.kernels._shapes import check_mixture, check_uniform
from ensemw2s.kernels._triton_launch import place_of

if TYPE_CHECKING:
    import torch


def mixture_sample(logits: torch.Tensor, log_weights: torch.Tensor, uniform: torch.Tensor) -> torch.Tensor:
    """See `KernelBackend.mixture_sample`."""
    import torch

    check_mixture(logits, log_weights)
    check_uniform(uniform, logits.shape[1])
    n_members, n_rows, n_columns = logits.shape
    logits = logits.contiguous()
    member, uniform = pick_member(log_weights.to(logits.device), uniform.to(logits.device))  # (B,), (B,)
    places = member * n_rows + torch.arange(n_rows, device=logits.device)  # (B,)
    highest, total = column_totals(logits.view(n_members * n_rows, n_columns), places)  # (B, S)
    token = torch.empty_like(places)
    with place_of(logits):
        _invert[(n_rows,)](
            logits, places, highest, total, uniform.contiguous(), token, n_columns, highest.shape[1],
            BLOCKS=triton.next_power_of_2(highest.shape[1]), COLUMNS=COLUMNS,
        )  # fmt: skip
    return token


@triton.jit
def _step_at(mass: tl.tensor, index: tl.tensor, uniform: tl.tensor, SIZE: tl.constexpr) -> tuple[tl.tensor, tl.tensor]:
    """Step of the CDF of `mass`, (SIZE,), in which a uniform number falls, and how far into the step it fell."""
    cdf = tl.cumsum(mass, axis=0)
    target = uniform * tl.sum(mass, axis=0)
    # Rounding may put the target behind the last step: then the last that has a width is meant.
    behind = tl.min(tl.where((cdf > target) & (mass > 0), index, SIZE), axis=0)
    last = tl.max(tl.where(mass > 0, index, 0), axis=0)
    chosen = tl.minimum(behind, last)
    width = tl.sum(tl.where(index == chosen, mass, 0.0), axis=0)
    end = tl.sum(tl.where(index == chosen, cdf, 0.0), axis=0)
    inside = (target - (end - width)) / width
    return chosen, tl.minimum(tl.maximum(inside, 0.0), 1.0)


@triton.jit
def _invert(
    logits: tl.tensor,  # (T * B, V)
    places: tl.tensor,  # (B,)
    highest: tl.tensor,  # (B, S)
    total: tl.tensor,  # (B, S)
    uniform: tl.tensor,  # (B,)
    token: tl.tensor,  # (B,)
    n_columns: tl.tensor,
    n_blocks: tl.tensor,
    BLOCKS: tl.constexpr,
    COLUMNS: tl.constexpr,
) -> None:
    # One program a row: first the block of columns, from the totals of the first pass, then a token in that block.
    row = tl.program_id(0)
    block = tl.arange(0, BLOCKS)  # (BLOCKS,)
    top = tl.load(highest + row * n_blocks + block, mask=block < n_blocks, other=-float("inf"))
    part = tl.load(total + row * n_blocks + block, mask=block < n_blocks, other=0.0)
    # float64 between blocks: few numbers, and what is left of the uniform number has to last for one more step.
    mass = (part * tl.exp(top - tl.max(top, axis=0))).to(tl.float64)
    chosen, rest = _step_at(mass, block, tl.load(uniform + row), BLOCKS)

    offset = tl.arange(0, COLUMNS)  # (COLUMNS,)
    column = chosen * COLUMNS + offset
    start = logits + tl.load(places + row) * n_columns
    z = tl.load(start + column, mask=column < n_columns, other=-float("inf")).to(tl.float32)
    within, _ = _step_at(tl.exp(z - tl.max(z, axis=0)).to(tl.float64), offset, rest, COLUMNS)
    tl.store(token + row, (chosen * COLUMNS + within).to(tl.int64))
