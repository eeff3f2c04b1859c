"""What token boosting boosts: answer tokens, or larger units of them, under one or several language models."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from ensemw2s._inputs.questions import require_answers
from ensemw2s._inputs.usable_rows import UsableRows
from ensemw2s.boosting import draw_tokens, weighted_error
from ensemw2s.contracts import WeakLearner
from ensemw2s.ensemble._boosting_loop import Trained
from ensemw2s.ensemble._checkpoint import Checkpoint
from ensemw2s.ensemble._settings import set_seeds
from ensemw2s.ensemble._units import BoostingUnit
from ensemw2s.ensemble._weak_learners import as_token_learner
from ensemw2s.exceptions import WeakLearnerError
from ensemw2s.learners import base_digest
from ensemw2s.storage import row_digests

logger = logging.getLogger("ensemw2s")


class TokenProblem:
    """The weak learners of one fit, and what each makes of the data, see `BoostingProblem`.

    Parameters
    ----------
    booster : TokenAdaBoostGenerator
        Its weak learners count, and the parameters ``pick``, ``prior`` and ``sampling``.
    untrained : list of TokenLearner
        Initialised, K of them.
    units : list of BoostingUnit
        From `make_units`.
    usable : UsableRows
        The questions with their answers.
    sample_weight : array-like of shape (n,), optional
        Weights of the usable rows, as they were given.

    Attributes
    ----------
    units : list of BoostingUnit
        One for each weak learner.
    untrained_errors : ndarray of shape (K, n_units)
        Error of each unit under each untrained learner, once it has been started.
    pretrained_errors : ndarray of shape (K,)
        Errors of the untrained learners under the initial weights, likewise.
    """

    first_perfect_vote = None
    # A learner that repeats the last round's mistakes has e = p exactly, up to rounding: it has no vote.
    tolerance = 1e-12
    rng = None

    def __init__(
        self,
        booster: Any,
        untrained: list[WeakLearner],
        units: list[BoostingUnit],
        usable: UsableRows,
        sample_weight: Any,
    ) -> None:
        self._booster, self._untrained, self.units = booster, untrained, units
        self._usable, self._sample_weight = usable, sample_weight
        self.n_units = units[0].n_units

    def learners(self) -> list[WeakLearner]:
        return list(self._booster._base_estimators())

    def start(self, random_state: np.random.RandomState, checkpoint: Checkpoint, weight: np.ndarray) -> None:
        self.untrained_errors = np.atleast_2d(checkpoint.once("untrained_errors", self._untrained_errors))
        self.pretrained_errors = np.array([weighted_error(row, weight) for row in self.untrained_errors])
        if self._booster.reweight and PRIORS[self._booster.prior].is_measured:
            self._check_prior(float(self.pretrained_errors.max()))
        self._seed = int(random_state.randint(2**31 - 1))

    def weight_of_round(self, weight: np.ndarray) -> np.ndarray:
        return weight

    def prior(self, weight: np.ndarray) -> float:
        # That of the weakest of the untrained learners. One for all, or the vote of a member would depend on which base
        # it comes from: the base that knows less before training would have more of a vote for the same error after it.
        return PRIORS[self._booster.prior].error(self, weight)

    def train(self, weight: np.ndarray, t: int) -> Trained:
        draw: np.ndarray | None = None
        best: tuple[float, Trained] | None = None
        failures = []
        for pick in PICKS[self._booster.pick](t, len(self.units)):
            # A round depends on the seed and its number alone: those before it may have been read from a checkpoint.
            rng = np.random.RandomState(np.random.SeedSequence([self._seed, t]).generate_state(4))
            unit, learner = self.units[pick], as_token_learner(self._booster._given()[pick])
            set_seeds(learner, rng)
            if draw is None:  # one for all: they are to differ in what they are
                draw = draw_tokens(weight, sampling=self._booster.sampling, random_state=rng)
            try:
                learner = unit.fit(learner, draw)
                trained = Trained(learner, unit.errors(learner), pick)
            except WeakLearnerError as failure:
                failures.append(failure)
                continue
            error = weighted_error(trained.errors, weight)
            if best is None or error < best[0]:
                best = error, trained
        if best is None:  # of several, all have diverged
            raise failures[0]
        for each in failures:
            logger.warning("round %d goes on without a weak learner that failed: %s", t + 1, each)
        return best[1]

    def first_failure(self, trained: Trained, error: float, prior: float) -> str:
        return (
            f"The first weak learner's weighted error, {error:.4f}, is not below the prior error, {prior:.4f} "
            f"(prior={self._booster.prior!r}). Train it longer (epochs), raise its lr, or try another sampling or "
            f"prior."
        )

    def later_failure(self, trained: Trained, error: float, prior: float) -> str:
        return ""  # the ordinary end of token boosting: learners are trained on what the last ones have missed

    def row_digests(self) -> Mapping[str, np.ndarray]:
        # Also of what the tokenizers made of the rows.
        questions = self._usable.X
        columns: dict[str, Any] = {"X": questions.prompts, "y": require_answers(questions)}
        if questions.choices is not None:
            columns["choices"] = questions.choices
        if self._sample_weight is not None:
            columns["sample_weight"] = np.asarray(self._sample_weight, dtype=np.float64)
        for place, unit in enumerate(self.units):
            if unit.tokens is not None and not any(unit is other for other in self.units[:place]):
                name = f"tokens of estimators[{place}]" if place else "tokens"
                columns[name] = [[ids.tolist() for ids in unit.tokens.row_ids(row)] for row in range(len(unit.tokens))]
        return self._usable.in_place({name: row_digests(column) for name, column in columns.items()})

    def base_digests(self) -> Any:
        digests = [base_digest(learner) for learner in self._untrained]
        return digests[0] if len(digests) == 1 else digests

    def _untrained_errors(self) -> np.ndarray:
        return np.stack(
            [unit.untrained_errors(learner) for unit, learner in zip(self.units, self._untrained, strict=True)]
        )

    def _check_prior(self, prior: float) -> None:
        """Raise a WeakLearnerError where no vote can be measured against the untrained model's error."""
        if prior <= 0:
            raise WeakLearnerError("The untrained model makes no error on these answers: there is nothing to boost.")
        if prior >= 1:
            raise WeakLearnerError(self.units[0].all_wrong)


class Prior(NamedTuple):
    """The error that a round must stay below."""

    error: Callable[[TokenProblem, np.ndarray], float]
    """Of a problem under the weights of the round."""
    is_measured: bool = True
    """Whether it is the untrained model's, which then must leave something to boost."""


def _reweighted_error(problem: TokenProblem, weight: np.ndarray) -> float:
    # Rounding can make this 0 or 1 in a late round, where the vote would be infinite.
    edge = np.finfo(np.float64).eps
    return float(np.clip(max(weighted_error(row, weight) for row in problem.untrained_errors), edge, 1.0 - edge))


# By the name that the parameter `prior` has.
PRIORS = {
    "pretrained": Prior(lambda problem, _: float(problem.pretrained_errors.max())),
    "reweighted": Prior(_reweighted_error),
    "uniform": Prior(lambda problem, _: max(unit.chance_error for unit in problem.units), is_measured=False),
}

# By the name that the parameter `pick` has: places of the weak learners that round t, counted from 0, trains.
PICKS: dict[str, Callable[[int, int], Sequence[int]]] = {
    "cycle": lambda t, n_learners: [t % n_learners],
    "best": lambda t, n_learners: range(n_learners),
}
