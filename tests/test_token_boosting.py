"""TokenAdaBoostGenerator against Algorithm 1, its edges, and scikit-learn's habits."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from reference_boosting import boost
from scripted_learner import FIVE, TOKENIZER, WORDS, Scripted, scripted
from sklearn.base import clone
from sklearn.ensemble import AdaBoostClassifier
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.tree import DecisionTreeClassifier

from ensemw2s import (
    BigramLearner,
    EarlyStopWarning,
    QADataset,
    TokenAdaBoostGenerator,
    TokenDataset,
    WeakLearnerError,
)
from ensemw2s._inputs.questions import usable_questions
from ensemw2s.ensemble._boosting_loop import run_rounds
from ensemw2s.ensemble._checkpoint import Checkpoint
from ensemw2s.ensemble._held_out import Rows
from ensemw2s.ensemble._rounds import Rounds
from ensemw2s.ensemble._token_problem import TokenProblem
from ensemw2s.ensemble._units import make_unit

RNG = np.random.default_rng(0)
X = [f"{WORDS[a]} {WORDS[b]} ?" for a in range(6) for b in range(6)]
Y = [f"{WORDS[max(a, b)]} {WORDS[min(a, b)]}" for a in range(6) for b in range(6)]
CHOICES = [[answer, " ".join(reversed(answer.split())), "sun sun sun"] if answer.split()[0] != answer.split()[1]
           else [answer, "sun sun sun", "dog red"] for answer in Y]  # fmt: skip


def bigram(**kwargs):
    return BigramLearner(TOKENIZER, corpus=X, **kwargs)


def booster(**kwargs):
    settings = {"n_estimators": 4, "random_state": 0, "prior": "uniform", **kwargs}
    return TokenAdaBoostGenerator(settings.pop("estimator", bigram()), **settings)


# --- the loop --------------------------------------------------------------------------------------------------------


def test_rounds_equal_a_twenty_line_reference():
    fitted = booster(sampling="weight", n_estimators=6).fit(X, Y)
    learner = bigram().initialize()
    tokens = TokenDataset.for_learner(learner, X, Y)
    previous = np.concatenate([[0], tokens.labels[:-1]])
    previous[tokens.indptr[:-1]] = [tokens.row_ids(row)[0][-1] for row in range(len(tokens))]
    votes, errors, weights = boost(
        lambda weight: clone(bigram()).fit(tokens, token_weight=weight),
        lambda member: member.log_proba_[previous].argmax(axis=1),
        tokens.labels, 6, 1 - 1 / len(TOKENIZER),
    )  # fmt: skip
    assert len(votes) >= 2
    assert_allclose(fitted.estimator_weights_, votes, rtol=1e-9)
    assert_allclose(fitted.estimator_errors_, errors, rtol=1e-9)
    assert_allclose(fitted.token_weight_, weights[-1], rtol=1e-9)


def test_a_round_worked_by_hand():
    # n=5, one token wrong, e=.2, p=.6: alpha = ln 6, D = [.6, .1, .1, .1, .1] (design: Z = 2)
    model, log = scripted([0, 1, 2], [0], [1], n_estimators=2)
    model.fit(*FIVE)
    assert model.pretrained_error_ == pytest.approx(0.6)
    assert_allclose(model.estimator_errors_, [0.2, 0.1])
    assert model.estimator_weights_[0] == pytest.approx(np.log(6))
    assert_allclose(log[1]["token_weight"], 5 * np.array([0.6, 0.1, 0.1, 0.1, 0.1]))


def test_repeating_the_last_mistakes_is_no_better_than_the_prior():
    # after round 1 the mass on its mistakes is exactly p, so e = p, and equality breaks
    model, _ = scripted([0, 1, 2], [4], [4])
    model.fit(*FIVE)
    assert len(model.estimators_) == 1
    assert model.stop_reason_ == "error_above_prior"


@pytest.mark.parametrize("sampling", ["binary", "count"])
def test_training_weights_are_a_mask_or_counts_of_a_draw(sampling):
    model, log = scripted([0, 1, 2], [0], [1], n_estimators=1, sampling=sampling)
    model.fit(["q"] * 40, FIVE[1] * 40)
    weight = log[0]["token_weight"]
    assert weight.shape == (200,)
    if sampling == "binary":
        assert set(weight) == {0.0, 1.0}
        assert weight.mean() == pytest.approx(1 - np.exp(-1), abs=0.1)
    else:
        assert weight.sum() == 200
        assert weight.max() > 1


def test_one_token_answers_and_the_uniform_prior_give_scikit_learns_adaboost():
    # A stump on one binary feature per prompt word is what the scripted errors stand for: AdaBoost's own errors are
    # replayed token by token, so that votes and weights have to agree with scikit-learn's.
    features = RNG.random((60, 3))
    labels = (features.sum(axis=1) > 1.5).astype(int) + (features[:, 0] > 0.6)
    reference = AdaBoostClassifier(DecisionTreeClassifier(max_depth=1), n_estimators=5, random_state=0)
    reference.fit(features, labels)
    mistakes = [list(np.flatnonzero(tree.predict(features) != labels)) for tree in reference.estimators_]
    # K = 3 classes: the prior of the untrained model is set to 1 - 1/3 by its own mistakes on 40 of 60 tokens
    prior = list(range(40))
    model, _ = scripted(prior, *mistakes, n_estimators=5)
    tokens = TokenDataset(np.zeros(60, int), np.arange(61), np.full(60, 5), np.arange(61))
    model.check_parameters()
    unit = make_unit("token", model.estimator.initialize(), tokens, None, normalize="sum", window="tiling")
    weight = unit.initial_weight(np.full(60, 1 / 60))
    usable = usable_questions([f"q{row}" for row in range(60)])
    problem, checkpoint, rounds = (
        TokenProblem(model, [model.estimator], [unit], usable, None, Rows(model, 60, np.ones(60), (), "questions")),
        Checkpoint(None),
        Rounds(weight),
    )
    problem.start(np.random.RandomState(0), checkpoint, weight)
    run_rounds(model, problem, rounds, checkpoint)
    assert_allclose([each.vote for each in rounds.kept], reference.estimator_weights_, atol=1e-9)
    assert_allclose([each.error for each in rounds.kept], reference.estimator_errors_, atol=1e-9)


def test_a_round_depends_on_the_seed_and_its_number_alone():
    model, short = scripted([0, 1, 2], [0], [1], [2], n_estimators=2, sampling="binary", random_state=7)
    model.fit(*FIVE)
    model, long = scripted([0, 1, 2], [0], [1], [2], n_estimators=3, sampling="binary", random_state=7)
    model.fit(*FIVE)
    assert [entry["seed"] for entry in short] == [entry["seed"] for entry in long[:2]]
    assert len({entry["seed"] for entry in long}) == 3
    assert_array_equal(short[1]["token_weight"], long[1]["token_weight"])


def test_learning_rate_shrinks_the_votes():
    whole = booster(sampling="weight", n_estimators=1).fit(X, Y)
    half = booster(sampling="weight", n_estimators=1, learning_rate=0.5).fit(X, Y)
    assert_allclose(half.estimator_weights_, whole.estimator_weights_ / 2)


def test_sample_weight_is_shared_by_an_answers_tokens():
    model, log = scripted([0, 1], [0], n_estimators=1)
    model.fit(["q", "q"], ["red", "green blue"], sample_weight=[1.0, 3.0])
    # tokens 2 and 3; D_1 proportional to 1, 1, 3, 3, 3
    assert_allclose(log[0]["token_weight"], 5 * np.array([1, 1, 3, 3, 3]) / 11)
    assert_allclose(model.estimator_errors_, [1 / 11])


# --- edges -----------------------------------------------------------------------------------------------------------


def test_a_perfect_round_gets_a_finite_vote_and_ends_boosting():
    model, _ = scripted([0, 1, 2], [], [0])
    model.fit(*FIVE)
    assert model.stop_reason_ == "perfect_fit"
    assert_allclose(model.estimator_errors_, [0.0])
    assert model.estimator_weights_[0] == pytest.approx(np.log(9) + np.log(0.6 / 0.4))  # e clamped to 1/(2n) = .1


def test_a_first_round_above_the_prior_is_an_error_with_remedies():
    model, _ = scripted([0], [0, 1])
    with pytest.raises(WeakLearnerError, match=r"0\.4000, is not below the prior error, 0\.2000.*epochs.*lr.*sampling"):
        model.fit(*FIVE)


def test_a_first_round_above_the_prior_can_be_kept():
    model, _ = scripted([0], [0, 1], on_failure="keep")
    with pytest.warns(EarlyStopWarning, match="single member with vote 1"):
        model.fit(*FIVE)
    assert_array_equal(model.estimator_weights_, [1.0])
    assert model.stop_reason_ == "error_above_prior"


def test_a_later_round_above_the_prior_is_discarded():
    model, _ = scripted([0, 1, 2], [0], [0, 1, 2, 3], [4])
    model.fit(*FIVE)
    assert len(model.estimators_) == len(model.estimator_weights_) == len(model.estimator_errors_) == 1
    assert model.stop_reason_ == "error_above_prior"


@pytest.mark.parametrize(("mistakes", "message"), [([], "nothing to boost"), ([0, 1, 2, 3, 4], "prior='uniform'")])
def test_a_prior_of_0_or_1_is_refused_before_training(mistakes, message):
    model, log = scripted(mistakes, [0])
    with pytest.raises(WeakLearnerError, match=message):
        model.fit(*FIVE)
    assert log == []


def test_a_diverged_later_round_is_discarded_and_the_others_are_kept():
    class Diverging(Scripted):
        def __sklearn_clone__(self):
            return Diverging(self.mistakes, self.log, self.random_state)

        def fit(self, tokens, *, token_weight):
            super().fit(tokens, token_weight=token_weight)
            if self.round == 2:
                raise WeakLearnerError("The training loss is nan at step 3.")
            return self

    model = TokenAdaBoostGenerator(Diverging([[0, 1, 2], [0], [1]], []), sampling="weight", random_state=0)
    with pytest.warns(EarlyStopWarning, match="Round 2 was discarded.*loss is nan.*The round before it is kept"):
        model.fit(*FIVE)
    assert model.stop_reason_ == "diverged"
    assert len(model.estimators_) == 1


def test_a_diverged_first_round_raises():
    class Bad(Scripted):
        def __sklearn_clone__(self):
            return Bad(self.mistakes, self.log, self.random_state)

        def answer_logits(self, batch):
            return super().answer_logits(batch) * (np.nan if self.round else 1.0)

    with pytest.raises(WeakLearnerError, match="not finite"):
        TokenAdaBoostGenerator(Bad([[0, 1, 2], [0]], []), random_state=0).fit(*FIVE)


# --- units and priors ------------------------------------------------------------------------------------------------


def test_reweighted_prior_is_measured_under_the_current_weights():
    model, _ = scripted([0, 1, 2], [0], [3], n_estimators=2, prior="reweighted")
    model.fit(*FIVE)
    # D_2 = [.6, .1, .1, .1, .1]: the untrained model is wrong on .8 of it
    assert_allclose(model.prior_errors_, [0.6, 0.8])
    assert_allclose(model.estimator_errors_, [0.2, 0.1])


def test_uniform_prior_is_that_of_the_vocabulary():
    model, _ = scripted([0, 1, 2], [0], n_estimators=1, prior="uniform")
    model.fit(*FIVE)
    assert_allclose(model.prior_errors_, 1 - 1 / len(TOKENIZER))


def test_a_window_averages_the_errors_of_its_tokens():
    model, log = scripted([0, 1, 2, 3], [0], [1], n_estimators=2, unit=2)
    model.fit(*FIVE)  # windows {0, 1}, {2, 3}, {4}: errors .5 .5 0 0 0
    assert model.estimator_errors_[0] == pytest.approx(0.2)
    weight = log[1]["token_weight"]
    assert weight[0] == pytest.approx(weight[1])
    assert weight[0] > weight[2] == pytest.approx(weight[4])


def test_a_sliding_window_ends_with_its_token():
    model, log = scripted([0, 1, 2, 3], [1], [1], n_estimators=2, unit=2, window="sliding")
    model.fit(*FIVE)  # errors 0 1 0 0 0, windows {0}, {0, 1}, {1, 2}, ...: 0 .5 .5 0 0
    assert model.pretrained_error_ == pytest.approx((1 + 1 + 1 + 1 + 0.5) / 5)
    assert model.estimator_errors_[0] == pytest.approx(0.2)
    weight = log[1]["token_weight"]
    assert weight[1] == pytest.approx(weight[2])
    assert weight[1] > weight[0] == pytest.approx(weight[3]) == pytest.approx(weight[4])


@pytest.mark.parametrize("unit", ["token", "sample", "option"])
def test_only_windows_slide(unit):
    with pytest.raises(ValueError, match=rf"window='sliding' needs unit to be the length .* Got unit='{unit}'"):
        booster(unit=unit, window="sliding").fit(X, Y)
    with pytest.raises(ValueError, match="window must be one of 'tiling', 'sliding'"):
        booster(window="round").fit(X, Y)


def test_an_untrained_model_without_a_whole_answer_right_is_no_fault_of_the_data():
    answers = ["red", "green blue", "cat"]  # tokens 0-1, 2-4, 5-6; untrained, four of seven are wrong
    settings = {"sampling": "weight", "n_estimators": 1}
    model, _ = scripted([0, 2, 3, 5], [2], unit="sample", **settings)
    with pytest.raises(WeakLearnerError, match=r"no answer right in all of its tokens, .*unit='sample-mean'.*uniform'"):
        model.fit(["q"] * 3, answers)
    for remedy in ({"unit": "sample-mean"}, {"unit": "sample", "prior": "uniform"}):
        model, _ = scripted([0, 2, 3, 5], [2], **settings, **remedy)
        model.fit(["q"] * 3, answers)
        assert model.stop_reason_ == "n_estimators"
    model, log = scripted([0, 2, 3, 5], [2], [2], sampling="weight", n_estimators=2, unit="sample-mean")
    model.fit(["q"] * 3, answers)
    assert model.pretrained_error_ == pytest.approx((1 / 2 + 2 / 3 + 1 / 2) / 3)
    assert model.estimator_errors_[0] == pytest.approx((1 / 3) / 3)
    weight, vote = log[1]["token_weight"], model.estimator_weights_[0]
    assert_allclose(weight[2:5] / weight[0], np.exp(vote / 3))  # an answer's tokens all carry its weight


def test_a_window_as_long_as_the_answers_is_one_unit_per_answer():
    model, _ = scripted([0, 1, 2, 3], [0], n_estimators=1, unit=99)
    model.fit(["q", "q"], ["red", "green blue"])
    assert model.estimator_errors_[0] == pytest.approx(0.5 * 2 / 5)


def test_unit_sample_has_one_weight_per_answer_wrong_as_soon_as_a_token_is():
    model, log = scripted([0, 2, 4], [2], [0], n_estimators=2, unit="sample")
    model.fit(["q", "q", "q"], ["red", "green blue", "cat"])  # tokens 0-1, 2-4, 5-6
    assert_allclose(model.pretrained_error_, 2 / 3)
    assert_allclose(model.estimator_errors_[0], 1 / 3)
    # D_2: mass p = 2/3 on answer 1, whose tokens all carry it
    weight = log[1]["token_weight"]
    assert_allclose(weight[2:5] / weight[0], (2 / 3) / (1 / 6))


def test_unit_option_counts_questions_whose_gold_option_is_not_the_likeliest():
    data = QADataset(X, Y, CHOICES)
    model = booster(unit="option", n_estimators=3, sampling="weight", on_failure="keep")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", EarlyStopWarning)  # whether it beats chance is not the point here
        model.fit(data)
    first = model.with_votes([1.0])
    wrong = first.predict(data) != np.array(Y, dtype=object)
    assert model.estimator_errors_[0] == pytest.approx(wrong.mean())
    assert_allclose(model.prior_errors_, 1 - np.mean([1 / len(options) for options in CHOICES]))


def test_unit_option_without_options_is_refused():
    with pytest.raises(ValueError, match="choices must hold the options of every question"):
        booster(unit="option").fit(X, Y)


# --- predictions -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def fitted():
    return booster().fit(QADataset(X, Y, CHOICES))


def test_staged_methods_equal_truncated_ensembles(fitted):
    data = QADataset(X, Y, CHOICES)
    assert len(fitted.estimators_) >= 2
    stages = zip(
        fitted.staged_predict(data), fitted.staged_predict_proba(data), fitted.staged_score(data),
        fitted.staged_token_error(data), strict=True,
    )  # fmt: skip
    for t, (chosen, proba, score, error) in enumerate(stages, start=1):
        first = fitted.with_votes(fitted.estimator_weights_[:t])
        assert_array_equal(chosen, first.predict(data))
        assert_allclose(proba, first.predict_proba(data))
        assert score == pytest.approx(first.score(data))
        assert error == pytest.approx(first.token_error(data))
    assert t == len(fitted.estimators_)


def test_staged_predict_of_free_text_equals_truncated_ensembles(fitted):
    for t, texts in enumerate(fitted.staged_predict(X[:4]), start=1):
        assert_array_equal(texts, fitted.with_votes(fitted.estimator_weights_[:t]).predict(X[:4]))


def test_scores_without_options_are_of_the_texts_that_are_written(fitted):
    gold = [f" {fitted.predict(X)[0]} ", *Y[1:]]  # blanks around a text say nothing
    stages = [np.mean([text.strip() == right.strip() for text, right in zip(texts, gold, strict=True)])
              for texts in fitted.staged_predict(X)]  # fmt: skip
    assert list(fitted.staged_score(X, gold)) == stages
    assert fitted.score(X, gold) == fitted.credit(X, gold).mean() == stages[-1] > 0


def test_a_metric_of_texts_scores_chosen_options_as_well(fitted):
    def same_letter(said, right):
        return [a[0] == b[0] for a, b in zip(said, right, strict=True)]

    data = QADataset(X, Y, CHOICES)
    by_hand = [[a[0] == b[0] for a, b in zip(texts, Y, strict=True)] for texts in fitted.staged_predict(data)]
    weight = np.arange(len(X)) + 1.0
    assert list(fitted.staged_score(data, sample_weight=weight, metric=same_letter)) == [
        pytest.approx(np.average(row, weights=weight)) for row in by_hand
    ]
    with pytest.raises(ValueError, match=r"references must hold a number in each row. Got references\[0\]"):
        fitted.score(data, metric="number")


def test_predict_proba_rows_sum_to_one_and_absent_options_have_none(fitted):
    proba = fitted.predict_proba(X[:2], choices=[["red", "green", "blue"], ["cat", "dog"]])
    assert proba.shape == (2, 3)
    assert_allclose(proba.sum(axis=1), 1.0)
    assert proba[1, 2] == 0.0


def test_predict_takes_the_most_probable_option(fitted):
    data = QADataset(X, choices=CHOICES)
    best = fitted.predict_proba(data).argmax(axis=1)
    assert_array_equal(fitted.predict(data), [options[k] for options, k in zip(CHOICES, best, strict=True)])


def test_answer_nll_is_what_options_are_chosen_by(fitted):
    nll = fitted.answer_nll(X[:3], Y[:3])
    proba = fitted.predict_proba(X[:3], choices=[[y, "sun sun"] for y in Y[:3]])
    other = fitted.answer_nll(X[:3], ["sun sun"] * 3)
    assert_allclose(proba[:, 0], np.exp(-nll) / (np.exp(-nll) + np.exp(-other)))


def test_token_error_counts_wrong_tokens():
    model, _ = scripted([0, 1, 2], [1, 4], n_estimators=1)
    model.fit(*FIVE)
    assert model.token_error(*FIVE) == pytest.approx(2 / 5)


def test_generate_keeps_the_order_of_questions(fitted):
    one_by_one = [fitted.generate([question])[0] for question in X[:8]]
    assert fitted.generate(X[:8]) == one_by_one


def test_num_return_sequences_gives_lists(fitted):
    answers = fitted.generate(X[:3], num_return_sequences=2, num_beams=2)
    assert [len(several) for several in answers] == [2, 2, 2]


def test_the_length_of_a_generation_config_is_kept(fitted):
    from transformers import GenerationConfig

    short = fitted.generate(X[:4], generation_config=GenerationConfig(max_new_tokens=1, do_sample=False))
    assert short == fitted.generate(X[:4], max_new_tokens=1)
    assert all(len(text.split()) <= 1 for text in short)


@pytest.mark.parametrize("choices", [None, CHOICES])
def test_score_refuses_negative_weights(fitted, choices):
    with pytest.raises(ValueError, match="sample_weight"):
        fitted.score(X, Y, sample_weight=[-1.0] + [1.0] * (len(X) - 1), choices=choices)


def test_choosing_by_match_needs_no_refit(fitted):
    matching = clone(fitted, safe=False)
    matching.__dict__.update(fitted.__dict__)
    matching.choose = "match"
    assert set(matching.predict(X[:5], choices=CHOICES[:5])) <= {o for options in CHOICES for o in options}


# --- scikit-learn's habits -------------------------------------------------------------------------------------------


def test_same_seed_same_ensemble(fitted):
    again = booster().fit(QADataset(X, Y, CHOICES))
    assert_array_equal(again.estimator_weights_, fitted.estimator_weights_)
    assert_array_equal(again.token_weight_, fitted.token_weight_)


@pytest.mark.parametrize("convert", [list, np.array, lambda v: np.array(v, dtype=object)])
def test_columns_may_be_lists_or_arrays(convert, fitted):
    other = booster().fit(convert(X), convert(Y))
    assert_allclose(other.estimator_weights_, fitted.estimator_weights_)


def test_columns_may_be_pandas_or_a_dataset_column(fitted):
    import datasets
    import pandas as pd

    frame = pd.DataFrame({"question": X, "answer": Y}, index=range(100, 136))
    table = datasets.Dataset.from_pandas(frame)
    for source in (frame, table):
        other = booster().fit(source["question"], source["answer"])
        assert_allclose(other.estimator_weights_, fitted.estimator_weights_)


def test_nested_parameters_and_clone():
    model = booster()
    assert model.get_params()["estimator__smoothing"] == 1.0
    copied = clone(model).set_params(estimator__smoothing=2.0)
    assert copied.estimator.smoothing == 2.0
    assert model.estimator.smoothing == 1.0
    assert not hasattr(copied, "estimators_")


def test_grid_search_over_a_nested_parameter():
    search = GridSearchCV(booster(n_estimators=1), {"estimator__smoothing": [0.1, 10.0]}, cv=2)
    search.fit(X, Y)
    assert search.best_params_["estimator__smoothing"] in (0.1, 10.0)
    assert 0 <= search.best_score_ <= 1


def test_cross_validation_on_a_qa_dataset_scores_options():
    data = QADataset(X, Y, CHOICES)
    scores = cross_val_score(booster(n_estimators=1), data, Y, cv=3)
    assert scores.shape == (3,)
    assert np.isin(np.round(scores * 12), np.arange(13)).all()  # multiples of 1/12: questions, not tokens


def test_html_repr_shows_the_parameters():
    assert "n_estimators" in booster()._repr_html_()


def test_an_unfitted_booster_says_so():
    for ask in ("predict", "generate", "predict_proba", "score", "token_error"):
        with pytest.raises(NotFittedError):
            getattr(booster(), ask)(QADataset(X, Y, CHOICES))
    with pytest.raises(NotFittedError):
        next(booster().staged_score(X, Y))


def test_fit_leaves_its_input_untouched():
    questions, answers = list(X), list(Y)
    booster(n_estimators=1).fit(questions, answers)
    assert (questions, answers) == (X, Y)


# --- bad input, refused before any model is loaded -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (([], []), ValueError, "X must not be empty"),
        ((["a"], ["b", "c"]), ValueError, "X and y must have the same"),
        ((["a", None], ["b", "c"]), TypeError, r"X\[1\]"),
        ((["a", "b"], ["c", "  "]), ValueError, r"y\[1\]"),
        ((["a", "b"], ["c", 3]), TypeError, r"y\[1\]"),
        (("a", "b"), TypeError, "X must be a sequence"),
        ((["a"], None), ValueError, "y must hold the answers"),
        ((["a\ud800"], ["b"]), ValueError, r"X\[0\] cannot be written as UTF-8"),
        ((["a"], ["b"], [1.0, 2.0]), ValueError, "sample_weight"),
        ((["a"], ["b"], [-1.0]), ValueError, "sample_weight"),
        ((["a"], ["b"], [np.nan]), ValueError, "sample_weight"),
    ],
)
def test_bad_columns_are_named(arguments, error, message):
    model = TokenAdaBoostGenerator("no/such-model")  # would fail if it were loaded
    with pytest.raises(error, match=message):
        model.fit(*arguments)


@pytest.mark.parametrize(
    ("choices", "message"),
    [([["a", "c"]], r"must be one of choices\[0\]"), ([["b", "b"]], "choices"), ([["b"]], "choices")],
)
def test_bad_options_are_named(choices, message):
    with pytest.raises(ValueError, match=message):
        TokenAdaBoostGenerator("no/such-model").fit(["a"], ["b"], choices=choices)


@pytest.mark.parametrize(
    ("parameter", "value"),
    [
        ("n_estimators", 0), ("n_estimators", 1.5), ("learning_rate", 0.0), ("sampling", "both"), ("unit", "word"),
        ("unit", 0), ("unit", True), ("combine", "votes"), ("prior", "flat"), ("choose", "best"),
        ("normalize", "byte"), ("on_failure", "ignore"),
    ],
)  # fmt: skip
def test_bad_parameters_are_named(parameter, value):
    with pytest.raises((ValueError, TypeError), match=f"^{parameter} must"):
        TokenAdaBoostGenerator("no/such-model", **{parameter: value}).fit(["a"], ["b"])


def test_a_model_id_stands_for_a_causal_language_model():
    from ensemw2s import HFCausalLM

    assert isinstance(TokenAdaBoostGenerator("some/model")._base_estimators()[0], HFCausalLM)


def test_even_votes_have_a_name(fitted):
    assert fitted.with_votes("even").estimator_weights_.tolist() == [1.0] * len(fitted.estimators_)
    with pytest.raises(ValueError, match="votes must be"):
        fitted.with_votes("uneven")


def test_too_many_votes_are_refused(fitted):
    with pytest.raises(ValueError, match="votes must have at most"):
        fitted.with_votes(np.ones(99))


def test_each_member_writes_free_text_of_its_own():
    X, y = ["Sky?", "Sea?", "Leaf?"], ["blue", "teal", "green"]
    booster = TokenAdaBoostGenerator(BigramLearner(), n_estimators=3, prior="uniform", random_state=0).fit(X, y)
    for member, answers in zip(booster.estimators_, booster.member_predictions(X), strict=True):
        alone = booster.with_votes([1.0])
        alone.estimators_ = [member]
        assert list(answers) == list(alone.predict(X))
