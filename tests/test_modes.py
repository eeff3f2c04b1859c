"""torch's modes of the caller (inference mode, autocast, default dtype and device) and what is fitted under them."""

from __future__ import annotations

from contextlib import contextmanager

import pytest
import torch
from numpy.testing import assert_array_equal
from sklearn.base import clone
from tiny_classifiers import OPINIONS, SENTENCES, bert_classifier
from tiny_models import ANSWERS, PROMPTS, fit, tiny_learner, tiny_llama, tokens_for, untrained_model

from ensemw2s import HFCausalLM, TokenAdaBoostGenerator, byte_tokenizer


@contextmanager
def float64_by_default():
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


MODES = {
    "inference": torch.inference_mode,
    "no gradients": torch.no_grad,
    "autocast": lambda: torch.autocast("cpu", dtype=torch.bfloat16),
    "default dtype": float64_by_default,
    "default device": lambda: torch.device("meta"),
}


def logits(learner):
    return learner.token_logits(torch.tensor([[97, 98, 99]]), torch.ones(1, 3, dtype=torch.int64)).numpy()


@pytest.fixture(scope="module", params=["default", None])
def without(request):
    """A learner fitted in no mode, and its logits."""
    learner = fit(tiny_learner(peft_config=request.param, epochs=2))
    return learner, logits(learner)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.slow
def test_a_fit_under_a_mode_of_the_caller_is_the_fit_without(mode, without):
    first, expected = without
    with MODES[mode]():
        under = fit(clone(first))
    assert_array_equal(logits(under), expected)
    assert_array_equal(logits(first), expected)  # which shares the base
    assert_array_equal(logits(fit(clone(first))), expected)


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["inference", "default dtype"])
def test_a_classifier_leaves_the_mode_at_its_door(mode):
    expected = bert_classifier(epochs=1).fit(SENTENCES, OPINIONS).predict_proba(SENTENCES)
    with MODES[mode]():
        under = bert_classifier(epochs=1).fit(SENTENCES, OPINIONS)
    assert_array_equal(under.predict_proba(SENTENCES), expected)


@pytest.mark.slow
def test_votes_of_a_booster_are_not_rounded_by_the_callers_autocast():
    booster = TokenAdaBoostGenerator(tiny_learner(lr=3e-2), n_estimators=2, prior="uniform", random_state=0)
    expected = booster.fit(PROMPTS, ANSWERS).estimator_weights_
    with MODES["autocast"]():
        booster.fit(PROMPTS, ANSWERS)
    assert_array_equal(booster.estimator_weights_, expected)


@pytest.mark.slow
@pytest.mark.parametrize("peft_config", ["default", None])
def test_a_base_that_is_first_used_in_inference_mode_can_be_trained_later(peft_config, tmp_path):
    untrained_model(tiny_llama).save_pretrained(tmp_path)
    learner = HFCausalLM(str(tmp_path), tokenizer=byte_tokenizer(), peft_config=peft_config, epochs=1, random_state=0)
    learner.initialize()
    with torch.inference_mode():
        logits(learner)
    assert learner.fit(tokens_for(learner), token_weight=[1.0] * tokens_for(learner).n_tokens).history_
