"""Axes to draw on: the caller's, parts of the caller's, or those of a new figure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from types import ModuleType
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from ensemw2s._validation import shorten

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.container import Container
    from matplotlib.legend import Legend
    from matplotlib.lines import Line2D

AxesLike: TypeAlias = "Axes | Iterable[Axes] | None"  # one, several, or those of a new figure
Style: TypeAlias = "dict[str, Any]"  # what matplotlib takes by keyword
Drawn: TypeAlias = "Artist | Container"
_CHARACTER_INCHES = 0.075  # mean width of a character of 9 points
_LEGEND_INCHES = 4.0
_AXES_SHARE = 0.775  # of a figure's width, between matplotlib's default margins
_LEFT_FOR_AXES = 0.7  # of that, when a layout has made room for the legend


def pyplot(caller: str) -> ModuleType:
    """Return `matplotlib.pyplot`, or raise an ImportError that tells how to install it."""
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise ImportError(f"{caller} needs matplotlib. Install it with `pip install ensemw2s[plots]`.") from error
    return plt


def panels(ax: AxesLike, shape: tuple[int, int], n: int, *, caller: str, figsize: tuple[float, float]) -> list[Axes]:
    """Return `n` axes to draw on, with lines at the values of y below what will be drawn.

    Parameters
    ----------
    ax : Axes, array of n Axes or None
        One axes is split if several are needed; None makes a figure.
    shape : (int, int)
        Rows and columns of a split axes or a new figure.
    n : int
        Number of axes.
    caller : str
        Whom an error names.
    figsize : (float, float)
        Size of a new figure in inches.
    """
    plt = pyplot(caller)
    if ax is None:
        figure = plt.figure(figsize=figsize, layout="constrained")
        grid = figure.add_gridspec(*shape)
        found = [figure.add_subplot(grid[place]) for place in range(n)]
    elif isinstance(ax, plt.Axes):
        found = [ax] if n == 1 else _split(ax, shape, n)
    else:
        found = list(np.asarray(ax, dtype=object).ravel()) if isinstance(ax, Iterable) else [ax]
        if len(found) != n or not all(isinstance(entry, plt.Axes) for entry in found):
            raise ValueError(f"ax must be a matplotlib Axes or {n} of them, one per panel. Got {shorten(ax)} instead.")
    for panel in found:
        panel.grid(axis="y", color="0.9", linewidth=0.8)
        panel.set_axisbelow(True)
    return found


def _split(ax: Axes, shape: tuple[int, int], n: int) -> list[Axes]:
    from matplotlib.gridspec import GridSpecFromSubplotSpec

    place = ax.get_subplotspec()
    if place is None:
        raise ValueError(f"ax must be part of a grid to be split into {n} panels. Pass {n} axes, or one of subplots().")
    ax.set_axis_off()
    # A layout engine finds the space between the panels by itself, and would add it to what is given here.
    space = None if ax.figure.get_layout_engine() else 0.35
    grid = GridSpecFromSubplotSpec(*shape, subplot_spec=place, wspace=space, hspace=space)
    return [ax.figure.add_subplot(grid[place]) for place in range(n)]


def legend_beside(ax: Axes, handles: Iterable[Drawn | None], bars: str = "") -> Legend | None:
    """Put a legend to the right of `ax`, where it hides neither data nor a title; None if there is nothing to name.

    Parameters
    ----------
    ax : Axes
        What it belongs to.
    handles : iterable of artists
        What it names; None is passed over.
    bars : str, default=""
        What the error bars are, if there are any.
    """
    named = [handle for handle in handles if handle is not None]
    if not named:
        return None
    legend = ax.legend(
        handles=named,
        title=f"bars: {bars}" if bars else None,
        loc="upper left",
        bbox_to_anchor=(1.02, 1.0),
        borderaxespad=0.0,
        frameon=False,
        fontsize="small",
        title_fontsize="small",
        alignment="left",
    )
    for text in legend.get_texts():
        text.set_parse_math(False)  # a "$" in a model's name is no formula
    return legend


def groups_width(labels: Sequence[str]) -> float:
    """Inches of a new figure with a legend beside it in which `name_groups` need not slant most labels."""
    # The condition of `name_groups`, solved for the width of a group: the figure is that of all groups and the legend.
    wanted = _longest_line(labels) * _CHARACTER_INCHES / _LEFT_FOR_AXES / _AXES_SHARE - _LEGEND_INCHES / len(labels)
    return float(np.clip(wanted, 2.0, 3.5)) * len(labels) + _LEGEND_INCHES


def name_groups(ax: Axes, labels: Sequence[str]) -> None:
    """Write one label under each of the places 0, 1, ...; slanted where they would run into each other."""
    ax.set_xlim(-0.5, len(labels) - 0.5)
    inches = ax.bbox.width / ax.figure.dpi / len(labels)
    slanted = _longest_line(labels) * _CHARACTER_INCHES > _LEFT_FOR_AXES * inches
    ax.set_xticks(
        range(len(labels)),
        labels,
        fontsize=9,
        rotation=30 if slanted else 0,
        ha="right" if slanted else "center",
        rotation_mode="anchor" if slanted else "default",
        parse_math=False,
    )


def _longest_line(labels: Sequence[str]) -> int:
    return max(len(line) for label in labels for line in label.split("\n"))


def dodge(n: int, step: float) -> np.ndarray:
    """Offsets that keep `n` error bars at the same place apart, centred on 0."""
    return (np.arange(n) - (n - 1) / 2) * step


def draw_chance(ax: Axes, chance: np.ndarray) -> Line2D | None:
    """Dotted line at the chance level of each place 0, 1, ..., with a step where they differ; None without one."""
    if not np.isfinite(chance).any():
        return None
    edges = np.repeat(np.arange(len(chance) + 1) - 0.5, 2)[1:-1]
    (line,) = ax.plot(edges, np.repeat(chance, 2), ":", color="black", linewidth=1.3, label="chance")
    return line
