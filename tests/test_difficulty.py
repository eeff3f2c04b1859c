"""cross_val_difficulty and DifficultyRatings."""

from __future__ import annotations

import json
import os
from collections import Counter

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import BaseEstimator, clone
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold, KFold, PredefinedSplit, RepeatedKFold, ShuffleSplit, cross_val_predict
from sklearn.naive_bayes import MultinomialNB
from sklearn.pipeline import make_pipeline
from sklearn.svm import LinearSVC
from sklearn.tree import DecisionTreeClassifier
from transformers import PreTrainedTokenizerBase

from ensemw2s import (
    BigramLearner,
    CheckpointError,
    DifficultyRatings,
    EasyHardSplit,
    FineTunedGenerator,
    LLMAdaBoostClassifier,
    OpinionPool,
    QADataset,
    TokenAdaBoostGenerator,
    cross_val_difficulty,
    make_qa,
    to_binary,
)
from ensemw2s.splits import fingerprints, question_groups
from ensemw2s.storage import commit_record

QA = make_qa(60, difficulty=(3, 6), random_state=0)
BINARY = to_binary(QA, both=True, random_state=0)
# make_qa has a few near-duplicates; truths that are computed fold by fold must not stumble over them.
APART = QA[np.unique(question_groups(QA), return_index=True)[1]]


def classifier():
    return make_pipeline(CountVectorizer(), MultinomialNB())


class Remembering(BaseEstimator):
    """A generator that is wrong on what it has seen a form of, and right elsewhere."""

    def fit(self, X, y=None):
        self.seen_ = X
        return self

    def answer_error(self, X):
        labels = question_groups([*self.seen_.prompts, *X.prompts])
        return np.isin(labels[len(self.seen_) :], labels[: len(self.seen_)]).astype(float)


class Constant(BaseEstimator):
    """A generator that gives one score to all; NaN stands for a model that has diverged."""

    def __init__(self, score=0.5):
        self.score = score

    def fit(self, X, y=None):
        return self

    def answer_error(self, X):
        return np.full(len(X), self.score)


# --- the error of one answer -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def booster():
    return TokenAdaBoostGenerator(BigramLearner(), n_estimators=2, prior="uniform", random_state=0).fit(QA)


def test_the_error_of_an_answer_is_the_token_error_of_its_row(booster):
    errors = booster.answer_error(QA)
    assert_allclose(errors, [booster.token_error(QA[[row]]) for row in range(len(QA))])
    assert len(np.unique(errors)) > 5


def test_the_error_of_an_answer_can_be_asked_for_texts(booster):
    assert_array_equal(booster.answer_error(QA.prompts, QA.answers), booster.answer_error(QA))


# --- ratings of generators ---------------------------------------------------------------------------------------


def test_a_rating_is_the_token_error_under_the_model_of_the_other_folds():
    fold = np.arange(len(APART)) % 3
    rated = cross_val_difficulty(BigramLearner(), APART, cv=PredefinedSplit(fold))
    for number in range(3):
        model = FineTunedGenerator(BigramLearner()).fit(APART[fold != number])
        for row in np.flatnonzero(fold == number):
            assert rated.ratings[row] == pytest.approx(model.token_error(APART[[row]]))
    assert_array_equal(rated.folds, fold)
    assert_array_equal(rated.n_scores, 1)
    assert rated.metric == "token_error"


def test_a_pool_rates_by_the_probability_of_the_right_option():
    fold = np.arange(len(APART)) % 2
    pool = OpinionPool([BigramLearner(), BigramLearner(smoothing=3.0)], weights=[1.0, 2.0], random_state=0)
    rated = cross_val_difficulty(pool, APART, cv=PredefinedSplit(fold))
    for number in range(2):
        model, rest = clone(pool).fit(APART[fold != number]), APART[fold == number]
        proba = [row[label] for row, label in zip(model.predict_proba(rest), rest.labels, strict=True)]
        assert_allclose(rated.ratings[fold == number], 1 - np.array(proba), atol=1e-12)
    assert rated.metric == "one_minus_proba"
    with pytest.raises(ValueError, match="choices"):
        cross_val_difficulty(pool, APART.prompts, APART.answers)


def test_repeated_folds_give_the_mean():
    cv = RepeatedKFold(n_splits=3, n_repeats=2, random_state=0)
    rated = cross_val_difficulty(BigramLearner(), APART, cv=cv)
    total, last = np.zeros(len(APART)), np.zeros(len(APART))
    for number, (train, scored) in enumerate(cv.split(APART.prompts)):
        total[scored] += FineTunedGenerator(BigramLearner()).fit(APART[train]).answer_error(APART[scored])
        last[scored] = number
    assert_allclose(rated.ratings, total / 2)
    assert_array_equal(rated.n_scores, 2)
    assert_array_equal(rated.folds, last)


def test_a_rating_is_divided_by_the_number_of_models_that_gave_it():
    rated = cross_val_difficulty(Constant(0.5), APART, cv=ShuffleSplit(30, test_size=0.3, random_state=0))
    assert len(np.unique(rated.n_scores)) > 1
    assert_allclose(rated.ratings, 0.5)


def test_a_learner_and_its_generator_are_rated_alike():
    learner, generator = (
        cross_val_difficulty(estimator, QA, random_state=0)
        for estimator in (BigramLearner(), FineTunedGenerator(BigramLearner()))
    )
    assert_array_equal(learner.ratings, generator.ratings)


def test_a_booster_can_rate(booster):
    rated = cross_val_difficulty(booster, QA, cv=3, random_state=0)
    assert rated.ratings.shape == (60,)


def test_the_estimator_is_left_as_it_is(booster):
    members = list(booster.estimators_)
    cross_val_difficulty(booster, QA, cv=2, random_state=0)
    assert booster.estimators_ == members


def test_answers_and_options_may_be_given_apart():
    apart = cross_val_difficulty(BigramLearner(), QA.prompts, QA.answers, choices=QA.choices, random_state=0)
    assert_array_equal(apart.ratings, cross_val_difficulty(BigramLearner(), QA, random_state=0).ratings)


def test_a_subset_can_be_rated():
    rated = cross_val_difficulty(BigramLearner(), QA[10:40], random_state=0)
    assert rated.fingerprints == fingerprints(QA)[10:40]


# --- ratings of classifiers --------------------------------------------------------------------------------------


def test_a_rating_is_one_minus_the_probability_of_the_true_class():
    cv = GroupKFold(4)
    rated = cross_val_difficulty(classifier(), BINARY.texts, BINARY.labels, cv=cv, groups=BINARY.groups)
    proba = cross_val_predict(
        classifier(),
        BINARY.texts,
        BINARY.labels,
        groups=question_groups(BINARY.texts, BINARY.groups),
        cv=cv,
        method="predict_proba",
    )
    assert_allclose(rated.ratings, 1 - proba[np.arange(len(BINARY)), BINARY.labels])
    assert rated.metric == "one_minus_proba"


def test_the_forms_of_a_binary_question_are_in_one_fold():
    rated = cross_val_difficulty(classifier(), BINARY.texts, BINARY.labels, groups=BINARY.groups, random_state=0)
    assert_array_equal(rated.folds[::2], rated.folds[1::2])


def test_folds_of_a_classifier_are_stratified():
    X, y = np.random.default_rng(0).normal(size=(60, 2)), np.repeat(["rare", "usual"], [10, 50])
    rated = cross_val_difficulty(LogisticRegression(), X, y, random_state=0)
    assert [np.sum(rated.folds[:10] == fold) for fold in range(5)] == [2] * 5


def test_classes_need_not_be_sorted_numbers():
    X = np.concatenate([np.full((10, 1), -1.0), np.full((10, 1), 1.0)])
    y = np.repeat(["yes", "no"], 10)
    rated = cross_val_difficulty(LogisticRegression(), X, y, random_state=0)
    assert rated.ratings.max() < 0.5  # each is told with ease


def test_a_class_that_training_lacks_has_no_probability():
    X, y = np.arange(9.0)[:, None], np.repeat(["a", "b", "c"], 3)
    rated = cross_val_difficulty(DecisionTreeClassifier(), X, y, cv=KFold(3))
    assert_array_equal(rated.ratings, 1.0)


def test_a_boosted_classifier_can_rate():
    X = np.random.default_rng(0).normal(size=(40, 2))
    stump = LLMAdaBoostClassifier(DecisionTreeClassifier(max_depth=1), n_estimators=3, random_state=0)
    rated = cross_val_difficulty(stump, X, (X[:, 0] > 0).astype(int), random_state=0)
    assert rated.ratings.mean() < 0.3


# --- seen by nobody ----------------------------------------------------------------------------------------------

TWINS = QADataset(
    [
        f"{name}a saw that {name}b in {name}c house has {word} {name}d than before , so there are"
        for name in ("red", "big", "old", "new", "far", "wet", "dry", "low")
        for word in ("more", "fewer")
    ],
    ["many", "few"] * 8,
)


@pytest.mark.parametrize("cv", [2, 5, KFold(4, shuffle=True, random_state=0), RepeatedKFold(n_splits=3, n_repeats=2)])
def test_no_question_is_scored_by_a_model_that_saw_a_form_of_it(cv):
    assert_array_equal(cross_val_difficulty(Remembering(), TWINS, cv=cv, random_state=0).ratings, 0.0)


def test_copies_with_other_answers_are_in_one_fold():
    copies = QADataset([*APART.prompts, *(prompt.upper() for prompt in APART.prompts)], ["one"] * 2 * len(APART))
    rated = cross_val_difficulty(Remembering(), copies, near_duplicates=None, random_state=0)
    assert_array_equal(rated.folds[: len(APART)], rated.folds[len(APART) :])


def test_rows_of_one_group_are_in_one_fold():
    groups = np.arange(len(APART)) // 5
    rated = cross_val_difficulty(Constant(), APART, groups=groups, random_state=0)
    assert all(len(set(rated.folds[groups == group])) == 1 for group in groups)


def test_what_is_left_out_of_training_is_logged(caplog):
    caplog.set_level("INFO", logger="ensemw2s")
    cross_val_difficulty(Constant(), TWINS, cv=PredefinedSplit([0, 1] * 4 + [2] * 8))
    assert "fold 0: 4 forms of scored questions left out of training" in caplog.text


class Given:
    """A splitter that yields what it was given."""

    def __init__(self, *folds):
        self.folds = folds

    def split(self, X, y=None, groups=None):
        yield from self.folds


FIRST, SECOND = np.arange(5), np.arange(5, 10)


@pytest.mark.parametrize(
    ("folds", "message"),
    [
        ([(SECOND, FIRST), (np.arange(6), SECOND)], "Fold 1 of cv trains on row 5 and scores it"),
        ([(SECOND, FIRST)], "Every question must be scored at least once. cv leaves row 5 in no fold"),
        ([(SECOND, FIRST), (FIRST, [])], "Fold 1 of cv must have rows to train on and rows to score. Got 5 and 0"),
        ([(SECOND, FIRST), ([], SECOND)], "Fold 1 of cv must have rows to train on and rows to score. Got 0 and 5"),
    ],
)
def test_folds_that_cannot_rate_are_refused_before_training(folds, message):
    class Untrained(Constant):
        def fit(self, X, y=None):
            raise AssertionError("trained")

    with pytest.raises(ValueError, match=message):
        cross_val_difficulty(Untrained(), APART[:10], cv=Given(*folds))


def test_masks_are_folds_too():
    rows = np.arange(10)
    rated = cross_val_difficulty(Constant(), APART[:10], cv=Given((rows >= 5, rows < 5), (rows < 5, rows >= 5)))
    assert_array_equal(rated.folds, [0] * 5 + [1] * 5)


# --- folds, workers, messages ------------------------------------------------------------------------------------


def test_the_seed_decides_the_folds():
    first, again, other = (cross_val_difficulty(Constant(), QA, random_state=seed) for seed in (0, 0, 1))
    assert_array_equal(first.folds, again.folds)
    assert (first.folds != other.folds).any()


def test_the_folds_do_not_depend_on_the_order_of_the_file():
    order = np.random.default_rng(0).permutation(len(QA))
    rated, shuffled = (cross_val_difficulty(BigramLearner(), X, random_state=0) for X in (QA, QA[order]))
    assert_array_equal(shuffled.folds, rated.folds[order])
    assert_allclose(shuffled.ratings, rated.ratings[order])


@pytest.mark.slow
def test_two_workers_find_what_one_finds():
    X, y = np.random.default_rng(0).normal(size=(60, 2)), np.arange(60) % 2
    one, two = (cross_val_difficulty(LogisticRegression(), X, y, n_jobs=n, random_state=0) for n in (None, 2))
    assert_array_equal(one.ratings, two.ratings)


def test_verbose_shows_a_progress_bar(capsys):
    cross_val_difficulty(Constant(), QA, cv=2, verbose=True)
    assert "difficulty: fold 2/2" in capsys.readouterr().err


def test_nothing_is_shown_by_default(capsys):
    cross_val_difficulty(Constant(), QA, cv=2)
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"cv": 1}, ValueError, "cv must be an integer of at least 2. Got 1"),
        ({"cv": True}, ValueError, "cv must be an integer of at least 2. Got True"),
        ({"cv": 100}, ValueError, "cv=100 folds need at least as many questions. Got "),
        (
            {"X": APART[:20], "cv": 5, "groups": [0, 1] * 10},
            ValueError,
            "cv=5 folds need at least as many questions. Got 2",
        ),
        ({"cv": "five"}, TypeError, "cv must be an int or a splitter with split"),
        ({"groups": [0]}, ValueError, "X and groups must have the same length"),
        ({"near_duplicates": 7}, ValueError, "near_duplicates must lie in"),
        ({"X": QA.drop_answers()}, ValueError, "y must hold the answers"),
        ({"estimator": Constant(np.nan)}, ValueError, "Fold 0 gave row .* a score that is not finite"),
        ({"estimator": CountVectorizer()}, TypeError, "estimator must be a classifier, a generator .* Got CountVector"),
        ({"estimator": LinearSVC()}, TypeError, "must have predict_proba, by which questions are rated. Got LinearSVC"),
        ({"estimator": classifier()}, ValueError, "y must hold the classes. Got None"),
        ({"estimator": classifier(), "y": [0, 1]}, ValueError, "X and y must have the same length. Got 60 and 2"),
        ({"estimator": classifier(), "y": np.eye(60)}, ValueError, r"y must have one dimension, .* shape \(60, 60\)"),
    ],
)
def test_what_does_not_fit_is_named(arguments, error, message):
    with pytest.raises(error, match=message):
        cross_val_difficulty(**{"estimator": Constant(), "X": QA, **arguments})


# --- the ratings -------------------------------------------------------------------------------------------------


def ratings_of(texts, values, **columns):
    settings = {"folds": [0] * len(texts), "n_scores": [1] * len(texts), "metric": "token_error", **columns}
    return DifficultyRatings(values, fingerprints=fingerprints(texts), **settings)


RATED = ratings_of(["Is ice cold?", "Is snow white?", "Do cats purr?"], [0.1, 1 / 3, 0.9], folds=[0, 1, 0])


def test_ratings_are_found_in_any_order_and_spelling():
    assert_array_equal(RATED.for_questions(["do  cats PURR?", "Is ice cold?"]), [0.9, 0.1])
    assert_array_equal(RATED.for_questions(QADataset(["Is snow white?"])), [1 / 3])


def test_a_question_that_was_rated_twice_has_the_mean():
    assert_allclose(ratings_of(["Why?", "why?", "How?"], [0.2, 0.4, 1.0]).for_questions(["why?"]), [0.3])


def test_a_question_without_a_rating_is_named():
    with pytest.raises(ValueError, match=r"1 of 2 have none, the first is X\[1\] = 'Do dogs purr\?'"):
        RATED.for_questions(["Is ice cold?", "Do dogs purr?"])


def test_rows_of_numbers_are_found_too():
    X, y = np.random.default_rng(0).normal(size=(20, 2)), np.arange(20) % 2
    rated = cross_val_difficulty(LogisticRegression(), X, y, random_state=0)
    assert_array_equal(rated.for_questions(X[[3, 1]]), rated.ratings[[3, 1]])
    with pytest.raises(ValueError, match=r"the first is X\[0\] = array\(\[7., 7.\]\)"):
        rated.for_questions(np.full((1, 2), 7.0))


def test_ratings_of_one_model_split_the_questions_of_another():
    rated = cross_val_difficulty(BigramLearner(), QA, random_state=0)
    part = QA[np.random.default_rng(0).permutation(60)[:40]]
    weak, strong, test = next(EasyHardSplit(near_duplicates=None, random_state=0).split(part, rated))
    found = rated.for_questions(part)
    assert found[weak].max() <= min(found[strong].min(), found[test].min())
    other = FineTunedGenerator(BigramLearner(smoothing=0.1)).fit(part[weak])
    assert 0 < other.token_error(part[test]) < 1


def test_ratings_are_a_column_of_a_dataset():
    rated = QADataset(QA.prompts, choices=QA.choices, labels=QA.labels, difficulty=RATED_QA.for_questions(QA))
    assert_array_equal(rated.difficulty, RATED_QA.ratings)


RATED_QA = cross_val_difficulty(BigramLearner(), QA, random_state=0)


def test_repr_says_what_was_measured():
    assert repr(RATED) == (
        "DifficultyRatings(n=3, metric='token_error', mean .444, range .100 to .900, folds: 2, scores a question: 1)"
    )


def test_repr_gives_the_range_of_the_number_of_scores():
    assert "scores a question: 1 to 3" in repr(ratings_of(["a", "b"], [0, 1], n_scores=[3, 1]))


@pytest.mark.parametrize("name", ["ratings", "folds", "n_scores"])
def test_columns_cannot_be_changed(name):
    with pytest.raises(ValueError, match="read-only"):
        getattr(RATED, name)[0] = 0


def test_the_arrays_given_stay_writable():
    values = np.array([0.0, 0.5])
    ratings_of(["a", "b"], values)
    values[0] = 1.0
    assert values.tolist() == [1.0, 0.5]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"ratings": [0.1, 0.2, 1.5]}, r"ratings must hold numbers in \[0, 1\]. Got ratings\[2\] = 1.5"),
        ({"ratings": [0.1, 0.2, np.nan]}, r"ratings must hold finite numbers. Got ratings\[2\] = nan"),
        ({"folds": [0, 1]}, "ratings and folds must have the same length. Got 3 and 2"),
        ({"folds": [0, 1, -1]}, r"folds\[2\] must be an integer of at least 0. Got -1"),
        ({"n_scores": [1, 0, 1]}, r"n_scores\[1\] must be an integer of at least 1. Got 0"),
        ({"n_scores": [1, 1.5, 1]}, r"n_scores\[1\] must be an integer of at least 1. Got 1.5"),
        (
            {"metric": "accuracy"},
            "metric must be one of 'token_error', .* or 'one_minus_' .* Got 'accuracy'",
        ),
        ({"fingerprints": RATED.fingerprints[:2]}, "ratings and fingerprints must have the same length"),
        ({"fingerprints": ["a", "b", "c"]}, r"fingerprints\[0\] must be a SHA-256 in hexadecimal. Got 'a'"),
    ],
)
def test_columns_are_checked(columns, message):
    given = {name: getattr(RATED, name) for name in ("ratings", "folds", "n_scores", "metric", "fingerprints")}
    with pytest.raises(ValueError, match=message):
        DifficultyRatings(**{**given, **columns})


# --- saved and loaded --------------------------------------------------------------------------------------------


def test_ratings_are_loaded_as_they_were_saved(tmp_path):
    RATED.save(tmp_path / "ratings.json")
    loaded = DifficultyRatings.load(tmp_path / "ratings.json")
    for name in ("ratings", "folds", "n_scores"):
        assert_array_equal(getattr(loaded, name), getattr(RATED, name))
        assert getattr(loaded, name).dtype == getattr(RATED, name).dtype
    assert (loaded.metric, loaded.fingerprints) == (RATED.metric, RATED.fingerprints)


def test_saving_replaces_a_file_and_leaves_nothing_beside_it(tmp_path):
    path = tmp_path / "ratings.json"
    path.write_text("old")
    RATED.save(str(path))
    assert [file.name for file in tmp_path.iterdir()] == ["ratings.json"]
    assert len(DifficultyRatings.load(str(path))) == 3


def test_a_file_that_cannot_be_written_leaves_the_old_one(tmp_path, monkeypatch):
    path = tmp_path / "ratings.json"
    RATED.save(path)
    before = path.read_bytes()
    monkeypatch.setattr("os.replace", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        ratings_of(["a"], [0.0]).save(path)
    assert path.read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 1


def fields_of(ratings):
    return {
        "ratings": ratings.ratings.tolist(), "folds": ratings.folds.tolist(), "n_scores": ratings.n_scores.tolist(),
        "metric": ratings.metric, "fingerprints": list(ratings.fingerprints),
    }  # fmt: skip


def test_a_flipped_bit_of_any_byte_is_noticed(tmp_path):
    path = tmp_path / "ratings.json"
    RATED.save(path)
    content = path.read_bytes()
    for place in range(len(content)):
        damaged = bytearray(content)
        damaged[place] ^= 1 << place % 8
        path.write_bytes(damaged)
        with pytest.raises(CheckpointError, match=r"ratings\.json (is|must)"):
            DifficultyRatings.load(path)
    path.write_bytes(content.replace(b",", b", ", 1))  # the same values, and yet not what was written
    with pytest.raises(CheckpointError, match=r"ratings\.json is damaged"):
        DifficultyRatings.load(path)


def test_the_file_is_synchronised_before_it_has_its_name(tmp_path, monkeypatch):
    events = []
    sync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda handle: events.append("sync") or sync(handle))
    monkeypatch.setattr(os, "replace", lambda *paths: events.append("name") or replace(*paths))
    RATED.save(tmp_path / "ratings.json")
    assert events == ["sync", "name", "sync"]


def test_a_file_of_an_earlier_version_is_read_and_said_to_have_no_checksum(tmp_path):
    path = tmp_path / "ratings.json"
    path.write_text(json.dumps({"format": "ensemw2s.DifficultyRatings", "version": 1, **fields_of(RATED)}))
    with pytest.warns(UserWarning, match=r"ratings\.json was written without a checksum.*save the ratings again"):
        loaded = DifficultyRatings.load(path)
    assert fields_of(loaded) == fields_of(RATED)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"ratings": ["a", 0, 1]}, "is damaged: ratings must hold numbers"),
        ({"ratings": [0.1, 10**400, 0.2]}, "is damaged: int too large"),
        ({"ratings": [0.1, 0.2]}, "is damaged: ratings and folds must have the same length"),
        ({"fingerprints": None}, "is damaged"),
    ],
)
def test_impossible_ratings_are_refused_whatever_the_checksum(tmp_path, change, message):
    path = tmp_path / "ratings.json"
    commit_record(path, {**fields_of(RATED), **change}, kind="DifficultyRatings", version=2)
    with pytest.raises(ValueError, match=f"ratings.json {message}"):
        DifficultyRatings.load(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is damaged: it is no JSON"),
        ("[]", "is no file of a DifficultyRatings"),
        ("[" * 5000 + "]" * 5000, "is damaged: it is no JSON"),
        ('{"format": "ensemw2s.DifficultyRatings", "version": 3}', "must have version 2. Got 3; rate the questions"),
    ],
)
def test_a_file_of_something_else_is_refused(tmp_path, content, message):
    (tmp_path / "ratings.json").write_text(content)
    with pytest.raises(ValueError, match=rf"ratings\.json {message}"):
        DifficultyRatings.load(tmp_path / "ratings.json")


def test_a_record_of_another_kind_or_version_is_refused(tmp_path):
    path = tmp_path / "ratings.json"
    commit_record(path, fields_of(RATED), kind="Other", version=2)
    with pytest.raises(ValueError, match=r"must hold a DifficultyRatings\. Got 'Other'"):
        DifficultyRatings.load(path)
    commit_record(path, fields_of(RATED), kind="DifficultyRatings", version=3)
    with pytest.raises(ValueError, match=r"must have version 2\. Got 3, written by ensemw2s"):
        DifficultyRatings.load(path)
    commit_record(path, {"folds": []}, kind="DifficultyRatings", version=2)
    with pytest.raises(ValueError, match="It lacks ratings, n_scores, metric, fingerprints"):
        DifficultyRatings.load(path)


def test_a_link_to_ratings_is_followed(tmp_path):
    RATED.save(tmp_path / "ratings.json")
    (tmp_path / "link.json").symlink_to(tmp_path / "ratings.json")
    assert len(DifficultyRatings.load(tmp_path / "link.json")) == 3


@pytest.mark.parametrize("place", ["folder", "pipe", "device", "holes"])
@pytest.mark.timeout(60)
def test_what_is_no_file_is_refused_and_not_waited_for(tmp_path, place):
    path = tmp_path / "ratings.json"
    if place == "folder":
        path.mkdir()
    elif place == "pipe":
        os.mkfifo(path)
    elif place == "device":
        path.symlink_to("/dev/zero")
    else:
        path.touch()
        os.truncate(path, 2**40)
    with pytest.raises(CheckpointError, match=r"ratings\.json (is no plain file|has 1,099,511)"):
        DifficultyRatings.load(path)


def test_a_missing_file_is_a_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError):
        DifficultyRatings.load(tmp_path / "ratings.json")


def test_a_question_is_tokenised_once_for_all_folds(monkeypatch):
    counts, call = Counter(), PreTrainedTokenizerBase.__call__

    def counted(self, texts, *args, **kwargs):
        counts.update([texts] if isinstance(texts, str) else texts)
        return call(self, texts, *args, **kwargs)

    monkeypatch.setattr(PreTrainedTokenizerBase, "__call__", counted)
    questions = QADataset([f"question {row}?" for row in range(6)], [f"answer {row}" for row in range(6)])
    cross_val_difficulty(BigramLearner(), questions, cv=3, random_state=0, near_duplicates=None)
    assert {count for text, count in counts.items() if "question" in text} == {1}


def test_a_metric_rates_what_the_answers_of_held_out_questions_earn():
    X, y = [f"{word} q{number}" for word in ("red", "green") for number in range(6)], ["so 3", "so 4"] * 6
    folds = PredefinedSplit([0, 1] * 6)
    settings = {"cv": folds, "near_duplicates": None}
    rated = cross_val_difficulty(BigramLearner(), X, y, metric="number", extract=r"\d", **settings)
    by_hand = np.zeros(12)
    for train, scored in folds.split():
        fitted = FineTunedGenerator(BigramLearner()).fit([X[row] for row in train], [y[row] for row in train])
        said = fitted.predict([X[row] for row in scored])
        by_hand[scored] = [0.0 if text[-1:] == y[row][-1] else 1.0 for text, row in zip(said, scored, strict=True)]
    np.testing.assert_array_equal(rated.ratings, by_hand)
    assert by_hand.any()
    assert rated.metric == "one_minus_number"
    with pytest.raises(ValueError, match=r"references must hold a number in each row. Got references\[1\]"):
        cross_val_difficulty(BigramLearner(), X, ["1", *["none"] * 11], metric="number", **settings)
    with pytest.raises(ValueError, match=r"metric and extract are of answers to questions. Got a classifier"):
        cross_val_difficulty(LogisticRegression(), np.zeros((4, 1)), [0, 1, 0, 1], metric="f1")
