"""What carries a boosting weight: a token, a window of tokens, an answer, or a question."""

from __future__ import annotations

import copy
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol, TypeVar

import numpy as np

from ensemw2s._inputs.questions import require_choices, tokenize_answers
from ensemw2s._validation import CheckedTexts, check_option, shorten
from ensemw2s.boosting import window_error
from ensemw2s.contracts import TokenLearner, WeakLearner, checked_scores, eval_batch_size
from ensemw2s.datasets import QADataset
from ensemw2s.metrics import chance_level, option_credit
from ensemw2s.mixture import difference, group_alike, narrowest, option_nll, reads_tokens, score_answers
from ensemw2s.tokens import TokenDataset

_WINDOWS = ("tiling", "sliding")
_AnyOfTokens = TypeVar("_AnyOfTokens", bound="_OfTokens")


class BoostingUnit(Protocol):
    """How errors are counted and weights are spread over answer tokens."""

    all_wrong: str
    """What an error of 1 under every weight says of the untrained model, and what to do."""

    @property
    def n_units(self) -> int: ...

    @property
    def chance_error(self) -> float:
        """Error of a guess."""
        ...

    @property
    def tokens(self) -> TokenDataset | None:
        """The answers; None where learners have no tokens."""
        ...

    def initial_weight(self, row_weight: np.ndarray) -> np.ndarray:
        """D_1 from one weight per answer, (n_rows,) -> (n_units,), summing to 1."""
        ...

    def errors(self, learner: Any) -> np.ndarray:
        """Error of each unit under one learner, in [0, 1], of shape (n_units,)."""
        ...

    def untrained_errors(self, learner: Any) -> np.ndarray:
        """`errors` of a learner that has not been trained."""
        ...

    def spread(self, weight: np.ndarray) -> np.ndarray:
        """Weight of each answer token, (n_units,) -> (n_tokens,)."""
        ...

    def take(self, rows: np.ndarray) -> BoostingUnit:
        """The same unit of some answers, by their numbers in ascending order."""
        ...

    def places(self, rows: np.ndarray) -> np.ndarray:
        """Places of the units of some answers among all, in the order of `take`."""
        ...

    def fit(self, learner: Any, draw: np.ndarray, **evaluation: Any) -> Any:
        """Train a learner on what was drawn, (n_units,), and return it; it may be given an ``eval_set``."""
        ...


def check_unit(unit: Any, window: Any) -> None:
    """Raise a ValueError unless `unit` is a unit's name or a window length, and `window` a kind of windows it has."""
    is_length = isinstance(unit, (int, np.integer)) and not isinstance(unit, bool) and 1 <= unit <= sys.maxsize
    if not is_length and not (isinstance(unit, str) and unit in UNITS):
        names = ", ".join(map(repr, UNITS))
        raise ValueError(f"unit must be {names} or a window length >= 1. Got {shorten(unit)} instead.")
    check_option(window, "window", _WINDOWS)
    if window == "sliding" and not is_length:
        raise ValueError(
            f"window='sliding' needs unit to be the length of a window, in tokens. Got unit={unit!r} instead; pass "
            f"unit=4, or leave window out."
        )


def make_unit(
    unit: Any, learner: TokenLearner, tokens: TokenDataset, questions: QADataset, *, normalize: str, window: str
) -> BoostingUnit:
    """The unit that the parameters ``unit`` and ``window`` name, for learners like the given one."""
    given = _Given(tokens, questions, normalize, len(learner.tokenizer_), eval_batch_size(learner))
    if isinstance(unit, str):
        return UNITS[unit].make(given)
    return _TokenUnit(given, int(unit), sliding=window == "sliding")


def needs_options(unit: Any) -> bool:
    """Whether the unit that the parameter ``unit`` names is a question with its options."""
    check_unit(unit, "tiling")
    return isinstance(unit, str) and UNITS[unit].needs_options


def make_units(
    unit: Any, learners: Sequence[WeakLearner], questions: QADataset, *, normalize: str, window: str
) -> list[BoostingUnit]:
    """The unit that the parameter ``unit`` names as each learner reads it, one object for those that read alike.

    Weights over answers or questions belong to all of them: :math:`D_t` is one array, and each learner's unit spreads
    it over tokens of its own.

    Raises
    ------
    ValueError
        If tokens are to have weights, and the learners do not read alike.
    """
    check_unit(unit, window)
    scorers = [place for place, learner in enumerate(learners) if not reads_tokens(learner)]
    if scorers and not needs_options(unit):
        raise ValueError(
            f"unit must be 'option' where a weak learner scores options as a whole. Got {unit!r}, and learner "
            f"{scorers[0]} is a {type(learners[scorers[0]]).__name__}."
        )
    groups = group_alike(learners)
    if len(groups) > 1 and not (isinstance(unit, str) and UNITS[unit].is_whole):
        first, other = groups[0][0], groups[1][0]
        what = difference(learners[first], learners[other])
        raise ValueError(
            f"unit must be 'sample', 'sample-mean' or 'option' where weak learners read differently: there is no token "
            f"that could have a weight for all. Got {unit!r}, and estimators[{other}] has another {what} than "
            f"estimators[{first}]."
        )
    units: dict[int, BoostingUnit] = {}
    for group in groups:
        readers = [learner for learner in (learners[place] for place in group) if reads_tokens(learner)]
        if not readers:
            units[group[0]] = _ScoreUnit(questions)
            continue
        reader = narrowest(readers)
        tokens = tokenize_answers(reader, questions)
        made = make_unit(unit, reader, tokens, questions, normalize=normalize, window=window)
        units |= dict.fromkeys(group, made)
    return [units[place] for place in range(len(learners))]


def spread_together(units: Sequence[BoostingUnit], weight: np.ndarray) -> np.ndarray:
    """Weight of each answer token of learners that read alike; of others the weights themselves, one per answer."""
    return units[0].spread(weight) if all(unit is units[0] for unit in units) else weight


class _Given(NamedTuple):
    """What a unit is made of."""

    tokens: TokenDataset
    questions: QADataset
    normalize: str
    n_vocabulary: int
    batch_size: int

    def take(self, rows: np.ndarray) -> _Given:
        return self._replace(tokens=self.tokens.take(rows), questions=self.questions[rows])


def _shares(weight: np.ndarray) -> np.ndarray:
    shares: np.ndarray = weight / weight.sum()
    return shares


def _token_mistakes(learner: TokenLearner, tokens: TokenDataset, batch_size: int) -> np.ndarray:
    predicted = score_answers([learner], [1.0], tokens, batch_size=batch_size).predicted[0]
    mistakes: np.ndarray = predicted != tokens.labels
    return mistakes


class _OfTokens(ABC):
    """A unit of what a `TokenLearner` is trained on: one for each answer, unless a class says otherwise."""

    def __init__(self, given: _Given) -> None:
        self.given = given

    @property
    def tokens(self) -> TokenDataset:
        return self.given.tokens

    @property
    def n_units(self) -> int:
        return len(self.tokens)

    @property
    def chance_error(self) -> float:
        return 1.0 - 1.0 / self.given.n_vocabulary

    def take(self: _AnyOfTokens, rows: np.ndarray) -> _AnyOfTokens:
        taken = copy.copy(self)
        taken.given = self.given.take(rows)
        return taken

    def places(self, rows: np.ndarray) -> np.ndarray:
        return rows

    @abstractmethod
    def errors(self, learner: Any) -> np.ndarray: ...

    def initial_weight(self, row_weight: np.ndarray) -> np.ndarray:
        return _shares(row_weight)

    def spread(self, weight: np.ndarray) -> np.ndarray:
        return self.tokens.spread(weight)

    def untrained_errors(self, learner: Any) -> np.ndarray:
        return self.errors(learner)

    def fit(self, learner: Any, draw: np.ndarray, **evaluation: Any) -> Any:
        return learner.fit(self.tokens, token_weight=self.spread(draw), **evaluation)


class _TokenUnit(_OfTokens):
    """One weight per answer token; with a window, a token's error is the mean over its window."""

    all_wrong = (
        "The untrained model is wrong on every answer token. Check that tokenizer, prompt_template and answers "
        "fit together; for a model that knows nothing yet, pass prior='uniform'."
    )

    def __init__(self, given: _Given, window: int = 1, *, sliding: bool = False) -> None:
        super().__init__(given)
        self.window, self.sliding = window, sliding

    @property
    def n_units(self) -> int:
        return self.tokens.n_tokens

    def places(self, rows: np.ndarray) -> np.ndarray:
        return np.flatnonzero(self.tokens.spread(np.isin(np.arange(len(self.tokens)), rows)))

    def initial_weight(self, row_weight: np.ndarray) -> np.ndarray:
        return _shares(self.tokens.spread(row_weight))

    def errors(self, learner: TokenLearner) -> np.ndarray:
        mistakes = _token_mistakes(learner, self.tokens, self.given.batch_size)
        if self.window == 1:
            return mistakes
        return window_error(mistakes, self.tokens.indptr, self.window, sliding=self.sliding)

    def spread(self, weight: np.ndarray) -> np.ndarray:
        return weight


class _SampleUnit(_OfTokens):
    """One weight per answer, which is wrong as soon as one of its tokens is, or by the share of those that are."""

    def __init__(self, given: _Given, *, by_share: bool = False) -> None:
        super().__init__(given)
        self.by_share = by_share
        self.all_wrong = _TokenUnit.all_wrong if by_share else _NO_ANSWER_RIGHT

    def errors(self, learner: TokenLearner) -> np.ndarray:
        mistakes = _token_mistakes(learner, self.tokens, self.given.batch_size)
        n_wrong = self.tokens.sum_rows(mistakes)
        return n_wrong / self.tokens.answer_lengths if self.by_share else n_wrong > 0


_NO_ANSWER_RIGHT = (
    "The untrained model has no answer right in all of its tokens, which is nothing unusual where answers have "
    "several. But an error of 1 leaves no room above the weak learners' errors, so no vote can be measured against it. "
    "Pass unit='sample-mean', which counts the share of an answer's tokens that are wrong, or prior='uniform'."
)


class _OptionUnit(_OfTokens):
    """One weight per question, which is wrong when the gold option has not the lowest NLL, and in part in a tie."""

    all_wrong = (
        "The untrained model chooses a wrong option for every question, so no vote can be measured against its error, "
        "1. Check that tokenizer, prompt_template and options fit together, or pass prior='uniform'."
    )

    @property
    def chance_error(self) -> float:
        return 1.0 - chance_level(np.asarray(self.given.questions.n_choices))

    def errors(self, learner: TokenLearner) -> np.ndarray:
        questions = self.given.questions
        nll = option_nll(
            [learner],
            [1.0],
            CheckedTexts(questions.prompts),
            [CheckedTexts(options) for options in require_choices(questions)],
            normalize=self.given.normalize,
            batch_size=self.given.batch_size,
        )
        return 1.0 - option_credit(nll[0], questions.labels, questions.n_choices)


class _ScoreUnit:
    """One weight per question, whose options a learner scores as a whole; untrained, it can but guess."""

    tokens = None
    all_wrong = _OptionUnit.all_wrong

    def __init__(self, questions: QADataset) -> None:
        self.questions, self.n_units = questions, len(questions)
        self.n_choices = np.asarray(questions.n_choices)
        self.chance_error = 1.0 - chance_level(self.n_choices)

    def take(self, rows: np.ndarray) -> _ScoreUnit:
        return _ScoreUnit(self.questions[rows])

    def places(self, rows: np.ndarray) -> np.ndarray:
        return rows

    def initial_weight(self, row_weight: np.ndarray) -> np.ndarray:
        return _shares(row_weight)

    def errors(self, learner: Any) -> np.ndarray:
        scores = learner.option_scores(self.questions.prompts, require_choices(self.questions))
        nll = -checked_scores(scores, learner, self.n_choices)
        return 1.0 - option_credit(nll, self.questions.labels, self.n_choices)

    def untrained_errors(self, learner: Any) -> np.ndarray:
        error: np.ndarray = 1.0 - 1.0 / self.n_choices
        return error

    def spread(self, weight: np.ndarray) -> np.ndarray:
        return weight

    def fit(self, learner: Any, draw: np.ndarray, **evaluation: Any) -> Any:
        # Of mean 1, so that a penalty keeps its meaning.
        return learner.fit(
            self.questions,
            question_weight=np.asarray(draw, dtype=np.float64) * (len(draw) / draw.sum()),
            **evaluation,
        )


class NamedUnit(NamedTuple):
    """A unit that the parameter ``unit`` can name."""

    make: Callable[[_Given], BoostingUnit]
    is_whole: bool = True
    """Whether all tokens of an answer have one weight, so that learners may cut answers differently."""
    needs_options: bool = False


UNITS = {
    "token": NamedUnit(_TokenUnit, is_whole=False),
    "sample": NamedUnit(_SampleUnit),
    "sample-mean": NamedUnit(lambda given: _SampleUnit(given, by_share=True)),
    "option": NamedUnit(_OptionUnit, needs_options=True),
}
