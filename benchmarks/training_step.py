"""LoRA training against plain `transformers.Trainer`: random batches, padding, loss over the whole sequence.

Both sides train the same adapters for one epoch on the same rows. It has to be a whole epoch, because a step costs what
its batch is long. The seconds of all steps are added up; what a call of ``fit`` or ``train`` costs in all is in the
details. The alternative is ``Trainer`` with ``DataCollatorForLanguageModeling``.

The losses differ by what they are taken over, so equality is checked apart: both sides train from the same adapters on
one batch for some steps, ``Trainer`` with the label -100 at prompts. Adapters that start by changing nothing act from
the second step on. Compared are the mean loss, and the loss that either side's adapters give afterwards in PEFT.
"""

from __future__ import annotations

import tempfile
import warnings
from typing import Any

import numpy as np
from sklearn.base import clone

from benchmarks._measure import Row, compare, interleave, script
from benchmarks._models import DATA, questions, smollm2
from benchmarks.cost_model import StepTimer
from ensemw2s import HFCausalLM, TokenDataset

BATCH = 16
TOLERANCE = 1e-5  # relative
N_COMPARED = 4  # steps


def run(repeats: int = 5, data_dir: str = DATA, n_rows: int = 320, shape: str = "134M") -> list[Row]:
    """Row of a training epoch."""
    from transformers import DataCollatorForLanguageModeling

    model, tokenizer = smollm2(shape)
    timers = {"ours": StepTimer(), "theirs": StepTimer()}
    learner = HFCausalLM(
        model, tokenizer=tokenizer, device="cpu", batch_size=BATCH, epochs=1, random_state=0,
        callbacks=(timers["ours"],),
    )  # fmt: skip
    prompts, options = questions(n_rows, data_dir, model)
    tokens = TokenDataset.for_learner(learner.initialize(), prompts, [row[0] for row in options])
    rows = [{"input_ids": np.concatenate(tokens.row_ids(row)).tolist()} for row in range(len(tokens))]
    plain = peft_model(model)
    collator = DataCollatorForLanguageModeling(learner.tokenizer_, mlm=False)

    def theirs() -> None:
        plain_training(plain, rows, collator, learner.lr, 1, timers["theirs"])

    apart = loss_difference(learner, plain, tokens.take(np.arange(BATCH)))
    whole = interleave(
        {"ours": lambda: learner.fit(tokens, token_weight=np.ones(tokens.n_tokens)), "theirs": theirs}, repeats
    )
    # One sum for each call but that which warmed up.
    steps = -(-n_rows // BATCH)
    seconds = {name: np.reshape(timer.seconds, (-1, steps))[1:].sum(axis=1).tolist() for name, timer in timers.items()}
    return [
        compare(
            "LoRA training step", "Trainer, padding, full-sequence loss", seconds["ours"], seconds["theirs"], "≥ 1.7x",
            equal=apart <= TOLERANCE, relative_difference_in_loss=apart, steps=steps, whole_calls=whole,
            real_weights=isinstance(model, str), real_questions=bool(data_dir and isinstance(model, str)),
        )
    ]  # fmt: skip


def peft_model(model: Any) -> Any:
    """The adapters that `HFCausalLM` trains by default, made without the library."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    base = AutoModelForCausalLM.from_pretrained(model) if isinstance(model, str) else model()
    config = LoraConfig(r=8, lora_alpha=16, target_modules="all-linear", task_type="CAUSAL_LM")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing", category=FutureWarning)
        return get_peft_model(base, config)


def plain_training(model: Any, rows: list[Any], collator: Any, lr: float, epochs: int, *callbacks: Any) -> float:
    """Train with ``Trainer``; mean loss of the steps."""
    from transformers import PrinterCallback, Trainer, TrainingArguments

    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            folder, per_device_train_batch_size=BATCH, num_train_epochs=epochs, learning_rate=lr, use_cpu=True,
            save_strategy="no", report_to="none", disable_tqdm=True, logging_strategy="no", dataloader_pin_memory=False,
        )  # fmt: skip
        trainer = Trainer(model, arguments, data_collator=collator, train_dataset=rows, callbacks=list(callbacks))
        trainer.remove_callback(PrinterCallback)
        return float(trainer.train().training_loss)


def loss_difference(learner: HFCausalLM, plain: Any, tokens: TokenDataset) -> float:
    """Largest relative difference in the loss, while both train on one batch and afterwards."""
    import torch
    from transformers import TrainerCallback

    start: dict[str, torch.Tensor] = {}

    class Start(TrainerCallback):
        def on_train_begin(self, *_: Any, model: Any, **__: Any) -> None:
            start.update((name, p.detach().clone()) for name, p in model.named_parameters() if p.requires_grad)

    fitted = clone(learner).set_params(epochs=N_COMPARED, callbacks=(Start(),))
    fitted.fit(tokens, token_weight=np.ones(tokens.n_tokens))
    (ours,) = (entry["train_loss"] for entry in fitted.history_ if "train_loss" in entry)
    batch = labelled(tokens)
    plain.load_state_dict(start, strict=False)
    rows = [{name: tensor[row] for name, tensor in batch.items()} for row in range(len(tokens))]
    theirs = plain_training(plain, rows, None, learner.lr, N_COMPARED)

    def loss_now() -> float:
        with torch.inference_mode():
            return float(plain.eval()(**batch).loss)

    theirs_after = loss_now()
    plain.load_state_dict(fitted.adapter_, strict=False)
    ours_after = loss_now()
    if not theirs_after < theirs:
        raise RuntimeError("The adapters have learned nothing, so that there is nothing to compare.")
    return max(abs(ours - theirs) / theirs, abs(ours_after - theirs_after) / theirs_after)


def labelled(tokens: TokenDataset) -> dict[str, Any]:
    """One batch as transformers takes it: padded on the right, with the label -100 at prompts and padding."""
    import torch

    length = int(tokens.lengths.max())
    ids, labels = (torch.full((len(tokens), length), fill) for fill in (0, -100))
    mask = torch.zeros_like(ids)
    for row in range(len(tokens)):
        prompt, answer = tokens.row_ids(row)
        end = len(prompt) + len(answer)
        ids[row, :end] = torch.from_numpy(np.concatenate([prompt, answer]))
        labels[row, len(prompt) : end] = torch.from_numpy(answer)
        mask[row, :end] = 1
    return {"input_ids": ids, "attention_mask": mask, "labels": labels}


if __name__ == "__main__":
    script(run)
