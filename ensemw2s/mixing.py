"""The mixture of members (EnsemW2S, Eq. 1), one member at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from ensemw2s._validation import shorten

if TYPE_CHECKING:
    import torch

__all__ = ["COMBINATIONS", "mix", "normalized_votes"]

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
    import torch

    if combine == "logits":
        return logits * vote if mixed is None else mixed + logits * vote
    log_proba = logits.log_softmax(dim=-1)
    log_proba += float(np.log(vote))  # in place: one tensor over the vocabulary less
    return log_proba if mixed is None else torch.logaddexp(mixed, log_proba)
