"""Draws from the mixture after top-k, top-p and the like, without a sort or ``multinomial`` over the vocabulary."""

from __future__ import annotations

from typing import TYPE_CHECKING

from transformers import LogitsProcessor, LogitsProcessorList, TopPLogitsWarper

from ensemw2s.kernels import KernelBackend

if TYPE_CHECKING:
    import torch

N_SELECTED = 256  # most nuclei are far smaller
# Further from top_p than a float32 sum over a vocabulary can be off, so that both ways of summing decide alike.
MARGIN = 1e-4


def quick_draws(processors: LogitsProcessorList, backend: KernelBackend) -> LogitsProcessorList:
    """The same processors, with top-p by partial selection, and the draw itself as the last of them.

    What follows may take the argmax: one token is left.

    Parameters
    ----------
    processors : transformers.LogitsProcessorList
        Of `generate`.
    backend : KernelBackend
        What draws.
    """
    quick = [PartialTopP(each) if type(each) is TopPLogitsWarper else each for each in processors]
    return LogitsProcessorList([*quick, _Draw(backend)])


class OnlyReadable(LogitsProcessor):
    """Leaves out the ids that not every member of a mixture can read.

    Parameters
    ----------
    n_ids : int
        The least of them.
    """

    def __init__(self, n_ids: int) -> None:
        self.n_ids = n_ids

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Scores of shape (B, V) with -inf from id `n_ids` on."""
        scores = scores.clone()
        scores[:, self.n_ids :] = -float("inf")
        return scores


class PartialTopP(LogitsProcessor):
    """Top-p that sorts the `N_SELECTED` largest logits only.

    It keeps exactly the tokens that `transformers.TopPLogitsWarper` keeps: where rounding or equal logits could decide,
    or the nucleus is larger, that one is asked.

    Parameters
    ----------
    full : transformers.TopPLogitsWarper
        What it stands for.
    """

    def __init__(self, full: TopPLogitsWarper) -> None:
        self.full = full

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Scores of shape (B, V) with -inf, or the filter value, outside the nucleus."""
        n_selected = min(N_SELECTED, scores.shape[-1] - 1)
        if n_selected < self.full.min_tokens_to_keep:
            return self.full(input_ids, scores)
        largest = scores.topk(n_selected + 1, dim=-1).values.double()  # (B, n + 1), descending
        proba = (largest - scores.logsumexp(dim=-1, keepdim=True)).exp()
        above = proba.cumsum(dim=-1) - proba  # what is more probable; a token is kept where that is less than top_p
        n_kept = (above < self.full.top_p).sum(dim=-1, keepdim=True).clamp(min=self.full.min_tokens_to_keep)
        last = largest.gather(1, (n_kept - 1).clamp(max=n_selected - 1))
        following = largest.gather(1, n_kept.clamp(max=n_selected))
        near = ((above - self.full.top_p).abs() < MARGIN).any(dim=-1, keepdim=True)
        # The last sum must lie beyond top_p: otherwise the nucleus goes on behind what was selected.
        if bool((near | (n_kept > n_selected) | ~(last > following)).any()):
            return self.full(input_ids, scores)
        return scores.masked_fill(scores < last.to(scores.dtype), self.full.filter_value)


class _Draw(LogitsProcessor):
    """Leaves the one token of each row that a uniform number picks."""

    def __init__(self, backend: KernelBackend) -> None:
        self.backend = backend

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        import torch

        tokens = draw(self.backend, scores, torch.rand(len(scores), dtype=torch.float64, device=scores.device))
        return torch.full_like(scores, -torch.inf).scatter_(1, tokens[:, None], 0.0)


def draw(backend: KernelBackend, logits: torch.Tensor, uniform: torch.Tensor) -> torch.Tensor:
    """One token per row by the inverse CDF.

    Parameters
    ----------
    backend : KernelBackend
        What draws.
    logits : torch.Tensor of shape (B, V)
        Of one distribution per row.
    uniform : torch.Tensor of shape (B,), float64
        In [0, 1).

    Returns
    -------
    torch.Tensor of shape (B,), int64
    """
    return backend.mixture_sample(logits[None], logits.new_zeros(1), uniform)
