"""PseudoLabeler: what a teacher writes, and what a student gets to see of it."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.ensemble import VotingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.tree import DecisionTreeClassifier

from ensemw2s import (
    BigramLearner,
    FineTunedGenerator,
    LLMAdaBoostClassifier,
    OpinionPool,
    PseudoLabeler,
    QADataset,
    W2SPipeline,
    word_tokenizer,
)
from ensemw2s.storage import describe, digest

EASY = QADataset(["sky ?", "sea ?", "sun ?"], ["blue", "blue", "red"])
HARD = QADataset(
    ["ocean ?", "fire ?", "rose ?"], ["blue", "red", "red"], [["blue", "red"], ["blue", "red"], ["blue", "red", "tan"]]
)


class Recorder(BaseEstimator):
    """A student that remembers what it was trained on."""

    def fit(self, X, y, sample_weight=None):
        self.X, self.y, self.sample_weight = X, y, sample_weight
        return self


@pytest.fixture(scope="module")
def teacher():
    return FineTunedGenerator(BigramLearner()).fit(EASY)


def test_options_are_chosen_as_the_teacher_chooses(teacher):
    labels = PseudoLabeler().label(teacher, HARD)
    assert_array_equal(labels.y, teacher.predict(HARD))
    assert_allclose(labels.proba, teacher.predict_proba(HARD))
    assert_allclose(labels.confidence, labels.proba.max(axis=1))
    assert labels.kept.all()


def test_the_teacher_never_sees_the_answers():
    class Curious(BaseEstimator):
        def predict_proba(self, X):
            assert X.answers is None
            assert X.labels is None
            return np.full((len(X), 3), 1 / 3) * (np.arange(3) < X.n_choices[:, None])

    PseudoLabeler().label(Curious(), HARD)


@pytest.mark.parametrize("asked", [{"labels": "soft"}, {"threshold": 0.9}])
def test_a_classifier_without_probabilities_is_not_taken_for_sure(asked):
    X, y = np.arange(8.0)[:, None], np.arange(8) // 4
    jury = VotingClassifier([("a", LogisticRegression())], voting="hard").fit(X, y)
    with pytest.raises(TypeError, match=r"teacher must have predict_proba for .*Got a VotingClassifier"):
        PseudoLabeler(**asked).label(jury, X)


def test_batches_do_not_change_the_labels(teacher):
    whole = PseudoLabeler().label(teacher, HARD)
    parts = PseudoLabeler(batch_size=2).label(teacher, HARD)  # batches of 2 and 3 options at most: padded together
    assert_allclose(parts.proba, whole.proba)
    assert_array_equal(parts.y, whole.y)


def test_free_text_is_what_the_teacher_writes(teacher):
    labels = PseudoLabeler(method="generate").label(teacher, HARD)
    assert list(labels.y) == teacher.generate(HARD)
    assert labels.proba is None


def test_auto_writes_free_text_where_there_are_no_options(teacher):
    labels = PseudoLabeler().label(teacher, HARD.prompts)
    assert list(labels.y) == teacher.generate(HARD)


def test_sampled_free_text_depends_on_the_seed_and_leaves_the_global_generator_alone(teacher):
    import torch

    state = torch.random.get_rng_state()
    first, again, other = (
        PseudoLabeler(method="generate", generation_kwargs={"do_sample": True}, random_state=seed)
        .label(teacher, HARD)
        .y
        for seed in (0, 0, 1)
    )
    assert_array_equal(first, again)
    assert list(first) != list(other)
    assert torch.equal(state, torch.random.get_rng_state())


def test_hard_labels_reach_the_student_as_answers(teacher):
    labels = PseudoLabeler().label(teacher, HARD)
    student = labels.fit(Recorder())
    assert list(student.X.prompts) == list(HARD.prompts)
    assert_array_equal(student.y, labels.y)
    assert student.sample_weight is None


def test_soft_labels_reach_a_generator_as_options_weighted_by_their_probability(teacher):
    labels = PseudoLabeler(labels="soft").label(teacher, HARD)
    student = labels.fit(Recorder())
    assert student.X == ["ocean ?"] * 2 + ["fire ?"] * 2 + ["rose ?"] * 3
    assert student.y == ["blue", "red", "blue", "red", "blue", "red", "tan"]
    assert_allclose(student.sample_weight, [*labels.proba[0, :2], *labels.proba[1, :2], *labels.proba[2]])


def test_a_threshold_leaves_uncertain_rows_out(teacher):
    labels = PseudoLabeler().label(teacher, HARD)
    middle = float(np.sort(labels.confidence)[1])
    strict = PseudoLabeler(threshold=middle).label(teacher, HARD)
    assert_array_equal(strict.kept, labels.confidence >= middle)
    assert len(strict.fit(Recorder()).y) == strict.kept.sum() < 3


def test_the_confidence_of_free_text_is_the_mean_token_probability(teacher):
    labels = PseudoLabeler(method="generate", threshold=0.0).label(teacher, HARD)
    nll = teacher.answer_nll(HARD.prompts, labels.y, normalize="token")
    assert_allclose(labels.confidence, np.exp(-nll))


def test_blank_free_text_is_left_out(caplog):
    class Silent(BaseEstimator):
        def generate(self, X, **_):
            return ["", "red", "  "]

    labels = PseudoLabeler(method="generate").label(Silent(), HARD)
    assert_array_equal(labels.kept, [False, True, False])
    assert "2 of 3 pseudo-answers are blank" in caplog.text
    assert labels.skipped_rows == ((0, "The teacher's answer is blank."), (2, "The teacher's answer is blank."))
    assert list(labels.fit(Recorder()).y) == ["red"]


class Writer(BaseEstimator):
    """A teacher that has written down what it says."""

    def __init__(self, texts):
        self.texts = texts

    def generate(self, X, **_):
        return self.texts


def test_a_text_beside_options_is_the_option_that_it_spells_or_is_listed(caplog):
    options = [["blue", "red"], ["blue", "red"], ["A b", "a B"], ["C++", "C#"], ["x", "y"]]
    asked = QADataset([f"{row} ?" for row in range(5)], choices=options)
    labels = PseudoLabeler(method="generate").label(Writer([" “Blue.” ", "green", "a b", "C", "y"]), asked)
    assert labels.y.tolist() == ["blue", "green", "a b", "C", "y"]
    assert labels.kept.tolist() == [True, False, False, False, True]  # "a b" may be either; "C" is neither
    assert labels.skipped_rows == tuple((row, "The teacher's answer is none of the options.") for row in (1, 2, 3))
    assert "3 of 5 pseudo-answers are none of the options" in caplog.text
    student = labels.fit(FineTunedGenerator(BigramLearner()))
    assert student.predict(asked[[0, 4]]).tolist() == ["blue", "y"]
    with pytest.raises(ValueError, match=r"of 5, 5 are none of the options. Let it choose, with method='options'"):
        PseudoLabeler(method="generate").label(Writer(["green"] * 5), asked).fit(Recorder())


def test_answers_that_are_cut_off_are_marked_and_left_out(caplog):
    teacher = FineTunedGenerator(BigramLearner()).fit(["a", "b"], ["b", "b"])  # " b", and the end
    cut, whole = (PseudoLabeler(generation_kwargs={"max_new_tokens": n}).label(teacher, ["c"]) for n in (2, 3))
    assert (cut.y.tolist(), cut.finished.tolist(), cut.kept.tolist()) == (["b"], [False], [False])
    assert (whole.y.tolist(), whole.finished.tolist(), whole.kept.tolist()) == (["b"], [True], [True])
    assert "1 of 1 pseudo-answers are cut off at max_new_tokens and left out" in caplog.text
    with pytest.raises(ValueError, match=r"of 1, 1 are cut off at max_new_tokens\. .* raise max_new_tokens"):
        cut.fit(Recorder())
    settings = {"generation_kwargs": {"max_new_tokens": 2}, "keep_unfinished": True}
    assert PseudoLabeler(**settings).label(teacher, ["c"]).kept.all()


@pytest.mark.parametrize(
    ("rule", "finished"), [({"stop_strings": ["b"]}, True), ({"eos_token_id": ord("b")}, True), ({}, False)]
)
def test_an_answer_that_another_rule_ends_is_finished(rule, finished):
    teacher = FineTunedGenerator(BigramLearner()).fit(["a", "b"], ["abcdef", "abcdef"])
    if "stop_strings" in rule:
        rule = {**rule, "tokenizer": teacher.estimators_[0].tokenizer_}
    labels = PseudoLabeler(generation_kwargs={"max_new_tokens": 4, **rule}).label(teacher, ["c"])
    assert labels.finished.tolist() == [finished]


def test_a_text_that_only_the_teacher_can_write_is_left_out(caplog):
    teacher = FineTunedGenerator(BigramLearner()).fit(["a", "b"], ["red", "red"])
    labels = PseudoLabeler().label(teacher, ["a", "b"])
    labels.y[0] = "green"
    student = labels.fit(FineTunedGenerator(BigramLearner(word_tokenizer(["red a b"]))))
    assert student.skipped_rows_ == []
    assert "1 of 2 pseudo-answers cannot be written by the student" in caplog.text


def test_letters_that_spell_an_end_are_no_pseudo_answer():
    class Speller(FineTunedGenerator):
        def generate(self, X, **_):
            return ["red<eos>", "red"]

    labels = PseudoLabeler(threshold=0.0).label(Speller(BigramLearner()).fit(EASY), ["a", "b"])
    assert labels.kept.tolist() == [False, True]
    assert labels.skipped_rows == ((0, "The teacher's answer spells a token that ends answers."),)


def test_no_row_left_is_an_error(teacher):
    labels = PseudoLabeler(threshold=1.0).label(teacher, HARD)
    with pytest.raises(ValueError, match=r"of 3, the confidence of 3 is below the threshold\. Lower the threshold"):
        labels.fit(Recorder())


def test_a_classifier_gives_its_classes_hard_and_soft():
    X = np.array([[0.0], [1.0], [2.0], [3.0]])
    teacher = LogisticRegression().fit(X, ["a", "a", "b", "b"])
    hard = PseudoLabeler().label(teacher, X)
    assert_array_equal(hard.y, teacher.predict(X))
    soft = PseudoLabeler(labels="soft").label(teacher, X)
    assert_allclose(soft.proba, teacher.predict_proba(X))

    class SoftStudent(Recorder, LogisticRegression):
        pass

    assert_allclose(soft.fit(SoftStudent()).y, soft.proba)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"method": "guess"}, "method must be one of"),
        ({"labels": "fuzzy"}, "labels must be one of"),
        ({"threshold": 1.5}, r"threshold must lie in \[0, 1\]"),
        ({"agreement": 0}, r"agreement must be a number of members"),
        ({"agreement": 1.5}, r"agreement must be a number of members"),
        ({"weights": "even"}, "weights must be"),
        ({"method": "generate", "agreement": 2}, "agreement must be None for free text"),
    ],
)
def test_bad_parameters_are_named(parameters, message, teacher):
    with pytest.raises(ValueError, match=message):
        PseudoLabeler(**parameters).label(teacher, HARD)


def test_options_without_options_are_refused(teacher):
    with pytest.raises(ValueError, match="method='options' needs choices"):
        PseudoLabeler(method="options").label(teacher, HARD.prompts)


def test_soft_free_text_is_refused(teacher):
    with pytest.raises(ValueError, match="labels='soft' needs choices"):
        PseudoLabeler(labels="soft", method="generate").label(teacher, HARD)


def test_soft_labels_tell_the_student_which_class_a_column_stands_for():
    class Named(ClassifierMixin, Recorder):
        def __init__(self, classes=None):
            self.classes = classes

    X = np.array([[0.0], [1.0], [2.0], [3.0]])
    teacher = LogisticRegression().fit(X, ["no", "no", "yes", "yes"])
    labels = PseudoLabeler(labels="soft").label(teacher, X)
    assert labels.fit(Named()).classes == ["no", "yes"]
    assert labels.fit(Named(classes=["yes", "no"])).classes == ["yes", "no"]


class Opinion(BaseEstimator):
    """An expert that knows its opinion: the number of an option for each question."""

    def __init__(self, says):
        self.says = says

    def fit(self, questions, *, question_weight):
        return self

    def __sklearn_is_fitted__(self):
        return True

    def option_scores(self, prompts, choices):
        return [np.eye(len(options))[self.says[prompt]] for prompt, options in zip(prompts, choices, strict=True)]


ASKED = QADataset([f"{row} ?" for row in range(4)], choices=[["a", "b", "c"]] * 4)
SAYS = [[0, 0, 0, 0], [0, 0, 1, 1], [0, 1, 1, 2], [2, 2, 2, 2]]  # the last has no weight


@pytest.fixture(scope="module")
def pool():
    experts = [Opinion(dict(zip(ASKED.prompts, row, strict=True))) for row in SAYS]
    solved = QADataset(ASKED.prompts, choices=ASKED.choices, labels=[0, 0, 1, 1])
    return OpinionPool(experts, pool="linear", weights=[0.4, 0.3, 0.29, 0.0], prefit=True, random_state=0).fit(solved)


@pytest.mark.parametrize(
    ("agreement", "kept"),
    [
        (1, [1, 1, 1, 1]),
        (2, [1, 1, 1, 0]),
        (0.6, [1, 1, 1, 0]),
        (3, [1, 0, 0, 0]),
        (1.0, [1, 0, 0, 0]),
        (9, [1, 0, 0, 0]),
    ],
)
def test_rows_are_kept_on_which_the_experts_with_a_weight_agree(agreement, kept, pool):
    labels = PseudoLabeler(agreement=agreement, batch_size=3).label(pool, ASKED)
    assert labels.y.tolist() == ["a", "a", "b", "a"]
    assert_allclose(labels.agreement, [1, 2 / 3, 2 / 3, 1 / 3])
    assert labels.kept.tolist() == [bool(row) for row in kept]
    assert PseudoLabeler(agreement=agreement).label(pool.with_votes([1.0]), ASKED).kept.all()  # a baseline's teacher


def test_nobody_agrees(pool):
    labels = PseudoLabeler(agreement=1.0).label(pool, ASKED[1:])
    with pytest.raises(ValueError, match=r"3 are left out for want of agreement or confidence\. Lower agreement"):
        labels.fit(Recorder())


def test_members_of_a_classifier_may_agree_and_one_without_members_is_refused():
    X, y = np.arange(40.0)[:, None], (np.arange(40) % 7 > 3).astype(int)
    teacher = LLMAdaBoostClassifier(DecisionTreeClassifier(max_depth=1), n_estimators=3, random_state=0).fit(X, y)
    labels = PseudoLabeler(agreement=3).label(teacher, X)
    assert_array_equal(labels.kept, (teacher.member_predictions(X) == labels.y).all(axis=0))
    assert 0 < labels.kept.sum() < 40
    with pytest.raises(TypeError, match=r"weak must have predict_under for agreement=2"):
        W2SPipeline(LogisticRegression(), LogisticRegression(), labeler=PseudoLabeler(agreement=2)).fit(X, y, X)


def test_soft_labels_of_a_pool_and_weights_by_confidence_reach_the_student(pool):
    labels = PseudoLabeler(labels="soft", weights="confidence").label(pool, ASKED)
    assert_allclose(labels.proba, pool.predict_proba(ASKED))
    weight = labels.proba.max(axis=1)
    student = labels.fit(Recorder())
    assert_allclose(student.sample_weight.reshape(4, 3), labels.proba * (weight / weight.mean())[:, None])
    hard = PseudoLabeler(weights="confidence", threshold=0.5).label(pool, ASKED)
    assert_allclose(hard.fit(Recorder()).sample_weight, weight[hard.kept] / weight[hard.kept].mean())
    assert "weighted" in repr(hard)


def test_weights_need_a_student_that_takes_them(pool, teacher):
    class Plain(BaseEstimator):
        def fit(self, X, y):
            return self

    with pytest.raises(ValueError, match=r"student must have sample_weight in fit.*Got a Plain"):
        PseudoLabeler(weights="confidence").label(pool, ASKED).fit(Plain())
    with pytest.raises(TypeError, match=r"student must have sample_weight in fit.*Got a Plain"):
        W2SPipeline(teacher, Plain(), labeler=PseudoLabeler(weights="confidence")).fit(EASY, None, HARD)


def test_a_filter_of_ones_own_sees_the_labels(pool):
    def sure_half(labels):
        return labels.confidence >= np.median(labels.confidence)

    labels = PseudoLabeler(filter=sure_half, agreement=1).label(pool, ASKED)
    assert_array_equal(labels.kept, sure_half(labels))
    with pytest.raises(ValueError, match=r"filter must return an array of 4 truth values.*shape \(4,\) and type float"):
        PseudoLabeler(filter=lambda labels: labels.confidence).label(pool, ASKED)
    with pytest.raises(TypeError, match="filter must be a callable"):
        PseudoLabeler(filter="sure").label(pool, ASKED)


def test_parameters_that_came_later_leave_old_fingerprints_alone():
    assert digest(describe(PseudoLabeler(), "labeler")) == "a7834eb1b1119bb1"
    assert digest(describe(PseudoLabeler(labels="soft", threshold=0.3), "labeler")) == "365052f66cf3fc88"
    assert digest(describe(PseudoLabeler(agreement=1.0), "labeler")) != "a7834eb1b1119bb1"
    voting = VotingClassifier([("a", LogisticRegression())])
    assert "weights" in describe(voting, "student")["parameters"]  # of another class it was always there
