"""The binary task of the paper's first experiments: is this the right answer to the question?

Offline, in a few minutes, on small models that the example trains itself and on `make_qa` turned into statements::

    python examples/classification.py

On real models and questions, MiniLM (22M parameters, an encoder) teaches SmolLM2-135M on SciQ::

    python examples/classification.py --real --data-dir DATA --seeds 0 1 --out results.json
"""

from __future__ import annotations

import argparse
import json
import logging
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from _small_models import pretrain

from ensemw2s import (
    HFClassifier,
    LLMAdaBoostClassifier,
    PseudoLabeler,
    QADataset,
    W2SPipeline,
    W2SReport,
    load_sciq,
    make_corpus,
    make_qa,
    to_binary,
    word_tokenizer,
)


def main() -> None:
    """Run the seeds asked for, and print a table for each."""
    args = parse_arguments()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    if args.threads:
        import torch

        torch.set_num_threads(args.threads)
    results = []
    for seed in args.seeds:
        started = time.perf_counter()
        with tempfile.TemporaryDirectory(prefix="ensemw2s-classification-") as folder:
            report = real(seed, args) if args.real else offline(Path(folder), seed, args)
        seconds = time.perf_counter() - started
        print(f"\nseed {seed}, {seconds:.0f} seconds\n\n{report!r}\n", flush=True)
        results.append(as_json(report, seed, seconds))
        if args.out is not None:
            args.out.write_text(json.dumps(results, indent=1), encoding="utf-8")


def parse_arguments() -> argparse.Namespace:
    """What can be varied."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--real", action="store_true", help="MiniLM and SmolLM2 on SciQ instead of the offline task")
    parser.add_argument("--data-dir", help="folder with json lines of SciQ; the hub if not given")
    parser.add_argument("--weak", help="model id or folder; MiniLM if not given")
    parser.add_argument("--student", help="model id or folder; SmolLM2-135M-Instruct if not given")
    parser.add_argument("--n-easy", type=int, default=500)
    parser.add_argument("--n-hard", type=int, default=500)
    parser.add_argument("--n-test", type=int, default=500)
    parser.add_argument("--n-estimators", type=int, default=5)
    parser.add_argument("--labels", choices=("hard", "soft"), default="hard", help="what both students are taught with")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--threads", type=int, help="torch threads; all cores if not given")
    parser.add_argument("--out", type=Path, help="JSON file for the numbers of all seeds")
    return parser.parse_args()


def offline(folder: Path, seed: int, args: argparse.Namespace) -> W2SReport:
    """Two GPT-NeoX models that were pre-trained on the same text get a classification head each."""
    questions = make_qa(4600, difficulty=(3, 4), random_state=seed)
    corpus = make_corpus(16_000, difficulty=(3, 5), random_state=1000 + seed)
    tokenizer = word_tokenizer([*corpus, *to_binary(questions, random_state=seed).texts])
    print("pre-training a weak and a strong model on the same plain text", flush=True)
    weak_model = pretrain(
        folder / "weak", corpus, tokenizer, layers=1, width=32, heads=2, steps=800, lr=5e-3, seed=seed
    )
    strong_model = pretrain(
        folder / "strong", corpus, tokenizer, layers=3, width=128, heads=4, steps=500, lr=2e-3, seed=seed
    )
    settings: dict[str, Any] = {"peft_config": None, "batch_size": 32, "eval_batch_size": 256, "random_state": seed}
    weak = HFClassifier(weak_model, lr=3e-3, epochs=8, **settings)
    student = HFClassifier(strong_model, lr=1e-3, epochs=6, **settings)
    return teach(weak, student, questions, (2000, 2000, 600), seed, args)


def real(seed: int, args: argparse.Namespace) -> W2SReport:
    """A small encoder teaches a decoder six times as large; each question appears once, in one of the three parts."""
    from _weights import minilm_l6, smollm2_135m

    weak_model, strong_model = args.weak or str(minilm_l6()), args.student or str(smollm2_135m())
    test = load_sciq("test", data_dir=args.data_dir).shuffle(random_state=seed)[: args.n_test]
    train = load_sciq("train", data_dir=args.data_dir).shuffle(random_state=seed)
    seen = set(test.prompts)
    first = [row for row, prompt in enumerate(train.prompts) if not (prompt in seen or seen.add(prompt))]
    questions = train[first[: args.n_easy + args.n_hard]].concat(test)
    weak = HFClassifier(weak_model, peft_config=None, lr=1e-4, epochs=5, random_state=seed)
    student = HFClassifier(strong_model, lr=5e-4, epochs=3, random_state=seed)
    return teach(weak, student, questions, (args.n_easy, args.n_hard, args.n_test), seed, args)


def teach(
    weak: HFClassifier,
    student: HFClassifier,
    questions: QADataset,
    sizes: tuple[int, int, int],
    seed: int,
    args: argparse.Namespace,
) -> W2SReport:
    """Boost the weak classifier on the first part, teach the student on the second, compare on the third."""
    ends = np.cumsum(sizes)
    parts = [questions[end - size : end] for end, size in zip(ends, sizes, strict=True)]
    easy, hard, test = (to_binary(part, random_state=seed) for part in parts)
    booster = LLMAdaBoostClassifier(weak, n_estimators=args.n_estimators, random_state=seed, on_failure="keep")
    pipeline = W2SPipeline(booster, student, labeler=PseudoLabeler(labels=args.labels))
    pipeline.fit(list(easy.texts), easy.labels, list(hard.texts), hard.labels)
    return pipeline.evaluate(list(test.texts), test.labels)


def as_json(report: W2SReport, seed: int, seconds: float) -> dict[str, Any]:
    """The numbers behind one table."""
    return {
        "seed": seed,
        "seconds": round(seconds),
        "scores": {name: report.score(name) for name in report.correct},
        "correct": {name: row.tolist() for name, row in report.correct.items()},
        "staged_scores": report.staged_scores,
        "student_minus_baseline": report.difference("student", "baseline"),
        "pgr": report.pgr,
        "votes": list(report.votes),
        "errors": list(report.errors),
        "stop_reason": report.stop_reason,
    }


if __name__ == "__main__":
    main()
