"""Accuracy and training time of ``adapt="all"`` against ``adapt="answer"``: SmolLM2-135M on SciQ and ARC-Easy.

Every seed draws its own training and test questions, the same for both. A run is one data set, seed and kind of
adapter; its result is a file in the folder ``--out``, and runs that are there are not repeated, so that they can be
shared out among processes by ``--dataset``, ``--seeds`` and ``--adapt``. The table is of all that are there. It takes
an hour or more on a CPU and is not part of ``python -m benchmarks``.

    python -m benchmarks.adapt_answer_accuracy --data-dir path/to/data --out adapt_answer
"""

from __future__ import annotations

import argparse
import csv
import json
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks._models import DATA, smollm2
from ensemw2s import (
    FineTunedGenerator,
    HFCausalLM,
    QADataset,
    chance_level,
    interval_over_seeds,
    load_arc,
    load_sciq,
)
from ensemw2s._markdown import table_lines

LOADERS = {"sciq": load_sciq, "arc_easy": load_arc}
NORMALIZATIONS = ("sum", "token")


def main() -> None:
    """Do the runs that are asked for and missing, and print the table of all."""
    args = parse_arguments()
    args.out.mkdir(parents=True, exist_ok=True)
    for dataset in args.dataset:
        for seed in args.seeds:
            for adapt in args.adapt:
                path = args.out / f"{dataset}-{seed}-{adapt}-{args.n_train}-{args.n_test}-{args.epochs}.json"
                if not path.exists():
                    result = run_one(args, dataset, seed, adapt)
                    beside = path.with_suffix(".part")
                    beside.write_text(json.dumps(result), encoding="utf-8")
                    beside.replace(path)
    results = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(args.out.glob("*.json"))]
    write_csv(results, args.out / "adapt_answer.csv")
    print(as_table(results))


def parse_arguments() -> argparse.Namespace:
    """Flags."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", default=DATA or None, help="folder with sciq/ and arc_easy/; the hub if left out")
    parser.add_argument("--out", type=Path, default=Path("adapt_answer"), help="folder of the results")
    parser.add_argument("--dataset", nargs="+", choices=LOADERS, default=list(LOADERS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--adapt", nargs="+", choices=("all", "answer"), default=["all", "answer"])
    parser.add_argument("--n-train", type=int, default=256)
    parser.add_argument("--n-test", type=int, default=256)
    parser.add_argument("--epochs", type=float, default=3)
    parser.add_argument("--threads", type=int, default=1)
    return parser.parse_args()


def run_one(args: argparse.Namespace, dataset: str, seed: int, adapt: str) -> dict[str, Any]:
    """Train one model, and choose an option for every test question."""
    import torch

    torch.set_num_threads(args.threads)
    train, test = (
        part(LOADERS[dataset](split, data_dir=args.data_dir), n, seed)
        for split, n in (("train", args.n_train), ("test", args.n_test))
    )
    model, tokenizer = smollm2()
    learner = HFCausalLM(model, tokenizer=tokenizer, adapt=adapt, epochs=args.epochs, device="cpu", random_state=seed)
    start = time.process_time()
    generator = FineTunedGenerator(learner).fit(train)
    trained = time.process_time()
    right = {normalize: generator.set_params(normalize=normalize).credit(test).tolist() for normalize in NORMALIZATIONS}
    return {
        "dataset": dataset, "seed": seed, "adapt": adapt, "n_train": len(train), "epochs": args.epochs,
        "chance": chance_level(test.n_choices), "training_seconds": trained - start,
        "scoring_seconds": (time.process_time() - trained) / len(NORMALIZATIONS), "right": right,
        "real_weights": isinstance(model, str),
    }  # fmt: skip


def part(questions: QADataset, n: int, seed: int) -> QADataset:
    """Some questions, drawn by the seed."""
    return questions.shuffle(seed)[: min(n, len(questions))]


def as_table(results: list[dict[str, Any]]) -> str:
    """Markdown: one line per data set and kind of adapter, over all seeds, and their paired difference."""
    head = ["data", "adapt", "seeds", "accuracy (sum)", "accuracy (per token)", "chance", "training, CPU s",
            "scoring, CPU s"]  # fmt: skip
    lines: list[list[Any]] = []
    for dataset in sorted({result["dataset"] for result in results}):
        groups = {}
        for adapt in ("all", "answer"):
            group = [result for result in results if (result["dataset"], result["adapt"]) == (dataset, adapt)]
            if not group:
                continue
            groups[adapt] = {result["seed"]: result for result in group}
            seconds = [f"{np.mean([r[name] for r in group]):.0f}" for name in ("training_seconds", "scoring_seconds")]
            accuracies = [accuracy([r["right"][name] for r in group]) for name in NORMALIZATIONS]
            chance = f"{np.mean([r['chance'] for r in group]):.3f}"
            lines.append([dataset, f'"{adapt}"', len(group), *accuracies, chance, *seconds])
        both = sorted(set.intersection(*map(set, groups.values()))) if len(groups) == 2 else []
        if both:
            cells = [dataset, '"answer" - "all"', len(both)]
            for name in NORMALIZATIONS:
                pair = [[groups[adapt][seed]["right"][name] for seed in both] for adapt in groups]
                every, answer = (np.asarray(right, dtype=np.float64) for right in pair)  # (seeds, n_test)
                low, high = interval_over_seeds(answer - every, random_state=0)
                cells.append(f"{(answer - every).mean():+.3f} [{low:+.3f}, {high:+.3f}]")
            lines.append([*cells, "", "", ""])
    return "\n".join(table_lines(head, lines))


def accuracy(right: list[list[bool]]) -> str:
    """Mean over seeds with its 95 % interval."""
    values = np.asarray(right, dtype=np.float64)  # (seeds, n_test)
    low, high = interval_over_seeds(values, random_state=0)
    return f"{values.mean():.3f} [{low:.3f}, {high:.3f}]"


def write_csv(results: list[dict[str, Any]], path: Path) -> None:
    """One line per run."""
    names = ["dataset", "seed", "adapt", "n_train", "epochs", "chance", "training_seconds", "scoring_seconds"]
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([*names, "n_test", *(f"accuracy_{name}" for name in NORMALIZATIONS)])
        for result in results:
            accuracies = [f"{np.mean(result['right'][name]):.4f}" for name in NORMALIZATIONS]
            writer.writerow([*(result[name] for name in names), len(result["right"]["sum"]), *accuracies])


if __name__ == "__main__":
    main()
