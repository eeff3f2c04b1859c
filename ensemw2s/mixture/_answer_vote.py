"""Members that read differently, answering together by a vote on whole answers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NoReturn, cast

import numpy as np
from numpy.typing import ArrayLike

from ensemw2s._validation import is_blank
from ensemw2s.contracts import OptionLearner, TokenLearner, WeakLearner
from ensemw2s.datasets import QADataset
from ensemw2s.metrics import option_log_proba
from ensemw2s.mixture._alike import apart, group_alike, reads_tokens
from ensemw2s.mixture._decoding import Written, setting
from ensemw2s.mixture._mixing import normalized_votes
from ensemw2s.mixture._option_voice import OptionVoice
from ensemw2s.mixture._token_mixture import TokenMixture
from ensemw2s.tokens import hold_end

# Keywords of ``generate`` that hold ids of tokens, or deal with them: they mean one thing to one tokenizer only.
_OF_ONE_TOKENIZER = (
    "assistant_model", "bad_words_ids", "begin_suppress_tokens", "eos_token_id", "force_words_ids",
    "forced_bos_token_id", "forced_eos_token_id", "logits_processor", "pad_token_id", "prefix_allowed_tokens_fn",
    "sequence_bias", "stopping_criteria", "streamer", "suppress_tokens",
)  # fmt: skip


def join_members(members: list[WeakLearner], **settings: str) -> TokenMixture | AnswerVote:
    """What lets fitted members answer together: Eq. 1 where they all read alike, else a vote on whole answers.

    Parameters
    ----------
    members : list of TokenLearner or OptionLearner
        Fitted.
    **settings : str
        ``combine``, ``backend``, ``choose`` and ``normalize`` of the ensemble.
    """
    groups = group_alike(members)
    if len(groups) == 1 and isinstance(voice := _voice(members, settings), TokenMixture):
        return voice
    return AnswerVote(members, groups, settings)


def _voice(members: list[WeakLearner], settings: dict[str, str]) -> TokenMixture | OptionVoice:
    """Members that read alike; one that scores options is alone."""
    readers = [member for member in members if reads_tokens(member)]
    return TokenMixture(readers, **settings) if readers else OptionVoice(cast(OptionLearner, members[0]))


class AnswerVote:
    r"""Fitted members of which not all read alike, see `group_alike`.

    Members that read alike are one voice, which mixes their tokens by Eq. 1; :math:`\beta_g`, the votes of its members,
    is its share. Distributions over tokens of different vocabularies cannot be added, those over the same texts can:
    from the options `o` of a question the voices choose by

    .. math:: p(o) = \sum_g \beta_g \operatorname{softmax}_o(-s_g(o)),

    where :math:`s_g(o)` is the option's negative log-likelihood under voice `g`, normalised as `normalize` says.
    Without options each voice proposes an answer, and the proposals are the options. An `OptionLearner` is a voice of
    its own, whose scores take the place of log-likelihoods; it proposes an answer if it is a `TextExpert`, too.

    Parameters
    ----------
    members : list of TokenLearner or OptionLearner
        Fitted.
    groups : list of list of int
        Their places by voice, from `group_alike`.
    settings : dict
        ``combine``, ``backend``, ``choose`` and ``normalize``.
    """

    def __init__(self, members: list[WeakLearner], groups: list[list[int]], settings: dict[str, str]) -> None:
        self._members, self._groups, self._normalize = members, groups, settings["normalize"]
        self._voices = [_voice([members[place] for place in group], settings) for group in groups]

    @property
    def readers(self) -> list[TokenLearner]:
        """A member for each way to cut a text."""
        return [reader for voice in self._voices for reader in voice.readers]

    @property
    def scorers(self) -> list[Any]:
        """The members that score options as a whole."""
        return [voice.member for voice in self._voices if isinstance(voice, OptionVoice)]

    @property
    def reason(self) -> str:
        """Why they do not answer token by token."""
        return f"{apart(self._members, self._groups)}. So they vote on whole answers"

    def model(self, votes: ArrayLike) -> NoReturn:
        """There is no such model.

        Raises
        ------
        AttributeError
            With why, and what to use in its place.
        """
        raise AttributeError(
            f"{self.reason}, and are no single Hugging Face model; use generate and predict of the ensemble, or "
            f"MixtureForCausalLM.from_members with members that read alike."
        )

    def write(self, votes: ArrayLike, prompts: Sequence[str], settings: dict[str, Any]) -> list[list[Written]]:
        """The proposals that the voices choose, or answers drawn from voices that are drawn by their shares."""
        for name in _OF_ONE_TOKENIZER:
            if setting(settings, name) is not None:
                raise ValueError(f"{name} must be left out: it deals with tokens. Got it, but {self.reason}.")
        n_sequences = int(setting(settings, "num_return_sequences") or 1)
        if setting(settings, "do_sample"):
            return self._draw(votes, prompts, settings, n_sequences)
        if n_sequences > 1:
            raise ValueError(
                f"num_return_sequences must be 1 unless do_sample=True. Got {n_sequences} instead. {self.reason}."
            )
        proposals = [voice.write(own[0], prompts, settings) for voice, own, _ in self._writers(votes)]
        finished: list[dict[str, bool]] = [
            {} for _ in prompts
        ]  # of each text that is proposed, whether by one at least
        for proposed in proposals:
            for known, [answer] in zip(finished, proposed, strict=True):
                if not is_blank(answer.text):
                    known[answer.text] = known.get(answer.text, False) or answer.finished
        candidates = [list(known) or [""] for known in finished]
        readable = self._readable(candidates)  # one voice may spell what ends an answer for another
        candidates = [[text for text in texts if text in readable] or texts[:1] for texts in candidates]
        answers = [texts[0] for texts in candidates]
        open_rows = [row for row, texts in enumerate(candidates) if len(texts) > 1]
        if open_rows:
            texts_of_rows = [candidates[row] for row in open_rows]
            asked = [prompts[row] for row in open_rows]
            nll = self._vote(
                votes, texts_of_rows, lambda voice, own: voice.likelihood(own, asked, texts_of_rows, self._normalize)
            )[0]
            for row, texts, best in zip(open_rows, texts_of_rows, nll.argmin(axis=1), strict=True):
                answers[row] = texts[best]
        return [[Written(text, known.get(text, True))] for text, known in zip(answers, finished, strict=True)]

    def _readable(self, candidates: Sequence[Sequence[str]]) -> set[str]:
        """The texts that all voices could be asked about."""
        texts = list(dict.fromkeys(text for several in candidates for text in several))
        held = [hold_end(texts, reader) for reader in self.readers]
        return {text for text, *bad in zip(texts, *held, strict=True) if not any(bad)}

    def option_nll(self, votes: ArrayLike, prompts: Sequence[str], choices: Sequence[Sequence[str]]) -> np.ndarray:
        r""":math:`-\log p(o)` of the vote on the options, for each vote vector, (S, n, K)."""
        return self._vote(votes, choices, lambda voice, own: voice.option_nll(own, prompts, choices))

    def answer_nll(
        self, votes: ArrayLike, prompts: Sequence[str], answers: Sequence[str], normalize: str
    ) -> np.ndarray:
        r""":math:`-\log \sum_g \beta_g e^{-s_g}` of one answer to each question, (S, n)."""
        if self.scorers:
            raise ValueError(f"{self.reason}, and an answer alone has no likelihood; pass choices, to choose from.")
        return self._mix(votes, lambda voice, own: -voice.answer_nll(own, prompts, answers, normalize))

    def token_mistakes(self, votes: ArrayLike, questions: QADataset) -> NoReturn:
        """No token is right or wrong for all.

        Raises
        ------
        ValueError
            With why, and what can be scored.
        """
        raise ValueError(f"{self.reason}, and no token is right or wrong for all; pass choices, to score by options.")

    def _vote(
        self,
        votes: ArrayLike,
        choices: Sequence[Sequence[str]],
        scores: Callable[[Any, np.ndarray], np.ndarray],
    ) -> np.ndarray:
        n_choices = [len(options) for options in choices]
        return self._mix(votes, lambda voice, own: option_log_proba(scores(voice, own), n_choices))

    def _mix(self, votes: ArrayLike, log_proba: Callable[[Any, np.ndarray], np.ndarray]) -> np.ndarray:
        """Negative logarithm of the voices' probabilities, mixed by their shares, (S, …)."""
        parts = [(log_proba(voice, own), share, speaks) for voice, own, share, speaks in self._turns(votes)]
        values, _, speaks = parts[0]
        mixed = np.full((len(speaks), *values.shape[1:]), -np.inf)
        for values, share, speaks in parts:  # (S', …), of the vote vectors under which the voice speaks
            log_share = np.log(share).reshape(-1, *[1] * (values.ndim - 1))
            mixed[speaks] = np.logaddexp(mixed[speaks], log_share + values)
        return -mixed

    def _writers(self, votes: ArrayLike) -> list[tuple[TokenMixture | OptionVoice, np.ndarray, np.ndarray]]:
        """The voices that can propose an answer, with their members' votes and their shares."""
        turns = [(voice, own, share) for voice, own, share, _ in self._turns(votes) if voice.writes]
        if not turns:
            raise ValueError(f"choices must hold options: {self.reason}, and no member writes answers of its own.")
        return turns

    def _turns(self, votes: ArrayLike) -> Iterator[tuple[Any, np.ndarray, np.ndarray, np.ndarray]]:
        """Each voice with its members' votes (S', G), its shares (S',), and the vote vectors where it has one, (S,)."""
        rows = normalized_votes(votes, len(self._members))
        for group, voice in zip(self._groups, self._voices, strict=True):
            own = rows[:, group]
            share = own.sum(axis=1)
            speaks = share > 0
            if speaks.any():
                yield voice, own[speaks], share[speaks], speaks

    def _draw(
        self, votes: ArrayLike, prompts: Sequence[str], settings: dict[str, Any], n_sequences: int
    ) -> list[list[Written]]:
        import torch

        turns = self._writers(votes)
        shares = torch.tensor([float(share[0]) for _, _, share in turns], dtype=torch.float64)
        # One voice for a whole answer: a text begun in one vocabulary need not have a next token in another.
        drawn = torch.multinomial(shares, len(prompts) * n_sequences, replacement=True).numpy()
        answers: list[list[Written]] = [[] for _ in drawn]
        for number, (voice, own, _) in enumerate(turns):
            rows = np.flatnonzero(drawn == number)
            if len(rows):
                asked = [prompts[row // n_sequences] for row in rows.tolist()]
                written = voice.write(own[0], asked, {**settings, "num_return_sequences": 1})
                for row, answer in zip(rows.tolist(), written, strict=True):
                    answers[row] = answer
        starts = range(0, len(answers), n_sequences)
        return [[answer for [answer] in answers[start : start + n_sequences]] for start in starts]
