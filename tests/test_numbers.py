"""Numbers that are none, and weights that vanish: a typed end or an error, and never a NaN in votes or weights."""

from __future__ import annotations

import numpy as np
import pytest
from kill_server import WORDS, booster, fingerprint, questions
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.tree import DecisionTreeClassifier

from ensemw2s import (
    BigramLearner,
    EarlyStopWarning,
    LLMAdaBoostClassifier,
    TokenDataset,
    WeakLearnerError,
)

DATA = questions(0)
BROKEN = {"nan": np.nan, "inf": np.inf, "nothing can follow": -np.inf}


@pytest.fixture
def break_round(monkeypatch):
    """Spoil what the learner of a round has learned, one row of its table or all of it."""

    def spoil(number: int, value: float) -> None:
        real, calls = BigramLearner.fit, []

        def fit(self, tokens, *, token_weight):
            real(self, tokens, token_weight=token_weight)
            calls.append(1)
            if len(calls) == number:
                self.log_proba_[tokens.labels[0]] = value
            return self

        monkeypatch.setattr(BigramLearner, "fit", fit)

    return spoil


@pytest.mark.parametrize("value", BROKEN.values(), ids=BROKEN)
def test_a_later_round_with_broken_logits_is_discarded(break_round, value):
    good = booster(None, n_estimators=2).fit(DATA)
    break_round(3, value)
    with pytest.warns(EarlyStopWarning, match=r"Round 3 was discarded: Member 0 gives logits that are not finite"):
        model = booster(None, n_estimators=5).fit(DATA)
    assert model.stop_reason_ == "diverged"
    assert np.array_equal(model.estimator_weights_, good.estimator_weights_)
    assert np.array_equal(model.token_weight_, good.token_weight_)


@pytest.mark.parametrize("value", BROKEN.values(), ids=BROKEN)
def test_a_first_round_with_broken_logits_raises(break_round, value):
    break_round(1, value)
    with pytest.raises(WeakLearnerError, match="logits that are not finite"):
        booster(None).fit(DATA)


def test_a_diverged_round_is_kept_in_mind_by_a_checkpoint(break_round, tmp_path):
    break_round(3, np.nan)
    with pytest.warns(EarlyStopWarning, match="Round 3 was discarded"):
        model = booster(tmp_path, n_estimators=5).fit(DATA)
    with pytest.warns(EarlyStopWarning, match="Round 3 was discarded"):
        again = booster(tmp_path, n_estimators=5).fit(DATA)
    assert again.stop_reason_ == "diverged"
    assert fingerprint(again) == fingerprint(model)


def assert_finite(model, weight):
    for values in (model.estimator_weights_, model.estimator_errors_, weight):
        assert np.isfinite(values).all()
    assert (weight >= 0).all()
    assert weight.sum() == pytest.approx(1.0, abs=1e-12)


@pytest.mark.parametrize("sampling", ["weight", "count", "binary"])
def test_weights_that_vanish_stay_numbers(sampling):
    model = booster(None, n_estimators=100, learning_rate=300.0, sampling=sampling).fit(DATA)
    assert_finite(model, model.token_weight_)
    assert (model.token_weight_ == 0).any()  # e^-745 is the last number


def test_weights_of_rows_that_vanish_stay_numbers():
    X = np.random.RandomState(0).normal(size=(60, 2))
    y = (X[:, 0] + X[:, 1] > 0).astype(int)
    learner = DecisionTreeClassifier(max_depth=1)
    model = LLMAdaBoostClassifier(learner, n_estimators=30, learning_rate=30.0, random_state=0).fit(X, y)
    assert np.isfinite(model.estimator_weights_).all()
    assert np.isfinite(model.predict_proba(X)).all()


def test_a_learner_that_repeats_the_mistakes_of_the_last_has_no_vote():
    model = booster(None, prior="reweighted", sampling="weight", n_estimators=50)
    model.estimator = BigramLearner(WORDS, corpus=["1 odd 2 even"])
    model.fit(DATA)
    assert model.stop_reason_ in ("error_above_prior", "n_estimators")
    assert (model.estimator_weights_ > 0).all()
    assert_finite(model, model.token_weight_)


@pytest.mark.parametrize("weight", [np.zeros(24), np.full(24, np.nan), np.full(24, 1e308)])
def test_weights_without_a_sum_are_refused_before_training(weight):
    with pytest.raises(ValueError, match=r"sample_weight must (have a positive, finite sum|hold finite numbers)"):
        booster(None).fit(DATA, sample_weight=weight)


def test_a_learner_refuses_tokens_that_are_all_masked():
    learner = BigramLearner(WORDS).initialize()
    tokens = TokenDataset.for_learner(learner, DATA.prompts, DATA.answers)
    with pytest.raises(ValueError, match="token_weight must have a positive, finite sum"):
        learner.fit(tokens, token_weight=np.zeros(tokens.n_tokens))


def test_a_classifier_that_predicts_no_class_is_discarded_or_refused():
    class Lost(ClassifierMixin, BaseEstimator):
        def fit(self, X, y, sample_weight=None):
            self.classes_ = np.unique(y)
            return self

        def predict(self, X):
            return np.full(len(X), np.nan)

    with pytest.raises(WeakLearnerError, match="Lost"):
        LLMAdaBoostClassifier(Lost()).fit(np.eye(4), [0, 1, 0, 1])
