"""RoundsDisplay: votes, errors and accuracies by round."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import make_classification
from sklearn.tree import DecisionTreeClassifier
from sweep_frames import GEMMA, QWEN, SMOL, round_frame

from ensemw2s import (
    BigramLearner,
    FineTunedGenerator,
    LLMAdaBoostClassifier,
    RoundsDisplay,
    TokenAdaBoostGenerator,
    make_qa,
)


@pytest.fixture(autouse=True)
def no_figure_is_left():
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def booster():
    return TokenAdaBoostGenerator(BigramLearner(), n_estimators=3, prior="uniform", random_state=0).fit(
        make_qa(60, random_state=0)
    )


@pytest.fixture(scope="module")
def held_out():
    return make_qa(50, random_state=1)


def drawn(container):
    return container[0].get_ydata()


def legend_texts(display):
    return [text.get_text() for text in display.legend_.get_texts()]


def test_a_booster_gives_votes_errors_and_priors(booster):
    display = RoundsDisplay.from_estimator(booster)
    assert list(display.errorbars_) == ["vote", "error"]
    assert drawn(display.errorbars_["vote"][0]) == pytest.approx(booster.estimator_weights_)
    assert drawn(display.errorbars_["error"][0]) == pytest.approx(booster.estimator_errors_)
    (prior,) = display.prior_lines_
    assert prior.get_ydata() == pytest.approx(booster.prior_errors_)
    assert prior.get_linestyle() == "--"


def test_test_questions_add_accuracy_token_error_and_chance(booster, held_out):
    display = RoundsDisplay.from_estimator(booster, held_out)
    first = [booster.with_votes(booster.estimator_weights_[:t]) for t in (1, 2, 3)]
    right = [one.credit(held_out).mean() for one in first]
    assert drawn(display.errorbars_["accuracy"][0]) == pytest.approx(right)
    wrong = [one.token_error(held_out) for one in first]
    assert drawn(display.errorbars_["token_error"][0]) == pytest.approx(wrong)
    (chance,) = display.chance_lines_
    assert set(chance.get_ydata()) == {np.mean([1 / len(options) for options in held_out.choices])}
    assert chance.axes is display.axes_[2]
    assert legend_texts(display) == ["prior error", "chance"]


def test_questions_without_options_have_no_accuracy(booster, held_out):
    display = RoundsDisplay.from_estimator(booster, list(held_out.prompts), list(held_out.answers))
    assert list(display.errorbars_) == ["vote", "error", "token_error"]
    assert display.chance_lines_ == []


def test_a_classifier_is_drawn_with_its_own_prior_and_chance():
    X, y = make_classification(120, n_informative=6, n_classes=3, random_state=0)
    booster = LLMAdaBoostClassifier(DecisionTreeClassifier(max_depth=1), n_estimators=4, random_state=0).fit(X, y)
    display = RoundsDisplay.from_estimator(booster, X, y)
    assert display.prior_lines_[0].get_ydata() == pytest.approx([2 / 3] * 4)
    staged = [np.mean(labels == y) for labels in booster.staged_predict(X)]
    assert drawn(display.errorbars_["accuracy"][0]) == pytest.approx(staged)
    assert set(display.chance_lines_[0].get_ydata()) == {1 / 3}


def test_a_classifier_needs_the_classes():
    booster = LLMAdaBoostClassifier(DecisionTreeClassifier(max_depth=1)).fit([[0], [1], [1]], [0, 1, 0])
    with pytest.raises(ValueError, match=r"y must hold the classes of X"):
        RoundsDisplay.from_estimator(booster, [[0]])


def test_a_single_model_has_no_rounds(held_out):
    model = FineTunedGenerator(BigramLearner()).fit(held_out)
    with pytest.raises(TypeError, match=r"must be boosted, round by round"):
        RoundsDisplay.from_estimator(model)


def test_a_copy_with_other_votes_shows_the_errors_of_its_members(booster):
    display = RoundsDisplay.from_estimator(booster.with_votes([1.0, 0.0, 2.0]))
    assert drawn(display.errorbars_["vote"][0]) == pytest.approx([1.0, 2.0])
    assert drawn(display.errorbars_["error"][0]) == pytest.approx(booster.estimator_errors_[[0, 2]])


def test_something_that_is_no_booster_is_refused():
    with pytest.raises(TypeError, match=r"booster must be a TokenAdaBoostGenerator or LLMAdaBoostClassifier"):
        RoundsDisplay.from_estimator("gpt2")


@pytest.mark.parametrize("quantity", ["vote", "error", "accuracy", "token_error", "member_accuracy"])
def test_a_frame_gives_means_and_standard_errors_over_seeds(quantity):
    frame = round_frame()
    display = RoundsDisplay.from_frame(frame, quantities=quantity)
    for container, weak in zip(display.errorbars_[quantity], (SMOL, GEMMA), strict=True):
        grouped = frame[frame["weak"] == weak].groupby("round")[quantity]
        mean, sem = grouped.mean().to_numpy(), grouped.sem().to_numpy()
        assert drawn(container) == pytest.approx(mean)
        segments = np.array(container[2][0].get_segments())
        assert segments[:, :, 1] == pytest.approx(np.column_stack([mean - sem, mean + sem]))


def test_rounds_of_fewer_seeds_have_an_open_marker():
    display = RoundsDisplay.from_frame(round_frame(weak=[SMOL]), quantities="vote")
    (few,) = [line for line in display.ax_.get_lines() if line.get_markerfacecolor() == "white"]
    assert few.get_xdata() == pytest.approx([4])
    assert legend_texts(display) == ["fewer seeds"]


def test_a_line_for_each_combination_that_varies():
    frame = round_frame(splits=("random", "easy-hard"), variants=("L=1", "L=5"), weak=[SMOL])
    assert RoundsDisplay.from_frame(frame).labels == [
        "random, L=1", "random, L=5", "easy-hard, L=1", "easy-hard, L=5",
    ]  # fmt: skip


def test_by_names_the_lines():
    frame = round_frame(variants=("probabilities", "logits"), weak=[SMOL])
    display = RoundsDisplay.from_frame(frame, by="variant", quantities="token_error")
    assert legend_texts(display) == ["probabilities", "logits", "fewer seeds"]
    expected = frame[frame["variant"] == "logits"].groupby("round")["token_error"].mean()
    assert drawn(display.errorbars_["token_error"][1]) == pytest.approx(expected.to_numpy())


def test_by_refuses_to_average_what_it_does_not_name():
    with pytest.raises(ValueError, match=r"several values of 'weak'.*name it in by, or pass weak="):
        RoundsDisplay.from_frame(round_frame(splits=("random", "easy-hard")), by="split")


def test_rows_are_picked_by_value():
    display = RoundsDisplay.from_frame(round_frame(splits=("random", "easy-hard")), split="random", weak=GEMMA)
    assert display.labels == [""]


def test_strong_models_do_not_count_a_weak_ensemble_twice():
    frame = round_frame(weak=[SMOL])
    both = pd.concat([frame, frame.assign(strong=GEMMA, student_accuracy=0.9)])
    once, twice = RoundsDisplay.from_frame(frame), RoundsDisplay.from_frame(both)
    assert twice.labels == [""]
    assert twice.n_runs["vote"] == pytest.approx(once.n_runs["vote"])
    assert twice.sem["vote"] == pytest.approx(once.sem["vote"])


def test_students_are_drawn_by_strong_model():
    frame = round_frame(weak=[SMOL])
    both = pd.concat([frame, frame.assign(strong=GEMMA, student_accuracy=0.9)])
    display = RoundsDisplay.from_frame(both, quantities="student_accuracy")
    assert display.labels == [QWEN, GEMMA]
    assert drawn(display.errorbars_["student_accuracy"][1]) == pytest.approx([0.9] * 4)


def test_rows_that_come_twice_are_refused():
    frame = round_frame(weak=[SMOL])
    with pytest.raises(ValueError, match=r"one row per seed, round. Got several for seed=0, round=1"):
        RoundsDisplay.from_frame(pd.concat([frame, frame.assign(vote=9.0)]))


def test_a_frame_without_quantities_is_refused():
    with pytest.raises(ValueError, match=r"frame must have one of the columns vote"):
        RoundsDisplay.from_frame(round_frame()[["weak", "seed", "round"]])


def test_the_chance_level_is_given_or_a_column():
    frame = round_frame(weak=[SMOL])
    for display in (RoundsDisplay.from_frame(frame, chance=0.25), RoundsDisplay.from_frame(frame.assign(chance=0.25))):
        assert [set(line.get_ydata()) for line in display.chance_lines_] == [{0.25}]


def test_single_seeds_have_no_error_bars():
    display = RoundsDisplay.from_frame(round_frame(seeds=[0]), quantities="vote")
    assert np.isnan(display.sem["vote"]).all()
    assert display.legend_.get_title().get_text() == ""


def test_error_bars_are_named():
    display = RoundsDisplay.from_frame(round_frame(), quantities="vote")
    assert display.legend_.get_title().get_text() == "bars: SEM over seeds"


def test_one_axes_is_split_into_panels():
    figure, (left, right) = plt.subplots(1, 2)
    display = RoundsDisplay.from_frame(round_frame(), ax=right)
    assert len(display.axes_) == 4
    assert all(panel.figure is figure for panel in display.axes_)
    outer = right.get_position()
    assert all(outer.x0 - 0.01 <= panel.get_position().x0 < outer.x1 for panel in display.axes_)
    assert not left.has_data()


def test_one_axes_and_one_quantity_share_it():
    _, ax = plt.subplots()
    assert RoundsDisplay.from_frame(round_frame(), quantities="vote", ax=ax).ax_ is ax


def test_axes_can_be_given_one_per_panel():
    _, axes = plt.subplots(1, 2)
    display = RoundsDisplay.from_frame(round_frame(), quantities=["error", "accuracy"], ax=axes)
    assert list(display.axes_) == list(axes)


def test_the_number_of_axes_must_be_that_of_the_panels():
    _, axes = plt.subplots(1, 3)
    with pytest.raises(ValueError, match=r"ax must be a matplotlib Axes or 2 of them"):
        RoundsDisplay.from_frame(round_frame(), quantities=["error", "accuracy"], ax=axes)


def test_axes_outside_a_grid_cannot_be_split():
    ax = plt.figure().add_axes((0, 0, 1, 1))
    with pytest.raises(ValueError, match=r"ax must be part of a grid"):
        RoundsDisplay.from_frame(round_frame(), ax=ax)


def test_an_early_stop_is_a_gap():
    display = RoundsDisplay({"vote": [[2, 1, np.nan], [2, 1.5, 1]]}, labels=["a", "b"]).plot()
    assert np.isnan(drawn(display.errorbars_["vote"][0])[2])


def test_a_quantity_without_values_is_refused():
    with pytest.raises(ValueError, match=r"quantities must be among 'vote'. Got 'accuracy' instead"):
        RoundsDisplay({"vote": [[1.0]], "accuracy": [[np.nan]]}).plot(quantities="accuracy")


def test_nothing_but_nan_is_refused():
    with pytest.raises(ValueError, match=r"mean must hold at least one number"):
        RoundsDisplay({"vote": [[np.nan]]}).plot()


@pytest.mark.parametrize(
    ("mean", "message"),
    [
        ([1, 2], "mean must be a dict"),
        ({"vote": [1, 2]}, r"shape \(n_lines, T\)"),
        ({"votes": [[1, 2]]}, "keys among 'vote'"),
        ({"vote": [[1, 2]], "error": [[1]]}, r"mean\['error'\] must have shape \(1, 2\)"),
    ],
)
def test_arrays_of_the_wrong_kind_are_refused(mean, message):
    with pytest.raises((TypeError, ValueError), match=message):
        RoundsDisplay(mean)


def test_labels_of_another_number_are_refused():
    with pytest.raises(ValueError, match=r"labels must have 1 entries"):
        RoundsDisplay({"vote": [[1, 2]]}, labels=["a", "b"])


def test_line_keywords_reach_every_line():
    display = RoundsDisplay({"vote": [[1, 2], [2, 3]]}).plot(line_kw={"linewidth": 4})
    assert [container[0].get_linewidth() for container in display.errorbars_["vote"]] == [4, 4]
