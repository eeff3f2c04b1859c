"""`transformers.Trainer` for an adapter below a linear score of options, one weight per question."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from ensemw2s._forward.hidden_features import EncodedQuestion, FeaturePart, option_states
from ensemw2s._forward.trees import longest_tree
from ensemw2s._training.evaluation import Evaluation
from ensemw2s._training.trainer import WeightedTrainer, fill_rows, run_training

# Adam's steps do not depend on how large a gradient is: a score of this many times the head's output learns as fast as
# one with a learning rate that is as many times larger. The head starts from nothing, the adapter from a good model.
_HEAD_SCALE = 4.0


class _Collator:
    def __init__(self, questions: Sequence[EncodedQuestion], targets: Sequence[np.ndarray], weight: np.ndarray) -> None:
        self.questions, self.targets, self.weight = questions, targets, weight

    def __call__(self, rows: list[int]) -> dict[str, Any]:
        chosen, is_real = fill_rows(rows)
        return {
            "questions": [self.questions[row] for row in chosen],
            "targets": torch.from_numpy(np.concatenate([self.targets[row] for row in chosen])).float(),
            "weight": torch.from_numpy(np.where(is_real, self.weight[chosen], 0.0)).float(),
        }


class _OptionTrainer(WeightedTrainer):
    def __init__(self, *args: Any, parts: Sequence[FeaturePart], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.parts = parts

    def weighted_loss(self, model: Any, inputs: dict[str, Any]) -> tuple[torch.Tensor, torch.Tensor]:
        questions, weight = inputs["questions"], inputs["weight"]
        states = option_states(model, questions, self.parts)  # (n_options, F)
        scores = _HEAD_SCALE * model.option_head(states.float())[:, 0]
        sizes = [len(options) for _, options in questions]
        several = zip(scores.split(sizes), inputs["targets"].split(sizes), strict=True)
        losses = torch.stack([row.logsumexp(0) - row @ target for row, target in several])
        return (losses * weight).sum(), scores

    def floating_point_ops(self, inputs: dict[str, Any]) -> int:
        """Not counted: Trainer looks for padded rows, and would warn that it finds none."""
        return 0


def train_options(
    model: Any,
    questions: Sequence[EncodedQuestion],
    targets: Sequence[np.ndarray],
    weight: np.ndarray,
    parts: Sequence[FeaturePart],
    *,
    evaluated: tuple[Sequence[EncodedQuestion], Sequence[np.ndarray]] | None = None,
    **settings: Any,
) -> tuple[np.ndarray, list[dict[str, float]]]:
    """Minimise the weighted cross-entropy of the softmax over the options of a question.

    Parameters
    ----------
    model : peft.PeftModel
        With a fresh adapter, which is trained in place, and a linear score of hidden states beside it.
    questions : sequence of EncodedQuestion
        What is trained on.
    targets : sequence of ndarray
        Of each question the probabilities that its options should have; 1 and zeros where one is right.
    weight : ndarray of shape (n,)
        Of the questions; those without weight are left out of the epoch.
    parts : sequence of FeaturePart
        The hidden states.
    evaluated : tuple of sequence of EncodedQuestion and sequence of ndarray, optional
        Questions that are evaluated on, all alike, and their targets.
    **settings
        As in `run_training`.

    Returns
    -------
    coef : ndarray of shape (F,), float64
        Of the score.
    history : list of dict
        Trainer's log.

    Raises
    ------
    WeakLearnerError
        If the loss is not finite.
    """
    rows = np.flatnonzero(weight > 0)
    n_states = model.get_base_model().config.get_text_config().hidden_size
    longest_tree(model)  # tried out now, while no dropout is on
    evaluation = None
    if evaluated is not None:
        n = len(evaluated[1])
        evaluation = Evaluation(_Collator(*evaluated, np.ones(n)), _lengths(evaluated[0]), n, settings["batch_size"])
    head = torch.nn.Linear(n_states * len(parts), 1, bias=False).to(model.device)
    torch.nn.init.zeros_(head.weight)
    model.add_module("option_head", head)
    try:
        history = run_training(
            _OptionTrainer, model, rows, _Collator(questions, targets, weight * (len(weight) / weight.sum())),
            lengths=_lengths(questions)[rows], total_weight=float(len(weight)), parts=parts, evaluation=evaluation,
            **settings,
        )  # fmt: skip
    finally:
        del model.option_head  # other members share the base
    return _HEAD_SCALE * head.weight.detach()[0].double().cpu().numpy(), history


def _lengths(questions: Sequence[EncodedQuestion]) -> np.ndarray:
    return np.array([len(prompt) + sum(map(len, options)) for prompt, options in questions])
