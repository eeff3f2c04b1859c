"""The rounds that a booster has kept, and what ended them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np


class Round(NamedTuple):
    """A member that was kept."""

    estimator: Any
    vote: float
    error: float
    prior: float
    pick: int = 0
    """Which of the weak learners it is trained from."""
    opinion: np.ndarray | None = None
    """What it says of held-out rows, or a learner of its round that has not seen them; where votes are fitted by it."""


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

    def begin(self, weight: np.ndarray) -> None:
        """Begin with other weights: those of the units that are trained on, where some are held out."""
        self._kept = ((), weight)

    def __len__(self) -> int:
        return len(self.kept)

    @property
    def kept(self) -> tuple[Round, ...]:
        """The rounds with a member."""
        return self._kept[0]

    @property
    def weight(self) -> np.ndarray:
        """Weights of the units after the last of them."""
        return self._kept[1]

    def keep(self, member: Round, weight: np.ndarray) -> None:
        """Add one member, and the weights after it."""
        self._kept = ((*self.kept, member), weight)

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

    def summary(self) -> str:
        """The last round that was kept, and what ended them."""
        found = [f"error {each.error:.4f}, vote {each.vote:.4f}" for each in self.kept[-1:]]
        return ", ".join([*found, *([self.stop_reason] if self.ended else [])])
