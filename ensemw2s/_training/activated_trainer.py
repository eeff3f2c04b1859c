"""Training of an adapter that acts from the answer cue on: no gradient, and after the first epoch no forward pass, goes
through a prompt.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from peft.tuners.lora import LoraLayer
from transformers.pytorch_utils import Conv1D

from ensemw2s._forward.activated import CuedBatch, activated_answers, cut_at_cue
from ensemw2s._forward.prompts import PromptReader
from ensemw2s._training.token_trainer import TokenTrainer, evaluation_of, label_cells, normalized_weight
from ensemw2s._training.trainer import fill_rows, run_training
from ensemw2s.tokens import TokenDataset


class _Collator:
    def __init__(
        self, tokens: TokenDataset, token_weight: np.ndarray, pad_token_id: int, cue_ids: Sequence[int]
    ) -> None:
        self.tokens, self.token_weight, self.pad_token_id = tokens, token_weight, pad_token_id
        self.cue_ids = cue_ids

    def __call__(self, rows: list[int]) -> dict[str, Any]:
        chosen, is_real = fill_rows(rows)
        batch = self.tokens.batch(chosen, pad_token_id=self.pad_token_id)
        cued = cut_at_cue(batch, self.cue_ids)
        weight = np.where(batch.is_answer, self.token_weight[batch.token_index], 0.0)  # (B, K)
        weight[~is_real] = 0.0
        predicts = cued.predicts(batch.is_answer.sum(axis=1))  # (B, S)
        # Cut rows are right-padded and batches left-padded, but both masks list the same tokens row by row, in one
        # order: the k-th place that predicts belongs to the k-th answer token.
        labels, weights = np.full(predicts.shape, -100, dtype=np.int64), np.zeros(predicts.shape)
        labels[predicts], weights[predicts] = batch.labels[batch.is_answer], weight[batch.is_answer]
        lengths = np.array([len(prompt) for prompt in cued.prompts])
        return {
            # Prompts differ in length. Trainer moves tensors between devices, so they travel as one flat tensor with
            # lengths.
            "prompt_ids": torch.from_numpy(np.concatenate(cued.prompts)),
            "prompt_lengths": torch.from_numpy(lengths),
            "input_ids": torch.from_numpy(cued.input_ids),
            "attention_mask": torch.from_numpy(cued.attention_mask),
            "labels": torch.from_numpy(labels),
            "token_weight": torch.from_numpy(weights).float(),
        }


class _ActivatedTrainer(TokenTrainer):
    def __init__(self, *args: Any, prompts: PromptReader, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.prompts = prompts

    def answer_logits(self, model: Any, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        labels = inputs["labels"]  # (B, S)
        ends = inputs["prompt_lengths"].cumsum(dim=0)[:-1].cpu().numpy()
        batch = CuedBatch(
            np.split(inputs["prompt_ids"].cpu().numpy(), ends),
            inputs["input_ids"].cpu().numpy(),
            inputs["attention_mask"].cpu().numpy(),
        )
        # Not `model`, which may be spread over several devices: a cache of keys and values is on one.
        return activated_answers(self.model, self.prompts, batch, label_cells(labels), labels.shape[1])


def train_activated(
    model: Any,
    tokens: TokenDataset,
    token_weight: np.ndarray,
    *,
    prompts: PromptReader,
    cue_ids: Sequence[int],
    pad_token_id: int,
    evaluated: TokenDataset | None = None,
    eval_batch_size: int = 64,
    **settings: Any,
) -> list[dict[str, float]]:
    """`train_weighted` for an adapter that acts from the cue on.

    Parameters
    ----------
    model : peft.PeftModel
        Its adapter is trained in place.
    tokens, token_weight, pad_token_id, evaluated, eval_batch_size, **settings
        As in `train_weighted`.
    prompts : PromptReader
        Of the model's base.
    cue_ids : sequence of int
        What every prompt ends with.

    Returns
    -------
    list of dict
        Trainer's log.

    Raises
    ------
    ValueError
        If the model keeps no keys and values, its adapters are not on linear layers, it or `settings` ask for
        activation checkpointing, or a prompt lacks the cue.
    WeakLearnerError
        If the loss is not finite.
    """
    arguments = settings["training_args"]  # the first of these names is transformers' newer one
    checkpointing = arguments.get("activation_checkpointing") or arguments.get("gradient_checkpointing")
    if checkpointing or any(getattr(module, "gradient_checkpointing", False) for module in model.modules()):
        raise ValueError(
            "adapt must be 'all' with activation checkpointing, which forgets the prompt's keys and values. Got "
            "'answer' instead; it saves that memory anyway, since no gradient goes through a prompt."
        )
    _check_layers(model)
    prompts.check(model)
    rows, weight = normalized_weight(tokens, token_weight)
    evaluation = evaluation_of(
        evaluated, eval_batch_size, lambda held, weight: _Collator(held, weight, pad_token_id, cue_ids),
        lambda held: held.answer_lengths,
    )  # fmt: skip
    return run_training(
        _ActivatedTrainer, model, rows, _Collator(tokens, weight, pad_token_id, cue_ids),
        # Prompts cost next to nothing: rows whose answers are of like length share a batch.
        lengths=tokens.answer_lengths[rows], total_weight=float(len(weight)), prompts=prompts, evaluation=evaluation,
        **settings,
    )  # fmt: skip


def _check_layers(model: Any) -> None:
    """Refuse adapters for which PEFT has no activated LoRA, such as those of embeddings."""
    for name, module in model.named_modules():
        if isinstance(module, LoraLayer) and not isinstance(module.get_base_layer(), torch.nn.Linear | Conv1D):
            raise ValueError(
                f"adapt must be 'all' with adapters on other than linear layers. Got 'answer' instead, and "
                f"{name.removeprefix('base_model.model.')} among peft_config.target_modules."
            )
