"""Arguments of a mixture's forward pass: their shapes, and what is refused by name."""

from __future__ import annotations

from typing import Any

import torch

from ensemw2s.mixture._cache import MixtureCache

OF_ONE_MODEL = {
    "output_attentions": "a mixture has no attentions of its own",
    "output_hidden_states": "a mixture has no hidden states of its own",
    "inputs_embeds": "its members have embeddings of their own",
    "assistant_early_exit": "a mixture has no layers of its own that it could leave early",
    "use_mtp": "a mixture has no heads of its own for several tokens",
}
# Given by older code, by tokenizers and by `generate`; plain decoders skip them, too.
_HARMLESS = {"assistant_tokenizer", "cache_position", "token_type_ids", "tokenizer"}


def refuse_keywords(keywords: dict[str, object]) -> None:
    """Raise where a keyword asks for what a mixture does not have, or means nothing to it; None and False ask nothing.

    Raises
    ------
    ValueError
        If it is an argument of single models.
    TypeError
        If it is unknown.
    """
    for name, value in keywords.items():
        if value is None or value is False or name in _HARMLESS:
            continue
        if name in OF_ONE_MODEL:
            raise ValueError(
                f"{name} must be left out: {OF_ONE_MODEL[name]}. Ask the model that a member's lend_model() gives."
            )
        raise TypeError(f"MixtureForCausalLM does not take {name!r}; leave it out.")


def check_past(past: object) -> None:
    """Raise unless a mixture may go on with `past`, or it is None."""
    if past is not None and not isinstance(past, MixtureCache):
        raise TypeError(
            f"past_key_values must be what the last pass returned, an empty MixtureCache of ensemw2s.mixture, or None. "
            f"Got {type(past).__name__} instead, which holds the keys and values of one model."
        )


def check_inputs(
    input_ids: Any, attention_mask: Any, position_ids: Any, cache: MixtureCache
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
    """Token ids (B, L), their mask (B, cached + L) of int64, and positions (B, L) or None.

    Raises
    ------
    ValueError, TypeError
        With the argument's name.
    """
    if input_ids is None:
        raise ValueError("input_ids must be given, of shape (B, L). Got None.")
    if input_ids.ndim != 2 or not input_ids.shape[1]:
        raise ValueError(f"input_ids must have shape (B, L) with L > 0. Got shape {tuple(input_ids.shape)} instead.")
    n_rows, n_new = input_ids.shape
    if cache.get_seq_length() and cache.n_rows != n_rows:
        raise ValueError(f"input_ids must have {cache.n_rows} rows, as past_key_values has. Got {n_rows} instead.")
    n_all = cache.get_seq_length() + n_new
    if attention_mask is None:
        mask = torch.ones((n_rows, n_all), dtype=torch.int64, device=input_ids.device)
    elif attention_mask.shape != (n_rows, n_all):
        raise ValueError(
            f"attention_mask must have shape ({n_rows}, {n_all}), with 0 at padding, over the tokens in "
            f"past_key_values and those in input_ids. Got shape {tuple(attention_mask.shape)} instead."
        )
    else:
        mask = attention_mask.to(torch.int64)
    if position_ids is None:
        return input_ids, mask, None
    if position_ids.ndim != 2 or position_ids.shape[0] not in (1, n_rows) or position_ids.shape[1] != n_new:
        raise ValueError(
            f"position_ids must have shape ({n_rows}, {n_new}), as input_ids. Got shape {tuple(position_ids.shape)} "
            f"instead."
        )
    return input_ids, mask, position_ids.expand(n_rows, n_new)


def check_readable(input_ids: torch.Tensor, n_readable: int | None) -> None:
    """Raise where a member with a vote has no embedding for a token; None is as many as there are."""
    if n_readable is not None and bool((input_ids >= n_readable).any()):
        raise ValueError(
            f"input_ids must be less than {n_readable}, the number of embeddings of the member with the fewest. Got "
            f"{int(input_ids.max())}."
        )


def is_one(logits_to_keep: int | torch.Tensor) -> bool:
    return isinstance(logits_to_keep, int) and logits_to_keep == 1


def kept_positions(logits_to_keep: int | torch.Tensor, n_positions: int) -> tuple[int, torch.Tensor | None]:
    """How many of the last positions are computed, and which of these are returned; None is all of them."""
    if isinstance(logits_to_keep, int):
        if logits_to_keep < 0:
            raise ValueError(f"logits_to_keep must be >= 0, or a tensor of positions. Got {logits_to_keep} instead.")
        return min(logits_to_keep, n_positions) or n_positions, None
    positions = torch.arange(n_positions)[logits_to_keep.cpu()]
    if positions.ndim != 1 or not len(positions):
        raise ValueError(
            f"logits_to_keep must hold positions, of shape (K,), K > 0. Got shape {tuple(logits_to_keep.shape)}."
        )
    n_last = n_positions - int(positions.min())
    return n_last, positions - (n_positions - n_last)
