"""What both boosting loops share: the rounds they keep, what ends them, and how they seed a learner."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np

from ensemw2s._progress import progress_bar
from ensemw2s._validation import check_bool, check_integer, check_option, check_positive, check_seed
from ensemw2s.boosting import estimator_weight
from ensemw2s.exceptions import EarlyStopWarning, WeakLearnerError

__all__ = ["Rounds", "Verdict", "check_loop_parameters", "check_prior_error", "seed_parameters", "vote_below_prior"]


class Verdict(NamedTuple):
    """What a round's error decides."""

    vote: float | None
    """The member's vote; None discards the member."""
    stop_reason: str = ""
    """Why no round follows; "" if one may."""


class Round(NamedTuple):
    """A member that was kept."""

    estimator: Any
    vote: float
    error: float
    prior: float
    pick: int = 0
    """Which of the weak learners it is trained from."""


class Rounds:
    """Members kept so far, with their votes, weighted errors and the priors these stayed below.

    Parameters
    ----------
    weight : ndarray of shape (n_units,)
        :math:`D_1`.
    """

    stop_reason: str = "n_estimators"
    ended: bool = False
    """Whether no round follows, however many are asked for."""
    warning: str = ""
    """What the user was told when the rounds ended."""

    def __init__(self, weight: np.ndarray) -> None:
        # One object, replaced in one step: Ctrl-C finds either all of a round or nothing of it.
        self._kept: tuple[tuple[Round, ...], np.ndarray] = ((), weight)

    def __len__(self) -> int:
        return len(self._kept[0])

    @property
    def estimators(self) -> list[Any]:
        """The members."""
        return [each.estimator for each in self._kept[0]]

    @property
    def votes(self) -> list[float]:
        """Their votes."""
        return [each.vote for each in self._kept[0]]

    @property
    def errors(self) -> list[float]:
        """Their weighted errors."""
        return [each.error for each in self._kept[0]]

    @property
    def priors(self) -> list[float]:
        """What each error stayed below."""
        return [each.prior for each in self._kept[0]]

    @property
    def picks(self) -> list[int]:
        """Which of the weak learners each is trained from."""
        return [each.pick for each in self._kept[0]]

    @property
    def weight(self) -> np.ndarray:
        """Weights of the units after the last of them."""
        return self._kept[1]

    def keep(self, estimator: Any, vote: float, error: float, prior: float, weight: np.ndarray, pick: int = 0) -> None:
        """Add one member, and the weights after it."""
        self._kept = ((*self._kept[0], Round(estimator, vote, error, prior, pick)), weight)

    def end(self, stop_reason: str, warning: str = "") -> None:
        """Let no round follow."""
        self.stop_reason, self.ended, self.warning = stop_reason, True, warning

    @contextmanager
    def finished_by(self, finish: Callable[[], None], booster: Any) -> Iterator[None]:
        """Let a function make the fitted attributes when the block has ended, or Ctrl-C has ended it.

        The KeyboardInterrupt is passed on, or what follows would run as if all rounds were there; it says what is kept.
        """
        try:
            yield
            finish()
        except KeyboardInterrupt as interrupt:
            n_kept, complete = len(self), self.ended or len(self) >= booster.n_estimators
            text = "Interrupted before the first round had ended: the booster is as it was before fit."
            if n_kept:
                self.stop_reason = self.stop_reason if complete else "interrupted"
                finish()
                again = "fit goes on from there when it is called again with the same data and parameters"
                if booster.checkpoint_dir is None:
                    again = "with a checkpoint_dir, fit could go on from there"
                kept = "round" if n_kept == 1 else f"{n_kept} rounds"
                where = f"Interrupted in round {n_kept + 1} of {booster.n_estimators}"
                text = f"{where}. The ensemble is fitted with the {kept} before it; {again}."
                if complete:
                    text = "Interrupted after the last round. The ensemble is complete."
            interrupt.args = (f"{interrupt} {text}".strip(),)
            raise

    def run(self, booster: Any, one_round: Callable[[int], None]) -> None:
        """Call a function with the number of each round that follows, from 0, until the rounds end.

        Parameters
        ----------
        booster : estimator
            Its ``n_estimators`` and ``verbose`` count, and ``reweight`` names the progress bar.
        one_round : callable
            Keeps a member, or ends the rounds.
        """
        name, total = "boosting" if booster.reweight else "bagging", booster.n_estimators
        with progress_bar(total=total, desc=name, unit="round", visible=booster.verbose, initial=len(self)) as bar:
            bar.set_postfix_str(self._last())
            for t in range(total if self.ended else len(self), total):
                one_round(t)
                bar.n = len(self)
                bar.set_postfix_str(self._last())
                if self.ended:
                    break

    def _last(self) -> str:
        """The last round that was kept, and what ended them."""
        found = [f"error {each.error:.4f}, vote {each.vote:.4f}" for each in self._kept[0][-1:]]
        return ", ".join([*found, *([self.stop_reason] if self.ended else [])])

    def stop_diverged(self, failure: WeakLearnerError) -> None:
        """End with the rounds before the one that failed; without any, the failure is the booster's."""
        n_kept = len(self)
        if n_kept == 0:
            raise failure
        warning = f"Round {n_kept + 1} was discarded: {failure} {kept_before(n_kept)}"
        warnings.warn(warning, EarlyStopWarning, stacklevel=6)
        self.end("diverged", warning)


def kept_before(n_rounds: int) -> str:
    """What a warning about a round says of those before it."""
    return "The round before it is kept." if n_rounds == 1 else f"The {n_rounds} rounds before it are kept."


def vote_below_prior(error: float, prior: float, *, n_units: int, learning_rate: float) -> Verdict:
    """Vote of a round whose error is below its prior; a round without any error is the last."""
    if error > 0:
        return Verdict(estimator_weight(error, prior, learning_rate=learning_rate))
    # e = 0 has no finite vote: half a unit wrong is the least that could have been seen.
    least = min(0.5 / n_units, prior / 2)
    return Verdict(estimator_weight(least, prior, learning_rate=learning_rate), "perfect_fit")


def check_prior_error(prior: float, all_wrong: str) -> None:
    """Raise a WeakLearnerError where no vote can be measured against the untrained model's error.

    `all_wrong` is what to say of an error of 1.
    """
    if prior <= 0:
        raise WeakLearnerError("The untrained model makes no error on these answers: there is nothing to boost.")
    if prior >= 1:
        raise WeakLearnerError(all_wrong)


def check_loop_parameters(booster: Any) -> None:
    """Raise a ValueError where a parameter that both boosters have is out of order."""
    check_integer(booster.n_estimators, "n_estimators", minimum=1)
    # Beyond it votes, or their sum, would be infinite or 0.
    check_positive(booster.learning_rate, "learning_rate", least=1e-100, most=1e100)
    check_bool(booster.reweight, "reweight")
    check_bool(booster.verbose, "verbose")
    check_option(booster.on_failure, "on_failure", ("raise", "keep"))
    check_seed(booster.random_state, "random_state")


def seed_parameters(estimator: Any) -> list[str]:
    """Names of all parameters that take a seed, nested ones included, in the order in which scikit-learn sets them."""
    names = sorted(estimator.get_params(deep=True))
    return [name for name in names if name == "random_state" or name.endswith("__random_state")]
