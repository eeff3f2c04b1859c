"""What both boosting loops share: the rounds they keep, what ends them, and how they seed a learner."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from ensemw2s._validation import check_integer, check_option, check_real, shorten
from ensemw2s.boosting import estimator_weight
from ensemw2s.exceptions import EarlyStopWarning, WeakLearnerError

__all__ = ["Rounds", "Verdict", "check_loop_parameters", "check_prior_error", "seed_parameters", "vote_below_prior"]


class Verdict(NamedTuple):
    """What a round's error decides."""

    vote: float | None
    """The member's vote; None discards the member."""
    stop_reason: str = ""
    """Why no round follows; "" if one may."""


@dataclass
class Rounds:
    """Members kept so far, with their votes, weighted errors and the priors these stayed below."""

    estimators: list[Any] = field(default_factory=list)
    votes: list[float] = field(default_factory=list)
    errors: list[float] = field(default_factory=list)
    priors: list[float] = field(default_factory=list)
    stop_reason: str = "n_estimators"
    ended: bool = False
    """Whether no round follows, however many are asked for."""
    warning: str = ""
    """What the user was told when the rounds ended."""

    def keep(self, estimator: Any, vote: float, error: float, prior: float) -> None:
        """Add one member."""
        self.estimators.append(estimator)
        self.votes.append(vote)
        self.errors.append(error)
        self.priors.append(prior)

    def end(self, stop_reason: str, warning: str = "") -> None:
        """Let no round follow."""
        self.stop_reason, self.ended, self.warning = stop_reason, True, warning

    def to_come(self, n_estimators: int) -> range:
        """Numbers of the rounds that follow, from 0."""
        return range(n_estimators if self.ended else len(self.estimators), n_estimators)

    def stop_diverged(self, failure: WeakLearnerError) -> None:
        """End with the rounds before the one that failed; without any, the failure is the booster's."""
        n_kept = len(self.estimators)
        if n_kept == 0:
            raise failure
        warning = f"Round {n_kept + 1} was discarded: {failure} The {n_kept} rounds before it are kept."
        warnings.warn(warning, EarlyStopWarning, stacklevel=4)
        self.end("diverged", warning)


def vote_below_prior(error: float, prior: float, *, n_units: int, learning_rate: float) -> Verdict:
    """Vote of a round whose error is below its prior; a round without any error is the last."""
    if error > 0:
        return Verdict(estimator_weight(error, prior, learning_rate=learning_rate))
    # e = 0 has no finite vote: half a unit wrong is the least that could have been seen.
    least = min(0.5 / n_units, prior / 2)
    return Verdict(estimator_weight(least, prior, learning_rate=learning_rate), "perfect_fit")


def check_prior_error(prior: float) -> None:
    """Raise a WeakLearnerError where no vote can be measured against the untrained model's error."""
    if prior <= 0:
        raise WeakLearnerError("The untrained model makes no error on these answers: there is nothing to boost.")
    if prior >= 1:
        raise WeakLearnerError(
            "The untrained model is wrong on every answer token. Check that tokenizer, prompt_template and answers "
            "fit together; for a model that knows nothing yet, pass prior='uniform'."
        )


def check_loop_parameters(booster: Any) -> None:
    """Raise a ValueError where a parameter that both boosters have is out of order."""
    check_integer(booster.n_estimators, "n_estimators", minimum=1)
    if not check_real(booster.learning_rate, "learning_rate") > 0:
        raise ValueError(f"learning_rate must be > 0. Got {booster.learning_rate!r} instead.")
    if not isinstance(booster.reweight, bool | np.bool_):
        raise ValueError(f"reweight must be True or False. Got {shorten(booster.reweight)} instead.")
    check_option(booster.on_failure, "on_failure", ("raise", "keep"))


def seed_parameters(estimator: Any) -> list[str]:
    """Names of all parameters that take a seed, nested ones included, in the order in which scikit-learn sets them."""
    names = sorted(estimator.get_params(deep=True))
    return [name for name in names if name == "random_state" or name.endswith("__random_state")]
