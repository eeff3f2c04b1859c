"""Small fitted ensembles of every kind that can be saved, and what they say."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from peft import LoraConfig
from tiny_classifiers import OPINIONS, SENTENCES, WORDS, bert_classifier, tiny_causal
from tiny_classifiers import save_pretrained as save_classifier_base
from tiny_models import ANSWERS, PROMPTS, TEMPLATE, tiny_gpt2, tiny_learner, tiny_llama, untrained_model

from ensemw2s import (
    BigramLearner,
    FineTunedGenerator,
    HFCausalLM,
    HFClassifier,
    LLMAdaBoostClassifier,
    LogConfLoss,
    TokenAdaBoostGenerator,
    byte_tokenizer,
)
from ensemw2s.storage._json import checksum, dump_json

CHOICES = [["c", "dd"], ["two", "three", "a"], ["blue or not", "g"], ["no", "yes"]]


_HELD: list[Any] = []  # folders, deleted when the interpreter ends


@cache
def base_folder(kind: str) -> str:
    """A base model in a folder, with its tokenizer."""
    holder = tempfile.TemporaryDirectory(prefix="ensemw2s-base-")
    _HELD.append(holder)
    folder = holder.name
    if kind == "lm":
        untrained_model(tiny_llama).save_pretrained(folder)
        byte_tokenizer().save_pretrained(folder)
        return folder
    return save_classifier_base(kind, Path(folder))


def bagged(learner: Any) -> TokenAdaBoostGenerator:
    booster = TokenAdaBoostGenerator(learner, n_estimators=2, reweight=False, sampling="weight", random_state=0)
    return booster.fit(PROMPTS, ANSWERS)


def tuned(learner: Any) -> FineTunedGenerator:
    return FineTunedGenerator(learner, normalize="token").fit(PROMPTS, ANSWERS)


def voting(learner: Any, labels: Any = OPINIONS) -> LLMAdaBoostClassifier:
    booster = LLMAdaBoostClassifier(learner, n_estimators=2, reweight=False, voting="soft", random_state=0)
    return booster.fit(SENTENCES, labels)


def from_folder(**params: Any) -> HFCausalLM:
    return HFCausalLM(base_folder("lm"), epochs=1, lr=1e-2, random_state=0, prompt_template=TEMPLATE, **params)


def classifier(kind: str, **params: Any) -> HFClassifier:
    return HFClassifier(base_folder(kind), epochs=1, lr=3e-3, batch_size=8, random_state=0, **params)


ADAPTER = LoraConfig(r=2, target_modules=["q_proj", "v_proj"], lora_dropout=0.1)

# Name -> how it is made, and whether its base is saved with it.
KINDS: dict[str, tuple[Callable[[], Any], bool]] = {
    "tokens-lora": (lambda: bagged(from_folder(peft_config=ADAPTER, training_args={"weight_decay": 0.1})), False),
    "tokens-lora-base": (lambda: bagged(tiny_learner(tiny_gpt2, epochs=1)), True),
    "tokens-full": (lambda: bagged(from_folder(peft_config=None)), False),
    "tokens-bigram": (lambda: bagged(BigramLearner(corpus=["a: b"], prompt_template=TEMPLATE)), False),
    "tuned-id": (lambda: tuned(base_folder("lm")), False),
    "tuned-id-base": (lambda: tuned(base_folder("lm")), True),
    "tuned-full-base": (lambda: tuned(tiny_learner(peft_config=None, epochs=1)), True),
    "tuned-bigram": (lambda: tuned(BigramLearner(byte_tokenizer(), smoothing=0.1)), False),
    "classes-lora": (lambda: voting(classifier("bert", loss=LogConfLoss(alpha=0.3))), False),
    "classes-lora-base": (lambda: voting(classifier("llama")), True),
    "classes-full-base": (lambda: voting(bert_classifier(epochs=1)), True),
    "classes-words": (lambda: voting(classifier("llama", head="verbalizer", label_words={0: "zero", 1: "one"}),
                                     [int(opinion == "like") for opinion in OPINIONS]), False),
    "classes-words-base": (lambda: voting(HFClassifier(tiny_causal, tokenizer=WORDS, head="verbalizer", epochs=1,
                                                       classes=("dislike", "like"), random_state=0)), True),
}  # fmt: skip


@cache
def fitted(kind: str) -> Any:
    """An ensemble; tests must leave it as it is."""
    return KINDS[kind][0]()


@cache
def saved(kind: str) -> Path:
    """Folder with the saved ensemble; tests must leave it as it is."""
    holder = tempfile.TemporaryDirectory(prefix="ensemw2s-saved-")
    _HELD.append(holder)
    folder = Path(holder.name) / kind
    fitted(kind).save_pretrained(folder, include_base=KINDS[kind][1])
    return folder


@torch.no_grad()
def sayings(ensemble: Any) -> dict[str, Any]:
    """What an ensemble predicts, with all bits of its numbers, as JSON."""
    votes = ensemble.estimator_weights_.tolist()
    if hasattr(ensemble, "classes_"):
        proba = ensemble.predict_proba(SENTENCES)
        return {"votes": votes, "labels": ensemble.predict(SENTENCES).tolist(), "proba": proba.tobytes().hex()}
    torch.manual_seed(0)
    numbers = [
        ensemble.predict_proba(PROMPTS, choices=CHOICES),
        ensemble.answer_nll(PROMPTS, ANSWERS),
        ensemble.answer_error(PROMPTS, ANSWERS),
        np.array(list(ensemble.staged_token_error(PROMPTS, ANSWERS))),
    ]
    return {
        "votes": votes,
        "numbers": [array.tobytes().hex() for array in numbers],
        "chosen": ensemble.predict(PROMPTS, choices=CHOICES).tolist(),
        "greedy": ensemble.generate(PROMPTS, max_new_tokens=8),
        "sampled": ensemble.generate(PROMPTS, do_sample=True, max_new_tokens=8),
    }


def open_ensemble(kind: str, folder: Any) -> Any:
    """Load an ensemble of `KINDS`."""
    names = {"tokens": TokenAdaBoostGenerator, "tuned": FineTunedGenerator, "classes": LLMAdaBoostClassifier}
    return names[kind.split("-")[0]].from_pretrained(folder)


def relist(folder: Path) -> None:
    """Make the manifest fit the files, as whoever makes a hostile folder does."""
    body = json.loads((folder / "manifest.json").read_text())["body"]
    paths = [path for path in folder.rglob("*.*") if path.name != "manifest.json"]
    body["files"] = {
        path.relative_to(folder).as_posix(): {
            "size": path.stat().st_size,
            "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        }
        for path in paths
    }
    (folder / "manifest.json").write_text(dump_json({"body": body, "sha256": checksum(body)}))
