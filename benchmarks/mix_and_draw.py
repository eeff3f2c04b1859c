"""One token for each row from T members over a vocabulary of 49,152 tokens.

The alternative is Eq. 1 as it is written: mix the members' probabilities, then `torch.multinomial`. Ours picks a member
by its vote and inverts that member's CDF, `KernelBackend.mixture_sample`; beside it, in the details, the mixture itself
and a draw from it by one uniform number, which is what is left to do where top-p or a temperature acts on the mixture.

    python -m benchmarks.mix_and_draw
"""

from __future__ import annotations

import numpy as np
import torch
from scipy.special import softmax
from scipy.stats import chisquare

from benchmarks._measure import Row, compare, interleave, script
from ensemw2s import KernelBackend, get_backend

N_MEMBERS, N_ROWS, N_TOKENS = 5, 8, 49_152
N_CALLS = 400  # for the law: 8 draws each
N_BINS = 40
N_TURNS = 20  # calls in one measurement


def run(repeats: int = 5) -> list[Row]:
    """Measure, and compare laws and tokens with float64."""
    generator = torch.Generator().manual_seed(0)
    logits = 3.0 * torch.randn(N_MEMBERS, N_ROWS, N_TOKENS, generator=generator)  # (T, B, V)
    weights = torch.tensor([0.35, 0.25, 0.2, 0.15, 0.05])
    log_weights = weights.log()
    backend = get_backend("auto", device="cpu", dtype=logits.dtype)

    def plain() -> None:
        for _ in range(N_TURNS):
            torch.multinomial(torch.tensordot(weights, logits.softmax(dim=-1), dims=1), 1)

    def ours() -> None:
        for _ in range(N_TURNS):
            uniform = torch.rand((N_ROWS, 2), dtype=torch.float64)
            backend.mixture_sample(logits, log_weights, uniform)

    def mixed() -> None:
        for _ in range(N_TURNS):
            mixture = backend.mixture_log_proba(logits, log_weights)
            backend.mixture_sample(mixture[None], log_weights.new_zeros(1), torch.rand(N_ROWS, dtype=torch.float64))

    seconds = interleave({"plain": plain, "ours": ours, "mixed": mixed}, repeats)
    p_value = same_law(backend, logits, log_weights, generator)
    equal = p_value > 0.01 and same_tokens(backend, logits, log_weights, generator)
    mixed_ratio = [other / mine for mine, other in zip(seconds["mixed"], seconds["plain"], strict=True)]
    return [
        compare(
            "mix + draw, T=5, B=8, V=49k", "softmax + multinomial", seconds["ours"], seconds["plain"], "≥ 3.5x",
            equal=equal, p_value_of_law=p_value, mixture_then_one_uniform=mixed_ratio,
        )
    ]  # fmt: skip


def same_law(
    backend: KernelBackend, logits: torch.Tensor, log_weights: torch.Tensor, generator: torch.Generator
) -> float:
    """p-value of the chi-square test that draws for the first row follow the mixture, over bins of like mass."""
    one_row = logits[:, :1].expand(-1, N_ROWS, -1)
    proba = log_weights.double().exp().numpy() @ softmax(logits[:, 0].double().numpy(), axis=-1)  # (V,)
    order = np.argsort(proba)[::-1]  # improbable tokens in bins of their own
    fill = np.minimum(np.cumsum(proba[order]) * N_BINS, N_BINS - 1).astype(np.int64)
    bin_of_token = np.empty(N_TOKENS, dtype=np.int64)
    bin_of_token[order] = np.unique(fill, return_inverse=True)[1]  # one token may be more than a bin
    drawn = [
        backend.mixture_sample(
            one_row, log_weights, torch.rand((N_ROWS, 2), dtype=torch.float64, generator=generator)
        ).numpy()
        for _ in range(N_CALLS)
    ]
    expected = np.bincount(bin_of_token, weights=proba)
    observed = np.bincount(bin_of_token[np.concatenate(drawn)], minlength=len(expected))
    return float(chisquare(observed, expected / expected.sum() * observed.sum()).pvalue)


def same_tokens(
    backend: KernelBackend, logits: torch.Tensor, log_weights: torch.Tensor, generator: torch.Generator
) -> bool:
    """Whether uniform numbers give the tokens that float64 gives."""
    uniform = torch.rand((N_ROWS, 2), dtype=torch.float64, generator=generator)
    ends = np.cumsum(log_weights.double().exp().numpy())
    expected = []
    for row, (first, second) in enumerate(uniform.numpy()):
        member = np.searchsorted(ends, first * ends[-1], side="right")
        cdf = np.cumsum(softmax(logits[member, row].double().numpy()))
        expected.append(np.searchsorted(cdf, second * cdf[-1], side="right"))
    return backend.mixture_sample(logits, log_weights, uniform).tolist() == expected


if __name__ == "__main__":
    script(run)
