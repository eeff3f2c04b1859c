"""LLMAdaBoostClassifier against scikit-learn's AdaBoost, Algorithm 2 worked by hand, and its edges."""

from __future__ import annotations

import logging
import warnings

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import sklearn
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.compose import make_column_transformer
from sklearn.datasets import make_classification
from sklearn.ensemble import AdaBoostClassifier
from sklearn.exceptions import DataConversionWarning
from sklearn.feature_extraction import DictVectorizer
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.svm import LinearSVC
from sklearn.tree import DecisionTreeClassifier

from ensemw2s import EarlyStopWarning, LLMAdaBoostClassifier, WeakLearnerError, training_error_bound
from ensemw2s.ensemble._row_problem import resample_rows, weight_keyword

STUMP = DecisionTreeClassifier(max_depth=1)


class Script(ClassifierMixin, BaseEstimator):
    """Predicts what the script says for its turn, whatever it is trained on; remembers the weights it got."""

    def __init__(self, script, seen=None, proba=None):
        self.script = script
        self.seen = seen
        self.proba = proba

    def __sklearn_clone__(self):
        return Script(self.script, self.seen, self.proba)  # the lists are shared, as a recorder's must be

    def fit(self, X, y, sample_weight=None):
        self.turn_ = len(self.seen)
        self.classes_ = np.unique(y)
        self.seen.append(None if sample_weight is None else np.array(sample_weight))
        return self

    def predict(self, X):
        return np.asarray(self.script[self.turn_])

    def predict_proba(self, X):
        return np.asarray(self.proba[self.turn_])


def scripted(script, proba=None, **params):
    return LLMAdaBoostClassifier(Script(script, [], proba), **params)


def random_task(seed):
    """A data set with 2, 3 or 4 classes; half of them with weights, some of which are 0."""
    rng = np.random.RandomState(seed)
    X, y = make_classification(
        rng.randint(80, 140), n_features=6, n_informative=4, n_classes=2 + seed % 3, flip_y=0.15, random_state=seed
    )
    sample_weight = None
    if seed % 2:
        sample_weight = rng.exponential(size=len(y))
        sample_weight[rng.rand(len(y)) < 0.1] = 0.0
    return X, y, sample_weight, rng.standard_normal((40, 6))


@pytest.mark.parametrize("seed", range(24))
@pytest.mark.slow
def test_with_a_stump_it_equals_scikit_learn_round_for_round(seed):
    X, y, sample_weight, X_new = random_task(seed)
    params = {"n_estimators": 10, "learning_rate": (1.0, 0.7)[seed % 4 == 3], "random_state": seed}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "divide by zero", RuntimeWarning)  # scikit-learn's log(0) of zero weights
        theirs = AdaBoostClassifier(STUMP, **params).fit(X, y, sample_weight=sample_weight)
    ours = LLMAdaBoostClassifier(STUMP, **params).fit(X, y, sample_weight=sample_weight)
    n_rounds = len(theirs.estimators_)
    assert len(ours.estimators_) == n_rounds
    np.testing.assert_allclose(ours.estimator_weights_, theirs.estimator_weights_[:n_rounds], rtol=0, atol=1e-9)
    np.testing.assert_allclose(ours.estimator_errors_, theirs.estimator_errors_[:n_rounds], rtol=0, atol=1e-9)
    assert [m.random_state for m in ours.estimators_] == [m.random_state for m in theirs.estimators_]
    for rows in (X, X_new):
        np.testing.assert_array_equal(ours.predict(rows), theirs.predict(rows))
        np.testing.assert_allclose(ours.predict_proba(rows), theirs.predict_proba(rows), rtol=0, atol=1e-9)
        np.testing.assert_allclose(ours.predict_log_proba(rows), theirs.predict_log_proba(rows), rtol=0, atol=1e-9)
        np.testing.assert_allclose(ours.decision_function(rows), theirs.decision_function(rows), rtol=0, atol=1e-9)
        for name in ("staged_predict", "staged_predict_proba", "staged_decision_function"):
            for mine, yours in zip(getattr(ours, name)(rows), getattr(theirs, name)(rows), strict=True):
                np.testing.assert_allclose(mine, yours, rtol=0, atol=1e-9)
        labels = np.resize(y, len(rows))
        np.testing.assert_allclose(list(ours.staged_score(rows, labels)), list(theirs.staged_score(rows, labels)))
    assert ours.score(X, y, sample_weight) == theirs.score(X, y, sample_weight)


def test_string_labels_equal_scikit_learn_too():
    X, y, _, X_new = random_task(1)
    names = np.array(["no", "maybe", "yes"])[y]
    theirs = AdaBoostClassifier(STUMP, n_estimators=5, random_state=0).fit(X, names)
    ours = LLMAdaBoostClassifier(STUMP, n_estimators=5, random_state=0).fit(X, names)
    assert ours.classes_.tolist() == ["maybe", "no", "yes"]
    np.testing.assert_array_equal(ours.predict(X_new), theirs.predict(X_new))


def test_a_perfect_first_learner_equals_scikit_learn():
    X, y = np.array([[0.0], [1.0], [2.0], [3.0]]), [0, 0, 1, 1]
    theirs = AdaBoostClassifier(STUMP, n_estimators=4).fit(X, y)
    ours = LLMAdaBoostClassifier(STUMP, n_estimators=4).fit(X, y)
    assert ours.stop_reason_ == "perfect_fit"
    np.testing.assert_array_equal(ours.estimator_weights_, theirs.estimator_weights_[:1])
    np.testing.assert_array_equal(ours.estimator_errors_, theirs.estimator_errors_[:1])
    np.testing.assert_array_equal(ours.predict_proba(X), theirs.predict_proba(X))


def test_weight_three_is_three_rows_where_splits_tie():
    # 30 random features of 15 rows hold many splits that are equally good; scikit-learn's own booster chooses among
    # them by rounding errors and fails this.
    for seed in range(5):
        rng = np.random.RandomState(seed)
        X, y, counts = rng.rand(15, 30), np.arange(15) % 3, rng.randint(1, 5, 15)
        booster = LLMAdaBoostClassifier(STUMP, random_state=0)
        weighted = clone(booster).fit(X, y, sample_weight=counts).predict_proba(X)
        repeated = clone(booster).fit(X.repeat(counts, axis=0), y.repeat(counts)).predict_proba(X)
        np.testing.assert_allclose(weighted, repeated, rtol=1e-9)


@pytest.mark.parametrize("n_classes", [2, 3])
def test_a_learner_that_feels_the_scale_equals_scikit_learn_under_weights_that_sum_to_1(n_classes):
    X, y = make_classification(90, n_informative=4, n_classes=n_classes, flip_y=0.1, random_state=3)
    learner = LogisticRegression(C=0.5, tol=1e-10)
    theirs = AdaBoostClassifier(learner, n_estimators=3, random_state=0).fit(X, y)
    ours = LLMAdaBoostClassifier(learner, n_estimators=3, random_state=0).fit(X, y, np.full(90, 1 / 90))
    np.testing.assert_allclose(ours.estimator_weights_, theirs.estimator_weights_, rtol=0, atol=1e-9)
    np.testing.assert_allclose(ours.predict_proba(X), theirs.predict_proba(X), rtol=0, atol=1e-9)


@pytest.mark.parametrize("weighted", [False, True])
def test_the_first_member_is_the_learner_as_it_would_be_alone(weighted):
    X, y, sample_weight, _ = random_task(9)
    sample_weight = sample_weight if weighted else None
    member = LLMAdaBoostClassifier(LogisticRegression(), n_estimators=2).fit(X, y, sample_weight).estimators_[0]
    alone = LogisticRegression().fit(X, y, sample_weight)
    np.testing.assert_array_equal(member.coef_, alone.coef_)


def test_the_learners_get_weights_that_keep_their_sum():
    booster = scripted([[0, 0, 1, 1, 0], [0, 0, 1, 0, 1]], n_estimators=2)
    booster.fit(np.zeros((5, 1)), [0, 0, 1, 1, 1], sample_weight=[1, 2, 3, 4, 5])
    first, second = booster.estimator.seen
    np.testing.assert_array_equal(first, [1, 2, 3, 4, 5])
    # Row 4 was missed, with a third of the mass: it has half of it afterwards.
    np.testing.assert_allclose(second, [0.75, 1.5, 2.25, 3.0, 7.5], rtol=1e-9)


def test_algorithm_2_has_half_the_votes_and_the_same_weights_and_decisions():
    X, y, _, X_new = random_task(0)
    booster = LLMAdaBoostClassifier(STUMP, n_estimators=6, random_state=0).fit(X, y)
    sign = np.where(y == 1, 1.0, -1.0)
    D, g = np.full(len(y), 1 / len(y)), np.zeros(len(X_new))
    for member, vote, error in zip(
        booster.estimators_, booster.estimator_weights_, booster.estimator_errors_, strict=True
    ):
        h = np.where(member.predict(X) == 1, 1.0, -1.0)
        epsilon = D[h != sign].sum()
        alpha = 0.5 * np.log((1 - epsilon) / epsilon)
        np.testing.assert_allclose([error, vote], [epsilon, 2 * alpha], rtol=1e-9)
        D = D * np.exp(-alpha * sign * h) / (2 * np.sqrt(epsilon * (1 - epsilon)))
        g += alpha * np.where(member.predict(X_new) == 1, 1.0, -1.0)
    np.testing.assert_array_equal(booster.predict(X_new), (g > 0).astype(int))


@settings(max_examples=60)
@given(st.data())
def test_training_error_stays_below_the_bound(data):
    n_rows, n_rounds = data.draw(st.integers(2, 12)), data.draw(st.integers(1, 6))
    y = np.array(data.draw(st.lists(st.integers(0, 1), min_size=n_rows, max_size=n_rows)))
    y[:2] = [0, 1]
    script = data.draw(st.lists(st.lists(st.integers(0, 1), min_size=n_rows, max_size=n_rows), min_size=n_rounds))
    weight = np.array(data.draw(st.lists(st.floats(0.01, 1), min_size=n_rows, max_size=n_rows)))
    booster = scripted(script, n_estimators=n_rounds)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", EarlyStopWarning)
        try:
            booster.fit(np.zeros((n_rows, 1)), y, weight)
        except WeakLearnerError:
            return
    # A perfect learner's vote is that of an error of 1/(2n), which is what the bound holds for.
    errors = np.maximum(booster.estimator_errors_, 0.5 / n_rows)
    if booster.estimator_errors_[0] == 0:
        errors = errors[:1]
    wrong = np.average(booster.predict(np.zeros((n_rows, 1))) != y, weights=weight)
    assert wrong <= training_error_bound(errors, 0.5) + 1e-9


# Votes


PROBA = [[[0.9, 0.1], [0.4, 0.6]], [[0.2, 0.8], [0.3, 0.7]]]


def voting_pair(voting):
    """Two members over two rows, with votes 1 and 3."""
    booster = scripted([[0, 1], [1, 1]], PROBA, n_estimators=1, voting=voting).fit(np.zeros((2, 1)), [0, 1])
    second = clone(booster.estimator)
    second.fit(np.zeros((2, 1)), [0, 1])
    booster.estimators_.append(second)
    booster.estimator_weights_ = np.array([1.0, 3.0])
    return booster


def test_the_soft_vote_mixes_probabilities_by_the_votes():
    booster, X = voting_pair("soft"), np.zeros((2, 1))
    mixed = 0.25 * np.array(PROBA[0]) + 0.75 * np.array(PROBA[1])
    np.testing.assert_allclose(booster.predict_proba(X), mixed, rtol=1e-15)
    np.testing.assert_allclose(booster.decision_function(X), 2 * (mixed[:, 1] - mixed[:, 0]), rtol=1e-14)
    np.testing.assert_allclose(next(iter(booster.staged_predict_proba(X))), PROBA[0], rtol=1e-15)
    assert booster.predict(X).tolist() == [1, 1]


def test_the_hard_vote_counts_votes():
    booster, X = voting_pair("hard"), np.zeros((2, 1))
    np.testing.assert_allclose(booster.decision_function(X), [2 * (3 - 1) / 4, 2.0])
    np.testing.assert_allclose(booster.predict_proba(X)[0, 1], 1 / (1 + np.exp(-1.0)))


def test_hard_and_soft_votes_can_differ():
    # Two lukewarm votes for class 0 against one convinced one for class 1.
    proba = [[[0.51, 0.49]], [[0.51, 0.49]], [[0.0, 1.0]]]
    booster = scripted([[0], [0], [1]], proba, n_estimators=1)
    booster.classes_, booster.estimators_ = np.array([0, 1]), []
    for _ in range(3):
        booster.estimators_.append(clone(booster.estimator).fit(np.zeros((2, 1)), [0, 1]))
    booster.estimator_weights_ = np.ones(3)
    booster.n_features_in_ = 1
    assert booster.predict([[0.0]]) == [0]
    assert booster.set_params(voting="soft").predict([[0.0]]) == [1]


def test_with_votes_shares_the_members():
    X, y, _, _ = random_task(0)
    booster = LLMAdaBoostClassifier(STUMP, n_estimators=4, random_state=0).fit(X, y)
    first = booster.with_votes(booster.estimator_weights_[:1])
    np.testing.assert_array_equal(first.predict(X), booster.estimators_[0].predict(X))
    assert first.estimators_[0] is booster.estimators_[0]
    assert len(booster.estimators_) == 4
    with pytest.raises(ValueError, match=r"votes must have at most 4 entries. Got 5"):
        booster.with_votes(np.ones(5))
    with pytest.raises(ValueError, match="votes must be finite and >= 0"):
        booster.with_votes([1.0, -1.0])


def test_predict_under_many_votes_equals_one_booster_for_each():
    X, y, _, _ = random_task(2)
    booster = LLMAdaBoostClassifier(STUMP, n_estimators=3, random_state=0).fit(X, y)
    votes = np.array([[1.0, 0, 0], [1, 1, 1], [0, 0.2, 0.7]])
    for row, predicted in zip(votes, booster.predict_under(votes, X), strict=True):
        np.testing.assert_array_equal(predicted, booster.with_votes(row).predict(X))


# Ways to tell a learner the weights


class Recorder(ClassifierMixin, BaseEstimator):
    """Last step of a pipeline that remembers what it was given; predicts the larger class."""

    def __init__(self, seen=None):
        self.seen = seen

    def __sklearn_clone__(self):
        return Recorder(self.seen)

    def fit(self, X, y, sample_weight=None):
        self.seen.append((X, y, sample_weight))
        self.classes_ = np.unique(y)
        self.tree_ = DecisionTreeClassifier(max_depth=1, random_state=0).fit(X, y, sample_weight)
        return self

    def predict(self, X):
        return self.tree_.predict(X)


@pytest.mark.parametrize("routing", [False, True])
def test_weights_for_a_pipeline_go_to_its_last_step(routing):
    X, y, _, _ = random_task(0)
    learner = make_pipeline(StandardScaler(), make_pipeline(StandardScaler(), Recorder([])))
    with sklearn.config_context(enable_metadata_routing=routing):
        LLMAdaBoostClassifier(learner, n_estimators=2).fit(X, y)
    seen = learner[-1][-1].seen
    np.testing.assert_array_equal(seen[0][2], np.ones(len(y)))
    assert np.ptp(seen[1][2]) > 0


def test_a_learner_without_sample_weight_is_refused_with_the_remedy():
    with pytest.raises(ValueError, match=r"KNeighborsClassifier does not; pass sampling='resample'"):
        LLMAdaBoostClassifier(KNeighborsClassifier()).fit([[0.0], [1.0]], [0, 1])
    learner = make_pipeline(StandardScaler(), KNeighborsClassifier())
    with pytest.raises(ValueError, match=r"Pipeline does not; pass sampling='resample'"):
        LLMAdaBoostClassifier(learner).fit([[0.0], [1.0]], [0, 1])


def test_a_learner_without_sample_weight_can_be_resampled():
    X, y, _, _ = random_task(0)
    booster = LLMAdaBoostClassifier(KNeighborsClassifier(9), n_estimators=3, sampling="resample", random_state=0)
    assert booster.fit(X, y).score(X, y) > 0.7
    assert len(booster.estimators_) == 3


def test_resampling_draws_rows_by_their_weights():
    weight = np.array([0.5, 0.3, 0.2, 0.0])
    y = np.array([0, 1, 0, 1])
    rng = np.random.RandomState(0)
    counts = sum(np.bincount(resample_rows(weight, y, rng)[:4], minlength=4) for _ in range(1000))
    np.testing.assert_allclose(counts / counts.sum(), weight, atol=0.03)


def test_resampling_gives_every_weighted_class_a_row():
    weight = np.array([1 - 2e-12, 1e-12, 1e-12, 0.0])
    y = np.array(["a", "b", "c", "d"])
    rows = resample_rows(weight, y, np.random.RandomState(0))
    assert np.bincount(rows, minlength=4).tolist() == [4, 1, 1, 0]


def test_a_class_that_one_member_never_saw_keeps_its_column():
    # Class 2 has no weight, so no resample holds it; the members know two classes, the ensemble three.
    X = np.repeat([[0.0], [1.0], [2.0]], 6, axis=0)
    y = np.repeat([0, 1, 2], 6)
    booster = LLMAdaBoostClassifier(
        DecisionTreeClassifier(), n_estimators=3, sampling="resample", voting="soft", random_state=0
    ).fit(X, y, sample_weight=np.repeat([1.0, 1.0, 0.0], 6))
    assert booster.estimators_[0].classes_.tolist() == [0, 1]
    assert booster.classes_.tolist() == [0, 1, 2]
    np.testing.assert_array_equal(booster.predict_proba([[1.0]]), [[0.0, 1.0, 0.0]])
    assert booster.predict([[0.0], [1.0]]).tolist() == [0, 1]
    assert np.isneginf(booster.predict_log_proba([[1.0]])[0, 2])


def test_a_mass_on_one_row_still_trains_a_learner_of_two_classes():
    X, y = np.arange(8.0)[:, None], np.array([0, 0, 0, 0, 1, 1, 1, 1])
    weight = np.full(8, 1e-13)
    weight[0] = 1.0
    booster = LLMAdaBoostClassifier(LogisticRegression(), n_estimators=2, sampling="resample", random_state=0)
    booster.fit(X, y, weight)  # LogisticRegression refuses a single class
    assert booster.estimators_[0].classes_.tolist() == [0, 1]


def test_weight_keyword_finds_what_takes_weights():
    assert weight_keyword(LogisticRegression()) == "sample_weight"
    assert weight_keyword(make_pipeline(TfidfVectorizer(), LogisticRegression())) == "logisticregression__sample_weight"
    assert weight_keyword(make_pipeline(TfidfVectorizer(), KNeighborsClassifier())) is None


# Edges


ROWS = np.zeros((4, 1))


def test_a_perfect_later_learner_gets_the_vote_of_half_a_row_and_ends_the_loop():
    booster = scripted([[0, 0, 1, 0], [0, 0, 1, 1]], n_estimators=5).fit(ROWS, [0, 0, 1, 1])
    assert booster.stop_reason_ == "perfect_fit"
    np.testing.assert_allclose(booster.estimator_weights_, [np.log(3), np.log(7)])  # 1/(2n) = 1/8
    assert booster.estimator_errors_.tolist() == [0.25, 0.0]


def test_a_later_round_at_chance_is_discarded_and_reported():
    # Round 1 misses the last row, which has half of the mass then; round 2 misses it again and nothing else.
    booster = scripted([[0, 0, 1, 0], [0, 0, 1, 0]], n_estimators=5)
    with pytest.warns(EarlyStopWarning, match=r"Round 2 was discarded: its weighted error, 0\.5000, is not below") as w:
        booster.fit(ROWS, [0, 0, 1, 1])
    assert "unweighted accuracy 0.7500" in str(w[0].message)
    assert w[0].filename == __file__
    assert booster.stop_reason_ == "error_above_prior"
    assert len(booster.estimators_) == len(booster.estimator_weights_) == len(booster.estimator_errors_) == 1


def test_a_collapsed_round_names_the_only_class_it_predicts():
    booster = scripted([["a", "a", "b", "a"], ["a", "a", "a", "a"]], n_estimators=5)
    with pytest.warns(EarlyStopWarning, match=r"unweighted accuracy 0\.5000; it predicts 'a' for every row"):
        booster.fit(ROWS, ["a", "a", "b", "b"])


def test_a_first_round_at_chance_is_an_error_with_the_remedy():
    booster = scripted([[0, 0, 0, 0]])
    with pytest.raises(WeakLearnerError, match=r"Script, failed: its weighted error, 0\.5000, .*on_failure='keep'"):
        booster.fit(ROWS, [0, 0, 1, 1])


def test_a_first_round_at_chance_can_be_kept():
    booster = scripted([[0, 0, 0, 0]], on_failure="keep")
    with pytest.warns(EarlyStopWarning, match="It is kept as a single member with vote 1"):
        booster.fit(ROWS, [0, 0, 1, 1])
    assert booster.estimator_weights_.tolist() == [1.0]
    assert booster.stop_reason_ == "error_above_prior"


class Diverges(Script):
    """Fails at its second turn, as a model whose loss is not finite."""

    def __sklearn_clone__(self):
        return Diverges(self.script, self.seen)

    def fit(self, X, y, sample_weight=None):
        if self.seen:
            raise WeakLearnerError("The training loss is nan at step 3.")
        return super().fit(X, y, sample_weight)


def test_a_later_round_that_diverges_is_discarded():
    booster = LLMAdaBoostClassifier(Diverges([[0, 0, 1, 0]], []))
    with pytest.warns(EarlyStopWarning, match=r"Round 2 was discarded: The training loss is nan at step 3"):
        booster.fit(ROWS, [0, 0, 1, 1])
    assert booster.stop_reason_ == "diverged"
    assert len(booster.estimators_) == 1


def test_a_row_that_is_always_right_keeps_a_weight():
    # Without a floor its weight would be about 1e-40 in the last round, and 0 after some more.
    rows = np.arange(200)
    script = [np.where(rows == 2 + t % 198, 1 - rows % 2, rows % 2) for t in range(20)]
    booster = scripted(script, n_estimators=20, learning_rate=8.0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", EarlyStopWarning)
        booster.fit(np.zeros((200, 1)), rows % 2)
    assert len(booster.estimator.seen) == 20
    assert all(weight.min() > 1e-14 for weight in booster.estimator.seen)


def test_all_rounds_used_is_the_ordinary_end(caplog):
    with caplog.at_level(logging.INFO, logger="ensemw2s"):
        booster = scripted([[0, 0, 1, 0]], n_estimators=1).fit(ROWS, [0, 0, 1, 1])
    assert booster.stop_reason_ == "n_estimators"
    assert "round 1: error 0.2500, prior 0.5000, vote 1.0986" in caplog.text


def test_a_label_that_is_no_class_is_the_learners_fault():
    with pytest.raises(WeakLearnerError, match=r"Script must predict classes of y, \['a', 'b'\]. Got 'LABEL_0'"):
        scripted([["LABEL_0", "a"]]).fit(ROWS[:2], ["a", "b"])


def test_probabilities_that_are_not_finite_are_refused():
    booster = scripted([[0, 1]], [[[0.5, 0.5], [np.nan, 0.5]]], voting="soft").fit(ROWS[:2], [0, 1])
    with pytest.raises(WeakLearnerError, match=r"Script.predict_proba is not finite in row 1"):
        booster.predict(ROWS[:2])


@pytest.mark.parametrize(
    ("y", "sample_weight", "message"),
    [
        (["a", "a", "a"], None, r"y must hold at least two classes. Got one class in all 3 rows: 'a'"),
        (["a", "b", "a"], [1.0, 0.0, 1.0], r"positive in at least two classes. Got positive weights on 2 of 3 rows"),
        (["a", "b", "a"], [0.0, 1.0, 0.0], r"Got positive weights on 1 of 3 rows, all of class 'b'"),
        (["a", "b", "a"], [1.0, np.nan, 1.0], r"sample_weight must hold finite numbers. Got sample_weight\[1\] = nan"),
        (["a", "b", "a"], [1.0, np.inf, 1.0], r"sample_weight must hold finite numbers. Got sample_weight\[1\] = inf"),
        (["a", "b", "a"], [1.0, 1.0, -1.0], r"non-negative numbers. Got sample_weight\[2\] = -1\.0"),
        (["a", "b", "a"], [0.0, 0.0, 0.0], r"sample_weight must be positive somewhere"),
        (["a", "b", "a"], [1.0, 1.0], r"sample_weight must have shape \(3,\), one per row. Got shape \(2,\)"),
        (["a", "b"], None, r"X and y must have the same length. Got 3 and 2"),
        (None, None, r"requires y to be passed, but the target y is None"),
        (["a", None, "b"], None, r"Got y\[1\] = None instead; label the row or drop it"),
        (np.array(["a", 1, "b"], dtype=object), None, r"y must hold labels of one kind"),
        ([0.5, 1.7, 2.2], None, r"Unknown label type"),
        ([0, 1, np.nan], None, r"Got y\[2\] = nan instead; label the row or drop it"),
    ],
)
def test_bad_labels_and_weights_are_refused_before_training(y, sample_weight, message):
    booster = scripted([])
    with pytest.raises(ValueError, match=message):
        booster.fit(np.zeros((3, 1)), y, sample_weight)
    assert booster.estimator.seen == []


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"n_estimators": 0}, "n_estimators must be an integer of at least 1. Got 0"),
        ({"random_state": 2**32}, r"random_state must be an integer from 0 to 2\*\*32 - 1.* Got 4294967296"),
        ({"random_state": np.nan}, "random_state must be an integer.* Got nan"),
        ({"learning_rate": 0.0}, "learning_rate must be > 0. Got 0.0"),
        ({"learning_rate": 1e308}, r"learning_rate must lie between 1e-100 and 1e\+100. Got 1e\+308"),
        ({"learning_rate": 1e-320}, r"learning_rate must lie between 1e-100 and 1e\+100"),
        ({"verbose": "false"}, "verbose must be True or False. Got 'false'"),
        ({"sampling": "binary"}, "sampling must be one of 'weight', 'resample'. Got 'binary'"),
        ({"voting": "mean"}, "voting must be one of 'hard', 'soft'. Got 'mean'"),
        ({"on_failure": "ignore"}, "on_failure must be one of 'raise', 'keep'. Got 'ignore'"),
        ({"estimator": LinearSVC(), "voting": "soft"}, "predict_proba for voting='soft'. LinearSVC has none"),
    ],
)
def test_bad_parameters_are_refused(params, message):
    with pytest.raises(ValueError, match=message):
        LLMAdaBoostClassifier(STUMP).set_params(**params).fit([[0.0], [1.0]], [0, 1])


class Untagged:
    """Has what a classifier needs, but for scikit-learn's tags."""

    fit = predict = get_params = set_params = None


@pytest.mark.parametrize("estimator", [None, 3, DecisionTreeClassifier, LinearRegression(), Untagged()])
def test_what_is_no_classifier_is_refused(estimator):
    with pytest.raises(TypeError, match=r"estimator must be a scikit-learn classifier or a model id. Got"):
        LLMAdaBoostClassifier(estimator).fit([[0.0], [1.0]], [0, 1])


# Rows of several kinds


def test_sparse_rows_are_kept_sparse():
    X, y, _, _ = random_task(0)
    learner = Recorder([])
    LLMAdaBoostClassifier(make_pipeline(Recorder([])).set_params(recorder=learner), n_estimators=1).fit(
        sp.csc_array(X), y
    )
    assert sp.issparse(learner.seen[0][0])


def test_a_data_frame_reaches_the_learner_as_it_is():
    frame = pd.DataFrame({"text": ["red ball", "blue ball", "red car", "blue car"] * 5, "size": ["s", "l"] * 10})
    y = [0, 1, 0, 1] * 5
    learner = make_pipeline(
        make_column_transformer((TfidfVectorizer(), "text"), (OneHotEncoder(), ["size"])), LogisticRegression()
    )
    for sampling in ("weight", "resample"):
        booster = LLMAdaBoostClassifier(learner, n_estimators=2, sampling=sampling, random_state=0).fit(frame, y)
        assert booster.score(frame, y) == 1.0
        assert booster.feature_names_in_.tolist() == ["text", "size"]
        with pytest.raises(ValueError, match="feature names should match"):
            booster.predict(frame[["size", "text"]])


def test_missing_values_pass_where_the_learner_bears_them():
    X = np.array([[np.nan], [0.0], [1.0], [2.0]])
    assert LLMAdaBoostClassifier(STUMP).fit(X, [0, 0, 1, 1]).predict(X).tolist() == [0, 0, 1, 1]
    with pytest.raises(ValueError, match=r"finite numbers, no NaN .* Got X\[0\] = \[nan\]"):
        LLMAdaBoostClassifier(LogisticRegression()).fit(X, [0, 0, 1, 1])


def test_rows_that_are_dicts_reach_a_learner_of_dicts():
    X = [{"colour": colour, "size": size} for colour in ("red", "blue") for size in (1, 2, 3)]
    learner = make_pipeline(DictVectorizer(), STUMP)
    for sampling in ("weight", "resample"):
        booster = LLMAdaBoostClassifier(learner, n_estimators=2, sampling=sampling, random_state=0)
        assert booster.fit(X, [0, 0, 0, 1, 1, 1]).predict(X).tolist() == [0, 0, 0, 1, 1, 1]


def test_a_failed_refit_leaves_the_ensemble_as_it_was():
    booster = scripted([[0, 0, 1, 0], [0, 0, 0, 0]], n_estimators=1).fit(ROWS, [0, 0, 1, 1])
    with pytest.raises(WeakLearnerError):
        booster.fit(ROWS, ["a", "a", "b", "b"])
    assert booster.predict(ROWS).tolist() == [0, 0, 1, 0]


def test_random_state_objects_are_advanced_as_scikit_learn_advances_them():
    X, y, _, _ = random_task(0)
    ours, theirs = np.random.RandomState(5), np.random.RandomState(5)
    LLMAdaBoostClassifier(STUMP, n_estimators=3, random_state=ours).fit(X, y)
    AdaBoostClassifier(STUMP, n_estimators=3, random_state=theirs).fit(X, y)
    assert ours.randint(1000) == theirs.randint(1000)


def test_fitting_leaves_the_global_random_state_alone():
    X, y, _, _ = random_task(0)
    np.random.seed(0)  # noqa: NPY002 (the global state is what is tested)
    expected = np.random.RandomState(0).randint(1000)
    LLMAdaBoostClassifier(STUMP, n_estimators=2, sampling="resample", random_state=1).fit(X, y)
    assert np.random.randint(1000) == expected  # noqa: NPY002


@pytest.mark.parametrize("container", [sp.dok_array, sp.dok_matrix, sp.lil_array, sp.coo_matrix, sp.dia_array])
@pytest.mark.parametrize("on_bad_row", ["raise", "skip"])
def test_sparse_rows_of_any_kind_train_as_dense_ones(container, on_bad_row):
    X, y = np.eye(6)[[0, 1, 2, 0, 1, 2]], [0, 1, 0, 0, 1, 0]
    dense = LLMAdaBoostClassifier(STUMP, n_estimators=2, random_state=0).fit(X, y)
    sparse = clone(dense).set_params(on_bad_row=on_bad_row).fit(container(X), y)
    np.testing.assert_array_equal(sparse.predict_proba(container(X)), dense.predict_proba(X))


@pytest.mark.parametrize("X", [[], np.empty((0, 2)), pd.DataFrame({"a": []}), sp.csr_array((0, 2))], ids=type)
@pytest.mark.parametrize("on_bad_row", ["raise", "skip"])
def test_a_table_without_rows_is_refused(X, on_bad_row):
    with pytest.raises(ValueError, match=r"X must not be empty. Found X with 0 sample\(s\)"):
        LLMAdaBoostClassifier(STUMP, on_bad_row=on_bad_row).fit(X, [])


STRINGS = np.dtypes.StringDType()


@pytest.mark.parametrize(
    ("y", "classes"),
    [
        (np.array(list("abab"), dtype=STRINGS), ["a", "b"]),
        ([np.array("a"), np.array("b"), "a", "b"], ["a", "b"]),
        (["a", 1, "a", 1], ["1", "a"]),  # as np.array and scikit-learn read it
        (np.ma.array([0, 1, 0, 1], mask=False), [0, 1]),
    ],
)
def test_labels_are_read_as_the_same_plain_array(y, classes):
    fitted = LLMAdaBoostClassifier(STUMP, n_estimators=1).fit(np.array([[0.0], [1.0], [0.0], [1.0]]), y)
    assert fitted.classes_.tolist() == classes
    assert fitted.score(np.array([[0.0], [1.0]]), y[:2]) == 1.0


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (np.array(1), r"y must have one dimension, one label per row. Got array\(1\)"),
        (np.array(["a", "b", np.nan, "a"], dtype=np.dtypes.StringDType(na_object=np.nan)), r"Got y\[2\] = nan"),
        (np.ma.array([0, 1, 0, 1], mask=[0, 0, 1, 0]), r"Got y\[2\] = None"),
        (np.array(["2020-01-01", "2021-01-01", "NaT", "2020-01-01"], dtype="M8[D]"), r"Got y\[2\] = .*NaT"),
        ([np.array(np.nan), "a", "b", "a"], r"Got y\[0\] = nan"),
    ],
)
def test_labels_that_are_missing_in_any_form_are_no_class(y, message):
    with pytest.raises(ValueError, match=message):
        LLMAdaBoostClassifier(STUMP).fit(np.zeros((4, 1)), y)


@pytest.mark.parametrize(
    ("column", "message"),
    [
        (["a", 1, "b", "a"], r"y must hold labels of one kind.*Got y\[1\] = 1"),
        (["a", None, "b", "a"], r"Got y\[1\] = (None|nan)"),
    ],
)
def test_a_frame_of_one_column_is_looked_at_label_by_label(column, message):
    with pytest.warns(DataConversionWarning, match="column-vector y"), pytest.raises(ValueError, match=message):
        LLMAdaBoostClassifier(STUMP).fit(np.zeros((4, 1)), pd.DataFrame({"y": column}))
