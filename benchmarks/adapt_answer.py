"""What ``adapt="answer"`` saves: pseudo-answers of five members against one model, and a training step.

Pseudo-answers, end to end: 8 prompts of 64 tokens, the cue of three included, are read and 4 tokens written, with no
prompt known before. The alternative is ``generate`` of the bare base model, a single one.

Training: a LoRA step, batch 16, of an epoch whose prompts have been read in an earlier one, against transformers'
`Trainer` as it comes: rows in random order, padded to the longest, the loss over the whole sequence. Prompts have 32 to
95 tokens, answers three or four with their end. What a call of ``train`` costs at its beginning and end is left out of
both.

The members' logits are compared with those of their exported adapters in PEFT, which reads whole rows.

    python -m benchmarks.adapt_answer
"""

from __future__ import annotations

import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks._measure import Row, compare, interleave, script
from benchmarks._models import RandomLlama, with_random_adapter
from ensemw2s import MixtureForCausalLM, TokenDataset

TEMPLATE = "{prompt}\nA:"  # the cue is three tokens of the byte tokenizer, as "\nAnswer:" is of SmolLM2's
TOLERANCE = 1e-4


def run(
    repeats: int = 5, n_members: int = 5, n_rows: int = 8, n_prompt: int = 64, n_new: int = 4, shape: str = "134M"
) -> list[Row]:
    """Rows of pseudo-answers and of training."""
    learner = RandomLlama(shape).learner(adapt="answer", prompt_template=TEMPLATE, epochs=1, random_state=0)
    return [
        pseudo_answers(learner, repeats, n_members, n_rows, n_prompt, n_new),
        training(learner, repeats, learner.batch_size, n_prompt),
    ]


def pseudo_answers(learner: Any, repeats: int, n_members: int, n_rows: int, n_prompt: int, n_new: int) -> Row:
    """Members that are read stacked, behind one reading of the prompts, against one model."""
    import torch

    members = [with_random_adapter(learner, seed) for seed in range(n_members)]
    mixture = MixtureForCausalLM.from_members(members, np.ones(n_members))
    host = learner._host()
    texts = np.random.default_rng(0).integers(97, 123, (n_rows, n_prompt - len(learner.cue_ids_)))
    ids = torch.from_numpy(np.hstack([texts, np.tile(learner.cue_ids_, (n_rows, 1))]))
    single = learner.model.placed()
    settings = {
        "input_ids": ids, "attention_mask": torch.ones_like(ids), "max_new_tokens": n_new, "do_sample": False,
        "eos_token_id": [], "pad_token_id": 0,
    }  # fmt: skip

    def ours() -> Any:
        host.forget_prompts()
        return mixture.generate(**settings)

    logits, _ = mixture.member_logits(ids, torch.ones_like(ids), n_last=1, use_cache=True)
    apart = max(
        float((logits[place, :2, -1] - in_peft(member, ids[:2])[:, -1]).abs().max())
        for place, member in enumerate(members)
    )
    seconds = interleave({"ours": ours, "theirs": lambda: single.generate(**settings)}, repeats)
    return compare(
        f'pseudo-answers, prompt {n_prompt}, answer {n_new}, B={n_rows}, adapt="answer", T={n_members}', "one model",
        seconds["ours"], seconds["theirs"], "≤ 2.0", equal=apart <= TOLERANCE, largest_difference_in_logits=apart,
    )  # fmt: skip


def training(learner: Any, repeats: int, batch_size: int, n_prompt: int, n_steps: int = 2) -> Row:
    """An epoch whose prompts have been read, against Trainer's."""
    import torch

    rng, n = np.random.default_rng(1), batch_size * n_steps
    lengths = rng.integers(n_prompt // 2, n_prompt * 3 // 2, n) - len(learner.cue_ids_)
    prompts, answers = (
        ["".join(map(chr, rng.integers(97, 123, size))) for size in sizes] for sizes in (lengths, rng.integers(1, 3, n))
    )
    tokens = TokenDataset.for_learner(learner, prompts, answers)
    weight = np.ones(tokens.n_tokens)
    rows = [np.concatenate(tokens.row_ids(row)).tolist() for row in range(n)]
    seconds: dict[str, list[float]] = {"ours": [], "theirs": []}
    fitted = learner.set_params(callbacks=[step_clock(seconds["ours"])]).fit(tokens, token_weight=weight)
    logits = fitted.answer_logits(tokens.batch(np.arange(2)))
    apart = 0.0
    for row in range(2):
        prompt, answer = tokens.row_ids(row)
        whole = in_peft(fitted, torch.tensor([[*prompt, *answer[:-1]]]))[0, -len(answer) :]
        mine = logits[tokens.indptr[row] : tokens.indptr[row + 1]]
        apart = max(apart, float((mine - whole).abs().max()))
    theirs = plain_trainer(learner.model, rows, batch_size, step_clock(seconds["theirs"]))
    interleave({"ours": lambda: fitted.fit(tokens, token_weight=weight), "theirs": theirs}, repeats)
    last = n_steps * repeats  # what came before was to warm up
    ours, plain = (list(np.reshape(steps[-last:], (repeats, -1)).mean(axis=1)) for steps in seconds.values())
    return compare(
        'LoRA training step, adapt="answer", from the second epoch on', "plain Trainer", ours, plain, "≥ 8x",
        equal=apart <= TOLERANCE, largest_difference_in_logits=apart, steps=n_steps,
        mean_prompt=float(lengths.mean()), mean_answer=float(tokens.answer_lengths.mean()),
    )  # fmt: skip


def in_peft(member: Any, ids: Any) -> Any:
    """Logits of whole rows from PEFT's activated LoRA, (B, L, V)."""
    import torch
    from peft import PeftModel

    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # PEFT reads an attribute that transformers has renamed
        member._host().save(member.adapter_, Path(folder), cue_ids=member.cue_ids_)
        model = PeftModel.from_pretrained(member.model.placed(), folder)
    with torch.no_grad():
        return model(ids).logits


def step_clock(seconds: list[float]) -> Any:
    """A callback of Trainer that appends the CPU seconds of each step."""
    from transformers import TrainerCallback

    class Clock(TrainerCallback):
        def on_step_begin(self, *_: Any, **__: Any) -> None:
            self.start = time.process_time()

        def on_step_end(self, *_: Any, **__: Any) -> None:
            seconds.append(time.process_time() - self.start)

    return Clock()


def plain_trainer(base: RandomLlama, rows: list[list[int]], batch_size: int, clock: Any) -> Any:
    """A function that trains one epoch of LoRA as most scripts do."""
    import torch
    from peft import get_peft_model
    from transformers import PrinterCallback, Trainer, TrainingArguments

    from ensemw2s._adapters.host import default_lora

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        model = get_peft_model(base(), default_lora())

    def collate(batch: list[list[int]]) -> dict[str, Any]:
        width = max(map(len, batch))
        ids = torch.zeros((len(batch), width), dtype=torch.int64)
        mask = torch.zeros_like(ids)
        for place, row in enumerate(batch):
            ids[place, : len(row)], mask[place, : len(row)] = torch.tensor(row), 1
        return {"input_ids": ids, "attention_mask": mask, "labels": ids.masked_fill(mask == 0, -100)}

    def train() -> None:
        with tempfile.TemporaryDirectory() as folder:
            arguments = TrainingArguments(
                output_dir=folder, num_train_epochs=1, per_device_train_batch_size=batch_size, learning_rate=5e-4,
                save_strategy="no", logging_strategy="epoch", report_to="none", disable_tqdm=True, use_cpu=True,
                remove_unused_columns=False, dataloader_pin_memory=False, seed=0,
            )  # fmt: skip
            trainer = Trainer(model=model, args=arguments, train_dataset=rows, data_collator=collate, callbacks=[clock])
            trainer.remove_callback(PrinterCallback)
            trainer.train()

    return train


if __name__ == "__main__":
    script(run)
