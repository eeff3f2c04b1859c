"""One token for each row from T members over a vocabulary of 49,152 tokens.

The alternative is Eq. 1 as it is written: mix the members' probabilities, then `torch.multinomial`. Where nothing acts
on the mixture it need not be formed: a member is picked by its vote and its CDF inverted,
`KernelBackend.mixture_sample`. Where top-k, top-p or a temperature act on it, it is formed,
`KernelBackend.mixture_log_proba`, and one uniform number a row draws from it. What acts on it is left out.

    python -m benchmarks.mix_and_draw
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from scipy.special import softmax
from scipy.stats import chisquare

from benchmarks._measure import Row, compare, interleave, script
from ensemw2s import get_backend

N_MEMBERS, N_ROWS = 5, 8
N_BINS = 40
N_TURNS = 20  # calls in one measurement
Draw = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]


def run(repeats: int = 5, n_tokens: int = 49_152, n_calls: int = 400) -> list[Row]:
    """Rows of both draws, of which `n_calls` are held against the law, and one against float64."""
    generator = torch.Generator().manual_seed(0)
    logits = 3.0 * torch.randn(N_MEMBERS, N_ROWS, n_tokens, generator=generator)  # (T, B, V)
    weights = torch.tensor([0.35, 0.25, 0.2, 0.15, 0.05])
    log_weights = weights.log()
    backend = get_backend("auto", device="cpu", dtype=logits.dtype)

    def plain() -> None:
        for _ in range(N_TURNS):
            torch.multinomial(torch.tensordot(weights, logits.softmax(dim=-1), dims=1), 1)

    def picked(members: torch.Tensor, log_weights: torch.Tensor, uniform: torch.Tensor) -> torch.Tensor:
        return backend.mixture_sample(members, log_weights, uniform)

    def formed(members: torch.Tensor, log_weights: torch.Tensor, uniform: torch.Tensor) -> torch.Tensor:
        mixture = backend.mixture_log_proba(members, log_weights)
        return backend.mixture_sample(mixture[None], log_weights.new_zeros(1), uniform[:, 1])

    def turns(draw: Draw) -> Callable[[], None]:
        def work() -> None:
            for _ in range(N_TURNS):
                draw(logits, log_weights, torch.rand((N_ROWS, 2), dtype=torch.float64))

        return work

    seconds = interleave({"plain": plain, "picked": turns(picked), "formed": turns(formed)}, repeats)
    case = f"mix + draw, T={N_MEMBERS}, B={N_ROWS}, V={n_tokens // 1000}k"
    rows = []
    for name, draw, expected, words in (
        ("picked", picked, from_a_member, "nothing acts on the mixture: a member picked"),
        ("formed", formed, from_the_mixture, "the mixture formed"),
    ):
        p_value = same_law(draw, logits, log_weights, n_calls, generator)
        uniform = torch.rand((N_ROWS, 2), dtype=torch.float64, generator=generator)
        same_tokens = draw(logits, log_weights, uniform).tolist() == expected(logits, log_weights, uniform.numpy())
        rows.append(
            compare(f"{case}, {words}", "softmax + multinomial", seconds[name], seconds["plain"], "≥ 3.5x",
                    equal=p_value > 0.01 and same_tokens, p_value_of_law=p_value)
        )  # fmt: skip
    return rows


def same_law(
    draw: Draw, logits: torch.Tensor, log_weights: torch.Tensor, n_calls: int, generator: torch.Generator
) -> float:
    """p-value of the chi-square test that draws for the first row follow the mixture, over bins of like mass."""
    one_row = logits[:, :1].expand(-1, N_ROWS, -1)
    proba = log_weights.double().exp().numpy() @ softmax(logits[:, 0].double().numpy(), axis=-1)  # (V,)
    order = np.argsort(proba)[::-1]  # improbable tokens in bins of their own
    fill = np.minimum(np.cumsum(proba[order]) * N_BINS, N_BINS - 1).astype(np.int64)
    bin_of_token = np.empty(len(proba), dtype=np.int64)
    bin_of_token[order] = np.unique(fill, return_inverse=True)[1]  # one token may be more than a bin
    uniform = torch.rand((n_calls, N_ROWS, 2), dtype=torch.float64, generator=generator)
    drawn = torch.cat([draw(one_row, log_weights, numbers) for numbers in uniform])
    expected = np.bincount(bin_of_token, weights=proba)
    observed = np.bincount(bin_of_token[drawn.numpy()], minlength=len(expected))
    return float(chisquare(observed, expected / expected.sum() * observed.sum()).pvalue)


def from_a_member(logits: torch.Tensor, log_weights: torch.Tensor, uniform: np.ndarray) -> list[int]:
    """Tokens by two numbers a row in float64: the first picks a member, the second a token of it."""
    ends = np.cumsum(log_weights.double().exp().numpy())
    members = np.searchsorted(ends, uniform[:, 0] * ends[-1], side="right")
    proba = softmax(logits[members, np.arange(N_ROWS)].double().numpy(), axis=-1)  # (B, V)
    return inverted(proba, uniform[:, 1])


def from_the_mixture(logits: torch.Tensor, log_weights: torch.Tensor, uniform: np.ndarray) -> list[int]:
    """Tokens by the second number in float64, from the mixture."""
    proba = np.tensordot(log_weights.double().exp().numpy(), softmax(logits.double().numpy(), axis=-1), axes=1)
    return inverted(proba, uniform[:, 1])


def inverted(proba: np.ndarray, uniform: np.ndarray) -> list[int]:
    """Inverse CDF of each row."""
    cdf = np.cumsum(proba, axis=-1)
    return [int(np.searchsorted(row, number * row[-1], side="right")) for row, number in zip(cdf, uniform, strict=True)]


if __name__ == "__main__":
    script(run)
