"""Weak-to-strong on free text: worked answers, labels by majority vote, and the final number as the metric.

Small language models that have read sums learn to work out word problems (`make_arithmetic`): a weak one on easy
questions of 1 or 2 steps, boosted token by token over the whole working. It answers hard questions of 2 or 3 steps five
times each; a stronger model learns from a working whose final number most of them have. What counts at the end is that
number, on 500 hard questions that nobody has seen::

    python examples/free_text.py --out study                     # one seed, some minutes on one core
    python examples/free_text.py --out study --seeds 0 1 2 3 4   # the seeds beside one another
    python examples/free_text.py --out study --report > table.md

Both models are pre-trained once, in ``OUT``, on expressions with their working and no words (``5 + 2 - 3 : 5 + 2 = 7 ,
7 - 3 = 4``): the knowledge is there and has to be elicited. What the weak side makes of a seed, and each student, is
written to ``OUT/seedN`` as soon as it is there; a run that was stopped goes on.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from _small_models import pretrain

from ensemw2s import (
    FineTunedGenerator,
    HFCausalLM,
    PseudoLabeler,
    QADataset,
    TokenAdaBoostGenerator,
    interval_over_seeds,
    make_arithmetic,
    number_match,
    word_tokenizer,
)

N_EASY, N_HARD, N_TEST = 1000, 1000, 500
N_MEMBERS, N_SAMPLES = 4, 5
WRITE = {"max_new_tokens": 24}  # hard answers are longer than the easy ones that the weak models have seen
LABELERS = {"one": "one", "boosted": "boosted", "bagged": "bagged", "boosted, greedy": "boosted"}
WEAK_ROWS = ("one", "boosted", "even votes", "bagged")
STUDENTS = ("one", "boosted", "bagged", "boosted, greedy", "oracle")


def expression(answer: str) -> str:
    """The left sides of a working in one line: ``5 + 2 - 3``."""
    first, *others = [equation.split(" = ")[0] for equation in answer.partition(" #### ")[0].split(" , ")]
    return " ".join([first, *(other.split(" ", 1)[1] for other in others)])


def pretrained(out: Path) -> tuple[str, str]:
    """Folders of the weak and the strong model, which are trained if they are not there."""
    answers = make_arithmetic(16_000, difficulty=(1, 3), random_state=1000).answers or ()
    corpus = [f"{expression(answer)} : {answer.partition(' #### ')[0]}" for answer in answers]
    words = make_arithmetic(2000, random_state=0)
    tokenizer = word_tokenizer([*corpus, *words.prompts, *(words.answers or ())])
    sizes = {
        "weak": {"layers": 2, "width": 32, "heads": 2, "steps": 1200, "lr": 5e-3},
        "strong": {"layers": 3, "width": 64, "heads": 4, "steps": 1500, "lr": 3e-3, "batch_size": 64},
    }
    for name, size in sizes.items():
        if not (out / name / "tokenizer.json").is_file():  # written last
            pretrain(out / name, corpus, tokenizer, **size)
    return str(out / "weak"), str(out / "strong")


class Run:
    """One seed: its questions, and what is made of them."""

    def __init__(self, out: Path, seed: int, models: tuple[str, str]) -> None:
        self.folder, self.seed = out / f"seed{seed}", seed
        self.folder.mkdir(parents=True, exist_ok=True)
        self.easy = make_arithmetic(N_EASY, difficulty=(1, 2), random_state=seed)
        hard = make_arithmetic(N_HARD + N_TEST, difficulty=(2, 3), random_state=100 + seed)  # all different
        self.hard, self.test = hard[:N_HARD], hard[N_HARD:]
        settings = {
            "peft_config": None, "batch_size": 32, "eval_batch_size": 256, "training_args": {"warmup_steps": 10},
            "prompt_template": "{prompt}", "random_state": seed,
        }  # fmt: skip
        self.learner = HFCausalLM(models[0], lr=3e-3, epochs=8, **settings)
        self.student = HFCausalLM(models[1], lr=2e-3, epochs=8, **settings)

    def unit(self, name: str, compute: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """What was computed before, or is now."""
        path = self.folder / f"{name.replace(', ', '-')}.json"
        if not path.is_file():
            started = time.process_time()
            found = compute() | {"cpu_seconds": round(time.process_time() - started)}
            path.write_text(json.dumps(found), encoding="utf-8")
            print(f"seed {self.seed}, {name}: {found['cpu_seconds']} s", flush=True)
        return json.loads(path.read_text(encoding="utf-8"))

    def credit(self, generator: Any) -> list[float]:
        """1 for each test question whose final number is right, else 0."""
        return number_match(generator.generate(self.test.prompts, **WRITE), self.test.answers).tolist()

    def weak_side(self) -> dict[str, Any]:
        """Members, their scores, and the labels that they give."""
        options = {"n_estimators": N_MEMBERS, "random_state": self.seed}
        boosted = TokenAdaBoostGenerator(self.learner, **options).fit(self.easy)
        bagged = TokenAdaBoostGenerator(self.learner, reweight=False, **options).fit(self.easy)
        teachers = {
            "one": boosted.with_votes([1.0]),
            "boosted": boosted,
            "even votes": boosted.with_votes("even"),
            "bagged": bagged,
        }
        found = {"test": {name: self.credit(teacher) for name, teacher in teachers.items()}, "labels": {}}
        for name, teacher in LABELERS.items():
            several = {"n_samples": N_SAMPLES, "vote": "majority", "extract": r"#### (-?\d+)"}
            labeler = PseudoLabeler(
                **({} if "greedy" in name else several), generation_kwargs=WRITE, random_state=self.seed
            )
            labels = labeler.label(teachers[teacher], self.hard.drop_answers())
            kept = np.flatnonzero(labels.kept)
            prompts = QADataset.drop_answers(labels.X).prompts
            found["labels"][name] = [[prompts[row], labels.y[row]] for row in kept.tolist()]
        found["votes"] = boosted.estimator_weights_.tolist()
        return found

    def students(self, weak: dict[str, Any]) -> dict[str, dict[str, Any]]:
        """A student of each source of labels."""
        true = dict(zip(self.hard.prompts, self.hard.answers or (), strict=True))
        sources = {**weak["labels"], "oracle": list(true.items())}

        def taught(name: str) -> dict[str, Any]:
            prompts, answers = zip(*sources[name], strict=True)
            right = number_match(answers, [true[prompt] for prompt in prompts]).mean()
            student = FineTunedGenerator(self.student).fit(prompts, answers)
            return {"test": self.credit(student), "kept": len(prompts) / N_HARD, "right": float(right)}

        return {name: self.unit(f"student {name}", lambda n=name: taught(n)) for name in STUDENTS}


def report(out: Path, seeds: Sequence[int]) -> str:
    """Means over seeds with their intervals, and differences, as Markdown."""
    weak, students, guesses = [], [], []
    for seed in seeds:
        folder = out / f"seed{seed}"
        weak.append(json.loads((folder / "weak.json").read_text(encoding="utf-8")))
        students.append({
            name: json.loads((folder / f"student {name.replace(', ', '-')}.json").read_text(encoding="utf-8"))
            for name in STUDENTS
        })  # fmt: skip
        test = Run(out, seed, ("", "")).test
        finals = Counter(answer.split()[-1] for answer in test.answers or ())
        guesses.append(max(finals.values()) / len(test))
    rows = {f"weak: {name}": [found["test"][name] for found in weak] for name in WEAK_ROWS}
    rows |= {f"student: {name}": [found[name]["test"] for found in students] for name in STUDENTS}
    lines = [f"Most frequent number: {np.mean(guesses):.3f}.", ""]
    lines += ["| row | by seed | mean [95 %] | labels kept, right |", "| --- | --- | --- | --- |"]
    for name, values in rows.items():
        kept = ""
        if name.startswith("student"):
            shares = [[found[name[9:]][key] for found in students] for key in ("kept", "right")]
            kept = ", ".join(f"{np.mean(share):.2f}" for share in shares)
        by_seed = " ".join(f"{np.mean(value):.3f}" for value in values)
        lines.append(f"| {name} | {by_seed} | {_interval(values, '.3f')} | {kept} |")
    pairs = [("weak: boosted", "weak: one"), ("weak: boosted", "weak: bagged"), ("weak: boosted", "weak: even votes"),
             ("student: boosted", "student: one"), ("student: boosted", "student: bagged"),
             ("student: boosted", "student: boosted, greedy"), ("student: boosted", "weak: boosted")]  # fmt: skip
    lines += ["", "| difference | mean [95 %] |", "| --- | --- |"]
    for one, other in pairs:
        gaps = [np.subtract(mine, theirs) for mine, theirs in zip(rows[one], rows[other], strict=True)]
        lines.append(f"| {one} - {other} | {_interval(gaps, '+.3f')} |")
    return "\n".join(lines)


def _interval(values: Sequence[Any], form: str) -> str:
    low, high = interval_over_seeds(values, random_state=0)
    return f"{np.mean([np.mean(value) for value in values]):{form}} [{low:{form}}, {high:{form}}]"


def main(argv: Sequence[str] | None = None) -> None:
    """Run what is missing, and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder of the models and results")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--report", action="store_true", help="only print the tables of what is in the folder")
    args = parser.parse_args(argv)
    if not args.report:
        models = pretrained(args.out)
        for seed in args.seeds:
            run = Run(args.out, seed, models)
            run.students(run.unit("weak", run.weak_side))
    print(report(args.out, args.seeds))


if __name__ == "__main__":
    main()
