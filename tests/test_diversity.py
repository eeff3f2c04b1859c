"""Diversity and margins against 2 by 2 tables, scikit-learn, float64 loops and the properties they must have."""

from __future__ import annotations

import math
from collections import defaultdict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.datasets import make_classification
from sklearn.metrics import matthews_corrcoef
from sklearn.tree import DecisionTreeClassifier

from ensemw2s import (
    BigramLearner,
    FineTunedGenerator,
    LLMAdaBoostClassifier,
    TokenAdaBoostGenerator,
    error_correlation,
    make_qa,
    margins,
    pairwise_disagreement,
    q_statistic,
    staged_margins,
)

PAIRS = [error_correlation, q_statistic]


def table(both, only_first, only_second, neither):
    """Two members with the given numbers of items that both, one or neither has right; predictions and gold."""
    first = [1] * (both + only_first) + [0] * (only_second + neither)
    second = [1] * both + [0] * only_first + [1] * only_second + [0] * neither
    return [first, second], [1] * len(first)


@st.composite
def ensembles(draw, n_labels=3, max_members=5):
    """Predictions (T, n) and gold (n,), of few labels so that members often agree."""
    n_members, n_items = draw(st.integers(1, max_members)), draw(st.integers(1, 12))
    labels = st.integers(0, n_labels - 1)
    return draw(arrays(np.int64, (n_members, n_items), elements=labels)), draw(
        arrays(np.int64, n_items, elements=labels)
    )


@st.composite
def voted(draw):
    """An ensemble with votes in eighths, whose sums are exact: a tie is a tie."""
    members, gold = draw(ensembles())
    votes = np.array(draw(st.lists(st.integers(0, 16), min_size=len(members), max_size=len(members)))) / 8
    votes[draw(st.integers(0, len(members) - 1))] += 1
    return members, gold, votes


# --- disagreement ----------------------------------------------------------------------------------------------------


def test_disagreement_counts_items_with_different_answers():
    members = [["A", "B", "C", "D"], ["A", "B", "D", "C"], ["D", "B", "C", "D"]]
    assert_array_equal(pairwise_disagreement(members), [[0, 0.5, 0.25], [0.5, 0, 0.75], [0.25, 0.75, 0]])


def test_two_wrong_answers_that_differ_are_a_disagreement():
    assert pairwise_disagreement([["B"], ["C"]])[0, 1] == 1.0


@given(ensembles())
def test_disagreement_equals_a_loop_and_is_a_metric(ensemble):
    members, _ = ensemble
    found = pairwise_disagreement(members)
    for i, first in enumerate(members):
        for j, second in enumerate(members):
            differs = [a != b for a, b in zip(first, second, strict=True)]
            assert found[i, j] == sum(differs) / len(differs)
            assert (found[i] <= found[i, j] + found[j] + 1e-12).all()  # the triangle
    assert_array_equal(found, found.T)


@pytest.mark.slow
@given(voted())
def test_the_vote_is_no_further_from_a_member_than_its_disagreements_add_up_to(ensemble):
    members, gold, votes = ensemble
    accuracy = np.mean(margins(members, gold, votes) > 0)
    apart = pairwise_disagreement(members).sum(axis=1)
    voting = votes > 0  # a member without a vote may be anywhere
    alone = (members == gold).mean(axis=1)
    assert (np.abs(accuracy - alone) <= apart + 1e-12)[voting].all()


# --- pairs of mistakes -----------------------------------------------------------------------------------------------


def test_correlation_and_q_of_a_table_worked_by_hand():
    members, gold = table(6, 2, 1, 3)
    assert error_correlation(members, gold)[0, 1] == pytest.approx((18 - 2) / math.sqrt(8 * 4 * 7 * 5), rel=1e-15)
    assert q_statistic(members, gold)[0, 1] == pytest.approx((18 - 2) / (18 + 2), rel=1e-15)


def test_independent_errors_have_correlation_and_q_0():
    members, gold = table(6, 3, 4, 2)  # 6 * 2 = 3 * 4
    for statistic in PAIRS:
        assert statistic(members, gold)[0, 1] == 0.0


@pytest.mark.parametrize("statistic", PAIRS)
def test_errors_that_exclude_each_other_have_minus_one(statistic):
    assert statistic(*table(0, 3, 4, 0))[0, 1] == -1.0


def test_q_is_one_where_one_member_errs_only_where_the_other_does():
    members, gold = table(5, 2, 0, 3)
    assert q_statistic(members, gold)[0, 1] == 1.0
    assert error_correlation(members, gold)[0, 1] == pytest.approx(15 / math.sqrt(7 * 3 * 5 * 5))


@pytest.mark.slow
@given(ensembles(n_labels=2, max_members=4))
def test_the_correlation_is_scikit_learns_matthews_coefficient(ensemble):
    members, gold = ensemble
    found = error_correlation(members, gold)
    wrong = members != gold
    for i, first in enumerate(wrong):
        for j, second in enumerate(wrong):
            if 0 < first.mean() < 1 and 0 < second.mean() < 1:
                assert found[i, j] == pytest.approx(matthews_corrcoef(first, second), abs=1e-12)
                assert found[i, j] == pytest.approx(np.corrcoef(first, second)[0, 1], abs=1e-12)
            else:
                assert math.isnan(found[i, j])


@given(ensembles())
def test_pairs_of_mistakes_have_their_properties(ensemble):
    members, gold = ensemble
    correlation, q = error_correlation(members, gold), q_statistic(members, gold)
    right = members == gold
    vary = right.any(axis=1) & ~right.all(axis=1)
    defined = vary[:, np.newaxis] & vary
    for found in (correlation, q):
        assert_array_equal(found, found.T)
        assert_array_equal(np.isnan(found), ~defined)
        assert (np.abs(found[defined]) <= 1).all()
        assert_array_equal(found.diagonal()[vary], 1.0)
    assert_array_equal(np.sign(correlation[defined]), np.sign(q[defined]))
    assert (np.abs(correlation[defined]) <= np.abs(q[defined]) + 1e-12).all()


@pytest.mark.parametrize("statistic", PAIRS)
@pytest.mark.parametrize("n_items", [3, 7, 1_000_003])
def test_equal_members_have_exactly_one(statistic, n_items):
    wrong = np.arange(n_items) % 3 == 0
    assert_array_equal(statistic([wrong, wrong], np.zeros(n_items, bool)), np.ones((2, 2)))


@pytest.mark.parametrize("statistic", PAIRS)
@pytest.mark.parametrize("constant", ["ABA", "BCB"], ids=["always right", "always wrong"])
def test_a_member_without_variation_has_nan_in_its_row_and_column_alone(statistic, constant):
    found = statistic([list(constant), list("AAA"), list("BBA")], list("ABA"))
    assert_array_equal(np.isnan(found), [[True, True, True], [True, False, False], [True, False, False]])


def test_only_right_and_wrong_matter_to_mistakes():
    members, gold = [["A", "C", "B"], ["D", "B", "C"]], ["A", "B", "C"]
    right = [[True, False, False], [False, True, True]]
    for statistic in PAIRS:
        assert_array_equal(statistic(members, gold), statistic(right, np.ones(3, bool)))


# --- margins ---------------------------------------------------------------------------------------------------------


def margin_by_a_loop(predictions, gold, votes):
    share = defaultdict(float)
    for label, vote in zip(predictions, votes, strict=True):
        share[label] += vote / math.fsum(votes)
    return share[gold] - max((share[label] for label in share if label != gold), default=0.0)


def test_margins_worked_by_hand():
    members = [["A", "A", "B", "B"], ["A", "B", "B", "C"], ["A", "C", "B", "D"]]
    # all right; 3 of 6 against 2; all wrong alike; all wrong, the largest vote is 3 of 6
    assert_allclose(margins(members, ["A", "A", "A", "A"], votes=[3, 2, 1]), [1, 1 / 6, -1, -0.5], rtol=1e-15)


@given(ensembles(n_labels=4), st.data())
def test_margins_equal_a_loop_in_every_stage(ensemble, data):
    members, gold = ensemble
    votes = data.draw(st.lists(st.floats(0.01, 10), min_size=len(members), max_size=len(members)))
    stages = list(staged_margins(members, gold, votes))
    assert len(stages) == len(members)
    for t, stage in enumerate(stages, start=1):
        expected = [
            margin_by_a_loop(column[:t], label, votes[:t]) for column, label in zip(members.T, gold, strict=True)
        ]
        assert_allclose(stage, expected, rtol=0, atol=1e-12)
        assert (np.abs(stage) <= 1).all()
    assert_array_equal(stages[-1], margins(members, gold, votes))


@given(voted())
def test_a_margin_is_positive_exactly_where_the_right_answer_leads(ensemble):
    members, gold, votes = ensemble
    share = np.array([[votes[column == label].sum() for label in range(3)] for column in members.T])
    right = share[np.arange(len(gold)), gold]
    share[np.arange(len(gold)), gold] = -1.0
    found = margins(members, gold, votes)
    assert_array_equal(found > 0, right > share.max(axis=1))
    assert_array_equal(found == 0, right == share.max(axis=1))


@pytest.mark.slow
@given(voted())
def test_margins_do_not_depend_on_the_scale_or_the_order_of_the_votes(ensemble):
    members, gold, votes = ensemble
    found = margins(members, gold, votes)
    assert_array_equal(margins(members, gold, 4 * votes), found)
    assert_array_equal(margins(members[::-1], gold, votes[::-1]), found)


@given(ensembles(), st.data())
def test_an_item_that_all_members_have_right_has_margin_one_whatever_the_votes(ensemble, data):
    members, _ = ensemble
    votes = data.draw(st.lists(st.floats(0.01, 10), min_size=len(members), max_size=len(members)))
    members[:] = members[0]
    assert_array_equal(margins(members, members[0], votes), 1.0)
    assert_array_equal(margins(members, members[0] + 1, votes), -1.0)


def test_votes_are_equal_where_none_are_given():
    members, gold = [[0, 1, 1], [0, 1, 0], [1, 1, 2]], [0, 0, 0]
    assert_array_equal(margins(members, gold), margins(members, gold, [2.0, 2.0, 2.0]))


def test_a_member_without_a_vote_counts_for_nothing():
    members, gold = [[0, 1, 1], [0, 1, 0], [1, 1, 2]], [0, 0, 0]
    assert_array_equal(margins(members, gold, [1, 0, 3]), margins([members[0], members[2]], gold, [1, 3]))


@pytest.mark.parametrize("n_classes", [2, 3, 4])
def test_margins_are_those_of_the_classifiers_decision_function(n_classes):
    X, y = make_classification(150, n_informative=5, n_classes=n_classes, flip_y=0.2, random_state=n_classes)
    booster = LLMAdaBoostClassifier(DecisionTreeClassifier(max_depth=1), n_estimators=6, random_state=0).fit(X, y)
    members = booster.member_predictions(X)
    assert_array_equal(members, [member.predict(X) for member in booster.estimators_])
    stages = staged_margins(members, y, booster.estimator_weights_)
    for stage, decision in zip(stages, booster.staged_decision_function(X), strict=True):
        if n_classes == 2:
            expected = np.where(y == 1, decision, -decision) / 2
        else:  # SAMME's scores are the shares of the votes, stretched by K / (K - 1)
            others = np.where(np.arange(n_classes) == y[:, np.newaxis], -np.inf, decision)
            expected = (decision[np.arange(len(y)), y] - others.max(axis=1)) * (n_classes - 1) / n_classes
        assert_allclose(stage, expected, rtol=0, atol=1e-12)


# --- what a booster gives --------------------------------------------------------------------------------------------


def test_the_members_of_a_generator_can_be_compared():
    easy = make_qa(30, random_state=0)
    booster = TokenAdaBoostGenerator(BigramLearner(), n_estimators=3, prior="uniform", random_state=0).fit(easy)
    members = booster.member_predictions(easy)
    assert members.shape == (3, 30)
    alone = FineTunedGenerator(BigramLearner())
    alone.estimators_, alone.estimator_weights_ = booster.estimators_[2:], np.ones(1)
    assert_array_equal(members[2], alone.predict(easy))
    right = np.array([np.asarray(row) == np.asarray(easy.answers, dtype=object) for row in members])
    assert_allclose(np.mean(margins(members[:1], easy.answers) == 1), right[0].mean())
    for i in range(3):
        assert pairwise_disagreement(members)[0, i] == np.mean(members[0] != members[i])
    assert error_correlation(members, easy.answers).shape == q_statistic(members, easy.answers).shape == (3, 3)


@pytest.mark.parametrize("kind", [list, np.array, lambda rows: np.array(rows, dtype=object)])
def test_texts_may_come_in_any_array(kind):
    members, gold = [["blue", "a long answer"], ["blue", "red"]], ["blue", "red"]
    assert_array_equal(pairwise_disagreement(kind(members)), [[0, 0.5], [0.5, 0]])
    assert_array_equal(margins(kind(members), kind(gold)), [1.0, 0.0])


def test_a_missing_answer_is_an_answer_of_its_own():
    assert_array_equal(margins([["A", None], [None, None]], ["A", "A"]), [0.0, -1.0])


# --- bad input -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("function", [pairwise_disagreement, error_correlation, q_statistic, margins, staged_margins])
@pytest.mark.parametrize(
    ("predictions", "message"),
    [
        ([1, 0, 1], r"predictions must have shape \(T, n\), one row per member\. Got shape \(3,\) instead"),
        ([[]], r"predictions must not be empty\. Got shape \(1, 0\)"),
        ([], r"predictions must have shape"),
        ([[1, 0, 1], [1, 0]], r"predictions must hold as many entries for one member as for another"),
        ([[1.0, 0.0, 1.0], [1.0, np.nan, 0.0]], r"predictions must not hold a NaN.* Got one at \(1, 1\)"),
    ],
)
def test_bad_predictions_are_named(function, predictions, message):
    arguments = [predictions] if function is pairwise_disagreement else [predictions, [1, 1, 1]]
    with pytest.raises(ValueError, match=message):
        function(*arguments)


@pytest.mark.parametrize("function", [error_correlation, q_statistic, margins, staged_margins])
@pytest.mark.parametrize(
    ("gold", "message"),
    [
        ([1, 1], r"gold must have shape \(3,\), one entry per item of predictions\. Got shape \(2,\)"),
        ([[1], [1], [0]], r"gold must have shape \(3,\).* Got shape \(3, 1\)"),
        (["1", "0", "1"], r"must be written the same way\. Got 1 and '1', which are never equal"),
        ([1.0, np.nan, 0.0], r"gold must not hold a NaN.* Got one at \(1,\)"),
    ],
)
def test_bad_answers_are_named(function, gold, message):
    with pytest.raises(ValueError, match=message):
        function([[1, 0, 1], [1, 1, 1]], gold)


@pytest.mark.parametrize("function", [margins, staged_margins])
@pytest.mark.parametrize(
    ("votes", "message"),
    [
        ([1.0], r"votes must have shape \(2,\), one per member"),
        ([1.0, -1.0], r"votes must hold non-negative numbers\. Got votes\[1\] = -1\.0"),
        ([0.0, 0.0], r"votes must have a positive, finite sum"),
    ],
)
def test_bad_votes_are_named(function, votes, message):
    with pytest.raises(ValueError, match=message):
        function([[1, 0, 1], [1, 1, 1]], [1, 1, 1], votes)


def test_a_first_stage_without_a_vote_is_refused_at_once():
    with pytest.raises(ValueError, match=r"votes\[0\] must be positive"):
        staged_margins([[1], [1]], [1], [0.0, 1.0])
