"""Time and memory of the boosting equations on many answer tokens.

Three rounds of boosting with simulated mistakes: the draw in all three modes, the weighted error, the window error,
the update. Fails when memory passes 40 bytes per token (4 GB at 100 million), or when a result differs from a
straightforward implementation on a small set. Times are CPU seconds of this process.

    python -m benchmarks.token_bookkeeping --tokens 100000000

In the table of all benchmarks: one round (a draw, the error, the vote, the update) of 10 million tokens, and of ten
times as many. The memory there is the peak of what NumPy allocates, the mistakes included.
"""

from __future__ import annotations

import argparse
import bisect
import math
import resource
import statistics
import sys
import time
import tracemalloc
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks._measure import Row
from ensemw2s import draw_tokens, estimator_weight, reweight, weighted_error, window_error

BYTES_PER_TOKEN = 40
FIXED_BYTES = 8 << 20  # blocks, and what libraries allocate when first used
PRIOR_ERROR, ERROR = 0.86, 0.4  # of an untrained model on SciQ and of a fine-tuned one, about
SAMPLINGS = ("binary", "count", "weight")
ANSWER_LENGTH, WINDOW = 5, 3


class Stopwatch:
    """CPU seconds and calls by name."""

    def __init__(self) -> None:
        self.seconds: dict[str, list[float]] = defaultdict(list)

    def __call__(self, name: str, work: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        start = time.process_time()
        result = work(*args, **kwargs)
        self.seconds[name].append(time.process_time() - start)
        return result


def simulated_mistakes(n_tokens: int, rng: np.random.Generator) -> np.ndarray:
    """0/1 mistakes, one byte per token."""
    wrong = np.empty(n_tokens, dtype=bool)
    for start in range(0, n_tokens, 1 << 20):
        block = wrong[start : start + (1 << 20)]
        block[:] = rng.random(len(block)) < ERROR
    return wrong


def boost(n_tokens: int, n_rounds: int, watch: Stopwatch) -> np.ndarray:
    """Weights after some rounds."""
    rng = np.random.default_rng(0)
    indptr = np.append(np.arange(0, n_tokens, ANSWER_LENGTH), n_tokens)
    weight = np.full(n_tokens, 1.0 / n_tokens)
    for seed in range(n_rounds):
        for sampling in SAMPLINGS:
            watch(f"draw_tokens, {sampling}", draw_tokens, weight, sampling=sampling, random_state=seed)
        wrong = simulated_mistakes(n_tokens, rng)
        watch(f"window_error, L={WINDOW}", window_error, wrong, indptr, WINDOW)
        vote = estimator_weight(watch("weighted_error", weighted_error, wrong, weight), PRIOR_ERROR)
        weight = watch("reweight", reweight, weight, wrong, vote)
    return weight


def plain_draw(weight: np.ndarray, seed: int) -> np.ndarray:
    """The draw as one would write it: a multinomial sample and its counts."""
    drawn = np.random.default_rng(seed).choice(len(weight), size=len(weight), p=weight)
    return np.bincount(drawn, minlength=len(weight))


def compare_with_loops(n_tokens: int = 20_011, n_rounds: int = 3) -> None:
    """Raise unless every function gives what Python loops give."""
    rng = np.random.default_rng(1)
    indptr = np.append(np.arange(0, n_tokens, ANSWER_LENGTH), n_tokens)
    weight, plain = np.full(n_tokens, 1.0 / n_tokens), [1.0 / n_tokens] * n_tokens
    for seed in range(n_rounds):
        bounds = np.cumsum(weight / weight.sum()).tolist()
        counts = [0] * n_tokens
        for uniform in np.random.default_rng(seed).random(n_tokens).tolist():
            counts[bisect.bisect_right(bounds, uniform * bounds[-1])] += 1
        expected = {"count": counts, "binary": [float(c > 0) for c in counts], "weight": n_tokens * weight}
        for sampling in SAMPLINGS:
            same(sampling, draw_tokens(weight, sampling=sampling, random_state=seed), expected[sampling])
        wrong = simulated_mistakes(n_tokens, rng)
        windows: list[float] = []
        for start, stop in zip(indptr[:-1].tolist(), indptr[1:].tolist(), strict=True):
            for first in range(start, stop, WINDOW):
                window = wrong[first : min(first + WINDOW, stop)].tolist()
                windows += [sum(window) / len(window)] * len(window)
        same("window_error", window_error(wrong, indptr, WINDOW), windows)
        error = math.fsum(w for w, miss in zip(plain, wrong.tolist(), strict=True) if miss)
        same("weighted_error", weighted_error(wrong, weight), error)
        vote = math.log((1 - error) / error) + math.log(1 / (1 - PRIOR_ERROR) - 1)
        plain = [w * math.exp(vote * miss) for w, miss in zip(plain, wrong.tolist(), strict=True)]
        total = math.fsum(plain)
        plain = [w / total for w in plain]
        weight = reweight(weight, wrong, estimator_weight(weighted_error(wrong, weight), PRIOR_ERROR))
        same("reweight", weight, plain)


def same(name: str, got: Any, expected: Any) -> None:
    """Raise unless two arrays agree to 1e-11."""
    np.testing.assert_allclose(got, expected, rtol=1e-11, atol=0, err_msg=name)


def peak_bytes() -> int:
    """Largest resident memory of this process so far."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def one_round(n_tokens: int) -> tuple[float, float]:
    """CPU seconds and peak of allocated MB of one round."""
    tracemalloc.start()
    wrong = simulated_mistakes(n_tokens, np.random.default_rng(0))
    weight = np.full(n_tokens, 1.0 / n_tokens)
    start = time.process_time()
    draw_tokens(weight, random_state=0)
    vote = estimator_weight(weighted_error(wrong, weight), PRIOR_ERROR)
    reweight(weight, wrong, vote)
    seconds = time.process_time() - start
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return seconds, peak / 1e6


def run(repeats: int = 5, tokens: int = 10_000_000, growth: int = 10) -> list[Row]:
    """Rows of one round with `tokens` tokens, and with `growth` times as many."""
    compare_with_loops()
    small = [one_round(tokens) for _ in range(repeats)]
    large = [one_round(growth * tokens) for _ in range(min(repeats, 2))]
    base = min(seconds for seconds, _ in small)
    few, many = f"{tokens / 1e6:g} million tokens", f"{growth * tokens / 1e6:g} million tokens"

    def row(case: str, against: str, values: list[float], target: str) -> Row:
        return Row(case, against, min(values), statistics.median(values), target, equal=True, details={"all": values})

    return [
        row(f"boosting bookkeeping, {few}, one round: time", "-", [s for s, _ in small], "≤ 2 s"),
        row(f"boosting bookkeeping, {few}, one round: memory", "-", [mb for _, mb in small], "≤ 300 MB"),
        row(f"boosting bookkeeping, {many}: time", f"{few}, times {growth}", [s / base / growth for s, _ in large],
            "≤ 1.5"),
        # Three float64 arrays and the mistakes, one byte each, with 1 % to spare.
        row(f"boosting bookkeeping, {many}: memory", "three float64 arrays and the mistakes",
            [1e6 * mb / (growth * tokens * 25) for _, mb in large], "≤ 1.01"),
    ]  # fmt: skip


def main() -> None:
    """Run the comparison, the simulation and the alternative, and print one line for each."""
    parser = argparse.ArgumentParser(description="Time and memory of the boosting equations on many answer tokens.")
    parser.add_argument("--tokens", type=int, default=100_000_000, help="answer tokens (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="rounds of boosting (default: %(default)s)")
    parser.add_argument(
        "--plain-tokens", type=int, default=10_000_000, help="tokens for the plain draw (default: %(default)s)"
    )
    options = parser.parse_args()

    compare_with_loops()
    before = peak_bytes()
    watch = Stopwatch()
    weight = boost(options.tokens, options.rounds, watch)
    grown = peak_bytes() - before
    if abs(float(weight.sum()) - 1.0) > 1e-9:
        raise SystemExit(f"The weights sum to {weight.sum()!r}.")
    del weight
    for name, seconds in watch.seconds.items():
        print(f"{name:22} {1e6 * min(seconds) / options.tokens:.4f} s per million tokens")
    print(f"peak memory {grown / 2**30:.2f} GiB, {grown / options.tokens:.1f} bytes per token")

    n_plain = min(options.plain_tokens, options.tokens)
    plain = Stopwatch()
    weight = np.random.default_rng(2).random(n_plain)
    weight /= weight.sum()
    for seed in range(options.rounds):  # in turn: other processes disturb both alike
        ours = plain("ours", draw_tokens, weight, sampling="count", random_state=seed)
        theirs = plain("plain", plain_draw, weight, seed)
        if ours.sum() != theirs.sum():
            raise SystemExit("The draws differ in size.")
    best = {name: 1e6 * min(seconds) / n_plain for name, seconds in plain.seconds.items()}
    print(
        f"count draw of {n_plain:,} tokens: {best['ours']:.4f} s per million; "
        f"Generator.choice(p=...) and bincount: {best['plain']:.4f} ({best['plain'] / best['ours']:.1f} times)"
    )
    limit = BYTES_PER_TOKEN * options.tokens + FIXED_BYTES
    if grown > limit:
        raise SystemExit(f"Memory grew by {grown:,} bytes, more than the {limit:,} allowed.")


if __name__ == "__main__":
    main()
