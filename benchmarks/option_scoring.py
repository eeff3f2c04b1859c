"""Option scoring against lm-evaluation-harness's ``HFLM``, on the same questions with the same model.

``HFLM`` runs one row for each option, all positions through the head; `option_nll` reads a prompt once per question.
Its batch size is the fastest of those tried. The options end with the end-of-answer token on both sides.

A second row compares members of both kinds of adapters: with ``adapt="answer"`` a prompt that has been read before, by
another member or in training, is not read again.

    python -m benchmarks.option_scoring --data-dir path/to/data
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from benchmarks._measure import Row, compare, interleave, one_thread, script
from benchmarks._models import DATA, questions, smollm2, with_random_adapter
from ensemw2s import HFCausalLM
from ensemw2s.mixture._scoring import option_nll

TOLERANCE = 1e-4  # nats per token: both sides round in float32
BATCH_SIZES = (1, 16, 64)


def run(repeats: int = 5, data_dir: str = DATA, n_questions: int = 100, shape: str = "134M") -> list[Row]:
    """Rows of option scoring, and how far the scores are apart."""
    from lm_eval.api.instance import Instance
    from lm_eval.models.huggingface import HFLM

    logging.getLogger("lm_eval").setLevel(logging.ERROR)  # it says that models are better given by name
    model, tokenizer = smollm2(shape)
    learner = HFCausalLM(model, tokenizer=tokenizer, device="cpu", peft_config=None).initialize()
    prompts, options = questions(n_questions, data_dir, model)
    contexts = [learner.prompt_template.format(prompt=prompt) for prompt in prompts]
    pairs = [
        (context, f" {option}{learner.tokenizer_.eos_token}")
        for context, row in zip(contexts, options, strict=True)
        for option in row
    ]
    requests = [Instance("loglikelihood", {}, pair, number) for number, pair in enumerate(pairs)]

    with learner.lend_model() as live:
        harness = HFLM(pretrained=live, tokenizer=learner.tokenizer_, batch_size=1)

        found: dict[str, np.ndarray] = {}

        def theirs() -> None:
            scores = harness.loglikelihood(requests, disable_tqdm=True)
            found["theirs"] = -np.array([score for score, _ in scores]).reshape(len(prompts), -1)

        def ours() -> None:
            found["ours"] = option_nll([learner], [1.0], prompts, options)[0]

        harness.batch_size_per_gpu = fastest_batch_size(harness, requests[: -(-len(requests) // 10)])
        seconds = interleave({"ours": ours, "theirs": theirs}, repeats)
    scorers = {}
    for adapt in ("all", "answer"):
        member = HFCausalLM(model, tokenizer=tokenizer, adapt=adapt, device="cpu").initialize()
        scorers[adapt] = partial(option_nll, [with_random_adapter(member)], [1.0], prompts, options)
    first_time = {adapt: cpu_seconds(scorer) for adapt, scorer in scorers.items()}
    again = interleave(scorers, repeats)
    n_tokens = [[len(ids) for ids in learner.tokenizer_(row, add_special_tokens=False)["input_ids"]] for row in options]
    apart = np.abs(found["ours"] - found["theirs"])
    same_choices = bool((found["ours"].argmin(axis=1) == found["theirs"].argmin(axis=1)).all())
    equal = same_choices and bool((apart <= TOLERANCE * (1 + np.array(n_tokens))).all())
    return [
        compare(
            f"option scoring, 4 options, {n_questions} questions", "lm-eval's HFLM", seconds["ours"],
            seconds["theirs"], "≥ 4x", equal=equal, largest_difference_in_nll=float(apart.max()),
            same_choices=same_choices,
            real_weights=isinstance(model, str), real_questions=bool(data_dir and isinstance(model, str)),
            batch_size_of_the_alternative=harness.batch_size,
        ),
        compare(
            f'option scoring, {n_questions} questions, `adapt="answer"`, prompts known', '`adapt="all"`',
            again["answer"], again["all"], "≥ 1.5x", first_time=first_time,
        ),
    ]  # fmt: skip


def cpu_seconds(work: Callable[[], Any]) -> float:
    """Of one call, with one thread."""
    with one_thread():
        start = time.process_time()
        work()
        return time.process_time() - start


def fastest_batch_size(harness: Any, requests: list[Any]) -> int:
    """The batch size with which the alternative is fastest here."""
    seconds = {}
    for size in BATCH_SIZES:
        harness.batch_size_per_gpu = size
        seconds[size] = cpu_seconds(partial(harness.loglikelihood, requests, disable_tqdm=True))
    return min(seconds, key=seconds.__getitem__)


if __name__ == "__main__":
    script(run)
