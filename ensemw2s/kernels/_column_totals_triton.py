"""First pass over the vocabulary: greatest logit and sum of exponentials of each block of columns."""

from __future__ import annotations

from typing import TYPE_CHECKING

import triton
import triton.language as tl

from ensemw2s.kernels._triton_launch import blocks_of, place_of

if TYPE_CHECKING:
    import torch

COLUMNS = 4096  # in a block: many more blocks than rows, so that a few rows fill the device


def column_totals(logits: torch.Tensor, places: torch.Tensor | None = None) -> tuple[torch.Tensor, torch.Tensor]:
    """Greatest value and sum of exponentials below it, for each block of `COLUMNS` columns.

    Parameters
    ----------
    logits : torch.Tensor of shape (R, V), contiguous
        Rows.
    places : torch.Tensor of shape (P,), int64, optional
        Rows to look at; all of them if None.

    Returns
    -------
    highest, total : torch.Tensor of shape (P or R, S), float32
        ``total`` is the sum of exp(z - highest); -inf and 0 for a block without a finite logit.
    """
    import torch

    n_rows, n_columns = logits.shape
    n_blocks = blocks_of(n_columns, COLUMNS)
    n_places = n_rows if places is None else len(places)
    highest = torch.empty((n_places, n_blocks), dtype=torch.float32, device=logits.device)
    total = torch.empty_like(highest)
    with place_of(logits):
        _column_totals[(n_places, n_blocks)](
            logits, places, highest, total, n_columns, n_blocks, BY_PLACE=places is not None, COLUMNS=COLUMNS
        )
    return highest, total


@triton.jit
def _column_totals(
    logits: tl.tensor,  # (R, V)
    places: tl.tensor,  # (P,), or None
    highest: tl.tensor,  # (P, S)
    total: tl.tensor,  # (P, S)
    n_columns: tl.tensor,
    n_blocks: tl.tensor,
    BY_PLACE: tl.constexpr,
    COLUMNS: tl.constexpr,
) -> None:
    place, block = tl.program_id(0), tl.program_id(1)
    row = tl.load(places + place) if BY_PLACE else place
    column = block * COLUMNS + tl.arange(0, COLUMNS)  # (COLUMNS,)
    start = logits + row.to(tl.int64) * n_columns  # int64: T * B * V passes 2**31
    z = tl.load(start + column, mask=column < n_columns, other=-float("inf")).to(tl.float32)
    top = tl.max(z, axis=0)
    shift = tl.where(top == -float("inf"), 0.0, top)  # -inf minus -inf is no number
    tl.store(highest + place * n_blocks + block, top)
    tl.store(total + place * n_blocks + block, tl.sum(tl.exp(z - shift), axis=0))
