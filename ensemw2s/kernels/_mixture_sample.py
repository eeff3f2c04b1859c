"""A draw from the mixture in torch: the reference."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ensemw2s.kernels._shapes import accumulator, check_mixture, check_uniform

if TYPE_CHECKING:
    import torch

N_COLUMNS = 256  # in a block


def mixture_sample(logits: torch.Tensor, log_weights: torch.Tensor, uniform: torch.Tensor) -> torch.Tensor:
    """See `KernelBackend.mixture_sample`."""
    import torch

    check_mixture(logits, log_weights)
    check_uniform(uniform, logits.shape[1])
    n_rows, n_columns = logits.shape[1:]
    member, uniform = pick_member(log_weights, uniform)  # (B,), (B,)
    places = member * n_rows + torch.arange(n_rows, device=logits.device)
    picked = logits[0] if len(logits) == 1 else logits.flatten(0, 1).index_select(0, places)  # (B, V)
    proba = picked.to(accumulator(logits.dtype)).softmax(dim=-1)
    # The uniform number is used up step by step: what picking a member leaves of it is uniform again and picks a block,
    # and what that leaves picks a token.
    # A block, then a token in it: a running sum over all tokens takes four times as long as sums of blocks.
    block, uniform = _invert(_block_sums(proba), uniform)
    # The last block may reach beyond the vocabulary: its columns are clamped for the gather, and then weigh nothing.
    column = block[:, None] * N_COLUMNS + torch.arange(N_COLUMNS, device=logits.device)  # (B, N_COLUMNS)
    within = proba.gather(1, column.clamp(max=n_columns - 1)).masked_fill(column >= n_columns, 0.0)
    return block * N_COLUMNS + _invert(within, uniform)[0]


def _block_sums(proba: torch.Tensor) -> torch.Tensor:
    """Of each row of (B, V); the last block may be shorter than the others.

    In the numbers' own type: 256 of them add up to as many digits as each has, and float64 would take a copy of them.
    """
    import torch

    n_whole = proba.shape[1] // N_COLUMNS * N_COLUMNS
    sums = proba[:, :n_whole].unflatten(1, (-1, N_COLUMNS)).sum(dim=-1)
    if n_whole == proba.shape[1]:
        return sums
    return torch.cat([sums, proba[:, n_whole:].sum(dim=-1, keepdim=True)], dim=1)


def pick_member(log_weights: torch.Tensor, uniform: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Member of each row, int64 of shape (B,), and the uniform number that is left for its token, float64.

    Parameters
    ----------
    log_weights : torch.Tensor of shape (T,)
        Logarithms of votes.
    uniform : torch.Tensor of shape (B,) or (B, 2)
        In [0, 1).
    """
    shares = log_weights.double().softmax(dim=0).expand(len(uniform), -1)  # (B, T)
    first = uniform if uniform.ndim == 1 else uniform[:, 0]
    member, rest = _invert(shares, first)
    return member, rest if uniform.ndim == 1 else uniform[:, 1].double()


def _invert(proba: torch.Tensor, uniform: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Inverse CDF of each row of (B, K), and how far into its step the uniform number fell, in [0, 1)."""
    import torch

    # float64: a float32 sum of 100,000 terms is off by as much as the share of a rare token.
    cdf = proba.cumsum(dim=-1, dtype=torch.float64)
    total = cdf[:, -1]
    below_total = torch.nextafter(total, torch.zeros_like(total))
    target = (uniform.double() * total).minimum(below_total)[:, None]  # (B, 1)
    # The first step that ends above the target: never one of width 0.
    chosen = torch.searchsorted(cdf, target, right=True)  # (B, 1)
    end = cdf.gather(1, chosen)
    start = torch.where(chosen > 0, cdf.gather(1, (chosen - 1).clamp(min=0)), 0.0)
    return chosen[:, 0], ((target - start) / (end - start))[:, 0]
