"""Speculation for fully fine-tuned members, one prompt: ``generate(assistant_model=...)`` of the mixture.

The first member drafts tokens, all members read them in one pass, and what agrees with the mixture's argmax is kept,
with one token of the mixture behind it. The answer is that of step-by-step decoding. With sampling, drafts are
refused by chance so that answers follow the mixture's law, which small members are checked for against the exact
probabilities of all answers. The members are one model with small random changes of its weights, which agree about as
often as members of an ensemble do; the agreement follows from the tokens that a pass of all members gives.
SmolLM2-135M is used where its weights lie on this machine, otherwise a model of its shape with random weights.

    python -m benchmarks.speculation
"""

from __future__ import annotations

import copy
from functools import partial
from typing import Any

import numpy as np

from benchmarks._measure import Row, compare, interleave, script
from benchmarks._models import smollm2
from benchmarks.sampling import SETTINGS, small_case_p_value
from ensemw2s import HFCausalLM, MixtureForCausalLM

TEXT = (
    "Question: What is the name of the process by which green plants make their own food from water and carbon "
    "dioxide, and which gas do they give off?\nAnswer: The process is called"
)


def run(
    repeats: int = 5, n_members: int = 5, n_new: int = 32, n_drafts: int = 4, shape: str = "134M", n_samples: int = 200
) -> list[Row]:
    """Rows for members that agree more and less, greedy and sampled."""
    import torch

    source, tokenizer = smollm2(shape)
    base = HFCausalLM(source, tokenizer=tokenizer, device="cpu", peft_config=None).initialize()
    prompt = torch.tensor([base.tokenizer_(TEXT)["input_ids"]])
    p_value = small_case_p_value(n_samples, draw=draw_assisted)
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
        for name, law in {"greedy": {"do_sample": False}, "top_k=50": {"do_sample": True, "top_k": 50}}.items():
            settings = {
                "input_ids": prompt, "attention_mask": torch.ones_like(prompt), "max_new_tokens": n_new,
                "eos_token_id": [], **law,
            }  # fmt: skip
            plain, assisted = (
                partial(mixture.generate, **settings),
                partial(mixture.generate, assistant_model=drafter, **settings),
            )
            torch.manual_seed(0)
            passes: list[int] = []
            listener = other.register_forward_hook(lambda *_, _passes=passes: _passes.append(1))
            found = [assisted() for _ in range(repeats if law["do_sample"] else 1)]
            listener.remove()
            equal = p_value > 0.001 if law["do_sample"] else torch.equal(found[0], plain())
            seconds = interleave({"ours": assisted, "theirs": plain}, repeats)
            per_pass = n_new * len(found) / len(passes)
            agreeing = f"agreement {agreement(per_pass, n_drafts):.2f}"
            rows.append(
                compare(
                    f"{name}, {n_members} full members, {n_drafts} drafts, {agreeing}",
                    "step by step", seconds["ours"], seconds["theirs"], "≥ 1.15x", equal=equal,
                    tokens_per_pass=per_pass, **({"p_value_of_equal_law": p_value} if law["do_sample"] else {}),
                )
            )  # fmt: skip
    return rows


def draw_assisted(mixture: MixtureForCausalLM, prompts: Any, n_samples: int, n_new: int) -> Any:
    """Answers to each prompt, one by one, with the first member as assistant: (n_prompts * n_samples, L + n_new)."""
    import torch

    settings = {"max_new_tokens": n_new, **SETTINGS, "top_k": 50}
    with mixture.members[0].lend_model() as drafter:
        return torch.cat(
            [
                mixture.generate(
                    prompt[None], attention_mask=torch.ones_like(prompt[None]), assistant_model=drafter, **settings
                )
                for prompt in prompts
                for _ in range(n_samples)
            ]
        )


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
