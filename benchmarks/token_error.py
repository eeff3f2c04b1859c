"""The token-error pass against full logits: prompts of 64 tokens, batches of 16 rows.

Answers have 4 tokens each, or 2 to 12 with a mean of 4. The alternative runs the same batches and takes logits, loss
and argmax of all positions, as ``labels`` with -100 at the prompt do in transformers. Memory is what tensors over the
vocabulary take at once.
"""

from __future__ import annotations

import numpy as np

from benchmarks._logits_memory import LogitsMemory
from benchmarks._measure import Row, compare, interleave, script
from benchmarks._models import SHAPES, smollm2
from ensemw2s import HFCausalLM, TokenDataset
from ensemw2s.mixture._scoring import score_answers

PROMPT, BATCH = 64, 16
EVEN = [4] * BATCH
RAGGED = [2, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 5, 6, 7, 12]
TOLERANCE = 1e-4  # nats per token: both sides round in float32


def run(repeats: int = 5, shape: str = "134M") -> list[Row]:
    """Rows of time and of peak memory."""
    model, tokenizer = smollm2(shape)
    learner = HFCausalLM(model, tokenizer=tokenizer, device="cpu", peft_config=None).initialize()
    n_vocabulary = SHAPES[shape]["vocab_size"]
    return [
        row
        for words, answers in (("answer 4", EVEN), ("answers 2 to 12", RAGGED))
        for row in measure(f"token-error pass, prompt {PROMPT}, {words}", learner, answers, n_vocabulary, repeats)
    ]


def random_tokens(answers: list[int], n_vocabulary: int) -> TokenDataset:
    """Rows of random tokens, with answers of these lengths."""
    rng = np.random.default_rng(0)
    bounds = np.cumsum([0, *answers])
    prompts = rng.integers(3, n_vocabulary, len(answers) * PROMPT)
    return TokenDataset(
        prompts, np.arange(len(answers) + 1) * PROMPT, rng.integers(3, n_vocabulary, bounds[-1]), bounds
    )


def measure(case: str, learner: HFCausalLM, answers: list[int], n_vocabulary: int, repeats: int) -> list[Row]:
    """Rows of answers of these lengths."""
    import torch
    from torch.nn.functional import cross_entropy

    tokens = random_tokens(answers, n_vocabulary)
    found: dict[str, np.ndarray] = {}

    def ours() -> None:
        scores = score_answers([learner], [1.0], tokens, batch_size=BATCH)
        found["ours"] = np.stack([scores.nll[0], scores.predicted[0]])

    def full_logits() -> None:
        values = np.empty((2, tokens.n_tokens))
        with torch.no_grad(), learner.lend_model() as live:
            for rows in tokens.iter_batches(BATCH):
                batch = tokens.batch(rows)
                ids, mask, positions = map(
                    torch.from_numpy, (batch.input_ids, batch.attention_mask, batch.position_ids)
                )
                labels = torch.full_like(ids, -100)
                labels[:, -batch.n_last :] = torch.from_numpy(batch.labels)
                logits = live(input_ids=ids, attention_mask=mask, position_ids=positions, use_cache=False).logits
                nll = cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="none").view_as(labels)
                scored = labels != -100
                values[:, batch.token_index[batch.token_index >= 0]] = np.stack(
                    [nll[scored].numpy(), logits.argmax(dim=-1)[scored].numpy()]
                )
        found["theirs"] = values

    seconds = interleave({"ours": ours, "theirs": full_logits}, repeats)
    apart = np.abs(found["ours"] - found["theirs"])
    equal = bool(apart[0].max() <= TOLERANCE and apart[1].max() == 0)
    peaks = {}
    for name, work in (("ours", ours), ("theirs", full_logits)):
        with LogitsMemory(n_vocabulary) as memory:
            work()
        peaks[name] = memory.peak / 1e6
    ratio = peaks["theirs"] / peaks["ours"]
    return [
        compare(f"{case}: time", "full logits", seconds["ours"], seconds["theirs"], "≥ 1.35x", equal=equal,
                largest_difference_in_nll=float(apart[0].max())),
        Row(f"{case}: peak logits memory", "full logits", ratio, ratio, "≥ 15x", equal, {"MB": peaks}),
    ]  # fmt: skip


if __name__ == "__main__":
    script(run)
