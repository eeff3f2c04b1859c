"""The loop of both boosters (EnsemW2S, Algorithms 1 and 2): draw, train, measure, stop or vote, reweight, commit.

What is boosted, answer tokens or rows with labels, is a `BoostingProblem`. The loop knows units, each with a weight and
an error, and nothing else of the data.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol

import numpy as np
from sklearn.utils import check_random_state

from ensemw2s._launch.modes import own_modes
from ensemw2s._progress import progress_bar
from ensemw2s.boosting import estimator_weight, weighted_error
from ensemw2s.boosting import reweight as updated_weight
from ensemw2s.ensemble._checkpoint import Checkpoint, open_checkpoint
from ensemw2s.ensemble._held_out import VOTES
from ensemw2s.ensemble._rounds import Round, Rounds
from ensemw2s.exceptions import EarlyStopWarning, WeakLearnerError

logger = logging.getLogger("ensemw2s")


class Trained(NamedTuple):
    """What a round has trained."""

    estimator: Any
    errors: np.ndarray
    """Its error on every unit, also on those that were not drawn, in [0, 1], of shape (n_units,); with held-out errors
    that of learners which have not seen the unit."""
    pick: int = 0
    """Place of the weak learner that it was trained from."""
    predicted: np.ndarray | None = None
    """Its answers, where a failure names them."""
    opinion: np.ndarray | None = None
    """What is said of held-out rows, for `BoostingProblem.fitted_votes`."""


class BoostingProblem(Protocol):
    """What one `fit` boosts: data, weak learners, and the error that they have to stay below."""

    @property
    def n_units(self) -> int:
        """How many units have a weight: 1 / (2 n_units) stands for an error of 0, whose vote would be infinite."""
        ...

    @property
    def first_perfect_vote(self) -> float | None:
        """Vote of a first member without any error; None where it is that of later ones."""
        ...

    @property
    def tolerance(self) -> float:
        """Relative distance to the prior at which an error is no better."""
        ...

    @property
    def rng(self) -> np.random.RandomState | None:
        """What the rounds draw from one after the other; None where the seed of a round follows from its number."""
        ...

    def learners(self) -> list[Any]:
        """Clones of the weak learners."""
        ...

    def row_digests(self) -> Mapping[str, np.ndarray]:
        """A hash for each row of each column of the data, for a checkpoint to be compared with."""
        ...

    def base_digests(self) -> Any:
        """Hash of the weights of the base model, or a list of several, if something is computed with them at first."""
        ...

    @property
    def held_out_rows(self) -> np.ndarray:
        """Numbers of the held-out rows in what `fit` was given, once it has been started; empty if there are none."""
        ...

    def start(self, random_state: np.random.RandomState, checkpoint: Checkpoint, weight: np.ndarray) -> np.ndarray:
        """Take the seed, hold out, and measure what is measured once; gives :math:`D_1` of what is trained on."""
        ...

    def fitted_votes(self, opinions: np.ndarray) -> np.ndarray:
        """Votes of least log loss on the held-out rows, from the opinions of all members."""
        ...

    def weight_of_round(self, weight: np.ndarray) -> np.ndarray:
        """:math:`D_t` from what the round before has left."""
        ...

    def prior(self, weight: np.ndarray) -> float:
        """The error that a round must stay below."""
        ...

    def train(self, weight: np.ndarray, t: int) -> Trained:
        """Train a weak learner by :math:`D_t`, in round `t`, counted from 0; a WeakLearnerError if that diverges."""
        ...

    def first_failure(self, trained: Trained, error: float, prior: float) -> str:
        """A sentence on a first member that is no better than the prior, and what to do about it."""
        ...

    def later_failure(self, trained: Trained, error: float, prior: float) -> str:
        """Why a later one is discarded, after a colon; "" where nobody needs to be told."""
        ...


def fit_rounds(booster: Any, problem: BoostingProblem, rounds: Rounds, finish: Callable[[], None]) -> None:
    """Go on after the rounds of the checkpoint, if there are any, until the rounds end.

    Parameters
    ----------
    booster : estimator
        With the parameters that both boosters have, in range.
    problem : BoostingProblem
    rounds : Rounds
        With :math:`D_1` of all units, and without a member.
    finish : callable
        Makes the fitted attributes that are not those of every booster; called also if Ctrl-C ends the rounds.
    """

    def set_fitted() -> None:
        members, alphas, errors, priors, _, opinions = zip(*rounds.kept, strict=True)

        def fitted_votes() -> np.ndarray:
            return problem.fitted_votes(np.stack(opinions)) if len(members) > 1 else np.ones(1)

        booster.alphas_ = np.array(alphas)
        booster.estimator_weights_ = VOTES[booster.votes](booster.alphas_, fitted_votes)
        booster.estimators_, booster.held_out_rows_ = list(members), problem.held_out_rows
        booster.estimator_errors_, booster.prior_errors_ = np.array(errors), np.array(priors)
        booster.stop_reason_ = rounds.stop_reason
        finish()

    with own_modes(), rounds.finished_by(set_fitted, booster), open_checkpoint(booster) as checkpoint:
        learners = problem.learners()
        random_state = checkpoint.begin(booster, learners, problem.row_digests, problem.base_digests)
        rounds.begin(problem.start(check_random_state(random_state), checkpoint, rounds.weight))
        checkpoint.resume(rounds, learners, booster.n_estimators, problem.rng)
        run_rounds(booster, problem, rounds, checkpoint)


def run_rounds(booster: Any, problem: BoostingProblem, rounds: Rounds, checkpoint: Checkpoint) -> None:
    """Run the rounds that follow on those that are kept, and commit each."""
    name, total = "boosting" if booster.reweight else "bagging", booster.n_estimators
    with progress_bar(total=total, desc=name, unit="round", visible=booster.verbose, initial=len(rounds)) as bar:
        bar.set_postfix_str(rounds.summary())
        for t in range(total if rounds.ended else len(rounds), total):
            kept = _one_round(booster, problem, rounds, t)
            checkpoint.commit(rounds, problem.rng, kept=kept)
            bar.n = len(rounds)
            bar.set_postfix_str(rounds.summary())
            if rounds.ended:
                break
    if rounds.warning:  # also where the checkpoint holds the last round: who asks for the ensemble is told how it ended
        warnings.warn(rounds.warning, EarlyStopWarning, stacklevel=4)


def no_better(error: float, prior: float, tolerance: float) -> bool:
    """Whether a member has no vote, having learned nothing that the prior does not know."""
    return error >= prior * (1 - tolerance)


def _one_round(booster: Any, problem: BoostingProblem, rounds: Rounds, t: int) -> bool:
    """Keep a member or end the rounds, or both; gives whether one was kept."""
    weight = problem.weight_of_round(rounds.weight)
    prior = problem.prior(weight)
    try:
        trained = problem.train(weight, t)
    except WeakLearnerError as failure:
        if t == 0:
            raise  # without a member the failure is the booster's
        rounds.end("diverged", f"Round {t + 1} was discarded: {failure} {_kept_before(t)}")
        return False
    error = weighted_error(trained.errors, weight)
    vote = _vote(booster, problem, rounds, trained, error, prior)
    if vote is None:
        return False
    if booster.reweight and not rounds.ended:
        weight = updated_weight(weight, trained.errors, vote)
    rounds.keep(Round(trained.estimator, vote, error, prior, trained.pick, trained.opinion), weight)
    logger.info("round %d: error %.4f, prior %.4f, vote %.4f", t + 1, error, prior, vote)
    return True


def _vote(
    booster: Any, problem: BoostingProblem, rounds: Rounds, trained: Trained, error: float, prior: float
) -> float | None:
    """The member's vote, None if it is discarded; ends the rounds where none may follow."""
    if not booster.reweight:
        return 1.0
    if no_better(error, prior, problem.tolerance):
        return _vote_of_failure(booster, problem, rounds, trained, error, prior)
    if error == 0.0:
        rounds.end("perfect_fit")  # no unit is left to gain weight
        if len(rounds) == 0 and problem.first_perfect_vote is not None:
            return problem.first_perfect_vote
        # Half a unit wrong is the least that could have been seen.
        error = min(0.5 / problem.n_units, prior / 2)
    return estimator_weight(error, prior, learning_rate=booster.learning_rate)


def _vote_of_failure(
    booster: Any, problem: BoostingProblem, rounds: Rounds, trained: Trained, error: float, prior: float
) -> float | None:
    """End with the rounds before one no better than the prior; the first is refused, or kept with vote 1."""
    t = len(rounds)
    if t > 0:
        found = problem.later_failure(trained, error, prior)
        rounds.end("error_above_prior", f"Round {t + 1} was discarded: {found}. {_kept_before(t)}" if found else "")
        return None
    found = problem.first_failure(trained, error, prior)
    if booster.on_failure == "raise":
        raise WeakLearnerError(f"{found} on_failure='keep' keeps it as a single member.")
    rounds.end("error_above_prior", f"{found} It is kept as a single member with vote 1.")
    return 1.0


def _kept_before(n_rounds: int) -> str:
    return "The round before it is kept." if n_rounds == 1 else f"The {n_rounds} rounds before it are kept."
