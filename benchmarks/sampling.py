"""Sampling from five fully fine-tuned members, per token, against one model.

A member is picked for each token, and those that are not picked do not run; they catch up when they are. Rows advance
by themselves and meet at a member only by chance, so that a batch costs more than a row; with ``share_picks`` the
prompts of a batch draw their members together. The alternative is transformers' own sampling from one of the members.
Passes over prompts, and the tokens drawn from them, are left out on both sides; ``all_included`` has them. That the law
is the mixture's is checked with small members against the exact probabilities of all answers.

    python -m benchmarks.sampling
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from scipy import stats

from benchmarks._measure import Row, compare, interleave, script
from benchmarks._models import SHAPES, RandomLlama
from ensemw2s import HFCausalLM, MixtureForCausalLM, word_tokenizer

SETTINGS = {"do_sample": True, "top_k": 0, "eos_token_id": [], "pad_token_id": 0}
WORDS = word_tokenizer(["a b c"])  # six tokens
TINY = {
    "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1, "num_attention_heads": 2,
    "num_key_value_heads": 1, "initializer_range": 0.5,
}  # fmt: skip


class PromptClock:
    """What models spend on prompts: seconds, and the rows whose prompts were read.

    Parameters
    ----------
    models : list of transformers.PreTrainedModel
        Which are listened to.
    """

    def __init__(self, models: list[Any]) -> None:
        self.seconds, self.n_rows, self._start, self._is_prompt = 0.0, 0, 0.0, False
        for model in models:
            model.register_forward_pre_hook(self._begin, with_kwargs=True)
            model.register_forward_hook(self._end)

    def _begin(self, model: Any, args: Any, kwargs: dict[str, Any]) -> None:
        cache = kwargs.get("past_key_values")
        self._is_prompt = cache is None or cache.get_seq_length() == 0
        self.n_rows += len(kwargs["input_ids"]) if self._is_prompt else 0
        self._start = time.process_time()

    def _end(self, *_: Any) -> None:
        if self._is_prompt:
            self.seconds += time.process_time() - self._start

    def take(self) -> tuple[float, int]:
        """Seconds and rows since the last time."""
        taken = self.seconds, self.n_rows
        self.seconds, self.n_rows = 0.0, 0
        return taken


def run(
    repeats: int = 5,
    n_members: int = 5,
    n_prompt: int = 64,
    n_new: int = 32,
    n_samples: int = 3000,
    shape: str = "134M",
) -> list[Row]:
    """Rows for a batch of one, and of eight with picks of their own and with shared ones."""
    members = [RandomLlama(shape, seed).learner(peft_config=None) for seed in range(n_members)]
    mixture = MixtureForCausalLM.from_members(members, np.ones(n_members))
    models = [member.lend_model().__enter__() for member in members]
    clock, p_value = PromptClock(models), small_case_p_value(n_samples)
    rows = []
    for n_rows, share_picks in ((1, False), (8, False), (8, True)):
        ids = torch.randint(
            0, SHAPES[shape]["vocab_size"], (n_rows, n_prompt), generator=torch.Generator().manual_seed(0)
        )
        prompts: dict[str, list[tuple[float, int]]] = {"ours": [], "theirs": []}

        def draw(name: str, generate: Callable[..., Any], *, _ids: Any = ids, _prompts: Any = prompts) -> None:
            torch.manual_seed(len(_prompts[name]))  # other picks at each repeat
            clock.take()
            generate(input_ids=_ids, attention_mask=torch.ones_like(_ids), max_new_tokens=n_new, **SETTINGS)
            _prompts[name].append(clock.take())

        candidates = {"ours": partial(mixture.generate, share_picks=share_picks), "theirs": models[0].generate}
        whole = interleave({name: partial(draw, name, generate) for name, generate in candidates.items()}, repeats)
        per_token = {
            name: [
                (total - seconds) / (n_rows * n_new - n_read)
                for total, (seconds, n_read) in zip(whole[name], prompts[name][1:], strict=True)
            ]
            for name in candidates
        }
        case = f"sampling, {n_members} full members, B={n_rows}" + (", shared picks" if share_picks else "")
        rows.append(
            compare(
                case, "one model", per_token["ours"], per_token["theirs"], "≤ 1.6", equal=p_value > 0.001,
                p_value_of_equal_law=p_value,
                all_included=compare(case, "", whole["ours"], whole["theirs"], "≤ 1.6").ratio_median,
            )
        )  # fmt: skip
    return rows


def draw_sharing(mixture: MixtureForCausalLM, prompts: torch.Tensor, n_samples: int, n_new: int) -> torch.Tensor:
    """Answers to each prompt, drawn as above, prompt by prompt: (n_prompts * n_samples, L + n_new)."""
    settings = {"max_new_tokens": n_new, "num_return_sequences": n_samples, "share_picks": True, **SETTINGS}
    return mixture.generate(prompts, **settings)


def small_case_p_value(n_samples: int, n_new: int = 3, draw: Callable[..., torch.Tensor] = draw_sharing) -> float:
    """Of a chi-squared test of answers that `draw` gives against the exact law of the mixture."""
    votes = np.array([0.5, 0.3, 0.2])
    members = [
        HFCausalLM(partial(tiny_llama, seed), tokenizer=WORDS, device="cpu", peft_config=None).initialize()
        for seed in range(3)
    ]
    mixture = MixtureForCausalLM.from_members(members, votes)
    answers = torch.tensor(list(itertools.product(range(len(WORDS)), repeat=n_new)))  # (V^n, n)
    prompts = torch.tensor([[3, 4], [5, 3]])
    worst = 1.0
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        drawn = draw(mixture, prompts, n_samples, n_new)[:, -n_new:]
        for number, prompt in enumerate(prompts):
            rows = torch.cat([prompt.expand(len(answers), -1), answers], dim=1)
            proba = sum(
                vote * member.lend_model().__enter__()(rows).logits[:, 1:-1].double().softmax(dim=-1)
                for vote, member in zip(votes, members, strict=True)
            )
            law = proba.gather(2, answers[:, :, None])[:, :, 0].prod(dim=1).numpy()
            places = len(WORDS) ** np.arange(n_new)[::-1]
            here = drawn[number * n_samples : (number + 1) * n_samples].numpy() @ places
            counts, expected = np.bincount(here, minlength=len(law)), law / law.sum() * n_samples
            rare = expected < 5
            pooled = [np.append(values[~rare], values[rare].sum()) for values in (counts, expected)]
            worst = min(worst, float(stats.chisquare(*pooled).pvalue))
    return worst


def tiny_llama(seed: int) -> Any:
    """A Llama of WORDS's vocabulary."""
    from transformers import LlamaConfig, LlamaForCausalLM

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return LlamaForCausalLM(LlamaConfig(vocab_size=len(WORDS), max_position_embeddings=32, **TINY))


if __name__ == "__main__":
    script(run)
