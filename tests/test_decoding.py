"""Answers written by a mixture, and options scored by the steps of the greedy answer."""

from __future__ import annotations

import copy
from functools import cache

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from tiny_models import (
    CHOICES,
    PROMPTS,
    TEMPLATE,
    fit,
    fitted_bigrams,
    fitted_members,
    reference_mixture,
    tiny_learner,
)
from transformers import GenerationConfig

from ensemw2s import MixtureForCausalLM, byte_tokenizer
from ensemw2s.ensemble._decoding import generate_texts, match_nll

BYTES = byte_tokenizer()
VOTES = [0.5, 2.0, 1.0]
N_NEW = 6


def mixture_of(members, votes=VOTES, **kwargs):
    return MixtureForCausalLM.from_members(members, votes, **kwargs), members[0]


def context_ids(prompt):
    return list(TEMPLATE.replace("{prompt}", prompt).encode())


def greedy_text(members, prompt, n_new=N_NEW):
    ids = context_ids(prompt)
    start = len(ids)
    for _ in range(n_new):
        ids.append(int(reference_mixture(members, VOTES, ids)[-1].argmax()))
        if ids[-1] == 256:
            break
    return BYTES.decode(ids[start:], skip_special_tokens=True).strip()


def loop_match_nll(members, votes, prompt, option, n_steps, combine="probabilities", normalize="sum"):
    """The paper's second reading: token j of the option under step j of the greedy answer."""
    steps = greedy_steps(tuple(members), tuple(votes), prompt, n_steps, combine)
    answer = [*(" " + option).encode(), 256]
    nll = -sum(steps[place][token] for place, token in enumerate(answer))
    return nll / {"sum": 1, "token": len(answer), "char": len(option)}[normalize]


@cache
def greedy_steps(members, votes, prompt, n_steps, combine):
    ids, steps = context_ids(prompt), []
    for _ in range(n_steps):
        steps.append(reference_mixture(members, votes, ids, combine)[-1])
        ids.append(int(steps[-1].argmax()))  # also after an end-of-answer token
    return steps


def with_batch_size(learner, size):
    return copy.copy(learner).set_params(eval_batch_size=size)


# --- texts ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch_size", [1, 2, 64])
def test_generate_texts_writes_greedy_answers_in_the_order_of_the_questions(batch_size):
    members = fitted_members("gemma3")
    mixture, learner = mixture_of(members)
    texts = generate_texts(mixture, with_batch_size(learner, batch_size), PROMPTS, {"max_new_tokens": N_NEW})
    assert texts == [greedy_text(members, prompt) for prompt in PROMPTS]


def test_generate_texts_of_members_without_a_cache():
    members = [*fitted_bigrams(), fitted_bigrams()[0]]
    texts = generate_texts(*mixture_of(members), PROMPTS, {"max_new_tokens": N_NEW})
    assert texts == [greedy_text(members, prompt) for prompt in PROMPTS]


def test_generate_texts_gives_the_answer_that_was_learned():
    member = fit(tiny_learner(epochs=40))
    assert generate_texts(*mixture_of([member], [1.0]), PROMPTS, {"max_new_tokens": 20}) == [
        "c", "three", "blue or not", "no"
    ]  # fmt: skip


SEVERAL = {"num_return_sequences": 3, "num_beams": 3, "max_new_tokens": 4}


@pytest.mark.parametrize(
    "settings",
    [SEVERAL, {"generation_config": GenerationConfig(**SEVERAL, pad_token_id=257, eos_token_id=256)}],
    ids=["keywords", "GenerationConfig"],
)
def test_several_sequences_stay_with_their_question(settings):
    members = fitted_members("llama")
    mixture, learner = mixture_of(members)
    texts = generate_texts(mixture, with_batch_size(learner, 3), PROMPTS, settings)
    for prompt, found in zip(PROMPTS, texts, strict=True):
        [alone] = generate_texts(mixture, learner, [prompt], settings)
        assert found == alone
        assert len(found) == 3


def test_generate_texts_reads_the_output_with_scores():
    mixture, learner = mixture_of(fitted_members("llama"))
    plain = generate_texts(mixture, learner, PROMPTS, {"max_new_tokens": 3})
    settings = {"max_new_tokens": 3, "return_dict_in_generate": True, "output_scores": True}
    assert generate_texts(mixture, learner, PROMPTS, settings) == plain


def test_generation_config_decides_whether_to_sample():
    mixture, learner = mixture_of(fitted_members("llama"))
    config = GenerationConfig(do_sample=True, top_k=0, max_new_tokens=8, pad_token_id=257, eos_token_id=256)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        texts = [generate_texts(mixture, learner, PROMPTS, {"generation_config": config}) for _ in range(2)]
    assert texts[0] != texts[1]


@pytest.mark.parametrize(
    "settings",
    [
        {"max_new_tokens": 30},
        {"generation_config": GenerationConfig(max_new_tokens=30, pad_token_id=257, eos_token_id=256)},
    ],
    ids=["keyword", "GenerationConfig"],
)
def test_prompt_that_leaves_no_room_is_refused_by_its_number(settings):
    mixture, learner = mixture_of(fitted_members("llama"))
    learner = copy.copy(learner)
    learner.max_length_ = 50
    with pytest.raises(ValueError, match=r"X\[1\] is 25 tokens long and leaves no room for max_new_tokens=30"):
        generate_texts(mixture, learner, PROMPTS, settings)


def test_prompt_that_leaves_no_room_is_cut_on_the_left_where_training_does_so():
    mixture, learner = mixture_of(fitted_members("llama"))
    learner = copy.copy(learner).set_params(truncation="prompt")
    learner.max_length_ = 10
    found = generate_texts(mixture, learner, ["Which is larger?"], {"max_new_tokens": 4})
    plain = copy.copy(learner).set_params(prompt_template="{prompt}", truncation="error")
    assert found == generate_texts(mixture, plain, ["rger?:"], {"max_new_tokens": 4})


# --- the second reading of an option's score --------------------------------------------------------------------------


@pytest.mark.parametrize("combine", ["probabilities", "logits"])
@pytest.mark.parametrize("normalize", ["sum", "token", "char"])
def test_match_nll_equals_a_float64_loop(combine, normalize):
    members = fitted_members("llama")
    mixture, learner = mixture_of(members, combine=combine)
    found = match_nll(mixture, with_batch_size(learner, 3), PROMPTS, CHOICES, normalize=normalize)
    assert found.shape == (4, 3)
    for row, (prompt, options) in enumerate(zip(PROMPTS, CHOICES, strict=True)):
        for column in range(3):
            if column >= len(options):
                assert found[row, column] == np.inf
                continue
            expected = loop_match_nll(members, VOTES, prompt, options[column], 13, combine, normalize)
            assert_allclose(found[row, column], expected, atol=1e-4)


def test_match_nll_goes_on_behind_the_end_of_the_answer():
    member = fit(tiny_learner(epochs=40))  # answers "c<eos>" to the first prompt
    found = match_nll(*mixture_of([member], [1.0]), PROMPTS[:1], [["c", "cccc"]], normalize="sum")
    expected = [loop_match_nll([member], [1.0], PROMPTS[0], option, 6) for option in ("c", "cccc")]
    assert_allclose(found[0], expected, atol=1e-4)
    assert np.isfinite(found).all()


def test_match_nll_names_the_question_that_is_too_long():
    mixture, learner = mixture_of(fitted_members("llama"))
    learner = copy.copy(learner)
    learner.max_length_ = 20
    with pytest.raises(ValueError, match=r"Row 1 is 29 tokens long, question and answer, more than max_length=20"):
        match_nll(mixture, learner, PROMPTS, [["a"], ["no"], ["b"], ["c"]], normalize="sum")
