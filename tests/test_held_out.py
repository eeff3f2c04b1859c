"""Votes and errors from held-out rows, against loops and fits that are written out."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.optimize import minimize
from scipy.special import log_softmax, logit
from sklearn.base import BaseEstimator, clone
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import LeaveOneGroupOut
from sklearn.tree import DecisionTreeClassifier

from ensemw2s import (
    BigramLearner,
    LLMAdaBoostClassifier,
    OpinionPool,
    PretrainedMixin,
    QADataset,
    TokenAdaBoostGenerator,
    TokenDataset,
    WeakLearnerError,
    make_qa,
)
from ensemw2s.storage import describe

RNG = np.random.default_rng(0)
ROWS = np.repeat(RNG.normal(size=(30, 3)), 3, axis=0)  # ten times three equal rows and more, which must not be parted
LABELS = (ROWS.sum(axis=1) + RNG.normal(size=90) > 0).astype(int)
GROUPS = np.repeat(np.arange(30), 3)
PROMPTS = ["sky ?", "sea ?", "leaf ?", "night ?", "rose ?", "sun ?", "coal ?"]
ANSWERS = ["blue", "blue", "green", "black", "red", "red", "black"]


def stumps(**params):
    settings = {"n_estimators": 4, "random_state": 0, **params}
    return LLMAdaBoostClassifier(DecisionTreeClassifier(max_depth=1), **settings)


def bigrams(**params):
    settings = {"n_estimators": 3, "prior": "uniform", "random_state": 0, **params}
    return TokenAdaBoostGenerator(BigramLearner(), **settings)


def on_simplex(log_proba, weight):
    """Shares of least log loss of a linear pool, by SLSQP."""
    proba, share, n_members = np.exp(log_proba), weight / np.sum(weight), len(log_proba)
    return minimize(
        lambda w: -share @ np.log(w @ proba), np.full(n_members, 1 / n_members), method="SLSQP",
        jac=lambda w: -proba @ (share / (w @ proba)), bounds=[(1e-12, 1)] * n_members,
        constraints={"type": "eq", "fun": lambda w: w.sum() - 1, "jac": np.ones_like}, options={"ftol": 1e-15},
    ).x  # fmt: skip


def token_log_proba(learner, tokens):
    """Log-probabilities of the answer tokens in their order."""
    batch = tokens.batch(np.arange(len(tokens)))
    logits = np.asarray(learner.token_logits(batch.input_ids, batch.attention_mask), dtype=np.float64)
    found = np.empty(tokens.n_tokens)
    log_proba = log_softmax(logits[:, -batch.n_last :], axis=-1)
    for row, column in np.argwhere(batch.is_answer):
        found[batch.token_index[row, column]] = log_proba[row, column, batch.labels[row, column]]
    mistaken = np.empty(tokens.n_tokens, dtype=bool)
    mistaken[batch.token_index[batch.is_answer]] = (log_proba.argmax(-1) != batch.labels)[batch.is_answer]
    return found, mistaken


# As many folds as groups: whatever the seed is, each group is left out once.
def test_held_out_errors_of_stumps_are_those_of_a_loop_over_left_out_groups():
    booster = stumps(errors="held-out", cv=30, n_estimators=3).fit(ROWS, LABELS)
    assert len(booster) == 3
    weight, alphas, errors = np.full(90, 1 / 90), [], []
    for member in booster.estimators_:
        missed = np.empty(90, dtype=bool)
        for others, fold in LeaveOneGroupOut().split(ROWS, LABELS, GROUPS):
            stump = clone(member).fit(ROWS[others], LABELS[others], sample_weight=weight[others])
            missed[fold] = stump.predict(ROWS[fold]) != LABELS[fold]
        again = clone(member).fit(ROWS, LABELS, sample_weight=weight)
        assert_array_equal(again.predict(ROWS), member.predict(ROWS))  # the member has seen all rows
        errors.append(weight @ missed)
        alphas.append(-logit(errors[-1]))
        weight = weight * np.exp(alphas[-1] * missed)
        weight /= weight.sum()
    assert_allclose(booster.estimator_errors_, errors)
    assert_allclose(booster.estimator_weights_, alphas)
    assert_array_equal(booster.alphas_, booster.estimator_weights_)
    assert_array_equal(booster.held_out_rows_, np.arange(90))
    assert booster.estimator_errors_[0] > stumps().fit(ROWS, LABELS).estimator_errors_[0]
    # Nothing is learned from labels that are drawn: the training error hides it, the held-out one ends it.
    coins = RNG.integers(2, size=90)
    with pytest.raises(WeakLearnerError, match="its weighted held-out error"):
        stumps(errors="held-out", cv=30).fit(RNG.normal(size=(90, 3)), coins)


def test_the_first_member_is_the_same_whatever_is_measured():
    for make, data in ((stumps, (ROWS, LABELS)), (bigrams, (PROMPTS, ANSWERS))):
        plain, held_out = make().fit(*data), make(errors="held-out", votes="held-out", cv=3, n_estimators=1).fit(*data)
        assert describe(plain.estimators_[0], "member") == describe(held_out.estimators_[0], "member")


@pytest.mark.parametrize("voting", ["hard", "soft"])
def test_votes_of_classifiers_have_the_least_log_loss_on_rows_that_no_member_saw(voting):
    tree = DecisionTreeClassifier(max_depth=2, min_samples_leaf=5)
    weight = RNG.uniform(0.5, 2.0, size=90)
    booster = LLMAdaBoostClassifier(
        tree, n_estimators=3, random_state=0, voting=voting, votes="held-out", validation_fraction=0.4
    ).fit(ROWS, LABELS, sample_weight=weight)
    held_out = booster.held_out_rows_
    seen = np.setdiff1d(np.arange(90), held_out)
    assert len(held_out) == 36
    assert not set(GROUPS[held_out]) & set(GROUPS[seen])
    first = clone(booster.estimators_[0]).fit(ROWS[seen], LABELS[seen], sample_weight=weight[seen])
    assert_array_equal(first.predict(ROWS), booster.estimators_[0].predict(ROWS))
    if voting == "soft":
        proba = np.stack([member.predict_proba(ROWS[held_out]) for member in booster.estimators_])
        with np.errstate(divide="ignore"):
            log_proba = np.log(proba[:, np.arange(36), LABELS[held_out]])
        expected = on_simplex(np.maximum(log_proba, -700), weight[held_out])
    else:
        codes = np.stack([2.0 * member.predict(ROWS[held_out]) - 1 for member in booster.estimators_], axis=1)
        share = weight[held_out] / weight[held_out].sum()
        free = LogisticRegression(C=1 / (2 * 1e-3), fit_intercept=False, tol=1e-10).fit(
            2 * codes, LABELS[held_out], sample_weight=share
        )
        expected = free.coef_[0]
        assert (expected > 0).all()  # so that the bound at 0 decides nothing
    assert_allclose(booster.estimator_weights_, np.maximum(expected, 1e-9 * expected.max()), atol=2e-4)
    assert not np.allclose(booster.alphas_ / booster.alphas_.sum(), expected / expected.sum(), atol=1e-2)


def test_errors_and_votes_of_tokens_are_those_of_a_loop_over_left_out_questions():
    params = {"sampling": "weight", "learning_rate": 0.1, "votes": "held-out", "errors": "held-out", "cv": 7}
    of_question = np.array([1.0, 4.0, 1.0, 2.0, 0.5, 3.0, 8.0])
    booster = bigrams(**params).fit(PROMPTS, ANSWERS, of_question)
    tokens = TokenDataset.for_learner(booster.estimators_[0], PROMPTS, ANSWERS)
    of_token = tokens.spread(of_question)
    weight, errors, alphas, log_proba = of_token / of_token.sum(), [], [], []
    prior = 1 - 1 / len(booster.estimators_[0].tokenizer_)
    for _ in booster.estimators_:
        missed, found = np.empty(tokens.n_tokens), np.empty(tokens.n_tokens)
        for row in range(7):
            others = np.flatnonzero(np.arange(7) != row)
            inside, outside = tokens.row_of_token != row, tokens.row_of_token == row
            learner = BigramLearner().fit(tokens.take(others), token_weight=tokens.n_tokens * weight[inside])
            found[outside], missed[outside] = token_log_proba(learner, tokens.take([row]))
        errors.append(weight @ missed)
        alphas.append(0.1 * (logit(prior) - logit(errors[-1])))
        log_proba.append(found)
        weight = weight * np.exp(alphas[-1] * missed)
        weight /= weight.sum()
    assert len(errors) == 3
    assert_allclose(booster.estimator_errors_, errors)
    assert_allclose(booster.alphas_, alphas)
    assert_allclose(booster.token_weight_, weight, atol=1e-12)
    expected = on_simplex(np.stack(log_proba), of_token)
    assert_allclose(booster.estimator_weights_, np.maximum(expected, 1e-9 * expected.max()), atol=2e-4)


def test_votes_of_a_part_that_is_held_out():
    easy = make_qa(60, random_state=0)
    weight = RNG.uniform(0.5, 2.0, size=60)
    booster = bigrams(votes="held-out", validation_fraction=0.3).fit(easy, sample_weight=weight)
    held_out = booster.held_out_rows_
    seen = np.setdiff1d(np.arange(60), held_out)
    assert len(held_out) == 18
    rest = bigrams().fit(easy[seen], sample_weight=weight[seen])  # boosting knows nothing of the part
    assert_allclose(booster.alphas_, rest.alphas_, rtol=1e-9)
    assert_allclose(booster.token_weight_, rest.token_weight_, rtol=1e-6)
    *_, last = booster.staged_token_weight(easy[seen], sample_weight=weight[seen])
    assert_allclose(last, booster.token_weight_, atol=1e-12)
    part = easy[held_out]  # there are options: what is right is one of them
    gold = [
        np.log(booster.with_votes(one).predict_proba(part)[np.arange(18), part.labels]) for one in np.eye(3)
    ]  # fmt: skip
    expected = on_simplex(np.stack(gold), weight[held_out])
    assert_allclose(booster.estimator_weights_, np.maximum(expected, 1e-9 * expected.max()), atol=2e-4)
    assert_array_equal(list(booster.staged_predict(part))[-1], booster.predict(part))


class Longest(PretrainedMixin, BaseEstimator):
    """Scores an option by its length, times how often it was shown that this is right."""

    def __init__(self, random_state=None):
        self.random_state = random_state

    def fit(self, questions, *, question_weight):
        pairs = zip(questions.answers, questions.choices, strict=True)
        right = [max(options, key=len) == answer for answer, options in pairs]
        self.slope_ = float(np.average(right, weights=question_weight))
        return self

    def option_scores(self, prompts, choices):
        return [[self.slope_ * len(option) for option in options] for options in choices]


def shapes(n):
    return QADataset(
        [f"Shape {row} ?" for row in range(n)], choices=[["box", "triangle", "ring"]] * n,
        labels=[(1, 1, 0, 1, 2)[row % 5] for row in range(n)],
    )  # fmt: skip


@pytest.mark.parametrize("cv", [None, 3])
@pytest.mark.parametrize("reweight", [True, False])
def test_members_that_read_differently_are_weighed_stopped_saved_and_read(tmp_path, cv, reweight):
    params = {
        "estimators": [BigramLearner(), Longest()], "unit": "option", "prior": "uniform", "random_state": 0,
        "votes": "held-out", "cv": cv, "reweight": reweight, "learning_rate": 0.1, "normalize": "token",
    }  # fmt: skip
    data = shapes(30)
    whole = TokenAdaBoostGenerator(n_estimators=4, **params).fit(data)
    assert whole.estimator_weights_.sum() == pytest.approx(1.0)
    stopped = TokenAdaBoostGenerator(n_estimators=2, checkpoint_dir=tmp_path / "rounds", **params).fit(data)
    resumed = clone(stopped).set_params(n_estimators=4).fit(data)
    for name in ("estimator_weights_", "alphas_", "estimator_errors_", "held_out_rows_", "token_weight_"):
        assert_array_equal(getattr(resumed, name), getattr(whole, name))
    whole.save_pretrained(tmp_path / "saved")
    loaded = TokenAdaBoostGenerator.from_pretrained(tmp_path / "saved")
    assert_array_equal(loaded.alphas_, whole.alphas_)
    assert_array_equal(loaded.predict_proba(data), whole.predict_proba(data))
    assert len(loaded.with_votes([1.0, 0.0]).alphas_) == 1


def test_stopped_classifiers_go_on_to_the_bit(tmp_path):
    params = {"votes": "held-out", "errors": "held-out", "cv": 4, "sampling": "resample", "voting": "soft"}
    params["learning_rate"] = 0.1
    whole = stumps(n_estimators=4, **params).fit(ROWS, LABELS)
    stumps(n_estimators=2, checkpoint_dir=tmp_path, **params).fit(ROWS, LABELS)
    resumed = stumps(n_estimators=4, checkpoint_dir=tmp_path, **params).fit(ROWS, LABELS)
    assert_array_equal(resumed.estimator_weights_, whole.estimator_weights_)
    assert_array_equal(resumed.predict_proba(ROWS), whole.predict_proba(ROWS))
    # Rounds that hold nothing out are the same for other votes.
    stumps(checkpoint_dir=tmp_path / "plain").fit(ROWS, LABELS)
    even = stumps(checkpoint_dir=tmp_path / "plain", votes="even").fit(ROWS, LABELS)
    assert_array_equal(even.alphas_, stumps().fit(ROWS, LABELS).estimator_weights_)


def test_even_votes_are_the_mean_and_leave_the_rounds_as_they_are():
    plain, even = stumps(voting="soft").fit(ROWS, LABELS), stumps(voting="soft", votes="even").fit(ROWS, LABELS)
    assert_array_equal(even.alphas_, plain.alphas_)
    assert_array_equal(plain.alphas_, plain.estimator_weights_)
    assert_array_equal(even.estimator_weights_, np.ones(4))
    mean = np.mean([member.predict_proba(ROWS) for member in plain.estimators_], axis=0)
    assert_allclose(even.predict_proba(ROWS), mean)
    assert_array_equal(bigrams(votes="even").fit(PROMPTS, ANSWERS).estimator_weights_, np.ones(3))


def test_new_parameters_leave_fingerprints_alone():
    for booster in (stumps(), bigrams(cv=3)):
        assert not {"votes", "errors", "cv", "validation_fraction"} & set(describe(booster, "booster")["parameters"])
    assert "cv" in describe(bigrams(votes="held-out"), "booster")["parameters"]
    assert {"cv", "validation_fraction"} <= set(describe(OpinionPool([]), "pool")["parameters"])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: stumps(votes="best").fit(ROWS, LABELS), "votes must be one of 'alpha', 'even', 'held-out'"),
        (lambda: bigrams(errors="oob").fit(PROMPTS, ANSWERS), "errors must be one of 'train', 'held-out'"),
        (lambda: bigrams(votes="held-out", cv=1).fit(PROMPTS, ANSWERS), "cv must be an integer of at least 2"),
        (lambda: stumps(votes="held-out", validation_fraction=1.0).fit(ROWS, LABELS), "validation_fraction must"),
        (lambda: bigrams(errors="held-out").fit(PROMPTS[:4], ANSWERS[:4]), "at least 5 different questions.*Got 4"),
        (lambda: bigrams(votes="held-out").fit(["a ?"] * 3, ["b"] * 3), "at least 2 different questions.*Got 1"),
        (lambda: bigrams(votes="held-out", combine="logits").fit(PROMPTS, ANSWERS), "combine must be 'probabilities'"),
        (
            lambda: stumps(errors="held-out", sampling="resample").fit(ROWS, GROUPS == 0),
            "y must hold two classes in at least two diff",
        ),
        (
            lambda: bigrams(votes="held-out", validation_fraction=0.1).fit(PROMPTS, ANSWERS, [1, 1, 0, 0, 0, 0, 0]),
            "sample_weight must be positive for some rows that are held out",
        ),
    ],
)
def test_what_cannot_be_held_out_is_refused_before_any_training(monkeypatch, make, message):
    for learner in (DecisionTreeClassifier, BigramLearner):
        monkeypatch.setattr(learner, "fit", lambda *args, **kwargs: pytest.fail("something was trained"))
    with pytest.raises(ValueError, match=message):
        make()


def test_weights_of_held_out_errors_cannot_be_computed_again():
    booster = bigrams(errors="held-out").fit(PROMPTS, ANSWERS)
    with pytest.raises(ValueError, match="errors must be 'train' for the weights to be computed again"):
        next(booster.staged_token_weight(PROMPTS, ANSWERS))
