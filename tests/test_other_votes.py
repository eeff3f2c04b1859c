"""An ensemble and its members: copies with other votes, and the ensemble as their sequence."""

from __future__ import annotations

import numpy as np
import pytest
from member_learners import X, Y, by_bytes, by_words
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.ensemble import AdaBoostClassifier
from sklearn.exceptions import NotFittedError
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
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
        if hasattr(model, name) or name != "picks_":
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


# What scikit-learn's ensembles have


@pytest.mark.parametrize("kind", ["generator", "classifier"])
def test_an_ensemble_is_the_sequence_of_its_members(kind, request):
    model = request.getfixturevalue(kind)
    assert len(model) == 3
    assert list(model) == model.estimators_ == [model[0], *model[1:]]
    assert model[-1] is model.estimators_[2]
    with pytest.raises(IndexError):
        model[3]
    unfitted = clone(model)
    assert bool(unfitted)
    for use in (len, iter, lambda ensemble: ensemble[0]):
        with pytest.raises(NotFittedError, match="not fitted yet"):
            use(unfitted)


def test_importances_and_number_of_classes_are_those_of_scikit_learns_adaboost():
    rows = np.random.RandomState(0).normal(size=(80, 3))
    labels = (rows.sum(axis=1) > 0).astype(int) + (rows[:, 0] > 1)
    ours = LLMAdaBoostClassifier(DecisionTreeClassifier(max_depth=2), n_estimators=4, random_state=0)
    assert not hasattr(ours, "n_classes_")
    assert not hasattr(ours, "feature_importances_")
    theirs = AdaBoostClassifier(DecisionTreeClassifier(max_depth=2), n_estimators=4, random_state=0).fit(rows, labels)
    # Rows weighted to sum to 1, as scikit-learn passes them on.
    ours.fit(rows, labels, sample_weight=np.full(80, 1 / 80))
    assert_allclose(ours.feature_importances_, theirs.feature_importances_, atol=1e-12)
    assert ours.n_classes_ == theirs.n_classes_ == 3


def test_importances_are_there_where_the_members_have_them():
    texts = LLMAdaBoostClassifier(make_pipeline(TfidfVectorizer(), LogisticRegression()), n_estimators=2)
    texts.fit(["red sky", "red sea", "old car", "old bus"], [0, 0, 1, 1])
    assert not hasattr(texts, "feature_importances_")
    with pytest.raises(AttributeError, match="Member 0, a Pipeline, has none"):
        _ = texts.feature_importances_
