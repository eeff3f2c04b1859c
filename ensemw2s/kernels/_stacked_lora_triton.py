"""Low-rank updates of several members in Triton: one launch, and the narrow product stays in registers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import triton
import triton.language as tl

from ensemw2s.kernels._shapes import check_lora
from ensemw2s.kernels._triton_launch import INTERPRETED, blocks_of, place_of

if TYPE_CHECKING:
    import torch

N_LANES = 16  # `tl.dot` multiplies nothing narrower
ROWS, COLUMNS, WIDTH = 16, 128, 64  # of a tile of the output, and of what is multiplied at a time


def stacked_lora(x: torch.Tensor, a: torch.Tensor, b: torch.Tensor, scaling: float | torch.Tensor) -> torch.Tensor:
    """See `KernelBackend.stacked_lora`."""
    import torch

    check_lora(x, a, b)
    n_members, n_rows, width = x.shape
    _, n_columns, rank = b.shape
    scales = torch.as_tensor(scaling, dtype=torch.float32, device=x.device).expand(n_members).contiguous()
    update = torch.empty((n_members, n_rows, n_columns), dtype=x.dtype, device=x.device)
    if update.numel():
        with place_of(x):
            _update_tile[(blocks_of(n_columns, COLUMNS), blocks_of(n_rows, ROWS), n_members)](
                x.contiguous(), a.contiguous(), b.contiguous(), scales, update, n_rows, width, n_columns, rank,
                WIDEN=INTERPRETED, ROWS=ROWS, COLUMNS=COLUMNS, WIDTH=WIDTH,
                RANK=max(N_LANES, triton.next_power_of_2(rank)),
            )  # fmt: skip
    return update


@triton.jit
def _update_tile(
    x: tl.tensor,  # (T, R, in)
    a: tl.tensor,  # (T, r, in)
    b: tl.tensor,  # (T, out, r)
    scales: tl.tensor,  # (T,)
    update: tl.tensor,  # (T, R, out)
    n_rows: tl.tensor,
    width: tl.tensor,
    n_columns: tl.tensor,
    rank: tl.tensor,
    WIDEN: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    WIDTH: tl.constexpr,
    RANK: tl.constexpr,
) -> None:
    member = tl.program_id(2).to(tl.int64)
    row = tl.program_id(1) * ROWS + tl.arange(0, ROWS)  # (ROWS,)
    column = tl.program_id(0) * COLUMNS + tl.arange(0, COLUMNS)  # (COLUMNS,)
    narrow_column = tl.arange(0, RANK)  # (RANK,)
    is_row, is_column, is_rank = row < n_rows, column < n_columns, narrow_column < rank
    # Computed anew for each block of columns: x and a come from the cache, and a second launch would cost more.
    narrow = tl.zeros((ROWS, RANK), tl.float32)
    for start in range(0, width, WIDTH):
        place = start + tl.arange(0, WIDTH)  # (WIDTH,)
        part = tl.load(
            x + (member * n_rows + row[:, None]) * width + place[None, :],
            mask=is_row[:, None] & (place < width)[None, :],
            other=0.0,
        )  # (ROWS, WIDTH)
        down = tl.load(
            a + (member * rank + narrow_column[None, :]) * width + place[:, None],
            mask=(place < width)[:, None] & is_rank[None, :],
            other=0.0,
        )  # (WIDTH, RANK)
        if WIDEN:  # the interpreter computes in NumPy, which has no bfloat16
            part, down = part.to(tl.float32), down.to(tl.float32)
        narrow = tl.dot(part, down, narrow, input_precision="ieee")
    narrow *= tl.load(scales + member)
    up = tl.load(
        b + (member * n_columns + column[None, :]) * rank + narrow_column[:, None],
        mask=is_rank[:, None] & is_column[None, :],
        other=0.0,
    )  # (RANK, COLUMNS)
    wide = tl.dot(narrow, up.to(tl.float32), input_precision="ieee")  # (ROWS, COLUMNS)
    tl.store(
        update + (member * n_rows + row[:, None]) * n_columns + column[None, :],
        wide.to(update.dtype.element_ty),
        mask=is_row[:, None] & is_column[None, :],
    )
