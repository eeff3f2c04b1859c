"""Boosters with ``reweight=False``: bagging, the control with the same learners, seeds and number of rounds."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scripted_learner import FIVE, TOKENIZER, Scripted, scripted
from sklearn.datasets import make_classification
from sklearn.dummy import DummyClassifier
from sklearn.model_selection import GridSearchCV
from sklearn.tree import DecisionTreeClassifier
from sklearn.utils.estimator_checks import parametrize_with_checks

from ensemw2s import (
    BigramLearner,
    EarlyStopWarning,
    FineTunedGenerator,
    LLMAdaBoostClassifier,
    TokenAdaBoostGenerator,
    TokenDataset,
    WeakLearnerError,
    make_qa,
)
from ensemw2s.mixture._scoring import score_answers

EASY = make_qa(30, random_state=0)
STUMP = DecisionTreeClassifier(max_depth=1)
ROWS, LABELS = make_classification(120, n_informative=4, n_classes=3, flip_y=0.2, random_state=1)


def bagged_bigrams(**params):
    return TokenAdaBoostGenerator(
        BigramLearner(), **{"n_estimators": 3, "prior": "uniform", "reweight": False, "random_state": 0, **params}
    )


def bagged_stumps(**params):
    return LLMAdaBoostClassifier(
        STUMP, **{"n_estimators": 4, "sampling": "resample", "reweight": False, "random_state": 0, **params}
    )


# --- the token booster -----------------------------------------------------------------------------------------------


def test_every_round_sees_the_initial_weights():
    model, log = scripted([0, 1, 2], [0], [1], [2], n_estimators=3, reweight=False)
    model.fit(["q", "q"], ["red", "green blue"], sample_weight=[1.0, 3.0])
    first = 5 * np.array([1, 1, 3, 3, 3]) / 11
    for entry in log:
        assert_allclose(entry["token_weight"], first)
    assert_allclose(model.token_weight_, first / 5)


def test_errors_are_recorded_under_the_initial_weights_and_votes_are_equal():
    model, _ = scripted([0, 1, 2], [0], [0, 1], [4], n_estimators=3, reweight=False)
    model.fit(*FIVE)
    assert_allclose(model.estimator_errors_, [0.2, 0.4, 0.2])
    assert_allclose(model.prior_errors_, [0.6, 0.6, 0.6])
    assert_array_equal(model.estimator_weights_, np.ones(3))
    assert model.stop_reason_ == "n_estimators"


@pytest.mark.parametrize("mistakes", [[], [0, 1, 2], [0, 1, 2, 3, 4]], ids=["perfect", "at the prior", "all wrong"])
def test_no_round_ends_bagging_for_its_error(mistakes):
    model, _ = scripted([0, 1, 2], mistakes, [0], mistakes, n_estimators=3, reweight=False)
    model.fit(*FIVE)
    assert len(model.estimators_) == 3
    assert_allclose(model.estimator_errors_, [len(mistakes) / 5, 0.2, len(mistakes) / 5])


@pytest.mark.parametrize("untrained", [[], [0, 1, 2, 3, 4]])
def test_a_prior_that_no_vote_is_measured_against_is_not_refused(untrained):
    model, _ = scripted(untrained, [0], n_estimators=1, reweight=False)
    model.fit(*FIVE)
    assert model.pretrained_error_ == len(untrained) / 5


def test_learning_rate_and_prior_decide_nothing():
    plain = bagged_bigrams().fit(EASY)
    other = bagged_bigrams(learning_rate=0.1, prior="reweighted", on_failure="keep").fit(EASY)
    assert_array_equal(other.estimator_weights_, plain.estimator_weights_)
    assert_array_equal(other.estimator_errors_, plain.estimator_errors_)
    assert_array_equal(other.predict(EASY), plain.predict(EASY))


@pytest.mark.parametrize("sampling", ["binary", "count"])
def test_draws_and_seeds_are_those_of_boosting(sampling):
    script = [[0, 1, 2], [0], [1], [2]]
    boosted, boosted_log = scripted(*script, n_estimators=3, sampling=sampling)
    bagged, bagged_log = scripted(*script, n_estimators=3, sampling=sampling, reweight=False)
    boosted.fit(*FIVE)
    bagged.fit(*FIVE)
    assert len(boosted_log) == 3
    assert [entry["seed"] for entry in bagged_log] == [entry["seed"] for entry in boosted_log]
    assert_array_equal(bagged_log[0]["token_weight"], boosted_log[0]["token_weight"])
    assert any((entry["token_weight"] != bagged_log[0]["token_weight"]).any() for entry in bagged_log[1:])


@pytest.mark.parametrize("unit", ["token", 2, "sample", "option"])
@pytest.mark.filterwarnings("ignore:The first weak learner:ensemw2s.EarlyStopWarning")  # whole answers are too hard
def test_round_one_is_boostings(unit):
    boosted = bagged_bigrams(unit=unit, n_estimators=1, reweight=True, on_failure="keep").fit(EASY)
    bagged = bagged_bigrams(unit=unit).fit(EASY)
    assert_array_equal(bagged.estimators_[0].log_proba_, boosted.estimators_[0].log_proba_)
    assert bagged.estimator_errors_[0] == boosted.estimator_errors_[0]
    assert bagged.prior_errors_[0] == boosted.prior_errors_[0]


def test_members_that_draw_nothing_and_have_no_seed_are_the_single_learner():
    bagged = bagged_bigrams(sampling="weight").fit(EASY)
    single = FineTunedGenerator(BigramLearner()).fit(EASY)
    for member in bagged.estimators_:
        assert_allclose(member.log_proba_, single.estimators_[0].log_proba_, rtol=1e-12)
    assert_array_equal(bagged.predict(EASY), single.predict(EASY))
    assert len(set(bagged.estimator_errors_)) == 1


def test_members_answer_together_by_the_mean_of_their_probabilities():
    bagged = bagged_bigrams().fit(EASY)
    tokens = TokenDataset.for_learner(bagged.estimators_[0], EASY.prompts, EASY.answers)
    probabilities = np.exp(-score_answers(bagged.estimators_, np.eye(3), tokens).nll)  # of each member alone
    assert np.ptp(probabilities, axis=0).max() > 0.01  # the draws differ
    assert_allclose(bagged.answer_nll(EASY), -tokens.sum_rows(np.log(probabilities.mean(axis=0))), rtol=1e-6)


class Diverging(Scripted):
    """Its training fails in round 3."""

    def __sklearn_clone__(self):
        return Diverging(self.mistakes, self.log, self.random_state)

    def fit(self, tokens, *, token_weight):
        super().fit(tokens, token_weight=token_weight)
        if self.round == 3:
            raise WeakLearnerError("The training loss is nan at step 3.")
        return self


def test_a_round_that_diverges_ends_bagging():
    learner = Diverging([[0, 1, 2], [0], [0], [0]], [])
    model = TokenAdaBoostGenerator(learner, reweight=False, random_state=0)
    with pytest.warns(EarlyStopWarning, match=r"Round 3 was discarded: .*2 rounds before it are kept") as caught:
        model.fit(*FIVE)
    assert caught[0].filename == __file__
    assert model.stop_reason_ == "diverged"
    assert len(model.estimators_) == 2


# --- the classifier --------------------------------------------------------------------------------------------------


def test_resampling_is_a_bootstrap_of_ten_lines():
    n = len(LABELS)
    rng, trees, counts = np.random.RandomState(7), [], np.zeros((n, 3))
    for _ in range(4):
        seed = rng.randint(np.iinfo(np.int32).max)
        draw = np.random.default_rng(rng.randint(2**31)).random(n)
        rows = np.sort(np.floor(n * draw).astype(int))
        trees.append(DecisionTreeClassifier(max_depth=1, random_state=seed).fit(ROWS[rows], LABELS[rows]))
        counts[np.arange(n), trees[-1].predict(ROWS)] += 1
    bagged = bagged_stumps(random_state=7).fit(ROWS, LABELS)
    assert_array_equal(bagged.predict(ROWS), counts.argmax(axis=1))
    assert_allclose(bagged.estimator_errors_, [np.mean(tree.predict(ROWS) != LABELS) for tree in trees], rtol=1e-12)
    assert_array_equal(bagged.estimator_weights_, np.ones(4))


def test_round_one_of_the_classifier_is_boostings():
    bagged, boosted = bagged_stumps().fit(ROWS, LABELS), bagged_stumps(n_estimators=1, reweight=True).fit(ROWS, LABELS)
    assert bagged.estimators_[0].random_state == boosted.estimators_[0].random_state
    assert_array_equal(bagged.estimators_[0].predict(ROWS), boosted.estimators_[0].predict(ROWS))
    assert bagged.estimator_errors_[0] == boosted.estimator_errors_[0]


def test_weights_make_an_ensemble_of_seeds():
    weight = np.random.RandomState(0).exponential(size=len(LABELS))
    learner = DecisionTreeClassifier(max_depth=2, max_features=2)
    bagged = LLMAdaBoostClassifier(learner, n_estimators=4, reweight=False, random_state=0).fit(ROWS, LABELS, weight)
    boosted = LLMAdaBoostClassifier(learner, n_estimators=4, random_state=0).fit(ROWS, LABELS, weight)
    assert [m.random_state for m in bagged.estimators_] == [m.random_state for m in boosted.estimators_]
    for member in bagged.estimators_:
        alone = DecisionTreeClassifier(max_depth=2, max_features=2, random_state=member.random_state)
        assert_array_equal(member.predict(ROWS), alone.fit(ROWS, LABELS, weight).predict(ROWS))


def test_a_classifier_without_draw_or_seed_gives_equal_members():
    bagged = LLMAdaBoostClassifier(STUMP, n_estimators=3, reweight=False, random_state=0).fit(ROWS, LABELS)
    first, *others = (member.predict(ROWS) for member in bagged.estimators_)
    for other in others:
        assert_array_equal(other, first)
    assert_array_equal(bagged.predict(ROWS), first)


def test_no_round_of_the_classifier_is_discarded_for_its_error():
    learner = DummyClassifier(strategy="constant", constant=2)  # at chance, or below it
    bagged = LLMAdaBoostClassifier(learner, n_estimators=3, reweight=False).fit(ROWS, LABELS)
    assert len(bagged.estimators_) == 3
    assert bagged.stop_reason_ == "n_estimators"
    assert_allclose(bagged.estimator_errors_, np.mean(LABELS != 2))


def test_a_perfect_member_does_not_end_bagging():
    bagged = LLMAdaBoostClassifier(STUMP, n_estimators=3, reweight=False).fit([[0.0], [1.0]], [0, 1])
    assert_array_equal(bagged.estimator_errors_, np.zeros(3))
    assert_array_equal(bagged.estimator_weights_, np.ones(3))
    assert bagged.stop_reason_ == "n_estimators"


@parametrize_with_checks([LLMAdaBoostClassifier(DecisionTreeClassifier(max_depth=3), n_estimators=4, reweight=False)])
@pytest.mark.slow
def test_scikit_learns_checks_of_a_bagging_classifier(estimator, check):
    check(estimator)


# --- both ------------------------------------------------------------------------------------------------------------


def test_a_search_can_compare_boosting_and_bagging():
    search = GridSearchCV(bagged_stumps(), {"reweight": [True, False]}, cv=2).fit(ROWS, LABELS)
    assert search.best_params_["reweight"] in (True, False)


@pytest.mark.parametrize("value", ["no", 0, None])
@pytest.mark.parametrize("booster", [bagged_stumps, bagged_bigrams])
def test_reweight_must_be_a_truth_value(booster, value):
    with pytest.raises(ValueError, match=rf"reweight must be True or False\. Got {value!r} instead"):
        booster(reweight=value).fit(["a", "b"], ["c", "d"])


def test_the_vocabulary_of_the_script_covers_its_answers():
    assert TOKENIZER.unk_token_id not in TOKENIZER(FIVE[1][0])["input_ids"]
