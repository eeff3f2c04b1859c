"""What goes through a model's head over the vocabulary, and how."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

__all__ = ["only_cells", "read_head_once"]


def read_head_once(model: Any) -> None:
    """Have the head take all rows of a batch as one matrix.

    ``logits_to_keep`` hands a slice of the hidden states over, which torch multiplies row by row of the batch, reading
    the head each time: with 16 rows of 4 positions that is a sixth of a training step at 134 million parameters.

    Parameters
    ----------
    model : transformers.PreTrainedModel
        Left as it is where it has no such head.
    """
    head = model.get_output_embeddings()
    if head is not None:
        head.register_forward_pre_hook(_as_one_matrix)


@contextmanager
def only_cells(model: Any, cells: torch.Tensor | None) -> Iterator[None]:
    """Let only some of the positions that reach a model's head through it.

    What acts on logits behind the head (soft-capping, a scale) acts on each of them alone, and so is not disturbed.

    Parameters
    ----------
    model : transformers.PreTrainedModel
        Its logits get the shape (1, C, V) within this context.
    cells : torch.Tensor of int, shape (C,), or None
        Numbers ``row * n_positions + position``; None lets all through, and logits keep their shape.
    """
    if cells is None:
        yield
        return

    def gather(_: Any, inputs: tuple[torch.Tensor]) -> tuple[torch.Tensor]:
        (hidden,) = inputs  # (B, n_positions, H)
        return (hidden.flatten(0, 1)[cells.to(hidden.device)][None],)

    hook = model.get_output_embeddings().register_forward_pre_hook(gather)
    try:
        yield
    finally:
        hook.remove()


def _as_one_matrix(_: Any, inputs: tuple[torch.Tensor]) -> tuple[torch.Tensor]:
    (hidden,) = inputs
    return (hidden.contiguous(),)
