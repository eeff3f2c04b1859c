"""The mixture of members (EnsemW2S, Eq. 1), one member at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from ensemw2s._validation import shorten

if TYPE_CHECKING:
    import torch

__all__ = ["COMBINATIONS", "add_member", "align_widths", "member_terms", "mix", "normalized_votes"]

COMBINATIONS = ("probabilities", "logits")


def normalized_votes(votes: ArrayLike, n_members: int) -> np.ndarray:
    """Vote vectors that sum to 1, one per row.

    Parameters
    ----------
    votes : array-like of shape (T,) or (S, T)
        Votes >= 0, with a positive one in each row; 0 leaves a member out.
    n_members : int
        T.

    Returns
    -------
    ndarray of shape (S, T), float64
    """
    if n_members == 0:
        raise ValueError("A mixture must have at least one member. Got none.")
    try:
        rows = np.atleast_2d(np.asarray(votes, dtype=np.float64))
    except (TypeError, ValueError) as error:
        raise ValueError(f"votes must hold numbers. Got {shorten(votes)} instead.") from error
    if rows.ndim != 2 or rows.shape[1] != n_members:
        raise ValueError(f"votes must have {n_members} columns, one per member. Got shape {np.shape(votes)} instead.")
    if not np.isfinite(rows).all() or (rows < 0).any() or not rows.any(axis=1).all():
        raise ValueError(
            f"votes must be finite and >= 0, with a positive one in each row. Got {shorten(votes)} instead."
        )
    return rows / rows.sum(axis=1, keepdims=True)


def mix(mixed: torch.Tensor | None, logits: torch.Tensor, vote: float, combine: str) -> torch.Tensor:
    """Add one member to a running mixture.

    Parameters
    ----------
    mixed : torch.Tensor of shape (..., V) or None
        The mixture so far, None at the first member.
    logits : torch.Tensor of shape (..., V)
        The member's.
    vote : float
        The member's vote, > 0.
    combine : {"probabilities", "logits"}
        Whether `mixed` is a log of probabilities or a sum of logits.

    Returns
    -------
    torch.Tensor of shape (..., V)
    """
    return add_member(mixed, member_terms(logits, combine), vote, combine)


def member_terms(logits: torch.Tensor, combine: str) -> torch.Tensor:
    """What of a member is mixed, whatever its vote: its log-probabilities, or its logits, of shape (..., V)."""
    return logits if combine == "logits" else logits.log_softmax(dim=-1)


def add_member(mixed: torch.Tensor | None, terms: torch.Tensor, vote: float, combine: str) -> torch.Tensor:
    """`mix` for what `member_terms` gives, so that mixtures with other votes can share it."""
    import torch

    if mixed is not None and mixed.shape[-1] != terms.shape[-1]:
        mixed, terms = align_widths([mixed, terms])
    if combine == "logits":
        return terms * vote if mixed is None else mixed + terms * vote
    log_proba = terms if vote == 1.0 else terms + float(np.log(vote))  # alone: one tensor over the vocabulary less
    return log_proba if mixed is None else torch.logaddexp(mixed, log_proba)


def align_widths(logits: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """Tensors (..., V) over one vocabulary; a model that has no embedding for an id never says it.

    Bases with one tokenizer may have spare embeddings, and not the same number of them.
    """
    import torch

    width = max(each.shape[-1] for each in logits)
    if all(each.shape[-1] == width for each in logits):
        return list(logits)
    return [torch.nn.functional.pad(each, (0, width - each.shape[-1]), value=-torch.inf) for each in logits]
