"""The model and the questions that benchmarks share: SmolLM2-135M and SciQ where they lie on this machine.

Nothing is downloaded. Without the weights, which ``examples/_weights.py`` fetches into a cache, the model is a Llama of
the same shape with random weights; without the data, questions of the same lengths are made up.
"""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ensemw2s import load_sciq, word_tokenizer

VOCABULARY = 49_152
SHAPE = {
    "vocab_size": VOCABULARY, "max_position_embeddings": 2048, "hidden_size": 576, "intermediate_size": 1536,
    "num_hidden_layers": 30, "num_attention_heads": 9, "num_key_value_heads": 3, "tie_word_embeddings": True,
}  # fmt: skip
DATA = os.environ.get("ENSEMW2S_DATA", "")
WORDS = [f"word{number}" for number in range(2000)]


def random_llama(seed: int = 0, **shape: Any) -> Any:
    """A Llama of SmolLM2's shape, unless told otherwise, with the same random weights at each call."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return LlamaForCausalLM(LlamaConfig(**{**SHAPE, **shape}))


_shared_llama = partial(random_llama)  # one object, so that learners see the same base in it


def smollm2() -> tuple[Any, Any]:
    """What `HFCausalLM` takes as `model` and `tokenizer`."""
    root = os.environ.get("ENSEMW2S_CACHE") or Path.home() / ".cache" / "ensemw2s"
    folder = Path(root).expanduser() / "smollm2-135m-instruct"
    return (str(folder), None) if folder.exists() else (_shared_llama, word_tokenizer([*WORDS, "Question:", "Answer:"]))


def questions(n: int, data_dir: str, model: Any) -> tuple[list[str], list[list[str]]]:
    """Prompts and four options each, of SciQ's test part, or made up."""
    if data_dir and isinstance(model, str):
        data = load_sciq("test", data_dir=data_dir)
        rows = [row for row in range(len(data)) if len(data.choices[row]) == 4][:n]
        return [data.prompts[row] for row in rows], [list(data.choices[row]) for row in rows]
    rng = np.random.default_rng(0)

    def text(n_words: int) -> str:
        return " ".join(rng.choice(WORDS, n_words))

    # Tokens of SciQ's prompts, less those of the template, and of its options, less the end-of-answer token.
    prompts = [text(length) for length in rng.gamma(9, 1.9, n).astype(int) + 3]
    return prompts, [[text(length) for length in rng.choice([1, 2, 3], 4, p=[0.4, 0.4, 0.2])] for _ in prompts]
