"""The feed-forward part of a model's last block, which only positions that go through the head have a use for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import nn

from ensemw2s.learners._few_rows import replaced_forwards

__all__ = ["last_feed_forward_at"]

_LAST_BLOCK: WeakKeyDictionary[nn.Module, nn.Module | None] = WeakKeyDictionary()
_POSITION_WISE: WeakKeyDictionary[nn.Module, bool] = WeakKeyDictionary()


@contextmanager
def last_feed_forward_at(model: Any, cells: torch.Tensor, n_last: int) -> Iterator[None]:
    """Leave out of the last feed-forward layer, within this context, what does not reach the head.

    No position looks at another any more there, and the norm and the head that follow act on each alone. With 4 answer
    tokens behind a prompt of 64 this is most of a layer: 2 % of a model of 30 blocks, 6 % of one of 12.

    Parameters
    ----------
    model : transformers.PreTrainedModel or peft.PeftModel
        Left as it is where its blocks have no part ``mlp`` that takes each position for itself, which is tried once.
    cells : torch.Tensor of int, shape (C,)
        Numbers ``row * n_last + position`` of those that reach the head.
    n_last : int
        Positions of each row that they count.
    """
    layer = _last_feed_forward(model)
    with replaced_forwards([] if layer is None else [(layer, _at_cells(layer, cells, n_last))]):
        yield


def _last_feed_forward(model: Any) -> nn.Module | None:
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    if base not in _LAST_BLOCK:
        n_blocks = getattr(base.config.get_text_config(), "num_hidden_layers", None)
        stacks = [module for module in base.modules() if isinstance(module, nn.ModuleList) and len(module) == n_blocks]
        _LAST_BLOCK[base] = stacks[0][-1] if len(stacks) == 1 else None
    block = _LAST_BLOCK[base]
    layer = getattr(block, "mlp", None)
    # A block that is run once more for its gradients would then be run outside of the context.
    if not isinstance(layer, nn.Module) or getattr(block, "gradient_checkpointing", False):
        return None
    # Someone else's function (accelerate's, for a part on another device) stays in place.
    return None if "forward" in vars(layer) else layer


def _at_cells(layer: nn.Module, cells: torch.Tensor, n_last: int) -> Any:
    whole = layer.forward

    def forward(*inputs: Any, **kwargs: Any) -> Any:
        x = inputs[0] if len(inputs) == 1 and not kwargs else None
        if x is None or x.ndim != 3 or x.shape[1] < 2 or not _is_position_wise(layer, x):
            return whole(*inputs, **kwargs)
        rows = x.flatten(0, 1)  # (B * L, H)
        if 2 * len(cells) > len(rows):
            return whole(x)
        places = cells.to(x.device)
        places = places // n_last * x.shape[1] + x.shape[1] - n_last + places % n_last
        y = whole(rows.index_select(0, places)[None])[0]  # (C, H)
        return y.new_zeros(rows.shape).index_copy(0, places, y).view_as(x)

    return forward


def _is_position_wise(layer: nn.Module, x: torch.Tensor) -> bool:
    """Whether the second of two positions comes out as it does alone."""
    if layer not in _POSITION_WISE:
        modes = {module: module.training for module in layer.modules()}
        pair = x.detach()[:1, -2:]
        try:
            layer.eval()
            with torch.no_grad():
                both, alone = (type(layer).forward(layer, part) for part in (pair, pair[:, 1:]))
        finally:
            for module, mode in modes.items():
                module.training = mode
        same_kind = isinstance(both, torch.Tensor) and both.shape == pair.shape
        tolerance = 1e-3 if x.dtype in (torch.float32, torch.float64) else 0.05
        _POSITION_WISE[layer] = same_kind and bool((both[:, 1:] - alone).abs().max() <= tolerance * alone.abs().max())
    return _POSITION_WISE[layer]
