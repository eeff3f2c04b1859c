"""Members with different tokenizers answer together: against loops in float64, and what they cannot do."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from member_learners import (
    BYTES,
    CHOICES,
    TEMPLATE,
    WORDS,
    X,
    Y,
    by_bytes,
    by_words,
    greedy_text,
    taught,
    text_nll,
    vote_on,
)
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from transformers import GenerationConfig

from ensemw2s import (
    BigramLearner,
    FineTunedGenerator,
    MixtureForCausalLM,
    PseudoLabeler,
    QADataset,
    RoundsDisplay,
    TokenAdaBoostGenerator,
    TokenDataset,
    TokenWeightDisplay,
    W2SPipeline,
    cross_val_difficulty,
)

VOTES = np.array([0.7, 1.5, 0.4, 0.9])


def joined(members, votes=VOTES, **parameters):
    """An ensemble of members that were fitted elsewhere."""
    model = TokenAdaBoostGenerator(estimators=[by_words(), by_bytes()], unit="sample", **parameters)
    model.estimators_, model.estimator_weights_, model.max_new_tokens_ = list(members), np.array(votes), 12
    return model


@pytest.fixture(scope="module")
def members():
    """Words, bytes, words, bytes, each taught other answers."""
    weights = np.random.default_rng(0).uniform(0.2, 3.0, 400)

    def fit(learner, rows):
        tokens = TokenDataset.for_learner(learner.initialize(), [X[row] for row in rows], [Y[row] for row in rows])
        return clone(learner).fit(tokens, token_weight=weights[: tokens.n_tokens])

    return [fit(by_words(smoothing=0.3), range(6)), fit(by_bytes(smoothing=0.3), range(6)),
            fit(by_words(smoothing=0.8), (1, 2, 3)), fit(by_bytes(smoothing=0.8), (0, 1, 4))]  # fmt: skip


def voices(members, votes):
    """The members by tokenizer, with their votes."""
    return [([members[0], members[2]], [votes[0], votes[2]]), ([members[1], members[3]], [votes[1], votes[3]])]


# --- options ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("normalize", ["sum", "token", "char"])
def test_the_vote_on_options_equals_a_float64_loop(members, normalize):
    model = joined(members, normalize=normalize)
    proba = model.predict_proba(X, choices=CHOICES)
    for row, options in enumerate(CHOICES):
        expected = vote_on(voices(members, VOTES), X[row], options, normalize)
        assert_allclose(proba[row, : len(options)], expected, rtol=1e-5)
        assert not proba[row, len(options) :].any()
        assert model.predict(X, choices=CHOICES)[row] == options[int(np.argmax(expected))]


def test_stages_equal_the_loop_with_fewer_votes(members):
    model = joined(members)
    for t, proba in enumerate(model.staged_predict_proba(X, choices=CHOICES), start=1):
        votes = np.where(np.arange(4) < t, VOTES, 0.0)
        speaking = [
            ([m for m, v in zip(group, own, strict=True) if v], [v for v in own if v])
            for group, own in voices(members, votes)
            if any(own)
        ]
        expected = vote_on(speaking, X[1], CHOICES[1])
        assert_allclose(proba[1], expected, rtol=1e-5)


def test_votes_reach_a_voice_through_all_of_its_members(members):
    # shares .7 + .4 of words and 1.5 + .9 of bytes: what both halves say is mixed by these
    model, alone = joined(members), [joined([members[a], members[b]], VOTES[[a, b]]) for a, b in ((0, 2), (1, 3))]
    words, by_byte = (each.predict_proba(X, choices=CHOICES) for each in alone)
    assert_allclose(model.predict_proba(X, choices=CHOICES), (1.1 * words + 2.4 * by_byte) / 3.5, rtol=1e-6)


def test_the_order_of_members_does_not_matter(members):
    turned = joined(members[::-1], VOTES[::-1]).predict_proba(X, choices=CHOICES)
    assert_allclose(turned, joined(members).predict_proba(X, choices=CHOICES), rtol=1e-6)


def test_staged_scores_are_accuracies_of_the_vote(members):
    model = joined(members)
    right = [
        np.mean([CHOICES[row][proba.argmax()] == Y[row] for row, proba in enumerate(stage)])
        for stage in model.staged_predict_proba(X, choices=CHOICES)
    ]
    assert_allclose(list(model.staged_score(X, Y, choices=CHOICES)), right)
    assert model.score(X, Y, choices=CHOICES) == pytest.approx(right[-1])


def test_choosing_by_match_votes_on_what_each_voice_matches(members):
    model = joined(members, choose="match")
    halves = [joined([members[a], members[b]], VOTES[[a, b]], choose="match") for a, b in ((0, 2), (1, 3))]
    words, by_byte = (half.predict_proba(X, choices=CHOICES) for half in halves)
    assert_allclose(model.predict_proba(X, choices=CHOICES), (1.1 * words + 2.4 * by_byte) / 3.5, rtol=1e-5)


# --- whole answers ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("normalize", ["sum", "token", "char"])
def test_the_score_of_an_answer_mixes_the_voices_probabilities(members, normalize):
    found = joined(members).answer_nll(X, Y, normalize=normalize)
    for row, answer in enumerate(Y):
        proba = sum(
            sum(own) / VOTES.sum() * np.exp(-text_nll(group, np.array(own) / sum(own), X[row], answer, normalize))
            for group, own in voices(members, VOTES)
        )
        assert found[row] == pytest.approx(-np.log(proba), rel=1e-5)


@pytest.mark.parametrize("normalize", ["sum", "char"])
@pytest.mark.parametrize("votes", [VOTES, VOTES[::-1], np.array([1.0, 0.1, 1.0, 0.1])])
def test_written_answers_equal_a_float64_loop(members, votes, normalize):
    found, decided = joined(members, votes, normalize=normalize).generate(X), 0
    for row, question in enumerate(X):
        groups = voices(members, votes)
        texts = list(dict.fromkeys(greedy_text(group, np.array(own) / sum(own), question, 12) for group, own in groups))
        expected = texts[int(np.argmax(vote_on(groups, question, texts, normalize)))]
        decided += len(texts) > 1
        assert found[row] == expected
    assert decided  # or there was nothing to vote on


def test_the_votes_decide_what_is_written():
    sure = [taught(learner, ["q ?"], [answer]) for learner, answer in ((by_words(smoothing=1e-6), "blue"),
                                                                       (by_bytes(smoothing=1e-6), "red"))]  # fmt: skip
    assert joined(sure, [0.6, 0.4]).generate(["q ?"]) == ["blue"]
    assert joined(sure, [0.4, 0.6]).generate(["q ?"]) == ["red"]
    assert [answer.tolist() for answer in joined(sure, [0.4, 0.6]).staged_predict(["q ?"])] == [["blue"], ["red"]]
    assert [a.tolist() for a in joined(sure, [1, 1]).predict_under([[3, 1], [1, 3]], ["q ?"])] == [["blue"], ["red"]]


class Silent(BigramLearner):
    """Ends every answer at once."""

    def fit(self, tokens, *, token_weight):
        super().fit(tokens, token_weight=token_weight)
        self.log_proba_[:] = -30.0
        self.log_proba_[:, self.tokenizer_.eos_token_id] = 0.0
        return self


def test_a_blank_answer_is_no_proposal():
    silent = taught(Silent(BYTES, prompt_template=TEMPLATE), ["q ?"], ["red"])
    says_blue = taught(by_words(smoothing=1e-6), ["q ?"], ["blue"])
    assert joined([silent, says_blue], [9.0, 1.0]).generate(["q ?"]) == ["blue"]
    mute = taught(Silent(WORDS, prompt_template=TEMPLATE), ["q ?"], ["red"])
    assert joined([silent, mute], [9.0, 1.0]).generate(["q ?"]) == [""]


@pytest.fixture(scope="module")
def sure():
    """Words that always say "blue", and bytes that always say "red"."""
    return [taught(by_words(smoothing=1e-9), ["q ?"], ["blue"]), taught(by_bytes(smoothing=1e-9), ["q ?"], ["red"])]


def test_a_voice_is_drawn_for_a_whole_answer_by_its_share(sure):
    torch.manual_seed(0)
    (texts,) = joined(sure, [1.0, 3.0]).generate(["q ?"], do_sample=True, top_k=0, num_return_sequences=600)
    assert set(texts) == {"blue", "red"}
    assert texts.count("red") / 600 == pytest.approx(0.75, abs=4 * np.sqrt(0.75 * 0.25 / 600))


def test_drawn_answers_are_repeatable_and_in_the_order_of_the_questions(members):
    def draw():
        torch.manual_seed(5)
        return joined(members).generate(X, do_sample=True, top_k=0, num_return_sequences=2)

    first = draw()
    assert draw() == first
    assert [len(texts) for texts in first] == [2] * len(X)


def test_a_generation_config_is_followed(sure):
    config = GenerationConfig(do_sample=True, num_return_sequences=3, max_new_tokens=4)
    (texts,) = joined(sure, [1.0, 3.0]).generate(["q ?"], generation_config=config)
    assert len(texts) == 3
    assert set(texts) <= {"blue", "red"}


def test_several_answers_without_a_draw_are_refused(sure):
    with pytest.raises(ValueError, match=r"num_return_sequences must be 1 unless do_sample=True.*Members 0 and 1"):
        joined(sure, [1, 1]).generate(["q ?"], num_beams=2, num_return_sequences=2)


@pytest.mark.parametrize(
    "settings", [{"eos_token_id": 1}, {"generation_config": GenerationConfig(bad_words_ids=[[3]])}]
)
def test_ids_of_tokens_are_refused(sure, settings):
    with pytest.raises(ValueError, match=r"(eos_token_id|bad_words_ids) must be left out.*Members 0 and 1 have"):
        joined(sure, [1, 1]).generate(["q ?"], **settings)


# --- one tokenizer ---------------------------------------------------------------------------------------------------


def test_one_tokenizer_mixes_tokens_however_many_objects_it_is():
    members = [taught(BigramLearner(prompt_template=TEMPLATE, smoothing=s), X, Y) for s in (0.2, 0.9)]
    assert members[0].tokenizer_ is not members[1].tokenizer_
    model = joined(members, [1.0, 3.0])
    for row, answer in enumerate(Y):
        expected = text_nll(members, [0.25, 0.75], X[row], answer)
        assert model.answer_nll(X, Y)[row] == pytest.approx(expected, rel=1e-5)
        assert model.generate(X)[row] == greedy_text(members, [0.25, 0.75], X[row], 12)
    assert isinstance(model.mixture_, MixtureForCausalLM)


def test_the_first_members_of_one_tokenizer_have_tokens_again(members):
    first = joined(members).with_votes(VOTES[:1])
    assert 0.0 <= first.token_error(X, Y) <= 1.0
    assert isinstance(first.mixture_, MixtureForCausalLM)


# --- what cannot be --------------------------------------------------------------------------------------------------

REASON = "Members 0 and 1 have different tokenizers: they have no tokens in common"


@pytest.mark.parametrize("name", ["token_error", "token_error_under", "staged_token_error", "answer_error"])
def test_errors_of_tokens_are_not_there(members, name):
    assert not hasattr(joined(members), name)
    with pytest.raises(AttributeError) as raised:
        getattr(joined(members), name)
    assert REASON in str(raised.value.__cause__)


def test_there_is_no_single_model(members):
    with pytest.raises(AttributeError, match=REASON + ".*no single Hugging Face model; use generate and predict"):
        _ = joined(members).mixture_


def test_a_score_without_options_is_of_the_answers_voted_for(members):
    model = joined(members)
    said = model.predict(X)
    assert model.score(X, [*said[:1], *["nothing"] * (len(X) - 1)]) == pytest.approx(1 / len(X))


def test_difficulty_is_refused_before_training(monkeypatch):
    monkeypatch.setattr(BigramLearner, "fit", None)
    booster = TokenAdaBoostGenerator(estimators=[by_words(), by_bytes()], unit="sample")
    with pytest.raises(ValueError, match=f"{REASON}.*by a single learner, or by estimators that read alike"):
        cross_val_difficulty(booster, QADataset(X, answers=Y))


def test_whether_an_unfitted_list_has_errors_of_tokens_is_not_looked_up(monkeypatch):
    monkeypatch.setattr(BigramLearner, "initialize", None)
    for other in (by_words(), by_bytes()):
        assert hasattr(TokenAdaBoostGenerator(estimators=[by_words(), other]), "token_error")


def test_a_list_that_reads_alike_has_common_tokens():
    TokenAdaBoostGenerator(estimators=[by_words(), by_words()])._check_common_tokens()
    with pytest.raises(ValueError, match=REASON + ".*no token is right or wrong for all"):
        TokenAdaBoostGenerator(estimators=[by_words(), by_bytes()])._check_common_tokens()


# --- what is built on it ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def boosted():
    model = TokenAdaBoostGenerator(estimators=[by_words(), by_bytes()], unit="sample", prior="uniform",
                                   n_estimators=2, random_state=0)  # fmt: skip
    return model.fit(X, Y)


def test_pseudo_labels_are_the_vote(boosted):
    labels = PseudoLabeler(threshold=0.0).label(boosted, X, choices=CHOICES)
    assert_array_equal(labels.y, boosted.predict(X, choices=CHOICES))
    assert_allclose(labels.proba, boosted.predict_proba(X, choices=CHOICES))
    written = PseudoLabeler(method="generate", threshold=0.0).label(boosted, X)
    assert written.y.tolist() == boosted.generate(X)
    assert_allclose(written.confidence, np.exp(-boosted.answer_nll(X, written.y, normalize="token")))


def test_a_pipeline_is_taught_by_both(boosted):
    easy = QADataset(X, choices=CHOICES, answers=Y)
    pipeline = W2SPipeline(clone(boosted), by_words()).fit(easy, None, easy.drop_answers(), Y)
    assert_array_equal(pipeline.pseudo_labels_.y, boosted.predict(easy))
    report = pipeline.evaluate(easy)
    assert set(report.token_errors) == {"baseline", "student", "oracle"}  # the ensemble has none
    assert report.correct["ensemble"].tolist() == (boosted.predict(easy) == np.array(Y)).tolist()


def test_rounds_are_shown_without_errors_of_tokens(boosted):
    display = RoundsDisplay.from_estimator(boosted, X, Y, choices=CHOICES)
    assert "accuracy" in display.mean
    assert "token_error" not in display.mean


@pytest.mark.parametrize("quantities", ["token_error", ["vote", "token_error"]])
def test_rounds_say_why_errors_of_tokens_are_not_shown(boosted, quantities):
    with pytest.raises(ValueError, match=f"quantities must leave out 'token_error'.*{REASON}.*Draw 'accuracy'"):
        RoundsDisplay.from_estimator(boosted, X, Y, choices=CHOICES, quantities=quantities)


def test_weights_of_tokens_cannot_be_shown(boosted):
    with pytest.raises(ValueError, match=r"booster must have members that read alike.*one weight per answer"):
        TokenWeightDisplay.from_estimator(boosted, X, Y)


def test_questions_have_to_fit_into_every_member(members):
    short = taught(by_bytes(), X, Y)
    short.max_length_ = 20
    model = joined([members[0], short], [1.0, 1.0])
    with pytest.raises(ValueError, match=r"X\[0\] is 10 tokens long and leaves no room for max_new_tokens=12"):
        model._room_check()(QADataset(["colour ?"]), np.array([0]))
    with pytest.raises(ValueError, match=r"Row 0 is|answer of row 0"):
        model._length_check()(QADataset(["a question of more than twenty bytes ?"]), np.array([0]))


def test_a_single_generator_is_one_voice():
    model = FineTunedGenerator(by_words()).fit(X, Y)
    assert_allclose(model.predict_proba(X, choices=CHOICES)[0].sum(), 1.0)
    assert hasattr(model, "token_error")
