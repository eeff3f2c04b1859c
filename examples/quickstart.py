"""The whole weak-to-strong pipeline, offline, in a few minutes on two CPU cores.

Two small models read the same plain text about animals: a weak one of about 20 thousand parameters and a strong one of
about 600 thousand. The weak one is boosted, token by token, on easy questions with answers ("lightest first : cat ant
fox"); the ensemble answers hard questions, which list more animals; the strong one is fine-tuned on these answers. The
table at the end compares it with a student of a single weak model (baseline) and with one that saw the true answers
(oracle), on hard questions that nobody has seen. Below it stands another teacher, a pool of two kinds of expert on the
same weak base: a generator, which writes answers, and a verifier, which judges options.

    python examples/quickstart.py                      # one seed
    python examples/quickstart.py --seeds 0 1 2 3 4    # the five seeds of docs/results.md
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
    FineTunedGenerator,
    HFCausalLM,
    HFVerifier,
    OpinionPool,
    PseudoLabeler,
    TokenAdaBoostGenerator,
    W2SPipeline,
    W2SReport,
    make_corpus,
    make_qa,
    paired_bootstrap_interval,
    word_tokenizer,
)

PROMPT_TEMPLATE = "{prompt} ="  # every word is a token, so a short frame suffices
N_EASY, N_HARD, N_TEST = 1500, 1500, 600


def main() -> None:
    """Run the seeds asked for, and print a table for each."""
    args = parse_arguments()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    results = []
    for seed in args.seeds:
        started = time.perf_counter()
        with tempfile.TemporaryDirectory(prefix="ensemw2s-quickstart-") as folder:
            report, pooled = run(Path(folder), seed, args)
        seconds = time.perf_counter() - started
        print(f"\nseed {seed}, {seconds:.0f} seconds\n\n{report!r}\n\n{pool_rows(report, pooled)}\n", flush=True)
        results.append(as_json(report, pooled, seed, seconds))
        if args.out is not None:
            args.out.write_text(json.dumps(results, indent=1), encoding="utf-8")


def parse_arguments() -> argparse.Namespace:
    """What can be varied."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--n-estimators", type=int, default=5)
    parser.add_argument("--sampling", choices=("binary", "count", "weight"), default="binary")
    parser.add_argument("--prior", choices=("pretrained", "reweighted", "uniform"), default="pretrained")
    parser.add_argument("--out", type=Path, help="JSON file for the numbers of all seeds")
    return parser.parse_args()


def run(folder: Path, seed: int, args: argparse.Namespace) -> tuple[W2SReport, dict[str, np.ndarray]]:
    """Pre-train both models, boost, label, teach, and compare; the same with a pool of two kinds of expert."""
    easy = make_qa(N_EASY, difficulty=(3, 5), random_state=seed)
    hard_and_test = make_qa(N_HARD + N_TEST, difficulty=(6, 7), random_state=100 + seed)  # no question is in both
    hard, test = hard_and_test[:N_HARD], hard_and_test[N_HARD:]
    corpus = make_corpus(16_000, difficulty=(3, 7), random_state=1000 + seed)
    tokenizer = word_tokenizer([*corpus, *easy.prompts, *hard.prompts, "="])

    print("pre-training a weak and a strong model on the same plain text", flush=True)
    weak_model = pretrain(
        folder / "weak", corpus, tokenizer, layers=1, width=32, heads=2, steps=800, lr=5e-3, seed=seed
    )
    strong_model = pretrain(
        folder / "strong", corpus, tokenizer, layers=3, width=128, heads=4, steps=500, lr=2e-3, seed=seed
    )

    settings: dict[str, Any] = {
        "peft_config": None,  # models this small are fine-tuned whole
        "prompt_template": PROMPT_TEMPLATE,
        "batch_size": 32,
        "eval_batch_size": 256,
        "training_args": {"warmup_steps": 10},
        "random_state": seed,
    }
    generator = HFCausalLM(weak_model, lr=3e-3, epochs=8, **settings)
    weak = TokenAdaBoostGenerator(
        generator,
        n_estimators=args.n_estimators,
        sampling=args.sampling,
        prior=args.prior,
        random_state=seed,
    )
    student = HFCausalLM(strong_model, lr=1e-3, epochs=4, **settings)
    pipeline = W2SPipeline(weak, student)
    pipeline.fit(easy, None, hard.drop_answers(), hard.answers)
    show_some(pipeline, hard)
    report = pipeline.evaluate(test)

    print("another teacher: a generator and a verifier of the same weak model, pooled", flush=True)
    adapter = {**settings, "peft_config": "default", "batch_size": 16}
    verifier = HFVerifier(weak_model, features="adapted", lr=3e-3, epochs=3, **adapter)
    pool = OpinionPool([generator, verifier], random_state=seed).fit(easy)
    taught = PseudoLabeler(random_state=seed).label(pool, hard).fit(FineTunedGenerator(student))
    fitted = {**dict(zip(("generator", "verifier"), pool.experts_, strict=True)), "pool": pool, "student": taught}
    return report, {name: each.credit(test) for name, each in fitted.items()}


def pool_rows(report: W2SReport, pooled: dict[str, np.ndarray]) -> str:
    """Accuracies of the pool, its experts and its student, and what the pool has more, or less, than others."""
    pairs = {
        "pool - its generator": (pooled["pool"], pooled["generator"]),
        "pool - weak ensemble": (pooled["pool"], report.correct["ensemble"]),
        "student of the pool - student of the ensemble": (pooled["student"], report.correct["student"]),
    }
    titles = {"generator": "pool: generator alone", "verifier": "pool: verifier alone", "pool": "pool of both",
              "student": "student of the pool"}  # fmt: skip
    lines = [f"{title:<36} {pooled[name].mean():12.3f}" for name, title in titles.items()]
    for title, (one, other) in pairs.items():
        low, high = paired_bootstrap_interval(one, other, random_state=0)
        lines.append(f"{title}: {(one - other).mean():+.3f} [{low:+.3f}, {high:+.3f}], paired.")
    return "\n".join(lines)


def show_some(pipeline: W2SPipeline, hard: Any, n: int = 5) -> None:
    """Pseudo-answers beside the true ones."""
    print("\nsome pseudo-answers for hard questions:")
    for question, pseudo, true in list(zip(hard.prompts, pipeline.pseudo_labels_.y, hard.answers, strict=True))[:n]:
        print(f"  {question}\n    {'right' if pseudo == true else 'wrong'}: {pseudo}")


def as_json(report: W2SReport, pooled: dict[str, np.ndarray], seed: int, seconds: float) -> dict[str, Any]:
    """The numbers behind one table."""
    return {
        "seed": seed,
        "seconds": round(seconds),
        "scores": {name: report.score(name) for name in report.correct},
        "pool": {name: float(credit.mean()) for name, credit in pooled.items()},
        "staged_scores": report.staged_scores,
        "token_errors": {name: float(error) for name, error in report.token_errors.items()},
        "student_minus_baseline": report.difference("student", "baseline"),
        "pgr": report.pgr,
        "votes": list(report.votes),
        "stop_reason": report.stop_reason,
    }


if __name__ == "__main__":
    main()
