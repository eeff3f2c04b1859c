"""The paper's figures, put together from Displays."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ensemw2s.experiments import SweepResult
from ensemw2s.paper._tables import trained_on_easy_or_hard
from ensemw2s.plots import DifficultyDisplay, PGRDisplay, RoundsDisplay, W2SBarDisplay

if TYPE_CHECKING:
    from matplotlib.figure import Figure, SubFigure

_SINGLE_RUN = ("weak", "baseline", "student", "oracle")


def bars_and_lines(result: SweepResult) -> Figure:
    """Bars of every split, below them accuracy and PGR over pairs (Figures 2, 4, 15)."""
    splits = _splits(result)
    width = min(24.0, max(9.0, 2.2 * len(result.comparison()) / len(splits) + 4.0))
    figure = _figure(len(splits) * width / 2 + width / 2, 3.0 * len(splits) + 5.0)
    grid = figure.add_gridspec(len(splits) + 2, len(splits))
    comparison = result.comparison()
    for place, split in enumerate(splits):
        axes = figure.add_subplot(grid[place, :])
        W2SBarDisplay.from_frame(result.frame, split=split, ax=axes)
        axes.set_title(f"{split} split", loc="left")
        panels = [figure.add_subplot(grid[len(splits) + row, place]) for row in (0, 1)]
        lines = PGRDisplay.from_frame(result.frame, comparison, split=split, ax=panels)
        panels[0].set_title(f"{split} split", loc="left")
        if place < len(splits) - 1 and lines.legend_ is not None:
            lines.legend_.remove()  # the same as the last one's
    return figure


def weak_models(result: SweepResult) -> Figure:
    """Token error of the first member and of the ensemble, a panel per split (Figure 3)."""
    if result.frame["token_error"].isna().all():
        raise ValueError("Figure 3 compares token errors: it needs a sweep with task='generation'. Got none.")
    splits = _splits(result)
    figure = _figure(max(6.0, 1.2 * result.frame["weak"].nunique() + 4.0), 3.4 * len(splits))
    for split, axes in zip(splits, figure.subplots(len(splits), squeeze=False)[:, 0], strict=True):
        W2SBarDisplay.from_frame(result.frame, split=split, models=("weak", "ensemble"), metric="token_error", ax=axes)
        axes.set_title(f"{split} split", loc="left")
    return figure


def easy_or_hard(result: SweepResult) -> Figure:
    """The table that the paper calls Figure 5, as bars."""
    frame, _ = trained_on_easy_or_hard(result)
    score = {"easy": frame["easy"], "oracle": frame["hard"]}
    sem = {"easy": frame["easy_sem"], "oracle": frame["hard_sem"]}
    several = bool(np.isfinite(frame["easy_sem"]).any())
    figure = _figure(max(6.0, 1.2 * len(frame) + 5.0), 3.4)
    W2SBarDisplay(
        score,
        {name: score[name] - sem[name] for name in score},
        {name: score[name] + sem[name] for name in score},
        pairs=list(frame.index),
        chance=frame["chance"].to_numpy(),
        interval="SEM over seeds" if several else "",
    ).plot(figure.subplots())
    figure.axes[0].set_title("tested on hard questions", loc="left")
    return figure


def difficulty(ratings: Any, name: str) -> Figure | SubFigure:
    """Histogram of difficulty ratings (Figures 7, 8, 9)."""
    return DifficultyDisplay.from_ratings(ratings, parts={name: np.arange(len(ratings))}).figure_


def rounds_by_variant(result: SweepResult) -> Figure:
    """Accuracy and token error of the first t members by variant, a row per weak model and split (Figures 10 to 12)."""
    rounds = result.rounds
    rows = list(dict.fromkeys(zip(rounds["weak"], rounds["split"], strict=True)))
    quantities = [name for name in ("accuracy", "token_error") if rounds[name].notna().any()]
    figure = _figure(3.3 * len(quantities) + 3.4, 2.9 * len(rows) + 0.4)
    grid = figure.subplots(len(rows), len(quantities), squeeze=False)
    for (weak, split), axes in zip(rows, grid, strict=True):
        RoundsDisplay.from_frame(rounds, by="variant", weak=weak, split=split, quantities=quantities, ax=list(axes))
        axes[0].set_title(f"{weak}, {split} split", loc="left", parse_math=False)
    return figure


def single_run_bars(run: SweepResult) -> Figure:
    """Weak model, baseline, W2S student and oracle of one run (Figures 13, 14, 16, 17)."""
    figure = _figure(max(6.0, 1.6 * len(run.comparison()) + 4.0), 3.6)
    axes = figure.subplots()
    W2SBarDisplay.from_frame(run.frame, models=_SINGLE_RUN, ax=axes)
    seeds = sorted({record["seed"] for record in run.records})
    named = f"one run, seed {seeds[0]}" if len(seeds) == 1 else f"one run each, seeds {', '.join(map(str, seeds))}"
    axes.set_title(f"{run.records[0]['split']} split, {named}", loc="left")
    return figure


def _splits(result: SweepResult) -> list[str]:
    """In the paper's order, whatever that of the records."""
    return sorted({record["split"] for record in result.records}, reverse=True)


def _figure(width: float, height: float) -> Figure:
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise ImportError("paper.figure needs matplotlib. Install it with `pip install ensemw2s[plots]`.") from error
    return plt.figure(figsize=(width, height), layout="constrained")
