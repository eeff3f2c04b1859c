"""Which pseudo-labels should a student see? All, those that experts agree on, sure ones, soft ones, weighted ones.

The offline task and models of ``experts_study.py``: a pool of a generator and a verifier of one small base labels hard
questions, and the same student is trained on what each rule of `PseudoLabeler` makes of them::

    python examples/labels_study.py --out study --seeds 0 1 2 3 4 5

A seed takes about two minutes of one CPU core; pre-training the two models, once, three more. What is done is
read again from ``OUT``.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from experts_study import Run, models, parse_arguments

from ensemw2s import OpinionPool, PseudoLabeler, PseudoLabels, interval_over_seeds

RULES: dict[str, dict[str, Any]] = {
    "all labels": {},
    "`agreement=1.0`": {"agreement": 1.0},
    "as many at random": {"agreement": 1.0},
    "`threshold=0.5`": {"threshold": 0.5},
    "`threshold=0.7`": {"threshold": 0.7},
    "`threshold=0.9`": {"threshold": 0.9},
    '`labels="soft"`': {"labels": "soft"},
    '`weights="confidence"`': {"weights": "confidence"},
    "true answers": {},
    "all labels, 4 times the epochs": {},
    "true answers, 4 times the epochs": {},
    "`agreement=1.0`, 4 times the epochs": {"agreement": 1.0},
}


class LabelRun(Run):
    """One seed: two experts, their pool, and a student for every rule."""

    def rules(self) -> dict[str, dict[str, Any]]:
        """What each rule leads to."""
        for name in ("generator", "lora"):
            self.fit_expert(name)
        experts = [self.found[name]["scores"] for name in ("generator", "lora")]
        pool = self.weighed(experts, "held-out")
        return {name: self.unit(f"rule {number}", lambda n=name: self.student_of(n, pool)) for number, name in
                enumerate(RULES)}  # fmt: skip

    def student_of(self, name: str, pool: OpinionPool) -> dict[str, Any]:
        """The student of one rule."""
        hard = self.parts["hard"]
        labels: PseudoLabels = PseudoLabeler(**RULES[name], random_state=self.seed).label(pool, hard)
        if name == "as many at random":
            labels.kept[:] = np.random.default_rng(self.seed).permutation(labels.kept)
        if name.startswith("true answers"):
            labels.y[:] = hard.answers
        right = np.asarray(labels.y) == np.asarray(hard.answers, dtype=object)
        student = self.generator("student", self.student)
        if name.endswith("times the epochs"):  # soft labels of four options are four rows a question
            student.set_params(estimator__epochs=4 * student.estimator.epochs)
        student = labels.fit(student)
        return {
            "test": student.credit(self.parts["test"]).tolist(),
            "kept": labels.kept.mean(),
            "right": right[labels.kept].mean(),
        }


def table(runs: Sequence[dict[str, dict[str, Any]]], items: Sequence[Sequence[int]]) -> str:
    """Markdown: means over seeds, and differences of students to the one that sees all labels."""
    lines = ["| labels | kept | of them right | student | minus all labels |", "|---|---|---|---|---|"]
    for name in RULES:
        kept, right, score = (np.mean([np.mean(run[name][key]) for run in runs]) for key in ("kept", "right", "test"))
        gain = ""
        if name != "all labels":
            gaps = [np.array(run[name]["test"]) - np.array(run["all labels"]["test"]) for run in runs]
            low, high = interval_over_seeds(gaps, items=items, random_state=0)
            gain = f"{np.mean(gaps):+.3f} [{low:+.3f}, {high:+.3f}]"
        lines.append(f"| {name} | {kept:.2f} | {right:.3f} | {score:.3f} | {gain} |")
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> None:
    """Run what is missing, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder of the results")
    parser.add_argument("--seeds", type=int, nargs="+", default=list(range(6)))
    parser.add_argument("--limit", type=int, help="at most so many questions of each part: a trial")
    parser.add_argument("--weak", help="model folder; pre-trained if not given")
    parser.add_argument("--student", help="the same")
    given = parser.parse_args(argv)
    args = parse_arguments(["--out", str(given.out)])
    args.limit, args.weak, args.student = given.limit, given.weak, given.student
    weak, student = models(args)
    runs, items = [], []
    for seed in given.seeds:
        run = LabelRun(args, seed, weak, student)
        runs.append(run.rules())
        items.append(run.unit("questions", dict)["items"]["test"])
    print(table(runs, items))


if __name__ == "__main__":
    main()
