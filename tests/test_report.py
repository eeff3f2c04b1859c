"""W2SReport: scores, intervals, PGR and its reasons."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from ensemw2s import CheckpointError, W2SReport


def row(n_right, n=100):
    return np.arange(n) < n_right


def report(weak=50, baseline=55, student=60, oracle=80, **kwargs):
    correct = {"weak": row(weak), "ensemble": row(weak + 2), "uniform": row(weak + 1), "baseline": row(baseline),
               "student": row(student), "oracle": row(oracle)}  # fmt: skip
    settings = {
        "staged": [row(weak), row(weak + 1), row(weak + 2)], "chance": 0.25, "votes": np.array([2.0, 1.0, 0.5]),
        "errors": np.array([0.2, 0.3, 0.4]), "stop_reason": "n_estimators", **kwargs,
    }  # fmt: skip
    return W2SReport(correct, **settings)


def test_scores_are_shares_of_items():
    r = report()
    assert (r.weak_score, r.ensemble_score, r.baseline_score, r.student_score, r.oracle_score) == (
        0.5, 0.52, 0.55, 0.6, 0.8,
    )  # fmt: skip
    assert r.staged_scores == [0.5, 0.51, 0.52]
    assert r.n == 100


def test_a_missing_model_has_no_score():
    assert np.isnan(W2SReport({"weak": row(5)}).oracle_score)


def test_pgr_is_a_share_of_the_gap():
    assert report().pgr == pytest.approx((0.6 - 0.5) / (0.8 - 0.5))
    assert report().performance_gap_recovered("baseline")[0] == pytest.approx((0.55 - 0.5) / 0.3)


def test_pgr_is_never_clipped():
    assert report(student=90).pgr == pytest.approx(4 / 3)
    assert report(student=40).pgr == pytest.approx(-1 / 3)


def test_pgr_is_nan_with_a_reason_where_the_oracle_is_not_better():
    pgr, reason = report(oracle=50).performance_gap_recovered()
    assert np.isnan(pgr)
    assert "not better than the weak model" in reason


def test_pgr_is_nan_with_a_reason_inside_the_noise():
    r = report(oracle=51)
    rng = np.random.default_rng(0)
    r.correct["oracle"] = rng.permutation(r.correct["oracle"])  # pairs that disagree often: a wide interval
    pgr, reason = r.performance_gap_recovered()
    assert np.isnan(pgr)
    assert "within the noise" in reason


def test_pgr_below_chance_is_nan_with_a_reason():
    pgr, reason = report(weak=30, student=37, oracle=90, chance=0.5).performance_gap_recovered()
    assert np.isnan(pgr)
    assert "below chance (0.5) lies the weak model (0.3) and the student (0.37)" in reason


def test_pgr_without_an_oracle_says_what_is_missing():
    r = W2SReport({"weak": row(50), "student": row(60)})
    assert r.performance_gap_recovered() == (pytest.approx(float("nan"), nan_ok=True), "no oracle was trained")


def test_the_interval_covers_a_known_share():
    # normal approximation for 60 of 100: .6 +- 1.96 * sqrt(.24/100) = .504 .. .696
    low, high = report().interval("student")
    assert low == pytest.approx(0.504, abs=0.02)
    assert high == pytest.approx(0.696, abs=0.02)


def test_the_difference_is_paired():
    r = report()
    difference, low, high = r.difference("student", "baseline")
    assert difference == pytest.approx(0.05)
    # five items of a hundred differ, all in one direction: unpaired intervals would reach below -0.08
    assert 0.0 < low < 0.05 < high < 0.12


def test_the_frame_has_a_row_per_model_and_number_of_members():
    frame = report(token_errors={"weak": 0.5}).to_frame()
    assert list(frame.columns) == ["accuracy", "low", "high", "token_error", "pgr"]
    assert len(frame) == 7  # six models and the ensemble of two
    assert frame.loc["weak, ensemble of 2", "accuracy"] == 0.51
    assert frame.loc["weak (first member)", "token_error"] == 0.5


def test_the_frame_of_classifiers_has_no_token_error():
    assert "token_error" not in report().to_frame().columns


def test_markdown_has_the_table_n_chance_and_votes():
    text = report().to_markdown()
    lines = text.splitlines()
    assert lines[0].startswith("| model | accuracy | low | high |")
    assert len([line for line in lines if line.startswith("|")]) == 9
    assert "nan" not in text
    assert "n = 100 test items, chance 0.250" in text
    assert "votes: 2.00, 1.00, 0.50; boosting ended with 'n_estimators'" in text


def test_repr_is_the_same_table_for_a_terminal():
    text = repr(report(oracle=50))
    assert text.startswith("W2SReport\n")
    assert "student on true labels (oracle)" in text
    assert "there is no gap to recover" in text


def test_ties_count_in_part_and_are_stated():
    r = W2SReport({"weak": [0.25] * 40, "student": [1, 0.5] * 20})
    assert (r.weak_score, r.student_score) == (0.25, 0.75)
    assert (r.n_tied("weak"), r.n_tied("student")) == (40, 20)
    for text in (repr(r), r.to_markdown()):
        assert "weak (first member) 40, student of the ensemble (W2S) 20" in text


def test_one_line_says_what_the_members_could_gain():
    # Of ten items: a has the first six, b items 4 to 8; the one item that both miss they miss differently.
    a, b = np.array([0] * 6 + [1] * 4), np.array([1] * 4 + [0] * 5 + [2])
    r = report_of_members(a, b)
    table = np.array([[2, 4], [3, 1]])  # both right, only a; only b, neither
    phi = (table[0, 0] * table[1, 1] - table[0, 1] * table[1, 0]) / np.sqrt(6 * 4 * 5 * 5)
    assert r.diversity() == pytest.approx({"oracle": 0.9, "disagreement": 0.8, "error_correlation": phi})
    line = (
        f"What the 2 members could gain: at least one is right on 0.900 of the items (oracle of members), two "
        f"differ on 0.800, correlation of their mistakes {phi:.2f}."
    )
    for text in (repr(r), r.to_markdown()):
        assert line in text
    assert "correlation of their mistakes not defined" in repr(report_of_members(a, np.zeros(10, dtype=int)))
    assert "could gain" not in repr(report_of_members(a))


def report_of_members(*answers, **kwargs):
    right = [np.equal(row, 0) for row in answers]
    return W2SReport(
        {"weak": right[0], "ensemble": right[-1], "uniform": right[0]}, right, member_answers=np.stack(answers),
        member_correct=right, **kwargs,
    )  # fmt: skip


def test_each_expert_has_a_row():
    a, b, c = np.array([0, 0, 1, 1]), np.array([1, 0, 0, 0]), np.array([2, 0, 1, 1])
    frame = report_of_members(a, b, c, member_names=["writer", "verifier", "words"], votes_by="held-out").to_frame()
    assert frame["accuracy"].to_dict() == {
        "weak (first member), writer": 0.5,
        "weak, expert 2, verifier": 0.75,
        "weak, expert 3, words": 0.25,
        "weak ensemble, held-out votes": 0.25,
        "weak ensemble, uniform votes": 0.5,
    }
    with pytest.raises(ValueError, match=r"same members and items\. Got answers of shape \(2, 4\), what 2"):
        report_of_members(a, b, member_names=["writer"])


@pytest.mark.parametrize(
    ("correct", "staged", "message"),
    [
        ({"weak": np.ones(3), "student": np.ones(4)}, [], r"correct\['student'\] .* as correct\['weak'\] has, 3"),
        ({"weak": np.ones(3)}, [np.ones(2)], r"staged\[0\] .* 3\. Got shape \(2,\)"),
        ({"weak": np.ones((3, 2), dtype=bool)}, [], r"correct\['weak'\]"),
        ({"weak": [0.5, 2.0]}, [], r"numbers in \[0, 1\]. Got correct\['weak'\]\[1\] = 2\.0"),
        ({"weak": np.array([], dtype=bool)}, [], "at least one"),
        ({}, [], "at least one model"),
        ({"weakk": np.ones(3)}, [], "correct must have keys among weak, .* Got 'weakk'"),
    ],
)
def test_a_report_on_different_items_is_refused(correct, staged, message):
    with pytest.raises(ValueError, match=message):
        W2SReport(correct, staged)


@pytest.mark.parametrize("ask", ["score", "interval", "n_tied"])
def test_a_model_that_is_no_model_is_refused(ask):
    report = W2SReport({"weak": row(5), "student": row(5)})
    assert np.isnan(report.score("oracle"))  # which was not trained
    with pytest.raises(ValueError, match=r"models of this report are weak, .*student.* Got 'studnt'"):
        getattr(report, ask)("studnt")
    with pytest.raises(ValueError, match=r"models of this report are weak, student. Got 'oracle'"):
        report.difference("student", "oracle")


def test_a_report_on_different_numbers_of_members_is_refused():
    with pytest.raises(ValueError, match=r"errors must have one entry per member, as many as votes has, 2\. Got 1"):
        W2SReport({"weak": row(5)}, votes=np.ones(2), errors=np.ones(1))


def test_a_report_comes_back_from_its_file_to_the_bit(tmp_path):
    path = tmp_path / "report.json"
    answers = np.array(["red", "blue"] * 50, dtype=object)
    found = report(token_errors={"weak": 1 / 3}, chance=float("nan"), predicted={"weak": answers})
    found.save(path)
    loaded = W2SReport.load(path)
    for field in dataclasses.fields(W2SReport):
        np.testing.assert_equal(getattr(loaded, field.name), getattr(found, field.name))
    assert (repr(loaded), loaded.predicted["weak"].dtype) == (repr(found), object)
    path.write_text(path.read_text().replace('"n_estimators"', '"interrupted"'))
    with pytest.raises(CheckpointError, match="is damaged: its checksum differs"):
        W2SReport.load(path)
