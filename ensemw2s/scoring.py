"""Known answers and options under an ensemble: teacher-forced, at answer positions only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ensemw2s._validation import check_option
from ensemw2s.exceptions import WeakLearnerError
from ensemw2s.learners.base import answer_logits
from ensemw2s.tokens import TokenDataset

__all__ = ["NORMALIZATIONS", "AnswerScores", "option_nll", "score_answers"]

NORMALIZATIONS = ("sum", "token", "char")


@dataclass(frozen=True)
class AnswerScores:
    """What an ensemble makes of known answer tokens.

    Attributes
    ----------
    nll : ndarray of shape (n_stages, n_tokens), float64
        Negative log-likelihood of each answer token, in nats.
    predicted : ndarray of shape (n_stages, n_tokens), int64
        The most probable token in its place.
    """

    nll: np.ndarray
    predicted: np.ndarray


def score_answers(
    members: Sequence[Any],
    votes: Sequence[float] | np.ndarray,
    tokens: TokenDataset,
    *,
    combine: str = "probabilities",
    staged: bool = False,
    batch_size: int = 64,
) -> AnswerScores:
    r"""Score answer tokens, each given its prompt and the true tokens before it.

    The score of a token is :math:`-\log \sum_t \bar\alpha_t p_t(y_j \mid y_{<j})`; the score of an answer is the sum
    of its tokens' scores, a sum of logs of mixtures, not the log of a mixture of products. One pass per member
    serves all prefixes of the ensemble.

    Parameters
    ----------
    members : sequence of TokenLearner
        Fitted (or initialised) learners with one tokenizer.
    votes : array-like of shape (T,)
        Positive votes.
    tokens : TokenDataset
        Tokenised for the members.
    combine : {"probabilities", "logits"}, default="probabilities"
        What is averaged.
    staged : bool, default=False
        One stage per number of members (1, 2, ..., T), instead of all members alone.
    batch_size : int, default=64
        Rows per forward pass.

    Returns
    -------
    AnswerScores

    Raises
    ------
    WeakLearnerError
        If a member's logits hold a NaN or +inf.
    """
    import torch

    from ensemw2s.mixture import check_votes, mix

    weights = check_votes(votes, len(members))
    # Relative to the first: a single member is then mixed with log(1) = 0 added, to the bit.
    relative, totals = weights / weights[0], np.cumsum(weights / weights[0])
    n_stages = len(members) if staged else 1
    nll = np.empty((n_stages, tokens.n_tokens))
    predicted = np.empty((n_stages, tokens.n_tokens), dtype=np.int64)
    pad = getattr(members[0].tokenizer_, "pad_token_id", None) or 0
    for rows in tokens.iter_batches(batch_size):
        batch = tokens.batch(rows, pad_token_id=pad)
        real = batch.token_index >= 0  # (B, K)
        index, labels = batch.token_index[real], torch.from_numpy(batch.labels[real])  # (R,)
        mixed = None
        for place, member in enumerate(members):
            logits = answer_logits(member, batch)
            logits = logits[torch.from_numpy(real).to(logits.device)]  # (R, V)
            if torch.isnan(logits).any() or torch.isposinf(logits).any():
                raise WeakLearnerError(
                    f"Member {place} gives logits that are not finite; its training diverged (lower lr)."
                )
            mixed = mix(mixed, logits, float(relative[place]), combine)
            if not staged and place < len(members) - 1:
                continue
            stage = place if staged else 0
            log_proba = mixed - float(np.log(totals[place]))
            if combine == "logits":
                log_proba = (mixed / float(totals[place])).log_softmax(dim=-1)
            chosen = log_proba.gather(1, labels.to(mixed.device)[:, None])[:, 0]
            nll[stage, index] = -chosen.double().cpu().numpy()
            predicted[stage, index] = mixed.argmax(dim=-1).cpu().numpy()
    return AnswerScores(nll, predicted)


def option_nll(
    members: Sequence[Any],
    votes: Sequence[float] | np.ndarray,
    prompts: Sequence[str],
    choices: Sequence[Sequence[str]],
    *,
    combine: str = "probabilities",
    normalize: str = "sum",
    staged: bool = False,
    batch_size: int = 64,
) -> np.ndarray:
    """Negative log-likelihood of every option of every question.

    Parameters
    ----------
    members, votes, combine, staged, batch_size
        As in `score_answers`.
    prompts : sequence of str, shape (n,)
        Questions.
    choices : sequence of sequences of str, shape (n,)
        Options; questions may have different numbers of them.
    normalize : {"sum", "token", "char"}, default="sum"
        Leave the sum over the option's tokens (end-of-answer included), or divide it by the number of these
        tokens or of the option's characters.

    Returns
    -------
    ndarray of shape (n_stages, n, K)
        K is the largest number of options; ``inf`` where a question has fewer.
    """
    check_option(normalize, "normalize", NORMALIZATIONS)
    n_choices = np.array([len(options) for options in choices])
    rows = np.repeat(np.arange(len(choices)), n_choices)
    flat = [option for options in choices for option in options]
    tokens = TokenDataset.for_learner(members[0], [prompts[int(row)] for row in rows], flat)
    scores = score_answers(members, votes, tokens, combine=combine, staged=staged, batch_size=batch_size)
    sums = np.stack([tokens.sum_rows(stage) for stage in scores.nll])  # (n_stages, n_pairs)
    if normalize == "token":
        sums = sums / tokens.answer_lengths
    elif normalize == "char":
        sums = sums / np.array([len(option) for option in flat])
    result = np.full((len(sums), len(choices), int(n_choices.max())), np.inf)
    columns = np.arange(len(flat)) - np.repeat(np.cumsum(n_choices) - n_choices, n_choices)
    result[:, rows, columns] = sums
    return result
