"""The bigram learner against counts worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone

from ensemw2s import BigramLearner, TokenDataset, byte_tokenizer, word_tokenizer

V = 258
A, B, C, SPACE, COLON, EOS = (*b"abc :", 256)


def fit(learner, prompts, answers, weight=None):
    tokens = TokenDataset.for_learner(learner.initialize(), prompts, answers)
    return learner.fit(tokens, token_weight=np.ones(tokens.n_tokens) if weight is None else np.array(weight))


def proba(learner, previous, following):
    return np.exp(learner.log_proba_[previous, following])


def test_initialize_without_corpus_is_uniform():
    assert_allclose(BigramLearner().initialize().log_proba_, -np.log(V), rtol=1e-15)


def test_initialize_counts_the_corpus_with_add_one_smoothing():
    learner = BigramLearner(corpus=["abab", "ac"]).initialize()
    assert proba(learner, A, B) == pytest.approx((2 + 1) / (3 + V), rel=1e-12)
    assert proba(learner, A, C) == pytest.approx((1 + 1) / (3 + V), rel=1e-12)
    assert proba(learner, B, A) == pytest.approx((1 + 1) / (1 + V), rel=1e-12)
    assert proba(learner, C, A) == pytest.approx(1 / V, rel=1e-12)


def test_fit_adds_weighted_counts_of_answer_tokens():
    # "x: ab<eos>": counts " " after ":", a after " ", b after a, <eos> after b
    learner = fit(BigramLearner(smoothing=2.0, prompt_template="{prompt}:"), ["x"], ["ab"], [1.0, 2.0, 3.0, 2.0])
    uniform = 1 / V  # weights have mean 2, so they count .5, 1, 1.5, 1
    assert proba(learner, COLON, SPACE) == pytest.approx((0.5 + 2 * uniform) / 2.5, rel=1e-12)
    assert proba(learner, SPACE, A) == pytest.approx((1 + 2 * uniform) / 3, rel=1e-12)
    assert proba(learner, A, B) == pytest.approx((1.5 + 2 * uniform) / 3.5, rel=1e-12)
    assert proba(learner, B, EOS) == pytest.approx((1 + 2 * uniform) / 3, rel=1e-12)


def test_fit_learns_nothing_from_prompts():
    learner = fit(BigramLearner(prompt_template="{prompt}:"), ["abab"], ["c"])
    assert proba(learner, B, A) == pytest.approx(1 / V, rel=1e-12)


def test_fit_conditions_a_first_token_on_its_own_prompt():
    learner = fit(BigramLearner(prompt_template="{prompt}"), ["a", "b"], [" c", " c"])
    assert proba(learner, A, SPACE) == pytest.approx((1 + 1 / V) / 2, rel=1e-12)
    assert proba(learner, B, SPACE) == pytest.approx((1 + 1 / V) / 2, rel=1e-12)
    assert proba(learner, EOS, SPACE) == pytest.approx(1 / V, rel=1e-12)  # not the token of the row before


@pytest.mark.parametrize("scale", [1e-200, 0.5, 1e200])
def test_fit_reads_only_the_ratios_of_the_weights(scale):
    weight = np.array([1.0, 2.0, 0.0, 4.0])
    once, scaled = (fit(BigramLearner(), ["x"], ["ab"], w) for w in (weight, weight * scale))
    assert_allclose(scaled.log_proba_, once.log_proba_, rtol=1e-12)


def test_fit_gives_a_token_without_weight_no_influence():
    answers = ["ab", "cc"]
    weight = np.ones(8)
    weight[4:] = 0.0
    both, first = fit(BigramLearner(), ["x", "y"], answers, weight), fit(BigramLearner(), ["x"], answers[:1])
    assert_array_equal(both.log_proba_, first.log_proba_)


def test_fit_starts_from_the_untrained_model():
    learner = fit(BigramLearner(), ["x"], ["ab"])
    once = learner.log_proba_.copy()
    assert_array_equal(fit(learner, ["x"], ["ab"]).log_proba_, once)


def test_fit_approaches_the_weighted_counts_with_little_smoothing():
    learner = fit(BigramLearner(smoothing=1e-9), ["x", "y"], ["ab", "ac"], [1, 1, 3, 1, 1, 1, 1, 1])
    assert proba(learner, A, B) == pytest.approx(0.75, rel=1e-6)


def test_rows_of_log_proba_sum_to_one():
    learner = fit(BigramLearner(corpus=["the cat"]), ["x", "y"], ["ab", "ac"])
    assert_allclose(np.exp(learner.log_proba_).sum(axis=1), 1.0, rtol=1e-12)


def test_token_logits_are_the_rows_of_the_last_token():
    learner = fit(BigramLearner(), ["x"], ["ab"])
    ids = np.array([[0, A, B], [B, SPACE, A]])
    logits = learner.token_logits(ids, np.array([[0, 1, 1], [1, 1, 1]]))
    assert logits.shape == (2, 3, V)
    assert_array_equal(logits[1, 2], learner.log_proba_[A])


def test_own_tokenizer_sets_the_vocabulary():
    tokenizer = word_tokenizer(["red green blue"])
    learner = fit(BigramLearner(tokenizer, prompt_template="{prompt}"), ["red"], ["green"])
    red, green = tokenizer("red green")["input_ids"]
    assert learner.log_proba_.shape == (len(tokenizer), len(tokenizer))
    assert learner.log_proba_[red].argmax() == green


def test_clone_keeps_parameters_and_drops_what_was_learned():
    learner = fit(BigramLearner(smoothing=3.0, corpus=["ab"]), ["x"], ["ab"])
    copy = clone(learner)
    assert (copy.smoothing, copy.corpus) == (3.0, ["ab"])
    assert not hasattr(copy, "log_proba_")


@pytest.mark.parametrize(
    ("parameters", "error", "message"),
    [
        ({"smoothing": 0.0}, ValueError, r"smoothing must be > 0. Got 0.0"),
        ({"smoothing": float("nan")}, ValueError, r"smoothing must be finite"),
        ({"smoothing": "1"}, ValueError, r"smoothing must be a number. Got '1'"),
        ({"corpus": "one text"}, TypeError, r"corpus must be a sequence of texts"),
        ({"corpus": ["a", None]}, TypeError, r"corpus\[1\] = None"),
    ],
)
def test_initialize_refuses_bad_parameters(parameters, error, message):
    with pytest.raises(error, match=message):
        BigramLearner(**parameters).initialize()


@pytest.mark.parametrize(
    ("weight", "message"),
    [
        (np.ones(3), r"token_weight must have shape \(4,\), one per answer token. Got shape \(3,\)"),
        (np.zeros(4), r"token_weight must have a positive, finite sum"),
        ([1, -1, 1, 1], r"token_weight must hold non-negative numbers. Got token_weight\[1\] = -1.0"),
        ([1, 1, np.nan, 1], r"token_weight must hold finite numbers. Got token_weight\[2\]"),
    ],
)
def test_fit_refuses_bad_weights(weight, message):
    with pytest.raises(ValueError, match=message):
        fit(BigramLearner(), ["x"], ["ab"], weight)


def test_fit_refuses_texts():
    with pytest.raises(TypeError, match=r"tokens must be a TokenDataset. Got list"):
        BigramLearner().fit(["x"], token_weight=np.ones(1))


def test_fit_refuses_tokens_of_another_tokenizer():
    tokens = TokenDataset.from_text(["red"], ["green"], tokenizer=byte_tokenizer())
    learner = BigramLearner(word_tokenizer(["red green"]))
    with pytest.raises(ValueError, match=r"tokens must come from this learner's tokenizer, of 5 tokens"):
        learner.fit(tokens, token_weight=np.ones(tokens.n_tokens))
