"""Members whose adapters act from the answer cue on, as one batch behind prompts that are read once for all of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch

from ensemw2s._adapters.host import AdapterHost
from ensemw2s._adapters.stacked import StackedAdapters, StackedCache
from ensemw2s._forward.activated import Cue, CuedPrefixCache, cut_alike
from ensemw2s.contracts import Cached, PrefixCache
from ensemw2s.tokens import positions_of


class ActivatedMember(Cached, Protocol):
    """A learner whose adapter acts from a cue on."""

    @property
    def _cue(self) -> Cue: ...


class ActivatedStack:
    """Activated adapters of G members of one host.

    A prompt is read once, in B rows, and its keys and values are handed to G*B rows, which go on from the cue.

    Parameters
    ----------
    stack : StackedAdapters
        Of the members.
    host : AdapterHost
        Of the members' base.
    members : sequence of HFCausalLM
        With one cue.
    """

    def __init__(self, stack: StackedAdapters, host: AdapterHost, members: Sequence[ActivatedMember]) -> None:
        self._stack, self._host, self._members = stack, host, members

    @torch.inference_mode()
    def step(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        position_ids: torch.Tensor,
        cache: StackedCache | PrefixCache | None,
        *,
        n_last: int,
        use_cache: bool,
    ) -> tuple[torch.Tensor, StackedCache | PrefixCache | None]:
        """As `StackedAdapters.step`; rows that cannot be cut alike are read by one member after another."""
        starts = cache.starts if isinstance(cache, CuedPrefixCache) else None
        if isinstance(cache, PrefixCache):  # what could not be cut alike is read again, and may be now
            input_ids = torch.cat([cache.input_ids, input_ids.to(cache.input_ids.device)], dim=1)
            position_ids, cache = positions_of(attention_mask), None
        alike = None
        if cache is None:
            alike = cut_alike(input_ids, attention_mask, self._members[0]._cue, n_last, starts=starts)
        if cache is None and alike is None:
            steps = [
                member.decode_step(input_ids, attention_mask, position_ids, n_last=n_last, use_cache=use_cache)
                for member in self._members
            ]
            return torch.stack([logits for logits, _ in steps]), steps[0][1]
        if alike is not None:
            prompts, begin = alike
            # Before the cue all members are the base: one reading of the prompts, (B, begin), serves all of them.
            n_rows, n_members = len(input_ids), len(self._members)
            with self._host.held() as model:
                rows = self._host.prompts.read(model, prompts, width=begin, keep=False).cache()
            rows.reorder_cache(torch.arange(n_rows).repeat(n_members))  # (G*B,)
            cache = StackedCache(rows, n_members, n_rows)
            input_ids, position_ids = input_ids[:, begin:], position_ids[:, begin:]
        return self._stack.step(input_ids, attention_mask, position_ids, cache, n_last=n_last, use_cache=use_cache)
