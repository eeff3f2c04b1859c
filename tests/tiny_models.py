"""Tiny decoders with random weights, learners made from them, and the same learners without the library.

The factories are plain functions of this module, so that learners made from them can be pickled and share a base.
"""

from __future__ import annotations

import gc
import warnings
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import torch
from peft import LoraConfig, get_peft_model
from transformers import Trainer  # noqa: F401 (imported before the freeze below)

from ensemw2s import BigramLearner, HFCausalLM, TokenDataset, byte_tokenizer

gc.freeze()  # as conftest.py does, for the scripts that import this module

# Wide enough that logits differ by several nats: with the usual .02 every wrong mask would hide in the rounding.
SHAPE = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2}
INITIALIZER_RANGE = 0.2
N_POSITIONS = 96
N_VOCABULARY = 258  # that of byte_tokenizer


def tiny_llama() -> Any:
    from transformers import LlamaConfig, LlamaForCausalLM

    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=N_VOCABULARY,
            **SHAPE,
            num_key_value_heads=1,
            max_position_embeddings=N_POSITIONS,
            initializer_range=INITIALIZER_RANGE,
        )
    )


def tiny_gpt2() -> Any:
    from transformers import GPT2Config, GPT2LMHeadModel

    return GPT2LMHeadModel(
        GPT2Config(
            vocab_size=N_VOCABULARY,
            n_embd=32,
            n_layer=2,
            n_head=2,
            n_positions=N_POSITIONS,
            initializer_range=INITIALIZER_RANGE,
            resid_pdrop=0.0,
            embd_pdrop=0.0,
            attn_pdrop=0.0,
            bos_token_id=256,
            eos_token_id=256,
        )
    )


def tiny_gpt_neox() -> Any:
    from transformers import GPTNeoXConfig, GPTNeoXForCausalLM

    return GPTNeoXForCausalLM(
        GPTNeoXConfig(
            vocab_size=N_VOCABULARY,
            **SHAPE,
            max_position_embeddings=N_POSITIONS,
            initializer_range=INITIALIZER_RANGE,
        )
    )


def tiny_qwen2() -> Any:
    from transformers import Qwen2Config, Qwen2ForCausalLM

    return Qwen2ForCausalLM(
        Qwen2Config(
            vocab_size=N_VOCABULARY,
            **SHAPE,
            num_key_value_heads=1,
            max_position_embeddings=N_POSITIONS,
            initializer_range=INITIALIZER_RANGE,
            tie_word_embeddings=True,
        )
    )


def tiny_qwen3() -> Any:
    from transformers import Qwen3Config, Qwen3ForCausalLM

    return Qwen3ForCausalLM(
        Qwen3Config(
            vocab_size=N_VOCABULARY,
            **SHAPE,
            num_key_value_heads=1,
            head_dim=16,
            max_position_embeddings=N_POSITIONS,
            initializer_range=INITIALIZER_RANGE,
        )
    )


def tiny_gemma3() -> Any:
    from transformers import Gemma3ForCausalLM, Gemma3TextConfig

    return Gemma3ForCausalLM(
        Gemma3TextConfig(
            vocab_size=N_VOCABULARY,
            **SHAPE,
            num_key_value_heads=1,
            head_dim=16,
            query_pre_attn_scalar=16,
            max_position_embeddings=N_POSITIONS,
            initializer_range=INITIALIZER_RANGE,
            layer_types=["sliding_attention", "full_attention"],
            sliding_window=8,  # shorter than every prompt of the tests
        )
    )


FACTORIES: dict[str, Callable[[], Any]] = {
    "llama": tiny_llama,
    "gpt2": tiny_gpt2,
    "gpt_neox": tiny_gpt_neox,
    "qwen2": tiny_qwen2,
    "qwen3": tiny_qwen3,
    "gemma3": tiny_gemma3,
}

PROMPTS = ["a b", "Which is larger, 2 or 3?", "Sky", "Is it?"]
ANSWERS = ["c", "three", "blue or not", "no"]
CHOICES = [["c", "dd"], ["two", "three", "a"], ["blue or not", "g"], ["no"]]  # ragged, and one of a single token
TEMPLATE = "{prompt}:"


def tiny_learner(model: Any = tiny_llama, **parameters: Any) -> HFCausalLM:
    settings = {"tokenizer": byte_tokenizer(), "lr": 1e-2, "epochs": 4, "random_state": 0, "prompt_template": TEMPLATE}
    return HFCausalLM(model, **{**settings, **parameters})


def tokens_for(learner: Any) -> TokenDataset:
    return TokenDataset.for_learner(learner, PROMPTS, ANSWERS)


def fit(learner: Any, token_weight: Any = None) -> Any:
    tokens = tokens_for(learner.initialize())
    weight = np.ones(tokens.n_tokens) if token_weight is None else np.asarray(token_weight)
    return learner.fit(tokens, token_weight=weight)


@cache
def fitted_members(name: str = "llama", peft_config: str | None = "default") -> tuple[HFCausalLM, ...]:
    """Three members of one architecture, each trained on other tokens; tests must leave them as they are."""
    members = [tiny_learner(FACTORIES[name], peft_config=peft_config, random_state=seed) for seed in range(3)]
    tokens = tokens_for(members[0].initialize())
    weights = np.random.default_rng(0).uniform(0.0, 1.0, (3, tokens.n_tokens)) ** 4
    return tuple(member.fit(tokens, token_weight=w) for member, w in zip(members, weights, strict=True))


class WithoutCache:
    """A learner as one that offers nothing but what a TokenLearner must."""

    def __init__(self, learner: HFCausalLM) -> None:
        self.learner, self.tokenizer_, self.prompt_template = learner, learner.tokenizer_, learner.prompt_template
        self.token_logits = learner.token_logits


@cache
def fitted_bigrams() -> tuple[BigramLearner, ...]:
    """Two members that read no mask and keep no cache."""
    corpora = (["a b: blue or not"], ["Sky: dd no two three"])
    return tuple(fit(BigramLearner(corpus=corpus, prompt_template=TEMPLATE)) for corpus in corpora)


def untrained_model(factory: Callable[[], Any]) -> Any:
    """What a learner made from this factory starts from, made without the library."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return factory().eval()


def plain_model(learner: HFCausalLM) -> Any:
    """A learner as an ordinary float64 model of transformers, or of PEFT with the learner's adapter loaded."""
    model = untrained_model(learner.model)
    if learner.model_ is not None:
        model.load_state_dict(learner.model_.state_dict())
    elif learner.adapter_ is not None:
        transposed = hasattr(model, "transformer")  # GPT-2
        config = LoraConfig(r=8, lora_alpha=16, target_modules="all-linear", fan_in_fan_out=transposed)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing", category=FutureWarning)
            model = get_peft_model(model, config)
        missing, unexpected = model.load_state_dict(learner.adapter_, strict=False)
        assert not unexpected
        assert not [name for name in missing if "lora" in name]
    return model.double().eval()


@torch.no_grad()
def reference_log_proba(learner: Any, ids: Any) -> np.ndarray:
    """Log-probabilities of the next token after each token of one row, float64 of shape (L, V), without padding."""
    ids = [int(token) for token in ids]
    learner = getattr(learner, "learner", learner)
    if isinstance(learner, BigramLearner):
        return learner.log_proba_[ids]
    key = id(learner)
    if key not in _PLAIN:
        _PLAIN[key] = (learner, plain_model(learner))  # with the learner, so that its id is not given away
    return _PLAIN[key][1](torch.tensor([ids])).logits[0].double().log_softmax(dim=-1).numpy()


_PLAIN: dict[int, tuple[Any, Any]] = {}


def reference_mixture(members: Any, votes: Any, ids: Any, combine: str = "probabilities") -> np.ndarray:
    """Log of the mixed probabilities after each token, float64 of shape (L, V), by the definition."""
    shares = np.array(votes, dtype=np.float64) / np.sum(votes)
    log_proba = [reference_log_proba(member, ids) for member in members]
    if combine == "logits":
        mixed = sum(share * z for share, z in zip(shares, log_proba, strict=True))
        return mixed - np.log(np.exp(mixed).sum(axis=-1, keepdims=True))
    return np.log(sum(share * np.exp(z) for share, z in zip(shares, log_proba, strict=True)))
