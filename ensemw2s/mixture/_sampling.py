"""How `generate` draws from an ensemble: by picking members where it may, from the mixture where it must."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import torch
from transformers import GenerationConfig, LogitsProcessorList, StoppingCriteriaList
from transformers.generation import GenerateDecoderOnlyOutput

from ensemw2s.mixture._draws import OnlyReadable, quick_draws
from ensemw2s.mixture._lazy_sampling import LazyMembers, lazy_readers
from ensemw2s.mixture._mixing import COMBINATIONS


def sample(
    mixture: Any,
    weights: Sequence[float],
    new_cache: Callable[[bool], Any],
    standard: Callable[..., Any],
    input_ids: torch.Tensor,
    logits_processor: LogitsProcessorList,
    stopping_criteria: StoppingCriteriaList,
    generation_config: GenerationConfig,
    *,
    synced_gpus: bool = False,
    streamer: Any = None,
    share_picks: bool = False,
    **model_kwargs: Any,
) -> Any:
    r"""Greedy decoding and sampling, with the arguments of `transformers.GenerationMixin._sample`.

    To draw from :math:`\sum_t \bar\alpha_t \operatorname{softmax}(z_t)`, draw a member `t` from :math:`\bar\alpha`
    and the token from that member: by the chain rule whole answers follow the mixture's law too, and the picks do
    not depend on the tokens. This is done where nothing acts on the mixed distribution and nobody asks for it. Members
    of their own then run only where they are picked (`LazyMembers`); members in one batch run together.

    Parameters
    ----------
    mixture : MixtureForCausalLM
        The ensemble.
    weights : sequence of float
        Votes of the members that have one; their sum is 1.
    new_cache : callable
        Takes `use_cache`, returns a MixtureCache with the members' groups.
    standard : callable
        `_sample` of transformers, bound to the mixture.
    input_ids, logits_processor, stopping_criteria, generation_config, synced_gpus, streamer, **model_kwargs
        Prepared by `generate`.
    share_picks : bool, default=False
        Whether the prompts of a batch draw one member per step together.

    Returns
    -------
    torch.Tensor of shape (B, L + n), int64, or transformers.generation.GenerateDecoderOnlyOutput
    """
    config, inherited = generation_config, {"synced_gpus": synced_gpus, "streamer": streamer, **model_kwargs}
    if not config.do_sample or config.is_assistant or _shows_distributions(config):
        return standard(input_ids, logits_processor, stopping_criteria, config, **inherited)
    acting = [each for each in logits_processor if not isinstance(each, OnlyReadable)]  # which a draw by picks heeds
    if acting or not _may_pick(mixture, stopping_criteria, config, synced_gpus, model_kwargs):
        greedy = copy.copy(config)
        greedy.do_sample = False  # the last processor leaves the token that it has drawn
        return standard(
            input_ids, quick_draws(logits_processor, mixture.backend), stopping_criteria, greedy, **inherited
        )

    mask = model_kwargs.get("attention_mask")
    mask = torch.ones_like(input_ids) if mask is None else mask.to(input_ids.device)
    n_rows, n_steps = len(input_ids), stopping_criteria.max_length - input_ids.shape[1]
    # Drawn at once, so that the order in which rows are served plays no role; float64, for tokens of 1e-8 and less.
    uniform = torch.rand((n_steps, n_rows, 2), dtype=torch.float64, device=mixture.device)
    if share_picks:  # row q * n + s is sequence s of prompt q: the sequences of one prompt stay independent
        n_sequences = config.num_return_sequences or 1
        uniform[:, :, 0] = uniform[:, torch.arange(n_rows) % n_sequences, 0]
    has_end = any(hasattr(criterion, "eos_token_id") for criterion in stopping_criteria)
    ids = torch.cat([input_ids, input_ids.new_zeros((n_rows, n_steps))], dim=1)  # (B, L + n_steps)
    use_cache = bool(model_kwargs.get("use_cache"))
    cache = new_cache(use_cache)
    # The cache that a dictionary holds is one in which every member has read everything.
    may_wait = use_cache and not config.return_dict_in_generate
    readers = lazy_readers(mixture, cache.groups, mask, ids.shape[1]) if may_wait else None
    source: _Source
    if readers is None:
        source = _Lockstep(mixture, weights, cache, ids, mask, uniform, use_cache)
    else:
        ends = [criterion.eos_token_id for criterion in stopping_criteria if hasattr(criterion, "eos_token_id")]
        source = LazyMembers(readers, weights, ids, mask, uniform, ends, mixture.backend, mixture.n_readable)
    n_columns = _write(source, ids, input_ids.shape[1], stopping_criteria, config, has_end, streamer)
    sequences = ids[:, :n_columns]
    if not config.return_dict_in_generate:
        return sequences
    return GenerateDecoderOnlyOutput(sequences=sequences, past_key_values=source.cache)


class _Source(Protocol):
    """Where tokens come from."""

    cache: Any

    def fill(self, column: int, active: torch.Tensor) -> None:
        """Draw the token of a column for the active rows, bool of shape (B,); the others may get any."""
        ...


class _Lockstep:
    """All members read every token of every row, and the row's pick says whose distribution is used."""

    def __init__(
        self,
        mixture: Any,
        weights: Sequence[float],
        cache: Any,
        ids: torch.Tensor,
        mask: torch.Tensor,
        uniform: torch.Tensor,
        use_cache: bool,
    ) -> None:
        self._mixture, self._ids, self._uniform, self._use_cache = mixture, ids, uniform, use_cache
        self._n_prompt, self._n_read = mask.shape[1], 0
        self._mask = torch.cat([mask, mask.new_ones((len(ids), len(uniform)))], dim=1)
        self._log_weights = torch.tensor(weights, dtype=torch.float64, device=mixture.device).log()
        self.cache = cache

    def fill(self, column: int, active: torch.Tensor) -> None:
        logits, self.cache = self._mixture.member_logits(
            self._ids[:, self._n_read : column],
            self._mask[:, :column],
            past_key_values=self.cache,
            n_last=1,
            use_cache=self._use_cache,
        )
        uniform, n_readable = self._uniform[column - self._n_prompt], self._mixture.n_readable
        tokens = self._mixture.backend.mixture_sample(logits[:, :, -1], self._log_weights, uniform)
        # Member and token are drawn again until the token can be read on: the mixture's law, given that it can be.
        while n_readable is not None and bool((refused := tokens >= n_readable).any()):
            again = self._mixture.backend.mixture_sample(logits[:, :, -1], self._log_weights, torch.rand_like(uniform))
            tokens = torch.where(refused, again, tokens)
        self._ids[:, column] = tokens
        if self._use_cache:
            self._n_read = column


def _write(
    source: _Source,
    ids: torch.Tensor,
    n_prompt: int,
    criteria: StoppingCriteriaList,
    config: GenerationConfig,
    has_end: bool,
    streamer: Any,
) -> int:
    """Fill the columns of `ids` until the criteria say stop, as transformers does; return the number of columns."""
    unfinished = torch.ones(len(ids), dtype=torch.bool, device=ids.device)
    column = n_prompt
    while unfinished.any():
        # Without an end token a finished row goes on with the others.
        source.fill(column, unfinished if has_end else torch.ones_like(unfinished))
        if has_end and not unfinished.all():
            ids[~unfinished, column] = config._pad_token_tensor.to(ids.device)
        if streamer is not None:
            streamer.put(ids[:, column].cpu())
        column += 1
        unfinished &= ~criteria(ids[:, :column], None)
    if streamer is not None:
        streamer.end()
    return column


def _shows_distributions(config: GenerationConfig) -> bool:
    """Whether scores or the like are to be returned."""
    names = ("output_scores", "output_logits", "output_attentions", "output_hidden_states")
    return bool(config.return_dict_in_generate and any(getattr(config, name) for name in names))


def _may_pick(
    mixture: Any,
    criteria: StoppingCriteriaList,
    config: GenerationConfig,
    synced_gpus: bool,
    model_kwargs: dict[str, Any],
) -> bool:
    """Whether the draw may do without the mixture: its law is that of probabilities, and `generate` starts afresh."""
    return (
        COMBINATIONS[mixture.config.combine].of_probabilities
        and criteria.max_length is not None
        and not synced_gpus
        and config.prefill_chunk_size is None
        and model_kwargs.get("past_key_values") is None
        and _usual_positions(model_kwargs)
    )


def _usual_positions(model_kwargs: dict[str, Any]) -> bool:
    positions, mask = model_kwargs.get("position_ids"), model_kwargs.get("attention_mask")
    if positions is None:
        return True
    if mask is None:
        return bool((positions == torch.arange(positions.shape[-1], device=positions.device)).all())
    return positions.shape == mask.shape and bool(((positions == mask.cumsum(dim=-1) - 1) | (mask == 0)).all())
