"""Known answers and options under an ensemble: teacher-forced, at answer positions only."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import logsumexp

from ensemw2s._validation import as_texts, check_option, check_same_length
from ensemw2s.contracts import Branching, Cached, TokenLearner, answer_logits
from ensemw2s.exceptions import WeakLearnerError
from ensemw2s.metrics import TOLERANCE
from ensemw2s.mixture._alike import narrowest
from ensemw2s.mixture._branches import cached_log_proba, share_prompts, tree_log_proba
from ensemw2s.mixture._mixing import COMBINATIONS, add_member, normalized_votes
from ensemw2s.tokens import TokenDataset, padding_id, tokenize_options

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class ScoredOptions:
    """The negative log-likelihoods of n options, from which a normalisation makes what they are chosen by."""

    nll: np.ndarray
    """Of shape (..., n): sums over the options' tokens."""
    tokens: TokenDataset
    """The options, n rows."""
    texts: Sequence[str]
    same: Sequence[list[int]]
    """Options of one question that have the same tokens. A model reads one text; half precision, batches or a
    normalisation must not make it two."""

    def alike(self, values: ArrayLike) -> np.ndarray:
        """Numbers of the options, (..., n), with their mean where options have the same tokens."""
        values = np.array(values, dtype=np.float64)
        for rows in self.same:
            values[..., rows] = values[..., rows].mean(axis=-1, keepdims=True)
        return values


# By the name that the parameter `normalize` has: what options are chosen by, of shape (..., n), the least first.
NORMALIZATIONS: dict[str, Callable[[ScoredOptions], np.ndarray]] = {
    "sum": lambda options: options.nll,
    "token": lambda options: options.nll / options.tokens.answer_lengths,
    "char": lambda options: options.nll / options.alike([len(text) for text in options.texts]),
}


@dataclass(frozen=True)
class AnswerScores:
    """What ensembles make of known answer tokens.

    Attributes
    ----------
    nll : ndarray of shape (S, n_tokens), float64
        Negative log-likelihood of each answer token, in nats, one row per vote vector.
    predicted : ndarray of shape (S, n_tokens), int64
        The most probable token in its place; of a tie the lowest id, as greedy decoding writes.
    error : ndarray of shape (S, n_tokens), float64
        0 where the token is the most probable one, 1 - 1/m where it is one of m tied ones, else 1; empty unless it
        was asked for.
    """

    nll: np.ndarray
    predicted: np.ndarray
    error: np.ndarray = field(default_factory=lambda: np.empty((0, 0)))


def score_answers(
    members: Sequence[TokenLearner],
    votes: ArrayLike,
    tokens: TokenDataset,
    *,
    combine: str = "probabilities",
    batch_size: int = 64,
    with_error: bool = False,
) -> AnswerScores:
    r"""Score answer tokens, each given its prompt and the true tokens before it.

    The score of a token is :math:`-\log \sum_t \bar\alpha_t p_t(y_j \mid y_{<j})`. Each member is run once, however
    many vote vectors there are, so that all prefixes of an ensemble cost as much as the ensemble.

    Parameters
    ----------
    members : sequence of TokenLearner
        Fitted (or initialised) learners with one tokenizer.
    votes : array-like of shape (T,) or (S, T)
        One or several vote vectors, see `normalized_votes`.
    tokens : TokenDataset
        Tokenised for the members.
    combine : {"probabilities", "logits"}, default="probabilities"
        What is averaged.
    batch_size : int, default=64
        Rows per forward pass.
    with_error : bool, default=False
        Whether errors are counted with ties in mind, for one more look at every probability.

    Returns
    -------
    AnswerScores

    Raises
    ------
    WeakLearnerError
        If a member's logits hold a NaN or +inf, or nothing but -inf at a position.
    """
    import torch

    rule = COMBINATIONS[check_option(combine, "combine", COMBINATIONS)]
    vote_rows = normalized_votes(votes, len(members))
    nll = np.empty((len(vote_rows), tokens.n_tokens))
    predicted = np.empty((len(vote_rows), tokens.n_tokens), dtype=np.int64)
    error = np.empty_like(nll) if with_error else np.empty((0, 0))
    pad = min(padding_id(member) for member in members)  # which all of them have
    for rows in tokens.iter_batches(batch_size):
        batch = tokens.batch(rows, pad_token_id=pad)
        index, labels = batch.token_index[batch.is_answer], torch.from_numpy(batch.labels[batch.is_answer])  # (R,)
        mixed: list[torch.Tensor | None] = [None] * len(vote_rows)
        for place in np.flatnonzero(vote_rows.any(axis=0)).tolist():
            logits = answer_logits(members[place], batch)  # (R, V)
            # The largest of a row is NaN where one is, and -inf only where nothing can follow.
            if not torch.isfinite(logits.amax(dim=-1)).all():
                raise _diverged(place)
            terms = rule.terms(logits)  # once, however many vote vectors there are
            for stage, row in enumerate(vote_rows):
                if row[place] > 0:
                    mixed[stage] = add_member(mixed[stage], terms, float(row[place]), rule)
        for stage, values in enumerate(mixed):
            log_proba = rule.log_proba(values)
            nll[stage, index] = -_pick(log_proba, labels)
            best = values.argmax(dim=-1)  # type: ignore[union-attr]
            predicted[stage, index] = best.cpu().numpy()
            if with_error:
                error[stage, index] = _share_missed(log_proba, best, labels)
    return AnswerScores(nll, predicted, error)


def option_nll(
    members: Sequence[TokenLearner],
    votes: ArrayLike,
    prompts: Sequence[str],
    choices: Sequence[Sequence[str]],
    *,
    combine: str = "probabilities",
    normalize: str = "sum",
    batch_size: int = 64,
) -> np.ndarray:
    """Negative log-likelihood of every option of every question.

    The score of an option is the sum of its tokens' scores: a sum of logs of mixtures, not the log of a mixture of
    products.

    Parameters
    ----------
    members, votes, combine, batch_size
        As in `score_answers`; the members read alike, see `difference`.
    prompts : sequence of str, shape (n,)
        Questions.
    choices : sequence of sequences of str, shape (n,)
        Options; questions may have different numbers of them.
    normalize : {"sum", "token", "char"}, default="sum"
        Leave the sum over the option's tokens (end-of-answer included), or divide it by the number of these
        tokens or of the option's characters. Options of a question that have the same tokens have one score; their
        number of characters is the mean.

    Returns
    -------
    ndarray of shape (S, n, K)
        K is the largest number of options; ``inf`` where a question has fewer.
    """
    check_option(normalize, "normalize", NORMALIZATIONS)
    check_option(combine, "combine", COMBINATIONS)
    prompts = as_texts(prompts, "prompts", what="prompt")
    check_same_length(prompts, choices, "prompts", "choices")
    choices = [as_texts(options, f"choices[{row}]", what="option") for row, options in enumerate(choices)]
    n_choices = np.array([len(options) for options in choices])
    tokens = tokenize_options(narrowest(members), prompts, choices)
    token_nll = _token_nll(members, votes, tokens, n_choices, combine=combine, batch_size=batch_size)
    return option_table(np.stack([tokens.sum_rows(stage) for stage in token_nll]), tokens, choices, normalize)


def option_table(
    sums: np.ndarray, tokens: TokenDataset, choices: Sequence[Sequence[str]], normalize: str
) -> np.ndarray:
    """Scores of options from the sums over their tokens; equal tokens have equal scores.

    Parameters
    ----------
    sums : ndarray of shape (..., n_options)
        Sums over the tokens of each option.
    tokens : TokenDataset of n_options rows
        From `tokenize_options`.
    choices : sequence of sequences of str, shape (n,)
        The options.
    normalize : {"sum", "token", "char"}
        What is made of a sum, see `option_nll`.

    Returns
    -------
    ndarray of shape (..., n, K)
        ``inf`` where a question has fewer options.
    """
    check_option(normalize, "normalize", NORMALIZATIONS)
    questions = [row for row, options in enumerate(choices) for _ in options]
    columns = [column for options in choices for column in range(len(options))]
    same: dict[tuple[int, bytes], list[int]] = {}
    for row, question in enumerate(questions):
        same.setdefault((question, tokens.row_ids(row)[1].tobytes()), []).append(row)
    texts = [text for options in choices for text in options]
    scored = ScoredOptions(sums, tokens, texts, [rows for rows in same.values() if len(rows) > 1])
    table = np.full((*sums.shape[:-1], len(choices), max(columns) + 1), np.inf)
    table[..., questions, columns] = NORMALIZATIONS[normalize](replace(scored, nll=scored.alike(sums)))
    return table


def _token_nll(
    members: Sequence[TokenLearner],
    votes: ArrayLike,
    tokens: TokenDataset,
    n_choices: np.ndarray,
    *,
    combine: str,
    batch_size: int,
) -> np.ndarray:
    """NLL of the options' tokens, (S, n_tokens)."""
    if not COMBINATIONS[combine].of_probabilities:
        return score_answers(members, votes, tokens, combine=combine, batch_size=batch_size).nll
    # The score of a known token needs no mixture over the vocabulary: one number per member and token is enough.
    vote_rows = normalized_votes(votes, len(members))
    shared = share_prompts(tokens, n_choices) & (n_choices > 1).any()  # (n_questions,)
    log_proba = np.zeros((len(members), tokens.n_tokens))  # (T, n_tokens)
    for place in np.flatnonzero(vote_rows.any(axis=0)).tolist():
        log_proba[place] = _log_proba(members[place], tokens, n_choices, shared, batch_size)
    if np.isnan(log_proba).any():
        raise _diverged(int(np.flatnonzero(np.isnan(log_proba).any(axis=1))[0]))
    return np.stack([-logsumexp(log_proba, axis=0, b=row[:, None]) for row in vote_rows])


def _log_proba(
    member: TokenLearner, tokens: TokenDataset, n_choices: np.ndarray, shared: np.ndarray, batch_size: int
) -> np.ndarray:
    """Log-probability of the options' tokens, (n_tokens,), each question scored in the fastest way that it allows."""
    longest = np.maximum.reduceat(tokens.lengths, np.cumsum(n_choices) - n_choices)  # (n_questions,)
    by_tree = shared & (longest <= (member.longest_tree() if isinstance(member, Branching) else 0))
    by_cache = shared & ~by_tree & isinstance(member, Cached)
    ways: list[tuple[Callable[[Any, TokenDataset, np.ndarray, int], np.ndarray], np.ndarray]] = [
        (tree_log_proba, by_tree), (cached_log_proba, by_cache), (_row_log_proba, ~by_tree & ~by_cache)
    ]  # fmt: skip
    result = np.empty(tokens.n_tokens)
    for way, questions in ways:
        if questions.any():
            rows = np.repeat(questions, n_choices)
            part = tokens if rows.all() else tokens.take(rows)
            result[tokens.spread(rows)] = way(member, part, n_choices[questions], batch_size)
    return result


def _row_log_proba(member: TokenLearner, tokens: TokenDataset, _: np.ndarray, batch_size: int) -> np.ndarray:
    log_proba: np.ndarray = -score_answers([member], [1.0], tokens, batch_size=batch_size).nll[0]
    return log_proba


def _diverged(place: int) -> WeakLearnerError:
    return WeakLearnerError(f"Member {place} gives logits that are not finite; its training diverged (lower lr).")


def _share_missed(log_proba: torch.Tensor, best: torch.Tensor, labels: torch.Tensor) -> np.ndarray:
    """What each label lacks of a right prediction, (R,), where tied tokens share it; `best` are the likeliest ones."""
    highest = log_proba.gather(1, best[:, None])  # (R, 1)
    lowest = highest - TOLERANCE * (1.0 + highest.abs())  # of the tokens that are tied with it
    right = (log_proba.gather(1, labels.to(log_proba.device)[:, None]) >= lowest)[:, 0]
    others = log_proba[right].scatter_(1, best[right][:, None], -float("inf"))  # a copy
    # Counting takes longer than looking for the second best, and few rows have something to share.
    shared = others.amax(dim=-1) >= lowest[right][:, 0]
    n_tied = np.ones(len(others))
    n_tied[shared.cpu().numpy()] += (others[shared] >= lowest[right][shared]).sum(dim=-1).cpu().numpy()
    missed = np.ones(len(labels))
    missed[right.cpu().numpy()] = 1.0 - 1.0 / n_tied
    return missed


def _pick(log_proba: torch.Tensor, labels: torch.Tensor) -> np.ndarray:
    chosen = log_proba.gather(1, labels.to(log_proba.device)[:, None])[:, 0]  # (R,)
    values: np.ndarray = chosen.double().cpu().numpy()
    return values
