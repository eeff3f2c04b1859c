"""The models and the questions that benchmarks share: SmolLM2-135M and SciQ where they lie on this machine.

Nothing is downloaded. Without the weights, which ``examples/_weights.py`` fetches into a cache, the model is a Llama of
the same shape with random weights; without the data, questions of the same lengths are made up.
"""

from __future__ import annotations

import copy
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ensemw2s import HFCausalLM, byte_tokenizer, load_sciq, word_tokenizer

SHAPES: dict[str, dict[str, Any]] = {
    "134M": {  # SmolLM2
        "vocab_size": 49_152, "max_position_embeddings": 2048, "hidden_size": 576, "intermediate_size": 1536,
        "num_hidden_layers": 30, "num_attention_heads": 9, "num_key_value_heads": 3, "tie_word_embeddings": True,
    },
    "1B": {  # Llama 3.2
        "vocab_size": 128_256, "max_position_embeddings": 4096, "hidden_size": 2048, "intermediate_size": 8192,
        "num_hidden_layers": 16, "num_attention_heads": 32, "num_key_value_heads": 8, "tie_word_embeddings": True,
    },
    "10M": {  # in its blocks
        "vocab_size": 8192, "max_position_embeddings": 2048, "hidden_size": 384, "intermediate_size": 1024,
        "num_hidden_layers": 6, "num_attention_heads": 6, "num_key_value_heads": 6, "tie_word_embeddings": True,
    },
    "tiny": {  # to see whether a script runs
        "vocab_size": 2048, "max_position_embeddings": 2048, "hidden_size": 32, "intermediate_size": 64,
        "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 1, "tie_word_embeddings": True,
        "initializer_range": 0.2,  # so wide that logits differ by more than their rounding
    },
}  # fmt: skip
DATA = os.environ.get("ENSEMW2S_DATA", "")
WORDS = [f"word{number}" for number in range(2000)]


@dataclass(frozen=True)
class RandomLlama:
    """A function that makes a Llama with random weights, the same at each call; learners of equal ones share a base.

    Parameters
    ----------
    shape : str
        One of `SHAPES`.
    seed : int
        Of the weights.
    device, dtype : str
        Where and as what learners, and `placed`, hold it.
    """

    shape: str = "134M"
    seed: int = 0
    device: str = "cpu"
    dtype: str = "float32"

    def __post_init__(self) -> None:
        if self.shape not in SHAPES:
            raise ValueError(f"shape must be one of {', '.join(SHAPES)}. Got {self.shape!r} instead.")

    def __call__(self) -> Any:
        """The model in float32 on the CPU, which `HFCausalLM` moves."""
        import torch
        from transformers import LlamaConfig, LlamaForCausalLM

        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            return LlamaForCausalLM(LlamaConfig(**SHAPES[self.shape]))

    def placed(self) -> Any:
        """The model where it belongs, for use."""
        import torch

        return self().to(self.device, getattr(torch, self.dtype)).eval()

    def learner(self, **parameters: Any) -> HFCausalLM:
        """An initialised learner that starts from this model."""
        settings = {"tokenizer": byte_tokenizer(), "device": self.device, "dtype": self.dtype, **parameters}
        return HFCausalLM(self, **settings).initialize()


def with_random_adapter(learner: HFCausalLM, seed: int = 0) -> HFCausalLM:
    """A copy with an adapter that moves the logits."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    member = copy.copy(learner)
    member.adapter_ = {
        name: (0.02 * torch.randn(tensor.shape, generator=generator)).to(tensor)
        for name, tensor in learner._host().state().items()
    }
    return member


def smollm2(shape: str = "134M") -> tuple[Any, Any]:
    """What `HFCausalLM` takes as `model` and `tokenizer`; another shape has random weights."""
    root = os.environ.get("ENSEMW2S_CACHE") or Path.home() / ".cache" / "ensemw2s"
    folder = Path(root).expanduser() / "smollm2-135m-instruct"
    if shape == "134M" and folder.exists():
        return str(folder), None
    return RandomLlama(shape), word_tokenizer([*WORDS, "Question:", "Answer:"])


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
