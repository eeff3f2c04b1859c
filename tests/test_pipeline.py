"""W2SPipeline: who is trained on what, and who sees which label."""

from __future__ import annotations

import dataclasses
import re
import shutil
import warnings
from collections import Counter
from typing import ClassVar

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.sparse import csr_array
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.ensemble import AdaBoostClassifier, RandomForestClassifier, VotingClassifier
from sklearn.exceptions import NotFittedError
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import brier_score_loss, roc_auc_score
from sklearn.model_selection import GridSearchCV
from sklearn.naive_bayes import GaussianNB
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.tree import DecisionTreeClassifier
from sklearn.utils import get_tags
from test_token_boosting import CHOICES, TOKENIZER, X, Y
from tiny_classifiers import OPINIONS, SENTENCES, bert_classifier
from tiny_models import tiny_learner, tiny_llama, untrained_model
from transformers import PreTrainedTokenizerBase

import ensemw2s._validation as validation
from ensemw2s import (
    BigramLearner,
    CheckpointError,
    FineTunedGenerator,
    LLMAdaBoostClassifier,
    PseudoLabeler,
    PseudoLabels,
    QADataset,
    TokenAdaBoostGenerator,
    W2SPipeline,
    byte_tokenizer,
    exact_match,
    expected_calibration_error,
    make_qa,
    token_f1,
)
from ensemw2s._launch.rng import isolated_rng

DATA = QADataset(X, Y, CHOICES).shuffle(random_state=0)
EASY, HARD, TEST = DATA[:12], DATA[12:24], DATA[24:]


def weak(**kwargs):
    settings = {"n_estimators": 3, "prior": "uniform", "random_state": 2, **kwargs}
    return TokenAdaBoostGenerator(BigramLearner(TOKENIZER), **settings)


class Recorder(BaseEstimator):
    """A student that remembers the data of every fit of every clone."""

    seen: ClassVar[list] = []

    def __init__(self, name="student"):
        self.name = name

    def fit(self, X, y=None, sample_weight=None):
        Recorder.seen.append((self.name, X, y, sample_weight))
        self.answer_ = "red"
        return self

    def predict(self, X):
        return np.array([self.answer_] * len(X), dtype=object)


@pytest.fixture
def seen():
    Recorder.seen = []
    return Recorder.seen


@pytest.fixture(scope="module")
def fitted():
    return W2SPipeline(weak(), BigramLearner(TOKENIZER)).fit(EASY, None, HARD.drop_answers(), HARD.answers)


def test_student_and_baseline_are_trained_on_ensemble_and_first_member(seen):
    pipeline = W2SPipeline(weak(), Recorder()).fit(EASY, None, HARD)
    ensemble = pipeline.weak_
    (_, X_student, y_student, _), (_, X_baseline, y_baseline, _) = seen
    assert_array_equal(y_student, ensemble.predict(HARD))
    assert_array_equal(y_baseline, ensemble.with_votes(ensemble.estimator_weights_[:1]).predict(HARD))
    assert (y_student != y_baseline).any()  # else this test could not tell them apart
    assert X_student.prompts == X_baseline.prompts == HARD.prompts


def test_true_answers_of_hard_questions_reach_only_the_oracle(seen):
    # answers that no model can produce: whoever holds them has been given them
    marked = [f"secret {row}" for row in range(len(HARD))]
    hard = QADataset(HARD.prompts, marked, [[*options[:2], secret] for options, secret in
                                            zip(HARD.choices, marked, strict=True)])  # fmt: skip
    pipeline = W2SPipeline(weak(), Recorder(), oracle=Recorder("oracle"))
    pipeline.fit(EASY, None, hard.drop_answers(), marked)
    by_name = {name: (X, y) for name, X, y, _ in seen}
    assert list(by_name["oracle"][1]) == marked
    assert by_name["oracle"][0].answers is None
    for name, X_seen, _, _ in seen:
        assert X_seen.answers is None, name
        assert X_seen.labels is None, name
    changed = W2SPipeline(weak(), Recorder(), oracle=Recorder("oracle")).fit(
        EASY, None, hard.drop_answers(), [options[0] for options in hard.choices]
    )
    for attribute in ("pseudo_labels_", "baseline_labels_"):
        assert_array_equal(getattr(pipeline, attribute).y, getattr(changed, attribute).y)


def test_answers_inside_a_hard_dataset_are_not_used(seen):
    pipeline = W2SPipeline(weak(), Recorder(), oracle=Recorder("oracle")).fit(EASY, None, HARD)
    assert pipeline.oracle_ is None
    assert all(name == "student" for name, *_ in seen)
    assert all(X_seen.answers is None for _, X_seen, _, _ in seen)


@pytest.mark.parametrize("labels", ["hard", "soft"])
def test_baseline_and_student_see_the_same_kind_of_label(labels, seen):
    W2SPipeline(weak(), Recorder(), labeler=PseudoLabeler(labels=labels)).fit(EASY, None, HARD)
    kinds = [(type(y), sample_weight is None) for _, _, y, sample_weight in seen]
    assert len(kinds) == 2
    assert kinds[0] == kinds[1]
    assert kinds[0][1] == (labels == "hard")


def test_students_and_oracle_learn_the_easy_questions_before_the_hard_ones(seen):
    data = (EASY, None, HARD.drop_answers(), HARD.answers)
    pipeline = W2SPipeline(weak(), Recorder(), oracle=Recorder("oracle"), include_easy=True).fit(*data)
    first = pipeline.weak_.with_votes(pipeline.weak_.estimator_weights_[:1])
    (_, _, student, weight), (_, _, baseline, _), (name, _, oracle, _) = seen
    assert list(student) == [*EASY.answers, *pipeline.weak_.predict(HARD)]
    assert list(baseline) == [*EASY.answers, *first.predict(HARD)]
    assert (name, list(oracle), weight) == ("oracle", [*EASY.answers, *HARD.answers], None)
    for _, questions, *_ in seen:
        assert questions.prompts == EASY.prompts + HARD.prompts
        assert questions.choices == EASY.choices + HARD.choices
        assert questions.answers is None
    assert len(pipeline.pseudo_labels_.y) == len(HARD)
    assert "for 12 of 12 hard questions, and true answers of the easy ones" in pipeline._repr_html_()


def test_easy_questions_are_certain_among_soft_labels():
    easy, hard = EASY[:5], QADataset(HARD.prompts, choices=[options[:2] for options in HARD.choices])
    given = np.arange(1.0, 6.0)
    labeler = PseudoLabeler(labels="soft", weights="confidence")
    pipeline = W2SPipeline(weak(), BigramLearner(TOKENIZER), labeler=labeler, baseline=False, include_easy=True)
    student = pipeline.fit(easy, None, hard, sample_weight=given).student_
    rows = [(prompt, answer, weight / 3.0) for prompt, answer, weight in
            zip(easy.prompts, easy.answers, given, strict=True)]  # fmt: skip
    for prompt, options, proba in zip(hard.prompts, hard.choices, pipeline.weak_.predict_proba(hard), strict=True):
        rows += [(prompt, option, p * max(proba)) for option, p in zip(options, proba, strict=True)]
    prompts, answers, weight = zip(*rows, strict=True)
    by_hand = FineTunedGenerator(BigramLearner(TOKENIZER)).fit(prompts, answers, sample_weight=weight)
    assert_allclose(student.predict_proba(TEST), by_hand.predict_proba(TEST), rtol=1e-6)
    alone = pipeline.pseudo_labels_.fit(FineTunedGenerator(BigramLearner(TOKENIZER)))
    assert not np.allclose(alone.predict_proba(TEST), by_hand.predict_proba(TEST), rtol=1e-2)


@pytest.mark.parametrize("form", [np.asarray, csr_array, pd.DataFrame])
def test_a_classifier_learns_easy_rows_too(form):
    (X_easy, y_easy), (X_hard, _) = numbers(40), numbers(30, seed=1)
    given = np.linspace(1.0, 3.0, 40)
    pipeline = W2SPipeline(
        LogisticRegression(), DecisionTreeClassifier(max_depth=3, random_state=0), include_easy=True, baseline=False
    ).fit(form(X_easy), y_easy, form(X_hard), sample_weight=given)
    y_hard = LogisticRegression().fit(X_easy, y_easy, sample_weight=given).predict(X_hard)
    by_hand = DecisionTreeClassifier(max_depth=3, random_state=0).fit(
        np.vstack([X_easy, X_hard]), np.concatenate([y_easy, y_hard]),
        sample_weight=np.concatenate([given / given.mean(), np.ones(30)]),
    )  # fmt: skip
    X_test = numbers(50, seed=2)[0]
    assert_allclose(pipeline.student_.predict_proba(form(X_test)), by_hand.predict_proba(X_test))


def test_a_folder_remembers_whether_easy_questions_were_included(tmp_path):
    data = (EASY, None, HARD, HARD.answers)
    settings = {"include_easy": True, "checkpoint_dir": tmp_path / "run"}
    fitted = W2SPipeline(weak(), BigramLearner(TOKENIZER), **settings).fit(*data)
    shutil.rmtree(tmp_path / "run" / "oracle")
    again = clone(fitted).fit(*data)
    assert_array_equal(again.oracle_.predict_proba(TEST), fitted.oracle_.predict_proba(TEST))
    with pytest.raises(CheckpointError, match="include_easy"):
        clone(fitted).set_params(include_easy=False).fit(*data)
    frozen = FrozenEstimator(fitted.weak_)
    taught = W2SPipeline(frozen, BigramLearner(TOKENIZER), include_easy=True).fit(*data)  # by a teacher fitted before
    assert_array_equal(taught.student_.predict_proba(TEST), fitted.student_.predict_proba(TEST))


@pytest.mark.parametrize(
    ("teacher", "easy", "weight", "error", "message"),
    [
        (
            weak(),
            QADataset(EASY.prompts, EASY.answers),
            None,
            ValueError,
            r"must both have options.*none for X; pass ch",
        ),
        (weak(), EASY, np.ones(11), ValueError, r"sample_weight must have shape \(12,\)"),
        (weak(), EASY, np.ones(12), TypeError, r"student must have sample_weight in fit.*Got a Weightless"),
        (FrozenEstimator(weak().fit(EASY)), None, None, ValueError, r"X must hold the easy questions for include_easy"),
    ],
)
def test_what_cannot_be_learned_together_is_named_before_any_training(teacher, easy, weight, error, message, seen):
    class Weightless(Recorder):
        def fit(self, X, y=None):
            return super().fit(X, y)

    with pytest.raises(error, match=message):
        W2SPipeline(teacher, Weightless(), include_easy=True).fit(easy, None, HARD, sample_weight=weight)
    assert not seen


def test_without_baseline_none_is_trained(seen):
    pipeline = W2SPipeline(weak(), Recorder(), baseline=False).fit(EASY, None, HARD)
    assert pipeline.baseline_ is None
    assert len(seen) == 1


def test_an_ensemble_of_one_makes_the_student_its_own_baseline(seen):
    pipeline = W2SPipeline(weak(n_estimators=1), Recorder()).fit(EASY, None, HARD)
    assert pipeline.baseline_ is pipeline.student_
    assert len(seen) == 1


def shares_of_ties(proba, gold):
    """What each item earns, (n,), by the model's own probabilities: 1/m of an answer where m are equally probable."""
    tied = np.isclose(proba, proba.max(axis=1, keepdims=True), rtol=1e-6, atol=0)
    return tied[np.arange(len(gold)), gold] / tied.sum(axis=1)


def test_the_report_equals_the_models_own_predictions(fitted):
    report = fitted.evaluate(TEST)
    ensemble = fitted.weak_
    members = len(ensemble.estimators_)
    expected = {
        "weak": ensemble.with_votes(ensemble.estimator_weights_[:1]),
        "ensemble": ensemble,
        "uniform": ensemble.with_votes(np.ones(members)),
        "baseline": fitted.baseline_,
        "student": fitted.student_,
        "oracle": fitted.oracle_,
    }
    assert members > 1
    for name, model in expected.items():
        credit = shares_of_ties(model.predict_proba(TEST), TEST.labels)
        assert_array_equal(report.correct[name], credit, err_msg=name)
        assert report.n_tied(name) == np.sum((credit > 0) & (credit < 1))
        assert report.score(name) == pytest.approx(model.score(TEST))
        assert report.token_errors[name] == pytest.approx(model.token_error(TEST)), name
    assert report.staged_scores == pytest.approx(list(ensemble.staged_score(TEST)))
    assert report.chance == pytest.approx(np.mean(1 / TEST.n_choices))
    assert_array_equal(report.votes, ensemble.estimator_weights_)


def test_named_test_sets_are_each_judged_as_alone_in_one_table(fitted):
    written = (list(TEST.prompts[:5]), list(TEST.answers[:5]))  # without options: another metric
    reports = fitted.evaluate({"near": TEST, "far": EASY[:7], "texts": written}, confidence_level=0.9)
    alone = {"near": fitted.evaluate(TEST), "far": fitted.evaluate(EASY[:7]), "texts": fitted.evaluate(*written)}
    assert list(reports) == list(alone)
    for name, report in alone.items():
        assert reports[name].confidence_level == 0.9
        assert reports[name].correct.keys() == report.correct.keys()
        for model, row in report.correct.items():
            assert_array_equal(reports[name].correct[model], row)
    frame = reports.to_frame()
    title = "student of the ensemble (W2S)"
    assert frame.loc[("far", title), "accuracy"] == np.mean(fitted.student_.predict(EASY[:7]) == EASY[:7].answers)
    assert frame.loc[("texts", title), "exact_text"] == alone["texts"].student_score
    header, _, *rows = reports.to_markdown().splitlines()
    assert header == "| model | near, accuracy | far, accuracy | texts, exact text |"
    low, high = reports["far"].interval("student")
    [row] = [row for row in rows if row.startswith(f"| {title}")]
    assert row.split("|")[3].strip() == f"{alone['far'].student_score:.3f} [{low:.3f}, {high:.3f}]"
    assert all(text in reports._repr_html_() for text in ("near, accuracy", title))


@pytest.mark.parametrize(
    ("tests", "others", "message"),
    [
        ({"near": TEST, "far": HARD.drop_answers()}, {}, r"^X\['far'\]: .*answers"),
        ({"far": (TEST,)}, {}, r"X\['far'\]: a tuple must be \(X, y\) or \(X, y, choices\)\. Got 1"),
        ({"": TEST}, {}, r"X must name each test set by a text"),
        ({}, {}, r"X must name each test set by a text"),
        ({"near": TEST}, {"y": TEST.answers}, r"y and choices must be None where X names test sets"),
        ({"near": TEST, "far": (TEST.prompts, TEST.answers)}, {"n_samples": 2}, r"n_samples are of written answers"),
    ],
)
def test_named_test_sets_are_checked_before_a_model_is_asked(fitted, tests, others, message, monkeypatch):
    monkeypatch.setattr(type(fitted.weak_), "judge_under", lambda *_, **__: pytest.fail("a model was asked"))
    with pytest.raises(ValueError, match=message):
        fitted.evaluate(tests, **others)


def test_columns_may_be_passed_apart(fitted):
    apart = W2SPipeline(weak(), BigramLearner(TOKENIZER)).fit(
        list(EASY.prompts), list(EASY.answers), list(HARD.prompts), list(HARD.answers),
        choices=list(EASY.choices), choices_hard=list(HARD.choices),
    )  # fmt: skip
    report = apart.evaluate(list(TEST.prompts), list(TEST.answers), choices=list(TEST.choices))
    for name, correct in fitted.evaluate(TEST).correct.items():
        assert_array_equal(report.correct[name], correct)


def test_predict_generate_and_score_are_the_students(fitted):
    assert_array_equal(fitted.predict(TEST), fitted.student_.predict(TEST))
    assert fitted.generate(TEST.prompts[:2]) == fitted.student_.generate(TEST.prompts[:2])
    assert fitted.score(TEST) == fitted.student_.score(TEST)


def test_the_students_tokenizer_may_differ():
    pipeline = W2SPipeline(weak(), BigramLearner(byte_tokenizer())).fit(EASY, None, HARD, HARD.answers)
    report = pipeline.evaluate(TEST)
    assert len(pipeline.student_.estimators_[0].tokenizer_) != len(TOKENIZER)
    assert 0 <= report.student_score <= 1


def test_free_text_without_options():
    hard = QADataset(HARD.prompts)
    pipeline = W2SPipeline(weak(), BigramLearner(TOKENIZER)).fit(EASY.prompts, EASY.answers, hard)
    assert list(pipeline.pseudo_labels_.y) == pipeline.weak_.generate(hard)
    report = pipeline.evaluate(TEST.prompts, TEST.answers)
    assert np.isnan(report.chance)
    assert_array_equal(report.correct["student"], pipeline.student_.predict(TEST.prompts) == np.array(TEST.answers))
    assert report.metric == "exact_text"
    weak_ = pipeline.weak_
    for name, model in {"ensemble": weak_, "student": pipeline.student_, "baseline": pipeline.baseline_}.items():
        # one number for one thing
        assert report.score(name) == pytest.approx(model.score(TEST.prompts, TEST.answers), abs=1e-12)
    assert report.staged_scores == pytest.approx(list(weak_.staged_score(TEST.prompts, TEST.answers)))


def test_a_metric_of_ones_own_is_what_the_report_speaks_of():
    def first_letter(said, right):
        return [0.5 * (a[:1] == b[:1]) for a, b in zip(said, right, strict=True)]

    pipeline = W2SPipeline(weak(), BigramLearner(TOKENIZER)).fit(EASY.prompts, EASY.answers, HARD, HARD.answers)
    settings = {"metric": first_letter, "extract": r"^(\w+)"}
    report = pipeline.evaluate(TEST.prompts, TEST.answers, **settings)
    said = pipeline.student_.predict(TEST.prompts)
    by_hand = [0.5 if re.match(r"\w", a) and a[0] == b[0] else 0.0 for a, b in zip(said, TEST.answers, strict=True)]
    assert_array_equal(report.correct["student"], by_hand)
    assert report.student_score == pytest.approx(pipeline.score(TEST.prompts, TEST.answers, **settings))
    assert report.staged_scores == pytest.approx(
        list(pipeline.weak_.staged_score(TEST.prompts, TEST.answers, **settings))
    )
    assert list(report.to_frame().columns[:3]) == ["first_letter", "low", "high"]
    assert "Tied items" not in repr(report)
    assert "first letter" in report._repr_html_()
    with_options = pipeline.evaluate(TEST, metric="f1")
    assert_array_equal(with_options.correct["student"], token_f1(pipeline.predict(TEST), TEST.answers))
    assert np.isnan(with_options.chance)


def test_learners_and_ids_become_estimators():
    from ensemw2s.ensemble._estimators import as_booster, as_student

    assert isinstance(as_booster(BigramLearner()), TokenAdaBoostGenerator)
    assert isinstance(as_booster("some/model"), TokenAdaBoostGenerator)
    assert isinstance(as_student(BigramLearner()), FineTunedGenerator)
    assert isinstance(as_student("some/model"), FineTunedGenerator)
    assert isinstance(as_student(LogisticRegression()), LogisticRegression)


def test_classifiers_are_served_by_the_same_class():
    rng = np.random.default_rng(0)
    features = rng.normal(size=(300, 4))
    labels = np.where(features.sum(axis=1) > 0, "yes", "no")
    easy, hard, test = slice(0, 100), slice(100, 200), slice(200, 300)
    pipeline = W2SPipeline(AdaBoostClassifier(n_estimators=5, random_state=0), LogisticRegression())
    pipeline.fit(features[easy], labels[easy], features[hard], labels[hard])
    report = pipeline.evaluate(features[test], labels[test])
    assert report.chance == 0.5
    assert report.oracle_score > 0.9
    assert report.token_errors == {}
    assert_array_equal(report.correct["student"], pipeline.student_.predict(features[test]) == labels[test])


def test_details_are_of_teachers_students_and_their_probabilities():
    rng = np.random.default_rng(1)
    features = rng.normal(size=(240, 3))
    labels = np.where(features[:, 0] + rng.normal(size=240) > 0, "yes", "no")
    easy, hard, test = slice(0, 80), slice(80, 160), slice(160, 240)
    weak_ = LLMAdaBoostClassifier(DecisionTreeClassifier(max_depth=1), n_estimators=3, random_state=0)
    pipeline = W2SPipeline(weak_, LogisticRegression()).fit(features[easy], labels[easy], features[hard], labels[hard])
    X, y = features[test], labels[test]
    report = pipeline.evaluate(X, y, details=True)
    found, student, teacher = report.details(), pipeline.student_, pipeline.weak_
    agree = student.predict(X) == teacher.predict(X)
    right = teacher.predict(X) == y
    wrong = student.predict(X) != y
    expected = {
        ("student", "agreement"): agree.mean(),
        ("student", "error_where_teacher_right"): wrong[right].mean(),
        ("student", "error_where_teacher_wrong"): wrong[~right].mean(),
        ("student", "roc_auc"): roc_auc_score(y == "yes", student.predict_proba(X)[:, 1]),
        ("ensemble", "roc_auc"): roc_auc_score(y == "yes", teacher.predict_proba(X)[:, 1]),
        ("student", "brier"): brier_score_loss(y == "yes", student.predict_proba(X)[:, 1]),
        ("oracle", "ece"): expected_calibration_error(pipeline.oracle_.predict_proba(X), (y == "yes").astype(int)),
    }
    for row, value in expected.items():
        assert found.loc[row, "value"] == pytest.approx(value), row
        assert found.loc[row, "low"] <= value <= found.loc[row, "high"] or row[1] == "ece"  # which is biased upwards
    again = pipeline.evaluate(X, y)
    assert set(again.details().index) == {row for row in found.index if row[1].startswith("error")}


def test_details_of_options_and_of_texts(fitted):
    details = fitted.evaluate(TEST, details=True).details()
    agree = fitted.student_.predict(TEST) == fitted.weak_.predict(TEST)
    assert details.loc[("student", "agreement"), "value"] == pytest.approx(agree.mean())
    assert {"ece", "brier"} <= set(details.loc["ensemble"].index)
    texts = fitted.evaluate(TEST.prompts, TEST.answers, details=True).details()
    assert ("student", "agreement") in texts.index
    assert "ece" not in texts.index.get_level_values("measure")


def test_several_samples_are_those_of_generate_under_the_seed(fitted):
    settings = {"n_samples": 3, "generation_kwargs": {"temperature": 2.0}, "metric": "exact_match", "random_state": 5}
    report = fitted.evaluate(TEST.prompts, TEST.answers, **settings)
    with isolated_rng(5):
        drawn = fitted.weak_.generate(
            TEST.prompts, do_sample=True, top_k=0, temperature=2.0, num_return_sequences=3
        )  # fmt: skip
    right = np.array([exact_match(texts, [gold] * 3) for texts, gold in zip(drawn, TEST.answers, strict=True)])
    assert_array_equal(report.samples["ensemble"], right)
    found = report.details().loc["ensemble", "value"]
    assert found["pass@1"] == pytest.approx(right.mean())
    assert found["pass@3"] == pytest.approx(right.any(axis=1).mean())
    assert {"pass@1", "pass@2", "pass@3", "majority@3"} <= set(found.index)
    assert set(report.samples) == {"ensemble", "baseline", "student", "oracle"}
    with pytest.raises(ValueError, match=r"n_samples are of written answers. Got 3, and options to choose from"):
        fitted.evaluate(TEST, n_samples=3)
    with pytest.raises(ValueError, match="leave out num_return_sequences"):
        fitted.evaluate(TEST.prompts, TEST.answers, n_samples=3, generation_kwargs={"num_return_sequences": 2})


@pytest.mark.parametrize(("student", "oracle"), [(3, None), (None, 3), (3, 4)])
def test_a_seed_of_student_or_oracle_is_that_of_both(student, oracle):
    X = np.random.default_rng(0).normal(size=(40, 2))
    y = (X[:, 0] > 0).astype(int)
    weak, models = GaussianNB(), [MLPClassifier(2, max_iter=1, random_state=seed) for seed in (student, oracle)]
    weak = LLMAdaBoostClassifier(weak, n_estimators=1, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a single iteration
        pipeline = W2SPipeline(weak, models[0], oracle=models[1]).fit(X[:20], y[:20], X[20:], y[20:])
    assert pipeline.student_.random_state == pipeline.baseline_.random_state == (student or oracle)
    assert pipeline.oracle_.random_state == (oracle or student)


@pytest.mark.slow
def test_an_oracle_with_the_pseudo_labels_is_the_student_though_no_seed_was_given(tmp_path):
    # A model id leaves the seed open: models that were compared differed by chance, too.
    untrained_model(tiny_llama).save_pretrained(tmp_path / "model")
    byte_tokenizer().save_pretrained(tmp_path / "model")
    labels = PseudoLabeler().label(weak().fit(EASY), HARD.drop_answers())
    folder = tmp_path / "run"
    pipeline = W2SPipeline(weak(), str(tmp_path / "model"), baseline=False, checkpoint_dir=folder)
    pipeline.fit(EASY, None, HARD, labels.y)
    student, oracle = (model.answer_nll(TEST) for model in (pipeline.student_, pipeline.oracle_))
    assert_array_equal(oracle, student)

    shutil.rmtree(folder / "oracle")  # as if the run had ended before it
    again = clone(pipeline).fit(EASY, None, HARD, labels.y)
    assert_array_equal(again.oracle_.answer_nll(TEST), student)
    other = clone(pipeline).set_params(checkpoint_dir=None).fit(EASY, None, HARD, labels.y)
    assert not np.array_equal(other.student_.answer_nll(TEST), student)


def test_parameters_are_nested_and_cloned(fitted):
    pipeline = clone(fitted)
    pipeline.set_params(weak__estimator__smoothing=3.0)
    assert pipeline.weak.estimator.smoothing == 3.0
    assert not hasattr(pipeline, "student_")


def test_fitting_leaves_the_given_estimators_unfitted(fitted):
    assert not hasattr(fitted.weak, "estimators_")
    assert not hasattr(fitted.student, "log_proba_")


def test_an_unfitted_pipeline_says_so():
    with pytest.raises(NotFittedError):
        W2SPipeline(weak(), BigramLearner()).predict(TEST)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((EASY, None, None), "X_hard must hold the hard questions"),
        ((EASY.drop_answers(), None, HARD), "y must hold the answers"),
        ((EASY, None, HARD.drop_answers(), ["red"]), "same"),
        ((EASY, None, HARD.drop_answers(), ["no option"] * len(HARD)), r"y_hard\[0\] must be one of choices_hard\[0\]"),
    ],
)
def test_bad_columns_are_named_before_any_model_is_loaded(arguments, message):
    with pytest.raises(ValueError, match=message):
        W2SPipeline("no/such-model", "no/such-model").fit(*arguments)


def test_bad_labeler_parameters_are_named_before_any_model_is_loaded():
    with pytest.raises(ValueError, match="labels must be one of"):
        W2SPipeline("no/such-model", "no/such-model", labeler=PseudoLabeler(labels="fuzzy")).fit(EASY, None, HARD)


@pytest.mark.parametrize("switch", ["baseline", "verbose"])
def test_a_text_is_no_switch(switch):
    with pytest.raises(ValueError, match=rf"{switch} must be True or False. Got 'false'"):
        W2SPipeline("no/such-model", "no/such-model", **{switch: "false"}).fit(EASY, None, HARD)


def test_a_text_does_not_write_the_base(fitted, tmp_path):
    with pytest.raises(ValueError, match=r"include_base must be True or False. Got 'false'"):
        fitted.save_pretrained(tmp_path / "saved", include_base="false")
    assert not list(tmp_path.iterdir())


@pytest.fixture
def short_model(tmp_path):
    """A folder with a configuration of at most 24 tokens and a tokenizer, but no weights to load."""
    from transformers import GPTNeoXConfig

    GPTNeoXConfig(vocab_size=len(TOKENIZER), max_position_embeddings=24).save_pretrained(tmp_path)
    TOKENIZER.save_pretrained(tmp_path)
    return str(tmp_path)


def test_a_hard_question_that_is_too_long_is_named_before_any_model_is_loaded(short_model):
    hard = QADataset(["red ?", "red " * 30], choices=[["red", "blue"]] * 2)
    with pytest.raises(
        ValueError, match=r"X_hard: Row 1 is 3\d tokens long, question and answer, more than max_length=24"
    ):
        W2SPipeline(short_model, short_model).fit(EASY, None, hard)


def test_an_option_that_is_too_long_is_named_before_any_model_is_loaded(short_model):
    hard = QADataset(["red ?", "sun ?"], choices=[["red", "blue"], ["cat", "dog " * 40]])
    with pytest.raises(ValueError, match=r"The answer of row 1 is 41 tokens long"):
        W2SPipeline(short_model, short_model).fit(EASY, None, hard)


# --- classification --------------------------------------------------------------------------------------------------

STATEMENTS = [f"Q: {question} A: {answer}" for question, answer in zip(X, Y, strict=True)] * 4
TRUE = np.array([int("sun" in answer or "dog" in answer) for answer in Y] * 4)


class SoftRecorder(ClassifierMixin, Recorder):
    """A classifier that takes hard and soft labels."""

    def fit(self, X, y=None, sample_weight=None):
        super().fit(X, y, sample_weight)
        self.classes_ = np.array([0, 1])
        self.answer_ = 1
        return self


def weak_classifier(**kwargs):
    learner = make_pipeline(CountVectorizer(), DecisionTreeClassifier(max_depth=1))
    return LLMAdaBoostClassifier(learner, n_estimators=4, random_state=0, **kwargs)


def test_a_boosted_text_classifier_is_judged_by_number_of_members_and_uniform_votes():
    easy, hard, test = slice(0, 48), slice(48, 96), slice(96, 144)
    pipeline = W2SPipeline(weak_classifier(), make_pipeline(TfidfVectorizer(), LogisticRegression()))
    pipeline.fit(STATEMENTS[easy], TRUE[easy], STATEMENTS[hard], TRUE[hard])
    report = pipeline.evaluate(STATEMENTS[test], TRUE[test])
    boosted = pipeline.weak_
    assert len(boosted.estimators_) > 1
    assert report.staged_scores == pytest.approx(list(boosted.staged_score(STATEMENTS[test], TRUE[test])))
    uniform = boosted.with_votes(np.ones(len(boosted.estimators_)))
    credit = shares_of_ties(uniform.predict_proba(STATEMENTS[test]), TRUE[test])  # four members, 2 : 2 at times
    assert report.n_tied("uniform") > 0
    assert report.score("uniform") == pytest.approx(credit.mean())
    assert uniform.score(STATEMENTS[test], TRUE[test]) == np.mean(uniform.predict(STATEMENTS[test]) == TRUE[test])
    assert f"uniform votes {report.n_tied('uniform')}" in str(report)
    assert report.student_score == pipeline.student_.score(STATEMENTS[test], TRUE[test])
    assert report.chance == 0.5


@pytest.mark.parametrize("labels", ["hard", "soft"])
def test_classifying_students_see_the_same_kind_of_label(labels, seen):
    pipeline = W2SPipeline(weak_classifier(), SoftRecorder(), labeler=PseudoLabeler(labels=labels))
    pipeline.fit(STATEMENTS[:48], TRUE[:48], STATEMENTS[48:96], TRUE[48:96])
    (_, _, student, _), (_, _, baseline, _), (_, _, oracle, _) = seen
    first = pipeline.weak_.with_votes(pipeline.weak_.estimator_weights_[:1])
    ask = "predict" if labels == "hard" else "predict_proba"
    assert_array_equal(student, getattr(pipeline.weak_, ask)(STATEMENTS[48:96]))
    assert_array_equal(baseline, getattr(first, ask)(STATEMENTS[48:96]))
    assert student.shape == baseline.shape == ((48,) if labels == "hard" else (48, 2))
    assert_array_equal(oracle, TRUE[48:96])


def test_a_teacher_that_gives_one_class_to_every_row_is_named():
    pipeline = W2SPipeline(weak_classifier(), make_pipeline(TfidfVectorizer(), LogisticRegression()))
    only_suns = [text for text in STATEMENTS if "sun" in text]
    with pytest.raises(ValueError, match=r"Every pseudo-label is the class 1.*collapsed"):
        pipeline.fit(STATEMENTS, TRUE, only_suns)


# --- weak estimators and labelers of one's own -----------------------------------------------------------------------


def numbers(n=96, seed=0):
    features = np.random.default_rng(seed).normal(size=(n, 4))
    return features, np.where(features.sum(axis=1) > 0, "yes", "no")


@pytest.mark.parametrize(
    "jury",
    [
        RandomForestClassifier(5, random_state=0),
        VotingClassifier([("one", LogisticRegression()), ("other", GaussianNB())]),
        GridSearchCV(LLMAdaBoostClassifier(GaussianNB(), n_estimators=2, random_state=0), {"n_estimators": [2]}, cv=2),
    ],
    ids=lambda jury: type(jury).__name__,
)
def test_what_has_no_first_member_has_no_baseline(jury):
    X, y = numbers()
    pipeline = W2SPipeline(jury, LogisticRegression()).fit(X[:32], y[:32], X[32:64], y[32:64])
    report = pipeline.evaluate(X[64:], y[64:])
    assert pipeline.baseline_ is pipeline.baseline_labels_ is None
    assert sorted(report.correct) == ["oracle", "student", "weak"]
    assert_array_equal(report.correct["weak"], pipeline.weak_.predict(X[64:]) == y[64:])
    assert next(iter(report.to_frame().index)) == "weak model"


def test_half_a_voting_ensemble_is_refused_before_it_is_trained():
    class Half(RandomForestClassifier):
        def with_votes(self, votes):
            return self

    X, y = numbers()
    with pytest.raises(TypeError, match=r"weak must have both.*Half with with_votes alone; write predict_under"):
        W2SPipeline(Half(), LogisticRegression()).fit(X, y, X)


def test_a_bare_option_learner_is_refused_before_anything_is_trained():
    class Verifier(BaseEstimator):
        def fit(self, questions, *, question_weight):
            pytest.fail("it was trained")

        def option_scores(self, prompts, choices):
            return [np.zeros(len(options)) for options in choices]

    for models, name in (((weak(), Verifier()), "student"), ((Verifier(), BigramLearner(TOKENIZER)), "weak")):
        with pytest.raises(TypeError, match=rf"^{name} must be .*Verifier, an OptionLearner, .*pass OpinionPool"):
            W2SPipeline(*models).fit(EASY, None, HARD.drop_answers())


class KeepsTheFirst(PseudoLabeler):
    """Keeps the first rows alone, of which `n_rows` are labelled."""

    calls: ClassVar[list] = []

    def __init__(self, *, n_rows=20):
        super().__init__()
        self.n_rows = n_rows

    def label(self, teacher, X, choices=None):
        KeepsTheFirst.calls.append(len(X))
        labels = super().label(teacher, X[: self.n_rows], choices)
        return dataclasses.replace(labels, kept=np.arange(self.n_rows) < 12)


class Plain:
    """No PseudoLabeler at all; its questions are new ones."""

    def label(self, teacher, X):
        moved = np.asarray(X) + 0.1
        y = teacher.predict(moved)
        return PseudoLabels(moved, y, None, None, np.arange(len(y)) % 3 > 0, soft=False)


@pytest.mark.parametrize("labeler", [KeepsTheFirst(), Plain()], ids=lambda labeler: type(labeler).__name__)
def test_a_labeler_of_ones_own_labels_the_same_with_a_checkpoint(labeler, tmp_path):
    X, y = numbers()

    def labels(checkpoint_dir):
        weak = LLMAdaBoostClassifier(GaussianNB(), n_estimators=2, random_state=0)
        pipeline = W2SPipeline(
            weak, LogisticRegression(), labeler=labeler, baseline=False, checkpoint_dir=checkpoint_dir
        )
        return pipeline.fit(X[:32], y[:32], X[32:64]).pseudo_labels_

    expected = labels(None)
    KeepsTheFirst.calls.clear()
    first, again = labels(tmp_path / "run"), labels(tmp_path / "run")
    assert 0 < expected.kept.sum() < len(expected.kept)
    for found in (first, again):
        for field in ("X", "y", "kept"):
            assert_array_equal(getattr(found, field), getattr(expected, field))
    assert len(KeepsTheFirst.calls) <= 1  # the second run has read what the first has kept


def test_the_labels_of_a_labeler_of_ones_own_on_questions_come_back(tmp_path):
    def labels(**kwargs):
        pipeline = W2SPipeline(weak(), BigramLearner(TOKENIZER), labeler=KeepsTheFirst(n_rows=8), baseline=False)
        return pipeline.set_params(**kwargs).fit(EASY, None, HARD).pseudo_labels_

    KeepsTheFirst.calls.clear()
    labels(checkpoint_dir=tmp_path)
    found, expected = labels(checkpoint_dir=tmp_path), labels()
    assert len(KeepsTheFirst.calls) == 2
    assert (found.X.prompts, found.X.choices) == (expected.X.prompts, expected.X.choices) == (
        HARD.prompts[:8], HARD.choices[:8]
    )  # fmt: skip
    assert_array_equal(found.proba, expected.proba)


@pytest.mark.parametrize("labeler", [object(), PseudoLabeler, lambda teacher, X: None])
def test_what_cannot_label_is_refused_before_any_model_is_loaded(labeler):
    with pytest.raises(TypeError, match=r"labeler must be a PseudoLabeler, or an object with label\(teacher, X\)"):
        W2SPipeline("no/such-model", "no/such-model", labeler=labeler).fit(EASY, None, HARD)


@pytest.mark.parametrize(
    ("labeler", "choices", "message"),
    [
        (PseudoLabeler(), [["a", "b"]], "weak must have predict_proba for questions with options. Got a Recorder"),
        (PseudoLabeler(), None, "weak must have generate for free text. Got a Recorder"),
        (PseudoLabeler(method="options"), None, "method='options' needs choices"),
        (PseudoLabeler(labels="soft"), None, "labels='soft' needs choices"),
    ],
)
def test_what_a_labeler_will_ask_in_vain_is_named_before_the_weak_model_is_trained(labeler, choices, message, seen):
    pipeline = W2SPipeline(Recorder(), Recorder(), labeler=labeler)
    with pytest.raises((TypeError, ValueError), match=re.escape(message)):
        pipeline.fit(["a ?"], ["a"], ["b ?"], choices_hard=choices)
    assert not seen


class BlankFirst(TokenAdaBoostGenerator):
    """Its first member alone writes nothing."""

    def generate(self, X, **generation_kwargs):
        texts = super().generate(X, **generation_kwargs)
        return [""] * len(texts) if len(self.estimators_) == 1 else texts


def test_blank_answers_of_the_first_member_cost_the_baseline_and_nothing_else():
    boosted = BlankFirst(BigramLearner(TOKENIZER), n_estimators=3, prior="uniform", random_state=2)
    pipeline = W2SPipeline(boosted, BigramLearner(TOKENIZER))
    message = r"No baseline is trained.*of 12, 12 answers are blank. Train the teacher"
    with pytest.warns(UserWarning, match=message) as caught:
        pipeline.fit(EASY.prompts, EASY.answers, HARD.prompts, HARD.answers)
    assert [warning.filename for warning in caught] == [__file__]
    assert pipeline.baseline_ is None
    assert pipeline.baseline_labels_.kept.sum() == 0
    assert sorted(pipeline.evaluate(TEST.prompts, TEST.answers).correct) == [
        "ensemble", "oracle", "student", "uniform", "weak",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("pair", "reads_texts"),
    [
        (("some/model", "some/model"), True),
        ((BigramLearner(), BigramLearner()), True),
        ((weak_classifier(), make_pipeline(TfidfVectorizer(), LogisticRegression())), True),
        ((make_pipeline(TfidfVectorizer(), LogisticRegression()), LogisticRegression()), True),
        ((RandomForestClassifier(), LogisticRegression()), False),
    ],
)
def test_tags_say_what_the_weak_side_reads(pair, reads_texts):
    tags = get_tags(W2SPipeline(*pair)).input_tags
    assert (tags.string, tags.two_d_array) == (reads_texts, not reads_texts)


class Contrary(LLMAdaBoostClassifier):
    """Says the other class than its members."""

    def predict(self, X):
        return np.where(super().predict(X) == "yes", "no", "yes")


class Last(TokenAdaBoostGenerator):
    """Says the last option, whatever its members find."""

    def predict(self, X, choices=None):
        found = super().predict(X, choices)
        found[:] = [options[-1] for options in X.choices]
        return found


def test_a_prediction_of_ones_own_is_what_is_judged_and_taught():
    X, y = numbers()
    booster = Contrary(GaussianNB(), n_estimators=3, sampling="resample", random_state=0)
    pipeline = W2SPipeline(booster, GaussianNB()).fit(X[:32], y[:32], X[32:64], y[32:64])
    report, ensemble = pipeline.evaluate(X[64:], y[64:]), pipeline.weak_
    first = ensemble.with_votes(ensemble.estimator_weights_[:1])
    assert len(ensemble.estimators_) > 1
    assert_array_equal(report.correct["ensemble"], ensemble.predict(X[64:]) == y[64:])
    assert_array_equal(report.correct["weak"], first.predict(X[64:]) == y[64:])
    settings = {"n_estimators": 2, "prior": "uniform", "random_state": 2}
    writing = W2SPipeline(Last(BigramLearner(TOKENIZER), **settings), BigramLearner(TOKENIZER)).fit(EASY, None, HARD)
    last = [options[-1] for options in HARD.choices]
    assert list(writing.pseudo_labels_.y) == last
    right = np.array([options[-1] for options in TEST.choices]) == np.array(TEST.answers)
    assert_array_equal(writing.evaluate(TEST).correct["ensemble"], right)


@pytest.fixture
def looks(monkeypatch):
    """How often each text was checked, and each text tokenised by one kind of tokenizer, with special tokens or not."""
    checked, tokenised = Counter(), Counter()
    is_blank, call = validation.is_blank, PreTrainedTokenizerBase.__call__

    def counted_check(text):
        checked[text] += 1
        return is_blank(text)

    def counted_call(self, texts, *args, add_special_tokens=True, **kwargs):
        ways = ((len(self), add_special_tokens, text) for text in ([texts] if isinstance(texts, str) else texts))
        tokenised.update(ways)
        return call(self, texts, *args, add_special_tokens=add_special_tokens, **kwargs)

    monkeypatch.setattr(validation, "is_blank", counted_check)
    monkeypatch.setattr(PreTrainedTokenizerBase, "__call__", counted_call)
    return checked, tokenised


@pytest.mark.slow
@pytest.mark.parametrize("with_options", [True, False])
@pytest.mark.parametrize("learners", ["bigram", "tiny"])
def test_fit_looks_at_each_text_once(learners, with_options, looks):
    n = 6
    easy, hard = (make_qa(n, random_state=seed) for seed in (0, 1))
    weak_learner, student, n_read = {  # data sets times ways of reading: a student of its own way reads the hard one
        "bigram": (BigramLearner(), BigramLearner(), 2),
        "tiny": (tiny_learner(epochs=1), tiny_learner(epochs=1, prompt_template="Q: {prompt} A:"), 3),
    }[learners]
    booster = TokenAdaBoostGenerator(weak_learner, n_estimators=2, reweight=False, random_state=0)
    labeler = PseudoLabeler(keep_unfinished=True, generation_kwargs={"max_new_tokens": 8})
    pipeline = W2SPipeline(booster, student, labeler=labeler)
    columns = [list(column) for column in (easy.prompts, easy.answers, hard.prompts, hard.answers)]
    choices = [easy.choices, hard.choices] if with_options else [None, None]
    for counts in looks:
        counts.clear()
    pipeline.fit(*columns, choices=choices[0], choices_hard=choices[1])
    assert pipeline.baseline_ is not pipeline.student_
    checked, tokenised = looks
    if with_options:  # of which each answer is one
        texts = [*easy.prompts, *hard.prompts, *(text for rows in choices for options in rows for text in options)]
    else:
        texts = [text for column in columns for text in column]
        texts += [*pipeline.pseudo_labels_.y, *pipeline.baseline_labels_.y]
    assert checked == Counter(texts)
    ours = {way: count for way, count in tokenised.items() if any(text in way[-1] for text in texts)}
    assert set(ours.values()) == {1}
    if with_options:  # a question, its options behind it, and, for tokens that end an answer, alone
        n_options = len(texts) - 2 * n
        assert len(ours) == n_read * (n + n_options // 2) + n_options


@pytest.mark.slow
def test_fit_of_classifiers_looks_at_each_text_once(looks):
    booster = LLMAdaBoostClassifier(bert_classifier(epochs=6), n_estimators=2, reweight=False, random_state=0)
    pipeline = W2SPipeline(booster, bert_classifier(epochs=1), labeler=PseudoLabeler(labels="soft"))
    pipeline.fit(SENTENCES[::2], OPINIONS[::2], SENTENCES[1::2], OPINIONS[1::2])
    assert pipeline.baseline_ is not pipeline.student_
    checked, _ = looks
    assert {sentence: checked[sentence] for sentence in SENTENCES} == dict.fromkeys(SENTENCES, 1)
    assert type(pipeline.pseudo_labels_.X) is list


# Chains


def test_a_fitted_student_teaches_the_next_one(fitted, tmp_path):
    middle = fitted.student_
    nxt = BigramLearner(TOKENIZER, smoothing=0.5)
    chain = W2SPipeline(FrozenEstimator(fitted), nxt).fit(X_hard=HARD)
    assert chain.weak_ is middle
    # By hand: what the middle model chooses is what the next one is trained on.
    chosen = middle.predict(HARD)
    by_hand = FineTunedGenerator(clone(nxt)).fit(HARD.drop_answers().prompts, chosen)
    assert_array_equal(chain.pseudo_labels_.y, chosen)
    assert_array_equal(chain.predict(TEST), by_hand.predict(TEST))
    again = W2SPipeline(FrozenEstimator(middle), nxt).fit(EASY, None, HARD)  # easy questions are not looked at
    assert_array_equal(again.predict(TEST), chain.predict(TEST))
    chain.save_pretrained(tmp_path / "chain")
    loaded = W2SPipeline.from_pretrained(tmp_path / "chain")
    assert isinstance(loaded.weak, FrozenEstimator)
    assert_array_equal(loaded.fit(X_hard=HARD).predict(TEST), chain.predict(TEST))


def test_a_folder_belongs_to_one_fitted_teacher(fitted, tmp_path):
    def run(teacher):
        pipeline = W2SPipeline(FrozenEstimator(teacher), BigramLearner(TOKENIZER), checkpoint_dir=tmp_path / "run")
        return pipeline.fit(X_hard=HARD)

    first, made = run(fitted), {path: path.stat().st_mtime_ns for path in tmp_path.rglob("manifest.json")}
    assert_array_equal(run(fitted).predict(TEST), first.predict(TEST))
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("manifest.json")} == made
    with pytest.raises(CheckpointError, match="teacher"):
        run(FineTunedGenerator(BigramLearner(TOKENIZER)).fit(TEST))


def test_a_frozen_classifier_teaches():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 2))
    teacher = LogisticRegression().fit(X[:20], X[:20, 0] > 0)
    chain = W2SPipeline(FrozenEstimator(teacher), GaussianNB()).fit(X_hard=X[20:])
    by_hand = GaussianNB().fit(X[20:], teacher.predict(X[20:]))
    assert_array_equal(chain.student_.predict_proba(X), by_hand.predict_proba(X))


@pytest.mark.parametrize(
    ("teacher", "error", "message"),
    [
        (BigramLearner(), NotFittedError, "not fitted"),
        (BigramLearner(TOKENIZER).initialize(), TypeError, r"a learner; fit FineTunedGenerator\(BigramLearner"),
    ],
)
def test_what_cannot_teach_as_it_is_is_named(teacher, error, message):
    with pytest.raises(error, match=message):
        W2SPipeline(FrozenEstimator(teacher), BigramLearner()).fit(X_hard=HARD)
