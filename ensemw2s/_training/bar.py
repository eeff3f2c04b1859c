"""The progress of `transformers.Trainer` as a bar that goes below others."""

from __future__ import annotations

import math
from contextlib import ExitStack
from typing import Any

from transformers import TrainerCallback

from ensemw2s._progress import progress_bar


class TrainingBar(TrainerCallback):
    """A bar over the steps of a training, with its epoch and the last loss.

    Parameters
    ----------
    bars : ExitStack
        Closes the bar, also when training fails, of which Trainer tells no callback.
    visible : bool
        False shows nothing.
    """

    def __init__(self, bars: ExitStack, *, visible: bool) -> None:
        self._bars, self._visible = bars, visible
        self._losses: dict[str, float] = {}

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Open the bar; the number of steps is known now."""
        self._bar = self._bars.enter_context(
            progress_bar(total=state.max_steps, desc="training", unit="step", visible=self._visible)
        )

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Name the epoch, from the next step on."""
        self._bar.set_postfix_str(self._place(state, int(state.epoch or 0) + 1), refresh=False)

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Count the step."""
        self._bar.update(state.global_step - self._bar.n)

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **_: Any) -> None:
        """Show the losses, those of an epoch unless the user logs or evaluates more often."""
        for name, said in (("loss", "loss"), ("eval_loss", "evaluation loss")):
            if logs and name in logs:
                self._losses[said] = float(logs[name])
        if logs and {"loss", "eval_loss"} & logs.keys():
            self._bar.set_postfix_str(self._place(state, math.ceil(state.epoch)))

    def _place(self, state: Any, epoch: int) -> str:
        losses = "".join(f", {name} {loss:.4g}" for name, loss in self._losses.items())
        return f"epoch {epoch}/{state.num_train_epochs}{losses}"
