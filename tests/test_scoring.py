"""Scores of known answers and options, against loops in float64 over one unpadded row at a time."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from tiny_models import (
    CHOICES,
    FACTORIES,
    PROMPTS,
    TEMPLATE,
    WithoutCache,
    fitted_bigrams,
    fitted_members,
    reference_mixture,
    tiny_learner,
    tokens_for,
)

from ensemw2s import TokenDataset, WeakLearnerError, byte_tokenizer
from ensemw2s.mixture import _scoring as scoring
from ensemw2s.mixture._branches import cached_log_proba, share_prompts, tree_log_proba
from ensemw2s.mixture._scoring import option_nll, score_answers

VOTES = [0.5, 2.0, 1.0]
STAGES = np.array([[1.0, 0.0, 0.0], [1.0, 2.0, 0.0], [0.5, 2.0, 1.0]])
BYTES = byte_tokenizer()
ARCHITECTURES = sorted(FACTORIES)


def bytes_of(text):
    return list(text.encode())


def loop_option_nll(members, votes, prompts, choices, normalize="sum", combine="probabilities", template=TEMPLATE):
    """NLL of the options one by one, as written in the definition; inf where there is none."""
    result = np.full((len(prompts), max(map(len, choices))), np.inf)
    for row, (prompt, options) in enumerate(zip(prompts, choices, strict=True)):
        context = bytes_of(template.replace("{prompt}", prompt))
        for column, option in enumerate(options):
            answer = [*bytes_of(" " + option), 256]
            log_proba = reference_mixture(members, votes, context + answer[:-1], combine)
            nll = -sum(log_proba[len(context) - 1 + place, token] for place, token in enumerate(answer))
            result[row, column] = nll / {"sum": 1, "token": len(answer), "char": len(option)}[normalize]
    return result


def row_per_option(member):
    """The same member without the fast path that shares prompts."""

    class Slow:
        tokenizer_, prompt_template, max_length_ = member.tokenizer_, TEMPLATE, None
        answer_logits = staticmethod(member.answer_logits)

    return Slow()


def mixed_members():
    return [fitted_members("gemma3")[0], WithoutCache(fitted_members("gemma3")[1]), fitted_bigrams()[0]]


# --- answers ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("combine", ["probabilities", "logits"])
@pytest.mark.parametrize("name", [*ARCHITECTURES, "mixed"])
@pytest.mark.slow
def test_score_answers_equals_a_float64_loop(name, combine):
    members = mixed_members() if name == "mixed" else fitted_members(name)
    tokens = tokens_for(members[0])
    scores = score_answers(members, VOTES, tokens, combine=combine, batch_size=3)
    assert scores.nll.shape == scores.predicted.shape == (1, tokens.n_tokens)
    for row in range(len(tokens)):
        prompt, answer = tokens.row_ids(row)
        log_proba = reference_mixture(members, VOTES, [*prompt, *answer[:-1]], combine)[-len(answer) :]
        places = slice(*tokens.indptr[row : row + 2])
        assert_allclose(scores.nll[0, places], -log_proba[np.arange(len(answer)), answer], atol=1e-5)
        assert_array_equal(scores.predicted[0, places], log_proba.argmax(axis=1))


@pytest.mark.parametrize("combine", ["probabilities", "logits"])
def test_score_answers_of_several_vote_vectors_equals_separate_calls(combine):
    members = fitted_members("llama")
    tokens = tokens_for(members[0])
    together = score_answers(members, STAGES, tokens, combine=combine)
    for stage, votes in enumerate(STAGES):
        alone = score_answers(members, votes, tokens, combine=combine)
        assert_array_equal(together.nll[stage], alone.nll[0])
        assert_array_equal(together.predicted[stage], alone.predicted[0])


@pytest.mark.slow
@pytest.mark.parametrize("batch_size", [1, 2, 64])
def test_score_answers_does_not_depend_on_the_batches(batch_size):
    members = fitted_members("gemma3")
    tokens = tokens_for(members[0])
    expected = score_answers(members, VOTES, tokens, batch_size=3)
    scores = score_answers(members, VOTES, tokens, batch_size=batch_size)
    assert_allclose(scores.nll, expected.nll, atol=1e-5)
    assert_array_equal(scores.predicted, expected.predicted)


def test_lowest_id_wins_a_tie():
    class Tied:
        tokenizer_ = BYTES

        def token_logits(self, input_ids, attention_mask):
            logits = np.zeros((*input_ids.shape, 258))
            logits[..., [9, 70, 200]] = 1.0
            return logits

    tokens = TokenDataset.from_text(["q"], ["a"], tokenizer=BYTES)
    assert score_answers([Tied(), Tied()], [1.0, 1.0], tokens).predicted.tolist() == [[9, 9, 9]]


# --- options ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*ARCHITECTURES, "mixed"])
@pytest.mark.parametrize("batch_size", [1, 5])
@pytest.mark.slow
def test_option_nll_equals_a_loop_over_options(name, batch_size):
    members = mixed_members() if name == "mixed" else fitted_members(name)
    nll = option_nll(members, VOTES, PROMPTS, CHOICES, batch_size=batch_size)
    assert_allclose(nll, loop_option_nll(members, VOTES, PROMPTS, CHOICES)[None], atol=3e-5)


@pytest.mark.slow
@pytest.mark.parametrize("combine", ["probabilities", "logits"])
@pytest.mark.parametrize("normalize", ["sum", "token", "char"])
def test_option_nll_normalizes_and_combines_as_asked(normalize, combine):
    members = fitted_members("llama")
    nll = option_nll(members, VOTES, PROMPTS, CHOICES, normalize=normalize, combine=combine)
    expected = loop_option_nll(members, VOTES, PROMPTS, CHOICES, normalize, combine)
    assert_allclose(nll[0], expected, atol=3e-5)


def test_option_nll_counts_characters_and_not_bytes():
    members, choices = fitted_members("llama"), [["é", "ab"]]
    by_sum, by_char = (
        option_nll(members, VOTES, ["q"], choices, normalize=normalize)[0, 0] for normalize in ("sum", "char")
    )
    assert_allclose(by_sum / by_char, [1.0, 2.0])


@pytest.mark.parametrize("combine", ["probabilities", "logits"])
def test_option_nll_of_several_vote_vectors_equals_separate_calls(combine):
    members = fitted_members("llama")
    together = option_nll(members, STAGES, PROMPTS, CHOICES, combine=combine)
    assert together.shape == (3, 4, 3)
    for stage, votes in enumerate(STAGES):
        assert_array_equal(together[stage], option_nll(members, votes, PROMPTS, CHOICES, combine=combine)[0])


def test_option_nll_is_infinite_where_there_is_no_option():
    nll = option_nll(fitted_members("llama"), VOTES, PROMPTS, CHOICES)[0]
    assert_array_equal(np.isinf(nll), [[0, 0, 1], [0, 0, 0], [0, 0, 1], [0, 1, 1]])


def test_option_nll_of_single_options_needs_no_branches():
    members, choices = fitted_members("llama"), [[options[0]] for options in CHOICES]
    nll = option_nll(members, VOTES, PROMPTS, choices)
    assert_allclose(nll[0], loop_option_nll(members, VOTES, PROMPTS, choices), atol=3e-5)


def test_score_of_the_worked_example():
    # equations.md: votes (.8473, 2.1972) and rows (.6, .4), (.1, .9) give (.2392, .7608)
    class Fixed:
        tokenizer_ = BYTES

        def __init__(self, *proba):
            self.row = np.full(258, -np.inf)
            self.row[[32, 256]] = np.log(proba)

        def token_logits(self, input_ids, attention_mask):
            return np.tile(self.row, (*input_ids.shape, 1))

    members, votes = [Fixed(0.6, 0.4), Fixed(0.1, 0.9)], [0.8473, 2.1972]
    tokens = TokenDataset(*map(np.array, ([113], [0, 1], [32, 256], [0, 2])))
    assert np.exp(-score_answers(members, votes, tokens).nll[0]) == pytest.approx([0.2392, 0.7608], abs=5e-5)


def test_member_without_a_vote_is_not_run():
    class Refuses:
        tokenizer_ = BYTES

        def answer_logits(self, batch):
            raise AssertionError("a member without a vote was run")

        decode_step = answer_logits

    first, second, _ = fitted_members("llama")
    for combine in ("probabilities", "logits"):
        with_it = option_nll([first, Refuses(), second], [1, 0, 2], PROMPTS, CHOICES, combine=combine)
        assert_array_equal(with_it, option_nll([first, second], [1, 2], PROMPTS, CHOICES, combine=combine))


# --- branches ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ARCHITECTURES)
@pytest.mark.parametrize("batch_size", [1, 4, 64])
@pytest.mark.slow
def test_branches_equal_a_row_per_option(name, batch_size):
    members = fitted_members(name)
    rows = option_nll([row_per_option(member) for member in members], VOTES, PROMPTS, CHOICES)
    assert_allclose(option_nll(members, VOTES, PROMPTS, CHOICES, batch_size=batch_size), rows, atol=3e-5)


@pytest.mark.parametrize(
    ("name", "way", "n_choices"),
    [
        ("llama", "tree_log_proba", [2, 3, 2, 1]),
        ("gemma3", "cached_log_proba", [3, 2, 1]),  # the first question fits into its window
    ],
)
def test_prompts_are_read_once_per_question(monkeypatch, name, way, n_choices):
    calls, work = [], getattr(scoring, way)

    def spy(*args):
        calls.append(args[2].tolist())
        return work(*args)

    monkeypatch.setattr(scoring, way, spy)
    option_nll(fitted_members(name), VOTES, PROMPTS, CHOICES)
    assert calls == [n_choices] * 3


@pytest.mark.slow
@pytest.mark.parametrize("options", [["c", "d"], ["c", "de", "f"], ["cde", "f"]])
@pytest.mark.parametrize(
    ("name", "way"),
    [("llama", cached_log_proba), ("gemma3", cached_log_proba), ("llama", tree_log_proba), ("gpt2", tree_log_proba)],
)
def test_branches_of_one_token_and_of_several(name, way, options):
    member = fitted_members(name)[0]
    prompts = ["a longer question: ", "q: ", "r: "]  # the two short ones fit into one row
    pairs = [(prompt, option) for prompt in prompts for option in options]
    tokens = TokenDataset.from_text(
        *zip(*pairs, strict=True), tokenizer=BYTES, prompt_template="{prompt}", end_of_answer=False
    )
    found = way(member, tokens, np.array([len(options)] * 3), 64)
    expected = -score_answers([row_per_option(member)], [1.0], tokens).nll[0]
    assert_allclose(found, expected, atol=1e-5)


# --- prompts ----------------------------------------------------------------------------------------------------------


def test_share_prompts_sees_one_prompt_that_differs():
    tokens = TokenDataset.from_text(["q", "q", "r", "r"], ["a", "b", "a", "b"], tokenizer=BYTES)
    assert share_prompts(tokens, np.array([2, 2])).tolist() == [True, True]
    assert share_prompts(tokens, np.array([1, 1, 2])).all()
    assert share_prompts(tokens, np.array([1, 2, 1])).tolist() == [True, False, True]


def test_a_question_that_is_too_long_leaves_the_others_on_the_fast_path(monkeypatch):
    asked = {}
    for name in ("tree_log_proba", "cached_log_proba", "_row_log_proba"):
        work = getattr(scoring, name)

        def spy(*args, _name=name, _work=work):
            asked[_name] = args[2].tolist()
            return _work(*args)

        monkeypatch.setattr(scoring, name, spy)
    member = copy.copy(fitted_members("gemma3")[0]).set_params(truncation="prompt")  # its window is 8
    member.max_length_ = 20
    prompts, choices = ["a", "b" * 9, "c" * 30, "d"], [["x", "yz"], ["x", "y"], ["x", "vwxyz"], ["z"]]
    found = option_nll([member], [1.0], prompts, choices)
    assert asked == {"tree_log_proba": [2, 1], "cached_log_proba": [2], "_row_log_proba": [2]}
    for row in range(4):
        alone = option_nll([member], [1.0], prompts[row : row + 1], choices[row : row + 1])
        assert_allclose(found[:, row, : len(choices[row])], alone[0], atol=3e-5)


def test_prompts_cut_by_different_options_are_scored_as_they_were_cut():
    member = copy.copy(fitted_members("llama")[0]).set_params(truncation="prompt")
    member.max_length_ = 12
    prompt, options = "abcdefghijklm", ["x", "vwxyz"]
    nll = option_nll([member], [1.0], [prompt], [options])
    context = prompt + ":"
    expected = [
        loop_option_nll([member], [1.0], [context[-(12 - len(option) - 2) :]], [[option]], template="{prompt}")[0, 0]
        for option in options
    ]
    assert_allclose(nll[0, 0], expected, atol=3e-5)


# --- bad input --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"choices": CHOICES[:3]}, ValueError, r"prompts and choices must have the same length. Got 4 and 3"),
        ({"choices": [*CHOICES[:3], []]}, ValueError, r"choices\[3\] must not be empty"),
        ({"choices": [*CHOICES[:3], "no"]}, TypeError, r"choices\[3\] must be a sequence of options. Got 'no'"),
        ({"choices": [*CHOICES[:3], ["a", None]]}, TypeError, r"Got choices\[3\]\[1\] = None"),
        ({"choices": [*CHOICES[:3], ["a", " "]]}, ValueError, r"choices\[3\] must not hold a blank option"),
        ({"prompts": [*PROMPTS[:3], ""]}, ValueError, r"Got prompts\[3\] = ''"),
        ({"combine": "mean"}, ValueError, r"combine must be one of 'probabilities', 'logits'. Got 'mean'"),
        ({"normalize": "words"}, ValueError, r"normalize must be one of 'sum', 'token', 'char'. Got 'words'"),
        ({"votes": [1.0]}, ValueError, r"votes must have 3 columns"),
    ],
)
def test_option_nll_refuses_bad_input(changes, error, message):
    arguments = {"votes": VOTES, "prompts": PROMPTS, "choices": CHOICES, **changes}
    with pytest.raises(error, match=message):
        option_nll(fitted_members("llama"), **arguments)


def test_score_answers_refuses_an_unknown_combine():
    members = fitted_members("llama")
    with pytest.raises(ValueError, match=r"combine must be one of"):
        score_answers(members, VOTES, tokens_for(members[0]), combine="mean")


def test_overlong_question_is_named_by_its_own_number():
    member = copy.copy(fitted_members("llama")[0])
    member.max_length_ = 20
    with pytest.raises(ValueError, match=r"Row 2 is \d+ tokens long, question and answer, more than max_length=20"):
        option_nll([member], [1.0], ["a", "b", "a question that is too long"], [["x", "y"]] * 3)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("combine", ["probabilities", "logits"])
def test_member_that_diverged_is_named(value, combine):
    members = list(fitted_members("llama"))
    broken = copy.copy(members[1])
    broken.adapter_ = {name: torch.full_like(tensor, value) for name, tensor in members[1].adapter_.items()}
    members[1] = broken
    with pytest.raises(WeakLearnerError, match=r"Member 1 gives logits that are not finite"):
        score_answers(members, VOTES, tokens_for(members[0]), combine=combine)
    with pytest.raises(WeakLearnerError, match=r"Member [01] gives logits that are not finite"):
        option_nll(members, VOTES, PROMPTS, CHOICES, combine=combine)


def test_scores_of_untrained_members_are_served():
    learner = tiny_learner().initialize()
    assert np.isfinite(option_nll([learner], [1.0], PROMPTS, CHOICES)[0, 1]).all()
