"""`transformers.Trainer` with one weight per answer token."""

from __future__ import annotations

import tempfile
from typing import Any

import numpy as np
import torch
from torch.nn.functional import cross_entropy
from torch.utils.data import Dataset, Sampler
from transformers import PrinterCallback, Trainer, TrainingArguments
from transformers.trainer_pt_utils import LengthGroupedSampler

from ensemw2s.exceptions import WeakLearnerError
from ensemw2s.tokens import TokenBatch, TokenDataset

__all__ = ["batch_tensors", "forward_answers", "train_weighted"]


class _Rows(Dataset):
    """Row numbers; `_Collator` makes the batch, since padding depends on the neighbours."""

    def __init__(self, rows: np.ndarray) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> int:
        return int(self.rows[index])


class _Collator:
    def __init__(self, tokens: TokenDataset, token_weight: np.ndarray, pad_token_id: int) -> None:
        self.tokens, self.token_weight, self.pad_token_id = tokens, token_weight, pad_token_id

    def __call__(self, rows: list[int]) -> dict[str, torch.Tensor]:
        batch = self.tokens.batch(np.array(rows), pad_token_id=self.pad_token_id)
        weight = np.where(batch.token_index >= 0, self.token_weight[batch.token_index], 0.0)  # (B, K)
        return {
            "input_ids": torch.from_numpy(batch.input_ids),
            "attention_mask": torch.from_numpy(batch.attention_mask),
            "position_ids": torch.from_numpy(batch.position_ids),
            "labels": torch.from_numpy(batch.labels),
            "token_weight": torch.from_numpy(weight).float(),
        }


class _WeightedTrainer(Trainer):
    def __init__(self, *args: Any, lengths: list[int], mean_batch_weight: float, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.lengths, self.mean_batch_weight = lengths, mean_batch_weight
        # The loss below is normalised already; Trainer only has to average over accumulated batches.
        self.model_accepts_loss_kwargs = False

    def _get_train_sampler(self, train_dataset: Any = None) -> Sampler | None:
        generator = torch.Generator().manual_seed(self.args.seed)
        size = self.args.train_batch_size * self.args.gradient_accumulation_steps
        return LengthGroupedSampler(size, lengths=self.lengths, generator=generator)

    def compute_loss(self, model: Any, inputs: dict, return_outputs: bool = False, **_: Any) -> Any:
        labels, weight = inputs["labels"], inputs["token_weight"]  # (B, K)
        logits = forward_answers(
            model, inputs["input_ids"], inputs["attention_mask"], inputs["position_ids"], labels.shape[1]
        )
        nll = cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=-100, reduction="none")
        # A constant, not the batch's own weight: a batch of light tokens must pull less than one of heavy tokens.
        loss = (nll * weight.flatten()).sum() / self.mean_batch_weight
        if not torch.isfinite(loss):
            # Trainer would go on and log a finite value (logging_nan_inf_filter).
            raise WeakLearnerError(
                f"The training loss is {loss.item()} at step {self.state.global_step + 1}; "
                f"lower lr, or train in dtype='float32'."
            )
        return (loss, {"logits": logits}) if return_outputs else loss


def forward_answers(
    model: Any, input_ids: torch.Tensor, attention_mask: torch.Tensor, position_ids: torch.Tensor, n_last: int
) -> torch.Tensor:
    """Logits at the last positions of left-padded rows, float32 of shape (B, n_last, V)."""
    logits = model(
        input_ids=input_ids,
        attention_mask=attention_mask,
        position_ids=position_ids,
        logits_to_keep=n_last,
        use_cache=False,
    ).logits
    return logits[:, -n_last:].float()


def batch_tensors(batch: TokenBatch, device: Any) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """What a model reads of a batch, as tensors on a device."""
    arrays = (batch.input_ids, batch.attention_mask, batch.position_ids)
    ids, mask, positions = (torch.from_numpy(array).to(device) for array in arrays)
    return ids, mask, positions


def train_weighted(
    model: Any,
    tokens: TokenDataset,
    token_weight: np.ndarray,
    *,
    pad_token_id: int,
    lr: float,
    epochs: float,
    batch_size: int,
    seed: int,
    use_cpu: bool,
    verbose: bool,
    training_args: dict[str, Any],
    callbacks: list[Any],
) -> list[dict[str, float]]:
    r"""Minimise :math:`\sum_j w_j \ell_j / \sum_j w_j` over the answer tokens.

    Rows without a positive weight are left out of the epoch.

    Returns
    -------
    list of dict
        Trainer's log.

    Raises
    ------
    WeakLearnerError
        If the loss is not finite.
    """
    rows = np.flatnonzero(tokens.sum_rows(token_weight) > 0)
    with tempfile.TemporaryDirectory(prefix="ensemw2s-") as folder:
        settings: dict[str, Any] = {
            "output_dir": folder,
            "learning_rate": lr,
            "num_train_epochs": epochs,
            "per_device_train_batch_size": batch_size,
            "seed": seed,
            "use_cpu": use_cpu,
            "save_strategy": "no",
            "logging_strategy": "epoch",
            "report_to": "none",
            "disable_tqdm": not verbose,
            "dataloader_pin_memory": not use_cpu,
            **training_args,
            "remove_unused_columns": False,
        }
        arguments = TrainingArguments(**settings)
        trainer = _WeightedTrainer(
            model=model,
            args=arguments,
            train_dataset=_Rows(rows),
            data_collator=_Collator(tokens, token_weight, pad_token_id),
            callbacks=callbacks,
            lengths=tokens.lengths[rows].tolist(),
            mean_batch_weight=float(token_weight.sum()) / np.ceil(len(rows) / arguments.train_batch_size),
        )
        trainer.remove_callback(PrinterCallback)
        trainer.train()
        return list(trainer.state.log_history)
