"""The equations against hand-worked numbers, closed forms, naive loops and scikit-learn's AdaBoost."""

from __future__ import annotations

import math
import tracemalloc
from fractions import Fraction
from itertools import pairwise
from typing import ClassVar

import numpy as np
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.testing import assert_allclose, assert_array_equal
from scipy import stats
from sklearn.datasets import make_classification
from sklearn.ensemble import AdaBoostClassifier
from sklearn.tree import DecisionTreeClassifier

from ensemw2s import (
    draw_tokens,
    estimator_weight,
    reweight,
    training_error_bound,
    weighted_error,
    window_error,
)

open_unit = st.floats(0.0, 1.0, exclude_min=True, exclude_max=True)
MILLIONTH = Fraction(1, 10**6)
seeds = st.integers(0, 2**32 - 1)


@st.composite
def weights_and_errors(draw, min_size=1, max_size=40, allow_zero=True):
    """Token weights, not normalised and some of them 0, with a 0/1 mistake for each."""
    n = draw(st.integers(min_size, max_size))
    positive = st.floats(1e-6, 1e3)
    entries = st.one_of(st.just(0.0), positive) if allow_zero else positive
    weight = draw(hnp.arrays(np.float64, n, elements=entries))
    assume(weight.sum() > 0)
    errors = draw(hnp.arrays(np.int8, n, elements=st.integers(0, 1)))
    return weight, errors


# --- the vote ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "prior_error", "vote", "digits"),
    [(0.30, 0.80, 2.2336, 4), (0.79, 0.80, 0.0614, 4), (0.85, 0.80, -0.3483, 4), (0.83, 0.90, 0.612, 3)],
)
def test_estimator_weight_gives_the_pinned_numbers(error, prior_error, vote, digits):
    assert round(estimator_weight(error, prior_error), digits) == vote


def test_estimator_weight_of_the_worked_round_is_ln_6():
    assert estimator_weight(0.2, 0.6) == pytest.approx(math.log(6), rel=1e-15)


@given(open_unit)
def test_estimator_weight_at_the_prior_is_zero(prior_error):
    assert estimator_weight(prior_error, prior_error) == 0.0


@given(open_unit, open_unit)
@example(math.nextafter(0.8, 0.0), 0.8)
@example(math.nextafter(1e-300, 0.0), 1e-300)
@example(5e-324, math.nextafter(1.0, 0.0))
def test_estimator_weight_is_positive_exactly_below_the_prior(error, prior_error):
    vote = estimator_weight(error, prior_error)
    assert math.isfinite(vote)
    assert (vote > 0) == (error < prior_error)
    assert (vote < 0) == (error > prior_error)


@given(st.fractions(MILLIONTH, 1 - MILLIONTH), st.fractions(MILLIONTH, 1 - MILLIONTH))
def test_estimator_weight_equals_the_textbook_form_in_exact_arithmetic(error, prior_error):
    error, prior_error = Fraction(float(error)), Fraction(float(prior_error))  # what the function is given
    assume(0 < error < 1 and 0 < prior_error < 1)
    odds = (1 - error) / error * (1 / (1 - prior_error) - 1)
    expected = math.log1p(odds - 1) if abs(odds - 1) < 0.5 else math.log(odds.numerator) - math.log(odds.denominator)
    assert estimator_weight(float(error), float(prior_error)) == pytest.approx(expected, rel=1e-12, abs=1e-13)


def test_estimator_weight_keeps_its_digits_at_a_tiny_prior():
    # 1 / (1 - p) - 1 in float32 is 0 at p = 1e-8: the textbook form would give -inf.
    assert np.float32(1) / (np.float32(1) - np.float32(1e-8)) - np.float32(1) == 0
    expected = math.log(1e-8) - math.log1p(-1e-8) - math.log(0.3 / 0.7)
    assert estimator_weight(0.3, 1e-8) == pytest.approx(expected, rel=1e-14)


@pytest.mark.parametrize("n_classes", [2, 3, 10, 50_000])
def test_estimator_weight_with_the_uniform_prior_is_samme(n_classes):
    expected = math.log((1 - 0.3) / 0.3) + math.log(n_classes - 1)
    assert estimator_weight(0.3, 1 - 1 / n_classes) == pytest.approx(expected, rel=1e-11)


def test_estimator_weight_is_shrunk_by_the_learning_rate():
    assert estimator_weight(0.3, 0.8, learning_rate=0.25) == 0.25 * estimator_weight(0.3, 0.8)


def test_estimator_weight_returns_a_python_float():
    assert type(estimator_weight(np.float32(0.25), np.float64(0.5))) is float


@pytest.mark.parametrize("bad", [0.0, 1.0, -0.1, 1.5])
@pytest.mark.parametrize("name", ["error", "prior_error"])
def test_estimator_weight_refuses_errors_outside_the_open_interval(name, bad):
    arguments = {"error": 0.3, "prior_error": 0.8, name: bad}
    with pytest.raises(ValueError, match=rf"^{name} must lie in \(0, 1\)\. Got {bad!r} instead\."):
        estimator_weight(**arguments)


def test_estimator_weight_says_how_to_treat_a_perfect_learner():
    with pytest.raises(ValueError, match=r"clamp an error of 0 to 1 / \(2 \* n\)"):
        estimator_weight(0, 0.8)


@pytest.mark.parametrize(
    ("bad", "message"), [(math.nan, "finite"), ("0.3", "a number"), (None, "a number"), (True, "a number")]
)
def test_estimator_weight_refuses_what_is_no_number(bad, message):
    with pytest.raises(ValueError, match=f"^error must be {message}"):
        estimator_weight(bad, 0.8)


@pytest.mark.parametrize("bad", [0, -1.0])
def test_estimator_weight_refuses_a_learning_rate_that_is_not_positive(bad):
    with pytest.raises(ValueError, match=r"^learning_rate must be positive\. Got "):
        estimator_weight(0.3, 0.8, learning_rate=bad)


# --- the weighted error -----------------------------------------------------------------------------------------------


def test_weighted_error_is_the_mass_on_the_mistakes():
    assert weighted_error([1, 0, 0, 1], [0.1, 0.2, 0.3, 0.4]) == pytest.approx(0.5, rel=1e-15)


def test_weighted_error_under_uniform_weights_is_the_share_of_mistakes():
    assert weighted_error(np.array([True, False, False, False]), np.full(4, 0.25)) == 0.25


def test_weighted_error_takes_fractional_mistakes():
    assert weighted_error([0.5, 0.0], [0.5, 0.5]) == 0.25


@given(weights_and_errors(), st.floats(1e-3, 1e3))
def test_weighted_error_does_not_depend_on_the_scale_of_the_weights(case, scale):
    weight, errors = case
    assert weighted_error(errors, weight * scale) == pytest.approx(weighted_error(errors, weight), rel=1e-12, abs=1e-15)


@given(weights_and_errors())
def test_weighted_error_of_nothing_but_mistakes_is_exactly_one(case):
    weight, _ = case
    assert weighted_error(np.ones(weight.size), weight) == 1.0


@pytest.mark.parametrize(
    ("errors", "weight", "message"),
    [
        ([], [], r"^errors must not be empty"),
        ([[0, 1]], [0.5, 0.5], r"^errors must have one dimension\. Got shape \(1, 2\)"),
        ([0, 2], [0.5, 0.5], r"^errors must hold numbers in \[0, 1\]\. Got errors\[1\] = 2\.0"),
        ([0, math.nan], [0.5, 0.5], r"^errors must hold finite numbers\. Got errors\[1\] = nan"),
        (["a", "b"], [0.5, 0.5], r"^errors must hold numbers\. Got \['a', 'b'\]"),
        ([0, 1], [1.0], r"^weight must have shape \(2,\), one per token\. Got shape \(1,\)"),
        ([0, 1], [0.5, -0.5], r"^weight must hold non-negative numbers\. Got weight\[1\] = -0\.5"),
        ([0, 1], [0.5, math.inf], r"^weight must hold finite numbers\. Got weight\[1\] = inf"),
        ([0, 1], [0.0, 0.0], r"^weight must have a positive, finite sum\. Got 0\.0"),
        ([0, 1], [1e308, 1e308], r"^weight must have a positive, finite sum\. Got inf"),
    ],
)
@pytest.mark.parametrize(
    "function", [weighted_error, lambda e, w: reweight(w, e, 1.0)], ids=["weighted_error", "reweight"]
)
def test_bad_arrays_are_named(function, errors, weight, message):
    with pytest.raises(ValueError, match=message):
        function(errors, weight)


# --- the update -------------------------------------------------------------------------------------------------------


def test_reweight_gives_the_worked_round():
    weight, errors = np.full(5, 0.2), np.array([1, 0, 0, 0, 0])
    vote = estimator_weight(weighted_error(errors, weight), 0.6)
    assert np.sum(weight * np.exp(vote * errors)) == pytest.approx(2.0, rel=1e-15)  # Z
    assert_allclose(reweight(weight, errors, vote), [0.6, 0.1, 0.1, 0.1, 0.1], rtol=1e-14)


@given(weights_and_errors(), st.floats(-700, 700))
def test_reweight_stays_a_distribution(case, vote):
    updated = reweight(*case, vote)
    assert (updated >= 0).all()
    assert abs(updated.sum() - 1) <= 1e-12


@given(weights_and_errors(min_size=2), st.floats(1e-3, 1 - 1e-3))
@pytest.mark.slow
def test_reweight_puts_the_prior_on_the_mistakes(case, prior_error):
    weight, errors = case
    error = weighted_error(errors, weight)
    assume(1e-6 < error < 1 - 1e-6)
    updated = reweight(weight, errors, estimator_weight(error, prior_error))
    assert updated[errors == 1].sum() == pytest.approx(prior_error, rel=1e-9)


@given(weights_and_errors(min_size=2), st.floats(1e-3, 1 - 1e-3))
@pytest.mark.slow
def test_reweight_normalises_by_the_closed_form(case, prior_error):
    weight, errors = case
    share = weight / weight.sum()
    error = weighted_error(errors, weight)
    assume(1e-6 < error < 1 - 1e-6)
    vote = estimator_weight(error, prior_error)
    normaliser = (1 - error) / (1 - prior_error)
    assert_allclose(reweight(weight, errors, vote) * normaliser, share * np.exp(vote * errors), rtol=1e-9)


@given(weights_and_errors(), st.floats(-20, 20), seeds)
def test_reweight_is_permutation_equivariant(case, vote, seed):
    weight, errors = case
    order = np.random.default_rng(seed).permutation(weight.size)
    assert_allclose(reweight(weight[order], errors[order], vote), reweight(weight, errors, vote)[order], rtol=1e-12)


def test_reweight_survives_a_thousand_rounds():
    rng = np.random.default_rng(0)
    difficulty = rng.uniform(0.05, 0.95, size=60)  # some tokens are missed nearly always, others hardly ever
    weight, prior_error, n_updates = np.full(60, 1 / 60), 0.9, 0
    while n_updates < 1000:
        errors = rng.random(60) < difficulty
        error = weighted_error(errors, weight)
        if 0 < error < prior_error:
            weight = reweight(weight, errors, estimator_weight(error, prior_error))
            n_updates += 1
            assert (weight > 0).all()
            assert abs(weight.sum() - 1) <= 1e-12


def test_reweight_leaves_a_distribution_when_every_other_weight_has_vanished():
    errors = np.array([1, 0, 0])
    weight = np.full(3, 1 / 3)
    for _ in range(1000):
        weight = reweight(weight, errors, 5.0)
    assert_array_equal(weight, [1.0, 0.0, 0.0])


@pytest.mark.parametrize("vote", [1e6, -1e6])
def test_reweight_does_not_overflow_on_a_huge_vote(vote):
    updated = reweight([0.25, 0.25, 0.5], [1, 0, 0], vote)
    assert_allclose(updated, [1, 0, 0] if vote > 0 else [0, 1 / 3, 2 / 3], atol=1e-15)


def test_reweight_keeps_a_zero_at_zero():
    assert reweight([0.0, 0.5, 0.5], [1, 1, 0], 3.0)[0] == 0.0


def test_reweight_leaves_its_input_untouched():
    weight, errors = np.full(3, 1 / 3), np.array([1.0, 0.0, 0.0])
    reweight(weight, errors, 1.0)
    assert_array_equal(weight, np.full(3, 1 / 3))
    assert_array_equal(errors, [1.0, 0.0, 0.0])


def test_reweight_raises_a_fractional_mistake_in_proportion():
    updated = reweight([0.5, 0.5], [0.5, 0.0], 2.0)
    assert updated[0] / updated[1] == pytest.approx(math.e, rel=1e-14)


@pytest.mark.parametrize("vote", [math.inf, math.nan])
def test_reweight_refuses_a_vote_that_is_not_finite(vote):
    with pytest.raises(ValueError, match=r"^vote must be finite"):
        reweight([1.0], [1], vote)


# --- AdaBoost ---------------------------------------------------------------------------------------------------------


def test_algorithm_2_has_half_the_vote_and_the_same_weights():
    rng = np.random.default_rng(3)
    n = 40
    labels = rng.choice([-1, 1], n)
    ours = theirs = np.full(n, 1 / n)
    for _ in range(15):
        predicted = np.where(rng.random(n) < 0.7, labels, -labels)
        wrong = predicted != labels
        error = float(theirs[wrong].sum())
        if not 0 < error < 0.5:
            continue
        alpha = 0.5 * math.log((1 - error) / error)
        theirs = theirs * np.exp(-alpha * labels * predicted) / (2 * math.sqrt(error * (1 - error)))
        vote = estimator_weight(weighted_error(wrong, ours), 0.5)
        ours = reweight(ours, wrong, vote)
        assert vote == pytest.approx(2 * alpha, rel=1e-11)
        assert_allclose(ours, theirs, rtol=1e-11)


class RecordingStump(DecisionTreeClassifier):
    """A decision stump that writes down the weights it is trained with."""

    seen: ClassVar[list[np.ndarray]] = []

    def fit(self, X, y, sample_weight=None, check_input=True):
        RecordingStump.seen.append(np.array(sample_weight))
        return super().fit(X, y, sample_weight=sample_weight, check_input=check_input)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("learning_rate", [1.0, 0.5])
@pytest.mark.parametrize("n_classes", [2, 3, 4])
@pytest.mark.slow
def test_one_token_answers_boost_like_scikit_learn(n_classes, learning_rate, seed):
    X, y = make_classification(
        200, 8, n_informative=5, n_classes=n_classes, n_clusters_per_class=1, flip_y=0.1, random_state=seed
    )
    RecordingStump.seen = []
    reference = AdaBoostClassifier(
        RecordingStump(max_depth=1), n_estimators=12, learning_rate=learning_rate, random_state=seed
    ).fit(X, y)
    prior_error = 1 - 1 / n_classes
    weight = np.full(len(y), 1 / len(y))
    assert len(reference.estimators_) == 12
    rounds = zip(
        reference.estimators_,
        reference.estimator_weights_,
        reference.estimator_errors_,
        RecordingStump.seen,
        strict=True,
    )
    for member, vote, error, seen in rounds:
        assert_allclose(weight, seen, rtol=1e-9)
        wrong = member.predict(X) != y
        assert weighted_error(wrong, weight) == pytest.approx(error, rel=1e-9)
        ours = estimator_weight(weighted_error(wrong, weight), prior_error, learning_rate=learning_rate)
        assert ours == pytest.approx(vote, rel=1e-9)
        weight = reweight(weight, wrong, ours)


# --- the draw ---------------------------------------------------------------------------------------------------------

WORKED = np.array([0.6, 0.1, 0.1, 0.1, 0.1])


@pytest.mark.slow
def test_draw_tokens_binary_includes_as_the_closed_form_says():
    rng = np.random.default_rng(0)
    n_draws = 20_000
    included = np.mean([draw_tokens(WORKED, random_state=rng) for _ in range(n_draws)], axis=0)
    expected = 1 - (1 - WORKED) ** 5
    assert_allclose(expected, [0.98976, 0.40951, 0.40951, 0.40951, 0.40951], atol=1e-12)
    assert expected[0] / expected[1] == pytest.approx(2.417, abs=5e-4)  # 6 : 1 before the multiplicity was lost
    assert_allclose(included, expected, atol=5 * np.sqrt(0.25 / n_draws))


def test_draw_tokens_binary_includes_about_63_percent_under_uniform_weights():
    assert np.mean(draw_tokens(np.ones(100_000), random_state=0)) == pytest.approx(1 - 1 / math.e, abs=0.005)


def test_draw_tokens_count_follows_the_weights():
    rng = np.random.default_rng(1)
    total = sum(draw_tokens(WORKED, sampling="count", random_state=rng) for _ in range(10_000))
    assert stats.chisquare(total, WORKED * total.sum()).pvalue > 1e-3


@pytest.mark.slow
def test_draw_tokens_counts_are_multinomial():
    # Var c = n D (1 - D) and Cov = -n D_i D_j: systematic sampling, say, would have a smaller variance.
    rng = np.random.default_rng(2)
    counts = np.array([draw_tokens(WORKED, sampling="count", random_state=rng) for _ in range(20_000)])
    assert_allclose(np.cov(counts.T), 5 * (np.diag(WORKED) - np.outer(WORKED, WORKED)), atol=0.04)


def test_draw_tokens_weight_is_n_times_the_distribution():
    assert_allclose(draw_tokens(3 * WORKED, sampling="weight"), [3.0, 0.5, 0.5, 0.5, 0.5], rtol=1e-14)


@given(weights_and_errors(), seeds)
def test_draw_tokens_counts_sum_to_n_and_touch_only_tokens_with_weight(case, seed):
    weight, _ = case
    counts = draw_tokens(weight, sampling="count", random_state=seed)
    assert counts.sum() == weight.size
    assert (counts >= 0).all()
    assert (counts == np.floor(counts)).all()
    assert (counts[weight == 0] == 0).all()


class EdgeGenerator(np.random.Generator):
    """A generator whose uniforms fall on the bounds between tokens, where a search could step to the wrong side."""

    def random(self, size):
        return np.array([0.0, 0.0, 0.5, 0.5, math.nextafter(1.0, 0.0)])[:size]


def test_draw_tokens_passes_over_tokens_without_weight_at_the_bounds():
    source = EdgeGenerator(np.random.PCG64(0))
    counts = draw_tokens([0.0, 0.5, 0.0, 0.5, 0.0], sampling="count", random_state=source)
    assert_array_equal(counts, [0, 2, 0, 3, 0])


@given(
    hnp.arrays(np.float64, st.integers(1, 20), elements=st.floats(0, 1e-320)).filter(lambda weight: weight.sum() > 0),
    seeds,
)
def test_draw_tokens_works_on_the_smallest_weights(weight, seed):
    counts = draw_tokens(weight, sampling="count", random_state=seed)
    assert counts.shape == weight.shape
    assert counts.sum() == weight.size
    assert (counts[weight == 0] == 0).all()


@given(weights_and_errors(), seeds)
def test_draw_tokens_binary_marks_what_count_drew(case, seed):
    weight, _ = case
    counts = draw_tokens(weight, sampling="count", random_state=seed)
    assert_array_equal(draw_tokens(weight, sampling="binary", random_state=seed), counts > 0)


@given(weights_and_errors())
def test_draw_tokens_weight_sums_to_n(case):
    weight, _ = case
    assert draw_tokens(weight, sampling="weight").sum() == pytest.approx(weight.size, rel=1e-12)


@pytest.mark.parametrize("make", [lambda: 7, lambda: np.random.default_rng(7), lambda: np.random.RandomState(7)])
def test_draw_tokens_repeats_itself_from_the_same_random_state(make):
    weight = np.ones(50)
    assert_array_equal(draw_tokens(weight, random_state=make()), draw_tokens(weight, random_state=make()))


@pytest.mark.parametrize("source", [np.random.default_rng(7), np.random.RandomState(7), None])
def test_draw_tokens_advances_a_generator(source):
    weight = np.ones(50)
    first = draw_tokens(weight, sampling="count", random_state=source)
    assert (first != draw_tokens(weight, sampling="count", random_state=source)).any()


@pytest.mark.parametrize("sampling", ["binary", "count", "weight"])
def test_draw_tokens_returns_float64_and_leaves_its_input_untouched(sampling):
    weight = WORKED.copy()
    drawn = draw_tokens(weight, sampling=sampling, random_state=0)
    assert drawn.dtype == np.float64
    assert_array_equal(weight, WORKED)


def test_draw_tokens_names_the_samplings_it_knows():
    with pytest.raises(ValueError, match=r"^sampling must be one of 'binary', 'count', 'weight'\. Got 'mask' instead"):
        draw_tokens(WORKED, sampling="mask")


@pytest.mark.parametrize("bad", [-1, 1.5, "0", True])
def test_draw_tokens_refuses_a_random_state_that_is_none(bad):
    with pytest.raises(ValueError, match=r"^random_state must be an integer of at least 0"):
        draw_tokens(WORKED, random_state=bad)


MANY = 1_000_003  # tokens: several blocks of the blockwise parts, the last one short


def many_weights(rng):
    """Weights over ten orders of magnitude, one in ten of them 0, the first and the last among these."""
    weight = np.exp(rng.uniform(-23, 0, MANY))
    weight[rng.random(MANY) < 0.1] = 0.0
    weight[[0, -1]] = 0.0
    return weight


@pytest.mark.parametrize("one_takes_nearly_all", [False, True])
@pytest.mark.slow
def test_draw_tokens_counts_where_the_uniforms_fall(one_takes_nearly_all):
    weight = many_weights(np.random.default_rng(4))
    if one_takes_nearly_all:
        weight[123_456] = 1e9
    bounds = np.cumsum(weight / weight.sum())
    position = np.random.default_rng(5).random(MANY) * bounds[-1]
    expected = np.bincount(np.searchsorted(bounds, position, side="right"), minlength=MANY)
    assert_array_equal(draw_tokens(weight, sampling="count", random_state=5), expected)


class EvenGenerator(np.random.Generator):
    """A generator whose uniforms are the bounds between equal weights."""

    def random(self, size):
        return np.arange(size) / size


def test_draw_tokens_loses_no_uniform_on_a_bound():
    n = 2**18  # powers of two: the bounds are exact
    assert_array_equal(
        draw_tokens(np.ones(n), sampling="count", random_state=EvenGenerator(np.random.PCG64(0))), np.ones(n)
    )


def test_reweight_of_many_tokens_equals_the_formula():
    rng = np.random.default_rng(6)
    weight, errors = many_weights(rng), rng.random(MANY)
    expected = weight * np.exp(1.7 * errors)
    assert_allclose(reweight(weight, errors, 1.7), expected / expected.sum(), rtol=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("sampling", ["binary", "count", "weight"])
def test_draw_tokens_holds_two_arrays_beside_the_weights(sampling):
    weight = many_weights(np.random.default_rng(7))
    assert peak_arrays(lambda: draw_tokens(weight, sampling=sampling, random_state=0)) < 2.3


def test_reweight_and_weighted_error_hold_one_array_beside_the_weights():
    rng = np.random.default_rng(8)
    weight, errors = many_weights(rng), rng.random(MANY) < 0.3
    assert peak_arrays(lambda: weighted_error(errors, weight)) < 1.5
    assert peak_arrays(lambda: reweight(weight, errors, 2.0)) < 1.5


@pytest.mark.parametrize(("answer", "length"), [(1, 3), (2, 2), (2, 3), (5, 2)])
def test_window_error_holds_three_arrays_beside_the_mistakes(answer, length):
    wrong = np.random.default_rng(8).random(MANY) < 0.3
    indptr = np.append(np.arange(0, MANY, answer), MANY)
    assert peak_arrays(lambda: window_error(wrong, indptr, length)) < 3.1


def peak_arrays(call):
    """Largest memory that `call` allocates, in float64 arrays of MANY entries."""
    call()  # imports and caches
    tracemalloc.start()
    try:
        call()
        return tracemalloc.get_traced_memory()[1] / (8 * MANY)
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("length", [1, 2, 50])
def test_booleans_count_as_0_and_1(length):
    rng = np.random.default_rng(9)
    weight, wrong = many_weights(rng), rng.random(MANY) < 0.3
    numbers = wrong.astype(float)
    indptr = np.append(np.arange(0, MANY, 7), MANY)
    assert weighted_error(wrong, weight) == weighted_error(numbers, weight)
    assert_array_equal(reweight(weight, wrong, 1.3), reweight(weight, numbers, 1.3))
    assert_array_equal(window_error(wrong, indptr, length), window_error(numbers, indptr, length))


# --- windows ----------------------------------------------------------------------------------------------------------


def test_window_error_tiles_each_answer_with_a_short_last_window():
    errors = [1, 0, 1, 1, 0, 0, 1]
    assert_allclose(window_error(errors, [0, 5, 7], 2), [0.5, 0.5, 1.0, 1.0, 0.0, 0.5, 0.5])


def test_window_error_of_one_token_is_the_token_algorithm():
    errors = np.array([1, 0, 0, 1, 0])
    assert_array_equal(window_error(errors, [0, 2, 5], 1), errors)


@pytest.mark.parametrize("length", [3, 100])
def test_window_error_of_whole_answers_is_one_unit_per_answer(length):
    assert_allclose(window_error([1, 0, 1, 0, 0], [0, 2, 5], length), [0.5, 0.5, 1 / 3, 1 / 3, 1 / 3])


@given(st.lists(st.integers(0, 9), min_size=1, max_size=12), st.integers(1, 12), seeds)
def test_window_error_equals_a_loop(lengths, length, seed):
    assume(sum(lengths) > 0)
    indptr = np.concatenate([[0], np.cumsum(lengths)])
    errors = np.random.default_rng(seed).integers(0, 2, indptr[-1])
    expected = []
    for start, stop in pairwise(indptr):
        for first in range(start, stop, length):
            window = errors[first : min(first + length, stop)]
            expected += [float(np.mean(window))] * len(window)
    assert_allclose(window_error(errors, indptr, length), expected, rtol=1e-15)
    sliding = [
        float(np.mean(errors[max(start, token + 1 - length) : token + 1]))
        for start, stop in pairwise(indptr) for token in range(start, stop)
    ]  # fmt: skip
    assert_allclose(window_error(errors, indptr, length, sliding=True), sliding, rtol=1e-15)


@pytest.mark.parametrize(
    ("indptr", "length", "message"),
    [
        ([0, 2], 1, r"^indptr must rise from 0 to the number of tokens, 3\. Got 0 … 2"),
        ([1, 3], 1, r"^indptr must rise from 0"),
        ([0, 2, 1, 3], 1, r"^indptr must rise from 0 .* with a descent between"),
        ([0.0, 3.0], 1, r"^indptr must be a vector of at least two integers"),
        ([3], 1, r"^indptr must be a vector of at least two integers"),
        ([0, 3], 0, r"^length must be an integer of at least 1\. Got 0"),
        ([0, 3], 1.5, r"^length must be an integer of at least 1\. Got 1\.5"),
    ],
)
def test_window_error_names_what_is_wrong(indptr, length, message):
    with pytest.raises(ValueError, match=message):
        window_error([1, 0, 1], indptr, length)


# --- the training bound -----------------------------------------------------------------------------------------------


def test_training_error_bound_of_the_binary_prior_is_adaboosts():
    errors = [0.2, 0.3, 0.45]
    expected = math.prod(2 * math.sqrt(error * (1 - error)) for error in errors)
    assert training_error_bound(errors, 0.5) == pytest.approx(expected, rel=1e-14)


def test_training_error_bound_takes_one_prior_per_round():
    expected = math.sqrt(0.2 * 0.8 / (0.6 * 0.4)) * math.sqrt(0.3 * 0.7 / (0.5 * 0.5))
    assert training_error_bound([0.2, 0.3], [0.6, 0.5]) == pytest.approx(expected, rel=1e-14)


def test_training_error_bound_of_a_perfect_round_is_zero():
    assert training_error_bound([0.0], 0.8) == 0.0


@given(st.floats(0.51, 0.99), st.floats(0.01, 0.99))
def test_training_error_bound_grows_exactly_between_the_prior_and_its_mirror(prior_error, error):
    assume(min(abs(error - prior_error), abs(error - (1 - prior_error))) > 1e-6)
    assert (training_error_bound([error], prior_error) > 1) == (1 - prior_error < error < prior_error)


@given(seeds, st.sampled_from([0.5, 0.6, 0.8, 0.9]), st.integers(1, 12))
def test_training_error_bound_holds_for_the_hard_vote(seed, prior_error, n_rounds):
    rng = np.random.default_rng(seed)
    weight = np.full(30, 1 / 30)
    wrong_votes, votes, errors = np.zeros(30), 0.0, []
    difficulty = rng.random(30) * rng.random()
    for _ in range(n_rounds):
        wrong = rng.random(30) < difficulty
        error = weighted_error(wrong, weight)
        if not 0 < error < prior_error:
            continue
        vote = estimator_weight(error, prior_error)
        weight = reweight(weight, wrong, vote)
        wrong_votes += vote * wrong
        votes += vote
        errors.append(error)
    assume(errors)
    training_error = np.mean(wrong_votes >= votes / 2)  # a tie is an error
    assert training_error <= training_error_bound(errors, prior_error) * (1 + 1e-9)


@pytest.mark.parametrize(
    ("errors", "priors", "message"),
    [
        ([0.2, 1.2], 0.5, r"^errors must hold numbers in \[0, 1\]"),
        ([0.2, 0.3], [0.5], r"^prior_errors must have shape \(2,\), one per round"),
        ([0.2, 0.3], [0.5, 1.0], r"^prior_errors must lie in \(0, 1\)\. Got prior_errors\[1\] = 1\.0"),
        ([0.2], 0.0, r"^prior_errors must lie in \(0, 1\)"),
    ],
)
def test_training_error_bound_names_what_is_wrong(errors, priors, message):
    with pytest.raises(ValueError, match=message):
        training_error_bound(errors, priors)
