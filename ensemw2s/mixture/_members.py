"""What a mixture has to know of its members before they are joined."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike
from transformers import DynamicCache

from ensemw2s.contracts import Cued, LendsModel, TokenLearner
from ensemw2s.mixture._alike import same_tokenizer
from ensemw2s.mixture._cache import Recording
from ensemw2s.mixture._mixing import normalized_votes
from ensemw2s.tokens import n_ids


def one_vote_vector(votes: ArrayLike, members: Sequence[TokenLearner]) -> np.ndarray:
    rows = normalized_votes(votes, len(members))
    if np.ndim(votes) != 1:
        raise ValueError(
            f"votes must have shape ({len(members)},), one per member. Got shape {np.shape(votes)} instead."
        )
    row: np.ndarray = rows[0]
    return row


def check_one_tokenizer(members: Sequence[TokenLearner]) -> None:
    tokenizers = [member.tokenizer_ for member in members]
    for place, tokenizer in enumerate(tokenizers):
        if not same_tokenizer(tokenizers[0], tokenizer):
            raise ValueError(
                f"The members must have one tokenizer. Got vocabularies of {[len(each) for each in tokenizers]} tokens "
                f"instead, and that of member {place} is not that of member 0, so that their tokens cannot be mixed. "
                f"A TokenAdaBoostGenerator of such members lets them vote on whole answers."
            )


class MemberFacts(NamedTuple):
    """What a mixture takes over from a member.

    Attributes
    ----------
    n_logits : int
        Width of its logits; a model may have more embeddings than its tokenizer has tokens.
    n_positions : int or None
        Longest row that its model can read; None where it does not say.
    device : torch.device
        Where it runs.
    """

    n_logits: int
    n_positions: int | None
    device: torch.device

    @classmethod
    def of(cls, member: TokenLearner) -> MemberFacts:
        """Those of a fitted member."""
        if not isinstance(member, LendsModel):
            return cls(n_ids(member.tokenizer_), None, torch.device("cpu"))
        with member.lend_model() as model:
            config = model.config.get_text_config()
            limit = getattr(config, "max_position_embeddings", None)
            n_positions = limit if isinstance(limit, int) and limit > 0 else None
            return cls(int(config.vocab_size), n_positions, model.device)


def may_forget(member: TokenLearner) -> bool:
    """Whether a member keeps the last tokens only, so that others cannot be taken back."""
    if isinstance(member, Cued) or not isinstance(member, LendsModel):
        return False  # what is kept of prompts before a cue is whole
    with member.lend_model() as model:
        layers = DynamicCache(config=model.config).layers  # of sliding windows, and others that keep the last tokens
    return any(isinstance(layer, Recording) for layer in layers)
