"""One member reading some rows at a time, each from where it has stopped."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from transformers import DynamicCache, PreTrainedModel

from ensemw2s._forward.ways_to_read import read_batch
from ensemw2s.contracts import Branching, Cued, LendsModel, TokenLearner, checked_logits
from ensemw2s.tokens import pad_left, positions_of


class PrefixReader:
    """For a learner without ``decode_step``: all tokens of the rows are read again.

    Parameters
    ----------
    member : TokenLearner
        The learner.
    """

    def __init__(self, member: TokenLearner) -> None:
        self._member = member

    def is_fresh(self, row: int) -> bool:
        """Always True: no row has a cache."""
        return True

    def read(self, rows: Sequence[int], texts: Sequence[list[int]]) -> torch.Tensor:
        """Logits of the token after each text, float32 of shape (k, V)."""
        ids, mask = pad_left([*texts], 0)
        logits = checked_logits(self._member.token_logits(ids, mask), self._member, "token_logits", ids.shape)
        return logits[:, -1].float()


class PackedReader:
    """The new tokens of several rows in one packed row, so that rows that lag differently need no padding.

    Prompts are read side by side. Afterwards the rows of a pass lie one behind the other in the cache, and a mask lets
    a token see its own row alone. While the same rows come again the cache just grows; otherwise it is cut into
    rows and joined anew.

    Parameters
    ----------
    member : HFCausalLM
        The learner, see `reads_packed`.
    """

    def __init__(self, member: LendsModel) -> None:
        self._member = member
        self._n_read: dict[int, int] = {}
        self._closed: dict[int, list[tuple[torch.Tensor, torch.Tensor]]] = {}  # row -> keys, values of each layer
        self._rows: list[int] = []  # in the open cache
        self._cache = DynamicCache()
        self._owner = self._position = torch.empty(0, dtype=torch.long)  # of the tokens in the open cache

    def is_fresh(self, row: int) -> bool:
        """Whether the row's prompt has still to be read."""
        return row not in self._n_read

    @torch.no_grad()
    def read(self, rows: Sequence[int], texts: Sequence[list[int]]) -> torch.Tensor:
        """Logits of the token after each text, float32 of shape (k, V); the rows are all fresh or all known."""
        with self._member.lend_model() as model:
            logits = (
                self._read_prompts(model, rows, texts) if self.is_fresh(rows[0]) else self._go_on(model, rows, texts)
            )
        self._n_read.update((row, len(text)) for row, text in zip(rows, texts, strict=True))
        return logits.float()

    def _read_prompts(self, model: PreTrainedModel, rows: Sequence[int], texts: Sequence[list[int]]) -> torch.Tensor:
        ids, mask = map(torch.from_numpy, pad_left([*texts], 0))  # (k, L)
        cache = DynamicCache()  # made without the configuration, so that no layer forgets
        output = read_batch(model, ids, mask, positions_of(mask), past_key_values=cache, n_last=1, use_cache=True)
        # Each row's keys and values without its padding, which a packed row has no use for.
        for place, (row, text) in enumerate(zip(rows, texts, strict=True)):
            self._closed[row] = [
                (layer.keys[place : place + 1, :, -len(text) :], layer.values[place : place + 1, :, -len(text) :])
                for layer in cache.layers
            ]  # (1, heads, n, d) each
        return output.logits[:, -1]

    def _go_on(self, model: PreTrainedModel, rows: Sequence[int], texts: Sequence[list[int]]) -> torch.Tensor:
        if self._rows != list(rows):
            self._close()
            self._open(rows)
        new = [text[self._n_read[row] :] for row, text in zip(rows, texts, strict=True)]
        counts = torch.tensor([len(tokens) for tokens in new])
        owner = torch.arange(len(rows)).repeat_interleave(counts)  # (n,)
        spans = ((self._n_read[row], len(text)) for row, text in zip(rows, texts, strict=True))
        position = torch.cat([torch.arange(*span) for span in spans])
        self._owner, self._position = torch.cat([self._owner, owner]), torch.cat([self._position, position])
        if len(rows) == 1:
            mask = torch.ones((1, len(self._owner)), dtype=torch.long)
        else:
            # By positions, since a row's tokens do not lie together: each pass appends those of all its rows.
            visible = (owner[:, None] == self._owner) & (position[:, None] >= self._position)  # (n, cached + n)
            hidden = torch.finfo(model.dtype).min
            mask = torch.zeros(visible.shape, dtype=model.dtype).masked_fill(~visible, hidden)[None, None]
        output = model(
            input_ids=torch.tensor([[token for tokens in new for token in tokens]], device=model.device),
            attention_mask=mask.to(model.device),
            position_ids=position[None].to(model.device),
            past_key_values=self._cache,
            use_cache=True,
            logits_to_keep=(counts.cumsum(dim=0) - 1).to(model.device),
        )
        return output.logits[0]  # (k, V)

    def _close(self) -> None:
        """Cut the open cache into its rows."""
        for place, row in enumerate(self._rows):
            if len(self._rows) == 1:  # all tokens are its own: nothing to copy
                self._closed[row] = [(layer.keys, layer.values) for layer in self._cache.layers]
                continue
            of_row = (self._owner == place).nonzero()[:, 0]
            self._closed[row] = [
                (layer.keys[:, :, of_row.to(layer.keys.device)], layer.values[:, :, of_row.to(layer.keys.device)])
                for layer in self._cache.layers
            ]

    def _open(self, rows: Sequence[int]) -> None:
        """Join rows in one cache."""
        # Keys carry the positions at which they were made, so that rows may be cut apart and joined in any order: to
        # which row a key belongs, and where in it, only `_owner` and `_position` know, from which the mask is made.
        self._rows, self._cache = list(rows), DynamicCache()
        parts = [self._closed.pop(row) for row in rows]
        for number, layers in enumerate(zip(*parts, strict=True)):
            keys, values = (torch.cat(tensors, dim=2) for tensors in zip(*layers, strict=True))
            self._cache.update(keys, values, number)
        lengths = [self._n_read[row] for row in rows]
        self._owner = torch.arange(len(rows)).repeat_interleave(torch.tensor(lengths))
        self._position = torch.cat([torch.arange(length) for length in lengths])


def reads_packed(member: TokenLearner, max_length: int) -> bool:
    """Whether a learner has a model of its own that can read packed rows.

    Parameters
    ----------
    member : TokenLearner
        The learner.
    max_length : int
        Of a row, prompt and answer.
    """
    # An adapter is not read by itself: with adapt="answer" it must not act on prompts.
    has_adapter = isinstance(member, Cued) or getattr(member, "adapter_", None) is not None
    return not has_adapter and isinstance(member, Branching) and max_length <= member.longest_tree()
