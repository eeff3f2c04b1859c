"""DifficultyDisplay: histograms of ratings, whole or by part."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pytest

from ensemw2s import BigramLearner, DifficultyDisplay, cross_val_difficulty, make_qa

RATINGS = np.array([0.05, 0.1, 0.3, 0.35, 0.6, 0.65, 0.7, 0.95, 0.95, 1.0])


@pytest.fixture(autouse=True)
def no_figure_is_left():
    yield
    plt.close("all")


def heights(display, name=""):
    return [bar.get_height() for bar in display.bars_[name]]


def bottoms(display, name):
    return [bar.get_y() for bar in display.bars_[name]]


def test_bars_count_the_questions_of_each_bin():
    display = DifficultyDisplay(RATINGS).plot(bins=4)
    assert heights(display) == [2, 2, 3, 3]
    assert [bar.get_x() for bar in display.bars_[""]] == pytest.approx([0, 0.25, 0.5, 0.75])
    assert display.legend_ is None


def test_ratings_outside_the_unit_interval_set_their_own_range():
    display = DifficultyDisplay([-1.0, 0.0, 3.0]).plot(bins=4)
    assert display.bin_edges_ == pytest.approx([-1, 0, 1, 2, 3])
    assert heights(display) == [1, 1, 0, 1]


def test_edges_can_be_given():
    assert heights(DifficultyDisplay(RATINGS).plot(bins=[0, 0.5, 1])) == [4, 6]


def test_parts_are_stacked():
    parts = {"train_weak": [0, 1, 2, 3], "train_strong": [4, 6, 8], "test": [5, 7, 9]}
    display = DifficultyDisplay(RATINGS, parts).plot(bins=2)
    assert heights(display, "train_weak") == [4, 0]
    assert (heights(display, "train_strong"), bottoms(display, "train_strong")) == ([0, 3], [4, 0])
    assert (heights(display, "test"), bottoms(display, "test")) == ([0, 3], [4, 3])


def test_parts_are_laid_over_each_other():
    display = DifficultyDisplay(RATINGS, {"easy": np.arange(5), "hard": np.arange(5, 10)}).plot(kind="overlaid", bins=2)
    assert bottoms(display, "hard") == [0, 0]


def test_the_legend_names_parts_and_sizes():
    display = DifficultyDisplay.from_ratings(RATINGS, parts={"easy": RATINGS < 0.5, "hard": RATINGS > 0.9})
    assert [text.get_text() for text in display.legend_.get_texts()] == [
        "easy (n = 4)", "hard (n = 3)", "in no part (n = 3)",
    ]  # fmt: skip


def test_every_question_is_drawn_once():
    display = DifficultyDisplay(RATINGS, {"easy": [0, 1]}).plot()
    assert sum(sum(heights(display, name)) for name in display.bars_) == len(RATINGS)


def test_the_tallest_bar_ends_below_the_frame():
    display = DifficultyDisplay(RATINGS, {"a": [0, 1], "b": [2, 3]}).plot(bins=1)
    assert display.ax_.get_ylim()[1] > 10


def test_an_object_with_ratings_is_taken():
    rated = cross_val_difficulty(BigramLearner(), make_qa(30, random_state=0), cv=3, random_state=0)
    display = DifficultyDisplay.from_ratings(rated)
    assert display.ratings == pytest.approx(rated.ratings)


def test_an_estimator_rates_by_cross_validation():
    questions = make_qa(30, random_state=0)
    _, ax = plt.subplots()
    display = DifficultyDisplay.from_estimator(
        BigramLearner(), questions, parts={"first": range(15)}, ax=ax, cv=3, random_state=0
    )
    assert display.ratings == pytest.approx(
        cross_val_difficulty(BigramLearner(), questions, cv=3, random_state=0).ratings
    )
    assert display.ax_ is ax
    assert list(display.bars_) == ["first", "in no part"]


def test_axes_are_labelled():
    display = DifficultyDisplay(RATINGS).plot()
    assert display.ax_.get_xlabel() == "difficulty rating (larger is harder)"
    assert display.ax_.get_ylabel() == "questions"


def test_shared_rows_are_refused():
    with pytest.raises(ValueError, match=r"must not share rows. Got row 3 in 'a' and 'b'"):
        DifficultyDisplay(RATINGS, {"a": [1, 3], "b": [3, 4]})


def test_rows_out_of_range_are_refused():
    with pytest.raises(ValueError, match=r"parts\['a'\] must hold row numbers below 10"):
        DifficultyDisplay(RATINGS, {"a": [10]})


def test_parts_of_another_kind_are_refused():
    with pytest.raises(TypeError, match=r"parts must be a dict"):
        DifficultyDisplay(RATINGS, [[0, 1]])


def test_nan_ratings_are_refused():
    with pytest.raises(ValueError, match=r"ratings must hold finite numbers. Got ratings\[1\]"):
        DifficultyDisplay([0.5, np.nan])


def test_an_unknown_kind_is_refused():
    with pytest.raises(ValueError, match=r"kind must be one of 'stacked', 'overlaid'"):
        DifficultyDisplay(RATINGS).plot(kind="side")
