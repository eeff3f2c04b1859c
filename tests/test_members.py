"""Boosting a list of weak learners: who takes a round, what it is measured against, and how it goes on."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from member_learners import BYTES, CHOICES, TEMPLATE, WORDS, ScriptedAnswers, X, Y, by_bytes, by_words
from numpy.testing import assert_allclose, assert_array_equal
from saved_ensembles import base_folder
from sklearn.base import clone
from sklearn.dummy import DummyClassifier
from tiny_models import ANSWERS, PROMPTS, reference_mixture, tiny_gpt2, tiny_llama, untrained_model
from tiny_models import TEMPLATE as TINY_TEMPLATE

from ensemw2s import (
    BigramLearner,
    CheckpointError,
    FineTunedGenerator,
    HFCausalLM,
    QADataset,
    TokenAdaBoostGenerator,
    W2SPipeline,
    WeakLearnerError,
    byte_tokenizer,
)

FOUR = (["q"] * 4, ["red", "blue", "grey", "deep blue"])


def booster(*learners, **kwargs):
    settings = {"n_estimators": 3, "unit": "sample", "prior": "uniform", "random_state": 0, **kwargs}
    return TokenAdaBoostGenerator(estimators=list(learners), **settings)


def scripted(words, other, **kwargs):
    """A booster over two learners that miss the answers words[t] and other[t] when they are trained the t-th time."""
    log = []
    learners = [ScriptedAnswers("words", WORDS, words, log), ScriptedAnswers("bytes", BYTES, other, log)]
    settings = {"sampling": "weight", "unit": "sample", "n_estimators": 2, "random_state": 0, **kwargs}
    return TokenAdaBoostGenerator(estimators=learners, **settings), log


def numbers(model):
    """All that two equal ensembles must have in common."""
    return {
        "votes": model.estimator_weights_.tolist(),
        "errors": model.estimator_errors_.tolist(),
        "weight": model.token_weight_.tolist(),
        "picks": model.picks_.tolist(),
        "proba": model.predict_proba(X, choices=CHOICES).tolist(),
        "written": model.generate(X),
        "stop": model.stop_reason_,
    }


# --- rounds ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pick", ["cycle", "best"])
@pytest.mark.parametrize("unit", ["token", "option"])
def test_a_list_of_one_is_a_single_learner(pick, unit):
    settings = {"n_estimators": 3, "unit": unit, "prior": "uniform", "random_state": 0}
    alone = TokenAdaBoostGenerator(by_words(), **settings).fit(X, Y, choices=CHOICES)
    listed = booster(by_words(), pick=pick, **settings).fit(X, Y, choices=CHOICES)
    assert numbers(listed) == numbers(alone)
    assert_array_equal(alone.picks_, np.zeros(len(alone.estimators_)))


def test_two_rounds_worked_by_hand():
    # untrained: words miss answers 0 1 2, bytes miss 0 1, so p = max(3/4, 1/2). Round 1 misses answer 0: e = 1/4,
    # alpha = logit(3/4) - logit(1/4) = 2 ln 3, D_2 = (9, 1, 1, 1)/12. Round 2 misses answer 1: e = 1/12,
    # alpha = ln 3 + ln 11, and p = 3/4 of D_3 lies on answer 1.
    model, log = scripted([[0, 1, 2], [0]], [[0, 1], [1]])
    model.fit(*FOUR)
    assert_allclose(model.pretrained_errors_, [0.75, 0.5])
    assert model.pretrained_error_ == 0.75
    assert_array_equal(model.picks_, [0, 1])
    assert_allclose(model.prior_errors_, [0.75, 0.75])
    assert_allclose(model.estimator_errors_, [1 / 4, 1 / 12])
    assert_allclose(model.estimator_weights_, [2 * np.log(3), np.log(3) + np.log(11)])
    assert [name for name, *_ in log] == ["words", "bytes"]
    assert_allclose(log[1][1], 4 * np.array([9, 1, 1, 1]) / 12)  # one weight per answer, whatever its tokens are
    assert_allclose(model.token_weight_, [9 / 44, 3 / 4, 1 / 44, 1 / 44])


def test_the_reweighted_prior_is_that_of_the_weakest_base_under_the_current_weights():
    model, _ = scripted([[0, 1, 2], [0]], [[0, 1], [1]], prior="reweighted")
    assert_allclose(model.fit(*FOUR).prior_errors_, [3 / 4, 11 / 12])  # D_2 = (9, 1, 1, 1)/12 on answers 0, 1, 2


def test_the_uniform_prior_is_that_of_the_largest_vocabulary():
    model, _ = scripted([[], [0]], [[], [1]], prior="uniform")
    assert_allclose(model.fit(*FOUR).prior_errors_, 1 - 1 / max(len(WORDS), len(BYTES)))


def test_learners_take_turns():
    fitted = booster(by_words(), by_bytes(), by_words(smoothing=0.1), reweight=False, n_estimators=5)
    fitted.fit(X, Y, choices=CHOICES)
    assert_array_equal(fitted.picks_, [0, 1, 2, 0, 1])
    assert [len(member.tokenizer_) for member in fitted.estimators_] == [
        len(WORDS), len(BYTES), len(WORDS), len(WORDS), len(BYTES)]  # fmt: skip
    assert [member.smoothing for member in fitted.estimators_] == [1.0, 1.0, 0.1, 1.0, 1.0]


def test_best_keeps_the_least_error_of_all_trained_on_one_draw():
    model, log = scripted([[0, 1, 2], [0, 1], [1]], [[0, 1], [1], [0, 3]], pick="best", sampling="count")
    model.fit(*FOUR)
    assert [name for name, *_ in log] == ["words", "bytes"] * 2  # every learner in every round
    for (_, first, seed), (_, second, other) in zip(log[::2], log[1::2], strict=True):
        assert_allclose(first, second)
        assert seed == other
    # round 1: bytes miss one answer of four, words two; D_2 = (1, 9, 1, 1)/12, under which words miss 9, bytes 2
    assert_array_equal(model.picks_, [1, 1])
    assert_allclose(model.estimator_errors_, [1 / 4, 2 / 12])


class Unseeded(ScriptedAnswers):
    """Without a random_state, for which a number would be drawn before the tokens are."""

    def __init__(self, name="", tokenizer=None, mistakes=(), log=None):
        super().__init__(name, tokenizer, mistakes, log)

    def __sklearn_clone__(self):
        return Unseeded(self.name, self.tokenizer, self.mistakes, self.log)


def test_best_trains_on_one_draw_whatever_else_a_learner_has_drawn():
    model, log = scripted([[0, 1, 2], [0], [1]], [], pick="best", sampling="count")
    model.set_params(estimators=[model.estimators[0], Unseeded("bytes", BYTES, [[0, 1], [1], [0]], log)])
    model.fit(["q"] * 40, ["red"] * 40)
    for (_, first, _), (_, second, _) in zip(log[::2], log[1::2], strict=True):
        assert_array_equal(first, second)


def test_best_takes_the_first_of_equals():
    model, _ = scripted([[0, 1, 2], [0]], [[0, 1], [1]], pick="best", n_estimators=1)
    assert_array_equal(model.fit(*FOUR).picks_, [0])


class Diverging(ScriptedAnswers):
    def fit(self, tokens, *, token_weight):
        raise WeakLearnerError("The loss is nan at step 3.")


def test_best_goes_on_without_a_learner_that_diverges(caplog):
    model, log = scripted([[0, 1, 2], [0], [1]], [[0, 1]], pick="best")
    model.set_params(estimators=[Diverging("bytes", BYTES, [[0, 1]], log), model.estimators[0]])
    assert_array_equal(model.fit(*FOUR).picks_, [1, 1])
    assert "round 1 goes on without a weak learner that failed: The loss is nan" in caplog.text


def test_best_fails_where_every_learner_diverges():
    model, log = scripted([[0, 1, 2]], [[0, 1]], pick="best")
    model.set_params(estimators=[Diverging("words", WORDS, [[0, 1]], log), Diverging("bytes", BYTES, [[0]], log)])
    with pytest.raises(WeakLearnerError, match="The loss is nan at step 3"):
        model.fit(*FOUR)


def test_the_first_round_that_is_no_better_than_the_prior_ends_a_cycle():
    model, log = scripted([[0, 1, 2], [0], [1]], [[0, 1], [0]], n_estimators=4)
    model.fit(*FOUR)  # bytes repeat the mistake of words: e = p, whichever base it comes from
    assert (model.stop_reason_, len(log)) == ("error_above_prior", 2)
    assert_array_equal(model.picks_, [0])


def test_staged_weights_end_with_those_of_fit():
    fitted = booster(by_words(), by_bytes()).fit(X, Y, choices=CHOICES)
    weights = list(fitted.staged_token_weight(X, Y, choices=CHOICES))
    assert_array_equal(fitted.picks_, [0, 1, 0])
    assert len(weights) == 4
    assert {weight.shape for weight in weights} == {(len(X),)}  # one per answer: there are no common tokens
    assert_allclose(weights[0], 1 / len(X))
    assert_allclose(weights[-1], fitted.token_weight_)


def test_a_longest_answer_is_counted_by_the_tokenizer_that_makes_it_longest():
    fitted = booster(by_words(), by_bytes(), n_estimators=1).fit(X, Y, choices=CHOICES)
    assert fitted.max_new_tokens_ == len(b" deep blue") + 1


# --- what is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("unit", ["token", 3])
def test_tokens_of_different_tokenizers_can_have_no_weights(unit):
    model = booster(by_words(), by_words(), by_bytes(), unit=unit)
    message = r"unit must be 'sample', .* or 'option'.*estimators\[2\] has another tokenizer than estimators\[0\]"
    with pytest.raises(ValueError, match=message):
        model.fit(X, Y, choices=CHOICES)


def test_another_template_is_named_too():
    with pytest.raises(ValueError, match=r"estimators\[1\] has another prompt_template than estimators\[0\]"):
        booster(by_words(), BigramLearner(WORDS, prompt_template="? {prompt} :"), unit="token").fit(X, Y)


@pytest.mark.parametrize(
    ("parameters", "error", "message"),
    [
        ({}, ValueError, "estimator must be a weak learner, or estimators a list of them. Got neither"),
        ({"estimator": by_words(), "estimators": [by_words()]}, ValueError, "Got both; pass exactly one of the two"),
        ({"estimators": by_words()}, ValueError, "(?s)must be a list of at least one.*pass a single learner as"),
        ({"estimators": []}, ValueError, r"estimators must be a list of at least one weak learner. Got \[\]"),
        ({"estimators": [by_words(), 3]}, TypeError, r"model ids. Got estimators\[1\] = 3 instead"),
        ({"estimator": [by_words(), by_bytes()]}, TypeError, "(?s)estimator must be.*; pass a list as estimators=.$"),
        ({"estimator": DummyClassifier()}, TypeError, "Got DummyClassifier.*boost a classifier with LLMAdaBoost"),
        ({"estimators": [by_words()], "pick": "worst"}, ValueError, "pick must be one of 'cycle', 'best'. Got 'worst'"),
    ],
)
def test_bad_lists_are_named_before_training(parameters, error, message):
    with pytest.raises(error, match=message):
        TokenAdaBoostGenerator(**parameters).fit(X, Y)


def test_lengths_are_not_asked_of_a_list_as_estimator():
    with pytest.raises(TypeError, match="pass a list as estimators="):
        TokenAdaBoostGenerator([by_words(), by_bytes()])._check_lengths(QADataset(X, Y))


class HalfALearner:
    """Trains as a learner has to, and is never asked for a logit."""

    def fit(self, tokens, *, token_weight):
        return self

    def get_params(self, deep=True):
        return {}


@pytest.mark.parametrize(
    "parameters", [{"estimator": HalfALearner()}, {"estimators": [BigramLearner(), HalfALearner()]}]
)
def test_a_learner_that_is_refused_is_told_what_it_lacks(parameters):
    with pytest.raises(TypeError, match=r"docs/howto_weak_learner\.md") as caught:
        TokenAdaBoostGenerator(**parameters).fit(X, Y)
    text = str(caught.value)
    assert "initialize() is missing" in text
    assert "token_logits(input_ids, attention_mask) is missing" in text
    assert "fit must take" not in text  # which it has
    assert (
        (Path(__file__).parents[1] / "docs/howto_weak_learner.md")
        .read_text()
        .startswith("# Bring your own weak learner")
    )


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (None, "estimator must be a token learner or a model id. Got None instead.$"),
        ([by_words()], r"(?s)estimator must be.*boost a list with TokenAdaBoostGenerator\(estimators=...\)"),
        (BigramLearner, r"Got <class .*BigramLearner'> instead, .* pass an instance, BigramLearner\(\)"),
    ],
)
def test_a_single_learner_is_checked_before_training(given, message):
    with pytest.raises(TypeError, match=message):
        FineTunedGenerator(given).fit(X, Y)


@pytest.mark.parametrize("place", ["weak", "student", "oracle"])
def test_a_pipeline_refuses_a_list_and_says_what_boosts_it(place):
    pipeline = W2SPipeline(by_words(), by_words()).set_params(**{place: [by_words(), by_bytes()]})
    message = rf"(?s){place} must be an estimator, a learner or a model id.*TokenAdaBoostGenerator\(estimators=...\)"
    with pytest.raises(TypeError, match=message):
        pipeline.fit(X, Y, X)


def test_rows_have_to_fit_into_every_model():
    class Short(BigramLearner):
        def initialize(self):
            super().initialize()
            self.max_length_ = 15
            return self

    model = booster(by_words(), Short(BYTES, prompt_template=TEMPLATE), on_bad_row="skip", unit="sample")
    model.fit([*X[:2], "why ?"], [*Y[:2], "red"])
    assert [row for row, _ in model.skipped_rows_] == [1]  # "sea ? : deep blue" as bytes
    with pytest.raises(ValueError, match=r"Row 1 is 18 tokens long, question and answer"):
        model.set_params(on_bad_row="raise").fit(X, Y)


# --- habits of scikit-learn ------------------------------------------------------------------------------------------


def test_model_ids_stand_for_language_models():
    made = TokenAdaBoostGenerator(estimators=["some/model", by_words()])._base_estimators()
    assert isinstance(made[0], HFCausalLM)
    assert made[0].model == "some/model"
    assert made[1].tokenizer is not None


def test_clone_copies_the_list():
    model = booster(by_words(), by_bytes(smoothing=0.5), pick="best")
    copied = clone(model)
    assert copied.pick == "best"
    assert [learner.smoothing for learner in copied.estimators] == [1.0, 0.5]
    assert all(one is not other for one, other in zip(copied.estimators, model.estimators, strict=True))


def test_fit_leaves_the_given_learners_as_they_are():
    model = booster(by_words(), by_bytes())
    model.fit(X, Y, choices=CHOICES)
    assert not any(hasattr(learner, "tokenizer_") for learner in model.estimators)


def test_same_seed_same_ensemble():
    first, second = (booster(by_words(), by_bytes(), random_state=3).fit(X, Y, choices=CHOICES) for _ in range(2))
    assert numbers(first) == numbers(second)


# --- checkpoints and files -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pick", ["cycle", "best"])
def test_a_checkpoint_goes_on_to_the_bit(tmp_path, pick, monkeypatch):
    model = booster(by_words(), by_bytes(), pick=pick)
    whole = numbers(clone(model).fit(X, Y))
    assert len(whole["picks"]) == 3
    model.set_params(checkpoint_dir=tmp_path / "run")
    clone(model).set_params(n_estimators=2).fit(X, Y)
    assert numbers(clone(model).fit(X, Y)) == whole
    monkeypatch.setattr(BigramLearner, "fit", None)  # a third call trains nothing
    assert numbers(clone(model).fit(X, Y)) == whole


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"estimators": [by_words(), by_bytes(smoothing=2.0)]}, r"estimators\[1\].*smoothing"),
        ({"estimators": [by_bytes(), by_words()]}, r"estimators\[0\].*tokenizer"),
        ({"pick": "best"}, "pick"),
    ],
)
def test_another_list_is_no_continuation(tmp_path, parameters, message):
    model = booster(by_words(), by_bytes(), n_estimators=1, checkpoint_dir=tmp_path / "run").fit(X, Y, choices=CHOICES)
    with pytest.raises(CheckpointError, match=message):
        clone(model).set_params(**parameters).fit(X, Y, choices=CHOICES)


def test_a_checkpoint_of_a_single_learner_knows_no_list(tmp_path):
    TokenAdaBoostGenerator(by_words(), n_estimators=1, prior="uniform", random_state=0,
                           checkpoint_dir=tmp_path / "run").fit(X, Y)  # fmt: skip
    written = (tmp_path / "run" / "begin" / "settings.json").read_text()
    assert '"estimator"' in written
    assert "estimators" not in written
    assert '"pick"' not in written


def test_what_was_saved_says_the_same(tmp_path):
    fitted = booster(by_words(), by_bytes(smoothing=0.5)).fit(X, Y, choices=CHOICES)
    fitted.save_pretrained(tmp_path / "saved")
    loaded = TokenAdaBoostGenerator.from_pretrained(tmp_path / "saved")
    assert numbers(loaded) == numbers(fitted)
    assert [learner.smoothing for learner in loaded.estimators] == [1.0, 0.5]
    again = clone(loaded).fit(X, Y, choices=CHOICES)
    assert numbers(again) == numbers(fitted)


# --- different bases with one tokenizer ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    """A Llama and a GPT-2 with the tokenizer of bytes, boosted together on tokens; each base in a folder."""
    folder = tmp_path_factory.mktemp("gpt2")
    untrained_model(tiny_gpt2).save_pretrained(folder)
    byte_tokenizer().save_pretrained(folder)
    settings = {"epochs": 1, "lr": 1e-2, "random_state": 0, "prompt_template": TINY_TEMPLATE}
    learners = [HFCausalLM(base_folder("lm"), **settings), HFCausalLM(str(folder), **settings)]
    model = TokenAdaBoostGenerator(estimators=learners, n_estimators=2, sampling="weight", reweight=False,
                                   random_state=0, checkpoint_dir=tmp_path_factory.mktemp("run"))  # fmt: skip
    return model.fit(PROMPTS, ANSWERS)


@pytest.mark.slow
def test_different_bases_with_one_tokenizer_mix_by_equation_1(mixed):
    assert [type(member._host().model.get_base_model()).__name__ for member in mixed.estimators_] == [
        "LlamaForCausalLM", "GPT2LMHeadModel"]  # fmt: skip
    tokenizer = mixed.estimators_[0].tokenizer_
    prompt, answer = tokenizer.encode("Sky:"), [*tokenizer.encode(" blue or not"), tokenizer.eos_token_id]
    members = []
    for member, factory in zip(mixed.estimators_, (tiny_llama, tiny_gpt2), strict=True):
        stand_in = clone(member).set_params(model=factory)
        stand_in.adapter_, stand_in.model_ = member.adapter_, None
        members.append(stand_in)
    log_proba = reference_mixture(members, mixed.estimator_weights_, [*prompt, *answer])
    steps = np.arange(len(prompt) - 1, len(prompt) + len(answer) - 1)
    assert_allclose(mixed.answer_nll(["Sky"], ["blue or not"]), [-log_proba[steps, answer].sum()], rtol=1e-4)


def test_a_checkpoint_knows_every_base(mixed):
    again = clone(mixed).fit(PROMPTS, ANSWERS)
    assert_array_equal(again.answer_nll(PROMPTS, ANSWERS), mixed.answer_nll(PROMPTS, ANSWERS))
    settings = (mixed.checkpoint_dir / "begin" / "settings.json").read_text()
    digests = json.loads(settings)["settings"]["weights of the base model"]
    assert len(set(digests)) == 2


def test_bases_that_have_moved_are_named_one_by_one(mixed, tmp_path):
    mixed.save_pretrained(tmp_path / "saved")
    moved = {}
    for learner in mixed.estimators:
        moved[learner.model] = str(tmp_path / str(len(moved)))
        shutil.copytree(learner.model, moved[learner.model])
    loaded = TokenAdaBoostGenerator.from_pretrained(tmp_path / "saved", base=moved)
    assert [learner.model for learner in loaded.estimators] == list(moved.values())
    assert_array_equal(loaded.answer_nll(PROMPTS, ANSWERS), mixed.answer_nll(PROMPTS, ANSWERS))
    with pytest.raises(CheckpointError, match="is not the base model that the members were trained on"):
        TokenAdaBoostGenerator.from_pretrained(tmp_path / "saved", base=next(iter(moved.values())))


def test_a_single_generator_has_no_list():
    with pytest.raises(TypeError, match="estimators"):
        FineTunedGenerator(estimators=[by_words()])
