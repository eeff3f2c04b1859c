"""Questions in one forward pass whose products are each question's own, so that every bit is what it is alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.nn import functional
from torch.overrides import TorchFunctionMode

# A product with a matrix of weights that has just been used finds it in the cache: eight questions of 28 tokens take a
# fifth less time than one after the other. Behind so many tokens there is nothing left to gain.
MOST_TOKENS = 512
# torch computes so many numbers at once, and those left over at the end of a tensor by another function, which may
# round otherwise. With hidden sizes that are multiples of it, nothing is left over wherever a question begins.
_AT_ONCE = 32


def rounds_by_token(model: Any) -> bool:
    """Whether all but the products of a model rounds a token's numbers alike, whatever is beside it.

    Parameters
    ----------
    model : transformers.PreTrainedModel
        Of linear layers, attention by torch's own function, and what acts on each token alone.
    """
    config = model.config.get_text_config()
    sizes = [config.hidden_size, config.intermediate_size, getattr(config, "head_dim", None) or _AT_ONCE]
    # Threads share a tensor out at any of its places.
    return (
        model.device.type == "cpu"
        and torch.get_num_threads() == 1
        and model.dtype == torch.float32
        and config._attn_implementation == "sdpa"
        and not any(size % _AT_ONCE for size in sizes)
    )


class SideBySide(TorchFunctionMode):
    """Within this context, linear layers and attention take a row of several questions apart, one after the other.

    Products of matrices are the only operations of a decoder whose rounding depends on the rows beside. Everything else
    acts on each token alone.

    Parameters
    ----------
    lengths : sequence of int
        Tokens of each question in the row.
    masks : sequence of torch.Tensor of shape (1, 1, L, L)
        Each question's, to be added to its attention.
    """

    def __init__(self, lengths: Sequence[int], masks: Sequence[torch.Tensor]) -> None:
        super().__init__()
        self.lengths, self.masks = list(lengths), list(masks)

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Called by torch in place of `func`."""
        if func is functional.linear:
            parts = args[0].split(self.lengths, dim=1)
            return torch.cat([func(part, *args[1:], **(kwargs or {})) for part in parts], dim=1)
        if func is functional.scaled_dot_product_attention:
            several = zip(*(tensor.split(self.lengths, dim=2) for tensor in args[:3]), self.masks, strict=True)
            parts = [func(q, k, v, **{**(kwargs or {}), "attn_mask": mask}) for q, k, v, mask in several]
            return torch.cat(parts, dim=2)
        return func(*args, **(kwargs or {}))
