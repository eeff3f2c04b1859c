"""The feed-forward part of a model's last block, which only positions that go through the head have a use for."""

from __future__ import annotations

import torch
from torch import nn
from transformers import PreTrainedModel

from ensemw2s._forward.replaced_forwards import Forward
from ensemw2s._forward.ways_to_read import bare_model

# Their feed-forward parts take each position for itself, and nothing behind the last of them looks at two. That is not
# so everywhere: experts, for one, may have their routers' scores collected over all positions.
_MODEL_TYPES = {"gemma2", "gemma3_text", "gpt2", "gpt_neox", "llama", "mistral", "qwen2", "qwen3"}


def last_feed_forward_at(model: PreTrainedModel, cells: torch.Tensor, n_last: int) -> list[tuple[nn.Module, Forward]]:
    """The last feed-forward layer, and a function in its place that leaves out what does not reach the head.

    With 4 answer tokens behind a prompt of 64 this is most of a layer: 2 % of a model of 30 blocks, 6 % of one of 12.

    Parameters
    ----------
    model : transformers.PreTrainedModel or peft.PeftModel
        Of transformers' own classes for some dense decoders; there is nothing to replace in others.
    cells : torch.Tensor of int, shape (C,)
        Different numbers ``row * n_last + position`` of those that reach the head.
    n_last : int
        Positions of each row that they count.

    Returns
    -------
    list of (torch.nn.Module, callable)
        One pair or none, for `replaced_forwards`.
    """
    layer = _last_feed_forward(model)
    return [] if layer is None else [(layer, _at_cells(layer, cells, n_last))]


def _last_feed_forward(model: PreTrainedModel) -> nn.Module | None:
    base = bare_model(model)
    if base.config.model_type not in _MODEL_TYPES:
        return None
    blocks = getattr(base.base_model, "h" if base.config.model_type == "gpt2" else "layers", [])
    layers = [getattr(block, "mlp", None) for block in blocks]
    if not layers or not all(map(_is_of_transformers, (base, blocks[-1], layers[-1]))):
        return None
    # A layer that stands in two blocks, or is run once more for its gradients, when its own forward is back, needs all.
    if sum(layer is layers[-1] for layer in layers) > 1 or blocks[-1].gradient_checkpointing:
        return None
    # Someone else's function (accelerate's, for a part on another device) stays in place.
    return None if "forward" in vars(layers[-1]) else layers[-1]


def _is_of_transformers(module: nn.Module) -> bool:
    # Wrapped and sharded modules have classes of their own.
    return type(module).__module__.startswith("transformers.models.")


def _at_cells(layer: nn.Module, cells: torch.Tensor, n_last: int) -> Forward:
    whole: Forward = layer.forward

    def forward(x: torch.Tensor) -> torch.Tensor:
        rows = x.flatten(0, 1)  # (B * L, H)
        if 2 * len(cells) > len(rows):
            return whole(x)
        places = cells.to(x.device)
        places = places // n_last * x.shape[1] + x.shape[1] - n_last + places % n_last
        y = whole(rows.index_select(0, places)[None])[0]  # (C, H)
        return y.new_zeros(rows.shape).index_copy(0, places, y).view_as(x)

    return forward
