"""Evaluation while training: which rows are held out for it, what is asked of it, and the best state."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ensemw2s._validation import check_bool, check_integer, check_open_unit, check_real, shorten

if TYPE_CHECKING:
    import torch

# Fields of `transformers.TrainingArguments` that act where there is something to evaluate on.
FIELDS = ("eval_strategy", "eval_steps", "eval_delay", "eval_on_start", "load_best_model_at_end")


class Evaluation(NamedTuple):
    """Rows that are evaluated on, and never trained on; each counts as the collator weighs it."""

    collator: Callable[[list[int]], dict[str, Any]]
    lengths: np.ndarray
    """Tokens of each row, (n,), so that rows of like length share a batch."""
    total_weight: float
    batch_size: int


def check_evaluation(learner: Any, eval_set: object) -> None:
    """Refuse what asks for an evaluation where there is nothing to evaluate on, before anything is loaded.

    Parameters
    ----------
    learner : estimator
        With ``validation_fraction``, ``training_args`` and ``callbacks``, of which the latter are in order.
    eval_set : object
        As passed to ``fit``.

    Raises
    ------
    TypeError, ValueError
        Names the parameter.
    """
    from transformers import EarlyStoppingCallback

    if eval_set is not None and learner.validation_fraction is not None:
        raise ValueError(
            f"validation_fraction must be None where eval_set is given. Got {learner.validation_fraction!r} beside it; "
            f"pass one of them."
        )
    if eval_set is not None or learner.validation_fraction is not None:
        return
    asked = [
        f"training_args[{name!r}]"
        for name in FIELDS
        if (learner.training_args or {}).get(name) not in (None, "no", False)
    ]
    asked += [
        "EarlyStoppingCallback" for each in learner.callbacks
        if (each if isinstance(each, type) else type(each)) is EarlyStoppingCallback
    ]  # fmt: skip
    if asked:
        raise ValueError(
            f"{asked[0]} needs rows to evaluate on. Got none; pass eval_set to fit, or validation_fraction to the "
            f"learner, such as validation_fraction=0.1."
        )


def check_evaluation_args(given: Mapping[str, Any]) -> None:
    """Raise where a field of `FIELDS` is out of range; `given` holds what is not None."""
    for name in ("eval_on_start", "load_best_model_at_end"):
        if name in given:
            check_bool(given[name], f"training_args[{name!r}]")
    strategy = getattr(given.get("eval_strategy"), "value", given.get("eval_strategy", "epoch"))
    if strategy not in ("no", "steps", "epoch"):
        raise ValueError(
            f"training_args['eval_strategy'] must be one of 'no', 'steps', 'epoch'. Got {shorten(strategy)} instead."
        )
    if "eval_steps" in given:
        if strategy != "steps":
            raise ValueError(
                f"training_args['eval_steps'] must come with eval_strategy='steps'; epochs are evaluated otherwise. "
                f"Got {given['eval_steps']!r} alone."
            )
        check_integer(given["eval_steps"], "training_args['eval_steps']", minimum=1)
    if "eval_delay" in given and check_real(given["eval_delay"], "training_args['eval_delay']") < 0:
        raise ValueError(f"training_args['eval_delay'] must be >= 0. Got {given['eval_delay']!r} instead.")
    if strategy == "no" and given.get("load_best_model_at_end"):
        raise ValueError(
            "training_args['load_best_model_at_end'] must be False with eval_strategy='no'. Got True instead."
        )


def check_validation_fraction(value: object) -> None:
    """Raise unless `value` is None or lies in (0, 1)."""
    if value is not None:
        check_open_unit(value, "validation_fraction")


def hold_out(
    weight: np.ndarray, keys: Sequence[Hashable], fraction: float | None, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Part the rows into those to train on and those to evaluate on.

    Rows with equal keys stay together: an evaluation by a question that is trained on would say nothing.

    Parameters
    ----------
    weight : ndarray of shape (n,)
        Of the rows; those without any are in neither part.
    keys : sequence of length n
        What makes rows equal.
    fraction : float in (0, 1) or None
        Share of the different rows to evaluate on; None holds nothing out.
    seed : int
        Of the draw, which takes nothing from other generators.

    Returns
    -------
    trained, evaluated : ndarray of int
        In ascending order.

    Raises
    ------
    ValueError
        If there are fewer than two different rows.
    """
    rows = np.flatnonzero(weight > 0)
    if fraction is None:
        return rows, rows[:0]
    numbers: dict[Hashable, int] = {}
    group = np.array([numbers.setdefault(keys[row], len(numbers)) for row in rows.tolist()])
    if len(numbers) < 2:
        raise ValueError(
            f"validation_fraction must be None where there are not two different rows with a weight, one to train on "
            f"and one to evaluate on. Got {fraction!r}."
        )
    n_held_out = min(max(round(fraction * len(numbers)), 1), len(numbers) - 1)
    chosen = np.random.RandomState(seed).permutation(len(numbers))[:n_held_out]
    is_held_out = np.isin(group, chosen)
    return rows[~is_held_out], rows[is_held_out]


class BestState:
    """Trained weights at the lowest loss so far, on the CPU.

    In memory and not in checkpoints of Trainer: with adapters they are few, and nothing has to be written and read.
    """

    def __init__(self) -> None:
        self.loss, self._weights = float("inf"), dict[str, "torch.Tensor"]()

    def offer(self, loss: float, parameters: Iterable[tuple[str, torch.Tensor]]) -> None:
        """Keep the weights if they are better than those before; of a tie, the earlier ones stay."""
        if loss < self.loss:
            self.loss = loss
            self._weights = {
                name: each.detach().to("cpu", copy=True) for name, each in parameters if each.requires_grad
            }

    def restore(self, parameters: Iterable[tuple[str, torch.Tensor]]) -> None:
        """Put them back, if any were kept."""
        for name, parameter in parameters:
            if name in self._weights:
                parameter.data.copy_(self._weights[name])
