"""Do experts of different kinds pay? A study on SciQ, ARC-Easy, QuaRTz and the offline task.

A weak model is fine-tuned as a generator, and made a verifier; `OpinionPool` joins them. They are compared with one
generator, one of the same compute, boosting and bagging, on test questions and as teachers of a larger model::

    python examples/experts_study.py --dataset sciq --data-dir DATA --out study --seeds 0 1 2 --threads 1
    python examples/experts_study.py --report --out study > tables.md

Each unit of work, such as one trained expert, is written to ``OUT/DATASET/seedN/UNIT.json`` as soon as it is there,
with scores and credits of every question. A run that was stopped goes on after the last of them, and reads the others;
runs of other data sets or seeds can go on beside it. ``--report`` needs these files only. The settings below are all
there are; a folder that was begun with others is refused.

SmolLM2-135M is the weak model and Gemma-3-270M the student, fetched as Python packages (see `_weights.py`). A seed
draws its questions at random, no text twice: 500 "easy" ones to train on, 300 to hold out, 800 "hard" ones whose labels
students are trained on, 200 whose labels weigh a student's pool, 500 from the test split. QuaRTz has fewer: its
validation split (382) is the test, what is left of its train split weighs the students' pools, and there are no 3,000
hard questions. Near-duplicates in that train split, often with "more" for "less", are kept in one part.

Hours of one CPU core, by a trial with ``--limit 10`` on a busy machine: of a seed 0.1 for each of zero-shot, frozen and
generator, 0.2 for the verifier with LoRA, 0.2 and 0.3 for the two of the same compute, 0.3 each for boosting and
bagging, 0.3 for the students of one source of labels: 2.5 in all. What seed 0 has besides takes some 6 more, most of it
for students of 3,000 questions and of soft labels; it is done last. The offline task takes a few minutes a seed.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import scipy.stats
from sklearn.base import BaseEstimator

from ensemw2s import (
    FineTunedGenerator,
    HFCausalLM,
    HFVerifier,
    OpinionPool,
    PseudoLabeler,
    PseudoLabels,
    QADataset,
    TokenAdaBoostGenerator,
    clear_model_cache,
    interval_over_seeds,
    load_arc,
    load_quartz,
    load_sciq,
    make_corpus,
    make_qa,
    paired_bootstrap_interval,
    word_tokenizer,
)

DATASETS = ("sciq", "arc-easy", "quartz", "offline")
TEST_SPLIT = {"sciq": "test", "arc-easy": "test", "quartz": "validation"}
OTHER_SPLITS = {"sciq": ("train",), "arc-easy": ("train", "validation", "test"), "quartz": ("train",)}

# "weights": questions whose labels weigh the two experts of a student. "more": further hard ones, for the extras.
SIZES = {"easy": 500, "held-out": 300, "hard": 800, "weights": 200, "test": 500, "more": 2200}
OFFLINE_SIZES = {"easy": 1500, "held-out": 300, "hard": 800, "weights": 200, "test": 600, "more": 700}
HARD_PARTS = ("hard", "weights", "test", "more")
N_MEMBERS = 3  # of boosting and bagging
EXTRAS_SEED = 0  # the one seed with what is tried once

SETTINGS: dict[str, dict[str, Any]] = {
    "generator": {"adapt": "answer", "lr": 5e-4, "epochs": 3, "batch_size": 16},
    "longer": {"adapt": "answer", "lr": 5e-4, "epochs": 16, "batch_size": 16},  # as long as the pool, by CPU time
    "whole prompt": {"adapt": "all", "lr": 5e-4, "epochs": 5, "batch_size": 16},  # so is this
    "frozen": {},
    "lora": {"features": "adapted", "lr": 5e-4, "epochs": 2, "batch_size": 4},
    "student": {"adapt": "answer", "lr": 5e-4, "epochs": 3, "batch_size": 16},
    "student verifier": {"features": "adapted", "lr": 5e-4, "epochs": 2, "batch_size": 4},
}
_WHOLE = {"peft_config": None, "batch_size": 32, "training_args": {"warmup_steps": 10}}  # small enough to train whole
_SMALL_VERIFIER = {"features": "adapted", "lr": 3e-3, "epochs": 3, "batch_size": 16}
OFFLINE_SETTINGS: dict[str, dict[str, Any]] = {
    "generator": {**_WHOLE, "lr": 3e-3, "epochs": 8},
    "longer": {**_WHOLE, "lr": 3e-3, "epochs": 24},
    "whole prompt": {"adapt": "all", "lr": 3e-3, "epochs": 24, "batch_size": 32},  # an adapter
    "frozen": {},
    "lora": _SMALL_VERIFIER,
    "student": {**_WHOLE, "lr": 1e-3, "epochs": 4},
    "student verifier": {**_SMALL_VERIFIER, "lr": 1e-3, "epochs": 2},
}

EXPERTS = ("generator", "frozen", "lora", "zero-shot")
POOLS = {
    "generator + frozen": ("generator", "frozen"),
    "generator + lora": ("generator", "lora"),
    "all": EXPERTS,
}
TEACHER = "all, held-out"  # chosen before any test question was looked at
WEAK_ROWS = (
    "generator", "equal compute", "boosted", "bagged", "frozen", "lora", "zero-shot",
    *(f"{pool}, {weights}" for pool in POOLS for weights in ("even", "held-out")),
    "boosted, held-out votes", "verifiers boosted", "verifiers bagged", "kinds boosted",
)  # fmt: skip
STUDENTS = ("baseline", "pool", "oracle")
EXTRA_STUDENTS = ("boosted", "soft pool", "agreement", "baseline, more", "pool, more", "oracle, more")
FORMS = ("generator", "verifier", "pooled")

Scores = dict[str, list[list[float]]]  # part -> question -> option


def main(argv: Sequence[str] | None = None) -> None:
    """Run what is missing, or report."""
    args = parse_arguments(argv)
    if args.report:
        print(report(args.out))
        return
    if args.threads:
        import torch

        torch.set_num_threads(args.threads)
    weak, student = models(args)
    runs = [Run(args, seed, weak, student) for seed in args.seeds]
    for rows in (Run.pools, Run.controls):
        for run in runs:
            rows(run)
    for run in runs:
        run.students(STUDENTS)
    for run in runs:
        if run.extras:
            run.other_rows()
    n_done, n_read = sum(run.n_done for run in runs), sum(run.n_read for run in runs)
    print(f"units of work: {n_done} computed, {n_read} read", flush=True)


def parse_arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """What is run; all other settings are constants of this file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", choices=DATASETS, default="offline")
    parser.add_argument("--data-dir", help="folder with json lines; the hub if not given")
    parser.add_argument("--out", type=Path, required=True, help="folder of the results")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--threads", type=int, help="torch threads; all cores if not given")
    parser.add_argument("--weak", help="model id or folder; SmolLM2-135M-Instruct if not given")
    parser.add_argument("--student", help="model id or folder; Gemma 3 270M if not given")
    parser.add_argument("--limit", type=int, help="at most so many questions of each part: a trial")
    parser.add_argument("--report", action="store_true", help="print the tables of what is in the folder")
    return parser.parse_args(argv)


def models(args: argparse.Namespace) -> tuple[str, str]:
    """Folders or ids of the weak model and the student."""
    if args.weak is not None and args.student is not None:
        return args.weak, args.student
    if args.dataset != "offline":
        from _weights import gemma3_270m, smollm2_135m

        return args.weak or str(smollm2_135m()), args.student or str(gemma3_270m())
    from _small_models import pretrain

    found = {"weak": args.weak, "student": args.student}
    corpus = make_corpus(16_000, difficulty=(3, 7), random_state=1000)
    tokenizer = word_tokenizer([*corpus, *make_qa(4000, difficulty=(3, 7), random_state=0).prompts, "="])
    shapes = {
        "weak": {"layers": 1, "width": 32, "heads": 2, "steps": 800, "lr": 5e-3},
        "student": {"layers": 3, "width": 128, "heads": 4, "steps": 500, "lr": 2e-3},
    }
    for name, shape in shapes.items():
        folder = args.out / "models" / name
        if found[name] is None and not (folder / "tokenizer_config.json").exists():  # the last file to be saved
            print(f"pre-training {folder}", flush=True)
            pretrain(folder, corpus, tokenizer, **shape)
        found[name] = found[name] or str(folder)
    return found["weak"], found["student"]


def draw_parts(args: argparse.Namespace, seed: int) -> tuple[dict[str, QADataset], dict[str, list[int]]]:
    """The questions of one seed, and numbers that tell those of its test and hard part from the others of all seeds."""
    sizes = OFFLINE_SIZES if args.dataset == "offline" else SIZES
    if args.limit is not None:
        sizes = {part: min(size, args.limit) for part, size in sizes.items()}
    if args.dataset == "offline":
        easy = make_qa(sizes["easy"] + sizes["held-out"], difficulty=(3, 5), random_state=seed)
        rest = make_qa(sum(sizes[part] for part in HARD_PARTS), difficulty=(6, 7), random_state=100 + seed)
        parts = {"easy": easy[: sizes["easy"]], "held-out": easy[sizes["easy"] :]}
        rows = {"all": np.arange(len(rest))}
        for part in HARD_PARTS:
            rows[part], rows["all"] = rows["all"][: sizes[part]], rows["all"][sizes[part] :]
            parts[part] = rest[rows[part]]
        return parts, {part: (rows[part] + 1_000_000 * seed).tolist() for part in ("test", "hard")}

    def load(split: str) -> QADataset:
        if args.dataset == "sciq":
            return load_sciq(split, data_dir=args.data_dir)
        if args.dataset == "quartz":
            return load_quartz(split, data_dir=args.data_dir)
        return load_arc(split, subset="easy", data_dir=args.data_dir)

    random, seen = np.random.default_rng(seed), set[str]()

    def fresh(questions: QADataset, most: int | None = None) -> np.ndarray:
        rows = []
        for row in random.permutation(len(questions)).tolist():
            if questions.prompts[row] not in seen and (most is None or len(rows) < most):
                seen.add(questions.prompts[row])
                rows.append(row)
        return np.array(rows)

    test = load(TEST_SPLIT[args.dataset])
    first, *others = map(load, OTHER_SPLITS[args.dataset])
    rest = first.concat(*others) if others else first
    numbers = {"test": fresh(test, sizes["test"])}
    left = fresh(rest)
    if args.dataset == "quartz":
        left = left[together(rest[left].prompts)]
    parts = {"test": test[numbers["test"]]}
    for part in ("easy", "held-out", "hard", "weights", "more"):
        numbers[part], left = left[: sizes[part]], left[sizes[part] :]
        if len(numbers[part]):
            parts[part] = rest[numbers[part]]
    return parts, {part: numbers[part].tolist() for part in ("test", "hard")}


def together(prompts: Sequence[str]) -> np.ndarray:
    """The rows in an order in which those of near-duplicates follow each other, so that few are in two parts."""
    from scipy.sparse.csgraph import connected_components
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.preprocessing import normalize

    words = normalize(CountVectorizer(binary=True, token_pattern=r"\w+").fit_transform(prompts))
    group = connected_components((words @ words.T) > 0.8, directed=False)[1]
    _, first = np.unique(group, return_index=True)
    return np.lexsort((np.arange(len(group)), first[group]))


class Recorded(BaseEstimator):
    """An `OptionLearner` that was fitted in another unit of work, of which the scores are known."""

    def __init__(self, scores: dict[str, list[float]]) -> None:
        self.scores = scores

    def fit(self, questions: QADataset, *, question_weight: np.ndarray) -> Recorded:
        """Nothing to do."""
        return self

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def option_scores(self, prompts: Sequence[str], choices: Sequence[Sequence[str]]) -> list[list[float]]:
        """What was recorded."""
        return [self.scores[prompt] for prompt in prompts]


def scores_of(fitted: Any, questions: QADataset) -> list[list[float]]:
    """Scores of the options on a logarithmic scale, as JSON has them."""
    if hasattr(fitted, "decision_function"):
        found = np.asarray(fitted.decision_function(questions))
    else:
        found = np.log(np.maximum(fitted.predict_proba(questions), 1e-300))
    return [row[:n].round(6).tolist() for row, n in zip(found, questions.n_choices, strict=True)]


def credit(scores: Sequence[Sequence[float]], labels: Sequence[int]) -> list[float]:
    """1 for a question that is answered right, 0 for one that is not, 1/m for a right option tied with m - 1 others."""
    earned = []
    for row, label in zip(scores, labels, strict=True):
        best = np.asarray(row) >= max(row) - 1e-6
        earned.append(float(best[label] / best.sum()))
    return earned


class Run:
    """One data set and one seed: its questions, its folder, and what is done on them."""

    def __init__(self, args: argparse.Namespace, seed: int, weak: str, student: str) -> None:
        self.seed, self.weak, self.student = seed, weak, student
        self.offline = args.dataset == "offline"
        self.settings = OFFLINE_SETTINGS if self.offline else SETTINGS
        self.folder = args.out / args.dataset / f"seed{seed}"
        self.folder.mkdir(parents=True, exist_ok=True)
        self.parts, items = draw_parts(args, seed)
        self.extras = seed == EXTRAS_SEED
        if not self.extras:
            self.parts.pop("more", None)
        self.n_done = self.n_read = 0
        self.found: dict[str, dict[str, Any]] = {}
        about = {
            "settings": self.settings,
            "models": [Path(weak).name, Path(student).name],
            "sizes": {part: len(questions) for part, questions in self.parts.items()},
            "items": items,
            "labels": {part: np.asarray(questions.labels).tolist() for part, questions in self.parts.items()},
        }
        known = self.unit("questions", lambda: about)
        if any(known[name] != value for name, value in json.loads(json.dumps(about)).items()):
            raise SystemExit(f"{self.folder} was begun with other settings, models or questions; choose another --out.")

    def unit(self, name: str, compute: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """What `compute` gives, from its file where there is one."""
        path = self.folder / f"{name.replace(', ', '-').replace(' ', '-')}.json"
        if path.exists():
            self.n_read += 1
            return json.loads(path.read_text(encoding="utf-8"))
        started = time.process_time()
        result = compute()
        seconds = round(time.process_time() - started, 1)
        part = path.with_suffix(f".{os.getpid()}.part")
        part.write_text(json.dumps({**result, "cpu_seconds": seconds}), encoding="utf-8")
        os.replace(part, path)
        self.n_done += 1
        print(
            f"{time.strftime('%H:%M:%S')} {self.folder.parent.name} seed {self.seed}: {name}, {seconds} s", flush=True
        )
        return json.loads(path.read_text(encoding="utf-8"))

    def pools(self) -> None:
        """Experts of the weak model and their pools, the cheapest and most telling first."""
        found = self.found
        for name in EXPERTS:
            self.fit_expert(name)
        for pool, names in POOLS.items():
            for weights in ("even", "held-out"):
                name = f"{pool}, {weights}"
                chosen = [found[expert]["scores"] for expert in names]
                found[name] = self.unit(name, lambda c=chosen, w=weights: self.pool(c, w))

    def controls(self) -> None:
        """What the pools are compared with besides one generator."""
        for name in ("longer", "whole prompt"):
            self.fit_expert(name)
        for name in ("boosted", "bagged"):
            self.found[name] = self.unit(name, lambda n=name: self.ensemble(n, self.generators(n == "boosted")))
        clear_model_cache()  # prompts of other seeds are others

    def fit_expert(self, name: str) -> None:
        make = self.experts()[name]
        self.found[name] = self.unit(name, lambda: self.expert(make()))

    def other_rows(self) -> None:
        """What one seed has besides."""
        for name, make in self.other_ensembles().items():
            self.found[name] = self.unit(name, lambda n=name, m=make: self.ensemble(n, m()))
        members, name = self.found["boosted"]["members"], "boosted, held-out votes"
        self.found[name] = self.unit(name, lambda: self.pool(members, "held-out", "linear"))
        if "more" in self.parts:
            self.score_more()
        clear_model_cache()
        self.students(EXTRA_STUDENTS)

    def students(self, names: Sequence[str]) -> None:
        """Each as a generator, as a verifier, and both pooled."""
        found = self.found
        for labels in names:
            if "more" in labels and "more" not in self.parts:
                print(f"{self.folder}: no further hard questions, so no students of more of them", flush=True)
                continue
            if labels == "agreement" and not self.agreed(found, "hard").any():
                print(f"{self.folder}: generator and verifier agree on no question, so none is left for a student")
                continue
            taught = [
                self.unit(f"student {labels}, {form}", lambda f=form, n=labels: self.taught(f, n, found))
                for form in FORMS[:2]
            ]
            self.unit(f"student {labels}, pooled", lambda t=taught, n=labels: self.pooled_student(t, n, found))

    def generator(self, settings: str, model: str | None = None, **parameters: Any) -> FineTunedGenerator:
        """One fine-tuned language model."""
        return FineTunedGenerator(self.learner(settings, model), **parameters)

    def learner(self, settings: str, model: str | None = None) -> HFCausalLM:
        """What a generator, or a member of a booster, is made from."""
        return HFCausalLM(model or self.weak, **self.settings[settings], **self.frame(), random_state=self.seed)

    def verifier(self, settings: str, model: str | None = None) -> HFVerifier:
        """One verifier."""
        return HFVerifier(model or self.weak, **self.settings[settings], **self.frame(), random_state=self.seed)

    def frame(self) -> dict[str, Any]:
        """The words of the offline task are its tokens, so that a short frame suffices."""
        return {"prompt_template": "{prompt} ="} if self.offline else {}

    def experts(self) -> Mapping[str, Callable[[], Any]]:
        """Experts of the weak model by name."""
        return {
            "zero-shot": lambda: self.generator("generator", zero_shot=True, normalize="token"),
            "frozen": lambda: self.verifier("frozen"),
            "generator": lambda: self.generator("generator"),
            "lora": lambda: self.verifier("lora"),
            "longer": lambda: self.generator("longer"),
            "whole prompt": lambda: self.generator("whole prompt"),
        }

    def generators(self, reweight: bool) -> TokenAdaBoostGenerator:
        """Generators boosted as in the paper, or bagged with the same seeds: their first members are equal."""
        return TokenAdaBoostGenerator(self.learner("generator"), reweight=reweight, **self.rounds())

    def rounds(self) -> dict[str, Any]:
        return {"n_estimators": N_MEMBERS, "on_failure": "keep", "random_state": self.seed}

    def other_ensembles(self) -> Mapping[str, Callable[[], TokenAdaBoostGenerator]]:
        """What is tried once: verifiers boosted, and beside them bagged, and boosting across kinds."""
        options: dict[str, Any] = {"unit": "option", "sampling": "count", "prior": "uniform", **self.rounds()}
        return {
            "verifiers boosted": lambda: TokenAdaBoostGenerator(self.verifier("frozen"), **options),
            "verifiers bagged": lambda: TokenAdaBoostGenerator(self.verifier("frozen"), reweight=False, **options),
            "kinds boosted": lambda: TokenAdaBoostGenerator(
                estimators=[self.learner("generator"), self.verifier("frozen")], pick="best", **options
            ),
        }

    def judged(self, scores: Scores, **more: Any) -> dict[str, Any]:
        """A unit's result: scores, and the credits of all questions."""
        return {
            "scores": scores,
            "credit": {part: credit(rows, self.parts[part].labels) for part, rows in scores.items()},
            **more,
        }

    def all_scores(self, fitted: Any) -> Scores:
        """Of all questions but those that are trained on, and the further hard ones (see `score_more`)."""
        parts = {part: questions for part, questions in self.parts.items() if part not in ("easy", "more")}
        return {part: scores_of(fitted, questions) for part, questions in parts.items()}

    def expert(self, untrained: Any) -> dict[str, Any]:
        """Train on the easy questions, and score all others."""
        return self.judged(self.all_scores(untrained.fit(self.parts["easy"])))

    def score_more(self) -> None:
        """The teachers' scores of the further hard questions: the experts are trained once more, with the same seed."""
        for name in EXPERTS:
            fit = self.experts()[name]
            self.found[name]["scores"] |= self.unit(
                f"{name}, more",
                lambda f=fit: self.judged({"more": scores_of(f().fit(self.parts["easy"]), self.parts["more"])}),
            )["scores"]
        experts = [self.found[name]["scores"] for name in POOLS["all"]]
        self.found[TEACHER] = self.unit(f"{TEACHER}, more", lambda: self.pool(experts, "held-out"))

    def ensemble(self, name: str, booster: TokenAdaBoostGenerator) -> dict[str, Any]:
        """The same for several members; a run that is stopped goes on after the last round."""
        rounds = self.folder / f"{name.replace(' ', '-')}-rounds"
        fitted = booster.set_params(checkpoint_dir=rounds).fit(self.parts["easy"])
        n_members = len(fitted.estimators_)
        alone = np.eye(n_members)[: n_members if name == "boosted" and self.extras else 0]
        result = self.judged(
            self.all_scores(fitted),
            members=[self.all_scores(fitted.with_votes(row[: i + 1])) for i, row in enumerate(alone)],
            votes=fitted.estimator_weights_.tolist(),
            errors=fitted.estimator_errors_.tolist(),
            stop_reason=fitted.stop_reason_,
        )
        shutil.rmtree(rounds, ignore_errors=True)
        return result

    def recorded(self, scores: Scores) -> Recorded:
        return Recorded(
            {
                prompt: row
                for part, rows in scores.items()
                for prompt, row in zip(self.parts[part].prompts, rows, strict=True)
            }
        )

    def weighed(self, experts: Sequence[Scores], weights: str, pool: str = "logarithmic") -> OpinionPool:
        recorded = [self.recorded(scores) for scores in experts]
        opinions = OpinionPool(recorded, prefit=True, pool=pool, weights=weights, random_state=self.seed)
        return opinions.fit(self.parts["held-out"])

    def pool(self, experts: Sequence[Scores], weights: str, pool: str = "logarithmic") -> dict[str, Any]:
        """Experts together, weighed on the held-out questions."""
        opinions = self.weighed(experts, weights, pool)
        return self.judged(
            {part: scores_of(opinions, self.parts[part]) for part in experts[0]},
            weights=opinions.weights_.tolist(),
            error_correlation=opinions.error_correlation_.tolist(),
            held_out_log_loss=opinions.held_out_log_loss_,
        )

    def labels(self, name: str, found: Mapping[str, Any], part: str) -> PseudoLabels:
        """Labels of the hard questions as a student of that name has them."""
        source, _, size = name.partition(", ")
        questions, wide = self.parts[part], size == "more" and part == "hard"
        if wide:
            questions = questions.concat(self.parts["more"])
        if source == "oracle":
            y = np.array(questions.answers, dtype=object)
            kept = np.ones(len(y), dtype=bool)
            return PseudoLabels(questions.drop_answers(), y, proba=None, confidence=None, kept=kept, soft=False)
        teacher = found[{"baseline": "generator", "boosted": "boosted"}.get(source, TEACHER)]["scores"]
        soft = "soft" if source == "soft pool" else "hard"
        labeler = PseudoLabeler(labels=soft, random_state=self.seed)
        # Scores of a pool are logarithms of its probabilities, which an even pool of one would sharpen.
        alone = OpinionPool([self.recorded(teacher)], pool="linear", weights=[1.0], prefit=True, random_state=self.seed)
        given = labeler.label(alone.fit(self.parts["held-out"]), questions)
        return dataclasses.replace(given, kept=self.agreed(found, part)) if source == "agreement" else given

    def agreed(self, found: Mapping[str, Any], part: str) -> np.ndarray:
        """Questions to which generator and verifier give the same answer."""
        said = [[int(np.argmax(row)) for row in found[name]["scores"][part]] for name in ("generator", "lora")]
        return np.array(said[0]) == np.array(said[1])

    def taught(self, form: str, name: str, found: Mapping[str, Any]) -> dict[str, Any]:
        """A student, trained on labels of the hard questions."""
        labels = self.labels(name, found, "hard")
        make = self.generator if form == "generator" else self.verifier
        student = labels.fit(make("student" if form == "generator" else "student verifier", self.student))
        scores = {part: scores_of(student, self.parts[part]) for part in ("weights", "test")}
        right = np.array(labels.y)[labels.kept] == self.answers(labels.X)[labels.kept]
        return self.judged(scores, n_labels=int(labels.kept.sum()), label_accuracy=float(right.mean()))

    def answers(self, asked: QADataset) -> np.ndarray:
        """The true ones of questions whose labels are a teacher's."""
        known = {
            prompt: answer
            for part, questions in self.parts.items()
            for prompt, answer in zip(questions.prompts, questions.answers, strict=True)
        }
        return np.array([known[prompt] for prompt in asked.prompts], dtype=object)

    def pooled_student(self, taught: Sequence[dict], name: str, found: Mapping[str, Any]) -> dict[str, Any]:
        """Both students of the same labels together, weighed by the teacher's labels of questions of their own."""
        recorded = [self.recorded(each["scores"]) for each in taught]
        opinions = OpinionPool(recorded, prefit=True, random_state=self.seed)
        labels = self.labels(name, found, "weights")
        opinions = dataclasses.replace(labels, kept=np.ones(len(labels.y), dtype=bool), soft=False).fit(opinions)
        same = {key: taught[0][key] for key in ("n_labels", "label_accuracy")}
        scores = {"test": scores_of(opinions, self.parts["test"])}
        return self.judged(scores, weights=opinions.weights_.tolist(), **same)


class Results:
    """What the units of one or several data sets have left."""

    def __init__(self, runs: Sequence[dict[str, Any]]) -> None:
        self.runs = runs

    def common(self, *names: str) -> list[dict[str, Any]]:
        """The runs, one for each seed and data set, that have all of these rows."""
        return [run for run in self.runs if all(name in run for name in names)]

    def gain(self, one: str, other: str, part: str = "test") -> str:
        """Difference of two rows on the same questions, with its interval."""
        runs = self.common(one, other)
        pairs = [(np.array(run[one][part]), np.array(run[other][part])) for run in runs]
        if not pairs or not all(len(a) for a, _ in pairs):
            return ""
        differences, items = [a - b for a, b in pairs], [np.array(run["items"][part]) for run in runs]
        if len(pairs) == 1:
            low, high = paired_bootstrap_interval(*pairs[0], random_state=0)
        elif len({rows[0] // 10**8 for rows in items}) > 1:
            low, high = interval_over_datasets(differences, items)
        else:
            low, high = interval_over_seeds(differences, items=items, random_state=0)
        numbers = [rows[0] // 10**8 for rows in items]
        mean = np.mean([
            np.mean([d.mean() for d, number in zip(differences, numbers, strict=True) if number == n])
            for n in set(numbers)
        ])  # fmt: skip
        return f"{mean:+.3f} [{low:+.3f}, {high:+.3f}]"

    def accuracy(self, name: str, part: str = "test") -> str:
        """Mean over seeds."""
        runs = [run for run in self.common(name) if run[name].get(part)]
        return f"{np.mean([np.mean(run[name][part]) for run in runs]):.3f}" if runs else ""

    def pgr(self, student: str, oracle: str) -> str:
        """Share of the gap from weak generator to oracle; its interval is over questions, not over trainings."""
        runs = self.common("generator", student, oracle)
        if not runs:
            return ""
        random, names = np.random.default_rng(0), ("generator", student, oracle)
        columns = [np.array([run[name]["test"] for name in names]) for run in runs]

        def ratio(taken: Sequence[np.ndarray]) -> float:
            weak, taught, top = np.mean([column.mean(axis=1) for column in taken], axis=0)
            return float((taught - weak) / (top - weak)) if top > weak else float("nan")

        drawn = [
            ratio([column[:, random.integers(column.shape[1], size=column.shape[1])] for column in columns])
            for _ in range(2000)
        ]
        if np.isnan([ratio(columns), *drawn]).any():  # the gap may be 0, and then a share of it means nothing
            return "no gap that is sure"
        low, high = np.quantile(drawn, [0.025, 0.975])
        return f"{ratio(columns):.2f} [{low:.2f}, {high:.2f}]"


def interval_over_datasets(differences: Sequence[np.ndarray], items: Sequence[np.ndarray]) -> tuple[float, float]:
    """95 % interval of the mean of the data sets' means: what the data sets differ by is no error of it.

    As `interval_over_seeds`: a t interval from the spread of seeds within a data set, never narrower than that over
    items, each counted once though several seeds ask it.
    """
    numbers = np.array([rows[0] // 10**8 for rows in items])
    means = np.array([difference.mean() for difference in differences])
    datasets, freedom = np.unique(numbers), len(means) - len(np.unique(numbers))
    of_seeds = of_items = 0.0  # sums of variances
    within = sum(((means[numbers == n] - means[numbers == n].mean()) ** 2).sum() for n in datasets) / max(freedom, 1)
    for n in datasets:
        rows = np.flatnonzero(numbers == n)
        all_differences = np.concatenate([differences[row] for row in rows])
        _, asked = np.unique(np.concatenate([items[row] for row in rows]), return_inverse=True)
        by_item = np.bincount(asked, all_differences - all_differences.mean())
        of_seeds += within / len(rows) / len(datasets) ** 2
        of_items += (by_item**2).sum() / len(all_differences) ** 2 / len(datasets) ** 2
    t = scipy.stats.t.ppf(0.975, freedom) if freedom else 0.0
    half = max(t * of_seeds**0.5, 1.96 * of_items**0.5)
    centre = np.mean([means[numbers == n].mean() for n in datasets])
    return float(centre - half), float(centre + half)


def read(folder: Path, number: int) -> dict[str, Any]:
    """The credits of one seed by row, with what the tables name besides."""
    units = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.json"))}
    about = units.pop("questions")
    items = {part: [10**8 * number + row for row in rows] for part, rows in about["items"].items()}
    run: dict[str, Any] = {"about": about, "units": units, "items": items, "seconds": {}}
    names = [*WEAK_ROWS, "longer", "whole prompt"]
    names += [f"student {labels}, {form}" for labels in (*STUDENTS, *EXTRA_STUDENTS) for form in FORMS]
    for name in names:
        unit = units.get(name.replace(", ", "-").replace(" ", "-"))
        if unit is not None:
            run[name], run["seconds"][name] = unit["credit"], unit["cpu_seconds"]
    if "longer" in run and "whole prompt" in run:
        better = max(("longer", "whole prompt"), key=lambda name: np.mean(run[name]["held-out"]))
        run["equal compute"], run["seconds"]["equal compute"] = run[better], run["seconds"][better]
    for pool, experts in POOLS.items():
        for weights in ("even", "held-out"):
            if f"{pool}, {weights}" in run:
                run["seconds"][f"{pool}, {weights}"] += sum(run["seconds"][expert] for expert in experts)
    return run


def report(out: Path) -> str:
    """Markdown tables of all that is in the folder."""
    lines: list[str] = []
    everything: list[dict[str, Any]] = []
    for number, dataset in enumerate(DATASETS):
        folders = sorted((out / dataset).glob("seed*"))
        runs = [read(folder, number) for folder in folders if (folder / "questions.json").exists()]
        if runs:
            everything += runs if dataset in ("sciq", "arc-easy") else []
            lines += [f"## {dataset}, {len(runs)} seeds", "", f"Questions: {runs[0]['about']['sizes']}", ""]
            lines += tables(Results(runs))
    if len({run["items"]["test"][0] // 10**8 for run in everything}) > 1:
        lines += ["## SciQ and ARC-Easy pooled", "", *tables(Results(everything))]
    if not lines:
        raise SystemExit(f"{out} holds no results yet.")
    return "\n".join(lines)


def tables(results: Results) -> list[str]:
    """Experts and ensembles, then students."""
    head = ["row", "seeds", "CPU s", "test", "minus generator", "labels of hard questions", "minus generator"]
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    for name in WEAK_ROWS:
        runs = results.common(name)
        if runs:
            cells = [name, str(len(runs)), f"{np.mean([run['seconds'][name] for run in runs]):.0f}"]
            for part in ("test", "hard"):
                cells += [results.accuracy(name, part)]
                cells += ["" if name == "generator" else results.gain(name, "generator", part)]
            lines.append(f"| {' | '.join(cells)} |")
    lines += ["", f"| {TEACHER}, minus | on test | as labels |", "|---|---|---|"]
    for name in ("generator", "equal compute", "boosted", "bagged"):
        lines.append(f"| {name} | {results.gain(TEACHER, name)} | {results.gain(TEACHER, name, 'hard')} |")
    lines += ["", *details(results), ""]
    head = ["labels", "label accuracy", "labels kept", "form", "seeds", "accuracy on test", "minus baseline", "PGR"]
    lines += [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    for labels in (*STUDENTS, *EXTRA_STUDENTS):
        more = ", more" if labels.endswith(", more") else ""
        for form in FORMS:
            name = f"student {labels}, {form}"
            runs = results.common(name)
            if not runs:
                continue
            units = [run["units"][name.replace(", ", "-").replace(" ", "-")] for run in runs]
            baseline, oracle = f"student baseline{more}, {form}", f"student oracle{more}, {form}"
            cells = [f"{np.mean([unit[key] for unit in units]):.{digits}f}" for key, digits in
                     (("label_accuracy", 3), ("n_labels", 0))]  # fmt: skip
            cells += [form, str(len(runs)), results.accuracy(name)]
            cells += ["" if name == baseline else results.gain(name, baseline)]
            cells += ["" if name == oracle else results.pgr(name, oracle)]
            lines.append(f"| {labels} | {' | '.join(cells)} |")
    return [*lines, ""]


def details(results: Results) -> list[str]:
    """Weights, correlations, and how right the teacher's labels are by its confidence."""
    slug = TEACHER.replace(", ", "-")
    units = [(run["units"][slug], run["about"]) for run in results.runs if slug in run["units"]]
    if not units:
        return []
    weights = np.mean([unit["weights"] for unit, _ in units], axis=0)
    correlation = np.mean([unit["error_correlation"] for unit, _ in units], axis=0)[0]
    lines = [
        "Weights: " + ", ".join(f"{name} {weight:.2f}" for name, weight in zip(EXPERTS, weights, strict=True)),
        "Correlation of errors with the generator's, held-out: "
        + ", ".join(f"{name} {value:.2f}" for name, value in zip(EXPERTS[1:], correlation[1:], strict=True)),
    ]
    confidence = np.concatenate([[np.exp(max(row)) for row in unit["scores"]["hard"]] for unit, _ in units])
    right = np.concatenate([unit["credit"]["hard"] for unit, _ in units])
    quarters = np.array_split(np.argsort(-confidence, kind="stable"), 4)
    lines.append(
        "Label accuracy by the pool's confidence, most sure quarter first: "
        + ", ".join(f"{right[rows].mean():.3f}" for rows in quarters if len(rows))
    )
    minutes = sum(unit["cpu_seconds"] for run in results.runs for unit in run["units"].values()) / 60
    lines.append(f"CPU time: {minutes:.0f} minutes")
    return ["\n".join(f"- {line}" for line in lines)]


if __name__ == "__main__":
    main()
