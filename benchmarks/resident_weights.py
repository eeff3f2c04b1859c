"""Memory that the weights of five LoRA members take while they decode, against five full models.

Counted are the bytes of all tensors that are alive at the second token, storages that several tensors share once: base,
adapters, their stacked copies, and caches of one token. A full model is counted by its parameters.

    python -m benchmarks.resident_weights
"""

from __future__ import annotations

import gc

import numpy as np

from benchmarks._measure import Row, script
from benchmarks._models import random_llama
from ensemw2s import HFCausalLM, MixtureForCausalLM, byte_tokenizer


def run(repeats: int = 1, n_members: int = 5) -> list[Row]:
    """One row; `repeats` is not used, since bytes do not vary."""
    import torch

    before = bytes_of_tensors()
    full = n_members * sum(parameter.nbytes for parameter in random_llama().parameters())
    tokenizer = byte_tokenizer()
    members = [HFCausalLM(random_llama, tokenizer=tokenizer, device="cpu").initialize() for _ in range(n_members)]
    for member in members:
        member.adapter_ = member._host().state()
    mixture = MixtureForCausalLM.from_members(members, np.ones(n_members))
    counted: list[int] = []
    mixture.generate(
        torch.tensor([[1]]), max_new_tokens=2, do_sample=False, eos_token_id=[], pad_token_id=0,
        stopping_criteria=[lambda ids, scores: bool(counted.append(bytes_of_tensors() - before))],
    )  # fmt: skip
    ratio = counted[-1] / full
    megabytes = {"ours_mb": round(counted[-1] / 1e6, 1), "theirs_mb": round(full / 1e6, 1)}
    case = f"resident weights, T={n_members} LoRA"
    return [Row(case, f"{n_members} full models", ratio, ratio, "≤ 0.25", None, megabytes)]


def bytes_of_tensors() -> int:
    """Bytes of all tensors that Python knows of."""
    import torch

    gc.collect()
    storages: dict[int, int] = {}
    for value in gc.get_objects():
        if isinstance(value, torch.Tensor):
            storages[value.untyped_storage().data_ptr()] = value.untyped_storage().nbytes()
    return sum(storages.values())


if __name__ == "__main__":
    script(run)
