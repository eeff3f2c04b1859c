"""What both boosting loops keep of their rounds, and how they seed a learner."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

__all__ = ["Rounds", "seed_parameters"]


@dataclass
class Rounds:
    """Members kept so far, with their votes, weighted errors and the priors these stayed below."""

    estimators: list[Any] = field(default_factory=list)
    votes: list[float] = field(default_factory=list)
    errors: list[float] = field(default_factory=list)
    priors: list[float] = field(default_factory=list)
    stop_reason: str = "n_estimators"

    def keep(self, estimator: Any, vote: float, error: float, prior: float) -> None:
        """Add one member."""
        self.estimators.append(estimator)
        self.votes.append(vote)
        self.errors.append(error)
        self.priors.append(prior)


def seed_parameters(estimator: Any) -> list[str]:
    """Names of all parameters that take a seed, nested ones included, in the order in which scikit-learn sets them."""
    names = sorted(estimator.get_params(deep=True))
    return [name for name in names if name == "random_state" or name.endswith("__random_state")]
