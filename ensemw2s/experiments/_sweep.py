"""Many runs of the pipeline: pairs of models, splits, variants and seeds."""

from __future__ import annotations

import inspect
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from ensemw2s._validation import check_bool, check_integer, check_option, check_path, check_real, shorten
from ensemw2s.datasets import QADataset, load_questions
from ensemw2s.experiments._parts import check_sizes, random_parts
from ensemw2s.experiments._plan import SweepPlan
from ensemw2s.experiments._result import SweepResult
from ensemw2s.experiments._run import describe_run
from ensemw2s.experiments._spec import (
    SPLITS,
    STUDENT_ROUNDS,
    Model,
    Run,
    Settings,
    Variant,
    as_model,
    check_names,
    check_parameters_given,
)
from ensemw2s.experiments._tasks import make_task
from ensemw2s.metrics import Extract, MetricLike
from ensemw2s.pipeline import PseudoLabeler
from ensemw2s.splits import NEAR_DUPLICATES

_MOST_SEEDS = 10_000


def run_sweep(
    pairs: Sequence[tuple[Any, Any]],
    *,
    dataset: QADataset | str,
    task: str = "generation",
    splits: Sequence[str] = ("random", "easy-hard"),
    seeds: int | Sequence[int] = 3,
    n_estimators: int = 5,
    variants: Mapping[str, Mapping[str, object]] | None = None,
    weak_params: Mapping[str, object] | None = None,
    student_params: Mapping[str, object] | None = None,
    booster_params: Mapping[str, object] | None = None,
    labeler: PseudoLabeler | None = None,
    n_questions: int | None = None,
    sizes: tuple[Any, Any, Any] = (0.4, 0.4, 0.2),
    near_duplicates: float | None = NEAR_DUPLICATES,
    validation_size: float = 0.0,
    student_rounds: str = "last",
    train_on_easy: bool = False,
    checkpoint_rounds: bool = False,
    rater: object = None,
    cv: int = 5,
    data_dir: str | os.PathLike[str] | None = None,
    n_jobs: int | None = None,
    out_dir: str | os.PathLike[str] | None = None,
    verbose: bool = False,
    metric: MetricLike = None,
    extract: Extract = None,
) -> SweepResult:
    """Run the weak-to-strong experiment for every pair, split, variant and seed (EnsemW2S, section 4).

    A unit draws train-weak, train-strong and test from the questions, boosts the weak model on train-weak, lets the
    ensemble and its first member label train-strong, trains the strong model on both (W2S student and baseline) and
    on the true answers (oracle), and compares all on test. Units are independent: they go through one
    ``joblib.Parallel`` call, under whatever backend is active (loky, Ray, Dask).

    Every weak ensemble, student, oracle and rating of difficulty is computed once, whichever units need it, and
    committed to `out_dir` as soon as it is there. A second call with the same arguments reads what is finished and
    computes the rest.

    Parameters
    ----------
    pairs : sequence of (weak, strong)
        Models: a hub id, a folder, a learner or classifier that is not fitted, or a pair (name, one of these). With
        ``task="generation"`` the weak model may be a list of them, which are boosted together, see `estimators` of
        `TokenAdaBoostGenerator`; the single weak model that all is compared with is then made from the first.
        An `OpinionPool` is taken as it is, and its experts are the members; it may be a student, too.
    dataset : QADataset or {"sciq", "arc-easy", "arc-challenge", "quartz", "gsm8k", "make_qa", "make_arithmetic"}
        The pool of questions, with answers; a name stands for its training split.
    task : {"generation", "classification"}, default="generation"
        Answers by a language model, or whether a given answer is right, see `to_binary`.
    splits : sequence of {"random", "easy-hard"}
        How the three parts are drawn, see `RandomSplit` and `EasyHardSplit`.
    seeds : int or sequence of int, default=3
        Number of seeds, from 0, or the seeds. A seed draws the parts and seeds all training.
    n_estimators : int, default=5
        Largest number of rounds.
    variants : dict of str to dict, optional
        Ways to boost, by name: parameters of the booster (``{"unit": 4}``), ``weak_params`` (``{"epochs": 15}``), and
        ``votes``: "boosted" or "uniform", with which the same members are asked, or one of the booster's, of which
        "held-out" trains others. One, "boosting", with the defaults if None. See `ablations`.
    weak_params, student_params : dict, optional
        Set on all weak learners and on all students, such as ``{"lr": 1e-4, "epochs": 2}``; of an `OpinionPool` on
        itself and on the generators among its experts.
    booster_params : dict, optional
        Set on all boosters. ``on_failure`` is "keep" unless given: a weak model that cannot be boosted is a result.
    labeler : PseudoLabeler, optional
        How hard questions are labelled; `PseudoLabeler()` if None.
    n_questions : int, optional
        Size of the pool: so many of the questions, drawn once for all seeds; all of them if None.
    sizes : tuple of three float or int, default=(0.4, 0.4, 0.2)
        Of train-weak, train-strong and test, as shares or numbers of questions.
    near_duplicates : float or None
        Passed to the splits.
    validation_size : float in [0, 1), default=0.0
        Share of train-weak that is held out to choose the number of rounds on, see
        `SweepResult.selected_rounds`.
    student_rounds : {"last", "all"}, default="last"
        Whether a student is trained after the first and the last round, or after each.
    train_on_easy : bool, default=False
        Also train the strong model on the true answers of train-weak (the paper's comparison of easy and hard data).
    checkpoint_rounds : bool, default=False
        Commit each round of a weak ensemble to `out_dir` as it ends, so that a sweep that is killed loses at most one
        round of a unit. They are deleted when the ensemble's results are there. Learners of your own cannot be written.
    rater : model, optional
        Whose cross-validated errors rate the questions for "easy-hard"; the first weak model if None,
        of a list its first.
    cv : int, default=5
        Folds of the rating.
    data_dir : path, optional
        Passed to the loader of a named dataset.
    n_jobs : int, optional
        Units at a time, see joblib. Workers of loky share the cores evenly.
    out_dir : path, optional
        Where results are kept; nothing is kept if None. Workers on other machines must see it under the same path.
    verbose : bool, default=False
        Show a progress bar over units.
    metric : {"accuracy", "exact_text", "exact_match", "f1", "number", "rouge"} or callable, optional
        What answers are compared by, as in `W2SPipeline.evaluate`; a callable is a function of a module. Results of
        other metrics are other results: models are trained for each.
    extract : callable, str or re.Pattern, optional
        Finds the answer in a written text, as there.

    Returns
    -------
    SweepResult

    Raises
    ------
    ValueError, TypeError
        If an argument is out of range; nothing has been trained then.
    SweepError
        If units failed, by name, after all others have finished; or if a worker died.

    Examples
    --------
    >>> from ensemw2s import BigramLearner, make_qa, run_sweep
    >>> weak = ("bigram", BigramLearner())
    >>> strong = ("sharper bigram", BigramLearner(smoothing=0.1))
    >>> result = run_sweep([(weak, strong)], dataset=make_qa(60, random_state=0), splits=["random"], seeds=2,
    ...                    n_estimators=2, booster_params={"prior": "uniform"})
    >>> int(result.summary().loc[("bigram", "sharper bigram", "random", "boosting", "student"), "n_seeds"])
    2
    """
    return plan_sweep(
        pairs,
        dataset=dataset, task=task, splits=splits, seeds=seeds, n_estimators=n_estimators, variants=variants,
        weak_params=weak_params, student_params=student_params, booster_params=booster_params, labeler=labeler,
        n_questions=n_questions, sizes=sizes, near_duplicates=near_duplicates, validation_size=validation_size,
        student_rounds=student_rounds, train_on_easy=train_on_easy, checkpoint_rounds=checkpoint_rounds,
        rater=rater, cv=cv, data_dir=data_dir, out_dir=out_dir, metric=metric, extract=extract,
    ).run(n_jobs=n_jobs, verbose=verbose)  # fmt: skip


def plan_sweep(pairs: Sequence[tuple[Any, Any]], **arguments: Any) -> SweepPlan:
    """Check the arguments of `run_sweep` and list its units, without training anything.

    Parameters
    ----------
    pairs : sequence of (weak, strong)
        Models.
    **arguments
        Those of `run_sweep`, without ``n_jobs`` and ``verbose``.

    Returns
    -------
    SweepPlan

    Examples
    --------
    >>> from ensemw2s import BigramLearner, make_qa, plan_sweep
    >>> plan = plan_sweep([(("a", BigramLearner()), ("b", BigramLearner()))], dataset=make_qa(60, random_state=0))
    >>> len(plan.units)
    6
    >>> plan.units[0].name
    'a → b, random, boosting, seed 0'
    """
    given = inspect.signature(run_sweep).bind(pairs, **arguments)
    given.apply_defaults()
    value = given.arguments
    questions = value["dataset"]
    for name in ("data_dir", "out_dir"):
        check_path(value[name], name)
    if not isinstance(questions, QADataset):
        questions = load_questions(questions, value["data_dir"])
    if value["n_questions"] is not None:
        n_questions = check_integer(value["n_questions"], "n_questions", minimum=1)
        questions = questions.shuffle(random_state=0)[:n_questions]
    for name in ("weak_params", "student_params", "booster_params"):
        check_parameters_given({} if value[name] is None else value[name], name)
    models = _check_pairs(value["pairs"], value["weak_params"], value["student_params"])
    common = {"n_estimators": value["n_estimators"], "on_failure": "keep", **(value["booster_params"] or {})}
    settings = Settings(
        task=make_task(value["task"], questions),
        sizes=check_sizes(value["sizes"]),
        near_duplicates=value["near_duplicates"],
        rater=models[0][0].first()
        if value["rater"] is None
        else as_model(value["rater"], value["weak_params"], "rater"),
        cv=check_integer(value["cv"], "cv", minimum=2),
        variants=tuple(
            Variant.from_settings(name, chosen, common) for name, chosen in _check_variants(value["variants"]).items()
        ),
        labeler=PseudoLabeler() if value["labeler"] is None else value["labeler"],
        validation_size=_check_validation_size(value["validation_size"]),
        student_rounds=check_option(value["student_rounds"], "student_rounds", STUDENT_ROUNDS),
        train_on_easy=check_bool(value["train_on_easy"], "train_on_easy"),
        checkpoint_rounds=check_bool(value["checkpoint_rounds"], "checkpoint_rounds"),
        metric=value["metric"],
        extract=value["extract"],
    )
    settings.describe_metric()  # raises where it could not be told from another one
    if questions.answers is not None:
        settings.measured.check(settings.task.part(np.arange(len(questions))).y)
    if not hasattr(settings.labeler, "check_parameters"):
        raise TypeError(f"labeler must be a PseudoLabeler or None. Got {shorten(settings.labeler)} instead.")
    settings.labeler.check_parameters()
    random_parts(settings, seed=0)  # raises where the questions are too few
    splits = [check_option(split, "splits", SPLITS) for split in _as_sequence(value["splits"], "splits")]
    runs = [
        Run(weak, strong, split, variant, seed)
        for split in splits
        for seed in _check_seeds(value["seeds"])
        for variant in settings.variants
        for weak, strong in models
    ]
    for run in runs[: len(settings.variants) * len(models)]:  # of one split and seed, which change no parameter
        _check_run(settings, run)
    return SweepPlan(settings, runs, None if value["out_dir"] is None else os.fspath(value["out_dir"]))


def _check_run(settings: Settings, run: Run) -> None:
    """Build what the run will train, so that a wrong parameter is found before the first training."""
    describe_run(settings, run)
    weak = run.weak.build(settings.task, run.seed, run.variant.learner)
    settings.task.booster(weak, {**run.variant.booster, "random_state": run.seed}).set_params(
        **{key: value for key, value in run.variant.readout.items() if key != "votes"}
    ).check_parameters()
    run.strong.build(settings.task, run.seed)


def _check_pairs(pairs: Any, weak_params: Any, student_params: Any) -> list[tuple[Model, Model]]:
    models = []
    for row, pair in enumerate(_as_sequence(pairs, "pairs")):
        if not isinstance(pair, tuple | list) or len(pair) != 2:
            raise TypeError(f"pairs must hold pairs (weak, strong). Got pairs[{row}] = {shorten(pair)} instead.")
        weak = as_model(pair[0], weak_params, f"pairs[{row}][0]", several=True)
        models.append((weak, as_model(pair[1], student_params, f"pairs[{row}][1]")))
    check_names([weak for weak, _ in models], "pairs")
    check_names([strong for _, strong in models], "pairs")
    return models


def _check_variants(variants: object) -> Mapping[str, Mapping[str, object]]:
    if variants is not None and not isinstance(variants, Mapping):
        raise TypeError(f"variants must be a dict of dicts, by name. Got {shorten(variants)} instead.")
    return variants or {"boosting": {}}


def _check_seeds(seeds: Any) -> list[int]:
    if not isinstance(seeds, Iterable):
        if check_integer(seeds, "seeds", minimum=1) > _MOST_SEEDS:
            raise ValueError(
                f"seeds must be a number of seeds, at most {_MOST_SEEDS:,}, or a list of them, [seed]. Got "
                f"{shorten(seeds)} instead."
            )
        return list(range(seeds))
    checked = [check_integer(seed, f"seeds[{row}]", minimum=0) for row, seed in enumerate(seeds)]
    if len(set(checked)) < len(checked) or not checked:
        raise ValueError(f"seeds must hold different integers, at least one. Got {shorten(checked)} instead.")
    return checked


def _check_validation_size(validation_size: Any) -> float:
    if not 0 <= check_real(validation_size, "validation_size") < 1:
        raise ValueError(f"validation_size must lie in [0, 1). Got {validation_size!r} instead.")
    return float(validation_size)


def _as_sequence(values: object, name: str) -> Sequence[Any]:
    if isinstance(values, str) or not isinstance(values, Sequence) or not values:
        raise TypeError(f"{name} must be a sequence with at least one entry. Got {shorten(values)} instead.")
    return values
