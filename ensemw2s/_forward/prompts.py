"""Prompts read once by the bare base model, for all adapters that act behind them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from peft import PeftModel
from transformers import DynamicCache, PreTrainedModel
from transformers.cache_utils import CacheLayerMixin, DynamicLayer

from ensemw2s._forward.prompt_cache import PromptCache, PromptState
from ensemw2s._forward.ways_to_read import read_batch, way_to_read
from ensemw2s.tokens import pad_left, positions_of

# (layer, 0 for keys or 1 for values) of each slot of each tensor of a PromptState.
_Layout = tuple[tuple[tuple[int, int], ...], ...]


@dataclass(frozen=True, eq=False)
class PromptBatch:
    """Keys and values of B prompts, padded on the left to P tokens.

    Attributes
    ----------
    mask : torch.Tensor of shape (B, P), int64
        0 at padding.
    lengths : torch.Tensor of shape (B,), int64
        Tokens of each prompt.
    """

    mask: torch.Tensor
    lengths: torch.Tensor
    _states: PromptState  # (n, B, H, P, D)
    _layout: _Layout

    def cache(self) -> DynamicCache:
        """A new cache that starts with these prompts; what is read behind them does not change them."""
        cache = DynamicCache()
        pairs: dict[int, list[torch.Tensor | None]] = {}
        for state, slots in zip(self._states, self._layout, strict=True):
            for place, (layer, part) in enumerate(slots):
                pairs.setdefault(layer, [None, None])[part] = state[place]
        for layer in range(len(pairs)):
            entry = DynamicLayer()
            entry.lazy_initialization(*pairs[layer])
            # Not through `update`, which would copy them.
            entry.keys, entry.values = pairs[layer]
            cache.layers.append(entry)
        return cache


class PromptReader:
    """Reads prompts with a base model, or remembers what it made of them.

    What is kept depends on the prompt's tokens alone: on a CPU, each is read by itself, so that it is the same to the
    last bit whatever was read before or beside it. An accelerator reads those that are missing in one batch. A batch
    that will not be asked for again is read as one, and depends on nothing else either.

    Sliding windows are left to the attention mask: the cache keeps whole prompts for every layer.
    """

    def __init__(self) -> None:
        self._cache = PromptCache()
        self._layout: _Layout = ()
        self._last: tuple[tuple[tuple[bytes, ...], int, bool], PromptBatch] | None = None
        self._is_checked = False

    def __len__(self) -> int:
        """Prompts that are kept."""
        return len(self._cache)

    def clear(self) -> None:
        """Forget all prompts."""
        self._cache.clear()
        self._last = None

    def read(
        self, model: PeftModel, prompts: Sequence[np.ndarray], *, width: int | None = None, keep: bool
    ) -> PromptBatch:
        """Keys and values of some prompts.

        Parameters
        ----------
        model : peft.PeftModel
            Its adapter is switched off meanwhile.
        prompts : sequence of B ndarrays of int
            Their tokens.
        width : int, optional
            Length to pad to; that of the longest if None.
        keep : bool
            Whether they will be asked for again, in another batch, and may have been before.

        Returns
        -------
        PromptBatch
            On the model's device.
        """
        self.check(model)
        keys = tuple(np.ascontiguousarray(prompt, dtype=np.int64).tobytes() for prompt in prompts)
        width = max(len(prompt) for prompt in prompts) if width is None else width
        # The members of an ensemble ask for the same batch one after the other.
        if self._last is None or self._last[0] != (keys, width, keep):
            known = self._cache.find(keys) if keep else dict.fromkeys(keys)
            missing = {key: prompt for key, prompt in zip(keys, prompts, strict=True) if known[key] is None}
            missing = {key: prompt for key, prompt in missing.items() if len(prompt)}
            if missing:
                together = 1 if keep and model.device.type == "cpu" else len(missing)
                states = dict(zip(missing, self._read(model, list(missing.values()), together), strict=True))
                known.update(states)
                if keep:
                    self._cache.add(states)
            batch = self._join([known[key] for key in keys], prompts, width, model.device)
            self._last = ((keys, width, keep), batch)
        return self._last[1]

    def check(self, model: PeftModel) -> None:
        """Refuse a model that cannot go on from the keys and values of a prompt.

        Raises
        ------
        ValueError
            Names the model's class.
        """
        if self._is_checked:
            return
        way = way_to_read(model)
        if way.alone or not way.cached:
            raise ValueError(_refusal(model.get_base_model()))
        ids = torch.arange(3, device=model.device)[None]
        with _bare_base(model) as base:
            whole = base(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False).logits[:, -1]
            cache = DynamicCache()
            try:
                base(
                    input_ids=ids[:, :2],
                    attention_mask=torch.ones_like(ids[:, :2]),
                    past_key_values=cache,
                    use_cache=True,
                )
                goes_on = cache.get_seq_length() == 2 and all(_is_plain(layer, 2) for layer in cache.layers)
                parted = base(
                    input_ids=ids[:, 2:], attention_mask=torch.ones_like(ids), position_ids=ids[:, 2:],
                    past_key_values=cache, use_cache=True,
                ).logits[:, -1]  # fmt: skip
            except (TypeError, ValueError, AttributeError, IndexError) as error:
                raise ValueError(_refusal(base)) from error
        # bfloat16 rounds differently in another shape, by a few per cent of the logits' spread.
        if not goes_on or not (parted - whole).abs().max() <= 0.05 * whole.std() + 1e-6:
            raise ValueError(_refusal(base))
        self._is_checked = True

    def _read(self, model: PeftModel, prompts: list[np.ndarray], together: int) -> Iterator[PromptState]:
        with _bare_base(model) as base:
            for start in range(0, len(prompts), together):
                part = prompts[start : start + together]
                ids, mask = map(torch.from_numpy, pad_left(part, 0))  # (k, P)
                cache = DynamicCache()
                read_batch(base, ids, mask, positions_of(mask), past_key_values=cache, n_last=1, use_cache=True)
                self._layout = _layout(cache)
                for row, prompt in enumerate(part):
                    yield tuple(
                        torch.stack([_part(cache, *slot)[row, :, -len(prompt) :] for slot in slots])
                        for slots in self._layout
                    )

    def _join(
        self, states: list[PromptState | None], prompts: Sequence[np.ndarray], width: int, device: torch.device
    ) -> PromptBatch:
        lengths = torch.tensor([len(prompt) for prompt in prompts])
        mask = (torch.arange(width)[None] >= width - lengths[:, None]).long()  # (B, P)
        layout = self._layout if any(len(prompt) for prompt in prompts) else ()
        joined: list[torch.Tensor] = []
        with torch.inference_mode(mode=False):  # what was read while scoring can be trained behind later
            for place in range(len(layout)):
                first = next(state[place] for state in states if state is not None)
                n_slots, n_heads, _, size = first.shape
                tensor = torch.zeros((n_slots, len(states), n_heads, width, size), dtype=first.dtype, device=device)
                for row, state in enumerate(states):
                    if state is not None:  # None: nothing stands before the cue
                        tensor[:, row, :, width - len(prompts[row]) :] = state[place]
                joined.append(tensor)
        return PromptBatch(mask.to(device), lengths.to(device), tuple(joined), layout)


@contextmanager
def _bare_base(model: PeftModel) -> Iterator[PreTrainedModel]:
    """Lend the model inside a PEFT model, without adapter, dropout, gradients, or an autocast of the training."""
    was_training = model.training
    base = model.get_base_model()
    model.eval()
    try:
        with torch.no_grad(), torch.autocast(model.device.type, enabled=False), model.disable_adapter():
            yield base
    finally:
        model.train(was_training)


def _layout(cache: DynamicCache) -> _Layout:
    slots: dict[tuple[torch.Size, torch.dtype], list[tuple[int, int]]] = {}
    for layer in range(len(cache.layers)):
        for part in (0, 1):
            tensor = _part(cache, layer, part)
            slots.setdefault((tensor.shape, tensor.dtype), []).append((layer, part))
    return tuple(tuple(places) for places in slots.values())


def _part(cache: DynamicCache, layer: int, part: int) -> torch.Tensor:
    entry = cache.layers[layer]
    return entry.values if part else entry.keys


def _is_plain(layer: CacheLayerMixin, length: int) -> bool:
    return type(layer) is DynamicLayer and layer.keys.ndim == layer.values.ndim == 4 and layer.keys.shape[2] == length


def _refusal(base: PreTrainedModel) -> str:
    return (
        f"adapt must be 'all' for {type(base).__name__}, which keeps no keys and values of a padded prompt that it "
        f"could go on from. Got 'answer' instead."
    )
