"""Checks of the answer tokens that a decoder is to be trained on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ensemw2s._validation import check_weight, shorten
from ensemw2s.tokens import TokenDataset


def check_fit_input(tokens: Any, token_weight: Any) -> np.ndarray:
    """The weights as an array; nothing has to be loaded for this check."""
    if not isinstance(tokens, TokenDataset):
        raise TypeError(
            f"tokens must be a TokenDataset. Got {type(tokens).__name__} instead; to train on texts use "
            f"FineTunedGenerator(HFCausalLM(...)).fit(X, y)."
        )
    return check_weight(token_weight, "token_weight", length=tokens.n_tokens, per="answer token")


def check_tokens(
    tokens: TokenDataset, *, n_vocabulary: int, max_length: int | None, cue_ids: Sequence[int] | None
) -> None:
    """Refuse tokens that were not made for a learner.

    Raises
    ------
    ValueError
        If a token is not in its vocabulary, a row too long, or a prompt without its cue.
    """
    if max(tokens.labels.max(), tokens.prompt_ids.max()) >= n_vocabulary:
        raise ValueError(
            f"tokens must come from this learner's tokenizer, of {n_vocabulary} tokens. Got a larger token "
            f"id; use TokenDataset.for_learner."
        )
    if max_length is not None and tokens.lengths.max() > max_length:
        row = int(np.argmax(tokens.lengths > max_length))
        raise ValueError(
            f"tokens must have rows of at most {max_length} tokens. Got {tokens.lengths[row]} in row {row}; "
            f"use TokenDataset.for_learner."
        )
    if cue_ids is None:
        return
    columns = tokens.prompt_indptr[1:, None] - len(cue_ids) + np.arange(len(cue_ids))  # (n_rows, C)
    ends = (tokens.prompt_ids[columns.clip(min=0)] == cue_ids).all(axis=1)
    ends &= np.diff(tokens.prompt_indptr) >= len(cue_ids)
    if not ends.all():
        raise ValueError(
            f"tokens must have prompts that end with the answer cue, {shorten(list(cue_ids))}, from which on "
            f"adapt='answer' acts. Row {int(np.argmin(ends))} does not; use TokenDataset.for_learner."
        )
