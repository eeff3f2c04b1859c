"""What the runs of a sweep will cost, with work that they share counted once, and their table."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ensemw2s._markdown import table_lines
from ensemw2s._validation import as_id
from ensemw2s.costs import LearnerCost, StageCost, Workload, measure_bandwidth, measure_flops, stage_costs
from ensemw2s.ensemble import OpinionPool
from ensemw2s.experiments import Model, Run, SweepPlan, random_parts
from ensemw2s.tokens import TokenDataset, Tokenizer

_N_SAMPLE = 500  # questions that are tokenised for the mean lengths
_SECONDS = 0.5  # for each measurement of speed
_WEAK_STAGES = ("prior error", "boosting: training", "boosting: errors", "evaluation: ensemble")


@dataclass(frozen=True)
class RunCost:
    """Cost of one run beyond what the runs before it have done.

    Attributes
    ----------
    name : str
    finished : bool
    flops, seconds : float
        Operations, and time on this machine; 0 if finished, nan without an estimate.
    reason : str
        Why there is no estimate.
    memory : float
        Bytes held at once by the largest stage, without those of the interpreter and its libraries.
    """

    name: str
    finished: bool
    flops: float = 0.0
    seconds: float = 0.0
    reason: str = ""
    memory: float = 0.0


def estimate_runs(plan: SweepPlan) -> list[RunCost]:
    """Cost of each run of a plan, in its order.

    Token counts come from the models' tokenizers and the plan's questions, operations from `stage_costs`, and speeds
    are measured here and now. Students of equal pseudo-labels, which a sweep trains once, are counted each.

    Parameters
    ----------
    plan : SweepPlan
        Of `plan_sweep`.

    Returns
    -------
    list of RunCost
    """
    finished = plan.finished()
    estimator = _Estimator(plan)
    # What finished runs share with others is there: it is counted first, and its cost dropped.
    for run, done in zip(plan.units, finished, strict=True):
        if done:
            estimator.new_work(run)
    costs = []
    for run, done in zip(plan.units, finished, strict=True):
        if done:
            costs.append(RunCost(run.name, True))
            continue
        work, reason = estimator.new_work(run)
        flops, seconds = (sum((each[column] for each in work), 0.0) for column in (0, 1))
        if reason:
            flops = seconds = float("nan")
        memory = max((each[2] for each in work), default=0.0)
        costs.append(RunCost(run.name, False, flops, seconds, reason, memory))
    return costs


def dry_run_table(costs: Sequence[RunCost]) -> str:
    """A row per run, and the sum below."""
    rows = []
    for cost in costs:
        cells = [_operations(cost.flops), _duration(cost.seconds), f"{cost.memory / 2**30:.2g} GiB"]
        if cost.finished:
            cells = ["–"] * len(cells)
        elif cost.reason:
            cells = ["no estimate"] * len(cells)
        rows.append([cost.name, "yes" if cost.finished else "no", *cells])
    missing = [cost for cost in costs if not cost.finished]
    known = [cost for cost in missing if not cost.reason]
    remarks = [f"{len(costs)} units, {len(costs) - len(missing)} finished."]
    if known:
        flops, seconds = sum(cost.flops for cost in known), sum(cost.seconds for cost in known)
        remarks.append(
            f"About {_operations(flops)} operations and {_duration(seconds)} of this machine for "
            f"{'the others' if len(known) == len(missing) else f'{len(known)} of the others'}, all its threads busy: "
            f"more jobs at a time share them. What units share is counted with the first."
        )
    remarks += [f"No estimate: {reason}." for reason in dict.fromkeys(cost.reason for cost in missing if cost.reason)]
    return "\n".join(
        [*table_lines(["unit", "finished", "operations", "time here", "memory"], rows), "", " ".join(remarks)]
    )


class _Estimator:
    def __init__(self, plan: SweepPlan) -> None:
        self.settings = plan.settings
        questions = self.settings.task.questions
        self.parts = [len(part) for part in random_parts(self.settings, seed=0)]
        rows = np.linspace(0, len(questions) - 1, min(_N_SAMPLE, len(questions))).astype(int)
        self.sample = self.settings.task.part(rows)
        self.bandwidth: dict[str, float] = {}
        self.known: dict[str, tuple[LearnerCost, Workload, float, float]] = {}
        self.done: set[tuple[str, ...]] = set()

    def new_work(self, run: Run) -> tuple[list[tuple[float, float, float]], str]:
        """Operations, seconds and bytes of the stages that no run before has run, or why they cannot be told."""
        work: list[tuple[float, float, float]] = []
        new: set[tuple[str, ...]] = set()
        try:
            for key, model, stages in self._stages(run):
                if key not in self.done | new:
                    new.add(key)
                    *_, rate, bandwidth = self._sizes(model)
                    work += [(stage.flops, stage.seconds(rate, bandwidth), stage.memory) for stage in stages]
        except TypeError as error:
            return [], f"{error}"
        except (OSError, ValueError) as error:
            return [], f"{type(error).__name__}: {error}".split("\n")[0]
        self.done |= new  # not where an error came: what the run shares with others is then counted with the next
        return work, ""

    def _stages(self, run: Run) -> Iterator[tuple[tuple[str, ...], Model, list[StageCost]]]:
        """Key of a piece of work, the model that does it, and its stages."""
        settings, split, seed = self.settings, run.split, str(run.seed)
        booster = run.variant.booster
        n_rounds = int(booster["n_estimators"])
        if settings.by_difficulty(split):
            found = self._costs(settings.rater, {})
            yield ("difficulty",), settings.rater, [found["difficulty"]]
        members = json.dumps([booster, run.variant.learner], sort_keys=True, default=repr)
        found = self._costs(run.weak, booster, run.variant.learner)
        n_readouts = len(settings.readouts(run.variant))
        labels = [found["pseudo-labels"], found["pseudo-labels: baseline"]]
        if settings.student_rounds == "all":  # every prefix labels anew
            labels = [_times(found["pseudo-labels"], (n_rounds + 1) / 2)]
        stages = [found[name] for name in _WEAK_STAGES[:-1] if name in found]
        stages += [_times(stage, n_readouts) for stage in (*labels, found["evaluation: ensemble"])]
        yield ("weak", run.weak.name, split, seed, members), run.weak, stages
        found = self._costs(run.strong, booster)
        # The cost model has three students: that of the ensemble, the baseline, and the oracle.
        one = [found["student"], _times(found["evaluation: students"], 1 / 3)]
        yield ("oracle", run.strong.name, split, seed), run.strong, one
        if settings.train_on_easy:
            share = self.parts[0] / self.parts[1]
            yield ("easy", run.strong.name, split, seed), run.strong, [_times(one[0], share), one[1]]
        n_students = len(settings.taught_rounds(n_rounds))
        yield ("students", run.name), run.strong, [_times(stage, n_students) for stage in one]

    def _costs(
        self, model: Model, booster: dict[str, Any], overrides: dict[str, object] | None = None
    ) -> dict[str, StageCost]:
        learner, workload, *_ = self._sizes(model)
        if overrides:
            learner = LearnerCost.from_learner(model.build(self.settings.task, 0, overrides))
        sampling = booster.get("sampling", "binary")
        workload = replace(
            workload,
            n_estimators=int(booster.get("n_estimators", 1)),
            sampling=sampling if workload.task != "classes" else "binary",
            unit="option" if booster.get("unit") == "option" else "token",
        )
        return {stage.stage: stage for stage in stage_costs(learner, learner, workload)}

    def _sizes(self, model: Model) -> tuple[LearnerCost, Workload, float, float]:
        # By the model's name: the speed of its products is measured, which takes a while.
        if model.name not in self.known:
            learner = model.build(self.settings.task, 0)
            try:
                cost = LearnerCost.from_learner(learner)
            except TypeError as error:
                kind = "no Hugging Face model, whose sizes could be read"
                if isinstance(learner, OpinionPool):
                    kind = "a pool of experts, for which there is no cost model"
                raise TypeError(f"{model.name} is {kind}") from error
            device = learner.device or _default_device()
            if device not in self.bandwidth:
                self.bandwidth[device] = measure_bandwidth(seconds=_SECONDS, device=device)
            rate = measure_flops(cost.model, seconds=_SECONDS, device=device, dtype=learner.dtype)
            self.known[model.name] = (cost, self._workload(learner), rate, self.bandwidth[device])
        return self.known[model.name]

    def _workload(self, learner: Any) -> Workload:
        questions = self.settings.task.questions
        tokenizer = _tokenizer(learner)
        classify = self.settings.task.name == "classification"
        if classify:
            lengths = [len(ids) for ids in tokenizer(list(self.sample.X))["input_ids"]]
            prompt, answer = float(np.mean(lengths)), 1.0
        else:
            tokens = TokenDataset.from_text(
                self.sample.X.prompts, list(self.sample.y), tokenizer=tokenizer, prompt_template=learner.prompt_template
            )
            prompt, answer = len(tokens.prompt_ids) / len(tokens), tokens.n_tokens / len(tokens)
        choices = questions.n_choices
        weak, strong, test = self.parts
        return Workload(
            n_easy=max(1, round(weak * (1 - self.settings.validation_size))),
            n_hard=strong,
            n_test=test,
            prompt_tokens=prompt,
            answer_tokens=answer,
            task="classes" if classify else "text" if choices is None else "options",
            n_options=4 if choices is None else max(1, round(float(np.mean(choices)))),
            n_folds=self.settings.cv,
        )


def _tokenizer(learner: Any) -> Tokenizer:
    from transformers import AutoTokenizer

    if learner.tokenizer is not None and not isinstance(as_id(learner.tokenizer), str):
        return learner.tokenizer
    return AutoTokenizer.from_pretrained(
        learner.tokenizer or learner.model, revision=learner.revision, trust_remote_code=False
    )


def _default_device() -> str:
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def _times(stage: StageCost, factor: float) -> StageCost:
    return replace(stage, flops=stage.flops * factor, traffic=stage.traffic * factor)


def _operations(number: float) -> str:
    return f"{number:.2g}".replace("e+", "e") if np.isfinite(number) else "–"


def _duration(seconds: float) -> str:
    for size, unit in ((86400.0, "d"), (3600.0, "h"), (60.0, "min")):
        if seconds >= size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.1f} s"
