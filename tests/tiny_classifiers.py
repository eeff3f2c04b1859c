"""Tiny models with a classification head, from functions and from folders, and sentences to classify."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ensemw2s import HFClassifier, word_tokenizer

GOOD, BAD = ("good", "fine", "great", "lovely"), ("bad", "poor", "awful", "dull")
SENTENCES = [f"a {word} {noun}" for noun in ("film", "book", "song") for word in (*GOOD, *BAD)]
OPINIONS = ["like" if sentence.split()[1] in GOOD else "dislike" for sentence in SENTENCES]
WORDS = word_tokenizer([*SENTENCES, "dislike like Answer: zero one"])

# Wider than the usual .02, with which a model this small needs many epochs to learn anything.
INITIALIZER_RANGE = 0.05
_SHAPE = {
    "hidden_size": 32,
    "intermediate_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "initializer_range": INITIALIZER_RANGE,
}
_NO_DROPOUT = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}


def tiny_bert(n_labels: int = 2) -> Any:
    """An encoder over `WORDS`."""
    from transformers import BertConfig, BertForSequenceClassification

    return BertForSequenceClassification(
        BertConfig(vocab_size=len(WORDS), max_position_embeddings=24, num_labels=n_labels, **_SHAPE, **_NO_DROPOUT)
    )


def tiny_bert_3() -> Any:
    """The encoder with three classes."""
    return tiny_bert(3)


def tiny_causal() -> Any:
    """A decoder over `WORDS` with a language-model head."""
    from transformers import LlamaConfig, LlamaForCausalLM

    return LlamaForCausalLM(LlamaConfig(vocab_size=len(WORDS), max_position_embeddings=24, **_SHAPE))


def tiny_absolute() -> Any:
    """A decoder whose positions are absolute, as GPT-2's."""
    from transformers import GPT2Config, GPT2LMHeadModel

    config = GPT2Config(vocab_size=len(WORDS), n_embd=32, n_layer=1, n_head=2, n_positions=24)
    config.initializer_range = 0.3
    config.bos_token_id = config.eos_token_id = WORDS.eos_token_id
    return GPT2LMHeadModel(config)


def bert_classifier(**params: Any) -> HFClassifier:
    """A classifier that learns `OPINIONS` in a second."""
    settings = {"tokenizer": WORDS, "peft_config": None, "lr": 3e-3, "epochs": 4, "batch_size": 8, "random_state": 0}
    return HFClassifier(tiny_bert, **{**settings, **params})


def save_pretrained(kind: str, folder: Path) -> str:
    """Save a model without a classification head, as checkpoints on the hub are, with its tokenizer."""
    import torch

    with torch.random.fork_rng():
        torch.manual_seed(0)
        _language_model(kind).save_pretrained(folder)
    WORDS.save_pretrained(folder)
    return str(folder)


def _language_model(kind: str) -> Any:
    import transformers

    shape = {"vocab_size": len(WORDS), **_SHAPE}
    if kind == "bert":
        return transformers.BertForMaskedLM(transformers.BertConfig(**shape, **_NO_DROPOUT, pad_token_id=2))
    if kind == "roberta":
        config = transformers.RobertaConfig(**shape, **_NO_DROPOUT, pad_token_id=2, max_position_embeddings=130)
        return transformers.RobertaForMaskedLM(config)
    if kind == "llama":
        return transformers.LlamaForCausalLM(transformers.LlamaConfig(**shape))
    if kind == "gpt_neox":
        return transformers.GPTNeoXForCausalLM(transformers.GPTNeoXConfig(**shape))
    if kind == "gpt2":
        return tiny_absolute()
    raise ValueError(f"no tiny model of kind {kind!r}")
