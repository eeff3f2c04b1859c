"""Members that read alike, answering together token by token (EnsemW2S, Eq. 1)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from ensemw2s._inputs.questions import require_answers
from ensemw2s._validation import CheckedTexts, check_option
from ensemw2s.contracts import TokenLearner, eval_batch_size
from ensemw2s.datasets import QADataset
from ensemw2s.mixture._alike import narrowest
from ensemw2s.mixture._decoding import Written, match_nll, write_answers
from ensemw2s.mixture._scoring import option_nll, score_answers
from ensemw2s.tokens import TokenDataset

if TYPE_CHECKING:
    from ensemw2s.mixture._model import MixtureForCausalLM


@dataclass(frozen=True, eq=False)
class TokenMixture:
    r"""Fitted members that read alike, whose next token is that of :math:`\sum_t \bar\alpha_t p_t`.

    Attributes
    ----------
    members : list of TokenLearner
        Fitted; they read alike, see `group_alike`.
    combine, backend, choose, normalize : str
        Parameters of the ensemble.
    """

    members: list[TokenLearner]
    combine: str
    backend: str
    choose: str
    normalize: str
    writes = True

    @property
    def readers(self) -> list[TokenLearner]:
        """A member for each way to cut a text: the one that takes the shortest rows."""
        return [narrowest(self.members)]

    def model(self, votes: ArrayLike) -> MixtureForCausalLM:
        """The members as one Hugging Face model."""
        from ensemw2s.mixture._model import MixtureForCausalLM

        return MixtureForCausalLM.from_members(self.members, votes, combine=self.combine, backend=self.backend)

    def write(self, votes: ArrayLike, prompts: Sequence[str], settings: dict[str, Any]) -> list[list[Written]]:
        """Answers to questions under one vote vector; `settings` are keywords of ``generate``."""
        return write_answers(self.model(votes), self.readers[0], prompts, settings)

    def option_nll(self, votes: ArrayLike, prompts: Sequence[str], choices: Sequence[Sequence[str]]) -> np.ndarray:
        """What an option is chosen by, for each vote vector, (S, n, K); ``inf`` where a question has fewer options."""
        return CHOOSINGS[check_option(self.choose, "choose", CHOOSINGS)](self, votes, prompts, choices)

    def likelihood(
        self, votes: ArrayLike, prompts: Sequence[str], choices: Sequence[Sequence[str]], normalize: str
    ) -> np.ndarray:
        """Negative log-likelihood of texts that may follow a question, (S, n, K)."""
        return option_nll(
            self.members,
            votes,
            prompts,
            choices,
            combine=self.combine,
            normalize=normalize,
            batch_size=eval_batch_size(self.members[0]),
        )

    def answer_nll(
        self, votes: ArrayLike, prompts: Sequence[str], answers: Sequence[str], normalize: str
    ) -> np.ndarray:
        """Negative log-likelihood of one answer to each question, (S, n)."""
        return self.likelihood(votes, prompts, [[answer] for answer in answers], normalize)[:, :, 0]

    def token_mistakes(self, votes: ArrayLike, questions: QADataset) -> tuple[TokenDataset, np.ndarray]:
        """The answers' tokens, and for each vote vector the error of each, (S, n_tokens); in part where tokens tie."""
        prompts, answers = CheckedTexts(questions.prompts), CheckedTexts(require_answers(questions))
        tokens = TokenDataset.for_learner(self.readers[0], prompts, answers)
        scores = score_answers(
            self.members,
            votes,
            tokens,
            combine=self.combine,
            batch_size=eval_batch_size(self.members[0]),
            with_error=True,
        )
        return tokens, scores.error


def _by_likelihood(
    mixture: TokenMixture, votes: ArrayLike, prompts: Sequence[str], choices: Sequence[Sequence[str]]
) -> np.ndarray:
    return mixture.likelihood(votes, prompts, choices, mixture.normalize)


def _by_match(
    mixture: TokenMixture, votes: ArrayLike, prompts: Sequence[str], choices: Sequence[Sequence[str]]
) -> np.ndarray:
    reader = mixture.readers[0]
    rows = np.atleast_2d(votes)
    return np.stack(
        [match_nll(mixture.model(row), reader, prompts, choices, normalize=mixture.normalize) for row in rows]
    )


# By the name that the parameter `choose` has: `TokenMixture.option_nll`.
CHOOSINGS: dict[str, Callable[[TokenMixture, ArrayLike, Sequence[str], Sequence[Sequence[str]]], np.ndarray]] = {
    "likelihood": _by_likelihood,
    "match": _by_match,
}
