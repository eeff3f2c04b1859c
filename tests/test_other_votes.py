"""Copies of an ensemble with other votes: members without one are left out, with all that is known of them."""

from __future__ import annotations

import numpy as np
import pytest
from member_learners import X, Y, by_bytes, by_words
from numpy.testing import assert_array_equal
from sklearn.tree import DecisionTreeClassifier

from ensemw2s import FineTunedGenerator, LLMAdaBoostClassifier, MixtureForCausalLM, TokenAdaBoostGenerator

VOTES = [1.0, 0.0, 3.0]


@pytest.fixture(scope="module")
def generator():
    """Members 0 and 2 read words, member 1 bytes."""
    settings = {"n_estimators": 3, "unit": "sample", "prior": "uniform", "reweight": False, "random_state": 0}
    return TokenAdaBoostGenerator(estimators=[by_words(), by_bytes()], **settings).fit(X, Y)


@pytest.fixture(scope="module")
def classifier():
    rows = np.random.RandomState(0).normal(size=(60, 3))
    stump = DecisionTreeClassifier(max_depth=1)
    return LLMAdaBoostClassifier(stump, n_estimators=3, random_state=0).fit(rows, rows.sum(axis=1) > 0)


@pytest.mark.parametrize("kind", ["generator", "classifier"])
def test_what_is_known_of_a_member_goes_with_it(kind, request):
    model = request.getfixturevalue(kind)
    other = model.with_votes(VOTES)
    assert other.estimators_ == [model.estimators_[0], model.estimators_[2]]
    assert_array_equal(other.estimator_weights_, [1.0, 3.0])
    for name in ("estimator_errors_", "prior_errors_", "picks_"):
        if hasattr(model, name):
            assert_array_equal(getattr(other, name), getattr(model, name)[[0, 2]])
    assert len(model.estimators_) == len(model.estimator_errors_) == 3


def test_members_that_remain_of_one_tokenizer_are_one_model(generator):
    assert isinstance(generator.with_votes(VOTES).mixture_, MixtureForCausalLM)


def test_a_single_model_takes_another_vote():
    assert_array_equal(FineTunedGenerator(by_words()).fit(X, Y).with_votes([2]).estimator_weights_, [2.0])


@pytest.mark.parametrize("kind", ["generator", "classifier"])
@pytest.mark.parametrize("votes", [[0, 0, 0], [1, -1, 1], [1, np.nan, 1]])
def test_votes_that_leave_nobody_or_are_no_votes_are_refused(kind, votes, request):
    with pytest.raises(ValueError, match="votes must be finite and >= 0, with a positive one in each row"):
        request.getfixturevalue(kind).with_votes(votes)


def test_free_text_under_too_few_votes_is_refused(generator):
    with pytest.raises(ValueError, match="votes must have 3 columns, one per member"):
        generator.predict_under([[1.0, 1.0]], X)
