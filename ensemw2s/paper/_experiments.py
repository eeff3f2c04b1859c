"""Every numbered table and figure: what it shows, the sweep it needs, and what draws it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ensemw2s._validation import check_option
from ensemw2s.experiments import SweepPlan, SweepResult, ablations, collapse_remark, refuse_mixed_runs
from ensemw2s.paper import _figures, _tables
from ensemw2s.paper._selection import at_round, first_seed, one_variant, remark_on_rounds, say_sizes
from ensemw2s.paper._tables import PaperTable

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Experiment:
    """One table or figure.

    Attributes
    ----------
    shows : str
        What it shows, in a line.
    arguments : dict
        Those of `run_sweep` that make it the paper's experiment.
    render : callable
        From a `SweepResult` (or ratings, where `needs` says so): frame and remarks of a table, or a figure.
    needs : {"runs", "variants", "ratings"}
        One variant of a sweep; all of them; or difficulty ratings.
    rounds : bool
        Whether a figure can show another round's student than the last one's.
    split : str
        The only split that is shown; "" for all.
    single : bool
        Whether one run of each pair and split is shown, that of the smallest seed.
    """

    shows: str
    arguments: dict[str, Any]
    render: Callable[..., Any]
    needs: str = "runs"
    rounds: bool = False
    split: str = ""
    single: bool = False

    def select(self, result: SweepResult, variant: str | None = None) -> SweepResult:
        """The runs that are shown: what is said of a table or figure is said of these alone."""
        if self.needs == "runs":
            result = one_variant(result, variant)
        if self.split:
            result = result.select(split=self.split)
        return first_seed(result) if self.single else result


def _arguments(dataset: str, *splits: str, **others: Any) -> dict[str, Any]:
    """The paper's settings of a dataset (captions of Tables 1 to 8 and Appendix G.3)."""
    if dataset == "sciq":
        params: dict[str, Any] = {"epochs": 3}
        settings: dict[str, Any] = {"task": "classification", "n_estimators": 10}
    else:
        params = {"epochs": 5, "lr": 5e-5, "peft_config": None}
        settings = {"task": "generation", "n_estimators": 5}
    common = {"seeds": 3, "student_rounds": "all", "weak_params": params, "student_params": params}
    return {"dataset": dataset, "splits": list(splits), **settings, **common, **others}


_BOTH = ("random", "easy-hard")
_ARC = "arc-challenge"


def _tables_of(dataset: str, title: str, random: int, hard: int, single: int) -> dict[int | str, Experiment]:
    aggregated = f"{title}: option accuracy and token error of all models"
    return {
        **_by_split(dataset, aggregated, _tables.models_by_pair, random, hard),
        single: Experiment(
            f"{title}: one run on both splits, improvement over the baseline", _arguments(dataset, *_BOTH, seeds=1),
            _tables.single_runs, single=True,
        ),
    }  # fmt: skip


def _by_split(
    dataset: str, shows: str, render: Callable[..., Any], random: int, hard: int
) -> dict[int | str, Experiment]:
    """One table for each split."""
    return {
        number: Experiment(f"{shows}, {split} split", _arguments(dataset, split), render, split=split)
        for number, split in ((random, "random"), (hard, "easy-hard"))
    }


def _single_run(dataset: str, title: str, split: str) -> Experiment:
    return Experiment(
        f"{title}: accuracies of one run, {split} split",
        _arguments(dataset, split, seeds=1),
        _figures.single_run_bars,
        rounds=True,
        split=split,
        single=True,
    )


def _bars_and_lines(dataset: str, title: str) -> Experiment:
    shows = f"{title}: accuracies as bars, accuracy and PGR as lines, both splits"
    return Experiment(shows, _arguments(dataset, *_BOTH), _figures.bars_and_lines, rounds=True)


def _ratings_of(dataset: str, title: str) -> Experiment:
    arguments = _arguments(dataset, "easy-hard")
    return Experiment(f"{title}: difficulty ratings", arguments, _figures.difficulty, needs="ratings")


def _by_variant(shows: str, ablation: str) -> Experiment:
    arguments = _arguments("quartz", "random", variants=ablations(ablation))
    return Experiment(shows, arguments, _figures.rounds_by_variant, needs="variants")


_EASY_OR_HARD = "QuaRTz: the strong model trained on easy or on hard questions, tested on hard ones"
_EASY_OR_HARD_ARGUMENTS = _arguments("quartz", "easy-hard", train_on_easy=True)

TABLES: dict[int | str, Experiment] = {
    **_by_split(
        "sciq", "SciQ, binary task: votes, training errors and accuracies by round", _tables.rounds_by_pair, 1, 2
    ),
    **_tables_of("quartz", "QuaRTz", random=3, hard=4, single=5),
    **_tables_of(_ARC, "ARC", random=6, hard=7, single=8),
    "figure-5": Experiment(_EASY_OR_HARD, _EASY_OR_HARD_ARGUMENTS, _tables.trained_on_easy_or_hard, split="easy-hard"),
}

FIGURES: dict[int | str, Experiment] = {
    2: _bars_and_lines("sciq", "SciQ, binary task"),
    3: Experiment(
        "QuaRTz: token error of a single weak model and of the ensemble",
        _arguments("quartz", *_BOTH), _figures.weak_models,
    ),
    4: _bars_and_lines("quartz", "QuaRTz"),
    5: Experiment(_EASY_OR_HARD, _EASY_OR_HARD_ARGUMENTS, _figures.easy_or_hard, split="easy-hard"),
    7: _ratings_of("sciq", "SciQ"),
    8: _ratings_of(_ARC, "ARC"),
    9: _ratings_of("quartz", "QuaRTz"),
    10: _by_variant("Probabilities against logits in the combination of members", "combine"),
    11: _by_variant("Sliding windows, smaller weak model (the paper's Pythia-70M)", "sliding_window"),
    12: _by_variant("Sliding windows, larger weak model (the paper's Pythia-410M)", "sliding_window"),
    13: _single_run("quartz", "QuaRTz", "random"),
    14: _single_run("quartz", "QuaRTz", "easy-hard"),
    15: _bars_and_lines(_ARC, "ARC"),
    16: _single_run(_ARC, "ARC", "random"),
    17: _single_run(_ARC, "ARC", "easy-hard"),
}  # fmt: skip

_DRAWINGS = (1, 6)


def experiment(kind: str, number: int | str) -> Experiment:
    """Look up a table or figure.

    Raises
    ------
    ValueError
        If the paper has no such number, or it is a drawing; the message lists those that there are.
    """
    known = TABLES if check_option(kind, "kind", ("table", "figure")) == "table" else FIGURES
    if number not in known:
        if kind == "figure" and number in _DRAWINGS:
            raise ValueError(f"Figure {number} is a drawing of the method, without data. Got number={number!r}.")
        raise ValueError(f"number of a {kind} must be one of {', '.join(map(str, known))}. Got {number!r} instead.")
    return known[number]


def preset(number: int | str, kind: str = "table") -> dict[str, Any]:
    """Arguments of `run_sweep` for the paper's experiment behind a table or figure, all but the models.

    Parameters
    ----------
    number : int or str
        Of the table, 1 to 8 or "figure-5", the table that the paper calls Figure 5; or of the figure.
    kind : {"table", "figure"}, default="table"
        Which of both.

    Returns
    -------
    dict
        A new one; change what you like. ``weak_params`` and ``student_params`` are for Hugging Face models.

    Raises
    ------
    ValueError
        If the number is unknown, or that of a drawing.

    Examples
    --------
    >>> from ensemw2s import paper
    >>> arguments = paper.preset(4)
    >>> arguments["dataset"], arguments["splits"], arguments["n_estimators"]
    ('quartz', ['easy-hard'], 5)
    """
    import copy

    return copy.deepcopy(experiment(kind, number).arguments)


def table(number: int | str, result: SweepResult, *, variant: str | None = None) -> PaperTable:
    """One of the paper's tables, from a sweep of your own.

    Parameters
    ----------
    number : int or str
        1 to 8, or "figure-5", the table that the paper calls Figure 5.
    result : SweepResult
        With the runs that `preset` asks for; models, dataset and task may be others.
    variant : str, optional
        Which variant of boosting; if None the only one, or "boosting".

    Returns
    -------
    PaperTable

    Raises
    ------
    ValueError
        If the number is unknown, or the sweep lacks a split or variant, or holds several data sets, tasks or settings
        of a pair, see `SweepResult.select`.

    Examples
    --------
    >>> from ensemw2s import BigramLearner, make_qa, paper, run_sweep
    >>> result = run_sweep([(("weak", BigramLearner()), ("strong", BigramLearner(smoothing=0.1)))], seeds=2,
    ...                    dataset=make_qa(60, random_state=0), splits=["random"], n_estimators=2,
    ...                    booster_params={"prior": "uniform"})
    >>> found = paper.table(3, result)
    >>> found.frame.index.names
    FrozenList(['weak', 'strong', 'measure'])
    """
    wanted = experiment("table", number)
    result = wanted.select(result, variant)
    refuse_mixed_runs(result.records, _title("table", number, wanted).partition(" of the paper")[0])
    frame, remarks = wanted.render(result)
    remarks += collapse_remark(result.records)
    return PaperTable(f"{_title('table', number, wanted)} Here: {_data(result)}.", frame, tuple(remarks))


def figure(number: int | str, source: object, *, variant: str | None = None, choice: str | None = None) -> Figure:
    """One of the paper's figures, from a sweep of your own.

    Parameters
    ----------
    number : int
        2 to 5 or 7 to 17; 5, a table in the paper, is drawn as bars.
    source : SweepResult, SweepPlan, or ratings
        The runs that `preset` asks for. For Figures 7 to 9 the plan, which knows data set and rater and rates, or reads
        the ratings of, its questions; or ratings of `SweepPlan.difficulty_ratings` or `cross_val_difficulty`.
    variant : str, optional
        Which variant of boosting; if None the only one, or "boosting". Figures 10 to 12 show all.
    choice : {"last", "validation", "best"}, optional
        Which round's ensemble and student are drawn, see `at_round`. The paper draws "best".

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    TypeError, ValueError
        If the number is unknown, or the sweep lacks what the figure needs, or holds several data sets, tasks or
        settings of a pair, see `SweepResult.select`.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> from ensemw2s import paper
    >>> drawn = paper.figure(9, [0.1, 0.4, 0.4, 0.9])
    >>> drawn.axes[0].get_xlabel()
    'difficulty rating (larger is harder)'
    >>> plt.close(drawn)
    """
    wanted = experiment("figure", number)
    if wanted.needs == "ratings":
        ratings, name, said = _ratings(source)
        return _head(wanted.render(ratings, name), [said])
    if not isinstance(source, SweepResult):
        raise TypeError(f"source must be a SweepResult for Figure {number}. Got {type(source).__name__} instead.")
    result, remarks = wanted.select(source, variant), []
    refuse_mixed_runs(result.records, f"Figure {number}")
    if wanted.rounds:
        remarks = remark_on_rounds(result, choice)
        result = at_round(result, choice)
    return _head(
        wanted.render(result),
        [f"{_data(result)}.", f"{say_sizes(result)}.", *remarks, *collapse_remark(result.records)],
    )


def _head(drawn: Figure, sentences: list[str]) -> Figure:
    """Write above a figure what it was drawn from."""
    import textwrap

    lines = textwrap.wrap(" ".join(sentences), int(13 * drawn.get_figwidth()))
    drawn.suptitle("\n".join(lines), fontsize=9, x=0.01, ha="left", parse_math=False)
    return drawn


def _ratings(source: Any) -> tuple[Any, str, str]:
    """Ratings, what they are ratings of, and who rated."""
    if isinstance(source, SweepPlan):
        settings = source.settings
        ratings, name = source.difficulty_ratings(), settings.task.questions.name or "own questions"
        rated = f"rated by {settings.rater.name} in {settings.cv} folds, {settings.task.name}"
    elif isinstance(source, SweepResult):
        raise TypeError(
            "Figures 7 to 9 show ratings: pass the result of SweepPlan.difficulty_ratings or cross_val_difficulty, or "
            "the SweepPlan. Got SweepResult instead."
        )
    else:
        ratings, name = getattr(source, "ratings", source), "questions"
        metric = getattr(source, "metric", "")
        rated = f"metric {metric}; data set and rater not named" if metric else "data set and rater not named"
    return ratings, name, f"{name}: {len(ratings)} questions, {rated}."


def _title(kind: str, number: int | str, wanted: Experiment) -> str:
    name = "Figure 5" if number == "figure-5" else f"{kind.capitalize()} {number}"
    return f"{name} of the paper: {wanted.shows}."


def _data(result: SweepResult) -> str:
    first = result.records[0]
    raters = dict.fromkeys(record["rater"] for record in result.records if record.get("rater"))
    rated = f", difficulty rated by {' and by '.join(raters)}" if raters else ""
    return f"{first['dataset'] or 'own questions'}, {first['task']}{rated}"
