"""How costs grow with the number of members, the batch, the length of the prompt and the number of tokens.

A Llama with random weights, 10 million in its blocks. Every cost is a curve over sizes that double; the table says how
far the largest size is from costs in proportion to the smallest.

    python -m benchmarks.growth --figure docs/figures/growth.png
"""

from __future__ import annotations

import copy
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks._measure import Row, interleave, script
from benchmarks._models import WORDS, RandomLlama
from benchmarks.token_bookkeeping import one_round
from ensemw2s import HFCausalLM, MixtureForCausalLM, TokenDataset, word_tokenizer
from ensemw2s.mixture._scoring import option_nll, score_answers

N_ROWS, N_NEW, ANSWER = 8, 8, 4
PROMPTS = (16, 32, 64, 128, 256)


@dataclass(frozen=True)
class Curve:
    """One cost: its name, what it grows with, the sizes, and the work at one size."""

    name: str
    grows_with: str
    sizes: Sequence[int]
    work: Callable[[int], Callable[[], Any]]


def make_learner(shape: str) -> HFCausalLM:
    """A learner with an adapter that one step has trained."""
    learner = RandomLlama(shape).learner(
        tokenizer=word_tokenizer(WORDS), prompt_template="{prompt}", epochs=1, batch_size=N_ROWS,
        eval_batch_size=N_ROWS, random_state=0,
    )  # fmt: skip
    tokens = make_tokens(8)
    return learner.fit(tokens, token_weight=np.ones(tokens.n_tokens))


def make_tokens(prompt: int) -> TokenDataset:
    """Rows of random tokens."""
    prompts, answers = (np.random.default_rng(0).integers(3, 1000, N_ROWS * length) for length in (prompt, ANSWER))
    bounds = np.arange(N_ROWS + 1)
    return TokenDataset(prompts, bounds * prompt, answers, bounds * ANSWER)


def curves(shape: str) -> list[Curve]:
    """All that is measured."""
    import torch

    learner = make_learner(shape)

    def decode(n_members: int, n_rows: int) -> Callable[[], Any]:
        mixture = MixtureForCausalLM.from_members([copy.copy(learner) for _ in range(n_members)], np.ones(n_members))
        ids = torch.from_numpy(np.random.default_rng(0).integers(3, 1000, (n_rows, 32)))
        settings = {"max_new_tokens": N_NEW, "min_new_tokens": N_NEW, "do_sample": False, "pad_token_id": 0}
        return lambda: mixture.generate(input_ids=ids, attention_mask=torch.ones_like(ids), **settings)

    def options(prompt: int) -> Callable[[], Any]:
        rng = np.random.default_rng(0)
        prompts = [" ".join(rng.choice(WORDS, prompt)) for _ in range(N_ROWS)]
        choices = [[" ".join(rng.choice(WORDS, ANSWER - 1)) for _ in range(4)] for _ in prompts]
        return lambda: option_nll([learner], [1.0], prompts, choices, batch_size=4 * N_ROWS)

    def errors(prompt: int) -> Callable[[], Any]:
        return lambda: score_answers([learner], [1.0], make_tokens(prompt), batch_size=N_ROWS)

    def training(prompt: int) -> Callable[[], Any]:
        tokens, own = make_tokens(prompt), copy.copy(learner)
        return lambda: own.fit(tokens, token_weight=np.ones(tokens.n_tokens))

    return [
        Curve("decode, one row", "members T", (1, 2, 4, 8), lambda n: decode(n, 1)),
        Curve("decode, T = 4", "rows B", (1, 2, 4, 8, 16), lambda n: decode(4, n)),
        Curve("option scoring", "prompt tokens", PROMPTS, options),
        Curve("token-error pass", "prompt tokens", PROMPTS, errors),
        Curve("LoRA training step", "prompt tokens", PROMPTS, training),
        Curve("bookkeeping, one round", "answer tokens n", tuple(10**k for k in range(4, 8)),
              lambda n: lambda: one_round(n)),
    ]  # fmt: skip


def run(repeats: int = 5, figure: str = "", n_sizes: int = 5, shape: str = "10M") -> list[Row]:
    """One row for each curve, of its first `n_sizes` sizes; with `figure`, a picture of them there."""
    rows, measured = [], []
    for curve in curves(shape):
        sizes = curve.sizes[:n_sizes]
        seconds = interleave({str(size): curve.work(size) for size in sizes}, repeats)
        least = [min(seconds[str(size)]) for size in sizes]
        first, last = sizes[0], sizes[-1]
        pairs = zip(seconds[str(first)], seconds[str(last)], strict=True)
        ratios = [after / before * first / last for before, after in pairs]
        rows.append(
            Row(f"{curve.name}: {curve.grows_with} from {first:,} to {last:,}", "in proportion", min(ratios),
                statistics.median(ratios), "≤ 1.2", details={"sizes": list(sizes), "seconds": least})
        )  # fmt: skip
        measured.append((curve, least))
    if figure:
        draw(measured, Path(figure))
    return rows


def draw(measured: Sequence[tuple[Curve, list[float]]], path: Path) -> None:
    """Every curve, with a line for costs in proportion."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    picture, axes = plt.subplots(2, 3, figsize=(9, 5), layout="constrained")
    for axis, (curve, seconds) in zip(axes.flat, measured, strict=True):
        sizes = curve.sizes[: len(seconds)]
        straight = [seconds[0] * size / sizes[0] for size in sizes]
        axis.loglog(sizes, straight, "--", color="0.7", label="in proportion")
        axis.loglog(sizes, seconds, "o-", color="C0", label="measured")
        axis.set(title=curve.name, xlabel=curve.grows_with, ylabel="CPU seconds")
        if sizes[-1] < 1000:
            axis.set_xticks(sizes, [str(size) for size in sizes])
            axis.minorticks_off()
    axes[0, 0].legend(frameon=False)
    picture.savefig(path, dpi=110)
    plt.close(picture)


if __name__ == "__main__":
    script(run)
