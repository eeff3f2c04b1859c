"""The table's decoding, memory and mixture on a GPU: a Llama of 1B shape in bfloat16, five LoRA members, eight prompts.

Random weights; about 25 GB of GPU memory. Decoding is timed as in `benchmarks.decode_lora`, by the wall clock and with
the GPU's work waited for. Beside the price against one model stands what the bytes allow: the weights, adapters, keys
and values that a step reads, over those of one model. Outputs are compared where greedy choices cannot hide it: the
log-probabilities after a prompt and after some given tokens may differ by a small part of what the adapters change.

The mixture kernel is Triton's over a vocabulary of 128,256 tokens, for as many rows as no cache holds: the bytes that
it moves a second, each logit read twice and each log-probability written once, against those of a copy.

    python -m benchmarks.gpu
    python -m benchmarks.gpu --device cpu --dtype float32 --shape tiny
"""

from __future__ import annotations

import statistics
import sys
from functools import partial
from typing import Any

import numpy as np
import torch

from benchmarks import resident_weights
from benchmarks._measure import Row, clock, compare, interleave, script
from benchmarks._models import RandomLlama
from benchmarks.decode_lora import Writer, candidates
from ensemw2s import BackendUnavailableError, get_backend, measure_bandwidth

TARGETS = {"one model": "≤ 1.35", "full models": "≥ 3.5x", "adapter_names": "≥ 1x"}
N_GIVEN = 4  # tokens, when outputs are compared
N_TURNS = 20  # calls of the kernel in one measurement
# Of the adapters' effect. In bfloat16 both sides round every layer's output to eight bits.
TOLERANCES = {"float32": 1e-3, "float16": 0.02, "bfloat16": 0.1}


def run(
    repeats: int = 5,
    device: str = "cuda",
    dtype: str = "bfloat16",
    shape: str = "1B",
    n_members: int = 5,
    n_rows: int = 8,
    n_prompt: int = 64,
    n_new: int = 32,
    n_vocabulary: int = 128_256,
    n_mixed: int = 256,
    copied_mb: int = 1024,
) -> list[Row]:
    """Rows of memory, decoding and, where Triton serves the device, of the mixture kernel."""
    if device != "cpu" and not torch.cuda.is_available():
        raise SystemExit(
            f"device={device!r} needs a GPU, and torch.cuda finds none. `--device cpu --dtype float32 --shape tiny` "
            f"runs this script on a CPU, which says nothing about a GPU."
        )
    base = RandomLlama(shape, device=device, dtype=dtype)
    bandwidth = measure_bandwidth(n_bytes=copied_mb * 10**6, seconds=0.2, device=device, clock=partial(clock, device))
    rows = resident_weights.run(n_members=n_members, shape=shape, device=device, dtype=dtype)
    rows += decode(base, repeats, n_members, n_rows, n_prompt, n_new, bandwidth)
    return rows + mixture((n_members, n_mixed, n_vocabulary), getattr(torch, dtype), device, repeats, copied_mb)


def decode(
    base: RandomLlama, repeats: int, n_members: int, n_rows: int, n_prompt: int, n_new: int, bandwidth: float
) -> list[Row]:
    """Rows of decoding."""
    mixtures = candidates(base, n_members, list(TARGETS))
    ids = torch.from_numpy(np.random.default_rng(1).integers(97, 123, (n_rows, n_prompt + N_GIVEN))).to(base.device)
    found = {name: log_proba(model, ids) for name, model in mixtures.items()}
    effect = rms(found["ours"] - found["one model"])
    apart = {name: rms(found["ours"] - other) / effect for name, other in found.items()}
    del found
    writers = {name: Writer(model, n_rows, n_prompt, n_new) for name, model in mixtures.items()}
    seconds = interleave({name: writer.go_on for name, writer in writers.items()}, repeats, base.device)
    # The first call warmed up; the middle of those that are timed.
    length = n_prompt + 1 + round(n_new * (1 + repeats / 2))
    n_bytes = bytes_of_step(mixtures, n_rows, length)
    bound = n_bytes["ours"] / n_bytes["one model"]
    roofline = {
        name: {
            "bytes_a_step": moved,
            "milliseconds_at_the_bandwidth": round(1e3 * moved / bandwidth, 3),
            "milliseconds_measured": round(1e3 * statistics.median(seconds[name]) / n_new, 3),
        }
        for name, moved in n_bytes.items()
    }
    details: dict[str, Any] = {"tokens_per_measurement": n_new, "device": device_name(base.device)}
    case = f"decode, {base.shape} {base.dtype}, T={n_members} LoRA, per token, B={n_rows}"
    rows = []
    for other, target in TARGETS.items():
        if other == "one model":
            more = {"bytes_per_second_of_a_copy": bandwidth, "roofline": roofline}
            against, equal = f"one model (its bytes allow {bound:.2f})", None
        else:
            more = {"difference_over_effect_of_adapters": apart[other]}
            against, equal = other, apart[other] <= TOLERANCES[base.dtype]
        rows.append(compare(case, against, seconds["ours"], seconds[other], target, equal=equal, **details, **more))
    return rows


@torch.inference_mode()
def log_proba(model: Any, ids: torch.Tensor) -> torch.Tensor:
    """After the prompt and after each of the given tokens behind it, (N_GIVEN + 1, B, V), float32."""
    n_prompt, found, past = ids.shape[1] - N_GIVEN, [], None
    for start, end in [(0, n_prompt), *((n, n + 1) for n in range(n_prompt, ids.shape[1]))]:
        output = model(
            input_ids=ids[:, start:end], attention_mask=torch.ones_like(ids[:, :end]), past_key_values=past,
            use_cache=True, logits_to_keep=1,
        )  # fmt: skip
        past = output.past_key_values
        found.append(output.logits[:, -1].float().log_softmax(dim=-1))
    return torch.stack(found)


def rms(difference: torch.Tensor) -> float:
    """Root of the mean square."""
    return float(difference.square().mean().sqrt())


def bytes_of_step(mixtures: dict[str, Any], n_rows: int, length: int) -> dict[str, int]:
    """What a step must read, for ours and one model: weights, adapters, and keys and values of the tokens so far."""
    one, members = mixtures["one model"], mixtures["ours"].members
    tied = one.config.tie_word_embeddings  # otherwise only a few rows of the embedding are read
    weights = sum(p.nbytes for p in one.parameters()) - (0 if tied else one.get_input_embeddings().weight.nbytes)
    adapters = sum(tensor.nbytes for member in members for tensor in member.adapter_.values())
    config = one.config
    of_token = 2 * config.num_hidden_layers * config.num_key_value_heads * config.head_dim * one.dtype.itemsize
    cached = n_rows * length * of_token
    return {"ours": weights + adapters + len(members) * cached, "one model": weights + cached}


def mixture(
    shape: tuple[int, int, int], dtype: torch.dtype, device: str, repeats: int, copied_mb: int
) -> list[Row]:  # fmt: skip
    """Row of the kernel's bytes a second over those of a copy; none, and the reason on stderr, where Triton cannot."""
    try:
        kernel = get_backend("triton", device=device, dtype=dtype).mixture_log_proba
    except BackendUnavailableError as reason:
        print(f"The mixture kernel is left out: {reason}", file=sys.stderr)
        return []
    n_members, n_rows, n_columns = shape
    generator = torch.Generator(device).manual_seed(0)
    logits = (3.0 * torch.randn(shape, generator=generator, device=device)).to(dtype)
    log_weights = torch.full((n_members,), 1.0 / n_members, device=device).log()
    source = torch.ones(copied_mb * 10**6, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)

    def ours() -> None:
        for _ in range(N_TURNS):
            kernel(logits, log_weights)

    def copies() -> None:
        for _ in range(N_TURNS):
            target.copy_(source)

    expected = logits[:, :2].double().softmax(dim=-1).mean(dim=0).log()
    apart = float((kernel(logits, log_weights)[:2] - expected).abs().max())
    seconds = interleave({"ours": ours, "theirs": copies}, repeats, device)
    moved = N_TURNS * (2 * logits.nbytes + 4 * n_rows * n_columns)  # float32 is written
    copied = N_TURNS * 2 * source.nbytes
    per_byte = {"ours": [s / moved for s in seconds["ours"]], "theirs": [s / copied for s in seconds["theirs"]]}
    row = compare(
        f"mixture kernel, T={n_members}, B={n_rows}, V={n_columns // 1000}k: bandwidth", "a copy's",
        per_byte["ours"], per_byte["theirs"], "≥ 0.8", equal=apart <= 1e-4, largest_difference=apart,
        bytes_per_second=1.0 / statistics.median(per_byte["ours"]),
        bytes_per_second_of_a_copy=1.0 / statistics.median(per_byte["theirs"]), device=device_name(device),
    )  # fmt: skip
    return [row]


def device_name(device: str) -> str:
    """What a result was measured on."""
    return device if device == "cpu" else torch.cuda.get_device_name(device)


if __name__ == "__main__":
    script(run)
