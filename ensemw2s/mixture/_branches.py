"""Options as branches behind one prompt, so that a prompt is read once per question."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ensemw2s.contracts import Branching, Cached, KeepsPrompts, checked_step
from ensemw2s.tokens import TokenDataset, pad_left, pad_right, padding_id, positions_of

if TYPE_CHECKING:
    import torch


def share_prompts(tokens: TokenDataset, n_choices: np.ndarray) -> np.ndarray:
    """For which questions all rows have the same prompt tokens, bool of shape (n_questions,).

    They differ where prompts were cut to make room for options of different lengths.

    Parameters
    ----------
    tokens : TokenDataset
        One row per option, the options of a question one after the other.
    n_choices : ndarray of shape (n_questions,)
        Number of options per question.
    """
    starts = np.cumsum(n_choices) - n_choices
    first = np.repeat(starts, n_choices)
    same = [np.array_equal(tokens.row_ids(row)[0], tokens.row_ids(int(first[row]))[0]) for row in range(len(tokens))]
    return np.logical_and.reduceat(same, starts)


def tree_log_proba(member: Branching, tokens: TokenDataset, n_choices: np.ndarray, batch_size: int) -> np.ndarray:
    """Log-probability of every answer token under one member, with all options of a question in one row.

    Behind a prompt stand the answers of all its options, each without its last token, from which nothing is predicted.
    The prompt's last position predicts the first token of every option.

    Parameters
    ----------
    member : TokenLearner
        No row is longer than its ``longest_tree``.
    tokens : TokenDataset
        One row per option, with shared prompts, see `share_prompts`.
    n_choices : ndarray of shape (n_questions,)
        Number of options per question.
    batch_size : int
        Options per forward pass, about.

    Returns
    -------
    ndarray of shape (n_tokens,), float64
    """
    options = np.split(np.arange(len(tokens)), np.cumsum(n_choices)[:-1])
    prompts = [tokens.row_ids(int(rows[0]))[0] for rows in options]
    branches = [[tokens.row_ids(row)[1][:-1] for row in rows.tolist()] for rows in options]
    result = np.empty(tokens.n_tokens)
    for questions, logits in member.branch_logits(prompts, branches, batch_size=batch_size):
        places, predictors, n_before = [], [], 0  # of the answer tokens; rows of the logits
        for question in questions:
            end, n_before = n_before, n_before + 1
            for row, branch in zip(options[question].tolist(), branches[question], strict=True):
                places.append(np.arange(tokens.indptr[row], tokens.indptr[row + 1]))
                predictors.append(np.append(end, np.arange(n_before, n_before + len(branch))))
                n_before += len(branch)
        answers = np.concatenate(places)
        result[answers] = _pick(logits, np.concatenate(predictors), tokens.labels[answers])
    return result


def cached_log_proba(member: Cached, tokens: TokenDataset, n_choices: np.ndarray, batch_size: int) -> np.ndarray:
    """`tree_log_proba` for models that read no trees: the options are rows behind the prompt's key-value cache.

    Parameters
    ----------
    member : TokenLearner
    tokens, n_choices, batch_size
        As in `tree_log_proba`.

    Returns
    -------
    ndarray of shape (n_tokens,), float64
    """
    import torch

    starts = np.cumsum(n_choices) - n_choices
    result = np.empty(tokens.n_tokens)
    pad, n_tokens = padding_id(member), int(tokens.labels.max()) + 1
    # The longest first: a batch that does not fit into memory fails at once, and prompts of like length share padding.
    order = np.argsort(-tokens.lengths[starts], kind="stable")
    n_questions = max(1, batch_size // int(n_choices.max()))
    for begin in range(0, len(order), n_questions):
        questions = order[begin : begin + n_questions]
        ids, mask = pad_left([tokens.row_ids(int(starts[q]))[0] for q in questions], pad)  # (Q, L)
        prompt_mask, lengths = torch.from_numpy(mask), torch.from_numpy(mask.sum(axis=1))
        positions = positions_of(prompt_mask)
        # The other members, and the next round, are asked about the same prompts.
        start = member._kept_prompts() if isinstance(member, KeepsPrompts) else None
        rows = np.concatenate([np.arange(starts[q], starts[q] + n_choices[q]) for q in questions])  # (R,)
        answers = [tokens.row_ids(int(row))[1] for row in rows]
        question_of_row = torch.from_numpy(np.repeat(np.arange(len(questions)), n_choices[questions]))
        n_rest = max(len(answer) for answer in answers) - 1

        first = np.array([answer[0] for answer in answers])
        step = member.decode_step(
            torch.from_numpy(ids), prompt_mask, positions, cache=start, n_last=1, use_cache=n_rest > 0
        )
        logits, cache = checked_step(step, member, (len(questions), 1), n_tokens)  # (Q, 1, V)
        result[tokens.indptr[rows]] = _pick(logits[:, 0], question_of_row.numpy(), first)
        if n_rest == 0:
            continue

        rest, rest_mask = pad_right([answer[:-1] for answer in answers], pad)  # (R, k - 1)
        labels, _ = pad_right([answer[1:] for answer in answers], 0)
        # Each option goes on from a copy of its question's cache; the prompt itself was read once.
        cache.reorder_cache(question_of_row.to(logits.device))
        step = member.decode_step(
            torch.from_numpy(rest),
            torch.cat([prompt_mask[question_of_row], torch.from_numpy(rest_mask)], dim=1),
            lengths[question_of_row][:, None] + torch.arange(n_rest)[None],
            cache=cache,
            n_last=n_rest,
            use_cache=True,
        )
        logits, _ = checked_step(step, member, (len(rows), n_rest), n_tokens)  # (R, k - 1, V)
        row_place, offset = np.nonzero(rest_mask)
        cells = np.ravel_multi_index((row_place, offset), rest_mask.shape)
        result[tokens.indptr[rows[row_place]] + 1 + offset] = _pick(
            logits.flatten(0, 1), cells, labels[row_place, offset]
        )
    return result


def _pick(logits: torch.Tensor, rows: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Log-probabilities of labels, float64 of shape (n,), each from a row of logits (C, V)."""
    import torch

    logits = logits.float()
    row, wanted = (torch.from_numpy(array).to(logits.device) for array in (rows, labels))
    picked: np.ndarray = (logits[row, wanted] - logits.logsumexp(dim=-1)[row]).double().cpu().numpy()
    return picked
