"""TokenAdaBoostGenerator.staged_token_weight: the weights of every round, without having been stored."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scripted_learner import FIVE, TOKENIZER, WORDS, scripted
from sklearn.exceptions import NotFittedError

from ensemw2s import BigramLearner, EarlyStopWarning, QADataset, TokenAdaBoostGenerator, TokenDataset, make_qa

PROMPTS = [f"{first} {second} ?" for first in WORDS for second in WORDS]
# The first word is skewed towards red, so that a bigram beats guessing in every unit, and is far from perfect.
ANSWERS = [f"{WORDS[min(first, second)]} sun" for first in range(6) for second in range(6)]
SKEWED = QADataset(PROMPTS, ANSWERS, [[f"{word} sun" for word in WORDS]] * 36)


def booster(**params):
    settings = {"n_estimators": 4, "prior": "uniform", "random_state": 0, **params}
    return TokenAdaBoostGenerator(BigramLearner(TOKENIZER, corpus=PROMPTS), **settings)


def test_they_are_the_weights_that_each_round_was_trained_on():
    model, log = scripted([0, 1, 2], [0], [1], [2], n_estimators=3)  # sampling="weight": a learner gets n D_t
    model.fit(*FIVE)
    stages = list(model.staged_token_weight(*FIVE))
    assert len(log) == 3
    for stage, entry in zip(stages, log, strict=False):
        assert_allclose(stage, entry["token_weight"] / 5, rtol=0, atol=1e-12)
    assert_allclose(stages[1], [0.6, 0.1, 0.1, 0.1, 0.1], atol=1e-12)  # e = .2, p = .6, by hand


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("unit", ["token", 2, 99, "sample", "option"])
def test_on_the_training_data_the_last_are_those_after_the_last_round(unit, weighted):
    sample_weight = np.linspace(0.5, 2, len(SKEWED)) if weighted else None
    model = booster(unit=unit).fit(SKEWED, sample_weight=sample_weight)
    stages = list(model.staged_token_weight(SKEWED, sample_weight=sample_weight))
    assert len(stages) == len(model.estimators_) + 1 >= 3
    assert all(np.abs(before - after).max() > 1e-4 for before, after in pairwise(stages))
    assert_allclose(stages[-1], model.token_weight_, rtol=0, atol=1e-12)


def test_after_a_vote_without_shrinkage_the_rounds_mistakes_have_the_priors_mass():
    model, _ = scripted([0, 1, 2], [0], [1, 4], n_estimators=2)
    model.fit(*FIVE)
    _, second, third = model.staged_token_weight(*FIVE)
    assert second[0] == pytest.approx(0.6)
    assert third[[1, 4]].sum() == pytest.approx(0.6)


def test_a_perfect_last_round_changes_no_weight():
    model, _ = scripted([0, 1, 2], [0], [], n_estimators=5)
    model.fit(*FIVE)
    assert model.stop_reason_ == "perfect_fit"
    *_, before, after = model.staged_token_weight(*FIVE)
    assert_allclose(after, before, atol=1e-12)
    assert_allclose(after, model.token_weight_, atol=1e-12)


def test_a_first_round_that_was_kept_in_spite_of_its_error_changes_no_weight():
    model, _ = scripted([0], [0, 1], on_failure="keep")
    with pytest.warns(EarlyStopWarning, match="single member"):
        model.fit(*FIVE)
    first, second = model.staged_token_weight(*FIVE)
    assert_array_equal(first, np.full(5, 0.2))
    assert_allclose(second, model.token_weight_, atol=1e-12)


def test_bagging_keeps_the_first_weights():
    model, _ = scripted([0, 1, 2], [0], [1], n_estimators=2, reweight=False)
    model.fit(["q", "q"], ["red", "green blue"], sample_weight=[1.0, 3.0])
    stages = list(model.staged_token_weight(["q", "q"], ["red", "green blue"], [1.0, 3.0]))
    assert len(stages) == 3
    for stage in stages:
        assert_allclose(stage, np.array([1, 1, 3, 3, 3]) / 11, rtol=1e-12)


def test_other_answers_can_be_weighed():
    model = booster(unit="token").fit(PROMPTS, ANSWERS)
    stages = list(model.staged_token_weight(["sun cat ?"], ["blue"]))
    tokens = TokenDataset.for_learner(model.estimators_[0], ["sun cat ?"], ["blue"])
    assert {stage.shape for stage in stages} == {(tokens.n_tokens,)}
    assert_allclose(np.sum(stages, axis=1), 1.0, rtol=1e-12)


def test_what_is_done_to_one_stage_does_not_reach_the_next():
    model, _ = scripted([0, 1, 2], [0], [1], n_estimators=2)
    model.fit(*FIVE)
    untouched = list(model.staged_token_weight(*FIVE))
    for place, stage in enumerate(model.staged_token_weight(*FIVE)):
        assert_array_equal(stage, untouched[place])
        stage[:] = np.nan


def test_no_stage_is_computed_before_it_is_asked_for():
    model = booster().fit(PROMPTS, ANSWERS)
    asked = []
    model.estimators_[0] = _Watched(model.estimators_[0], asked)
    stages = model.staged_token_weight(PROMPTS, ANSWERS)
    next(stages)
    assert asked == []
    next(stages)
    assert asked


class _Watched:
    """Hands on everything, and notes when logits are computed."""

    def __init__(self, member, asked):
        self._member, self._asked = member, asked

    def __getattr__(self, name):
        found = getattr(self._member, name)
        if name not in ("token_logits", "answer_logits"):
            return found

        def computed(*args):
            self._asked.append(name)
            return found(*args)

        return computed


def test_an_unfitted_booster_says_so():
    with pytest.raises(NotFittedError):
        next(booster().staged_token_weight(PROMPTS, ANSWERS))


def test_answers_and_options_are_needed_as_in_fit():
    model = booster(unit="option", reweight=False).fit(make_qa(20, random_state=0))
    with pytest.raises(ValueError, match="y must hold the answers"):
        next(model.staged_token_weight(PROMPTS))
    with pytest.raises(ValueError, match="choices must hold the options"):
        next(model.staged_token_weight(PROMPTS, ANSWERS))


def test_an_unknown_window_is_not_read_as_another():
    model = booster(unit=2).fit(PROMPTS, ANSWERS).set_params(window="slidng")
    with pytest.raises(ValueError, match="window must be one of 'tiling', 'sliding'"):
        next(model.staged_token_weight(PROMPTS, ANSWERS))
