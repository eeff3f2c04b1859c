"""`transformers.Trainer` for a weighted mean of losses, whatever the rows are."""

from __future__ import annotations

import copy
import math
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler
from transformers import EarlyStoppingCallback, PrinterCallback, Trainer, TrainerControl, TrainingArguments
from transformers.trainer_pt_utils import LengthGroupedSampler

from ensemw2s._launch.processes import Launch, current_launch, local_part
from ensemw2s._training.arguments import refuse_idle
from ensemw2s._training.bar import TrainingBar
from ensemw2s._training.evaluation import BestState, Evaluation
from ensemw2s._training.interrupts import Interrupts
from ensemw2s._training.reports import reporting
from ensemw2s._training.switches import own_switches
from ensemw2s.exceptions import WeakLearnerError
from ensemw2s.storage import temporary_folder

_ABSENT = object()
FILLER = -1  # stands for a row without weight, at the end of an epoch


class _Rows(Dataset):
    """Row numbers; a collator makes the batch, since padding depends on the neighbours."""

    def __init__(self, rows: np.ndarray) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> int:
        # A filler is no index. It is passed on to the collator, which gives the row no weight.
        return FILLER if index == FILLER else int(self.rows[index])


class _FilledSampler(Sampler):
    """Another sampler's order, with fillers up to a multiple: every process gets as many rows as the others."""

    def __init__(self, sampler: Any, multiple: int) -> None:
        self.sampler, self.n_fillers = sampler, -len(sampler) % multiple

    def __len__(self) -> int:
        return len(self.sampler) + self.n_fillers

    def __iter__(self) -> Iterator[int]:
        yield from self.sampler
        yield from [FILLER] * self.n_fillers


class WeightedTrainer(Trainer, ABC):
    """Trainer for a weighted mean of losses; a subclass says what a batch contributes."""

    def __init__(
        self,
        *args: Any,
        lengths: list[int],
        total_weight: float,
        launch: Launch,
        interrupts: Interrupts,
        evaluation: Evaluation | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.evaluation, self.best = evaluation, BestState()
        self.lengths, self.total_weight, self.launch, self.interrupts = lengths, total_weight, launch, interrupts
        self.mean_step_weight = total_weight  # of all rows that an optimiser step sees
        # The loss below is normalised already; Trainer divides it by the number of accumulated batches.
        self.model_accepts_loss_kwargs = False

    @abstractmethod
    def weighted_loss(self, model: Any, inputs: dict[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        """Weighted sum of a batch's losses, and its logits."""

    def evaluated_loss(self, model: Any, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        """Weighted sum of a batch's losses, as an evaluation counts them: the cross-entropy.

        It does not depend on the step or on what else is minimised, so that any two evaluations can be compared.
        """
        return self.weighted_loss(model, inputs)[0]

    def evaluate(self, *_: Any, **__: Any) -> dict[str, float]:
        """Trainer's, for a mean over the rows by their weights instead of a mean over batches.

        Without a data loader, whose start would draw from torch's generator: a training that is evaluated goes through
        the same numbers as one that is not. Each process reads all rows, as shards of a base require.
        """
        found, interrupts = self.evaluation, self.interrupts
        if found is None:
            raise ValueError("A training must have rows to evaluate on. Got none; pass eval_set to fit.")
        if callable(getattr(self.optimizer, "eval", None)):
            self.optimizer.eval()  # as below; `training_step` switches it back
        was_training = self.model.training
        self.model.eval()
        total, order = 0.0, np.argsort(-found.lengths, kind="stable")
        try:
            # Not inference mode, whose tensors a cache could hand to a training step.
            with torch.no_grad(), self.compute_loss_context_manager():
                for start in range(0, len(order), found.batch_size):
                    interrupts.check()
                    batch = found.collator(order[start : start + found.batch_size].tolist())
                    total += float(self.evaluated_loss(self.model, self._prepare_inputs(batch)))
        finally:
            self.model.train(was_training)
        metrics = {"eval_loss": self.launch.from_first(total / found.total_weight)}
        if not math.isfinite(metrics["eval_loss"]):
            raise WeakLearnerError(
                f"The evaluation loss is {metrics['eval_loss']} at step {self.state.global_step}; "
                f"lower lr, or train in dtype='float32'."
            )
        if self.args.load_best_model_at_end:
            self.best.offer(metrics["eval_loss"], self.model.named_parameters())
        self.log(metrics)
        self.control: TrainerControl = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    def get_train_dataloader(self) -> DataLoader:
        """Trainer's batches, whose number says how much weight a step sees."""
        batches = super().get_train_dataloader()
        # `batches` are those of this process. All processes have as many, since each batch is shared out among them.
        self.mean_step_weight = self.total_weight / math.ceil(len(batches) / self.args.gradient_accumulation_steps)
        loader = getattr(batches, "base_dataloader", batches)  # accelerate's wraps another
        start = loader._get_iterator

        def start_without_interrupts() -> Any:
            with self.interrupts.postponed():
                return start()

        if self.args.dataloader_num_workers:
            loader._get_iterator = start_without_interrupts
        return batches

    def _get_train_sampler(self, train_dataset: Any = None) -> Sampler | None:
        generator = torch.Generator().manual_seed(self.args.seed)
        size = self.args.train_batch_size * self.launch.n_processes
        # The same order in all processes, and as with a single one.
        # Grouped over all batches that one optimiser step accumulates: they are of like length, too.
        grouped = LengthGroupedSampler(
            size * self.args.gradient_accumulation_steps, lengths=self.lengths, generator=generator
        )
        return grouped if self.launch.n_processes == 1 else _FilledSampler(grouped, size)

    def compute_loss(self, model: Any, inputs: dict, return_outputs: bool = False, **_: Any) -> Any:
        total, logits = self.weighted_loss(model, inputs)
        # A constant, not the step's own weight: light rows, or few in what is left at the end of an epoch, must pull
        # less than others. Gradients are averaged over the processes, each of which has seen its part of the batch, and
        # the loss is divided by the number of accumulated batches: hence both numbers.
        n_shares = self.launch.n_processes * self.current_gradient_accumulation_steps
        loss = total * (n_shares / self.mean_step_weight)
        return (loss, {"logits": logits}) if return_outputs else loss

    def training_step(self, model: Any, inputs: dict, num_items_in_batch: Any = None) -> torch.Tensor:
        self.interrupts.check()
        loss = super().training_step(model, inputs, num_items_in_batch)
        mean_loss = self.launch.mean(loss)
        if not torch.isfinite(mean_loss):
            # In all processes at once, or the others would wait for this one. Trainer would go on and log a finite
            # value (logging_nan_inf_filter).
            raise WeakLearnerError(
                f"The training loss is {mean_loss.item()} at step {self.state.global_step + 1}; "
                f"lower lr, or train in dtype='float32'."
            )
        if self.accelerator.sync_gradients:  # the last of the accumulated batches
            self.launch.average_gradients(model.parameters())
        return loss


def fill_rows(rows: list[int]) -> tuple[np.ndarray, np.ndarray]:
    """Row numbers with some row in place of the fillers, and which are none; both of shape (B,)."""
    numbers = np.array(rows)
    is_real = numbers != FILLER
    # Which row stands in does not matter, since its weight becomes 0; one of this batch pads nothing further.
    numbers[~is_real] = numbers[is_real][0] if is_real.any() else 0
    return numbers, is_real


def run_training(
    trainer_class: type[WeightedTrainer],
    model: Any,
    rows: np.ndarray,
    collator: Any,
    *,
    lengths: np.ndarray,
    total_weight: float,
    lr: float,
    epochs: float,
    batch_size: int,
    seed: int,
    use_cpu: bool,
    verbose: bool,
    training_args: dict[str, Any],
    callbacks: list[Any],
    evaluation: Evaluation | None = None,
    **trainer_kwargs: Any,
) -> list[dict[str, float]]:
    """Train on rows that `collator` turns into batches, and return Trainer's log.

    Parameters
    ----------
    trainer_class : type
        Its ``weighted_loss`` is minimised.
    model : transformers.PreTrainedModel or peft.PeftModel
        Trained in place.
    rows : ndarray of int, shape (n,)
        Row numbers.
    collator : callable
        Makes a batch of a list of row numbers.
    lengths : ndarray of shape (n,)
        Tokens per row, so that rows of like length share a batch.
    total_weight : float
        Sum of all weights.
    lr, epochs, batch_size, seed, use_cpu, verbose, training_args, callbacks
        Settings of `transformers.TrainingArguments`. A batch is shared out among the processes of a launch.
    evaluation : Evaluation, optional
        What is evaluated on, after each epoch unless ``eval_strategy`` says otherwise.
    **trainer_kwargs
        Passed to `trainer_class`.
    """
    launch = current_launch("cpu" if use_cpu else "cuda")
    with (
        temporary_folder("trainer") as folder,
        reporting(training_args, writes=launch.rank == 0) as (report_settings, reporters),
    ):
        settings: dict[str, Any] = {
            # Later entries win: over these stands what the user passes, and over that where reports go.
            "output_dir": folder,
            "learning_rate": lr,
            "num_train_epochs": epochs,
            "per_device_train_batch_size": launch.share_of_batch(batch_size),
            "seed": seed,
            "use_cpu": use_cpu,
            "remove_unused_columns": False,
            "save_strategy": "no",
            "logging_strategy": "epoch",
            "report_to": "none",
            "disable_tqdm": True,  # Trainer's bar would neither go below another nor fit into a log
            "dataloader_pin_memory": not use_cpu,
            **({} if evaluation is None else {"eval_strategy": "epoch"}),
            **training_args,
            **report_settings,
        }
        # Trainer would take the best weights from a checkpoint of its own, and asks for one after each evaluation.
        loads_best = settings.pop("load_best_model_at_end", False)
        with (
            Interrupts() as interrupts, launch.own_training(model), own_switches(), _own_model(model),
            ExitStack() as bars,
        ):  # fmt: skip
            arguments = TrainingArguments(**settings)
            refuse_idle(training_args, arguments, model)
            if evaluation is not None:
                arguments.load_best_model_at_end = bool(loads_best)
                arguments.metric_for_best_model, arguments.greater_is_better = "eval_loss", False
            trainer = trainer_class(
                model=model,
                args=arguments,
                train_dataset=_Rows(rows),
                data_collator=collator,
                eval_dataset=None if evaluation is None else _Rows(np.arange(len(evaluation.lengths))),
                # This one's count of evaluations without progress would go on from the last training.
                callbacks=[copy.copy(each) if isinstance(each, EarlyStoppingCallback) else each for each in callbacks]
                + [TrainingBar(bars, visible=verbose and launch.rank == 0)],
                lengths=lengths.tolist(),
                total_weight=total_weight,
                launch=launch,
                interrupts=interrupts,
                evaluation=evaluation,
                **trainer_kwargs,
            )
            # disable_tqdm makes Trainer add it; it prints every entry of the log.
            trainer.remove_callback(PrinterCallback)
            for reporter in reporters:
                trainer.add_callback(reporter)
            trainer.train()
            # Schedule-free optimisers train other weights than those that they end with.
            if callable(getattr(trainer.optimizer, "eval", None)):
                trainer.optimizer.eval()
            trainer.best.restore(model.named_parameters())
        _check_finite(model, launch)
        return list(trainer.state.log_history)


@contextmanager
def _own_model(model: Any) -> Iterator[None]:
    """Undo what Trainer does to a model whose base other learners share."""
    # accelerate's wrapping of `forward` (mixed precision), and the switch of the cache in the configuration
    places = [(vars(model), name) for name in ("forward", "_original_forward")]
    places += [(vars(model.config), "use_cache")]
    places += [(vars(m), "gradient_checkpointing") for m in model.modules() if hasattr(m, "gradient_checkpointing")]
    before = [(attributes, name, attributes.get(name, _ABSENT)) for attributes, name in places]
    # The base outlives this training, and so would any hook that is left on it.
    embeddings = model.get_input_embeddings()
    hooks = list(embeddings._forward_hooks)
    try:
        yield
    finally:
        for attributes, name, value in before:
            attributes.pop(name, None)
            if value is not _ABSENT:
                attributes[name] = value
        # NEFTune's noise, which Trainer takes away where the training ends well
        vars(embeddings).pop("neftune_noise_alpha", None)
        for hook in [hook for hook in embeddings._forward_hooks if hook not in hooks]:
            del embeddings._forward_hooks[hook]


def _check_finite(model: Any, launch: Launch) -> None:
    # The loss does not show it when it was the last step that overflowed.
    broken = [
        name
        for name, parameter in model.named_parameters()
        if parameter.requires_grad and not torch.isfinite(local_part(parameter)).all()
    ]
    broken = launch.concatenate(broken)
    if broken:
        raise WeakLearnerError(f"Training left a value in {broken[0]} that is not finite; lower lr.")
