"""Difficulty of a sweep's questions, as its easy-hard split rates them."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ensemw2s.difficulty import DifficultyRatings, cross_val_difficulty
from ensemw2s.exceptions import CheckpointError

if TYPE_CHECKING:
    from ensemw2s.experiments import SweepPlan

__all__ = ["rate_questions"]


def rate_questions(plan: SweepPlan, *, n_jobs: int | None = None, verbose: bool = False) -> NDArray[np.float64]:
    """Rate the questions of a sweep (EnsemW2S, Appendix E; Figures 7 to 9).

    Ratings that the sweep has left in its ``out_dir`` are read. Others are computed as the sweep would, and kept there
    for the next call.

    Parameters
    ----------
    plan : SweepPlan
        Of `plan_sweep`: questions, rater and folds.
    n_jobs : int, optional
        Folds at a time.
    verbose : bool, default=False
        Show a progress bar of the folds.

    Returns
    -------
    ndarray of shape (n_questions,)
        In [0, 1]; larger is harder.

    Raises
    ------
    CheckpointError
        If stored ratings are damaged.

    Examples
    --------
    >>> from ensemw2s import BigramLearner, make_qa, paper, plan_sweep
    >>> plan = plan_sweep([(("weak", BigramLearner()), ("strong", BigramLearner()))],
    ...                   dataset=make_qa(60, random_state=0))
    >>> paper.rate_questions(plan).shape
    (60,)
    """
    settings = plan.settings
    described = settings.describe_rating()
    kept = None
    if plan.out_dir is not None:
        stored = _ratings_of_sweep(Path(plan.out_dir), described)
        if stored is not None:
            return stored
        name = hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()[:16]
        kept = Path(plan.out_dir) / "ratings" / f"{name}.json"
        if kept.exists():
            return DifficultyRatings.load(kept).ratings
    pool = settings.task.part(np.arange(len(settings.task.questions)))
    rater = settings.task.student(settings.rater.build(settings.task, seed=0))
    rated = cross_val_difficulty(rater, pool.X, pool.y, cv=settings.cv, random_state=0, n_jobs=n_jobs, verbose=verbose)
    if kept is not None:
        kept.parent.mkdir(parents=True, exist_ok=True)
        rated.save(kept)
    return rated.ratings


def _ratings_of_sweep(folder: Path, described: dict[str, Any]) -> NDArray[np.float64] | None:
    """What a sweep has stored for exactly these questions, rater and folds."""
    described = json.loads(json.dumps(described))
    for path in sorted((folder / "difficulty").glob("*.json")):
        try:
            body = json.loads(path.read_text(encoding="utf-8"))["body"]
            if body["description"] == described:
                return np.array(body["result"], dtype=np.float64)
        except (ValueError, KeyError, TypeError) as error:
            raise CheckpointError(f"{path} is no stored result ({error}); delete it to compute it again.") from error
    return None
