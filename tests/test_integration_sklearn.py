"""scikit-learn's model selection, pipelines and settings around generators; folds in workers: `test_sharded_labels`."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest
import sklearn
from numpy.testing import assert_array_equal
from sklearn.base import clone
from sklearn.model_selection import (
    GridSearchCV,
    KFold,
    cross_val_predict,
    cross_val_score,
    cross_validate,
    learning_curve,
    validation_curve,
)
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils import estimator_checks
from tiny_models import tiny_learner

from ensemw2s import (
    BigramLearner,
    FineTunedGenerator,
    HFCausalLM,
    HFClassifier,
    LLMAdaBoostClassifier,
    PseudoLabeler,
    QADataset,
    TokenAdaBoostGenerator,
    W2SPipeline,
    make_qa,
)

QUESTIONS = make_qa(12, random_state=0)
X, Y, CHOICES = list(QUESTIONS.prompts), list(QUESTIONS.answers), list(QUESTIONS.choices)
FOLDS = KFold(3)


def booster(**parameters: Any) -> TokenAdaBoostGenerator:
    settings = {"n_estimators": 2, "prior": "uniform", "on_failure": "keep", "reweight": False, "random_state": 0}
    return TokenAdaBoostGenerator(BigramLearner(), **{**settings, **parameters})


def by_hand(score: Any, model: Any = None) -> list[float]:
    """A score of each fold, without scikit-learn's loop."""
    found = []
    for train, test in FOLDS.split(X):
        fitted = clone(booster() if model is None else model).fit(QUESTIONS[train])
        found.append(score(fitted, QUESTIONS[test]))
    return found


def own_score(fitted: Any, questions: QADataset) -> float:
    return float(fitted.score(questions))


# --- conventions ------------------------------------------------------------------------------------------------------

# Those of scikit-learn's checks that need no table of numbers.
CHECKS = [
    "check_do_not_raise_errors_in_init_or_set_params",
    "check_estimator_cloneable",
    "check_estimator_repr",
    "check_estimators_unfitted",
    "check_get_params_invariance",
    "check_mixin_order",
    "check_no_attributes_set_in_init",
    "check_parameters_default_constructible",
    "check_set_params",
    "check_valid_tag_types",
]
ESTIMATORS = [
    BigramLearner(),
    HFCausalLM("some/model"),
    HFClassifier("some/model"),
    FineTunedGenerator(BigramLearner()),
    TokenAdaBoostGenerator(BigramLearner()),
    LLMAdaBoostClassifier("some/model"),
    PseudoLabeler(),
    W2SPipeline(BigramLearner(), BigramLearner()),
]


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("estimator", ESTIMATORS, ids=lambda estimator: type(estimator).__name__)
def test_scikit_learns_checks_of_conventions(estimator, check):
    getattr(estimator_checks, check)(type(estimator).__name__, estimator)


def test_a_clone_of_a_fitted_booster_is_unfitted_and_fits_alike():
    fitted = booster().fit(QUESTIONS)
    copied = clone(fitted)
    assert not hasattr(copied, "estimators_")
    assert_array_equal(copied.fit(QUESTIONS).answer_nll(QUESTIONS), fitted.answer_nll(QUESTIONS))


# --- model selection --------------------------------------------------------------------------------------------------


def test_cross_validation_scores_options_of_a_dataset():
    assert cross_val_score(booster(), QUESTIONS, cv=FOLDS).tolist() == by_hand(own_score)


def token_accuracy(fitted: Any, questions: Any, answers: Any) -> float:
    return 1.0 - fitted.token_error(questions, answers)


def test_cross_validation_of_lists_by_a_score_over_tokens():
    scores = cross_val_score(booster(), X, Y, cv=FOLDS, scoring=token_accuracy)
    assert scores.tolist() == by_hand(lambda fitted, part: 1.0 - fitted.token_error(part))


def test_cross_validate_returns_the_fitted_boosters_and_several_scores():
    def token_accuracy(fitted: Any, questions: QADataset, y: Any = None) -> float:
        return 1.0 - fitted.token_error(questions)

    found = cross_validate(
        booster(), QUESTIONS, QUESTIONS.answers, cv=FOLDS, return_estimator=True, return_train_score=True,
        scoring={"options": "accuracy", "tokens": token_accuracy},
    )  # fmt: skip
    named = by_hand(lambda fitted, part: np.mean(fitted.predict(part) == np.array(part.answers, dtype=object)))
    assert found["test_options"].tolist() == named  # of tied options one; the booster's own score counts each 1/m
    for place, (train, test) in enumerate(FOLDS.split(X)):
        fitted = found["estimator"][place]
        assert found["test_tokens"][place] == 1.0 - fitted.token_error(QUESTIONS[test])
        assert found["train_tokens"][place] == 1.0 - fitted.token_error(QUESTIONS[train])


def test_cross_val_predict_puts_chosen_options_in_their_places():
    chosen = cross_val_predict(booster(), QUESTIONS, cv=FOLDS)
    for train, test in FOLDS.split(X):
        assert_array_equal(chosen[test], booster().fit(QUESTIONS[train]).predict(QUESTIONS[test]))


@pytest.mark.slow
@pytest.mark.parametrize("questions", [QUESTIONS, X], ids=["dataset", "list"])
def test_grid_search_over_rounds_and_a_parameter_of_the_learner(questions):
    grid = {"n_estimators": [1, 2], "estimator__smoothing": [0.1, 100.0]}
    scoring = None if questions is QUESTIONS else token_accuracy
    search = GridSearchCV(booster(), grid, cv=FOLDS, scoring=scoring).fit(questions, Y)
    assert len(search.cv_results_["params"]) == 4
    for place, parameters in enumerate(search.cv_results_["params"]):
        score = own_score if questions is QUESTIONS else (lambda fitted, part: 1.0 - fitted.token_error(part))
        expected = np.mean(by_hand(score, booster().set_params(**parameters)))
        assert search.cv_results_["mean_test_score"][place] == pytest.approx(expected)
    assert search.best_estimator_.estimator.smoothing == search.best_params_["estimator__smoothing"]
    assert len(search.predict(QUESTIONS[:3])) == 3


@pytest.mark.slow
def test_grid_search_over_the_learning_rate_of_a_language_model():
    learner = tiny_learner(epochs=10, prompt_template="{prompt}:")
    search = GridSearchCV(FineTunedGenerator(learner), {"estimator__lr": [1e-6, 3e-2]}, cv=KFold(2))
    search.fit(["a b", "c d", "a b", "c d"], ["xyz", "yes", "xyz", "yes"])
    assert search.best_params_ == {"estimator__lr": 3e-2}
    assert search.best_estimator_.estimators_[0].lr == 3e-2


def test_learning_curve_over_sizes():
    sizes, train_scores, test_scores = learning_curve(
        booster(), QUESTIONS, QUESTIONS.answers, cv=FOLDS, train_sizes=[4, 8]
    )
    assert sizes.tolist() == [4, 8]
    for column, (train, test) in enumerate(FOLDS.split(X)):
        fitted = booster().fit(QUESTIONS[train[:4]])
        assert test_scores[0, column] == fitted.score(QUESTIONS[test])
        assert train_scores[0, column] == fitted.score(QUESTIONS[train[:4]])


def test_validation_curve_over_rounds():
    _, scores = validation_curve(
        booster(), QUESTIONS, QUESTIONS.answers, param_name="n_estimators", param_range=[1, 2], cv=FOLDS
    )
    assert scores[0].tolist() == by_hand(own_score, booster(n_estimators=1))
    assert scores[1].tolist() == by_hand(own_score, booster(n_estimators=2))


# --- pipelines, settings, metadata ------------------------------------------------------------------------------------


def lower(texts: Any) -> list[str]:
    return [text.lower() for text in texts]


def test_a_generator_ends_a_pipeline():
    shouted = [question.upper() for question in X]
    model = make_pipeline(FunctionTransformer(lower), booster()).fit(shouted, Y)
    direct = booster().fit(lower(X), Y)
    assert model.predict(shouted[:2]).tolist() == direct.predict(lower(X[:2])).tolist()
    assert model.score(shouted, Y) == direct.score(lower(X), Y)


def test_a_pipeline_hands_a_dataset_on():
    model = Pipeline([("nothing", "passthrough"), ("booster", booster())])
    scores = cross_val_score(model.set_params(booster__n_estimators=1), QUESTIONS, cv=FOLDS)
    assert scores.tolist() == by_hand(own_score, booster(n_estimators=1))


@pytest.mark.parametrize("display", ["text", "diagram"])
def test_set_config_says_how_it_is_shown(display):
    with sklearn.config_context(display=display, print_changed_only=True):
        bundle = booster()._repr_mimebundle_()
    assert ("text/html" in bundle) == (display == "diagram")
    assert "prior='uniform'" in bundle["text/plain"]


@pytest.mark.parametrize("settings", [{"transform_output": "pandas"}, {"assume_finite": True}], ids=str)
def test_other_settings_change_nothing(settings):
    expected = booster().fit(QUESTIONS).predict(QUESTIONS)
    with sklearn.config_context(**settings):
        assert_array_equal(booster().fit(QUESTIONS).predict(QUESTIONS), expected)


def test_metadata_routing_carries_weights_and_options():
    weight = np.where(np.arange(len(X)) % 3, 1.0, 0.25)
    with sklearn.config_context(enable_metadata_routing=True):
        model = booster().set_fit_request(sample_weight=True, choices=True)
        model = model.set_score_request(sample_weight=True, choices=True)
        found = cross_validate(
            model, X, Y, cv=FOLDS, params={"sample_weight": weight, "choices": CHOICES}, return_estimator=True
        )
        search = GridSearchCV(model, {"n_estimators": [1]}, cv=FOLDS)
        search.fit(X, Y, sample_weight=weight, choices=CHOICES)
    for place, (train, test) in enumerate(FOLDS.split(X)):
        fitted = booster().fit(QUESTIONS[train], sample_weight=weight[train])
        assert_array_equal(found["estimator"][place].token_weight_, fitted.token_weight_)
        assert found["test_score"][place] == fitted.score(QUESTIONS[test], sample_weight=weight[test])
    refitted = booster(n_estimators=1).fit(QUESTIONS, sample_weight=weight)
    assert_array_equal(search.best_estimator_.token_weight_, refitted.token_weight_)


def test_a_request_that_is_not_made_is_asked_for():
    with sklearn.config_context(enable_metadata_routing=True):
        evaluate = partial(cross_val_score, booster(), X, Y, cv=FOLDS, params={"choices": CHOICES})
        with pytest.raises(sklearn.exceptions.UnsetMetadataPassedError, match=r"\[choices\] are passed but are not"):
            evaluate()
