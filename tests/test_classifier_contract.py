"""scikit-learn's contract: its own checks on numbers, and their like on texts."""

from __future__ import annotations

import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
import sklearn
from datasets import Dataset
from sklearn.base import clone, is_classifier
from sklearn.calibration import CalibratedClassifierCV
from sklearn.exceptions import DataConversionWarning, NotFittedError
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import make_scorer
from sklearn.model_selection import GridSearchCV, cross_val_predict, cross_val_score, cross_validate
from sklearn.naive_bayes import MultinomialNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import FeatureUnion, Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.tree import DecisionTreeClassifier
from sklearn.utils import get_tags
from sklearn.utils.estimator_checks import parametrize_with_checks
from tiny_classifiers import OPINIONS, SENTENCES, bert_classifier

from ensemw2s import EarlyStopWarning, HFClassifier, LLMAdaBoostClassifier


@parametrize_with_checks([LLMAdaBoostClassifier(DecisionTreeClassifier(max_depth=1))])
@pytest.mark.slow
def test_scikit_learns_checks(estimator, check):
    check(estimator)


# The same on texts


def word_stump():
    """Weak on purpose: one word decides."""
    return make_pipeline(CountVectorizer(), DecisionTreeClassifier(max_depth=1))


def tfidf():
    return make_pipeline(TfidfVectorizer(), LogisticRegression())


BOOSTERS = {
    "stump": LLMAdaBoostClassifier(word_stump(), n_estimators=4, random_state=0),
    "tfidf": LLMAdaBoostClassifier(tfidf(), n_estimators=3, random_state=0),
    "tfidf-soft": LLMAdaBoostClassifier(tfidf(), n_estimators=3, voting="soft", random_state=0),
    "bayes-resampled": LLMAdaBoostClassifier(
        make_pipeline(CountVectorizer(), MultinomialNB()), n_estimators=3, sampling="resample", random_state=0
    ),
}
# Four labels are turned round, so that a learner does not end the loop by being perfect.
LABELS = np.array(OPINIONS)
LABELS[[0, 5, 10, 15]] = ["dislike", "like", "dislike", "like"]


def quietly_fitted(booster, X=SENTENCES, y=LABELS, sample_weight=None):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", EarlyStopWarning)
        return clone(booster).fit(X, y, sample_weight)


@pytest.fixture(params=list(BOOSTERS))
def booster(request):
    return BOOSTERS[request.param]


def test_it_is_a_classifier_of_texts(booster):
    tags = get_tags(booster)
    assert is_classifier(booster)
    assert tags.input_tags.string
    assert not tags.input_tags.two_d_array


def test_fit_returns_self_and_sets_what_it_should(booster):
    fitted = clone(booster)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", EarlyStopWarning)
        assert fitted.fit(SENTENCES, LABELS) is fitted
    n_rounds = len(fitted.estimators_)
    assert 1 <= n_rounds <= fitted.n_estimators
    assert fitted.estimator_weights_.shape == fitted.estimator_errors_.shape == (n_rounds,)
    assert fitted.classes_.tolist() == ["dislike", "like"]
    assert not hasattr(fitted, "n_features_in_")  # texts have none


def test_fitting_changes_no_parameter(booster):
    before = {name: repr(value) for name, value in booster.get_params().items()}
    quiet = quietly_fitted(booster)
    assert {name: repr(value) for name, value in quiet.get_params().items()} == before


def test_predicting_changes_nothing(booster):
    fitted = quietly_fitted(booster)
    before = {name: repr(value) for name, value in vars(fitted).items()}
    fitted.predict(SENTENCES), fitted.predict_proba(SENTENCES), list(fitted.staged_predict(SENTENCES))
    assert {name: repr(value) for name, value in vars(fitted).items()} == before


def test_shapes_and_agreement_of_the_methods(booster):
    fitted = quietly_fitted(booster)
    proba, labels = fitted.predict_proba(SENTENCES), fitted.predict(SENTENCES)
    assert proba.shape == (len(SENTENCES), 2)
    np.testing.assert_allclose(proba.sum(axis=1), 1.0)
    np.testing.assert_array_equal(fitted.classes_[proba.argmax(axis=1)], labels)
    decision = fitted.decision_function(SENTENCES)
    assert decision.shape == (len(SENTENCES),)
    np.testing.assert_array_equal(fitted.classes_[(decision > 0).astype(int)], labels)
    np.testing.assert_allclose(fitted.predict_log_proba(SENTENCES), np.log(proba))
    assert fitted.score(SENTENCES, LABELS) == np.mean(labels == LABELS)
    for name in ("predict", "predict_proba", "decision_function"):
        stages = list(getattr(fitted, f"staged_{name}")(SENTENCES))
        assert len(stages) == len(fitted.estimators_)
        np.testing.assert_array_equal(stages[-1], getattr(fitted, name)(SENTENCES))


def test_fitting_twice_gives_the_same(booster):
    fitted = quietly_fitted(booster)
    first = fitted.predict_proba(SENTENCES)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", EarlyStopWarning)
        np.testing.assert_array_equal(fitted.fit(SENTENCES, LABELS).predict_proba(SENTENCES), first)


def test_the_order_and_the_number_of_rows_to_predict_do_not_matter(booster):
    fitted = quietly_fitted(booster)
    proba = fitted.predict_proba(SENTENCES)
    order = np.random.RandomState(0).permutation(len(SENTENCES))
    np.testing.assert_allclose(fitted.predict_proba([SENTENCES[i] for i in order]), proba[order])
    np.testing.assert_allclose(np.concatenate([fitted.predict_proba([text]) for text in SENTENCES]), proba)


@pytest.mark.parametrize("labels", [np.array(OPINIONS) == "like", np.where(LABELS == "like", 7, -3), list(LABELS)])
def test_labels_may_be_booleans_integers_or_strings(booster, labels):
    fitted = quietly_fitted(booster, y=labels)
    assert set(fitted.predict(SENTENCES).tolist()) <= set(np.asarray(labels).tolist())
    assert fitted.classes_.dtype == np.asarray(labels).dtype


@pytest.mark.parametrize(
    "container",
    [
        list, tuple, np.array, pd.Series, lambda X: np.array(X, dtype=object),
        lambda X: pd.Series(X, index=range(100, 100 + len(X))), lambda X: Dataset.from_dict({"text": X})["text"],
    ],
    ids=["list", "tuple", "str-array", "series", "object-array", "series-with-index", "dataset-column"],
)  # fmt: skip
@pytest.mark.slow
def test_texts_may_come_in_any_container(booster, container):
    expected = quietly_fitted(booster).predict_proba(SENTENCES)
    fitted = quietly_fitted(booster, X=container(SENTENCES), y=pd.Series(LABELS))
    np.testing.assert_array_equal(fitted.predict_proba(container(SENTENCES)), expected)


def test_weights_of_one_are_no_weights(booster):
    plain = quietly_fitted(booster).predict_proba(SENTENCES)
    for weight in (np.ones(len(SENTENCES)), [1] * len(SENTENCES), pd.Series(1.0, index=range(len(SENTENCES)))):
        np.testing.assert_array_equal(quietly_fitted(booster, sample_weight=weight).predict_proba(SENTENCES), plain)


@pytest.mark.parametrize("name", ["stump", "tfidf", "tfidf-soft"])
def test_weight_two_is_two_rows(name):
    # TfidfVectorizer counts rows without their weights: let it weigh all words alike.
    booster = clone(BOOSTERS[name])
    if name != "stump":
        booster.set_params(estimator__tfidfvectorizer__use_idf=False, estimator__logisticregression__tol=1e-10)
    counts = np.arange(len(SENTENCES)) % 3 + 1
    weighted = quietly_fitted(booster, sample_weight=counts)
    repeated = quietly_fitted(booster, X=np.repeat(SENTENCES, counts), y=np.repeat(LABELS, counts))
    np.testing.assert_allclose(weighted.estimator_weights_, repeated.estimator_weights_, rtol=1e-6)
    np.testing.assert_allclose(weighted.predict_proba(SENTENCES), repeated.predict_proba(SENTENCES), rtol=1e-4)


def test_the_users_weights_are_not_overwritten(booster):
    weight = np.arange(1.0, len(SENTENCES) + 1)
    quietly_fitted(booster, sample_weight=weight)
    np.testing.assert_array_equal(weight, np.arange(1.0, len(SENTENCES) + 1))


def test_predicting_before_fitting_is_an_error(booster):
    for name in ("predict", "predict_proba", "decision_function", "staged_predict", "staged_decision_function"):
        with pytest.raises(NotFittedError):
            getattr(clone(booster), name)(SENTENCES)


def test_pickling_keeps_the_predictions(booster):
    fitted = quietly_fitted(booster)
    restored = pickle.loads(pickle.dumps(fitted))  # noqa: S301 (our own bytes)
    np.testing.assert_array_equal(restored.predict_proba(SENTENCES), fitted.predict_proba(SENTENCES))


def test_a_column_of_labels_is_flattened_with_a_warning(booster):
    with pytest.warns(DataConversionWarning, match="A column-vector y was passed"):
        quietly_fitted(booster, y=LABELS[:, None])


@pytest.mark.parametrize(
    ("X", "error", "message"),
    [
        ("a good film", TypeError, "X must be a sequence of texts"),
        ([], ValueError, "X must not be empty"),
        ([None, *SENTENCES[1:]], TypeError, r"X must hold texts. Got X\[0\] = None"),
        ([*SENTENCES[:-1], 3], TypeError, r"X must hold texts. Got X\[23\] = 3"),
        ([*SENTENCES[:-1], "  "], ValueError, r"X must not hold a blank text. Got X\[23\]"),
        (pd.DataFrame({"text": SENTENCES}), ValueError, r"one-dimensional, one text per row. Got shape \(24, 1\)"),
        (np.array(SENTENCES)[:, None], ValueError, r"one-dimensional, one text per row. Got shape \(24, 1\)"),
        (Dataset.from_dict({"text": SENTENCES}), ValueError, r"pass a single column, such as X\['text'\]"),
        (SENTENCES[:-1], ValueError, "X and y must have the same length. Got 23 and 24"),
    ],
)
def test_bad_texts_are_refused(booster, X, error, message):
    with pytest.raises(error, match=message):
        clone(booster).fit(X, LABELS)


# Company


def test_the_representation_shows_the_learner_inside(booster):
    assert "LLMAdaBoostClassifier" in repr(booster)
    assert "LLMAdaBoostClassifier" in booster._repr_html_()
    assert "Vectorizer" in booster._repr_html_()


def test_it_is_cross_validated():
    scores = cross_val_score(BOOSTERS["tfidf"], SENTENCES, OPINIONS, cv=3)
    proba = cross_val_predict(BOOSTERS["tfidf"], SENTENCES, OPINIONS, cv=3, method="predict_proba")
    assert scores.shape == (3,)
    assert proba.shape == (len(SENTENCES), 2)


def test_nested_parameters_are_searched():
    search = GridSearchCV(
        BOOSTERS["tfidf"], {"n_estimators": [1, 2], "estimator__logisticregression__C": [0.1, 10.0]}, cv=2
    ).fit(SENTENCES, OPINIONS)
    C = search.best_params_["estimator__logisticregression__C"]
    assert search.best_estimator_.estimator[-1].C == C
    assert search.predict(SENTENCES).shape == (len(SENTENCES),)


@pytest.mark.parametrize("name", ["stump", "tfidf-soft"])
def test_it_is_calibrated(name):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", EarlyStopWarning)
        calibrated = CalibratedClassifierCV(BOOSTERS[name], cv=3).fit(SENTENCES, LABELS)
    np.testing.assert_allclose(calibrated.predict_proba(SENTENCES).sum(axis=1), 1.0)


def test_it_is_a_step_of_a_pipeline():
    lower = FunctionTransformer(lambda X: [text.lower() for text in X])
    pipeline = make_pipeline(lower, BOOSTERS["tfidf"]).fit([text.upper() for text in SENTENCES], OPINIONS)
    assert pipeline.score(SENTENCES, OPINIONS) == 1.0


def test_metadata_routing_carries_the_weights_to_it():
    weight = np.where(np.arange(len(SENTENCES)) % 5, 1.0, 0.0)
    expected = quietly_fitted(BOOSTERS["tfidf"], y=OPINIONS, sample_weight=weight).predict_proba(SENTENCES)
    with sklearn.config_context(enable_metadata_routing=True):
        booster = clone(BOOSTERS["tfidf"]).set_fit_request(sample_weight=True).set_score_request(sample_weight=True)
        pipeline = Pipeline([("booster", booster)]).fit(SENTENCES, OPINIONS, sample_weight=weight)
        np.testing.assert_array_equal(pipeline.predict_proba(SENTENCES), expected)
        scorer = make_scorer(sklearn.metrics.accuracy_score).set_score_request(sample_weight=True)
        scores = cross_validate(booster, SENTENCES, OPINIONS, params={"sample_weight": weight}, scoring=scorer, cv=2)
        assert scores["test_score"].shape == (2,)
        search = GridSearchCV(booster, {"n_estimators": [1]}, cv=2)
        search.fit(SENTENCES, OPINIONS, sample_weight=weight)
        np.testing.assert_allclose(search.predict_proba(SENTENCES).sum(axis=1), 1.0)


@pytest.mark.parametrize(
    "learner",
    [
        CalibratedClassifierCV(tfidf(), cv=2),
        GridSearchCV(tfidf(), {"logisticregression__C": [1.0]}, cv=2),
        make_pipeline(
            FeatureUnion([("words", TfidfVectorizer()), ("counts", CountVectorizer())]), LogisticRegression()
        ),
        make_pipeline(make_pipeline(TfidfVectorizer()), KNeighborsClassifier(3)),
    ],
    ids=["calibrated", "searched", "union", "nested"],
)
def test_text_learners_in_wrappers_work(learner):
    booster = LLMAdaBoostClassifier(learner, n_estimators=2, sampling="resample", random_state=0)
    assert quietly_fitted(booster, y=OPINIONS).score(SENTENCES, OPINIONS) > 0.8


# A language model inside


def test_a_language_model_is_boosted_as_any_classifier():
    booster = LLMAdaBoostClassifier(bert_classifier(lr=5e-3, epochs=8), n_estimators=2, voting="soft", random_state=0)
    fitted = quietly_fitted(booster)
    assert get_tags(booster).input_tags.string
    assert len({member.random_state for member in fitted.estimators_}) == len(fitted.estimators_)
    mixed = np.average(
        [member.predict_proba(SENTENCES) for member in fitted.estimators_], axis=0, weights=fitted.estimator_weights_
    )
    np.testing.assert_allclose(fitted.predict_proba(SENTENCES), mixed)
    assert fitted.score(SENTENCES, LABELS) > 0.6


def test_a_model_id_stands_for_a_classifier():
    booster = LLMAdaBoostClassifier("some/model")
    assert isinstance(booster._weak_learner(), HFClassifier)
    assert get_tags(booster).input_tags.string
    assert clone(booster).estimator == "some/model"
