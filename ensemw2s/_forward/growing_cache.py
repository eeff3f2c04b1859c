"""A key-value cache with room for the next tokens, so that a step copies one token and not all of them."""

from __future__ import annotations

from typing import Any

import torch
from transformers.cache_utils import Cache, DynamicLayer

_N_TOKENS = 64  # room that is made at a time, or an eighth of what is kept if that is more


def leave_room(cache: Cache) -> Cache:
    """Let a cache grow in place.

    Parameters
    ----------
    cache : transformers.Cache
        Its layers that append by concatenation are replaced; those with a sliding window, or of another kind, stay.

    Returns
    -------
    transformers.Cache
        The same object.
    """
    layers = cache.layers if isinstance(cache, Cache) else []  # others keep a state, not layers
    for place, layer in enumerate(layers):
        if type(layer) is DynamicLayer:
            layers[place] = GrowingLayer.of(layer)
    return cache


class GrowingLayer(DynamicLayer):
    """Keys and values as the beginning of larger tensors."""

    keys: torch.Tensor
    values: torch.Tensor

    @classmethod
    def of(cls, layer: DynamicLayer) -> GrowingLayer:
        """A layer with the content of another."""
        growing = cls()
        growing.__dict__.update(layer.__dict__)
        return growing

    def __init__(self) -> None:
        super().__init__()
        self._room_for_keys, self._room_for_values = _Room(), _Room()

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Append keys and values of shape (B, n_heads, L, head_dim), and return all."""
        if self.get_seq_length() == 0:
            return super().update(key_states, value_states, *args, **kwargs)
        self.keys = self._room_for_keys.append(self.keys, key_states)
        self.values = self._room_for_values.append(self.values, value_states)
        return self.keys, self.values


class _Room:
    """A tensor of which the beginning is in use."""

    def __init__(self) -> None:
        self._whole: torch.Tensor | None = None
        self._used: torch.Tensor | None = None

    def append(self, kept: torch.Tensor, new: torch.Tensor) -> torch.Tensor:
        n_rows, n_heads, n_kept, width = kept.shape
        n_all, whole = n_kept + new.shape[-2], self._whole
        # Whoever reorders rows puts another tensor in the place of what was returned; who crops, a part of it.
        is_beginning = whole is not None and kept.data_ptr() == whole.data_ptr() and len(kept) == len(whole)
        if whole is None or not is_beginning or n_all > whole.shape[-2]:
            whole = kept.new_empty((n_rows, n_heads, n_all + max(_N_TOKENS, n_all // 8), width))
            whole[:, :, :n_kept] = kept
            self._whole = whole
        whole[:, :, n_kept:n_all] = new
        return whole[:, :, :n_all]
