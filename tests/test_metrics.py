"""Metrics against hand-counted numbers and scipy's own bootstrap."""

from __future__ import annotations

import collections
import itertools
import math
import re
import string
import sys

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import brier_score_loss

from ensemw2s import (
    bootstrap_interval,
    chance_level,
    exact_match,
    expected_calibration_error,
    interval_over_seeds,
    majority_at_k,
    number_match,
    option_accuracy,
    paired_bootstrap_interval,
    pass_at_k,
    performance_gap_recovered,
    token_error,
    token_f1,
)
from ensemw2s.metrics import as_extract, as_metric, brier_scores, gap_over_seeds

# --- token error and option accuracy ----------------------------------------------------------------------------------


def test_token_error_counts_wrong_tokens():
    assert token_error([1, 2, 3, 4], [1, 2, 0, 0]) == 0.5


def test_token_error_averages_over_tokens_not_over_answers():
    # One wrong answer of one token, one right answer of three: 1/4, where the mean over answers would be 1/2.
    assert token_error([9, 1, 2, 3], [5, 1, 2, 3]) == 0.25


def test_option_accuracy_compares_labels():
    assert option_accuracy(["A", "B", "1", "4"], ["A", "B", "2", "4"]) == 0.75


def test_option_accuracy_compares_indices():
    assert option_accuracy(np.array([0, 3, 1]), [0, 2, 1]) == pytest.approx(2 / 3)


def test_option_accuracy_compares_object_arrays_of_text():
    assert option_accuracy(np.array(["A", "B"], dtype=object), ["A", "C"]) == 0.5


@pytest.mark.parametrize(
    ("chosen", "gold", "message"),
    [
        ([], [], r"^chosen and gold must not be empty"),
        ([0, 1], [0], r"^chosen and gold must have the same length, one entry per question\. Got 2 and 1"),
        ([[0, 1]], [[0, 1]], r"^chosen must have one dimension\. Got shape \(1, 2\)"),
        ([0], [[0]], r"^gold must have one dimension"),
        (["A"], [0], r"^chosen and gold must be written the same way\. Got dtypes <U1 and int64"),
        (np.array(["A"], dtype=object), [0], r"^chosen and gold must be written the same way"),
    ],
)
def test_option_accuracy_names_what_is_wrong(chosen, gold, message):
    with pytest.raises(ValueError, match=message):
        option_accuracy(chosen, gold)


def test_token_error_names_its_own_arguments():
    with pytest.raises(
        ValueError, match=r"^predicted and labels must have the same length, one entry per answer token"
    ):
        token_error([1, 2], [1])


# --- chance -----------------------------------------------------------------------------------------------------------


def test_chance_level_of_one_number_of_choices():
    assert chance_level(4) == 0.25


def test_chance_level_averages_over_questions_with_different_numbers_of_choices():
    assert chance_level([3, 4, 5]) == pytest.approx((1 / 3 + 1 / 4 + 1 / 5) / 3)


@pytest.mark.parametrize(
    ("n_choices", "message"),
    [
        ([4, 0], r"^n_choices must hold integers of at least 1\. Got 0 in row 1"),
        (2.5, r"^n_choices must hold integers of at least 1\. Got 2\.5 in row 0"),
        ([], r"^n_choices must not be empty"),
    ],
)
def test_chance_level_names_what_is_wrong(n_choices, message):
    with pytest.raises(ValueError, match=message):
        chance_level(n_choices)


# --- performance gap recovered ----------------------------------------------------------------------------------------


def test_performance_gap_recovered_of_a_student_half_way():
    assert performance_gap_recovered(0.70, 0.74, 0.78) == pytest.approx(0.5)


def test_performance_gap_recovered_is_not_clipped_above():
    assert performance_gap_recovered(0.70, 0.72, 0.705) == pytest.approx(4.0)


def test_performance_gap_recovered_is_not_clipped_below():
    assert performance_gap_recovered(0.70, 0.66, 0.78) == pytest.approx(-0.5)


@pytest.mark.parametrize(
    ("weak", "oracle", "noise", "reason"),
    [
        (0.75, 0.70, 0.0, r"the oracle \(0\.7\) is not better than the weak model \(0\.75\)"),
        (0.75, 0.75, 0.0, r"the oracle \(0\.75\) is not better than the weak model \(0\.75\)"),
        (0.75, 0.70, 0.1, r"is not better than the weak model"),
        (0.70, 0.72, 0.03, r"between oracle \(0\.72\) and weak model \(0\.7\) is within the noise \(0\.03\)"),
        (0.50, 0.75, 0.25, r"within the noise \(0\.25\)"),
    ],
)
def test_performance_gap_recovered_without_a_gap_is_nan_and_says_why(weak, oracle, noise, reason):
    with pytest.warns(RuntimeWarning, match=rf"^performance_gap_recovered is nan: .*{reason}") as record:
        assert math.isnan(performance_gap_recovered(weak, 0.74, oracle, noise=noise))
    assert record[0].filename == __file__  # stacklevel: the caller's line


def test_performance_gap_recovered_beyond_the_noise_is_a_number():
    assert performance_gap_recovered(0.70, 0.74, 0.78, noise=0.05) == pytest.approx(0.5)


def test_performance_gap_recovered_below_chance_is_nan_and_says_who():
    with pytest.warns(
        RuntimeWarning, match=r"below chance \(0\.5\) lies the weak model \(0\.3\) and the student \(0\.367"
    ):
        assert math.isnan(performance_gap_recovered(0.3, 0.367, 0.433, chance=0.5))
    assert performance_gap_recovered(0.5, 0.6, 0.7, chance=0.5) == pytest.approx(0.5)  # at chance a gap can begin


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"weak": math.nan}, r"^weak must be finite"),
        ({"student": "high"}, r"^student must be a number"),
        ({"oracle": None}, r"^oracle must be a number"),
        ({"noise": -0.1}, r"^noise must not be negative"),
    ],
)
def test_performance_gap_recovered_names_what_is_wrong(arguments, message):
    with pytest.raises(ValueError, match=message):
        performance_gap_recovered(**{"weak": 0.7, "student": 0.74, "oracle": 0.78, **arguments})


# --- bootstrap intervals ----------------------------------------------------------------------------------------------


@pytest.fixture
def correct():
    """0/1 outcomes of 120 questions, 70 % right."""
    return (np.random.default_rng(5).random(120) < 0.7).astype(float)


def test_bootstrap_interval_is_scipys_bca(correct):
    expected = stats.bootstrap(
        (correct,), np.mean, n_resamples=2000, confidence_level=0.9, method="BCa", rng=np.random.default_rng(3)
    ).confidence_interval
    assert bootstrap_interval(correct, confidence_level=0.9, random_state=3) == pytest.approx(
        tuple(expected), abs=1e-12
    )


def test_bootstrap_interval_holds_the_mean_and_has_about_the_normal_width(correct):
    low, high = bootstrap_interval(correct, random_state=0)
    assert low < correct.mean() < high
    assert high - low == pytest.approx(2 * 1.96 * correct.std() / math.sqrt(correct.size), rel=0.15)


@pytest.mark.slow
def test_bootstrap_interval_covers_the_population_mean_as_often_as_it_says():
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(300):
        low, high = bootstrap_interval(rng.random(80) < 0.7, n_resamples=400, random_state=rng)
        covered += low <= 0.7 <= high
    assert 0.91 <= covered / 300 <= 0.985


@pytest.mark.parametrize("values", [[1.0] * 30, [0, 0], [0.5]])
def test_bootstrap_interval_of_constant_values_has_no_width(values):
    assert bootstrap_interval(values, random_state=0) == (values[0], values[0])


def test_bootstrap_interval_falls_back_to_percentiles_where_bca_is_undefined():
    # Both resamples of this seed lie on one side of the mean: BCa's bias correction is infinite.
    values, seed = [0, 0, 0, 1, 1], 4
    with np.errstate(all="ignore"), pytest.warns(stats.DegenerateDataWarning):
        undefined = stats.bootstrap((values,), np.mean, n_resamples=2, rng=np.random.default_rng(seed))
    assert math.isnan(undefined.confidence_interval.low)
    low, high = bootstrap_interval(values, n_resamples=2, random_state=seed)
    assert 0 <= low <= high <= 1


def test_bootstrap_interval_of_many_values_is_the_percentile_interval():
    values = np.random.default_rng(1).random(10_001)
    expected = stats.bootstrap(
        (values,), np.mean, n_resamples=200, method="percentile", batch=50, rng=np.random.default_rng(4)
    ).confidence_interval
    assert bootstrap_interval(values, n_resamples=200, random_state=4) == pytest.approx(tuple(expected), abs=1e-12)


def test_bootstrap_interval_repeats_itself(correct):
    assert bootstrap_interval(correct, random_state=1) == bootstrap_interval(correct, random_state=1)


def test_bootstrap_interval_takes_a_random_state_object(correct):
    low, high = bootstrap_interval(correct, random_state=np.random.RandomState(0))
    assert low < high


def test_bootstrap_interval_widens_with_the_confidence_level(correct):
    narrow = bootstrap_interval(correct, confidence_level=0.5, random_state=0)
    wide = bootstrap_interval(correct, confidence_level=0.99, random_state=0)
    assert wide[0] < narrow[0] < narrow[1] < wide[1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"values": []}, r"^values must not be empty"),
        ({"values": [0.0, math.nan]}, r"^values must hold finite numbers\. Got values\[1\] = nan"),
        ({"confidence_level": 95}, r"^confidence_level must lie in \(0, 1\)\. Got 95\.0"),
        ({"n_resamples": 1}, r"^n_resamples must be an integer of at least 2"),
    ],
)
def test_bootstrap_interval_names_what_is_wrong(arguments, message):
    with pytest.raises(ValueError, match=message):
        bootstrap_interval(**{"values": [0, 1, 1], **arguments})


def test_bootstrap_interval_over_groups_draws_whole_groups():
    # k copies of each value are no more evidence than the values: the cluster bootstrap gives scipy's BCa of those.
    once = np.random.default_rng(0).random(60)
    settings = {"n_resamples": 4000, "random_state": 0}
    grouped = bootstrap_interval(np.repeat(once, 5), groups=np.repeat(np.arange(60), 5), **settings)
    np.testing.assert_allclose(grouped, bootstrap_interval(once, **settings), rtol=1e-12)
    assert np.diff(grouped) > 2 * np.diff(bootstrap_interval(np.repeat(once, 5), **settings))
    apart = bootstrap_interval(once, groups=[f"question {row}" for row in range(60)], **settings)
    np.testing.assert_allclose(apart, bootstrap_interval(once, **settings), rtol=1e-12)


def test_bootstrap_interval_over_groups_of_unequal_size_has_the_width_of_a_ratio():
    # The delta method for a ratio of sums: sd(mean) = sqrt(sum((s_g - m n_g)^2)) / n, here within simulation error.
    rng = np.random.default_rng(1)
    sizes = rng.integers(1, 8, size=300)
    groups = np.repeat(np.arange(300), sizes)
    values = rng.normal(size=300)[groups] + 0.3 * rng.normal(size=groups.size)
    residuals = np.bincount(groups, weights=values - values.mean())
    expected = 2 * 1.96 * np.sqrt(np.sum(residuals**2)) / values.size
    assert np.diff(bootstrap_interval(values, groups=groups, random_state=0)) == pytest.approx(expected, rel=0.08)
    shuffled = rng.permutation(values.size)
    one = paired_bootstrap_interval(values, 0 * values, groups=groups, random_state=0)
    other = paired_bootstrap_interval(values[shuffled], 0 * values, groups=groups[shuffled], random_state=0)
    np.testing.assert_allclose(np.diff(one), np.diff(other), rtol=0.1)


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ([0, 1], "values and groups must have the same length. Got 3 and 2"),
        ([0, None, 1], r"groups must name a group for each row. Got groups\[1\] = None"),
        (["a", "a", "a"], "groups must be two at least"),
    ],
)
def test_bootstrap_interval_refuses_groups_that_are_none(groups, message):
    with pytest.raises(ValueError, match=message):
        bootstrap_interval([0, 1, 1], groups=groups)


def test_paired_bootstrap_interval_is_that_of_the_differences(correct):
    other = np.roll(correct, 1)
    assert paired_bootstrap_interval(correct, other, random_state=2) == bootstrap_interval(
        correct - other, random_state=2
    )


def test_paired_bootstrap_interval_is_positive_where_a_is_better():
    b = np.tile([0.0, 1.0], 50)
    a = b.copy()
    a[:20] = 1.0
    low, high = paired_bootstrap_interval(a, b, random_state=0)
    assert 0 < low < 0.1 < high


def test_paired_bootstrap_interval_is_narrower_than_the_unpaired_one(correct):
    # Two models that agree on all but six questions; scipy's own two-sample bootstrap does not know the pairs.
    other = correct.copy()
    other[:6] = 1 - other[:6]
    low, high = paired_bootstrap_interval(correct, other, random_state=0)
    unpaired = stats.bootstrap(
        (correct, other),
        lambda a, b, axis: a.mean(axis) - b.mean(axis),
        method="percentile",
        rng=np.random.default_rng(0),
    ).confidence_interval
    assert high - low < 0.6 * (unpaired.high - unpaired.low)


def test_paired_bootstrap_interval_refuses_arrays_of_different_length():
    with pytest.raises(ValueError, match=r"^b must have shape \(3,\), one per question, as a has\. Got shape \(2,\)"):
        paired_bootstrap_interval([0, 1, 1], [0, 1])


# --- intervals over seeds ---------------------------------------------------------------------------------------------


def excludes_zero(interval):
    low, high = interval
    return not low <= 0 <= high


def equally_good_models(rng, n_seeds, n_items, training_sd):
    """Right minus right of two models whose accuracies differ by chance alone, each training a draw of its own."""
    known = rng.beta(1.0, 0.45, size=(n_seeds, n_items))  # how sure an item is to be answered
    first, second = (
        rng.random((n_seeds, n_items)) < known + rng.normal(0.0, training_sd, (n_seeds, 1)) for _ in range(2)
    )
    return first.astype(float) - second


@pytest.mark.slow
@pytest.mark.parametrize(
    ("n_seeds", "n_items", "training_sd"), [(2, 300, 0.02), (3, 300, 0.02), (5, 600, 0.03), (3, 300, 0.0)]
)
def test_interval_over_seeds_holds_its_level(n_seeds, n_items, training_sd):
    rng = np.random.default_rng(0)
    draws = [equally_good_models(rng, n_seeds, n_items, training_sd) for _ in range(1000)]
    assert np.mean([excludes_zero(interval_over_seeds(draw)) for draw in draws]) < 0.05 + 3 * math.sqrt(
        0.05 * 0.95 / 1000
    )
    if training_sd > 0:  # the items of all seeds alone do not
        pooled = np.array([1.96 * draw.std() / math.sqrt(draw.size) for draw in draws])
        assert np.mean(np.abs([draw.mean() for draw in draws]) > pooled) > 0.1


def test_interval_over_seeds_with_one_test_set_for_all_seeds_counts_its_items_once():
    rng = np.random.default_rng(0)
    n_seeds, n_items, excluded = 5, 200, {"known": 0, "taken for different": 0}
    for _ in range(400):
        first, second = rng.beta(1.0, 0.45, size=(2, n_items))  # each good at items of its own, in every training
        draw = (rng.random((n_seeds, n_items)) < first).astype(float) - (rng.random((n_seeds, n_items)) < second)
        excluded["known"] += excludes_zero(interval_over_seeds(draw, items=[np.arange(n_items)] * n_seeds))
        excluded["taken for different"] += excludes_zero(interval_over_seeds(draw))
    assert excluded["known"] / 400 < 0.05 + 3 * math.sqrt(0.05 * 0.95 / 400)
    assert excluded["taken for different"] / 400 > 0.1


def test_interval_over_seeds_is_students_where_seeds_differ():
    samples = [mean + np.array([-0.01, 0.01, -0.01, 0.01]) for mean in (0.1, 0.3, 0.2, 0.5)]
    expected = stats.t.interval(0.9, 3, loc=0.275, scale=stats.sem([0.1, 0.3, 0.2, 0.5]))
    assert interval_over_seeds(samples, confidence_level=0.9) == pytest.approx(expected)


def test_interval_over_seeds_that_agree_by_chance_is_that_of_their_items():
    sample = np.array([1.0, 0.0, 0.0, -1.0, 1.0, 0.0])
    low, high = interval_over_seeds([sample, sample[::-1], np.roll(sample, 1)])
    assert (low + high) / 2 == pytest.approx(sample.mean())
    assert (high - low) / 2 == pytest.approx(1.959964 * sample.std(ddof=1) / math.sqrt(18))


def test_items_are_told_apart_by_what_they_are():
    values = [[1, 0, 0], [1, 1, 0], [0, 1, 1]]
    named = [["a", 1, "b"], ["b", "c", 1], ["d", "1", "e"]]  # 1 and "1" are two items
    numbered = [[0, 1, 2], [2, 3, 1], [4, 5, 6]]
    objects = [np.array(names, dtype=object) for names in named]
    assert interval_over_seeds(values, items=objects) == interval_over_seeds(values, items=numbered)


@pytest.mark.parametrize(
    ("student", "message"),
    [
        ([[0, 1], [1, 1]], r"^student must have the seeds and items of weak, \[2\] items by seed\. Got \[2, 2\]"),
        ([[0, 1, 1]], r"^student must have the seeds and items of weak, \[2\] items by seed\. Got \[3\]"),
    ],
)
def test_gap_over_seeds_refuses_other_seeds_and_items(student, message):
    with pytest.raises(ValueError, match=message):
        gap_over_seeds([[0, 0]], student, [[1, 1]])


def test_interval_over_one_seed_is_the_bootstrap_over_its_items(correct):
    assert interval_over_seeds([correct], random_state=2) == bootstrap_interval(correct, random_state=2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"values": []}, r"^values must hold the values of at least one seed"),
        ({"values": [[0.0, 1.0], []]}, r"^values\[1\] must not be empty"),
        ({"values": [0.1, 0.2]}, r"^values\[0\] must have one dimension"),
        ({"items": [[1, 2]]}, r"^items\[1\] must have shape \(2,\), as values\[1\] has\. Got None"),
        ({"items": [[1, 2], [3]]}, r"^items\[1\] must have shape \(2,\), as values\[1\] has\. Got \(1,\)"),
        ({"items": [[1, 2], [3, 4], [5, 6]]}, r"^items must have 2 entries, one per seed\. Got 3"),
        ({"confidence_level": 95}, r"^confidence_level must lie in \(0, 1\)"),
    ],
)
def test_interval_over_seeds_names_what_is_wrong(arguments, message):
    with pytest.raises(ValueError, match=message):
        interval_over_seeds(**{"values": [[0.0, 1.0], [1.0, 1.0]], **arguments})


# --- the answer within a text -----------------------------------------------------------------------------------------


def test_an_answer_is_the_last_match_that_says_something():
    assert as_extract(r"is (\w+)")("It is 3. No: it is 4.") == "4"
    assert as_extract(re.compile(r"\d*"))("12 of 17 left") == "17"  # \d* matches nothing at the end as well
    assert as_extract(r"is (\w+)?")("so it is ") is None
    assert as_extract(None)("  blue \n") == "blue"
    assert as_extract(None)(" \u200b") is None
    assert as_extract(lambda text: text.partition("####")[2] or None)("9 + 9 #### 18") == "18"


def test_what_finds_no_answers_is_refused():
    with pytest.raises(ValueError, match=r"extract must be a regular expression.*re\.escape"):
        as_extract("(")
    with pytest.raises(TypeError, match=r"extract must be a callable, a regular expression or None"):
        as_extract(3)
    with pytest.raises(TypeError, match=r"extract must return a text or None\. Got 5 of 'a'"):
        as_extract(lambda text: 5)("a")


# --- texts and numbers ------------------------------------------------------------------------------------------------


def official_f1_and_em(prediction, reference):
    """The arithmetic of evaluate-v2.0.py of SQuAD 2.0, on words that are split already."""

    def words(text):
        text = "".join(letter for letter in text.lower() if letter not in set(string.punctuation))
        return re.sub(r"\b(a|an|the)\b", " ", text).split()

    said, right = words(prediction), words(reference)
    same = sum((collections.Counter(said) & collections.Counter(right)).values())
    if not said or not right:
        return float(said == right), float(said == right)
    if not same:
        return 0.0, float(said == right)
    precision, recall = same / len(said), same / len(right)
    return 2 * precision * recall / (precision + recall), float(said == right)


@pytest.mark.parametrize(
    ("said", "right", "f1", "match"),
    [
        ("The Eiffel-Tower!", "eiffeltower", 1.0, 1.0),
        ("in the year 1889", "1889", 0.5, 0.0),
        ("a cat cat", "cat", 2 / 3, 0.0),  # a bag, not a set
        ("a", "the", 1.0, 1.0),  # no word is left of either
        ("the", "cat", 0.0, 0.0),
        ("Théa an den", "théa den", 1.0, 1.0),  # articles are whole words
        ("dog", "cat", 0.0, 0.0),
    ],
)
def test_f1_and_exact_match_are_those_of_squad(said, right, f1, match):
    assert (token_f1([said], [right])[0], exact_match([said], [right])[0]) == (pytest.approx(f1), match)
    assert official_f1_and_em(said, right) == (pytest.approx(f1), match)


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("1,234.50", "1234.5"), ("1,234,567 km", "1234567"), ("1,2", "2"), ("1\u202f000", "1000"), ("-3", "-3"),
        ("−3", "-3"), ("10-3", "3"), ("covid-19", "19"), ("- 4 apples", "4"), ("so (-4)", "-4"), ("1/2", "0.5"),
        ("2 1/2", "2.5"), ("−2½", "-2.5"), ("12 3/2", "1.5"), ("½", "1/2"), ("$5.00", "5"), ("-$5", "-5"),
        ("$-5", "-5"), ("12%", "12"), ("#### 1,000", "1000"), ("9 + 9 = 18\n#### 18 (not 7)", "18"), ("3.", "3"),
        ("so...3", "3"), ("is .5", "1/2"), ("1e3", "1000"), ("2.5e-1", "1/4"), ("first 3, then 4.", "4"),
        ("1e99999999", "99999999"),
    ],
)  # fmt: skip
def test_the_number_of_a_text(text, number):
    assert number_match([text], [number]) == 1.0
    assert number_match([text], ["31415"]) == 0.0


def test_numbers_are_compared_without_rounding_and_none_is_wrong():
    # 0.1 + 0.2 and 0.3 are one fraction; in float64 they differ. 1/3 is not 0.3333333333333333.
    assert number_match(["3/10", "1/3"], ["0.30", "0.3333333333333333"]).tolist() == [1, 0]
    assert number_match(["none", "", "1/0", "7 #### nothing", "1" * 5000], ["7"] * 5).tolist() == [0] * 5
    with pytest.raises(ValueError, match=r"references\[1\] = 'blue'.*exact_match"):
        number_match(["1", "2"], ["1", "blue"])


def test_a_metric_compares_what_is_extracted():
    metric = as_metric("f1", r"answer is (.*)", kind="texts")
    assert metric.name == "f1"
    # A reference without a match is the answer itself, a prediction without one is wrong whatever it says.
    assert metric(["The answer is red fox", "red fox"], ["red", "red fox"]).tolist() == [pytest.approx(2 / 3), 0]
    length = as_metric(lambda said, right: [min(len(text), 4) / 4 for text in said], kind="texts")
    assert length(["ab", " ", "abcd"], ["x", "y", "z"]).tolist() == [0.5, 0.0, 1.0]
    with pytest.raises(ValueError, match=r"numbers in \[0, 1\]. Got what metric 'score' returns\[2\] = 5.0"):
        as_metric(lambda said, right: [0.0, 5.0], kind="texts")(["ab", " ", "abcd"], ["x", "y", "z"])
    assert length.name == "score"
    assert as_metric(token_f1, kind="options").name == "token_f1"


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        ([0.5], r"what metric 'score' returns must have shape \(2,\), one per prediction"),
        (0.5, r"what metric 'score' returns must have one dimension"),
        ([0.0, np.nan], r"what metric 'score' returns must hold finite numbers. Got what metric 'score' returns\[1\]"),
        ([2.0, 0.0], r"numbers in \[0, 1\]. Got what metric 'score' returns\[0\] = 2.0"),
    ],
)
def test_what_a_metric_returns_is_checked(returned, message):
    with pytest.raises(ValueError, match=message):
        as_metric(lambda said, right: returned, kind="texts")(["a", "b"], ["a", "b"])


def test_a_metric_that_does_not_fit_is_refused():
    with pytest.raises(ValueError, match=r"metric must be one of 'accuracy', 'exact_text', .*'rouge'. Got 'bleu'"):
        as_metric("bleu", kind="texts")
    with pytest.raises(ValueError, match=r"metric='accuracy' needs options"):
        as_metric("accuracy", kind="texts")
    with pytest.raises(ValueError, match=r"Leave extract out"):
        as_metric(None, r"\d+", kind="options")
    with pytest.raises(TypeError, match=r"or a function \(predictions, references\)"):
        as_metric(3, kind="texts")


def test_rouge_is_that_of_the_kept_package(monkeypatch):
    rouge = as_metric("rouge", kind="texts")
    # The longest common subsequence of "the cat sat" and "the cat sits down" has 2 words: P 2/3, R 2/4.
    assert rouge(["the cat sat"], ["the cat sits down"])[0] == pytest.approx(2 * (2 / 3) * (2 / 4) / (2 / 3 + 2 / 4))
    monkeypatch.setitem(sys.modules, "rouge_score.rouge_scorer", None)
    with pytest.raises(ImportError, match=r"pip install ensemw2s\[rouge\]"):
        rouge.check(["the cat"])


# --- several samples --------------------------------------------------------------------------------------------------


def test_pass_at_k_is_the_share_of_draws_with_a_right_sample():
    for n, c, k in [(5, 0, 2), (5, 1, 2), (5, 2, 3), (6, 5, 2), (6, 6, 1), (7, 3, 7)]:
        draws = list(itertools.combinations([True] * c + [False] * (n - c), k))
        assert pass_at_k(n, [c], k)[0] == pytest.approx(np.mean([any(draw) for draw in draws]), abs=1e-12)
    # C(10000, 5000) is beyond float64.
    assert pass_at_k(10_000, [1, 10_000], k=5_000) == pytest.approx([0.5, 1.0])
    with pytest.raises(ValueError, match=r"n_samples\[0\] must be an integer of at least 3"):
        pass_at_k(2, [1], k=3)
    with pytest.raises(ValueError, match=r"n_correct must not exceed n_samples. Got 3 of 2 in row 1"):
        pass_at_k(2, [1, 3], k=1)


def test_the_majority_earns_what_its_answer_does():
    answers = [["4", "4", "3"], ["1", "2", None], [None] * 3, ["a", "b", "b"]]
    earned = [[1, 1, 0], [0, 1, 0], [0, 0, 0], [1, 0.5, 0.5]]
    assert majority_at_k(answers, earned).tolist() == [1.0, 0.5, 0.0, 0.5]


# --- calibration ------------------------------------------------------------------------------------------------------


def test_the_calibration_error_is_that_of_a_loop_over_bins():
    rng = np.random.default_rng(0)
    proba, labels = rng.dirichlet([1, 1, 1], size=300), rng.integers(3, size=300)
    total = 0.0
    for b in range(10):
        rows = [row for row in range(300) if b / 10 < proba[row].max() <= (b + 1) / 10]
        if rows:
            hits = np.mean([proba[row].argmax() == labels[row] for row in rows])
            total += len(rows) / 300 * abs(hits - np.mean([proba[row].max() for row in rows]))
    assert expected_calibration_error(proba, labels) == pytest.approx(total)
    # A tie of two is half right, whichever comes first: 0.5 is then just what it says.
    assert expected_calibration_error([[0.5, 0.5]] * 2, [0, 1]) == 0.0
    with pytest.raises(ValueError, match=r"proba must have shape \(n, K\) and labels \(n,\)"):
        expected_calibration_error([0.5], [0])


def test_brier_scores_average_to_scikit_learns():
    rng = np.random.default_rng(0)
    for k in (2, 3):
        proba, labels = rng.dirichlet([1] * k, size=50), rng.integers(k, size=50)
        if k == 2:
            expected = brier_score_loss(labels, proba[:, 1])
        else:
            expected = np.mean(((proba - np.eye(k)[labels]) ** 2).sum(axis=1))
        assert brier_scores(proba, labels).mean() == pytest.approx(expected)
