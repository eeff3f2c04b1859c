"""The mixture of members (EnsemW2S, Eq. 1), one member at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from ensemw2s._validation import shorten

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Combination:
    """How members' logits, each of shape (..., V), become one distribution."""

    of_probabilities: bool
    """Whether it is Eq. 1: a known token then needs one number of each member, and a draw may pick a member."""
    terms: Callable[[torch.Tensor], torch.Tensor]
    """What of a member's logits is mixed, whatever its vote; mixtures with other votes share it."""
    weigh: Callable[[torch.Tensor, float], torch.Tensor]
    """A member's terms with its share of the votes, > 0."""
    join: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
    """The weighed terms of the members so far, and those of one more."""
    log_proba: Callable[[torch.Tensor], torch.Tensor]
    """The distribution that all of them make, as logarithms."""
    logits: Callable[[torch.Tensor], torch.Tensor] = lambda mixed: mixed
    """The same as logits, of which the distribution is the softmax, on the members' scale where there is one."""


# By the name that the parameter `combine` has.
COMBINATIONS = {
    "probabilities": Combination(
        of_probabilities=True,
        terms=lambda logits: logits.log_softmax(dim=-1),
        # Alone: one tensor over the vocabulary less.
        weigh=lambda log_proba, vote: log_proba if vote == 1.0 else log_proba + float(np.log(vote)),
        join=lambda mixed, log_proba: mixed.logaddexp(log_proba),
        log_proba=lambda mixed: mixed,
    ),
    "logits": Combination(
        of_probabilities=False,
        terms=lambda logits: logits,
        weigh=lambda logits, vote: logits * vote,
        join=lambda mixed, logits: mixed + logits,
        log_proba=lambda mixed: mixed.log_softmax(dim=-1),
    ),
}


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
    shares: np.ndarray = rows / rows.sum(axis=1, keepdims=True)
    return shares


def staged_votes(votes: ArrayLike) -> np.ndarray:
    """Vote vectors of the first 1, 2, ..., T members, (T,) -> (T, T)."""
    row = np.atleast_1d(np.asarray(votes, dtype=np.float64))
    return np.tril(np.ones((len(row), 1)) * row)


class RunningMixture:
    r"""The logits of a mixture, to which members are added one by one.

    With probabilities they are :math:`\log \sum_t \bar\alpha_t \operatorname{softmax}(z_t) + \sum_t \bar\alpha_t
    \operatorname{logsumexp}(z_t)`. The second term is the same for all tokens, so that the distribution is Eq. 1. It
    puts the logits on the scale of the members': those of a mixture of one are its member's, to the bit, and what
    multiplies logits, such as a repetition penalty, acts as it does on a single model.

    Parameters
    ----------
    combine : {"probabilities", "logits"}
        What is averaged.
    """

    def __init__(self, combine: str) -> None:
        self._rule = COMBINATIONS[combine]
        self._alone: torch.Tensor | None = None
        self._mixed: torch.Tensor | None = None
        self._scale: torch.Tensor | float = 0.0  # (..., 1)

    def add(self, logits: torch.Tensor, vote: float) -> None:
        """Add a member's logits of shape (..., V) with its share of the votes, > 0."""
        if vote == 1.0:  # it is alone
            # Tensors of inference mode cannot be changed in place, as processors of logits do.
            self._alone = logits.clone() if logits.is_inference() else logits
            return
        terms = self._rule.terms(logits)
        if self._rule.of_probabilities:
            self._scale = self._scale + vote * log_normalizer(logits, terms)
        self._mixed = add_member(self._mixed, terms, vote, self._rule)

    @property
    def logits(self) -> torch.Tensor:
        """Of shape (..., V), V the largest of the members."""
        if self._alone is not None:
            return self._alone
        if self._mixed is None:
            raise ValueError("A mixture must have at least one member. Got none.")
        mixed = self._rule.logits(self._mixed)
        return mixed if isinstance(self._scale, float) else mixed + self._scale


def add_member(mixed: torch.Tensor | None, terms: torch.Tensor, vote: float, rule: Combination) -> torch.Tensor:
    """Add a member's terms to a running mixture (None at the first), with its share of the votes, > 0."""
    if mixed is None:
        return rule.weigh(terms, vote)
    if mixed.shape[-1] != terms.shape[-1]:
        mixed, terms = align_widths([mixed, terms])
    return rule.join(mixed, rule.weigh(terms, vote))


def common_scale(logits: torch.Tensor, votes: Sequence[float]) -> torch.Tensor | float:
    """What `RunningMixture` adds to log-probabilities, of shape (..., 1), for all members' logits, (T, ..., V)."""
    # Member by member, so that no second (T, ..., V) is made; log_softmax takes less than logsumexp on a CPU.
    return sum(vote * log_normalizer(z, z.log_softmax(dim=-1)) for vote, z in zip(votes, logits, strict=True))


def log_normalizer(logits: torch.Tensor, terms: torch.Tensor) -> torch.Tensor:
    """What was subtracted from logits to make log-probabilities of them, their logsumexp, of shape (..., 1)."""
    return logits.amax(dim=-1, keepdim=True) - terms.amax(dim=-1, keepdim=True)


def align_widths(logits: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """Tensors (..., V) over one vocabulary; a model that has no embedding for an id gives it probability 0.

    Bases with one tokenizer may have spare embeddings, and not the same number of them.
    """
    import torch

    width = max(each.shape[-1] for each in logits)
    if all(each.shape[-1] == width for each in logits):
        return list(logits)
    return [torch.nn.functional.pad(each, (0, width - each.shape[-1]), value=-torch.inf) for each in logits]
