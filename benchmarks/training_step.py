"""LoRA training against plain `transformers.Trainer`: random batches, padding, loss over the whole sequence.

Both sides train the same adapters for one epoch on the same rows. It has to be a whole epoch, because a step costs what
its batch is long. The seconds of all steps are added up; what a call of ``fit`` or ``train`` costs in all is in the
details. The alternative is ``Trainer`` with ``DataCollatorForLanguageModeling``.

The losses differ by what they are taken over, so equality is checked apart: the loss of a first step here, and the loss
that the model itself gives for the same batch where prompts carry the label -100.
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
TOLERANCE = 1e-5


def run(repeats: int = 5, data_dir: str = DATA, n_rows: int = 320) -> list[Row]:
    """Row of a training epoch."""
    from transformers import DataCollatorForLanguageModeling, PrinterCallback, Trainer, TrainingArguments

    model, tokenizer = smollm2()
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
        with tempfile.TemporaryDirectory() as folder:
            arguments = TrainingArguments(
                folder, per_device_train_batch_size=BATCH, num_train_epochs=1, learning_rate=learner.lr, use_cpu=True,
                save_strategy="no", report_to="none", disable_tqdm=True, logging_strategy="no",
            )  # fmt: skip
            trainer = Trainer(
                plain, arguments, data_collator=collator, train_dataset=rows, callbacks=[timers["theirs"]]
            )
            trainer.remove_callback(PrinterCallback)
            trainer.train()

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


def loss_difference(learner: HFCausalLM, plain: Any, tokens: TokenDataset) -> float:
    """Relative difference of the loss of a first step, which starts from adapters that change nothing."""
    import torch

    first = clone(learner).set_params(training_args={"max_steps": 1}, callbacks=())
    first.fit(tokens, token_weight=np.ones(tokens.n_tokens))
    (ours,) = (entry["train_loss"] for entry in first.history_ if "train_loss" in entry)
    length = int(tokens.lengths.max())
    ids, labels = (torch.full((len(tokens), length), fill) for fill in (0, -100))
    mask = torch.zeros_like(ids)
    for row in range(len(tokens)):
        prompt, answer = tokens.row_ids(row)
        end = len(prompt) + len(answer)
        ids[row, :end] = torch.from_numpy(np.concatenate([prompt, answer]))
        labels[row, len(prompt) : end] = torch.from_numpy(answer)
        mask[row, :end] = 1
    with torch.inference_mode():
        theirs = float(plain.eval()(input_ids=ids, attention_mask=mask, labels=labels).loss)
    return abs(ours - theirs) / theirs


if __name__ == "__main__":
    script(run)
