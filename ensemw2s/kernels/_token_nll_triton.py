"""Scores of known tokens in Triton: a tile of the logits lives in registers and leaves four numbers per row."""

from __future__ import annotations

from typing import TYPE_CHECKING

import triton
import triton.language as tl

from ensemw2s.kernels._shapes import check_nll
from ensemw2s.kernels._triton_launch import INTERPRETED, blocks_of, place_of

if TYPE_CHECKING:
    import torch

__all__ = ["token_nll"]

ROWS, COLUMNS, WIDTH = 64, 128, 32  # of a tile, and of what is multiplied at a time


def token_nll(
    hidden: torch.Tensor,
    lm_head: torch.Tensor,
    targets: torch.Tensor,
    *,
    bias: torch.Tensor | None = None,
    scale: float = 1.0,
    softcap: float | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """See `KernelBackend.token_nll`."""
    import torch

    check_nll(hidden, lm_head, targets, bias, softcap)
    n_rows, width = hidden.shape
    n_columns = len(lm_head)
    n_blocks = blocks_of(n_columns, COLUMNS)
    highest = torch.empty((n_rows, n_blocks), dtype=torch.float32, device=hidden.device)
    total, best = torch.empty_like(highest), torch.empty_like(highest, dtype=torch.int64)
    chosen = torch.full((n_rows,), torch.nan, dtype=torch.float32, device=hidden.device)  # NaN: no such token
    if n_rows:
        with place_of(hidden):
            # Neighbours in the grid share a tile of the head, the larger of the two matrices.
            _score_tile[(blocks_of(n_rows, ROWS), n_blocks)](
                hidden.contiguous(), lm_head.contiguous(), None if bias is None else bias.contiguous(),
                targets.contiguous(), highest, total, best, chosen,
                n_rows, n_columns, width, n_blocks, float(scale), float(softcap or 0.0),
                HAS_BIAS=bias is not None, HAS_CAP=softcap is not None, WIDEN=INTERPRETED,
                ROWS=ROWS, COLUMNS=COLUMNS, WIDTH=WIDTH,
            )  # fmt: skip
    log_total = (highest + total.log()).logsumexp(dim=1)  # (N,)
    argmax = best.gather(1, highest.argmax(dim=1, keepdim=True))[:, 0]
    return log_total - chosen, argmax


@triton.jit
def _score_tile(
    hidden: tl.tensor,  # (N, H)
    lm_head: tl.tensor,  # (V, H)
    bias: tl.tensor,  # (V,), or None
    targets: tl.tensor,  # (N,)
    highest: tl.tensor,  # (N, S)
    total: tl.tensor,  # (N, S)
    best: tl.tensor,  # (N, S)
    chosen: tl.tensor,  # (N,)
    n_rows: tl.tensor,
    n_columns: tl.tensor,
    width: tl.tensor,
    n_blocks: tl.tensor,
    scale: tl.tensor,
    softcap: tl.tensor,
    HAS_BIAS: tl.constexpr,
    HAS_CAP: tl.constexpr,
    WIDEN: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    WIDTH: tl.constexpr,
) -> None:
    block = tl.program_id(1)
    row = (tl.program_id(0) * ROWS + tl.arange(0, ROWS)).to(tl.int64)  # (ROWS,)
    column = (block * COLUMNS + tl.arange(0, COLUMNS)).to(tl.int64)  # (COLUMNS,)
    is_row, is_column = row < n_rows, column < n_columns
    z = tl.zeros((ROWS, COLUMNS), tl.float32)
    for start in range(0, width, WIDTH):
        place = start + tl.arange(0, WIDTH)  # (WIDTH,)
        h = tl.load(
            hidden + row[:, None] * width + place[None, :], mask=is_row[:, None] & (place < width)[None, :], other=0.0
        )  # (ROWS, WIDTH)
        w = tl.load(
            lm_head + column[None, :] * width + place[:, None],
            mask=(place < width)[:, None] & is_column[None, :],
            other=0.0,
        )  # (WIDTH, COLUMNS)
        if WIDEN:  # the interpreter computes in NumPy, which has no bfloat16
            h, w = h.to(tl.float32), w.to(tl.float32)
        z = tl.dot(h, w, z, input_precision="ieee")  # not TF32, which keeps ten bits
    if HAS_BIAS:
        z += tl.load(bias + column, mask=is_column, other=0.0).to(tl.float32)[None, :]
    z *= scale
    if HAS_CAP:
        z = softcap * (1.0 - 2.0 / (tl.exp(2.0 * z / softcap) + 1.0))  # tanh, and right where exp overflows
    z = tl.where(is_column[None, :], z, -float("inf"))
    top = tl.max(z, axis=1)  # (ROWS,)
    shift = tl.where(top == -float("inf"), 0.0, top)
    place_of_row = row * n_blocks + block
    tl.store(highest + place_of_row, top, mask=is_row)
    tl.store(total + place_of_row, tl.sum(tl.exp(z - shift[:, None]), axis=1), mask=is_row)
    tl.store(best + place_of_row, block * COLUMNS + tl.argmax(z, axis=1), mask=is_row)
    is_target = column[None, :] == tl.load(targets + row, mask=is_row, other=-1)[:, None]  # (ROWS, COLUMNS)
    is_here = tl.max(is_target.to(tl.int32), axis=1) > 0
    tl.store(chosen + row, tl.sum(tl.where(is_target, z, 0.0), axis=1), mask=is_row & is_here)
