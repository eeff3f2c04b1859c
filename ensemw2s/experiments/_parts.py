"""The three parts of the pool, and the ratings that tell easy from hard."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.model_selection import GroupShuffleSplit

from ensemw2s._validation import shorten
from ensemw2s.difficulty import cross_val_difficulty
from ensemw2s.experiments._spec import SPLITS, Settings
from ensemw2s.experiments._store import ResultStore
from ensemw2s.splits import EasyHardSplit, RandomSplit, question_groups


@dataclass(frozen=True)
class Parts:
    """Rows of the pool: weak models train on `weak`, students on `strong`; `validation` was taken from `weak`."""

    weak: np.ndarray
    validation: np.ndarray
    strong: np.ndarray
    test: np.ndarray


def find_parts(settings: Settings, split: str, seed: int, store: ResultStore) -> Parts:
    """The parts of one split and seed; ratings are looked up, or computed, where they are needed."""
    ratings = [difficulty_ratings(settings, store)] if settings.by_difficulty(split) else []
    weak, strong, test = _draw(SPLITS[split].splitter, settings, seed, *ratings)
    validation = weak[:0]
    if settings.validation_size > 0:
        # By groups: a copy of a held-out question in training would make its round look good.
        groups = question_groups(settings.task.questions, near_duplicates=settings.near_duplicates)[weak]
        holdout = GroupShuffleSplit(n_splits=1, test_size=settings.validation_size, random_state=seed)
        kept, held_out = next(holdout.split(weak, groups=groups))
        weak, validation = weak[kept], weak[held_out]
    return Parts(weak, validation, strong, test)


def difficulty_ratings(
    settings: Settings, store: ResultStore, *, n_jobs: int | None = None, verbose: bool = False
) -> np.ndarray:
    """Rating of each question of the pool, computed once for all seeds, pairs and variants."""

    def rate() -> list[float]:
        rater = settings.task.student(settings.rater.build(settings.task, seed=0))
        pool = settings.task.part(np.arange(len(settings.task.questions)))
        rated = cross_val_difficulty(
            rater, pool.X, pool.y, cv=settings.cv, random_state=0, n_jobs=n_jobs, verbose=verbose
        )
        return rated.ratings.tolist()

    return np.array(store.get("difficulty", settings.describe_rating(), rate))


def check_sizes(sizes: object) -> tuple[Any, Any, Any]:
    """Three sizes; whether they fit the questions is found by `random_parts`."""
    if not isinstance(sizes, tuple | list) or len(sizes) != 3:
        raise ValueError(f"sizes must be three: of train-weak, train-strong and test. Got {shorten(sizes)} instead.")
    return tuple(sizes)


def random_parts(settings: Settings, seed: int) -> tuple[np.ndarray, ...]:
    """Rows of train-weak, train-strong and test; raises if sizes are no sizes, or too large for the questions."""
    return _draw(RandomSplit, settings, seed)


def _draw(
    kind: type[RandomSplit] | type[EasyHardSplit], settings: Settings, seed: int, *ratings: np.ndarray
) -> tuple[np.ndarray, ...]:
    weak_size, strong_size, test_size = settings.sizes
    splitter = kind(
        weak_size=weak_size, strong_size=strong_size, test_size=test_size,
        near_duplicates=settings.near_duplicates, random_state=seed,
    )  # fmt: skip
    return next(splitter.split(settings.task.questions, *ratings))
