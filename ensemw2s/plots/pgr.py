"""Accuracy and performance gap recovered over model pairs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from ensemw2s._validation import check_real
from ensemw2s.plots._axes import (
    AxesLike,
    Drawn,
    Style,
    dodge,
    draw_chance,
    groups_width,
    legend_beside,
    name_groups,
    panels,
    pyplot,
)
from ensemw2s.plots._checks import check_columns, check_pairs, number_array
from ensemw2s.plots._pairs import DRAWN, PairScores, check_reports, pairs_of_frame, pairs_of_reports
from ensemw2s.plots._palette import GREY, MARKERS, MODEL_COLORS, MODEL_LABELS
from ensemw2s.plots._recovered import ModelScores, recovered_gaps, scores_of_frame, scores_of_report

if TYPE_CHECKING:
    import pandas
    from matplotlib.axes import Axes

    from ensemw2s.pipeline import W2SReport

_STUDENTS = ("baseline", "student")


class PGRDisplay:
    r"""Accuracies and performance gap recovered (PGR) as lines over weak-strong pairs, in two panels.

    :math:`PGR = (\text{student} - \text{weak}) / (\text{oracle} - \text{weak})`, of mean accuracies. It is not drawn
    where the oracle is not better than the weak model beyond the noise, or a model is below chance; the place says so.
    A value outside the panel is marked by an arrow with its number. The bottom rows of Figures 2, 4 and 15 of the paper
    are such lines.

    Build it with `from_report` or `from_frame`.

    Parameters
    ----------
    score : dict of str to array-like of shape (n_pairs,)
        Accuracy by model ("weak", "ensemble", "uniform", "baseline", "student", "oracle"), in [0, 1]; nan where a model
        was not trained.
    pgr : dict of str to array-like of shape (n_pairs,)
        PGR of "baseline" and "student"; nan where it has no meaning.
    low, high : dict of str to array-like of shape (n_pairs,), optional
        Ends of the error bars of `score`.
    pgr_error : dict of str to array-like of shape (n_pairs,), optional
        Half-lengths of the error bars of `pgr`.
    reasons : dict of str to sequence of n_pairs str, optional
        Why a PGR is nan.
    pairs : sequence of str, optional
        Name of each pair; a line break is kept.
    chance : float or array-like of shape (n_pairs,), default=nan
        Chance level of the accuracy; nan for none.
    interval : str, default=""
        What the error bars are, for the legend.
    metric : str, default="accuracy"
        What the scores are, as the axis says it.

    Attributes
    ----------
    figure_ : matplotlib.figure.Figure
        Set by `plot`, as what follows.
    axes_ : ndarray of two Axes
        Accuracy above, PGR below.
    ax_ : Axes
        The first of them.
    score_lines_, pgr_lines_ : dict of str to ErrorbarContainer
        By model.
    chance_line_ : Line2D or None
        Dotted.
    arrows_ : list of Annotation
        Numbers of the values outside the panel.
    gaps_ : list of Text
        Reasons where there is no PGR.
    legend_ : Legend
        To the right of the upper panel.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> from ensemw2s import PGRDisplay
    >>> score = {"weak": [.5, .6], "student": [.55, .9], "oracle": [.7, .7]}
    >>> display = PGRDisplay(score, {"student": [.25, 3.0]}, pairs=["small → large", "medium → large"]).plot()
    >>> [arrow.get_text() for arrow in display.arrows_]
    ['▲ 3.00']
    >>> plt.close(display.figure_)
    """

    def __init__(
        self,
        score: Mapping[str, ArrayLike],
        pgr: Mapping[str, ArrayLike],
        *,
        low: Mapping[str, ArrayLike] | None = None,
        high: Mapping[str, ArrayLike] | None = None,
        pgr_error: Mapping[str, ArrayLike] | None = None,
        reasons: Mapping[str, Sequence[str]] | None = None,
        pairs: Sequence[str] | None = None,
        chance: ArrayLike = float("nan"),
        interval: str = "",
        metric: str = "accuracy",
    ) -> None:
        self.score, self.low, self.high, self.pairs, shape = check_pairs(score, low, high, pairs)
        self.pgr = check_columns(pgr, "pgr", _STUDENTS, shape)
        self.pgr_error = check_columns({} if pgr_error is None else pgr_error, "pgr_error", _STUDENTS, shape)
        self.reasons = {name: list(texts) for name, texts in (reasons or {}).items()}
        for name, texts in self.reasons.items():
            if len(texts) != shape[0]:
                raise ValueError(
                    f"reasons[{name!r}] must have {shape[0]} entries, one per pair. Got {len(texts)} instead."
                )
        self.chance = np.broadcast_to(number_array(chance, "chance"), shape)
        self.interval = interval
        self.metric = str(metric)

    @classmethod
    def from_report(
        cls, report: W2SReport | Mapping[str, W2SReport], *, label: str | None = None, ax: AxesLike = None
    ) -> PGRDisplay:
        """Draw the scores and PGR of reports.

        The noise that a gap must exceed is the report's: the interval of oracle - weak. The error bars of a PGR come
        from the jackknife over test items, at the report's confidence level.

        Parameters
        ----------
        report : W2SReport or dict of str to W2SReport
            One report, or one per pair by the pair's name.
        label : str, optional
            Name of the pair of a single report.
        ax : Axes or sequence of two Axes, optional
            See `plot`.

        Returns
        -------
        PGRDisplay

        Examples
        --------
        >>> import matplotlib.pyplot as plt
        >>> import numpy as np
        >>> from ensemw2s import PGRDisplay, W2SReport
        >>> correct = {name: np.arange(100) < n for name, n in {"weak": 50, "student": 60, "oracle": 80}.items()}
        >>> report = W2SReport(correct, chance=.25)
        >>> display = PGRDisplay.from_report(report, label="small → large")
        >>> round(float(display.pgr["student"][0]), 3) == round(report.pgr, 3)
        True
        >>> plt.close(display.figure_)
        """
        pyplot(f"{cls.__name__}.from_report")
        reports = check_reports(report, label)
        return cls._from_runs(pairs_of_reports(reports, DRAWN), map(scores_of_report, reports.values())).plot(ax)

    @classmethod
    def from_frame(
        cls,
        frame: pandas.DataFrame,
        comparison: pandas.DataFrame | None = None,
        *,
        split: str | None = None,
        variant: str | None = None,
        ax: AxesLike = None,
    ) -> PGRDisplay:
        """Draw the scores and PGR of a sweep.

        The PGR is that of the mean accuracies over seeds that have weak model, student and oracle; its error bars are
        jackknife standard errors over seeds. Whether the gap between oracle and weak model exceeds the noise is what
        `comparison` says, if it is given. Else the noise is the half-width of the gap's 95 % t interval over seeds, or,
        where that is larger or there is a single seed, that of the bootstrap intervals of both models, in quadrature.

        Parameters
        ----------
        frame : pandas.DataFrame
            One row per run and model, as in `W2SBarDisplay.from_frame`.
        comparison : pandas.DataFrame, optional
            One row per pair, split and variant with the column "pgr", nan where there is none:
            ``SweepResult.comparison()``.
        split, variant : str, optional
            Which runs; needed where the frame holds several.
        ax : Axes or sequence of two Axes, optional
            See `plot`.

        Returns
        -------
        PGRDisplay

        Raises
        ------
        TypeError, ValueError
            If a column or value is missing, or runs would be averaged that differ in more than their seed.
        """
        pyplot(f"{cls.__name__}.from_frame")
        found = pairs_of_frame(frame, DRAWN, split=split, variant=variant)
        return cls._from_runs(found, [scores_of_frame(group, comparison, found.metric) for group in found.groups]).plot(
            ax
        )

    @classmethod
    def _from_runs(cls, found: PairScores, runs: Iterable[ModelScores]) -> PGRDisplay:
        trained = [name for name in _STUDENTS if np.isfinite(found.score[name]).any()]
        pgr, error, reasons = recovered_gaps(list(runs), trained)
        score = {name: values for name, values in found.score.items() if np.isfinite(values).any()}
        return cls(
            score, pgr, low=found.low, high=found.high, pgr_error=error, reasons=reasons,
            pairs=found.pairs, chance=found.chance, interval=found.interval,
            metric=found.metric,
        )  # fmt: skip

    def plot(self, ax: AxesLike = None, *, pgr_range: tuple[float, float] = (-0.5, 1.5)) -> PGRDisplay:
        """Draw.

        Parameters
        ----------
        ax : Axes or sequence of two Axes, optional
            Accuracy and PGR, or one axes that is split into both; a new figure if None. Give one of your own
            ``layout="constrained"``, which makes room for the legend.
        pgr_range : (float, float), default=(-0.5, 1.5)
            Lower and upper end of the lower panel; what lies outside is marked by an arrow and its number.

        Returns
        -------
        PGRDisplay
            The display itself.
        """
        bottom, top = (check_real(end, "pgr_range") for end in pgr_range)
        if not bottom < top:
            raise ValueError(f"pgr_range must rise. Got {pgr_range!r} instead.")
        figsize = (groups_width(self.pairs), 5.4)
        axes = panels(ax, (2, 1), 2, caller=f"{type(self).__name__}.plot", figsize=figsize)
        self.axes_, self.ax_, self.figure_ = np.array(axes, dtype=object), axes[0], axes[0].figure
        upper, lower = axes
        self._draw_scores(upper)
        self._draw_pgr(lower, bottom, top)
        for panel in axes:
            name_groups(panel, self.pairs)
        upper.tick_params(labelbottom=False)
        self.legend_ = legend_beside(upper, [*self.score_lines_.values(), self.chance_line_], self.interval)
        return self

    def _draw_scores(self, panel: Axes) -> None:
        self.score_lines_: dict[str, Drawn] = {}
        for (name, values), offset in zip(self.score.items(), dodge(len(self.score), 0.04), strict=True):
            x, bars = np.arange(len(self.pairs)) + offset, None
            if name in self.low and name in self.high:
                # A BCa interval may leave out the mean, and a negative length cannot be drawn.
                bars = np.maximum([values - self.low[name], self.high[name] - values], 0.0)
            self.score_lines_[name] = panel.errorbar(x, values, yerr=bars, label=MODEL_LABELS[name], **_style(name))
        self.chance_line_ = draw_chance(panel, self.chance)
        panel.set_ylabel(f"test {self.metric.replace('_', ' ')}")

    def _draw_pgr(self, panel: Axes, bottom: float, top: float) -> None:
        for level, name in ((0.0, "weak"), (1.0, "oracle")):
            if bottom <= level <= top:
                panel.axhline(level, color=GREY, linewidth=0.8, zorder=0.8)
                panel.annotate(
                    f" {name}", (1.0, level), xycoords=("axes fraction", "data"), va="center", fontsize=8, color=GREY
                )
        self.pgr_lines_: dict[str, Drawn] = {}
        self.arrows_: list[Drawn] = []
        for (name, values), offset in zip(self.pgr.items(), dodge(len(self.pgr), 0.08), strict=True):
            x = np.arange(len(self.pairs)) + offset
            error = self.pgr_error.get(name)
            self.pgr_lines_[name] = panel.errorbar(x, values, yerr=error, label=MODEL_LABELS[name], **_style(name))
            for place in np.flatnonzero((values < bottom) | (values > top)):
                above, left = values[place] > top, offset < 0
                self.arrows_.append(
                    panel.annotate(
                        f"{'▲' if above else '▼'} {values[place]:.2f}".replace("-", "−"),
                        (x[place], top if above else bottom),
                        xytext=(-2 if left else 2, -3 if above else 3),
                        textcoords="offset points",
                        ha="right" if left else "left",
                        va="top" if above else "bottom",
                        color=MODEL_COLORS[name],
                        fontsize=9,
                    )
                )
        self.gaps_ = [
            panel.text(
                place, (bottom + top) / 2, f"no PGR: {reason}", rotation=90, ha="center", va="center", fontsize=8,
                color=GREY,
                bbox={"facecolor": "white", "edgecolor": "none", "pad": 1.0},
            )
            for place, reason in enumerate(self._gap_reasons())
            if reason
        ]  # fmt: skip
        panel.set(ylabel="PGR", ylim=(bottom, top))

    def _gap_reasons(self) -> list[str]:
        """One text per pair, where a student has no PGR."""
        texts = []
        for place in range(len(self.pairs)):
            found = {
                name: self.reasons.get(name, [""] * len(self.pairs))[place] or "not measured"
                for name, values in self.pgr.items()
                if np.isnan(values[place])
            }
            same = len(set(found.values())) == 1 and len(found) == len(self.pgr)
            texts.append(
                next(iter(found.values()))
                if same
                else "; ".join(f"{reason} ({name})" for name, reason in found.items())
            )
        return texts


def _style(name: str) -> Style:
    marker = MARKERS[list(MODEL_COLORS).index(name) % len(MARKERS)]
    return {"color": MODEL_COLORS[name], "marker": marker, "markersize": 5, "linewidth": 1.5, "capsize": 2.5}
