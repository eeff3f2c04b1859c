"""Questions with all their options packed into rows, so that a prompt is read once and little is padded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ensemw2s.learners import HFCausalLM
from ensemw2s.tokens import TokenDataset, pad_left

if TYPE_CHECKING:
    import torch

__all__ = ["can_pack", "packed_log_proba"]

# Architectures that take a mask of four dimensions as it is (with PyTorch's attention) and positions from
# `position_ids` alone; tested one by one.
_ARCHITECTURES = ("gemma3_text", "gpt2", "gpt_neox", "llama", "qwen2", "qwen3")
_PADDING = -1


def can_pack(member: Any, longest: int) -> bool:
    """Whether a member reads packed rows as it reads plain ones.

    Parameters
    ----------
    member : TokenLearner
        Others than `HFCausalLM` cannot.
    longest : int
        Tokens of the longest row. In a sliding window that is shorter a token sees less than the mask allows.
    """
    if not isinstance(member, HFCausalLM) or getattr(member, "adapt", "all") != "all":
        return False
    with member.lend_model() as model:
        config = model.config
    window = getattr(config, "sliding_window", None)
    known = config.model_type in _ARCHITECTURES and config._attn_implementation == "sdpa"
    return known and (window is None or window >= longest)


def packed_log_proba(member: Any, tokens: TokenDataset, n_choices: np.ndarray, batch_size: int) -> np.ndarray:
    """Log-probability of every answer token under one member.

    Behind a prompt stand the answers of all its options, each without its last token, from which nothing is predicted.
    An answer sees the prompt and itself, and its positions count on from the prompt's, so that it is read as if it
    stood alone. The prompt's last position predicts the first token of every option.

    Parameters
    ----------
    member : HFCausalLM
        See `can_pack`.
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
    import torch

    starts = np.cumsum(n_choices) - n_choices
    size = (tokens.lengths - tokens.answer_lengths)[starts] + np.add.reduceat(tokens.answer_lengths - 1, starts)
    result = np.empty(tokens.n_tokens)
    pad = getattr(member.tokenizer_, "pad_token_id", None) or 0
    order = np.argsort(-size, kind="stable")
    stride = int(n_choices.max()) + 1
    n_questions = max(1, batch_size // int(n_choices.max()))
    for begin in range(0, len(order), n_questions):
        questions = order[begin : begin + n_questions]
        rows = [
            _pack(tokens, [np.arange(starts[q], starts[q] + n_choices[q]) for q in share], stride)
            for share in _fill(questions, size)
        ]
        ids, mask = pad_left([row.ids for row in rows], pad)  # (R, L)
        owner, positions = np.full_like(ids, _PADDING), np.zeros_like(ids)
        owner[mask > 0] = np.concatenate([row.owner for row in rows])
        positions[mask > 0] = np.concatenate([row.positions for row in rows])
        n_last = max(row.n_last for row in rows)
        predictors = np.concatenate(
            [number * n_last + n_last - row.n_last + row.predictor for number, row in enumerate(rows)]
        )
        # A prompt's last position predicts the first token of each option, and shorter rows fill the last positions.
        cells, place = np.unique(predictors, return_inverse=True)
        logits, _ = member.decode_step(
            torch.from_numpy(ids), _tree_mask(owner, stride), torch.from_numpy(positions), n_last=n_last,
            cells=torch.from_numpy(cells),
        )  # (1, C, V)  # fmt: skip
        answers = np.concatenate([row.answers for row in rows])
        result[answers] = _pick(logits[0], place, tokens.labels[answers])
    return result


@dataclass(frozen=True)
class _Row:
    """Some questions in one row: first the prompts, then for each its last token and the options' tokens.

    Only this second part, `n_last` positions, goes through the head. `owner` is a number for each prompt and for each
    of its options; `answers` are places among the flat answer tokens, and `predictor` says which of the last positions
    predicts each.
    """

    ids: np.ndarray
    owner: np.ndarray
    positions: np.ndarray
    n_last: int
    answers: np.ndarray
    predictor: np.ndarray


def _fill(questions: np.ndarray, size: np.ndarray) -> list[list[int]]:
    """Share questions, longest first, out to rows as long as the longest: each goes where there is room first."""
    shares: list[list[int]] = []
    room: list[int] = []
    for question in questions.tolist():
        needed = int(size[question])
        place = next((place for place, free in enumerate(room) if free >= needed), len(room))
        if place == len(room):
            shares.append([])
            room.append(int(size[questions[0]]))
        shares[place].append(question)
        room[place] -= needed
    return shares


def _pack(tokens: TokenDataset, questions: list[np.ndarray], stride: int) -> _Row:
    """One row from questions, each given as the rows of its options; owners count from ``stride * question``."""
    prompts: list[tuple[np.ndarray, int, int]] = []  # tokens, owner, first position
    last: list[tuple[np.ndarray, int, int]] = []
    answers, predictor, n_last = [], [], 0
    for number, options in enumerate(questions):
        prompt, _ = tokens.row_ids(int(options[0]))
        end, n_last = n_last, n_last + 1
        prompts.append((prompt[:-1], stride * number, 0))
        last.append((prompt[-1:], stride * number, len(prompt) - 1))
        for branch, row in enumerate(options.tolist(), start=1):
            fed = tokens.row_ids(row)[1][:-1]
            last.append((fed, stride * number + branch, len(prompt)))
            answers.append(np.arange(tokens.indptr[row], tokens.indptr[row + 1]))
            predictor.append(np.append(end, np.arange(n_last, n_last + len(fed))))
            n_last += len(fed)
    pieces = prompts + last
    lengths = [len(ids) for ids, _, _ in pieces]
    return _Row(
        ids=np.concatenate([ids for ids, _, _ in pieces]),
        owner=np.repeat([owner for _, owner, _ in pieces], lengths),
        positions=np.concatenate([first + np.arange(len(ids)) for ids, _, first in pieces]),
        n_last=n_last,
        answers=np.concatenate(answers),
        predictor=np.concatenate(predictor),
    )


def _tree_mask(owner: np.ndarray, stride: int) -> torch.Tensor:
    """Which tokens each token sees, bool of shape (R, 1, L, L): its own before it, and those of its prompt."""
    import torch

    root = np.where(owner == _PADDING, _PADDING, owner - owner % stride)
    own, of_prompt = (torch.from_numpy(numbers)[:, :, None] for numbers in (owner, root))
    keys = torch.from_numpy(owner)[:, None, :]
    # A padded position sees padding: a row of the softmax must not be empty.
    return ((keys == own) | (keys == of_prompt)).tril()[:, None]


def _pick(logits: torch.Tensor, rows: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Log-probabilities of labels, float64 of shape (n,), each from a row of logits (C, V)."""
    import torch

    logits = logits.float()
    row, wanted = (torch.from_numpy(array).to(logits.device) for array in (rows, labels))
    return (logits[row, wanted] - logits.logsumexp(dim=-1)[row]).double().cpu().numpy()
