"""Decoding with five LoRA members, per token, against one model and against the ways to run five.

A prompt of 64 tokens is read before the clock starts; then every call of ``generate`` goes on from the cache of the
one before by a few greedy tokens. The alternatives mix and choose tokens as ours does, by
`MixtureForCausalLM.generate`, and differ in how they come by the members' logits: five full models with the adapters
merged into their weights, PEFT's ``set_adapter`` before each member's pass, and PEFT's ``adapter_names`` in one batch.
All have to write the same tokens.

    python -m benchmarks.decode_lora
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numpy as np

from benchmarks._measure import Row, compare, interleave, script
from benchmarks._models import RandomLlama, with_random_adapter
from ensemw2s import HFCausalLM, MixtureForCausalLM

TARGETS = {
    1: {"one model": "≤ 1.7", "full models": "≥ 2.3x", "adapter_names": "≥ 2.2x", "set_adapter": "≥ 2.2x"},
    8: {"one model": "≤ 2.3", "full models": "≥ 1.9x", "adapter_names": "≥ 1.6x", "set_adapter": "≥ 1.6x"},
}


def run(repeats: int = 5, n_members: int = 5, n_prompt: int = 64, n_new: int = 8, shape: str = "134M") -> list[Row]:
    """Rows of one prompt and of eight."""
    mixtures = candidates(RandomLlama(shape), n_members, list(TARGETS[1]))
    return [row for n_rows in TARGETS for row in decode(mixtures, repeats, n_members, n_rows, n_prompt, n_new)]


def decode(mixtures: dict[str, Any], repeats: int, n_members: int, n_rows: int, n_prompt: int, n_new: int) -> list[Row]:
    """Rows of `n_rows` prompts."""
    writers = {name: Writer(model, n_rows, n_prompt, n_new) for name, model in mixtures.items()}
    calls: dict[str, Callable[[], Any]] = {name: writer.go_on for name, writer in writers.items()}
    seconds = interleave(calls, repeats)
    written = writers["ours"].ids.tolist()
    return [
        compare(
            f"decode, T={n_members} LoRA, per token, B={n_rows}",
            other,
            seconds["ours"],
            seconds[other],
            target,
            # One model writes other tokens than five do.
            equal=None if other == "one model" else writers[other].ids.tolist() == written,
            tokens_per_measurement=n_new,
        )
        for other, target in TARGETS[n_rows].items()
    ]


class Writer:
    """A generation that goes on from call to call."""

    def __init__(self, model: Any, n_rows: int, n_prompt: int, n_new: int) -> None:
        import torch

        self.model, self.n_new, self.cache = model, n_new, None
        ids = np.random.default_rng(0).integers(97, 123, (n_rows, n_prompt))
        self.ids = torch.from_numpy(ids).to(model.device)
        self.write(1)

    def go_on(self) -> None:
        """Write some tokens more."""
        self.write(self.n_new)

    def write(self, n_new: int) -> None:
        import torch

        output = self.model.generate(
            self.ids, attention_mask=torch.ones_like(self.ids), past_key_values=self.cache, max_new_tokens=n_new,
            do_sample=False, eos_token_id=[], pad_token_id=0, return_dict_in_generate=True,
        )  # fmt: skip
        self.ids, self.cache = output.sequences, output.past_key_values


def candidates(base: RandomLlama, n_members: int, others: Sequence[str]) -> dict[str, Any]:
    """What decodes: "ours", and what it is compared with."""
    learner = base.learner()
    members = [with_random_adapter(learner, seed) for seed in range(n_members)]
    names = [f"member_{place}" for place in range(n_members)]
    tokenizer, adapted = learner.tokenizer_, cache(lambda: with_adapters(members))
    ways: dict[str, Callable[[], list[Any]]] = {
        "ours": lambda: members,
        "full models": lambda: [merged(member) for member in members],
        "adapter_names": lambda: [NamedRows(adapted(), name, tokenizer) for name in names],
        "set_adapter": lambda: [Switched(adapted(), name, tokenizer) for name in names],
    }
    return {
        name: base.placed()
        if name == "one model"
        else MixtureForCausalLM.from_members(ways[name](), np.ones(n_members))
        for name in ("ours", *others)
    }


def merged(member: HFCausalLM) -> HFCausalLM:
    """A member as a model of its own."""

    def whole() -> Any:
        return with_adapters([member]).merge_and_unload()

    learner = HFCausalLM(whole, tokenizer=member.tokenizer_, peft_config=None, device=member.device, dtype=member.dtype)
    return learner.initialize()


def with_adapters(members: list[HFCausalLM]) -> Any:
    """One PEFT model that holds all adapters."""
    from peft import get_peft_model

    from ensemw2s._adapters.host import default_lora

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # PEFT reads an attribute that transformers has renamed
        model = get_peft_model(members[0].model.placed(), default_lora(), adapter_name="member_0")
        for place in range(1, len(members)):
            model.add_adapter(f"member_{place}", default_lora())
    for place, member in enumerate(members):
        renamed = {name.replace(".default.", f".member_{place}."): tensor for name, tensor in member.adapter_.items()}
        if model.load_state_dict(renamed, strict=False).unexpected_keys:
            raise RuntimeError("PEFT calls the adapters' weights something else than it did.")
    return model.eval()


class Switched:
    """A member by ``set_adapter``."""

    def __init__(self, model: Any, name: str, tokenizer: Any) -> None:
        self.model, self.name, self.tokenizer_ = model, name, tokenizer

    def decode_step(
        self, input_ids: Any, attention_mask: Any, position_ids: Any, *, cache: Any, n_last: int, use_cache: bool
    ) -> tuple[Any, Any]:
        import torch

        self.model.set_adapter(self.name)
        with torch.inference_mode():
            output = self.model(
                input_ids=input_ids, attention_mask=attention_mask, position_ids=position_ids, past_key_values=cache,
                use_cache=use_cache, logits_to_keep=n_last,
            )  # fmt: skip
        return output.logits, output.past_key_values


class NamedRows(Switched):
    """A member whose rows are one part of a batch, by ``adapter_names``."""

    def stack_base(self) -> Any:
        return self.model

    @staticmethod
    def stack(members: list[NamedRows], backend: Any = None) -> NamedBatch:
        return NamedBatch(members[0].model, [member.name for member in members])


class NamedBatch:
    """The rows of all members as one batch."""

    def __init__(self, model: Any, names: list[str]) -> None:
        self.model, self.names = model, names

    def step(
        self, input_ids: Any, attention_mask: Any, position_ids: Any, cache: Any, *, n_last: int, use_cache: bool
    ) -> tuple[Any, Any]:
        import torch

        n_members, n_rows = len(self.names), len(input_ids)
        inputs = {"input_ids": input_ids, "attention_mask": attention_mask, "position_ids": position_ids}
        with torch.inference_mode():
            output = self.model(
                **{name: tensor.repeat(n_members, 1) for name, tensor in inputs.items()}, past_key_values=cache,
                use_cache=use_cache, logits_to_keep=n_last,
                adapter_names=[name for name in self.names for _ in range(n_rows)],
            )  # fmt: skip
        return output.logits.unflatten(0, (n_members, n_rows)), output.past_key_values


if __name__ == "__main__":
    script(run)
