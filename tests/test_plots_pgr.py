"""PGRDisplay: accuracies and PGR over pairs; what cannot be drawn is said."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sweep_frames import GEMMA, PAIRS, QWEN, SMOL, score_frame

from ensemw2s import PGRDisplay, W2SReport


@pytest.fixture(autouse=True)
def no_figure_is_left():
    yield
    plt.close("all")


def line(container):
    return container[0].get_ydata()


def with_scores(frame, **scores):
    """Set accuracies of the last pair, by model and seed."""
    last = (frame["weak"] == GEMMA) & (frame["strong"] == QWEN)
    for model, values in scores.items():
        frame.loc[last & (frame["model"] == model), "accuracy"] = values
    return frame


def report(weak=0.5, baseline=0.55, student=0.6, oracle=0.8, n=400):
    rng = np.random.default_rng(0)
    shares = {"weak": weak, "baseline": baseline, "student": student, "oracle": oracle}
    return W2SReport({name: rng.random(n) < share for name, share in shares.items()}, chance=0.25)


def test_accuracies_are_means_over_seeds():
    frame = score_frame()
    display = PGRDisplay.from_frame(frame)
    expected = frame.groupby(["weak", "strong", "model"])["accuracy"].mean()
    for model in ("weak", "ensemble", "baseline", "student", "oracle"):
        assert line(display.score_lines_[model]) == pytest.approx([expected[(*pair, model)] for pair in PAIRS])


@pytest.mark.parametrize("student", ["baseline", "student"])
def test_pgr_is_that_of_the_mean_accuracies(student):
    frame = score_frame()
    table = frame.pivot_table("accuracy", ["weak", "strong"], "model", sort=False)
    expected = (table[student] - table["weak"]) / (table["oracle"] - table["weak"])
    assert line(PGRDisplay.from_frame(frame).pgr_lines_[student]) == pytest.approx(expected.to_numpy())


def test_pgr_has_jackknife_errors_over_seeds():
    frame = score_frame()
    display = PGRDisplay.from_frame(frame)
    rows = frame[(frame["weak"] == SMOL) & (frame["strong"] == GEMMA)].pivot(index="seed", columns="model")["accuracy"]
    without = [rows.drop(seed).mean() for seed in rows.index]
    ratios = np.array([(one["student"] - one["weak"]) / (one["oracle"] - one["weak"]) for one in without])
    error = np.sqrt(2 / 3 * np.sum((ratios - ratios.mean()) ** 2))
    (segments,) = display.pgr_lines_["student"][2]
    low, high = segments.get_segments()[0][:, 1]
    pgr = display.pgr["student"][0]
    assert (low, high) == pytest.approx((pgr - error, pgr + error))


def test_a_report_gives_its_own_pgr():
    r = report()
    display = PGRDisplay.from_report(r, label="a → b")
    assert display.pgr["student"] == pytest.approx([r.pgr])
    assert display.pgr["baseline"] == pytest.approx([r.performance_gap_recovered("baseline")[0]])


def test_the_error_bar_of_a_report_is_an_interval_over_items():
    r = report()
    display = PGRDisplay.from_report(r)
    rng = np.random.default_rng(1)
    draws = rng.integers(r.n, size=(3000, r.n))
    weak, student, oracle = (
        r.correct[name].astype(float)[draws].mean(axis=1) for name in ("weak", "student", "oracle")
    )
    bootstrap = np.std((student - weak) / (oracle - weak))
    assert display.pgr_error["student"][0] == pytest.approx(1.96 * bootstrap, rel=0.1)


def test_accuracy_intervals_of_a_report_are_drawn():
    r = report()
    (segments,) = PGRDisplay.from_report(r).score_lines_["oracle"][2]
    assert segments.get_segments()[0][:, 1] == pytest.approx(r.interval("oracle"))


def test_an_oracle_below_the_weak_model_leaves_a_gap_with_a_reason():
    display = PGRDisplay.from_frame(with_scores(score_frame(), oracle=0.4))
    assert np.isnan(line(display.pgr_lines_["student"])).tolist() == [False, False, True]
    (gap,) = display.gaps_
    assert gap.get_text() == "no PGR: oracle ≤ weak"
    assert gap.get_position()[0] == 2


def test_a_gap_within_the_noise_over_seeds_is_not_drawn():
    # gaps of .07, .12 and .17: mean .12, t-interval of half-width 4.30 * .05 / sqrt(3) = .124
    frame = with_scores(score_frame(), weak=0.5, oracle=[0.57, 0.62, 0.67])
    assert stats.t.ppf(0.975, 2) * 0.05 / np.sqrt(3) > 0.12
    assert [gap.get_text() for gap in PGRDisplay.from_frame(frame).gaps_] == ["no PGR: gap within noise"]


def test_a_gap_beyond_the_noise_over_seeds_is_drawn():
    frame = with_scores(score_frame(), weak=0.5, oracle=[0.64, 0.66, 0.68])  # .16 +- 4.30 * .02 / sqrt(3) = .05
    assert PGRDisplay.from_frame(frame).gaps_ == []


def test_the_noise_of_a_single_seed_comes_from_both_intervals():
    frame = score_frame(seeds=[0])
    last = (frame["weak"] == GEMMA) & frame["model"].isin(["weak", "oracle"])

    def gaps(oracle):
        changed = with_scores(frame.copy(), weak=0.5, oracle=oracle)
        changed.loc[last, "low"] = changed.loc[last, "accuracy"] - 0.06
        changed.loc[last, "high"] = changed.loc[last, "accuracy"] + 0.04
        return len(PGRDisplay.from_frame(changed).gaps_)

    # .06 below the oracle and .04 above the weak model make sqrt(.06² + .04²) = .0721
    assert (gaps(0.572), gaps(0.573)) == (1, 0)


def test_a_comparison_decides_which_gap_counts():
    frame = with_scores(score_frame(), weak=0.5, oracle=[0.51, 0.56, 0.61], student=0.53)
    cell = ["weak", "strong", "split", "variant"]
    comparison = frame[cell].drop_duplicates().assign(pgr=[np.nan, 0.3, 0.5]).set_index(cell)
    display = PGRDisplay.from_frame(frame, comparison)
    assert [gap.get_position()[0] for gap in display.gaps_] == [0]
    assert display.pgr["student"][2] == pytest.approx(0.5)


def test_a_comparison_without_the_pair_is_refused():
    frame = score_frame()
    comparison = pd.DataFrame(
        {"weak": ["other"], "strong": [QWEN], "split": ["random"], "variant": ["boosting"], "pgr": 1}
    )
    with pytest.raises(ValueError, match=r"weak must be one of 'other'"):
        PGRDisplay.from_frame(frame, comparison)


def test_a_missing_oracle_is_said():
    frame = score_frame()
    frame = frame[~((frame["strong"] == QWEN) & (frame["model"] == "oracle"))]
    assert [gap.get_text() for gap in PGRDisplay.from_frame(frame).gaps_] == ["no PGR: no oracle"] * 2


def test_a_student_that_one_seed_lacks_is_compared_on_the_others():
    frame = score_frame()
    lacking = (frame["model"] == "student") & (frame["seed"] == 2)
    table = frame[frame["seed"] != 2].pivot_table("accuracy", ["weak", "strong"], "model", sort=False)
    expected = (table["student"] - table["weak"]) / (table["oracle"] - table["weak"])
    assert PGRDisplay.from_frame(frame[~lacking]).pgr["student"] == pytest.approx(expected.to_numpy())


def test_values_outside_the_panel_are_marked_not_clipped():
    frame = with_scores(score_frame(), weak=0.5, oracle=0.6, student=0.8, baseline=0.3)
    display = PGRDisplay.from_frame(frame)
    assert line(display.pgr_lines_["student"])[2] == pytest.approx(3.0)
    assert line(display.pgr_lines_["baseline"])[2] == pytest.approx(-2.0)
    texts = {arrow.get_text(): arrow.xy for arrow in display.arrows_}
    assert set(texts) == {"▲ 3.00", "▼ −2.00"}
    assert texts["▲ 3.00"] == (pytest.approx(2.04), 1.5)
    assert texts["▼ −2.00"] == (pytest.approx(1.96), -0.5)


def test_the_range_of_the_panel_can_be_set():
    display = PGRDisplay({"weak": [0.5]}, {"student": [1.8]}).plot(pgr_range=(0, 2))
    assert display.arrows_ == []
    assert display.axes_[1].get_ylim() == (0, 2)


def test_a_range_that_falls_is_refused():
    with pytest.raises(ValueError, match=r"pgr_range must rise. Got \(1, 0\)"):
        PGRDisplay({"weak": [0.5]}, {"student": [0.5]}).plot(pgr_range=(1, 0))


def test_reasons_of_two_students_that_differ_are_both_said():
    display = PGRDisplay(
        {"weak": [0.5]},
        {"baseline": [np.nan], "student": [np.nan]},
        reasons={"baseline": ["no baseline"], "student": ["gap within noise"]},
    ).plot()
    assert display.gaps_[0].get_text() == "no PGR: no baseline (baseline); gap within noise (student)"


def test_levels_of_weak_model_and_oracle_are_named():
    texts = [text.get_text().strip() for text in PGRDisplay.from_frame(score_frame()).axes_[1].texts]
    assert texts == ["weak", "oracle"]


def test_legend_chance_line_and_labels():
    display = PGRDisplay.from_frame(score_frame())
    assert [text.get_text() for text in display.legend_.get_texts()][-2:] == [
        "student on true labels (oracle)", "chance",
    ]  # fmt: skip
    assert set(display.chance_line_.get_ydata()) == {0.25}
    assert display.axes_[1].get_xticklabels()[0].get_text() == "SmolLM2-135M-Instruct\n→ gemma-3-270m"


def test_two_given_axes_are_used():
    figure, axes = plt.subplots(2)
    display = PGRDisplay.from_frame(score_frame(), ax=axes)
    assert list(display.axes_) == list(axes)
    assert (display.ax_, display.figure_) == (axes[0], figure)
    assert plt.get_fignums() == [figure.number]


def test_one_given_axes_is_split():
    figure, ax = plt.subplots()
    display = PGRDisplay.from_frame(score_frame(), ax=ax)
    assert all(panel.figure is figure for panel in display.axes_)
    assert display.axes_[0].get_position().y0 > display.axes_[1].get_position().y1


def test_reasons_of_another_number_are_refused():
    with pytest.raises(ValueError, match=r"reasons\['student'\] must have 1 entries"):
        PGRDisplay({"weak": [0.5]}, {"student": [0.5]}, reasons={"student": []})


def test_pgr_of_a_model_that_is_no_student_is_refused():
    with pytest.raises(ValueError, match=r"pgr must have keys among 'baseline', 'student'. Got 'weak'"):
        PGRDisplay({"weak": [0.5]}, {"weak": [0.5]})
