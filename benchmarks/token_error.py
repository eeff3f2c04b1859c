"""The token-error pass against full logits: prompts of 64 tokens, answers of 4, batches of 16 rows.

The alternative runs the same batches and takes logits, loss and argmax of all positions, as ``labels`` with -100 at the
prompt do in transformers. Memory is what tensors over the vocabulary take at once.
"""

from __future__ import annotations

import numpy as np

from benchmarks._logits_memory import LogitsMemory
from benchmarks._measure import Row, compare, interleave, script
from benchmarks._models import VOCABULARY, smollm2
from ensemw2s import HFCausalLM, TokenDataset
from ensemw2s.scoring import score_answers

PROMPT, ANSWER, BATCH = 64, 4, 16
TOLERANCE = 1e-4  # nats per token: both sides round in float32


def random_tokens(n_rows: int, prompt: int = PROMPT, answer: int = ANSWER) -> TokenDataset:
    """Rows of random tokens, all of one length."""
    rng = np.random.default_rng(0)
    prompts, answers = (rng.integers(3, VOCABULARY, n_rows * length) for length in (prompt, answer))
    return TokenDataset(prompts, np.arange(n_rows + 1) * prompt, answers, np.arange(n_rows + 1) * answer)


def run(repeats: int = 5, n_rows: int = BATCH) -> list[Row]:
    """Rows of time and of peak memory."""
    import torch
    from torch.nn.functional import cross_entropy

    model, tokenizer = smollm2()
    learner = HFCausalLM(model, tokenizer=tokenizer, device="cpu", peft_config=None).initialize()
    tokens = random_tokens(n_rows)
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
        with LogitsMemory(VOCABULARY) as memory:
            work()
        peaks[name] = memory.peak / 1e6
    ratio = peaks["theirs"] / peaks["ours"]
    case = f"token-error pass, prompt {PROMPT}, answer {ANSWER}"
    return [
        compare(f"{case}: time", "full logits", seconds["ours"], seconds["theirs"], "≥ 1.35x", equal=equal,
                largest_difference_in_nll=float(apart[0].max())),
        Row(f"{case}: peak logits memory", "full logits", ratio, ratio, "≥ 15x", equal, {"MB": peaks}),
    ]  # fmt: skip


if __name__ == "__main__":
    script(run)
