"""Speculation for fully fine-tuned members, greedy, one prompt: ``generate(assistant_model=...)`` of the mixture.

The first member drafts tokens, all members read them in one pass, and what agrees with the mixture's argmax is kept,
with one token of the mixture behind it. The answer is that of step-by-step decoding. The members are one model with
small random changes of its weights, which agree about as often as members of an ensemble do; the agreement follows from
the tokens that a pass of all members gives. SmolLM2-135M is used where its weights lie on this machine, otherwise a
model of its shape with random weights.

    python -m benchmarks.speculation
"""

from __future__ import annotations

import copy
from functools import partial
from typing import Any

import numpy as np

from benchmarks._measure import Row, compare, interleave, script
from benchmarks._models import smollm2
from ensemw2s import HFCausalLM, MixtureForCausalLM

TEXT = (
    "Question: What is the name of the process by which green plants make their own food from water and carbon "
    "dioxide, and which gas do they give off?\nAnswer: The process is called"
)


def run(repeats: int = 5, n_members: int = 5, n_new: int = 32, n_drafts: int = 4, shape: str = "134M") -> list[Row]:
    """Rows for members that agree more and less."""
    import torch

    source, tokenizer = smollm2(shape)
    base = HFCausalLM(source, tokenizer=tokenizer, device="cpu", peft_config=None).initialize()
    prompt = torch.tensor([base.tokenizer_(TEXT)["input_ids"]])
    settings = {
        "input_ids": prompt, "attention_mask": torch.ones_like(prompt), "max_new_tokens": n_new, "do_sample": False,
        "eos_token_id": [],
    }  # fmt: skip
    rows = []
    for change in (0.02, 0.05):
        members = [
            HFCausalLM(partial(changed, base, seed, change), tokenizer=base.tokenizer_, device="cpu", peft_config=None)
            for seed in range(n_members)
        ]
        mixture = MixtureForCausalLM.from_members([member.initialize() for member in members], np.ones(n_members))
        drafter, other = (member.lend_model().__enter__() for member in members[:2])
        drafter.generation_config.update(
            num_assistant_tokens=n_drafts, num_assistant_tokens_schedule="constant", assistant_confidence_threshold=0.0
        )
        plain, assisted = (
            partial(mixture.generate, **settings),
            partial(mixture.generate, assistant_model=drafter, **settings),
        )
        passes: list[int] = []
        listener = other.register_forward_hook(lambda *_, _passes=passes: _passes.append(1))
        found = assisted()
        listener.remove()
        equal = torch.equal(found, plain())
        seconds = interleave({"ours": assisted, "theirs": plain}, repeats)
        per_pass = n_new / len(passes)
        rows.append(
            compare(
                f"greedy, {n_members} full members, {n_drafts} drafts, agreement {agreement(per_pass, n_drafts):.2f}",
                "step by step", seconds["ours"], seconds["theirs"], "≥ 1.15x", equal=equal, tokens_per_pass=per_pass,
            )
        )  # fmt: skip
    return rows


def agreement(per_pass: float, n_drafts: int) -> float:
    """Chance a that a draft is the mixture's token, of which a pass of all gives 1 + a + ... + a^n tokens."""
    chances = np.linspace(0.0, 1.0, 101)
    return float(np.interp(per_pass, sum(chances**number for number in range(n_drafts + 1)), chances))


def changed(base: HFCausalLM, seed: int, change: float) -> Any:
    """The model of `base`, its weights moved by `change` times their spread."""
    import torch

    with base.lend_model() as model, torch.no_grad(), torch.random.fork_rng(devices=[]):
        model = copy.deepcopy(model)
        torch.manual_seed(seed)
        for weight in model.parameters():
            if weight.ndim == 2:
                weight += torch.randn_like(weight) * weight.std() * change
    return model


if __name__ == "__main__":
    script(run)
