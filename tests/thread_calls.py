"""Calls of fitted learners from several threads at once, each compared with what one thread gets.

``python tests/thread_calls.py 3000`` makes 3,000 calls from two and from eight threads, and prints what came of them.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from tiny_classifiers import OPINIONS, SENTENCES, WORDS, bert_classifier, tiny_causal
from tiny_models import ANSWERS, CHOICES, PROMPTS, tiny_learner

from ensemw2s import HFClassifier, TokenAdaBoostGenerator, TokenDataset

OPTIONS = [*CHOICES[:3], ["no", "yes"]]
LONG = [f"{sentence} {' '.join(SENTENCES[:row])}" for row, sentence in enumerate(SENTENCES)]

Call = Callable[[], np.ndarray]


def calls() -> list[tuple[str, Call]]:
    """Name and function of calls of every kind of learner; each gives the same array whenever one thread calls it."""
    found = []
    boosters = {"LoRA": {}, "full": {"peft_config": None}, "answer": {"adapt": "answer"}}
    for name, parameters in boosters.items():
        learner = tiny_learner(epochs=12, **parameters)
        booster = TokenAdaBoostGenerator(learner, n_estimators=2, prior="uniform", random_state=0)
        found += [(name, call) for call in _generator_calls(booster.fit(PROMPTS, ANSWERS))]
        if name != "answer":
            found += [("mixture", call) for call in _mixture_calls(booster.mixture_)]
    classifiers = [
        bert_classifier(truncation="cut", max_length=4),
        bert_classifier(peft_config="default", epochs=1),
        HFClassifier(tiny_causal, tokenizer=WORDS, head="verbalizer", peft_config=None, epochs=1, random_state=0),
    ]
    for number, classifier in enumerate(classifiers):
        classifier.fit(SENTENCES, OPINIONS)
        texts = [*SENTENCES[:4], *LONG[:8]] if number == 0 else SENTENCES  # of which only the first cuts the long ones
        found += [("classifier", _predict(classifier, texts[start : start + 3])) for start in range(6)]
    return found


def _predict(classifier: Any, texts: list[str]) -> Call:
    return lambda: classifier.predict_proba(texts)


def _generator_calls(booster: Any) -> Iterator[Call]:
    for n in range(2, 5):
        yield lambda n=n: booster.answer_nll(PROMPTS[:n], ANSWERS[:n])
        yield lambda n=n: booster.predict_proba(PROMPTS[:n], choices=OPTIONS[:n])
        tokens = TokenDataset.for_learner(booster.estimators_[0], PROMPTS[:n], ANSWERS[:n])
        batch = tokens.batch(np.arange(n), pad_token_id=0)
        yield lambda batch=batch: booster.estimators_[1].answer_logits(batch).numpy()


def _mixture_calls(mixture: Any) -> Iterator[Call]:
    for row in ([97, 98, 58], [83, 107, 121, 58]):
        ids = torch.tensor([row])
        yield lambda ids=ids: mixture.generate(ids, do_sample=False, max_new_tokens=4).numpy()
        yield lambda ids=ids: mixture(ids).logits.numpy()


@contextmanager
def often_switched() -> Iterator[None]:
    """Let Python change between threads every ten microseconds, five hundred times as often as it does by itself."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        yield
    finally:
        sys.setswitchinterval(before)


def outcomes(found: list[tuple[str, Call]], n_calls: int, n_threads: int) -> Counter[tuple[str, str]]:
    """How many calls of each kind gave what one thread gets, something else, or an error."""
    wanted = [call() for _, call in found]

    def outcome(number: int) -> tuple[str, str]:
        name, call = found[number]
        try:
            same = np.array_equal(call(), wanted[number])
        except Exception as error:  # noqa: BLE001 (whatever it is, it is counted)
            return name, f"{type(error).__name__}: {error}"
        return name, "equal" if same else "other values"

    order = np.random.default_rng(n_threads).permutation(np.arange(n_calls) % len(found))
    with often_switched(), ThreadPoolExecutor(n_threads) as pool:
        return Counter(pool.map(outcome, order.tolist()))


if __name__ == "__main__":
    made = calls()
    for n in (2, 8):
        for (kind, result), count in sorted(outcomes(made, int(sys.argv[1]), n).items()):
            sys.stdout.write(f"{n} threads, {kind}: {count} {result}\n")
