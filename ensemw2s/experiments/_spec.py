"""What a sweep consists of: models, variants, runs, and the settings they share."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
from sklearn.base import clone

from ensemw2s._validation import as_id, check_integer, shorten
from ensemw2s.ensemble import VOTES, BaseTokenGenerator, OpinionPool
from ensemw2s.experiments._tasks import Task
from ensemw2s.metrics import Extract, Metric, MetricLike, as_metric
from ensemw2s.mixture import reads_tokens
from ensemw2s.pipeline import PseudoLabeler
from ensemw2s.splits import EasyHardSplit, RandomSplit
from ensemw2s.storage import describe, describe_model, mixed_precision


class Splitting(NamedTuple):
    """How the pool is cut into three parts."""

    splitter: type[RandomSplit] | type[EasyHardSplit]
    """Class whose objects do it."""
    by_difficulty: bool
    """Whether it asks for ratings of the questions."""


# By the name that the parameter `splits` has.
SPLITS = {
    "random": Splitting(RandomSplit, by_difficulty=False),
    "easy-hard": Splitting(EasyHardSplit, by_difficulty=True),
}

# Numbers of members that teach a student, of T, by the name that the parameter `student_rounds` has.
STUDENT_ROUNDS: dict[str, Callable[[int], Sequence[int]]] = {
    "last": lambda n_members: sorted({1, n_members}),
    "all": lambda n_members: range(1, n_members + 1),
}

# Votes with which members are asked, from those of boosting, by the name that ``votes`` of a variant has.
READOUT_VOTES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "boosted": lambda votes: votes,
    "uniform": np.ones_like,
}

# Settings of a booster that are looked at after training: variants that differ in nothing else share their members.
_READOUT = ("choose", "combine", "voting")


@dataclass(frozen=True)
class Model:
    """A weak model, a student or a rater: a name, an id or estimator, and the parameters to set.

    A weak model may be a list of ids and estimators, which are boosted together.
    """

    name: str
    model: Any
    params: dict[str, object] = field(default_factory=dict)

    def build(self, task: Task, seed: int, overrides: Mapping[str, object] | None = None) -> Any:
        """An unfitted learner with its parameters and seeds set; of several models a list of learners."""
        if isinstance(self.model, list):
            return [replace(self, model=each).build(task, seed, overrides) for each in self.model]
        learner = clone(task.learner(self.model))
        params = {**self.params, **(overrides or {})}
        if isinstance(learner, OpinionPool):
            params = _params_of_pool(learner, params, task)
        known = learner.get_params(deep=True)
        learner.set_params(**params)
        seeds = [key for key in known if key == "random_state" or key.endswith("__random_state")]
        return learner.set_params(**dict.fromkeys(seeds, seed))

    def first(self) -> Model:
        """The first of several models, or the only one."""
        return replace(self, model=self.model[0]) if isinstance(self.model, list) else self

    def describe(self) -> dict[str, object]:
        """All that its results depend on, as JSON."""
        name, several = f"model {self.name}", isinstance(self.model, list)
        model = [describe_model(each, name) for each in self.model] if several else describe_model(self.model, name)
        return {"model": model, "params": describe(self.params, f"parameters of {self.name}")}


def _params_of_pool(pool: OpinionPool, params: Mapping[str, object], task: Task) -> dict[str, object]:
    """What is set on a pool: parameters of its own, and experts whose generators have the others."""
    own = {name: value for name, value in params.items() if name in pool.get_params(deep=False)}
    others = {name: value for name, value in params.items() if name not in own}
    if not others:
        return own
    experts: list[object] = []
    taken: set[str] = set()
    for expert in map(task.learner, pool.experts):
        expert, prefix = clone(expert), ""
        if isinstance(expert, BaseTokenGenerator):
            prefix = "estimator__"
            expert.set_params(estimator=task.learner(expert.estimator))
        if prefix or reads_tokens(expert):
            known = expert.get_params(deep=True)
            given = {name: value for name, value in others.items() if f"{prefix}{name}" in known}
            expert.set_params(**{f"{prefix}{name}": value for name, value in given.items()})
            taken.update(given)
        experts.append(expert)
    if unknown := [name for name in others if name not in taken]:
        raise ValueError(
            f"Parameters of models must be those of the pool, or of a generator among its experts. Got {unknown[0]!r}, "
            f"which none of them has; set it on the expert that has it."
        )
    return {**own, "experts": experts}


def as_model(model: object, params: Mapping[str, object] | None, name: str, *, several: bool = False) -> Model:
    """A `Model` from an id, an estimator, or a pair (name, id or estimator); with `several` from a list, too.

    Raises
    ------
    TypeError
        If it is none of these; `name` says where it was found.
    """
    title, given = model if isinstance(model, tuple) and len(model) == 2 else (None, model)
    each = given if several and isinstance(given, list) else [given]
    if not each or not all(_is_model(one) for one in each):
        kinds = "a list of these, or a pair (name, one of these)" if several else "or a pair (name, one of these)"
        raise TypeError(f"{name} must be a model id, a folder, an estimator, {kinds}. Got {shorten(model)} instead.")
    return Model(" + ".join(map(_title, each)) if title is None else str(title), given, dict(params or {}))


def _is_model(given: object) -> bool:
    return isinstance(as_id(given), str) or (hasattr(given, "get_params") and not isinstance(given, type))


def _title(given: object) -> str:
    given = as_id(given)
    return given.rstrip("/").split("/")[-1] if isinstance(given, str) else type(given).__name__


@dataclass(frozen=True)
class Variant:
    """One way to make and to ask the weak ensemble.

    Attributes
    ----------
    name : str
    booster : dict
        Parameters of the booster that change its training, ``n_estimators`` included.
    learner : dict
        Parameters of the weak learner, such as ``epochs``.
    readout : dict
        What is looked at after training: "combine", "choose" or "voting", and "votes", "boosted" or "uniform". Votes
        that a booster knows are its own parameter.
    """

    name: str
    booster: dict[str, Any]
    learner: dict[str, object]
    readout: dict[str, Any]

    @classmethod
    def from_settings(cls, name: str, settings: Mapping[str, Any], common: Mapping[str, Any]) -> Variant:
        """From a user's dictionary; `common` holds what all variants share."""
        check_parameters_given(settings, f"variants[{name!r}]")
        merged = {**common, **settings}
        for key in ("estimator", "estimators"):
            if key in merged:
                raise ValueError(
                    f"booster_params and variants must leave out {key!r}: what is boosted is the weak model of a pair. "
                    f"Got {shorten(merged[key])}; for several learners pass a list as the weak model, ([a, b], strong)."
                )
        learner = dict(check_parameters_given(merged.pop("weak_params", {}), f"variants[{name!r}]['weak_params']"))
        readout = {key: merged.pop(key) for key in _READOUT if key in merged}
        votes = merged.get("votes", "boosted")
        if not isinstance(votes, str) or votes not in (*READOUT_VOTES, *VOTES):
            raise ValueError(
                f"variants[{name!r}]['votes'] must be 'boosted' or 'uniform', or one of the booster's, "
                f"{', '.join(map(repr, VOTES))}. Got {votes!r} instead."
            )
        readout["votes"] = "boosted"
        if votes in READOUT_VOTES:
            readout["votes"] = merged.pop("votes", votes)
        check_integer(merged["n_estimators"], f"variants[{name!r}]['n_estimators']", minimum=1)
        return cls(name, merged, learner, readout)

    def trains_like(self, other: Variant) -> bool:
        """Whether both have the same members."""
        return self.booster == other.booster and self.learner == other.learner


@dataclass(frozen=True)
class Settings:
    """What all runs of a sweep share.

    Attributes
    ----------
    task : Task
    sizes : tuple of three int or float
        Of train-weak, train-strong and test.
    near_duplicates : float or None
        Passed to the split.
    rater : Model
        Whose errors say what is hard.
    cv : int
        Folds of the rating.
    variants : tuple of Variant
    labeler : PseudoLabeler
    validation_size : float
        Share of train-weak that no weak model is trained on.
    student_rounds : {"last", "all"}
        Whether students are trained after the first and last round, or after each.
    train_on_easy : bool
        Whether the strong model is also trained on the true answers of train-weak.
    checkpoint_rounds : bool
        Whether each round of a weak ensemble is committed as it ends.
    metric, extract
        What answers are compared by, as in `run_sweep`.
    mixed_precision : str
        What ``ACCELERATE_MIXED_PRECISION`` makes of all training where the sweep was planned.
    """

    task: Task
    sizes: tuple[Any, Any, Any]
    near_duplicates: Any
    rater: Model
    cv: int
    variants: tuple[Variant, ...]
    labeler: PseudoLabeler
    validation_size: float = 0.0
    student_rounds: str = "last"
    train_on_easy: bool = False
    checkpoint_rounds: bool = False
    metric: MetricLike = None
    extract: Extract = None
    mixed_precision: str = field(default_factory=mixed_precision)

    def describe_questions(self) -> dict[str, object]:
        """The pool, what is made of it, and what in the environment changes all training, as JSON."""
        described: dict[str, object] = {"task": self.task.name, **self.task.questions._ensemw2s_fingerprint()}
        if self.mixed_precision != "no":  # where it is, results have the names that they always had
            described["mixed_precision"] = self.mixed_precision
        return described

    @property
    def measured(self) -> Metric:
        """What answers earn."""
        return as_metric(self.metric, self.extract, kind=self.task.kind)

    def describe_metric(self) -> dict[str, object]:
        """What answers are compared by, as JSON; nothing where that is the default, with which results keep names."""
        if self.extract is None and (self.metric is None or self.metric == as_metric(None, kind=self.task.kind).name):
            return {}
        extract = [self.extract.pattern, self.extract.flags] if isinstance(self.extract, re.Pattern) else self.extract
        return {"metric": describe(self.metric, "metric"), "extract": describe(extract, "extract")}

    def describe_rating(self) -> dict[str, object]:
        """All that the difficulty ratings depend on, as JSON."""
        return {**self.describe_questions(), "rater": self.rater.describe(), "cv": self.cv}

    def describe_split(self, split: str, seed: int) -> dict[str, object]:
        """All that the three parts depend on, as JSON."""
        described = {
            **self.describe_questions(),
            "split": split,
            "sizes": list(self.sizes),
            "near_duplicates": describe(self.near_duplicates, "near_duplicates"),
            "seed": seed,
        }
        if self.by_difficulty(split):
            described["rating"] = self.describe_rating()
        return described

    def by_difficulty(self, split: str) -> bool:
        """Whether a split cuts the pool by the questions' difficulty."""
        return SPLITS[split].by_difficulty

    def taught_rounds(self, n_members: int) -> Sequence[int]:
        """Numbers of members whose labels teach a student."""
        return STUDENT_ROUNDS[self.student_rounds](n_members)

    def readouts(self, variant: Variant) -> list[dict[str, Any]]:
        """All ways in which the members of a variant are asked, in an order of their own."""
        # No weights are kept: members are asked in all ways while they are there, and all ways are part of the result.
        found: list[dict[str, Any]] = []
        for other in self.variants:
            if other.trains_like(variant) and other.readout not in found:
                found.append(other.readout)
        return sorted(found, key=repr)

    def describe_weak(self, run: Run) -> dict[str, object]:
        """All that a weak ensemble and its pseudo-labels depend on, as JSON."""
        return {
            "data": self.describe_split(run.split, run.seed),
            "validation_size": self.validation_size,
            "learner": run.weak.describe(),
            "overrides": describe(run.variant.learner, "weak_params"),
            "booster": describe(run.variant.booster, "booster_params"),
            "readouts": self.readouts(run.variant),
            "labeler": describe(self.labeler, "labeler"),
            "rounds": self.student_rounds,
            "seed": run.seed,
            "ties": TIES,
            **self.describe_metric(),
        }


def check_parameters_given(given: object, name: str) -> Mapping[str, Any]:
    """Return `given`, a dictionary with texts as keys."""
    if not isinstance(given, Mapping) or not all(isinstance(key, str) for key in given):
        raise TypeError(f"{name} must be a dict of parameters by name. Got {shorten(given)} instead.")
    return given


TIES = "shared"
"""How ties count, as a part of what results depend on: in results without it, the first of tied options was taken."""


@dataclass(frozen=True)
class Run:
    """One run of the pipeline, a unit of the sweep: a pair of models, a split, a variant and a seed."""

    weak: Model
    strong: Model
    split: str
    variant: Variant
    seed: int

    @property
    def name(self) -> str:
        """As it is called in messages."""
        return f"{self.weak.name} → {self.strong.name}, {self.split}, {self.variant.name}, seed {self.seed}"

    @property
    def columns(self) -> dict[str, object]:
        """What tells it from the others in tables and records."""
        sides = {"weak": self.weak.name, "strong": self.strong.name}
        return {**sides, "split": self.split, "variant": self.variant.name, "seed": self.seed}


def check_names(models: Sequence[Model], name: str) -> None:
    """Refuse two different models of one name: their results would be averaged."""
    seen: dict[str, Model] = {}
    for model in models:
        other = seen.setdefault(model.name, model)
        if other.describe() != model.describe():
            raise ValueError(
                f"{name} must not hold two different models with one name, {model.name!r}; pass pairs (name, model)."
            )
