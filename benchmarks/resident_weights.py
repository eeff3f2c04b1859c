"""Memory that the weights of five LoRA members take while they decode, against five full models.

Counted are the bytes of all tensors that are alive at the second token, storages that several tensors share once: base,
adapters, their stacked copies, and caches of one token. A full model is counted by its parameters.

    python -m benchmarks.resident_weights
"""

from __future__ import annotations

import gc

import numpy as np

from benchmarks._measure import Row, script
from benchmarks._models import RandomLlama
from ensemw2s import MixtureForCausalLM, clear_model_cache


def run(
    repeats: int = 1, n_members: int = 5, shape: str = "134M", device: str = "cpu", dtype: str = "float32"
) -> list[Row]:
    """One row; `repeats` is not used, since bytes do not vary."""
    import torch

    base = RandomLlama(shape, device=device, dtype=dtype)
    clear_model_cache()  # a base that is there already would not be counted
    before = bytes_of_tensors()
    full = n_members * sum(parameter.nbytes for parameter in base.placed().parameters())
    members = [base.learner() for _ in range(n_members)]
    for member in members:
        member.adapter_ = member._host().state()
    mixture = MixtureForCausalLM.from_members(members, np.ones(n_members))
    counted: list[int] = []
    mixture.generate(
        torch.tensor([[1]], device=device), max_new_tokens=2, do_sample=False, eos_token_id=[], pad_token_id=0,
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
        if issubclass(type(value), torch.Tensor):  # `isinstance` asks some objects for a deprecated attribute
            storages[value.untyped_storage().data_ptr()] = value.untyped_storage().nbytes()
    return sum(storages.values())


if __name__ == "__main__":
    script(run)
