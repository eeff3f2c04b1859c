"""`transformers.Trainer` with one weight per answer token."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Any, Protocol, TypeAlias

import numpy as np
import torch
from torch.nn.functional import cross_entropy

from ensemw2s._forward.output_head import logits_at
from ensemw2s._forward.ways_to_read import WayToRead, read_alone, way_to_read
from ensemw2s._training.evaluation import Evaluation
from ensemw2s._training.trainer import WeightedTrainer, fill_rows, run_training
from ensemw2s.tokens import TokenBatch, TokenDataset

TokenLoss: TypeAlias = Callable[[torch.Tensor, torch.Tensor, int], torch.Tensor]


class StudentTokenLoss(Protocol):
    """What is minimised over answer tokens, beside their negative log-likelihood."""

    def start_tokens(self, n_steps: int) -> TokenLoss:
        """Begin a training of `n_steps` optimiser steps."""
        ...


def token_nll(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Negative log-likelihood of each of R tokens, (R, V), (R,) -> (R,)."""
    return cross_entropy(logits, labels, reduction="none")


def _start_nll(n_steps: int) -> TokenLoss:
    return lambda logits, ids, step: token_nll(logits, ids)


class TokenTrainer(WeightedTrainer):
    """Trainer for weighted answer tokens; a subclass reads the rows.

    Parameters
    ----------
    loss : StudentTokenLoss, optional
        Gives the loss of each of R tokens, (R,), from their logits (R, V) and ids (R,), and the number of finished
        steps; their negative log-likelihood if None.
    """

    def __init__(self, *args: Any, loss: StudentTokenLoss | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.start_loss = _start_nll if loss is None else loss.start_tokens
        self.token_loss: TokenLoss | None = None

    @abstractmethod
    def answer_logits(self, model: Any, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        """Logits of the R answer tokens of a batch, row by row, (R, V)."""

    def weighted_loss(self, model: Any, inputs: dict[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        logits, cells = self.answer_logits(model, inputs), label_cells(inputs["labels"])
        if self.token_loss is None:  # the number of steps is known now
            self.token_loss = self.start_loss(self.state.max_steps)
        losses = self.token_loss(logits, inputs["labels"].flatten()[cells], self.state.global_step)  # (R,)
        return (losses * inputs["token_weight"].flatten()[cells]).sum(), logits

    def evaluated_loss(self, model: Any, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        """Weighted sum of the negative log-likelihood."""
        logits, cells = self.answer_logits(model, inputs), label_cells(inputs["labels"])
        losses = token_nll(logits, inputs["labels"].flatten()[cells])
        return (losses * inputs["token_weight"].flatten()[cells]).sum()


class _RowTrainer(TokenTrainer):
    def __init__(self, *args: Any, forward: Callable[..., torch.Tensor], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.forward = forward

    def answer_logits(self, model: Any, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        return self.forward(
            model, inputs["input_ids"], inputs["attention_mask"], inputs["position_ids"], inputs["labels"]
        )


class _Collator:
    def __init__(self, tokens: TokenDataset, token_weight: np.ndarray, pad_token_id: int) -> None:
        self.tokens, self.token_weight, self.pad_token_id = tokens, token_weight, pad_token_id

    def __call__(self, rows: list[int]) -> dict[str, torch.Tensor]:
        chosen, is_real = fill_rows(rows)
        batch = self.tokens.batch(chosen, pad_token_id=self.pad_token_id)
        weight = np.where(batch.is_answer, self.token_weight[batch.token_index], 0.0)  # (B, K)
        weight[~is_real] = 0.0
        return {
            "input_ids": torch.from_numpy(batch.input_ids),
            "attention_mask": torch.from_numpy(batch.attention_mask),
            "position_ids": torch.from_numpy(batch.position_ids),
            "labels": torch.from_numpy(batch.labels),
            "token_weight": torch.from_numpy(weight).float(),
        }


def forward_answers(
    model: Any, input_ids: torch.Tensor, attention_mask: torch.Tensor, position_ids: torch.Tensor, labels: torch.Tensor
) -> torch.Tensor:
    """Logits that predict the labels, (B, K) with -100 where there is none, of left-padded rows: float32, (R, V)."""
    return logits_at(
        model,
        label_cells(labels),
        labels.shape[1],
        input_ids=input_ids,
        attention_mask=attention_mask,
        position_ids=position_ids,
        use_cache=False,
    ).float()


def forward_by(way: WayToRead) -> Callable[..., torch.Tensor]:
    """`forward_answers`, or `forward_answers_alone` for batches that must be read so."""

    def forward(model: Any, input_ids: torch.Tensor, *rest: torch.Tensor) -> torch.Tensor:
        read = forward_answers_alone if way.apart(input_ids.shape[1]) else forward_answers
        return read(model, input_ids, *rest)

    return forward


def forward_answers_alone(
    model: Any, input_ids: torch.Tensor, attention_mask: torch.Tensor, _: torch.Tensor, labels: torch.Tensor
) -> torch.Tensor:
    """`forward_answers` for a model that must read each row without its padding."""
    n_last = labels.shape[1]
    picked = read_alone(model, input_ids, attention_mask, lambda row, logits: logits[-n_last:][labels[row] >= 0])
    return torch.cat(picked).float()


def label_cells(labels: torch.Tensor) -> torch.Tensor:
    """Places of the R labels among B * K, row by row."""
    return (labels >= 0).flatten().nonzero()[:, 0]


def batch_tensors(batch: TokenBatch, device: Any) -> list[torch.Tensor]:
    """What `forward_answers` takes of a batch, on a device."""
    arrays = (batch.input_ids, batch.attention_mask, batch.position_ids, batch.labels)
    return [torch.from_numpy(array).to(device) for array in arrays]


def train_weighted(
    model: Any,
    tokens: TokenDataset,
    token_weight: np.ndarray,
    *,
    pad_token_id: int,
    evaluated: TokenDataset | None = None,
    eval_batch_size: int = 64,
    **settings: Any,
) -> list[dict[str, float]]:
    r"""Minimise :math:`\sum_j w_j \ell_j / \sum_j w_j` over the answer tokens.

    Rows without a positive weight are left out of the epoch.

    Parameters
    ----------
    model : transformers.PreTrainedModel or peft.PeftModel
        Trained in place.
    tokens : TokenDataset
        What is trained on.
    token_weight : ndarray of shape (n_tokens,)
        Weight of each answer token.
    pad_token_id : int
        What fills the padding.
    evaluated : TokenDataset, optional
        What is evaluated on, in batches of `eval_batch_size` rows; each answer token counts alike.
    **settings
        As in `run_training`.

    Returns
    -------
    list of dict
        Trainer's log.

    Raises
    ------
    WeakLearnerError
        If the loss is not finite, or the model is not causal.
    """
    rows, weight = normalized_weight(tokens, token_weight)
    evaluation = evaluation_of(
        evaluated,
        eval_batch_size,
        lambda held, weight: _Collator(held, weight, pad_token_id),
        lambda held: held.lengths,
    )
    return run_training(
        _RowTrainer, model, rows, _Collator(tokens, weight, pad_token_id),
        lengths=tokens.lengths[rows], total_weight=float(len(weight)),
        forward=forward_by(way_to_read(model)), evaluation=evaluation, **settings,
    )  # fmt: skip


def evaluation_of(
    tokens: TokenDataset | None,
    batch_size: int,
    collate: Callable[[TokenDataset, np.ndarray], Any],
    lengths: Callable[[TokenDataset], np.ndarray],
) -> Evaluation | None:
    """An evaluation by answer tokens that count alike, whatever weights are trained by; None of None."""
    if tokens is None:
        return None
    return Evaluation(collate(tokens, np.ones(tokens.n_tokens)), lengths(tokens), float(tokens.n_tokens), batch_size)


def normalized_weight(tokens: TokenDataset, token_weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows with a positive weight, and the weights, of mean 1: only ratios matter, and D_t may underflow in float32."""
    return np.flatnonzero(tokens.sum_rows(token_weight) > 0), token_weight * (len(token_weight) / token_weight.sum())
