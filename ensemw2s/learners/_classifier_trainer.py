"""`transformers.Trainer` for texts with classes, one weight per text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ensemw2s._launch.processes import current_launch
from ensemw2s._training.evaluation import Evaluation
from ensemw2s._training.trainer import WeightedTrainer, fill_rows, run_training
from ensemw2s.learners._heads import Head
from ensemw2s.learners.losses import StudentLoss

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class _Collator:
    def __init__(self, head: Head, ids: list[list[int]], targets: np.ndarray, row_weight: np.ndarray) -> None:
        self.head, self.ids = head, ids
        self.targets = torch.from_numpy(targets).float()
        self.row_weight = torch.from_numpy(row_weight).float()

    def __call__(self, rows: list[int]) -> dict[str, torch.Tensor]:
        chosen, is_real = fill_rows(rows)
        batch = self.head.pad([self.ids[row] for row in chosen])
        weight = self.row_weight[chosen] * torch.from_numpy(is_real)
        return {**batch, "targets": self.targets[chosen], "row_weight": weight}


class _ClassifierTrainer(WeightedTrainer):
    def __init__(self, *args: Any, head: Head, loss: StudentLoss, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.head, self.student_loss = head, loss
        self.running_loss: Any = None

    def weighted_loss(
        self, model: PreTrainedModel, inputs: dict[str, torch.Tensor]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        if self.running_loss is None:
            self.running_loss = self.student_loss.start(self.state.max_steps)
        targets, weight = inputs.pop("targets"), inputs.pop("row_weight")  # (B, K), (B,)
        logits = self.head.logits(model, inputs)  # (B, K)
        losses = self.running_loss(logits, targets, self.state.global_step)  # (B,)
        return (losses * weight).sum(), logits

    def evaluated_loss(self, model: PreTrainedModel, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        """Weighted sum of the cross-entropy."""
        targets, weight = inputs.pop("targets"), inputs.pop("row_weight")
        logits = self.head.logits(model, inputs).float()
        return (torch.nn.functional.cross_entropy(logits, targets, reduction="none") * weight).sum()


def train_classifier(
    model: PreTrainedModel,
    head: Head,
    ids: list[list[int]],
    targets: np.ndarray,
    row_weight: np.ndarray,
    *,
    loss: StudentLoss,
    evaluated: tuple[list[list[int]], np.ndarray] | None = None,
    eval_batch_size: int = 64,
    **settings: Any,
) -> list[dict[str, float]]:
    r"""Minimise :math:`\sum_i w_i \ell_i / \sum_i w_i` over the rows.

    Rows without a positive weight are left out of the epoch.

    Parameters
    ----------
    model : transformers.PreTrainedModel or peft.PeftModel
        Trained in place.
    head : Head
        Reads class logits off the model.
    ids : list of list of int
        Tokens of each row.
    targets : ndarray of shape (n, K)
        Class probabilities of each row.
    row_weight : ndarray of shape (n,)
        Weight of each row, not negative.
    loss : StudentLoss
        What is minimised.
    evaluated : tuple of list of list of int and ndarray, optional
        Tokens and targets of rows that are evaluated on, all alike, in batches of `eval_batch_size`.
    **settings
        As in `run_training`.

    Returns
    -------
    list of dict
        Trainer's log.

    Raises
    ------
    WeakLearnerError
        If the loss is not finite.
    """
    rows = np.flatnonzero(row_weight > 0)
    evaluation = None
    if evaluated is not None:
        n = len(evaluated[0])
        lengths = np.array([len(row) for row in evaluated[0]])
        evaluation = Evaluation(_Collator(head, *evaluated, np.ones(n)), lengths, n, eval_batch_size)
    return run_training(
        _ClassifierTrainer, model, rows, _Collator(head, ids, targets, row_weight),
        lengths=np.array([len(ids[row]) for row in rows]), total_weight=float(row_weight.sum()),
        head=head, loss=loss, evaluation=evaluation, **settings,
    )  # fmt: skip


def class_logits(model: PreTrainedModel, head: Head, ids: list[list[int]], batch_size: int) -> np.ndarray:
    """Logits of the classes, float64 of shape (n, K), in batches of rows of like length."""
    order = np.argsort([-len(row) for row in ids], kind="stable")  # longest first: too large a batch shows at once
    logits = np.empty((len(ids), head.n_classes))
    launch = current_launch(model.device.type)
    with launch.no_grad():
        for start in range(0, len(order), batch_size):
            rows = order[start : start + batch_size]
            batch = {name: tensor.to(model.device) for name, tensor in head.pad([ids[row] for row in rows]).items()}
            logits[rows] = launch.tensor_from_first(head.logits(model, batch)).double().cpu().numpy()
    return logits
