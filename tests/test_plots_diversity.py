"""ErrorCorrelationDisplay and MarginDisplay: numbers of NumPy and of a count, names, n and chance on the picture."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pytest
from sklearn.datasets import make_classification
from sklearn.exceptions import NotFittedError
from sklearn.tree import DecisionTreeClassifier

from ensemw2s import (
    BigramLearner,
    ErrorCorrelationDisplay,
    FineTunedGenerator,
    LLMAdaBoostClassifier,
    MarginDisplay,
    OpinionPool,
    make_qa,
)


@pytest.fixture(autouse=True)
def no_figure_is_left():
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def data():
    return make_classification(160, n_informative=4, flip_y=0.2, random_state=0)


@pytest.fixture(scope="module")
def booster(data):
    return LLMAdaBoostClassifier(DecisionTreeClassifier(max_depth=1), n_estimators=4, random_state=0).fit(*data)


def test_cells_and_accuracies_are_those_of_the_members(booster, data):
    X, y = data
    display = ErrorCorrelationDisplay.from_estimator(booster, X, y)
    wrong = np.array([member.predict(X) != y for member in booster.estimators_])
    np.testing.assert_allclose(display.correlation, np.corrcoef(wrong), atol=1e-12)
    assert display.text_[0, 1].get_text() == f"{np.corrcoef(wrong)[0, 1]:.2f}"
    names = [label.get_text() for label in display.ax_.get_yticklabels()]
    assert names[1] == f"member 2\naccuracy {1 - wrong[1].mean():.3f}"
    assert display.ax_.get_title() == "n = 160, chance 0.500"
    again = ErrorCorrelationDisplay.from_predictions(y, booster.member_predictions(X), chance=0.5)
    np.testing.assert_array_equal(again.correlation, display.correlation)


def test_experts_of_a_pool_have_their_names():
    easy, test = make_qa(40, random_state=0), make_qa(30, random_state=1)
    experts = [BigramLearner(), FineTunedGenerator(BigramLearner(smoothing=3.0))]
    display = ErrorCorrelationDisplay.from_estimator(OpinionPool(experts, weights=[1, 1]).fit(easy), test)
    assert display.labels == ["FineTunedGenerator, BigramLearner"] * 2
    assert display.ax_.get_title() == "n = 30, chance 0.250"


def test_a_member_that_is_always_right_has_no_correlation():
    display = ErrorCorrelationDisplay.from_predictions([0, 1], [[0, 1], [0, 0]], labels=["$a$", "b"])
    assert display.text_[0, 1].get_text() == "–"
    assert display.ax_.get_title() == "n = 2"
    assert display.ax_.get_xticklabels()[0].get_text() == "$a$"
    display.figure_.canvas.draw()  # not read as a formula


def test_a_line_is_the_share_of_margins_up_to_a_point(booster, data):
    X, y = data
    display = MarginDisplay.from_estimator(booster, X, y, n_members=[1, 3])
    sign, alpha = 2 * y - 1, booster.estimator_weights_
    for number, name in ((1, "1 member"), (3, "3 members")):
        said = np.array([2 * member.predict(X) - 1 for member in booster.estimators_[:number]])
        margin = sign * (alpha[:number] / alpha[:number].sum() @ said)  # of two classes
        np.testing.assert_allclose(display.margins[name], margin, atol=1e-12)
        at, share = display.lines_[name].get_data()
        for point in (-0.5, 0.0, 0.7):
            drawn = np.max(np.asarray(share)[np.asarray(at) <= point])
            assert drawn == pytest.approx(np.mean(display.margins[name] <= point))
    assert list(display.chance_line_.get_ydata()) == [0.5, 0.5]
    assert display.ax_.get_title() == "n = 160, chance 0.500"
    assert [text.get_text() for text in display.legend_.get_texts()] == ["1 member", "3 members", "error of a guess"]


def test_margins_of_ones_own_without_a_name():
    display = MarginDisplay([-1.0, 0.5]).plot()
    assert display.legend_ is None
    assert display.chance_line_ is None
    assert display.ax_.get_title() == "n = 2"


@pytest.mark.parametrize("display", [ErrorCorrelationDisplay, MarginDisplay])
def test_what_has_no_members_is_refused(display, data, booster):
    X, y = data
    with pytest.raises(TypeError, match=r"ensemble must be one whose .* Got DecisionTreeClassifier"):
        display.from_estimator(DecisionTreeClassifier().fit(X, y), X, y)
    with pytest.raises(NotFittedError):
        display.from_estimator(LLMAdaBoostClassifier(DecisionTreeClassifier()), X, y)
    with pytest.raises(ValueError, match="y must hold the classes of X"):
        display.from_estimator(booster, X)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ErrorCorrelationDisplay([[1.0, 2.0], [2.0, 1.0]]), r"square table of numbers in \[-1, 1\]"),
        (lambda: ErrorCorrelationDisplay(np.eye(2), labels=["a"]), "labels must have 2 entries, one per member. Got 1"),
        (lambda: MarginDisplay({"a": [0.0], "b": [0.0, 1.0]}), r"arrays of one shape \(n,\)"),
        (lambda: MarginDisplay([2.0]), r"margins must lie in \[-1, 1\]"),
        (lambda: MarginDisplay.from_predictions([0], [[0]], n_members=[2]), "n_members must be at most 1"),
    ],
)
def test_bad_numbers_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()
