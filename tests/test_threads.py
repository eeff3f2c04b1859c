"""Fitted learners in several threads."""

from __future__ import annotations

import copy
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier, Thread

import joblib
import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal
from thread_calls import OPTIONS, calls, often_switched, outcomes
from tiny_models import ANSWERS, PROMPTS, fit, tiny_learner, tokens_for

from ensemw2s import FineTunedGenerator, PseudoLabeler, QADataset, TokenAdaBoostGenerator


@pytest.fixture(scope="module")
def found():
    return calls()


@pytest.mark.parametrize("n_threads", [2, 8])
@pytest.mark.slow
def test_every_call_gives_what_one_thread_gets(found, n_threads):
    made = outcomes(found, 4 * len(found), n_threads)
    assert {result for _, result in made} == {"equal"}, made
    assert {kind for kind, _ in made} == {"LoRA", "full", "answer", "mixture", "classifier"}


@pytest.mark.slow
def test_scoring_leaves_a_model_alone_that_others_use():
    learner = fit(tiny_learner(peft_config=None, epochs=1))
    twin, tokens = copy.copy(learner), tokens_for(learner)  # with the same model
    batch, ids = tokens.batch(np.arange(len(tokens)), pad_token_id=0), torch.tensor([[97, 98, 58, 99]])
    with torch.no_grad():
        wanted = [learner.answer_logits(batch), learner.model_(ids).logits]
    others = []

    def score(member):
        for _ in range(60):
            others.append(torch.equal(member.answer_logits(batch), wanted[0]))

    @torch.no_grad()
    def run():
        for _ in range(200):
            others.append(torch.equal(learner.model_(ids).logits, wanted[1]))

    threads = [Thread(target=score, args=[learner]), Thread(target=score, args=[twin]), Thread(target=run)]
    with often_switched():
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert all(others)
    assert len(others) == 320


@pytest.mark.slow
@pytest.mark.parametrize("parameters", [{}, {"peft_config": None}], ids=["LoRA", "full"])
def test_threads_label_as_one_does(parameters):
    teacher = FineTunedGenerator(tiny_learner(epochs=1, **parameters)).fit(PROMPTS, ANSWERS)
    questions = QADataset(PROMPTS * 2, choices=OPTIONS * 2)
    wanted = PseudoLabeler(batch_size=2).label(teacher, questions)
    with often_switched(), joblib.parallel_config(backend="threading"):
        found = PseudoLabeler(batch_size=2, n_jobs=4).label(teacher, questions)
    assert_array_equal(found.y, wanted.y)
    assert_array_equal(found.confidence, wanted.confidence)


@pytest.mark.slow
def test_learners_are_trained_in_threads_as_one_after_another():
    def nll(seed):
        learner = tiny_learner(epochs=1, peft_config=None if seed % 2 else "default", random_state=seed)
        return FineTunedGenerator(learner).fit(PROMPTS, ANSWERS).answer_nll(PROMPTS, ANSWERS)

    wanted = [nll(seed) for seed in range(4)]
    with often_switched(), ThreadPoolExecutor(4) as pool:
        assert_array_equal(list(pool.map(nll, range(4))), wanted)


@pytest.mark.timeout(60)
def test_of_threads_that_would_wait_for_each_other_one_gets_an_error_and_the_other_goes_on():
    learner = tiny_learner(epochs=1, peft_config=None)
    mixture = TokenAdaBoostGenerator(learner, n_estimators=2, reweight=False).fit(PROMPTS, ANSWERS).mixture_
    ids, both = torch.tensor([[97, 98, 58]]), Barrier(2)
    wanted = mixture.generate(ids, do_sample=False, max_new_tokens=4)

    def draft(member):
        with member.lend_model() as model:
            both.wait()
            return mixture.generate(ids, do_sample=False, max_new_tokens=4, assistant_model=model)

    with ThreadPoolExecutor(2) as pool:
        drafts = [pool.submit(draft, member) for member in mixture.members]
        errors = [future.exception() for future in drafts]
    assert sorted(str(error)[:35] for error in errors) == ["None", "Two threads would wait for each oth"]
    assert [torch.equal(future.result(), wanted) for future in drafts if future.exception() is None] == [True]
