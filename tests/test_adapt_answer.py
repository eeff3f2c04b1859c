"""adapt="answer": equal to PEFT's own activated LoRA, which reads whole rows and knows nothing of a prompt cache."""

from __future__ import annotations

import copy
import pickle
import warnings
from functools import cache

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from peft import PeftModel
from sklearn.base import clone
from tiny_models import ANSWERS, CHOICES, FACTORIES, PROMPTS, fit, tiny_learner, tokens_for, untrained_model

from ensemw2s import FineTunedGenerator, HFCausalLM, check_weak_learner
from ensemw2s.learners._activated import CuedBatch, activated_answers, cut_at_cue
from ensemw2s.scoring import option_nll, score_answers

ARCHITECTURES = ["gemma3", "gpt2", "gpt_neox", "llama", "qwen3"]
TEMPLATE = "Q {prompt}\nA:"  # three tokens of the byte tokenizer follow the question


def learner_for(name="llama", **parameters):
    return tiny_learner(FACTORIES[name], prompt_template=TEMPLATE, **{"adapt": "answer", "epochs": 2, **parameters})


@cache
def fitted(name="llama", seed=0):
    """A member whose adapter moves the logits by nats; tests must leave it as it is."""
    return fit(learner_for(name, random_state=seed, lr=3e-2))


def exported(learner, folder):
    """The learner's adapter, loaded by PEFT onto a base of its own."""
    learner._host().save(learner.adapter_, folder, cue_ids=learner.cue_ids_)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing", category=FutureWarning)
        return PeftModel.from_pretrained(untrained_model(learner.model), folder, is_trainable=True).eval()


@pytest.fixture(scope="module", params=ARCHITECTURES)
def pair(request, tmp_path_factory):
    """A member, and PEFT's aLoRA with its adapter."""
    learner = fitted(request.param)
    return learner, exported(learner, tmp_path_factory.mktemp("adapter"))


def whole_rows(model, tokens):
    """Logits that predict each row's answer, one unpadded forward pass a row."""
    for row in range(len(tokens)):
        prompt, answer = tokens.row_ids(row)
        yield model(torch.tensor([[*prompt, *answer[:-1]]])).logits[0, -len(answer) :]


def prompt_batch(learner, prompts=PROMPTS):
    from ensemw2s.tokens import encode_for_learner, pad_left

    ids, mask = map(torch.from_numpy, pad_left(encode_for_learner(learner, prompts), 0))
    return ids, mask, (mask.cumsum(dim=1) - 1).clamp(min=0)


def test_answer_logits_equal_pefts(pair):
    learner, model = pair
    tokens = tokens_for(learner)
    logits = learner.answer_logits(tokens.batch(np.arange(len(tokens))))
    untrained = fitted_base_logits(model, tokens)
    with torch.no_grad():
        for row, expected in enumerate(whole_rows(model, tokens)):
            assert_allclose(logits[row, -len(expected) :], expected, atol=1e-5)
            assert np.abs(expected.numpy() - untrained[row]).max() > 0.1


def fitted_base_logits(model, tokens):
    with torch.no_grad(), model.disable_adapter():
        return [logits.numpy() for logits in whole_rows(model, tokens)]
