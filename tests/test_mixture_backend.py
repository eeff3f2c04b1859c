"""Mixtures and generators with a kernel backend asked for by name."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tiny_models import PROMPTS, TEMPLATE, fitted_bigrams

from ensemw2s import (
    BackendUnavailableError,
    BigramLearner,
    FineTunedGenerator,
    MixtureForCausalLM,
    TokenAdaBoostGenerator,
    byte_tokenizer,
    get_backend,
    register_backend,
)
from ensemw2s.kernels import _registry
from ensemw2s.storage import describe
from ensemw2s.tokens._dataset import pad_left

VOTES = [1.0, 3.0]
IDS, MASK = map(
    torch.from_numpy, pad_left([byte_tokenizer()(TEMPLATE.format(prompt=p))["input_ids"] for p in PROMPTS], 257)
)


class Listening:
    """The reference, which remembers what it was asked."""

    name, requires = "listening", "nothing"

    def __init__(self):
        self.asked = []

    def __getattr__(self, operation):
        if operation.startswith("__"):
            raise AttributeError(operation)

        def ask(*args, **kwargs):
            self.asked.append(operation)
            return getattr(get_backend("torch"), operation)(*args, **kwargs)

        return ask

    def supports(self, device, dtype):
        return device.type == "cpu"


@pytest.fixture
def listening(monkeypatch):
    monkeypatch.setattr(_registry, "_LOADERS", dict(_registry._LOADERS))
    backend = Listening()
    register_backend(backend)
    return backend


def mixture(backend, **kwargs):
    return MixtureForCausalLM.from_members(fitted_bigrams(), VOTES, backend=backend, **kwargs)


def test_last_position_is_mixed_by_the_backend_to_the_same_bits(listening):
    logits = mixture("listening")(IDS, MASK, logits_to_keep=1).logits
    assert listening.asked == ["mixture_log_proba"]
    assert torch.equal(logits, mixture("torch")(IDS, MASK, logits_to_keep=1).logits)


@pytest.mark.parametrize("kwargs", [{}, {"num_beams": 2}])
def test_answers_do_not_depend_on_the_backend(listening, kwargs):
    inputs = {"input_ids": IDS, "attention_mask": MASK, "max_new_tokens": 4, "do_sample": False, **kwargs}
    assert torch.equal(mixture("listening").generate(**inputs), mixture("torch").generate(**inputs))
    assert set(listening.asked) == {"mixture_log_proba"}


@pytest.mark.parametrize("votes", [[1.0, 3.0], [1.0, 0.0]])  # read where they are picked, and in lock step
@pytest.mark.parametrize("kwargs", [{"top_k": 0}, {"top_k": 5}])
def test_tokens_are_drawn_by_the_backend(listening, votes, kwargs):
    model = MixtureForCausalLM.from_members(fitted_bigrams(), votes, backend="listening")
    model.generate(IDS, attention_mask=MASK, max_new_tokens=2, do_sample=True, **kwargs)
    assert "mixture_sample" in listening.asked


def test_averaged_logits_are_no_matter_of_the_backend(listening):
    mixture("listening", combine="logits")(IDS, MASK, logits_to_keep=1)
    assert listening.asked == []


def test_backend_that_cannot_serve_the_members_is_refused():
    with pytest.raises(BackendUnavailableError, match=r"backend 'triton' does not serve torch.float32 on cpu"):
        mixture("triton")


@pytest.mark.parametrize("generator", [TokenAdaBoostGenerator, FineTunedGenerator])
@pytest.mark.parametrize(
    ("backend", "error", "message"),
    [
        ("tritn", BackendUnavailableError, r"backend 'tritn' is unknown. Known backends: 'torch', 'triton'"),
        ("triton", BackendUnavailableError, r"backend 'triton' does not serve torch.float32 on cpu"),
        (None, ValueError, r"backend must be 'auto' or the name of a backend. Got None instead"),
    ],
)
def test_backend_is_checked_before_anything_is_trained(generator, backend, error, message, monkeypatch):
    monkeypatch.setattr(BigramLearner, "initialize", lambda self: pytest.fail("a learner was made"))
    with pytest.raises(error, match=message):
        generator(BigramLearner(), backend=backend).fit(["a", "b"], ["c", "d"])


def test_generator_answers_with_the_backend_asked_for(listening):
    generator = FineTunedGenerator(BigramLearner(), backend="listening").fit(["Sky?"], ["blue"])
    expected = FineTunedGenerator(BigramLearner()).fit(["Sky?"], ["blue"])
    texts = []
    for each in (generator, expected):
        with torch.random.fork_rng():
            torch.manual_seed(0)
            texts.append(each.generate(["Sky?"], do_sample=True))
    assert texts[0] == texts[1]
    assert generator.mixture_.backend is listening
    assert listening.asked
    np.testing.assert_array_equal(generator.answer_nll(["Sky?"], ["blue"]), expected.answer_nll(["Sky?"], ["blue"]))


def test_results_are_found_again_under_another_backend():
    described = [describe(FineTunedGenerator(BigramLearner(), backend=name), "student") for name in ("auto", "torch")]
    assert described[0] == described[1]
