"""OpinionPool: the pools by their definitions, weights from held-out questions alone, and a teacher like any other."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import pytest
from scipy.optimize import approx_fprime
from sklearn.base import BaseEstimator, clone
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.tree import DecisionTreeClassifier
from tiny_models import TEMPLATE, reference_log_proba, tiny_learner, tiny_llama

from ensemw2s import (
    BigramLearner,
    CheckpointError,
    FineTunedGenerator,
    HFVerifier,
    OpinionPool,
    PretrainedMixin,
    PseudoLabeler,
    QADataset,
    TokenDataset,
    W2SPipeline,
    WeakLearnerError,
    byte_tokenizer,
)
from ensemw2s.ensemble._pool_weights import centred, fit_linear, fit_logarithmic, pooled_log_proba

RNG = np.random.default_rng(0)
N_CHOICES = np.array([2, 3, 4, 3, 2] * 8)
EXISTS = np.arange(4) < N_CHOICES[:, None]
LABELS = np.array([row % n for row, n in enumerate(N_CHOICES)])
SCORES = np.stack([
    3.0 * (np.arange(4) == LABELS[:, None]) + RNG.normal(size=(40, 4)) * 3.0,
    20.0 * (np.arange(4) == LABELS[:, None]) + RNG.normal(size=(40, 4)) * 20.0 + 5.0,
    RNG.normal(size=(40, 4)) - 2.0 * (np.arange(4) == LABELS[:, None]),  # worse than chance
])  # fmt: skip
QUESTION_WEIGHT = RNG.uniform(0.5, 2.0, size=40)


def loop_log_proba(scores, scales, weights):
    """The logarithmic pool by its definition, a dictionary of options per question."""
    found = []
    for row, n_options in enumerate(N_CHOICES.tolist()):
        energy = [
            sum(w * scores[g][row][k] / c for g, (w, c) in enumerate(zip(weights, scales, strict=True)))
            for k in range(n_options)
        ]
        found.append([e - np.log(sum(np.exp(other) for other in energy)) for e in energy])
    return found


def test_logarithmic_pool_and_its_weights_are_those_of_the_definition():
    scales, share = np.array([2.0, 30.0, 1.0]), QUESTION_WEIGHT / QUESTION_WEIGHT.sum()
    scaled = centred(SCORES, EXISTS) / scales[:, None, None]

    def objective(weights):
        rows = loop_log_proba(SCORES, scales, weights)
        loss = -sum(q * row[label] for q, row, label in zip(share, rows, LABELS, strict=True))
        return loss + 1e-3 * float(weights @ weights)

    best = fit_logarithmic(scaled, EXISTS, LABELS, QUESTION_WEIGHT)
    slope = approx_fprime(best, objective, 1e-7)
    assert (best[:2] > 0.1).all()
    np.testing.assert_allclose(slope[:2], 0.0, atol=1e-5)
    assert best[2] == 0.0
    assert slope[2] > 1e-3  # a weight below 0 would be better, and is not allowed
    pooled = pooled_log_proba(scaled, EXISTS, np.array([[0.3, 1.2, 0.4]]), logarithmic=True)[0]
    for row, wanted in enumerate(loop_log_proba(SCORES, scales, [0.3, 1.2, 0.4])):
        np.testing.assert_allclose(pooled[row, : len(wanted)], wanted, atol=1e-12)
        assert np.isneginf(pooled[row, len(wanted) :]).all()


def test_linear_pool_and_its_weights_are_those_of_expectation_maximisation():
    scores = centred(SCORES, EXISTS)
    proba = np.where(EXISTS, np.exp(SCORES - SCORES.max(axis=2, keepdims=True)), 0.0)
    proba /= proba.sum(axis=2, keepdims=True)
    gold, share = proba[:, np.arange(40), LABELS], QUESTION_WEIGHT / QUESTION_WEIGHT.sum()
    weights = np.full(3, 1 / 3)
    for _ in range(20_000):
        weights = (weights[:, None] * gold / (weights @ gold)) @ share
    found = fit_linear(scores, EXISTS, LABELS, QUESTION_WEIGHT)
    np.testing.assert_allclose(found, weights, atol=1e-4)
    pooled = np.exp(pooled_log_proba(scores, EXISTS, np.array([[1.0, 2.0, 1.0]]), logarithmic=False)[0])
    np.testing.assert_allclose(pooled, np.tensordot([0.25, 0.5, 0.25], proba, axes=1), atol=1e-12)


def test_options_that_an_expert_excludes_are_the_least_probable():
    scores = np.array([[[0.0, -np.inf, -1.0], [-np.inf, -np.inf, -np.inf]]])
    exists = np.ones((2, 3), dtype=bool)
    pooled = pooled_log_proba(centred(scores, exists), exists, np.ones((1, 1)), logarithmic=True)
    np.testing.assert_allclose(np.exp(pooled[0]), [[0.73106, 0.0, 0.26894], [1 / 3] * 3], atol=1e-5)


class ByHeart(PretrainedMixin, BaseEstimator):
    """Right on what it was trained on, and nowhere else."""

    def __init__(self, *, random_state=None):
        self.random_state = random_state

    def fit(self, questions, *, question_weight):
        self.known_ = dict(zip(questions.prompts, questions.answers, strict=True))
        self.weight_ = question_weight
        return self

    def option_scores(self, prompts, choices):
        return [
            [float(self.known_.get(prompt, options[0]) == option) for option in options]
            for prompt, options in zip(prompts, choices, strict=True)
        ]


class ByLength(PretrainedMixin, BaseEstimator):
    """Prefers long options, as `noise` allows."""

    def __init__(self, *, noise=0.0):
        self.noise = noise

    def fit(self, X, y=None, sample_weight=None):
        self.n_rows_ = len(X)
        return self

    def predict_proba(self, X):
        noise = [hash_unit(f"{self.noise} {prompt}") for prompt in X.prompts]
        energy = [
            [len(option) + self.noise * value * (-1) ** place for place, option in enumerate(options)]
            for value, options in zip(noise, X.choices, strict=True)
        ]
        proba = np.zeros((len(X), int(X.n_choices.max())))
        for row, entries in zip(proba, energy, strict=True):
            row[: len(entries)] = np.exp(entries) / np.exp(entries).sum()
        return proba


def hash_unit(text):
    return (sum(map(ord, text)) * 7919 % 1000) / 500 - 1


def questions(n, start=0):
    """The longest option is right, in four of five."""
    choices = [(("a", "bb"), ("cc", "d"), ("e", "ff", "g"))[row % 3] for row in range(start, start + n)]
    longest = [max(range(len(options)), key=lambda k: len(options[k])) for options in choices]
    labels = [k if row % 5 else 1 - min(k, 1) for row, k in enumerate(longest)]
    return QADataset([f"Q{row}" for row in range(start, start + n)], choices=choices, labels=labels)


def pool_of(*experts, **parameters):
    return OpinionPool(list(experts), **{"random_state": 0, **parameters})


def test_weights_come_from_questions_that_no_expert_was_trained_on():
    easy = questions(50)
    fitted = pool_of(ByHeart(), ByLength()).fit(easy)
    trained_on = set(fitted.experts_[0].known_)
    assert len(fitted.held_out_rows_) == 10
    assert trained_on == {easy.prompts[row] for row in range(50) if row not in fitted.held_out_rows_}
    assert fitted.weights_[0] == pytest.approx(0.0, abs=0.05)  # it knows its training questions alone
    assert fitted.weights_[1] > 0.3
    held_out = easy[fitted.held_out_rows_]
    proba = fitted.predict_proba(held_out)[np.arange(10), held_out.labels]
    assert fitted.held_out_log_loss_ == pytest.approx(-np.log(proba).mean(), abs=1e-9)
    wrong = [1.0 - expert_credit(expert, held_out) for expert in fitted.experts_]
    np.testing.assert_allclose(fitted.estimator_errors_, np.mean(wrong, axis=1))


def expert_credit(expert, asked):
    """1 for a right option, its share where it is one of tied ones."""
    if hasattr(expert, "option_scores"):
        rows = [np.array(row) for row in expert.option_scores(asked.prompts, asked.choices)]
    else:
        rows = [row[:n] for row, n in zip(expert.predict_proba(asked), asked.n_choices, strict=True)]
    pairs = zip(rows, asked.labels, strict=True)
    return np.array([float(row[label] == row.max()) / np.sum(row == row.max()) for row, label in pairs])


def test_with_folds_each_question_is_scored_unseen_and_the_experts_are_trained_on_all(monkeypatch):
    easy, seen = questions(20), []
    scores = ByHeart.option_scores

    def watched(self, prompts, choices):
        seen.append((set(self.known_), set(prompts)))
        return scores(self, prompts, choices)

    monkeypatch.setattr(ByHeart, "option_scores", watched)
    fitted = pool_of(ByHeart(), ByLength(), cv=4).fit(easy, sample_weight=np.arange(1.0, 21.0))
    assert len(seen) == 4
    assert all(not known & asked and len(known | asked) == 20 for known, asked in seen)
    assert sorted(prompt for _, asked in seen for prompt in asked) == sorted(easy.prompts)
    assert set(fitted.experts_[0].known_) == set(easy.prompts)
    np.testing.assert_allclose(fitted.experts_[0].weight_, np.arange(1.0, 21.0) / 10.5)
    assert len(fitted.held_out_rows_) == 20


def test_equal_questions_are_held_out_together():
    easy = questions(10)
    other = 1 - np.minimum(easy.labels, 1)
    twice = QADataset(easy.prompts * 2, choices=easy.choices * 2, labels=[*easy.labels, *other])
    fitted = pool_of(ByHeart(), ByLength()).fit(twice)
    held_out = {twice.prompts[row] for row in fitted.held_out_rows_}
    assert len(fitted.held_out_rows_) == 2 * len(held_out)
    assert not held_out & set(fitted.experts_[0].known_)


def test_fitted_experts_are_used_as_they_are():
    expert = ByHeart().fit(questions(20), question_weight=np.ones(20))
    known = dict(expert.known_)
    fitted = OpinionPool([expert, ByLength().fit(questions(5))], prefit=True).fit(questions(30, start=20))
    assert fitted.experts_[0] is expert
    assert len(fitted.held_out_rows_) == 30
    frozen = pool_of(FrozenEstimator(ByLength().fit(questions(5))), ByHeart()).fit(questions(20))
    assert frozen.experts_[0].n_rows_ == 5
    assert expert.known_ == known
    with pytest.raises(NotFittedError):
        OpinionPool([expert, HFVerifier(tiny_llama)], prefit=True).fit(questions(20))


@pytest.mark.parametrize("pool", ["logarithmic", "linear"])
def test_even_and_given_weights(pool):
    easy, test = questions(80), questions(15, start=80)
    experts = ByLength(noise=0.5), ByLength(noise=1.0)
    even = pool_of(*experts, pool=pool, weights="even").fit(easy)
    assert even.weights_[0] == even.weights_[1] > 0
    if pool == "linear":
        mean = sum(expert.predict_proba(test) for expert in even.experts_) / 2
        np.testing.assert_allclose(even.predict_proba(test), mean, atol=1e-9)
    given = pool_of(*experts, pool=pool, weights=[0.0, 2.0]).fit(easy)
    assert np.array_equal(given.weights_, [0.0, 2.0])
    best = given.experts_[1].predict_proba(test).argmax(axis=1)
    assert np.array_equal(given.predict_proba(test).argmax(axis=1), best)
    best_fit = pool_of(*experts, pool=pool).fit(easy)
    assert best_fit.held_out_log_loss_ <= even.held_out_log_loss_ + 1e-9


def test_other_votes():
    test = questions(15, start=60)
    fitted = pool_of(ByLength(noise=1.0), ByLength(noise=3.0), ByHeart()).fit(questions(60))
    assert np.array_equal(fitted.predict_under([fitted.weights_], test)[0], fitted.predict(test))
    first = fitted.with_votes(fitted.estimator_weights_[:1])
    assert len(first.experts_) == len(first.scales_) == 1
    alone, other = fitted.predict_under([[7.0, 0.0, 0.0], [0.0, 0.1, 0.0]], test)
    assert np.array_equal(first.predict(test), alone)
    right = other == np.asarray(test.answers, dtype=object)
    np.testing.assert_allclose(fitted.judge_under([[0.0, 1.0, 0.0]], test)[1][0], right)
    assert (fitted.estimator_weights_ > 0).all()
    members = fitted.member_predictions(test)
    assert np.array_equal(members[0], alone)
    for said, options, proba in zip(members[1], test.choices, fitted.experts_[1].predict_proba(test), strict=True):
        assert proba[options.index(said)] == proba.max()
    assert not hasattr(first, "held_out_log_loss_")
    assert np.array_equal(fitted.with_votes([1.0, 1.0]).with_votes([2.0]).predict(test), alone)
    assert np.array_equal(fitted.with_votes("even").weights_, np.full(3, fitted.weights_.sum() / 3))
    assert fitted.estimators_ is fitted.experts_
    assert not hasattr(clone(fitted), "estimators_")
    with pytest.raises(ValueError, match=r"votes must be one of 'even'\. Got 'uniform'"):
        fitted.with_votes("uniform")
    with pytest.raises(ValueError, match=r"votes must have at most 3 entries\. Got 4"):
        fitted.with_votes(np.ones(4))
    with pytest.raises(ValueError, match="votes must hold 3 finite numbers in each vector, none negative and one"):
        fitted.predict_under([[0.0, 0.0, 0.0]], test)


def test_an_unknown_pool_is_not_read_as_another():
    fitted = pool_of(BigramLearner(), BigramLearner()).fit(questions(30)).set_params(pool="log")
    with pytest.raises(ValueError, match="pool must be one of 'logarithmic', 'linear'"):
        fitted.predict(questions(12, start=30))


def verifier(**parameters):
    settings = {"tokenizer": byte_tokenizer(), "prompt_template": TEMPLATE, "C": 1.0}
    return HFVerifier(tiny_llama, **{**settings, **parameters})


def test_a_generator_and_a_verifier_are_pooled_saved_and_read(tmp_path):
    easy, test = questions(30), questions(12, start=30)
    fitted = pool_of(BigramLearner(), verifier()).fit(easy)
    assert isinstance(fitted.experts_[0], FineTunedGenerator)
    assert fitted.error_correlation_.shape == (2, 2)
    # by hand: log-likelihoods and scores, centred, on one scale
    scores = [-fitted.experts_[0]._option_nll(test)[0], fitted.experts_[1].decision_function(test)]
    for row, (options, proba) in enumerate(zip(test.choices, fitted.predict_proba(test), strict=True)):
        energy = sum(
            w * score[row, : len(options)] / c
            for w, score, c in zip(fitted.weights_, scores, fitted.scales_, strict=True)
        )
        np.testing.assert_allclose(proba[: len(options)], np.exp(energy) / np.exp(energy).sum(), atol=1e-6)
    shown = fitted._repr_html_()
    assert fitted._described_members()["member_names"][1] == "HFVerifier(tiny_llama), frozen"
    for text in ("logarithmic pool of 2 experts", "FineTunedGenerator, BigramLearner", f"{fitted.weights_[1]:.3f}"):
        assert text in shown
    fitted.save_pretrained(tmp_path / "pool", include_base=True)
    again = OpinionPool.from_pretrained(tmp_path / "pool")
    assert np.array_equal(again.predict_proba(test), fitted.predict_proba(test))
    np.testing.assert_allclose(clone(again).fit(easy).weights_, fitted.weights_, atol=1e-6)


def test_experts_of_one_base_share_it_in_memory_and_in_a_folder(tmp_path):
    easy = questions(12)
    experts = [FineTunedGenerator(tiny_learner(), zero_shot=True).fit(easy), verifier().fit(easy)]
    OpinionPool(experts, prefit=True).fit(easy).save_pretrained(tmp_path / "pool", include_base=True)
    assert [path.name for path in sorted((tmp_path / "pool").glob("base*"))] == ["base"]
    read = OpinionPool.from_pretrained(tmp_path / "pool").experts_
    assert read[0].estimators_[0]._host() is read[1]._host()


def test_the_report_has_each_expert_and_what_they_could_gain():
    easy, hard, test = questions(30), questions(20, start=30), questions(40, start=50)
    pipeline = W2SPipeline(pool_of(ByLength(noise=3.0), ByHeart(), ByLength(noise=9.0)), pool_of(ByLength(), ByHeart()))
    report = pipeline.fit(easy, None, hard.drop_answers(), hard.answers).evaluate(test)
    for student, labels in (
        (pipeline.oracle_, hard.answers),
        (pipeline.student_, pipeline.weak_.predict(hard)),
        (pipeline.baseline_, pipeline.weak_.member_predictions(hard)[0]),
    ):  # one form, taught by different labels
        alone = pool_of(ByLength(), ByHeart()).fit(hard.drop_answers(), list(labels))
        assert np.array_equal(student.predict_proba(test), alone.predict_proba(test))
    assert report.member_names == ["ByLength", "ByHeart", "ByLength"]
    credit = np.array([expert_credit(expert, test) for expert in pipeline.weak_.experts_])
    np.testing.assert_allclose(report.member_correct, credit)
    frame = report.to_frame()
    rows = [
        f"weak {row}" for row in ("(first member), ByLength", "ensemble, held-out votes", "ensemble, uniform votes")
    ]
    assert set(rows) | {"weak, expert 2, ByHeart", "weak, expert 3, ByLength"} < set(frame.index)
    assert frame.loc["weak, expert 3, ByLength", "accuracy"] == pytest.approx(credit[2].mean())
    found, said = report.diversity(), pipeline.weak_.member_predictions(test)
    assert found["oracle"] == pytest.approx(credit.max(axis=0).mean())
    assert found["disagreement"] == pytest.approx(np.mean([said[i] != said[j] for i, j in ((0, 1), (0, 2), (1, 2))]))
    wrong = said != np.asarray(test.answers, dtype=object)
    assert found["error_correlation"] == pytest.approx(np.corrcoef(wrong.astype(float))[np.triu_indices(3, 1)].mean())


@pytest.mark.slow
@pytest.mark.parametrize("labels", ["hard", "soft"])
def test_a_pool_teaches_and_learns_in_the_pipeline(tmp_path, labels):
    easy, hard, test = questions(30), questions(20, start=30), questions(20, start=50)
    pipeline = W2SPipeline(
        pool_of(BigramLearner(), ByLength()), pool_of(ByLength(), verifier()), labeler=PseudoLabeler(labels=labels),
        checkpoint_dir=tmp_path / "run",
    ).fit(easy, None, hard.drop_answers(), hard.answers)  # fmt: skip
    report = pipeline.evaluate(test)
    assert sorted(report.correct) == ["baseline", "ensemble", "oracle", "student", "uniform", "weak"]
    assert np.array_equal(report.correct["ensemble"], pipeline.weak_.credit(test))
    assert np.array_equal(report.correct["weak"], pipeline.weak_.experts_[0].credit(test))
    assert pipeline.pseudo_labels_.proba.shape == (20, 3)
    assert "boosting ended" not in str(report)
    assert not list((tmp_path / "run").glob("*-experts"))  # the stages hold them
    again = clone(pipeline).fit(easy, None, hard.drop_answers(), hard.answers)
    assert np.array_equal(again.student_.predict_proba(test), pipeline.student_.predict_proba(test))
    pipeline.save_pretrained(tmp_path / "saved", include_base=True)
    read = W2SPipeline.from_pretrained(tmp_path / "saved")
    assert np.array_equal(read.student_.predict_proba(test), pipeline.student_.predict_proba(test))


class Counted(ByLength):
    """Fails in its first training, if it is told to, and counts all of them."""

    trainings: ClassVar[list[int]] = []
    fails = False

    def fit(self, X, y=None, sample_weight=None):
        if Counted.fails:
            raise RuntimeError("power cut")
        self.trainings.append(len(X))
        return super().fit(X)


def test_trainings_are_committed_one_by_one(tmp_path, monkeypatch):
    easy, test = questions(30), questions(10, start=30)
    monkeypatch.setattr(Counted, "trainings", [])
    pool = OpinionPool([ByHeart(), Counted(), Counted(noise=1.0)], cv=2, checkpoint_dir=tmp_path / "run")
    monkeypatch.setattr(Counted, "fails", True)
    with pytest.raises(RuntimeError, match="power cut"):
        pool.fit(easy)
    assert (tmp_path / "run" / "expert-0001").is_dir()
    monkeypatch.setattr(Counted, "fails", False)
    fitted = clone(pool).fit(easy)
    assert Counted.trainings == [15, 15, 15, 15, 30, 30]
    again = clone(pool).set_params(pool="linear").fit(easy)  # the experts are the same
    assert len(Counted.trainings) == 6
    assert again.pool == "linear"
    assert np.array_equal(again.held_out_rows_, fitted.held_out_rows_)
    assert np.array_equal(clone(pool).fit(easy).predict_proba(test), fitted.predict_proba(test))
    with pytest.raises(CheckpointError, match="was begun with other data or settings"):
        clone(pool).fit(questions(31))


def test_experts_that_know_nothing_get_even_weights_and_a_warning():
    easy = QADataset([f"Q{row}" for row in range(20)], choices=[["a", "bb"]] * 20, labels=[0] * 20)
    with pytest.warns(UserWarning, match="No expert tells the right options") as warned:
        fitted = pool_of(ByLength(), ByLength(noise=0.1)).fit(easy)
    assert warned[0].filename == __file__
    assert np.array_equal(fitted.weights_, [0.5, 0.5])


def test_what_is_out_of_order_is_said_before_any_expert_is_trained(monkeypatch):
    easy = questions(20)
    held_out = pool_of(ByLength(), ByHeart()).fit(easy).held_out_rows_
    of_others = np.ones(20)
    of_others[held_out] = 0.0
    long = QADataset([*easy.prompts, "long " * 30], choices=[*easy.choices, ["a", "bb"]], labels=[*easy.labels, 1])
    monkeypatch.setattr(ByLength, "fit", lambda *args, **kwargs: pytest.fail("something was trained"))
    frozen = FrozenEstimator(ByHeart())
    for experts, data, weight, error, message in (
        ([ByLength(), verifier()], long, None, ValueError, "^Row 20 is 15. tokens long"),
        ([ByLength(), verifier(C=-1.0)], easy, None, ValueError, "C must be > 0"),
        ([ByLength(), verifier(layers=99)], easy, None, ValueError, "layers must hold numbers from"),
        ([ByLength(), pool_of(ByHeart(), pool="x")], easy, None, ValueError, r"experts\[1\]: pool must be one of"),
        ([ByLength(), ByHeart()], easy, of_others, ValueError, "positive for some questions that are held out"),
        ([ByLength(), ByHeart()], easy, 1.0 - of_others, ValueError, "positive for some questions that are to train"),
        ([ByLength(), frozen], easy, None, NotFittedError, r"experts\[1\] must be fitted .*as a FrozenEstimator"),
    ):
        with pytest.raises(error, match=message):
            pool_of(*experts).fit(data, sample_weight=weight)
    with pytest.raises(NotFittedError, match=r"experts\[0\] must be fitted with prefit=True"):
        pool_of(ByLength(), prefit=True).fit(easy)


def test_small_weights_that_are_given_stay():
    fitted = pool_of(ByLength(), ByHeart(), weights=[1e-8, 3e-8], pool="linear").fit(questions(20))
    assert fitted.weights_.tolist() == [1e-8, 3e-8]


def test_rows_that_do_not_fit_an_expert_are_skipped():
    easy = questions(20)
    rows = QADataset([*easy.prompts, "long " * 30], choices=[*easy.choices, ["a", "bb"]], labels=[*easy.labels, 1])
    fitted = pool_of(ByLength(), verifier(), on_bad_row="skip").fit(rows)
    assert [row for row, _ in fitted.skipped_rows_] == [20]
    with pytest.raises(ValueError, match="Row 0 is 15"):
        fitted._length_check()(rows[[20]], [0])


@pytest.mark.parametrize(
    ("parameters", "error", "message"),
    [
        ({"experts": []}, TypeError, "experts must be a list of at least one expert"),
        ({"experts": [DecisionTreeClassifier()]}, TypeError, r"experts\[0\] must be a generator, a verifier"),
        ({"pool": "geometric"}, ValueError, "pool must be one of 'logarithmic', 'linear'"),
        ({"weights": "best"}, ValueError, "weights must be one of 'held-out', 'even'"),
        ({"weights": [1.0]}, ValueError, r"weights must have shape \(2,\), one per expert"),
        ({"cv": 1}, ValueError, "cv must be an integer of at least 2"),
        ({"cv": 3, "prefit": True}, ValueError, "cv must be None where prefit=True"),
        ({"cv": 30}, ValueError, "X must hold at least 30 different questions"),
        ({"validation_fraction": 1.0}, ValueError, r"validation_fraction must lie in \(0, 1\)"),
    ],
)
def test_parameters_out_of_order_are_named(parameters, error, message):
    with pytest.raises(error, match=message):
        pool_of(ByHeart(), ByLength()).set_params(**parameters).fit(questions(20))


def test_scores_that_are_none_are_refused():
    class Broken(ByLength):
        def predict_proba(self, X):
            return super().predict_proba(X) * np.nan

    with pytest.raises(WeakLearnerError, match=r"Broken\.predict_proba must return probabilities of shape"):
        pool_of(Broken(), ByLength()).fit(questions(20))
    with pytest.raises(NotFittedError):
        pool_of(ByLength()).predict(questions(3))


def test_an_expert_without_weights_is_named():
    class Unweighted(ByLength):
        def fit(self, X, y=None):
            return super().fit(X)

    with pytest.raises(TypeError, match=r"experts\[1\], a Unweighted, has no sample_weight in fit"):
        pool_of(ByLength(), Unweighted()).fit(questions(20), sample_weight=np.ones(20))


def test_a_model_as_it_comes_is_an_expert(tmp_path):
    easy = questions(20)
    learner = tiny_learner()
    generator = FineTunedGenerator(learner, zero_shot=True).fit(easy)
    untrained = learner.initialize()
    for row, options in enumerate(easy.choices[:3]):
        tokens = TokenDataset.for_learner(untrained, [easy.prompts[row]] * len(options), options)
        log_proba = [
            sum(
                reference_log_proba(untrained, [*prompt, *answer])[len(prompt) - 1 + place, token]
                for place, token in enumerate(answer)
            )
            for prompt, answer in map(tokens.row_ids, range(len(options)))
        ]
        proba = np.exp(log_proba) / np.exp(log_proba).sum()
        np.testing.assert_allclose(generator.predict_proba(easy[[row]])[0], proba, atol=1e-4)
    generator.save_pretrained(tmp_path / "zero", include_base=True)
    read = FineTunedGenerator.from_pretrained(tmp_path / "zero")
    assert np.array_equal(read.predict_proba(easy), generator.predict_proba(easy))
    with pytest.raises(ValueError, match="zero_shot must be True or False"):
        FineTunedGenerator(learner, zero_shot="yes").fit(easy)
