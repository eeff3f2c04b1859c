"""What goes through a model's head over the vocabulary, and how."""

from __future__ import annotations

import os
from threading import get_ident
from typing import Any

import torch
from transformers import PreTrainedModel

from ensemw2s._forward.few_rows import is_plain, linear_forward
from ensemw2s._forward.last_block import last_feed_forward_at
from ensemw2s._forward.replaced_forwards import replaced_forwards


def read_head_once(model: PreTrainedModel) -> None:
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


def logits_at(model: PreTrainedModel, cells: torch.Tensor, n_last: int, **inputs: Any) -> torch.Tensor:
    """Run a model, and let only some of its last positions through the head, and the last feed-forward layer before it.

    What acts on logits behind the head (soft-capping, a scale) acts on each of them alone, and so is not disturbed.

    Parameters
    ----------
    model : torch.nn.Module
        A `transformers.PreTrainedModel`, plain or wrapped.
    cells : torch.Tensor of int, shape (C,)
        Different numbers ``row * n_last + position`` among the last `n_last` positions.
    n_last : int
        Positions that are looked at.
    **inputs
        Of the model.

    Returns
    -------
    torch.Tensor of shape (C, V)
    """

    def pick(values: torch.Tensor) -> torch.Tensor:  # (B, >= n_last, ...) -> (C, ...)
        return values[:, -n_last:].flatten(0, 1).index_select(0, cells.to(values.device))

    # A model whose rows are spread over devices cannot be told which of them to take.
    head = model.get_output_embeddings() if hasattr(model, "get_output_embeddings") else None
    if head is None:
        return pick(model(**inputs, logits_to_keep=n_last).logits)
    forwards = last_feed_forward_at(model, cells, n_last)
    if is_plain(head) and not torch.is_grad_enabled():
        forwards.append((head, linear_forward(head)))
    owner = (os.getpid(), get_ident())  # who else runs this model, past `lend_model`, has all positions
    hook = head.register_forward_pre_hook(
        lambda _, hidden: (pick(hidden[0])[None],) if (os.getpid(), get_ident()) == owner else None
    )
    try:
        with replaced_forwards(forwards):
            logits: torch.Tensor = model(**inputs, logits_to_keep=n_last).logits
    finally:
        hook.remove()
    return logits[0]


def _as_one_matrix(_: Any, inputs: tuple[torch.Tensor]) -> tuple[torch.Tensor]:
    (hidden,) = inputs
    return (hidden.contiguous(),)
