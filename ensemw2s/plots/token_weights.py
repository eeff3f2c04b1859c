"""Answer tokens coloured by their boosting weight."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils.validation import check_is_fitted

from ensemw2s._inputs.questions import check_questions, require_answers
from ensemw2s._validation import as_texts, check_integer, shorten
from ensemw2s.plots._axes import AxesLike, Drawn, Style, panels
from ensemw2s.plots._checks import number_array
from ensemw2s.plots._tokens import as_html, legend_weights, readable_tokens, show_blanks, weight_colors, width
from ensemw2s.tokens import TokenDataset

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_N_ROWS = 5
_INDENT = 4  # columns in front of the tokens, for "D12 "
_CHARACTER = 0.602  # width of a character of DejaVu Sans Mono, in units of the font's size
_LINE_INCHES = 0.24


class TokenWeightDisplay:
    r"""Answer tokens coloured by the weight :math:`D_t` that boosting gave them, round by round.

    Weights are in units of 1/n, that of each of the n answer tokens at the start. Heavier tokens are orange, lighter
    ones blue; both shades grow with the logarithm of the weight, up to the heaviest and the lightest token shown. A
    notebook shows the display as HTML, `to_html` gives the markup, and `plot` draws the same cells with matplotlib.

    Build it with `from_estimator`.

    Parameters
    ----------
    prompts : sequence of R str
        Questions.
    tokens : sequence of R sequences of str
        Tokens of each answer, as they shall be shown.
    weights : array-like of shape (n_rounds, n_tokens)
        Weight of each of these tokens, in units of 1/n, answer by answer; not negative.
    rounds : sequence of int, optional
        The t of each :math:`D_t`; 1, 2, ... if None.

    Attributes
    ----------
    figure_ : matplotlib.figure.Figure
        Set by `plot`, as what follows.
    ax_ : Axes
        What was drawn on.
    cells_, texts_ : list of Rectangle, list of Text
        One per token and round, in the order of question, round, token.
    prompts_ : list of Text
        The lines of the questions.
    legend_ : list of Text
        The range of the weights.

    Examples
    --------
    >>> from ensemw2s import TokenWeightDisplay
    >>> display = TokenWeightDisplay(["Is 1 < 2?"], [["␣yes", "<eos>"]], [[1, 1], [1.6, .4]])
    >>> "Is 1 &lt; 2?" in display.to_html(), "highest 1.6" in display.to_html()
    (True, True)
    """

    def __init__(
        self,
        prompts: Sequence[str],
        tokens: Sequence[Sequence[str]],
        weights: ArrayLike,
        *,
        rounds: Sequence[int] | None = None,
    ) -> None:
        self.prompts = as_texts(prompts, "prompts", what="prompt")
        self.tokens = [list(row) for row in tokens]
        if len(self.tokens) != len(self.prompts) or not all(self.tokens):
            raise ValueError(
                f"tokens must hold the tokens of {len(self.prompts)} answers, none of them empty. "
                f"Got {shorten(self.tokens)} instead."
            )
        self.weights = number_array(weights, "weights")
        n_tokens = sum(map(len, self.tokens))
        if self.weights.ndim != 2 or self.weights.shape[1] != n_tokens or len(self.weights) == 0:
            raise ValueError(
                f"weights must have shape (n_rounds, {n_tokens}), one per token. Got {self.weights.shape} instead."
            )
        if not (self.weights >= 0).all():
            raise ValueError(f"weights must not be negative or nan. Got {float(self.weights.min())!r} instead.")
        self.rounds = list(range(1, len(self.weights) + 1)) if rounds is None else [int(t) for t in rounds]
        if len(self.rounds) != len(self.weights):
            raise ValueError(f"rounds must have {len(self.weights)} entries. Got {len(self.rounds)} instead.")

    @classmethod
    def from_estimator(
        cls,
        booster: Any,
        X: object,
        y: object = None,
        *,
        choices: Sequence | None = None,
        rounds: Any = None,
        rows: object = None,
    ) -> TokenWeightDisplay:
        """Collect the weights of some answers.

        Nothing is drawn, and matplotlib is not needed, until `plot` is called.

        Parameters
        ----------
        booster : TokenAdaBoostGenerator
            Fitted.
        X : sequence of str or QADataset, shape (n,)
            All questions of `fit`; of others the weights are those that the fitted members would give them.
        y : sequence of str, optional
            Their answers; those of the `QADataset` if None.
        choices : sequence of sequences of str, optional
            Options; needed by ``unit="option"``.
        rounds : int or sequence of int in [1, T + 1], optional
            Which :math:`D_t`, the weights before round `t`; all if None.
        rows : array-like of int or bool, optional
            Which questions; the first five if None.

        Returns
        -------
        TokenWeightDisplay

        Raises
        ------
        TypeError, ValueError
            If `booster` has no token weights, or a round or row is out of range.

        Examples
        --------
        >>> from ensemw2s import BigramLearner, TokenAdaBoostGenerator, TokenWeightDisplay
        >>> X, y = ["Sky?", "Sea?", "Leaf?"], ["blue", "blue", "green"]
        >>> booster = TokenAdaBoostGenerator(
        ...     BigramLearner(), n_estimators=2, prior="uniform", random_state=0).fit(X, y)
        >>> display = TokenWeightDisplay.from_estimator(booster, X, y, rows=[2])
        >>> display.tokens
        [['␣', 'g', 'r', 'e', 'e', 'n', '<eos>']]
        >>> display.weights[0].round(3)  # D_1 is uniform
        array([1., 1., 1., 1., 1., 1., 1.])
        """
        if not hasattr(booster, "staged_token_weight"):
            raise TypeError(f"booster must be a TokenAdaBoostGenerator. Got {shorten(booster)} instead.")
        check_is_fitted(booster, "estimators_")
        questions = check_questions(X, y, choices)
        learner = booster.estimators_[0]
        tokens = TokenDataset.for_learner(learner, questions.prompts, require_answers(questions))
        numbers = _row_numbers(rows, len(questions))
        wanted = _round_numbers(rounds, len(booster.estimators_) + 1)
        shown = np.concatenate([np.arange(tokens.indptr[row], tokens.indptr[row + 1]) for row in numbers])
        weights = {}
        for t, weight in enumerate(booster.staged_token_weight(questions), start=1):
            if t == 1 and len(weight) != tokens.n_tokens:
                raise ValueError(
                    "booster must have members that read alike, whose tokens have weights. Got members that do not; "
                    "staged_token_weight gives one weight per answer."
                )
            if t == 1:
                start = weight.mean()  # 1/n; with a larger unit each token has the weight of its unit
            if t in wanted:
                weights[t] = weight[shown] / start
        return cls(
            [questions.prompts[row] for row in numbers],
            [readable_tokens(learner.tokenizer_, tokens.row_ids(row)[1]) for row in numbers],
            np.stack([weights[t] for t in wanted]),
            rounds=wanted,
        )

    def to_html(self) -> str:
        """The tokens as HTML, with every text escaped.

        Returns
        -------
        str
            A ``<div>`` without scripts or references; a token's weight appears when the mouse rests on it.
        """
        return as_html(self.prompts, self.tokens, self.weights, self.rounds)

    def _repr_html_(self) -> str:
        return self.to_html()

    def plot(self, ax: AxesLike = None, *, n_columns: int = 80) -> TokenWeightDisplay:
        """Draw the tokens as cells of text.

        Parameters
        ----------
        ax : Axes, optional
            Its axis lines are turned off; a new figure if None.
        n_columns : int, default=80
            Characters in a line; longer questions and answers go on in the next one.

        Returns
        -------
        TokenWeightDisplay
            The display itself.
        """
        n_columns = check_integer(n_columns, "n_columns", minimum=20)
        lines = list(self._lines(n_columns))
        n_lines = lines[-1][0] + 1.2
        figsize = (0.1 * n_columns, _LINE_INCHES * n_lines + 0.2)
        (axes,) = panels(ax, (1, 1), 1, caller=f"{type(self).__name__}.plot", figsize=figsize)
        self.ax_, self.figure_ = axes, cast("Figure", axes.figure)
        axes.set(xlim=(0, max(n_columns, *(x + width(text) for _, x, text, *_ in lines))), ylim=(n_lines, -0.2))
        axes.set_axis_off()
        if ax is None:
            self.figure_.draw_without_rendering()  # the layout gives the axes their size, and it the font's
        size = _font_size(axes)
        self.cells_: list[Drawn] = []
        self.texts_: list[Drawn] = []
        self.prompts_: list[Drawn] = []
        self.legend_: list[Drawn] = []
        for y, x, text, color, role in lines:
            self._draw(y, x, text, color, role, size)
        return self

    def _draw(self, y: float, x: int, text: str, color: str, role: str, size: float) -> None:
        from matplotlib.patches import Rectangle

        style: Style = {
            "family": "monospace",
            "fontsize": size,
            "color": "#111111",
            "va": "center",
            "parse_math": False,
        }
        if not color:
            written = self.ax_.text(x, y + 0.5, text, ha="left", **style)
        else:
            cell = Rectangle(
                (x + 0.06, y + 0.06), width(text) - 0.12, 0.88, facecolor=color, edgecolor="#BBBBBB", linewidth=0.5
            )
            self.ax_.add_patch(cell)
            written = self.ax_.text(x + width(text) / 2, y + 0.5, text, ha="center", **style)
        if role == "token":
            self.cells_.append(cell)
        {"token": self.texts_, "prompt": self.prompts_, "legend": self.legend_, "round": []}[role].append(written)

    def _lines(self, n_columns: int) -> Iterator[tuple[float, int, str, str, str]]:
        """Line, column, text, colour ("" for none) and role of everything that is drawn, from top to bottom."""
        swatches = legend_weights(self.weights)
        colors = weight_colors(np.array([value for value, _ in swatches]), self.weights)
        title = "weight in units of 1/n:"
        yield 0.0, 0, title, "", "legend"
        x = len(title) + 1
        for (_, text), color in zip(swatches, colors, strict=True):
            yield 0.0, x, f" {text} ", color, "legend"
            x += len(text) + 3
        y, start = 1.4, 0
        for prompt, tokens in zip(self.prompts, self.tokens, strict=True):
            for line in textwrap.wrap(prompt, n_columns):
                yield y, 0, show_blanks(line).replace("␣", " "), "", "prompt"
                y += 1
            for t, weight in zip(self.rounds, self.weights[:, start : start + len(tokens)], strict=True):
                yield y, 0, f"D{t}", "", "round"
                x = _INDENT
                for text, color in zip(tokens, weight_colors(weight, self.weights), strict=True):
                    if x > _INDENT and x + width(text) > n_columns:
                        x, y = _INDENT, y + 1
                    yield y, x, text, color, "token"
                    x += width(text)
                y += 1
            y, start = y + 0.4, start + len(tokens)


def _font_size(axes: Axes) -> float:
    """Largest size at which the characters of a fixed-width font fit into the columns and lines of `axes`."""
    columns, lines = axes.get_xlim()[1], abs(float(np.diff(axes.get_ylim())[0]))
    points = 72 / axes.figure.dpi
    by_width = points * axes.bbox.width / columns / _CHARACTER
    return min(by_width * 0.97, points * axes.bbox.height / lines / 1.3, 12.0)


def _row_numbers(rows: object, n_rows: int) -> list[int]:
    if rows is None:
        return list(range(min(_N_ROWS, n_rows)))
    try:
        numbers = np.atleast_1d(np.arange(n_rows)[np.asarray(rows)]).tolist()
    except IndexError as error:
        raise ValueError(f"rows must hold row numbers below {n_rows}. Got {shorten(rows)} instead.") from error
    if not numbers:
        raise ValueError(f"rows must pick at least one row. Got {shorten(rows)} instead.")
    return numbers


def _round_numbers(rounds: Any, last: int) -> list[int]:
    if rounds is None:
        return list(range(1, last + 1))
    wanted = [check_integer(t, "rounds", minimum=1) for t in np.atleast_1d(rounds).tolist()]
    if not wanted or max(wanted) > last:
        raise ValueError(f"rounds must hold numbers from 1 to {last}. Got {shorten(rounds)} instead.")
    return wanted
