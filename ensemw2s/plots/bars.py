"""Scores of all models of a weak-to-strong run, as bars."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from ensemw2s.plots._axes import (
    AxesLike,
    Drawn,
    Style,
    draw_chance,
    groups_width,
    legend_beside,
    name_groups,
    panels,
    pyplot,
)
from ensemw2s.plots._checks import check_pairs, number_array
from ensemw2s.plots._pairs import DRAWN, PairScores, check_models, check_reports, pairs_of_frame, pairs_of_reports
from ensemw2s.plots._palette import GREY, MODEL_COLORS, MODEL_LABELS

if TYPE_CHECKING:
    import pandas

    from ensemw2s.pipeline import W2SReport


class W2SBarDisplay:
    """Weak model, ensemble, baseline, student and oracle as grouped bars, one group per weak-strong pair.

    The bars start at 0; the dotted line is the chance level. Figures 2, 4 and 15 (top), 13, 14, 16 and 17 of the paper
    are such bars, and with ``models=("weak", "ensemble")`` and ``metric="token_error"`` Figure 3.

    Build it with `from_report` or `from_frame`.

    Parameters
    ----------
    score : dict of str to array-like of shape (n_pairs,)
        By model ("weak", "ensemble", "uniform", "baseline", "student", "oracle"), in [0, 1]; nan where a model was not
        trained. The order is that of the bars.
    low, high : dict of str to array-like of shape (n_pairs,), optional
        Ends of the error bars, in the unit of `score`; nan for none.
    pairs : sequence of str, optional
        Name of each group; a line break is kept.
    chance : float or array-like of shape (n_pairs,), default=nan
        Chance level; nan for none.
    metric : str, default="accuracy"
        What the scores are, as the axis says it.
    interval : str, default=""
        What the error bars are, for the legend.

    Attributes
    ----------
    figure_ : matplotlib.figure.Figure
        Set by `plot`, as what follows.
    ax_ : Axes
        What was drawn on.
    bars_ : dict of str to BarContainer
        The bars of each model.
    errorbars_ : dict of str to ErrorbarContainer
        Of the models that have error bars.
    chance_line_ : Line2D or None
        Dotted.
    legend_ : Legend
        To the right of the bars.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> from ensemw2s import W2SBarDisplay
    >>> score = {"weak": [.5, .6], "student": [.55, .7], "oracle": [.8, .8]}
    >>> display = W2SBarDisplay(score, pairs=["small → large", "medium → large"], chance=.25).plot()
    >>> [float(bar.get_height()) for bar in display.bars_["student"]]
    [0.55, 0.7]
    >>> plt.close(display.figure_)
    """

    def __init__(
        self,
        score: Mapping[str, ArrayLike],
        low: Mapping[str, ArrayLike] | None = None,
        high: Mapping[str, ArrayLike] | None = None,
        *,
        pairs: Sequence[str] | None = None,
        chance: ArrayLike = float("nan"),
        metric: str = "accuracy",
        interval: str = "",
    ) -> None:
        self.score, self.low, self.high, self.pairs, shape = check_pairs(score, low, high, pairs)
        self.chance = np.broadcast_to(number_array(chance, "chance"), shape)
        self.metric = str(metric)
        self.interval = interval

    @classmethod
    def from_report(
        cls,
        report: W2SReport | Mapping[str, W2SReport],
        *,
        label: str | None = None,
        models: Sequence[str] = DRAWN,
        ax: AxesLike = None,
    ) -> W2SBarDisplay:
        """Draw scores with their bootstrap intervals.

        Parameters
        ----------
        report : W2SReport or dict of str to W2SReport
            One report, or one per pair by the pair's name.
        label : str, optional
            Name of the pair of a single report.
        models : sequence of str
            Bars of a group, in their order.
        ax : Axes, optional
            See `plot`.

        Returns
        -------
        W2SBarDisplay

        Examples
        --------
        >>> import matplotlib.pyplot as plt
        >>> import numpy as np
        >>> from ensemw2s import W2SBarDisplay, W2SReport
        >>> correct = {name: np.arange(100) < n for name, n in {"weak": 50, "student": 60, "oracle": 80}.items()}
        >>> display = W2SBarDisplay.from_report(W2SReport(correct, chance=.25), label="small → large")
        >>> [text.get_text() for text in display.ax_.get_xticklabels()]
        ['small → large']
        >>> plt.close(display.figure_)
        """
        pyplot(f"{cls.__name__}.from_report")
        found = pairs_of_reports(check_reports(report, label), check_models(models))
        return cls._from_scores(found).plot(ax)

    @classmethod
    def from_frame(
        cls,
        frame: pandas.DataFrame,
        *,
        split: str | None = None,
        variant: str | None = None,
        models: Sequence[str] = DRAWN,
        metric: str | None = None,
        ax: AxesLike = None,
    ) -> W2SBarDisplay:
        """Draw means over seeds with their standard errors; of a single seed, its bootstrap intervals.

        Parameters
        ----------
        frame : pandas.DataFrame
            One row per run and model, with the columns "weak", "strong", "seed", "model" and that of the
            metric, and of "split", "variant", "low", "high" and "chance": the `frame` of a sweep.
        split, variant : str, optional
            Which runs; needed where the frame holds several.
        models : sequence of str
            Bars of a group, in their order. Without a student there is one group per weak model.
        metric : str, optional
            What is drawn: "token_error", or by default what the runs were measured by, "accuracy" or what the column
            "metric" says.
        ax : Axes, optional
            See `plot`.

        Returns
        -------
        W2SBarDisplay

        Raises
        ------
        TypeError, ValueError
            If a column or value is missing, or runs would be averaged that differ in more than their seed.
        """
        pyplot(f"{cls.__name__}.from_frame")
        found = pairs_of_frame(frame, check_models(models), metric=metric, split=split, variant=variant)
        return cls._from_scores(found).plot(ax)

    @classmethod
    def _from_scores(cls, found: PairScores) -> W2SBarDisplay:
        # A model that no pair has would only take room.
        score = {name: values for name, values in found.score.items() if np.isfinite(values).any()}
        return cls(
            score, found.low, found.high,
            pairs=found.pairs, chance=found.chance, metric=found.metric, interval=found.interval,
        )  # fmt: skip

    def plot(self, ax: AxesLike = None, *, bar_kw: Style | None = None) -> W2SBarDisplay:
        """Draw.

        Parameters
        ----------
        ax : Axes, optional
            A new figure if None. Give one of your own ``layout="constrained"``, which makes room for the legend.
        bar_kw : dict, optional
            Passed to `matplotlib.axes.Axes.bar`.

        Returns
        -------
        W2SBarDisplay
            The display itself.
        """
        n_pairs = len(self.pairs)
        figsize = (groups_width(self.pairs), 3.6)
        (axes,) = panels(ax, (1, 1), 1, caller=f"{type(self).__name__}.plot", figsize=figsize)
        self.ax_, self.figure_ = axes, axes.figure
        width = 0.84 / len(self.score)
        self.bars_: dict[str, Drawn] = {}
        self.errorbars_: dict[str, Drawn] = {}
        for place, (name, values) in enumerate(self.score.items()):
            x = np.arange(n_pairs) + (place - (len(self.score) - 1) / 2) * width
            style: Style = {"color": MODEL_COLORS[name], "edgecolor": "white", "linewidth": 0.5} | (bar_kw or {})
            self.bars_[name] = axes.bar(x, values, width, label=MODEL_LABELS[name], **style)
            self._draw_interval(name, x)
            for gap in x[np.isnan(values)]:  # not a bar of height 0
                axes.text(gap, 0.0, " not trained", rotation=90, ha="center", va="bottom", fontsize=7, color=GREY)
        name_groups(axes, self.pairs)
        axes.set_ylabel(f"test {self.metric.replace('_', ' ')}")
        axes.set_ylim(bottom=0.0)
        self.chance_line_ = draw_chance(axes, self.chance)
        self.legend_ = legend_beside(axes, [*self.bars_.values(), self.chance_line_], self.interval)
        return self

    def _draw_interval(self, name: str, x: np.ndarray) -> None:
        if name not in self.low or name not in self.high:
            return
        low, high = self.low[name], self.high[name]
        if np.isfinite(low).any():
            # Drawn around its own middle: a BCa interval is not symmetric and may leave out the mean.
            self.errorbars_[name] = self.ax_.errorbar(
                x, (low + high) / 2, yerr=(high - low) / 2, fmt="none", ecolor="black", elinewidth=1.0, capsize=2.0
            )
