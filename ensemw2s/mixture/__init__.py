"""Fitted members together: Eq. 1, scoring, decoding, sampling, votes on whole answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ensemw2s.mixture._alike import apart, difference, group_alike, narrowest, reads_tokens
from ensemw2s.mixture._answer_vote import AnswerVote, join_members
from ensemw2s.mixture._decoding import Written, encode_with_room, n_new_tokens, texts_of, with_length
from ensemw2s.mixture._mixing import COMBINATIONS, normalized_votes, staged_votes
from ensemw2s.mixture._scoring import NORMALIZATIONS, option_nll, score_answers
from ensemw2s.mixture._token_mixture import CHOOSINGS, TokenMixture

if TYPE_CHECKING:
    from ensemw2s.mixture._model import MixtureForCausalLM as MixtureForCausalLM


def __getattr__(name: str) -> Any:
    # A Hugging Face model: its module loads torch and transformers, which scoring and votes do without.
    if name == "MixtureForCausalLM":
        from ensemw2s.mixture._model import MixtureForCausalLM

        return MixtureForCausalLM
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
