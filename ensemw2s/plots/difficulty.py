"""How hard the questions are, as a histogram."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from ensemw2s._validation import check_option, check_vector, shorten
from ensemw2s.plots._axes import AxesLike, Style, legend_beside, panels, pyplot
from ensemw2s.plots._palette import LIGHT_GREY, LINE_COLORS

if TYPE_CHECKING:
    pass

_REST = "in no part"


class DifficultyDisplay:
    """Histogram of difficulty ratings, as a whole or by the parts of a split (Figures 7 to 9 of the paper).

    Build it with `from_ratings` or `from_estimator`.

    Parameters
    ----------
    ratings : array-like of shape (n,)
        One rating per question; larger is harder.
    parts : dict of str to array-like of int or bool, optional
        Row numbers, or a mask over the rows, by the name of a part, such as "train_weak", "train_strong" and "test".
        No row may be in two parts; rows in none are drawn as such.

    Attributes
    ----------
    figure_ : matplotlib.figure.Figure
        Set by `plot`, as what follows.
    ax_ : Axes
        What was drawn on.
    bars_ : dict of str to BarContainer
        The bars of each part; under "" without parts.
    bin_edges_ : ndarray of shape (n_bins + 1,)
        Of all parts.
    counts_ : dict of str to ndarray of shape (n_bins,)
        Questions in each bin.
    legend_ : Legend or None
        The parts and their sizes.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> from ensemw2s import DifficultyDisplay
    >>> display = DifficultyDisplay([.1, .2, .7, .9], {"easy": [0, 1], "hard": [2, 3]}).plot(bins=2)
    >>> display.counts_["hard"]
    array([0, 2])
    >>> plt.close(display.figure_)
    """

    def __init__(self, ratings: Any, parts: Mapping[str, Any] | None = None) -> None:
        self.ratings = check_vector(ratings, "ratings", per="question")
        if parts is not None and (not isinstance(parts, Mapping) or not parts):
            raise TypeError(f"parts must be a dict of row numbers by name. Got {shorten(parts)} instead.")
        self.parts = {str(name): self._rows(rows, name) for name, rows in (parts or {}).items()}
        taken = np.bincount(np.concatenate([*self.parts.values(), []]).astype(int), minlength=len(self.ratings))
        if (taken > 1).any():
            row = int(np.argmax(taken > 1))
            names = [name for name, rows in self.parts.items() for found in rows if found == row]
            raise ValueError(f"parts must not share rows. Got row {row} in {' and '.join(map(repr, names))}.")
        if self.parts and not taken.all():
            self.parts[_REST] = np.flatnonzero(taken == 0)

    @classmethod
    def from_ratings(
        cls, ratings: object, *, parts: Mapping[str, Any] | None = None, ax: AxesLike = None
    ) -> DifficultyDisplay:
        """Draw given ratings.

        Parameters
        ----------
        ratings : result of cross_val_difficulty or array-like of shape (n,)
            Ratings, or an object that has them as ``ratings``.
        parts : dict of str to array-like, optional
            Rows of each part of a split.
        ax : Axes, optional
            See `plot`.

        Returns
        -------
        DifficultyDisplay
        """
        pyplot(f"{cls.__name__}.from_ratings")
        return cls(getattr(ratings, "ratings", ratings), parts).plot(ax)

    @classmethod
    def from_estimator(
        cls, estimator: object, X: object, y: object = None, *, parts: Mapping[str, Any] | None = None,
        ax: AxesLike = None, **kwargs: Any,
    ) -> DifficultyDisplay:  # fmt: skip
        """Rate questions by cross-validation and draw the ratings.

        Parameters
        ----------
        estimator : estimator or TokenLearner
            What rates them; it is cloned for each fold.
        X : sequence or QADataset, shape (n,)
            Questions.
        y : sequence, optional
            Answers or classes; those of the `QADataset` if None.
        parts : dict of str to array-like, optional
            Rows of each part of a split.
        ax : Axes, optional
            See `plot`.
        **kwargs
            Passed to `cross_val_difficulty`, such as ``cv`` and ``n_jobs``.

        Returns
        -------
        DifficultyDisplay
        """
        from ensemw2s.difficulty import cross_val_difficulty

        pyplot(f"{cls.__name__}.from_estimator")
        return cls.from_ratings(cross_val_difficulty(estimator, X, y, **kwargs), parts=parts, ax=ax)

    def plot(
        self, ax: AxesLike = None, *, bins: Any = 20, kind: str = "stacked", bar_kw: Style | None = None
    ) -> DifficultyDisplay:
        """Draw.

        Parameters
        ----------
        ax : Axes, optional
            A new figure if None. Give one of your own ``layout="constrained"``, which makes room for the legend.
        bins : int, str or array-like, default=20
            As in `numpy.histogram`. A number of bins divides [0, 1] where all ratings lie in it.
        kind : {"stacked", "overlaid"}, default="stacked"
            How the parts share the panel.
        bar_kw : dict, optional
            Passed to `matplotlib.axes.Axes.bar`.

        Returns
        -------
        DifficultyDisplay
            The display itself.
        """
        pyplot(f"{type(self).__name__}.plot")
        from matplotlib.ticker import MaxNLocator

        check_option(kind, "kind", ("stacked", "overlaid"))
        (axes,) = panels(ax, (1, 1), 1, caller=f"{type(self).__name__}.plot", figsize=(6.4, 3.4))
        self.ax_, self.figure_ = axes, axes.figure
        unit = self.ratings.min() >= 0 and self.ratings.max() <= 1
        self.bin_edges_ = np.histogram_bin_edges(self.ratings, bins, range=(0.0, 1.0) if unit else None)
        parts = self.parts or {"": np.arange(len(self.ratings))}
        self.counts_ = {name: np.histogram(self.ratings[rows], self.bin_edges_)[0] for name, rows in parts.items()}
        below = np.zeros(len(self.bin_edges_) - 1)
        self.bars_: dict[str, Any] = {}
        for place, (name, counts) in enumerate(self.counts_.items()):
            color = LIGHT_GREY if name == _REST else LINE_COLORS[place % len(LINE_COLORS)]
            style = {"color": color, "edgecolor": "white", "linewidth": 0.5}
            if kind == "overlaid" and len(parts) > 1:
                style = {"facecolor": (color, 0.35), "edgecolor": color, "linewidth": 1.2}
            style |= {"label": f"{name} (n = {len(parts[name])})"} | (bar_kw or {})
            self.bars_[name] = axes.bar(
                self.bin_edges_[:-1], counts, np.diff(self.bin_edges_), bottom=below.copy(), align="edge", **style
            )
            if kind == "stacked":
                below += counts
        tops = [bar.get_y() + bar.get_height() for bars in self.bars_.values() for bar in bars]
        axes.set_ylim(0, 1.05 * max(tops))
        axes.set(xlabel="difficulty rating (larger is harder)", ylabel="questions")
        axes.set_xlim(self.bin_edges_[0], self.bin_edges_[-1])
        axes.yaxis.set_major_locator(MaxNLocator(integer=True))
        self.legend_ = legend_beside(axes, self.bars_.values() if self.parts else ())
        return self

    def _rows(self, rows: object, name: str) -> np.ndarray:
        try:
            return np.arange(len(self.ratings))[np.asarray(rows)]
        except IndexError as error:
            raise ValueError(
                f"parts[{name!r}] must hold row numbers below {len(self.ratings)}, or a mask over the rows. "
                f"Got {shorten(rows)} instead."
            ) from error
