"""A fitted learner that scores options as a whole, as one voice among others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from numpy.typing import ArrayLike

from ensemw2s.contracts import OptionLearner, TextExpert, TokenLearner, checked_scores, written_texts
from ensemw2s.mixture._decoding import Written


@dataclass(frozen=True, eq=False)
class OptionVoice:
    """An `OptionLearner` where a vote on whole answers is held; it proposes answers if it returns texts.

    Attributes
    ----------
    member : OptionLearner
        Fitted.
    """

    member: OptionLearner

    @property
    def writes(self) -> bool:
        """Whether it proposes answers of its own."""
        return isinstance(self.member, TextExpert)

    def write(self, votes: ArrayLike, prompts: Sequence[str], settings: dict[str, Any]) -> list[list[Written]]:
        """What a `TextExpert` answers; how it writes is its own matter, and no keyword of ``generate`` reaches it."""
        return [[Written(text, True)] for text in written_texts(cast(TextExpert, self.member), prompts)]

    @property
    def readers(self) -> list[TokenLearner]:
        """None: it cuts no text into tokens that anybody else could ask about."""
        return []

    def option_nll(self, votes: ArrayLike, prompts: Sequence[str], choices: Sequence[Sequence[str]]) -> np.ndarray:
        """Minus the scores, for each vote vector, (S, n, K); ``inf`` where a question has fewer options."""
        n_choices = np.array([len(options) for options in choices])
        scores = checked_scores(self.member.option_scores(prompts, choices), self.member, n_choices)
        return np.repeat(-scores[None], len(np.atleast_2d(votes)), axis=0)

    def likelihood(
        self, votes: ArrayLike, prompts: Sequence[str], choices: Sequence[Sequence[str]], _: str
    ) -> np.ndarray:
        """As `option_nll`: of texts that are proposed, too, only the ratios are known."""
        return self.option_nll(votes, prompts, choices)
