"""How surely an ensemble's vote is right."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ensemw2s._validation import check_integer, shorten
from ensemw2s.metrics import staged_margins
from ensemw2s.plots._axes import AxesLike, Style, legend_beside, panels, pyplot
from ensemw2s.plots._checks import number_array
from ensemw2s.plots._member_answers import member_answers, sample_line
from ensemw2s.plots._palette import GREY, LINE_COLORS


class MarginDisplay:
    """Cumulative distribution of the margins of an ensemble's weighted vote (Schapire et al., 1998, Figure 1).

    The margin of an item is the right answer's share of the votes less that of the strongest wrong one. Left of the
    dashed line the vote is wrong, and the height of a line there is the share of errors, ties included. Members that
    err together have margins of -1 and 1 and few between; boosting is meant to move the lower part of the line to the
    right.

    Build it with `from_estimator` or `from_predictions`.

    Parameters
    ----------
    margins : dict of str to array-like of shape (n,), or array-like of shape (n,)
        In [-1, 1], one line each, by name; see `margins`.
    chance : float, default=nan
        Accuracy of a guess, whose error is drawn dotted.

    Attributes
    ----------
    figure_ : matplotlib.figure.Figure
        Set by `plot`, as what follows.
    ax_ : Axes
        What was drawn on.
    lines_ : dict of str to Line2D
        The steps, by name.
    zero_line_, chance_line_ : Line2D
        `chance_line_` is None where chance is not known.
    legend_ : Legend or None

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> from ensemw2s import MarginDisplay
    >>> members = [["A", "B", "A"], ["A", "B", "C"], ["A", "A", "D"]]
    >>> display = MarginDisplay.from_predictions(["A", "A", "D"], members, votes=[2, 1, 1], chance=0.25)
    >>> {name: line.get_xdata()[1:-1].tolist() for name, line in display.lines_.items()}
    {'1 member': [-1.0, -1.0, 1.0], '3 members': [-0.5, -0.25, 1.0]}
    >>> plt.close(display.figure_)
    """

    def __init__(self, margins: Any, *, chance: float = float("nan")) -> None:
        given = margins if isinstance(margins, Mapping) else {"": margins}
        self.margins = {str(name): number_array(values, f"margins[{name!r}]") for name, values in given.items()}
        shapes = {values.shape for values in self.margins.values()}
        if len(shapes) != 1 or len(next(iter(shapes))) != 1 or next(iter(shapes)) == (0,):
            raise ValueError(
                f"margins must hold arrays of one shape (n,), one item at least. Got {shorten(sorted(shapes))}."
            )
        for name, values in self.margins.items():
            if not (abs(values) <= 1).all():
                raise ValueError(f"margins must lie in [-1, 1]. Got {shorten(values)} in margins[{name!r}].")
        self.n = len(next(iter(self.margins.values())))
        self.chance = float(chance)

    @classmethod
    def from_estimator(
        cls,
        ensemble: Any,
        X: Any,
        y: Any = None,
        *,
        choices: Sequence | None = None,
        n_members: Sequence[int] | None = None,
        ax: AxesLike = None,
    ) -> MarginDisplay:
        """Ask each member of a fitted ensemble, and draw the margins under its votes.

        Parameters
        ----------
        ensemble : OpinionPool, TokenAdaBoostGenerator, LLMAdaBoostClassifier or other VotingEnsemble
            Fitted. The vote is a hard one, each member for its own answer, whatever the ensemble does with
            probabilities.
        X : sequence or QADataset, shape (n,)
            Questions, or rows of a classifier.
        y : sequence, optional
            Their answers or classes; those of the `QADataset` if None.
        choices : sequence of sequences of str, optional
            Options of the questions.
        n_members : sequence of int, optional
            Of how many first members the margins are drawn; of one and of all if None.
        ax : Axes, optional
            See `plot`.

        Returns
        -------
        MarginDisplay

        Raises
        ------
        TypeError, ValueError
            If the ensemble has no members to ask, or no right answers are given.
        """
        pyplot(f"{cls.__name__}.from_estimator")
        found = member_answers(ensemble, X, y, choices)
        return cls.from_predictions(
            found.gold, found.predictions, votes=found.votes, chance=found.chance, n_members=n_members, ax=ax
        )

    @classmethod
    def from_predictions(
        cls,
        y: Any,
        predictions: Any,
        *,
        votes: Any = None,
        chance: float = float("nan"),
        n_members: Sequence[int] | None = None,
        ax: AxesLike = None,
    ) -> MarginDisplay:
        """Draw the margins of members whose answers are known.

        Parameters
        ----------
        y : array-like of shape (n,)
            Right answers.
        predictions : array-like of shape (T, n)
            Answers of each member, such as `member_predictions` gives.
        votes : array-like of shape (T,), optional
            Equal ones if None.
        chance : float, default=nan
            Accuracy of a guess.
        n_members : sequence of int, optional
            Of how many first members the margins are drawn; of one and of all if None.
        ax : Axes, optional
            See `plot`.

        Returns
        -------
        MarginDisplay
        """
        pyplot(f"{cls.__name__}.from_predictions")
        stages = list(staged_margins(predictions, y, votes))
        wanted = (1, len(stages)) if n_members is None else n_members
        named = {}
        for number in wanted:
            if check_integer(number, "n_members", minimum=1) > len(stages):
                raise ValueError(f"n_members must be at most {len(stages)}, the number of members. Got {number}.")
            named[f"{number} member{'s' * (number > 1)}"] = stages[number - 1]
        return cls(named, chance=chance).plot(ax)

    def plot(self, ax: AxesLike = None, *, line_kw: Style | None = None) -> MarginDisplay:
        """Draw.

        Parameters
        ----------
        ax : Axes, optional
            A new figure if None. Give one of your own ``layout="constrained"``, which makes room for the legend.
        line_kw : dict, optional
            Passed to `matplotlib.axes.Axes.step` for every line.

        Returns
        -------
        MarginDisplay
            The display itself.
        """
        (axes,) = panels(ax, (1, 1), 1, caller=f"{type(self).__name__}.plot", figsize=(6.4, 3.4))
        self.ax_, self.figure_ = axes, axes.figure
        self.lines_: dict[str, Any] = {}
        for place, (name, values) in enumerate(self.margins.items()):
            ordered = np.sort(values)
            style = {"color": LINE_COLORS[place % len(LINE_COLORS)], "linewidth": 1.5, "label": name} | (line_kw or {})
            (self.lines_[name],) = axes.step(
                [-1.0, *ordered, 1.0], [0.0, *np.arange(1, self.n + 1) / self.n, 1.0], where="post", **style
            )
        self.zero_line_ = axes.axvline(0.0, color=GREY, linestyle="--", linewidth=1.2)
        self.chance_line_ = None
        if not np.isnan(self.chance):
            self.chance_line_ = axes.axhline(
                1.0 - self.chance, color=GREY, linestyle=":", linewidth=1.2, label="error of a guess"
            )
        axes.set(xlabel="margin of the vote", ylabel="share of items up to it", xlim=(-1.05, 1.05), ylim=(0.0, 1.03))
        axes.set_title(sample_line(self.n, self.chance), fontsize=10)
        named = [line for name, line in self.lines_.items() if name]
        self.legend_ = legend_beside(axes, [*named, self.chance_line_])
        return self
