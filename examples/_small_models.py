"""Small language models that the offline examples train themselves, in the place of pretrained ones from a hub."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch.nn.functional import pad
from transformers import GPTNeoXConfig, GPTNeoXForCausalLM, PrinterCallback, Trainer, TrainingArguments
from transformers.utils import logging


def pretrain(
    folder: Path,
    texts: list[str],
    tokenizer: Any,
    *,
    layers: int,
    width: int,
    heads: int,
    steps: int,
    lr: float,
    seed: int = 0,
    batch_size: int = 32,
) -> str:
    """Train a GPT-NeoX of the given size on plain text, save it with its tokenizer, and return the folder.

    Nothing here knows of questions and answers: it is what a hub's base models have behind them.
    """
    torch.manual_seed(seed)
    model = GPTNeoXForCausalLM(
        GPTNeoXConfig(
            vocab_size=len(tokenizer),
            hidden_size=width,
            num_hidden_layers=layers,
            num_attention_heads=heads,
            intermediate_size=4 * width,
            max_position_embeddings=64,
            initializer_range=0.06,  # the usual .02 suits wide models; at this width it learns several times slower
            bos_token_id=tokenizer.eos_token_id,
            eos_token_id=tokenizer.eos_token_id,
        )
    )
    rows = [torch.tensor([*ids, tokenizer.eos_token_id]) for ids in tokenizer(texts)["input_ids"]]
    rows = [{"input_ids": row, "length": len(row)} for row in rows]
    trainer = Trainer(
        model,
        TrainingArguments(
            output_dir=str(folder / "trainer"),
            max_steps=steps,
            per_device_train_batch_size=batch_size,
            learning_rate=lr,
            warmup_steps=steps // 10,
            weight_decay=0.01,
            adam_beta2=0.98,
            seed=seed,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            remove_unused_columns=False,
            dataloader_pin_memory=False,
            use_cpu=True,
            logging_strategy="no",
        ),
        train_dataset=rows,
        data_collator=lambda batch: _pad_right(batch, tokenizer.pad_token_id),
    )
    trainer.remove_callback(PrinterCallback)
    trainer.train()
    logging.disable_progress_bar()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


def _pad_right(batch: list[dict[str, Any]], pad_token_id: int) -> dict[str, torch.Tensor]:
    longest = max(row["length"] for row in batch)
    ids = [pad(row["input_ids"], (0, longest - row["length"]), value=pad_token_id) for row in batch]
    labels = [pad(row["input_ids"], (0, longest - row["length"]), value=-100) for row in batch]
    return {"input_ids": torch.stack(ids), "labels": torch.stack(labels)}
