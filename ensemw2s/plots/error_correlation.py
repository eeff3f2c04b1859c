"""How alike the members of an ensemble err."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ensemw2s._validation import check_integer
from ensemw2s.metrics import error_correlation
from ensemw2s.plots._axes import AxesLike, panels, pyplot
from ensemw2s.plots._checks import number_array
from ensemw2s.plots._member_answers import member_answers, sample_line


class ErrorCorrelationDisplay:
    """Correlation of the mistakes of each two members of an ensemble, as a coloured table.

    Members whose mistakes correlate by nearly 1 are one member said twice, and no vote gains from them; where they
    correlate by 0, they are as good as independent. Each row names the accuracy of its member, since a member at
    chance errs independently of all others, too.

    Build it with `from_estimator` or `from_predictions`.

    Parameters
    ----------
    correlation : array-like of shape (T, T)
        In [-1, 1], see `error_correlation`; nan where a member is always right or always wrong.
    accuracy : array-like of shape (T,), optional
        Of each member.
    labels : sequence of str, optional
        Names of the members; "member 1", "member 2", ... if None.
    n : int, optional
        Number of items.
    chance : float, default=nan
        Accuracy of a guess.

    Attributes
    ----------
    figure_ : matplotlib.figure.Figure
        Set by `plot`, as what follows.
    ax_ : Axes
        What was drawn on.
    im_ : AxesImage
        The colours.
    text_ : ndarray of shape (T, T), object
        The number in each cell, as `matplotlib.text.Text`.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> from ensemw2s import ErrorCorrelationDisplay
    >>> members = [["A", "B", "C", "D"], ["A", "B", "A", "D"]]
    >>> display = ErrorCorrelationDisplay.from_predictions(["A", "B", "C", "A"], members, chance=0.25)
    >>> display.text_[0, 1].get_text(), display.ax_.get_title()
    ('0.58', 'n = 4, chance 0.250')
    >>> plt.close(display.figure_)
    """

    def __init__(
        self,
        correlation: Any,
        accuracy: Any = None,
        *,
        labels: Sequence[str] | None = None,
        n: int | None = None,
        chance: float = float("nan"),
    ) -> None:
        self.correlation = number_array(correlation, "correlation")
        n_members = len(self.correlation) if self.correlation.ndim else 0
        if self.correlation.shape != (n_members, n_members) or n_members == 0 or (abs(self.correlation) > 1).any():
            raise ValueError(
                f"correlation must be a square table of numbers in [-1, 1]. Got shape {self.correlation.shape} instead."
            )
        self.accuracy = None if accuracy is None else number_array(accuracy, "accuracy", (n_members,))
        self.labels = [f"member {t}" for t in range(1, n_members + 1)] if labels is None else list(map(str, labels))
        if len(self.labels) != n_members:
            raise ValueError(f"labels must have {n_members} entries, one per member. Got {len(self.labels)} instead.")
        self.n = None if n is None else check_integer(n, "n", minimum=1)
        self.chance = float(chance)

    @classmethod
    def from_estimator(
        cls,
        ensemble: Any,
        X: Any,
        y: Any = None,
        *,
        choices: Sequence | None = None,
        labels: Sequence[str] | None = None,
        ax: AxesLike = None,
    ) -> ErrorCorrelationDisplay:
        """Ask each member of a fitted ensemble, and draw how alike they err.

        Parameters
        ----------
        ensemble : OpinionPool, TokenAdaBoostGenerator, LLMAdaBoostClassifier or other VotingEnsemble
            Fitted.
        X : sequence or QADataset, shape (n,)
            Test questions, or rows of a classifier; none that a member was trained on.
        y : sequence, optional
            Their answers or classes; those of the `QADataset` if None.
        choices : sequence of sequences of str, optional
            Options of the questions.
        labels : sequence of str, optional
            Names of the members; those of an `OpinionPool`'s experts, or "member 1", ... if None.
        ax : Axes, optional
            See `plot`.

        Returns
        -------
        ErrorCorrelationDisplay

        Raises
        ------
        TypeError, ValueError
            If the ensemble has no members to ask, or no right answers are given.
        """
        pyplot(f"{cls.__name__}.from_estimator")
        found = member_answers(ensemble, X, y, choices)
        labels = found.labels if labels is None else labels
        return cls.from_predictions(found.gold, found.predictions, labels=labels, chance=found.chance, ax=ax)

    @classmethod
    def from_predictions(
        cls,
        y: Any,
        predictions: Any,
        *,
        labels: Sequence[str] | None = None,
        chance: float = float("nan"),
        ax: AxesLike = None,
    ) -> ErrorCorrelationDisplay:
        """Draw how alike members err whose answers are known.

        Parameters
        ----------
        y : array-like of shape (n,)
            Right answers.
        predictions : array-like of shape (T, n)
            Answers of each member, such as `member_predictions` gives.
        labels : sequence of str, optional
            Names of the members.
        chance : float, default=nan
            Accuracy of a guess.
        ax : Axes, optional
            See `plot`.

        Returns
        -------
        ErrorCorrelationDisplay
        """
        pyplot(f"{cls.__name__}.from_predictions")
        found = error_correlation(predictions, y)  # raises where the arrays do not fit
        gold = np.asarray(y)
        accuracy = [np.mean(np.asarray(row) == gold) for row in predictions]
        return cls(found, accuracy, labels=labels, n=len(gold), chance=chance).plot(ax)

    def plot(
        self, ax: AxesLike = None, *, cmap: Any = "RdBu_r", values_format: str = ".2f", colorbar: bool = True
    ) -> ErrorCorrelationDisplay:
        """Draw.

        Parameters
        ----------
        ax : Axes, optional
            A new figure if None.
        cmap : str or Colormap, default="RdBu_r"
            Colours from -1 to 1.
        values_format : str, default=".2f"
            Of the numbers in the cells.
        colorbar : bool, default=True
            Whether a colour bar is drawn.

        Returns
        -------
        ErrorCorrelationDisplay
            The display itself.
        """
        n_members = len(self.labels)
        size = 1.0 + 0.8 * n_members
        (axes,) = panels(
            ax, (1, 1), 1, caller=f"{type(self).__name__}.plot", figsize=(max(5.0, size + 2.6), max(3.0, size))
        )
        axes.grid(visible=False)
        self.ax_, self.figure_ = axes, axes.figure
        self.im_ = axes.imshow(self.correlation, cmap=cmap, vmin=-1.0, vmax=1.0)
        self.text_ = np.empty((n_members, n_members), dtype=object)
        for place, value in np.ndenumerate(self.correlation):
            shown = "–" if np.isnan(value) else format(value, values_format)
            color = "white" if abs(value) > 0.6 else "black"  # on the dark ends of the colours
            self.text_[place] = axes.text(place[1], place[0], shown, ha="center", va="center", color=color)
        names = list(self.labels)
        if self.accuracy is not None:
            names = [f"{name}\naccuracy {value:.3f}" for name, value in zip(names, self.accuracy, strict=True)]
        places = range(n_members)
        axes.set_yticks(places, names, fontsize=9, parse_math=False)
        axes.set_xticks(
            places, self.labels, fontsize=9, rotation=30, ha="right", rotation_mode="anchor", parse_math=False
        )
        axes.set_title(sample_line(self.n, self.chance), fontsize=10)
        if colorbar:
            self.figure_.colorbar(self.im_, ax=axes, label="correlation of mistakes")
        return self
