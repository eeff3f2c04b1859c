"""What happened in each boosting round."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from ensemw2s._validation import shorten
from ensemw2s.plots._axes import AxesLike, Drawn, Style, dodge, legend_beside, panels, pyplot
from ensemw2s.plots._checks import check_columns, number_array
from ensemw2s.plots._palette import GREY, LINE_COLORS, MARKERS
from ensemw2s.plots._rounds_data import QUANTITIES, TITLES, rounds_of_frame, tested_rounds, training_rounds

if TYPE_CHECKING:
    import pandas
    from matplotlib.axes import Axes

_WITH_CHANCE = ("accuracy", "validation_accuracy", "member_accuracy", "any_member_accuracy", "student_accuracy")
_DEFAULT = ("vote", "error", "accuracy", "token_error")


class RoundsDisplay:
    r"""Votes, errors and accuracies by boosting round.

    One panel per quantity, one line per weak ensemble or group of them. The weighted training error
    :math:`\epsilon_t` is drawn with the prior it has to stay below (dashed), an accuracy with the chance level
    (dotted).
    Tables 1 and 2 and Figures 3, 10, 11 and 12 of the paper show such values.

    Build it with `from_estimator` or `from_frame`.

    Parameters
    ----------
    mean : dict of str to array-like of shape (n_lines, T)
        By quantity: "vote" (nats), "error" and "prior" of training; of the first t members "accuracy", "token_error",
        "validation_accuracy" and "student_accuracy"; "member_accuracy" of member t alone; and of the first t members
        "any_member_accuracy" (of an oracle that picks a member for each item), "margin", "margin_low", "disagreement",
        "error_correlation" and "q_statistic". nan where there is no value, as after an early stop.
    sem : dict of str to array-like of shape (n_lines, T), optional
        Standard errors of these means.
    n_runs : dict of str to array-like of shape (n_lines, T), optional
        How many runs each mean is taken over. Means over fewer runs than the line's first one get an open marker.
    labels : sequence of str, optional
        One per line; "" for none.
    chance : float or array-like of shape (n_lines,), default=nan
        Chance level of the accuracies.
    metric : str, default="accuracy"
        What stands for "accuracy" in the names of quantities; the axes say it.

    Attributes
    ----------
    figure_ : matplotlib.figure.Figure
        Set by `plot`, as what follows.
    axes_ : ndarray of Axes
        The panels.
    ax_ : Axes
        The first of them.
    errorbars_ : dict of str to list of ErrorbarContainer
        The lines of each panel.
    prior_lines_, chance_lines_ : list of Line2D
        Dashed and dotted.
    legend_ : Legend or None
        To the right of the panels.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> from ensemw2s import RoundsDisplay
    >>> display = RoundsDisplay({"error": [[.3, .4, .45]], "prior": [[.5, .5, .5]]}).plot()
    >>> display.ax_.get_ylabel()
    'weighted training error'
    >>> plt.close(display.figure_)
    """

    def __init__(
        self,
        mean: Mapping[str, ArrayLike],
        sem: Mapping[str, ArrayLike] | None = None,
        *,
        n_runs: Mapping[str, ArrayLike] | None = None,
        labels: Sequence[str] | None = None,
        chance: ArrayLike = float("nan"),
        metric: str = "accuracy",
    ) -> None:
        if not isinstance(mean, Mapping) or not mean:
            raise TypeError(f"mean must be a dict of arrays by quantity. Got {shorten(mean)} instead.")
        shape = np.shape(next(iter(mean.values())))
        if len(shape) != 2 or 0 in shape:
            raise ValueError(f"mean must hold arrays of shape (n_lines, T). Got shape {shape} instead.")
        self.mean = check_columns(mean, "mean", QUANTITIES, shape)
        self.sem = check_columns({} if sem is None else sem, "sem", QUANTITIES, shape)
        self.n_runs = check_columns({} if n_runs is None else n_runs, "n_runs", QUANTITIES, shape)
        self.labels = [""] * shape[0] if labels is None else [str(label) for label in labels]
        if len(self.labels) != shape[0]:
            raise ValueError(f"labels must have {shape[0]} entries, one per line. Got {len(self.labels)} instead.")
        self.chance = np.broadcast_to(number_array(chance, "chance"), shape[:1])
        self.metric = str(metric)

    @classmethod
    def from_estimator(
        cls,
        booster: object,
        X: object = None,
        y: object = None,
        *,
        choices: Sequence | None = None,
        label: str = "",
        quantities: str | Sequence[str] | None = None,
        ax: AxesLike = None,
    ) -> RoundsDisplay:
        """Draw the rounds of a fitted booster.

        Parameters
        ----------
        booster : TokenAdaBoostGenerator or LLMAdaBoostClassifier
            Fitted.
        X : sequence or QADataset, shape (n,), optional
            Test questions, or rows of a classifier; without them votes and errors alone are drawn.
        y : sequence, optional
            Their answers or classes; those of the `QADataset` if None.
        choices : sequence of sequences of str, optional
            Options of the questions. Without options a generator has a token error and no accuracy.
        label : str, default=""
            Name of the line.
        quantities : str or sequence of str, optional
            See `plot`.
        ax : Axes or sequence of Axes, optional
            See `plot`.

        Returns
        -------
        RoundsDisplay

        Raises
        ------
        TypeError, ValueError
            If `booster` has no rounds or not the quantities, or the questions have no answers.

        Examples
        --------
        >>> import matplotlib.pyplot as plt
        >>> from ensemw2s import BigramLearner, RoundsDisplay, TokenAdaBoostGenerator, make_qa
        >>> easy, test = make_qa(40, random_state=0), make_qa(40, random_state=1)
        >>> booster = TokenAdaBoostGenerator(
        ...     BigramLearner(), n_estimators=3, prior="uniform", random_state=0).fit(easy)
        >>> display = RoundsDisplay.from_estimator(booster, test)
        >>> [panel.get_ylabel().splitlines()[0] for panel in display.axes_]
        ['vote α (nats)', 'weighted training error', 'test accuracy', 'test token error']
        >>> plt.close(display.figure_)
        """
        pyplot(f"{cls.__name__}.from_estimator")
        mean = training_rounds(booster)
        tested, chance = ({}, float("nan")) if X is None else tested_rounds(booster, X, y, choices, quantities)
        mean |= tested
        return cls(mean, labels=[label], chance=chance).plot(ax, quantities=quantities)

    @classmethod
    def from_frame(
        cls,
        frame: pandas.DataFrame,
        *,
        by: str | Sequence[str] | None = None,
        weak: object = None,
        strong: object = None,
        split: object = None,
        variant: object = None,
        chance: float | None = None,
        quantities: str | Sequence[str] | None = None,
        ax: AxesLike = None,
    ) -> RoundsDisplay:
        """Draw mean and standard error over seeds of the rounds of many weak ensembles.

        Parameters
        ----------
        frame : pandas.DataFrame
            One row per weak ensemble and round, with the columns "round" (1, 2, ...), "seed" and some of the
            quantities, and of "weak", "strong", "split" and "variant": ``SweepResult.rounds``. Rows that differ in
            nothing but the strong model count once, unless "student_accuracy" is drawn.
        by : str or sequence of str, optional
            Columns whose values get a line each; if None those of "weak", "split" and "variant" that vary, and
            "strong" where "student_accuracy" is drawn.
        weak, strong, split, variant : str or list of str, optional
            Values to draw; all if None.
        chance : float, optional
            Chance level of the accuracies; that of the column "chance" if None and there is one.
        quantities : str or sequence of str, optional
            See `plot`.
        ax : Axes or sequence of Axes, optional
            See `plot`.

        Returns
        -------
        RoundsDisplay

        Raises
        ------
        TypeError, ValueError
            If a column or value is missing, or runs would be averaged that differ in more than their seed.
        """
        pyplot(f"{cls.__name__}.from_frame")
        found = rounds_of_frame(frame, by, chance, quantities, weak=weak, strong=strong, split=split, variant=variant)
        display = cls(
            found.mean, found.sem, n_runs=found.n_runs, labels=found.labels, chance=found.chance, metric=found.metric
        )
        return display.plot(ax, quantities=quantities)

    def plot(
        self,
        ax: AxesLike = None,
        *,
        quantities: str | Sequence[str] | None = None,
        line_kw: Style | None = None,
    ) -> RoundsDisplay:
        """Draw.

        Parameters
        ----------
        ax : Axes or sequence of Axes, optional
            One per panel, or one that is split into the panels; a new figure if None. Give one of your own
            ``layout="constrained"``, which makes room for the legend.
        quantities : str or sequence of str, optional
            Panels, from the keys of `mean`; "error" is drawn with the prior. If None "vote", "error", "accuracy" and
            "token_error", those that have values.
        line_kw : dict, optional
            Passed to `matplotlib.axes.Axes.errorbar` for every line.

        Returns
        -------
        RoundsDisplay
            The display itself.
        """
        names = self._panel_names(quantities)
        columns = 2 if len(names) == 4 else min(len(names), 3)
        shape = (-(-len(names) // columns), columns)
        figsize = (3.3 * columns + 2.4, 2.9 * shape[0])
        axes = panels(ax, shape, len(names), caller=f"{type(self).__name__}.plot", figsize=figsize)
        self.axes_, self.ax_, self.figure_ = np.array(axes, dtype=object), axes[0], axes[0].figure
        self.errorbars_: dict[str, list[Drawn]] = {}
        self.prior_lines_: list[Drawn] = []
        self.chance_lines_: list[Drawn] = []
        self._some_open = False
        for name, panel in zip(names, axes, strict=True):
            self._draw(panel, name, line_kw or {})
        with_bars = any(np.isfinite(self.sem[name]).any() for name in names if name in self.sem)
        bars = "SEM over seeds" if with_bars else ""
        self.legend_ = legend_beside(axes[columns - 1], self._handles(names[0]), bars)
        return self

    def _panel_names(self, quantities: str | Sequence[str] | None) -> list[str]:
        measured = [name for name in TITLES if np.isfinite(self.mean.get(name, np.nan)).any()]
        if quantities is None:
            names = [name for name in _DEFAULT if name in measured] or measured
            if not names:
                raise ValueError("mean must hold at least one number to draw. Got only nan, or nothing but a prior.")
            return names
        names = [quantities] if isinstance(quantities, str) else list(quantities)
        unknown = [name for name in names if name not in measured]
        if unknown or not names:
            raise ValueError(f"quantities must be among {', '.join(map(repr, measured))}. Got {quantities!r} instead.")
        return names

    def _draw(self, panel: Axes, name: str, line_kw: Style) -> None:
        n_lines, n_rounds = self.mean[name].shape
        rounds = np.arange(1, n_rounds + 1)
        offsets = dodge(n_lines, min(0.06, 0.3 / n_lines)) if name in self.sem else np.zeros(n_lines)
        self.errorbars_[name] = []
        for line, offset in enumerate(offsets):
            color = LINE_COLORS[line % len(LINE_COLORS)]
            style: Style = {
                "color": color,
                "marker": MARKERS[line % len(MARKERS)],
                "markersize": 5,
                "capsize": 2.5,
            }
            style |= {"label": self.labels[line], "linewidth": 1.5} | line_kw
            sem = self.sem[name][line] if name in self.sem else None
            place = rounds + offset
            self.errorbars_[name].append(panel.errorbar(place, self.mean[name][line], yerr=sem, **style))
            self._open_markers(panel, name, line, place, style)
            if name == "error" and "prior" in self.mean:
                (prior,) = panel.plot(place, self.mean["prior"][line], "--", color=style["color"], linewidth=1.2)
                self.prior_lines_.append(prior)
        if name in _WITH_CHANCE:
            levels = np.unique(self.chance[np.isfinite(self.chance)])
            self.chance_lines_ += [panel.axhline(level, color=GREY, linestyle=":", linewidth=1.2) for level in levels]
        title = TITLES[name].replace("accuracy", self.metric.replace("_", " "))
        panel.set(xlabel="boosting round t", ylabel=title, xlim=(0.6, n_rounds + 0.4))
        panel.set_xticks(rounds[:: -(-n_rounds // 12)])

    def _open_markers(self, panel: Axes, name: str, line: int, place: np.ndarray, style: Style) -> None:
        if name not in self.n_runs:
            return
        runs = self.n_runs[name][line]
        fewer = (runs < runs[0]) & np.isfinite(self.mean[name][line])
        if fewer.any():
            self._some_open = True
            panel.plot(
                place[fewer], self.mean[name][line][fewer], linestyle="", zorder=3, markerfacecolor="white",
                marker=style["marker"], markersize=style["markersize"], markeredgecolor=style["color"],
            )  # fmt: skip

    def _handles(self, first: str) -> list[Drawn]:
        from matplotlib.lines import Line2D

        handles: list[Drawn] = [line for line, label in zip(self.errorbars_[first], self.labels, strict=True) if label]
        if self.prior_lines_:
            handles.append(Line2D([], [], color=GREY, linestyle="--", linewidth=1.2, label="prior error"))
        if self.chance_lines_:
            handles.append(Line2D([], [], color=GREY, linestyle=":", linewidth=1.2, label="chance"))
        if self._some_open:
            handles.append(
                Line2D([], [], color=GREY, marker="o", markerfacecolor="white", linestyle="", label="fewer seeds")
            )
        return handles
