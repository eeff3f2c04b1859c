"""W2SBarDisplay: what goes in comes out as bars, error bars, labels and a chance line."""

from __future__ import annotations

from itertools import pairwise

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from sweep_frames import GEMMA, QWEN, SMOL, score_frame

from ensemw2s import PGRDisplay, W2SBarDisplay, W2SReport


@pytest.fixture(autouse=True)
def no_figure_is_left():
    yield
    plt.close("all")


def heights(display, model):
    return [bar.get_height() for bar in display.bars_[model]]


def extents(display, model):
    """Lower and upper end of each error bar."""
    (segments,) = display.errorbars_[model][2]
    return np.array([[one[0, 1], one[1, 1]] for one in segments.get_segments()])


def report(chance=0.25, n=200, **shares):
    shares = shares or {"weak": 0.5, "ensemble": 0.52, "baseline": 0.55, "student": 0.6, "oracle": 0.8}
    rng = np.random.default_rng(0)
    return W2SReport({name: rng.random(n) < share for name, share in shares.items()}, chance=chance)


def test_heights_are_means_over_seeds():
    frame = score_frame()
    display = W2SBarDisplay.from_frame(frame)
    expected = frame.groupby(["weak", "strong", "model"], sort=False)["accuracy"].mean()
    for model in ("weak", "ensemble", "baseline", "student", "oracle"):
        pairs = [(SMOL, GEMMA), (SMOL, QWEN), (GEMMA, QWEN)]
        assert heights(display, model) == pytest.approx([expected[(*pair, model)] for pair in pairs])


def test_error_bars_are_standard_errors_over_seeds():
    frame = score_frame()
    display = W2SBarDisplay.from_frame(frame)
    grouped = frame[frame["model"] == "student"].groupby(["weak", "strong"], sort=False)["accuracy"]
    mean, sem = grouped.mean().to_numpy(), grouped.sem().to_numpy()
    assert extents(display, "student") == pytest.approx(np.column_stack([mean - sem, mean + sem]))
    assert display.legend_.get_title().get_text() == "bars: SEM over 3 seeds"


def test_a_single_seed_keeps_its_bootstrap_interval():
    frame = score_frame(seeds=[1])
    display = W2SBarDisplay.from_frame(frame)
    assert extents(display, "oracle") == pytest.approx(
        frame.loc[frame["model"] == "oracle", ["low", "high"]].to_numpy()
    )
    assert display.legend_.get_title().get_text() == "bars: bootstrap over items, one seed"


def test_seeds_that_lack_a_model_are_counted_in_the_legend():
    frame = score_frame()
    frame = frame[~((frame["model"] == "student") & (frame["seed"] == 2))]
    assert W2SBarDisplay.from_frame(frame).legend_.get_title().get_text() == "bars: SEM over 2–3 seeds"


def test_bars_of_a_pair_stand_side_by_side_around_its_tick():
    display = W2SBarDisplay.from_frame(score_frame())
    edges = np.array([[bar.get_x(), bar.get_x() + bar.get_width()] for bars in display.bars_.values() for bar in bars])
    edges = edges.reshape(5, 3, 2)  # (model, pair, end)
    assert edges[1:, :, 0] == pytest.approx(edges[:-1, :, 1])
    assert (edges[0, :, 0] + edges[-1, :, 1]) / 2 == pytest.approx([0, 1, 2])


def test_pairs_are_named_without_their_owners():
    labels = [text.get_text() for text in W2SBarDisplay.from_frame(score_frame()).ax_.get_xticklabels()]
    assert labels == [
        "SmolLM2-135M-Instruct\n→ gemma-3-270m", "SmolLM2-135M-Instruct\n→ Qwen2.5-1.5B",
        "gemma-3-270m\n→ Qwen2.5-1.5B",
    ]  # fmt: skip


def test_names_that_would_look_alike_keep_their_owners():
    frame = score_frame(pairs=[("a/llm", QWEN), ("b/llm", QWEN)])
    labels = [text.get_text() for text in W2SBarDisplay.from_frame(frame).ax_.get_xticklabels()]
    assert labels == ["a/llm\n→ Qwen2.5-1.5B", "b/llm\n→ Qwen2.5-1.5B"]


@pytest.mark.parametrize("strong", [QWEN, "BigramLearner-with-quite-a-long-name"])
def test_labels_of_a_new_figure_are_level_and_do_not_overlap(strong):
    display = W2SBarDisplay.from_frame(score_frame(pairs=[(SMOL, GEMMA), (GEMMA, strong)]))
    assert {text.get_rotation() for text in display.ax_.get_xticklabels()} == {0.0}
    display.figure_.draw_without_rendering()
    boxes = [text.get_window_extent() for text in display.ax_.get_xticklabels()]
    assert all(left.x1 < right.x0 for left, right in pairwise(boxes))


def test_labels_that_do_not_fit_are_slanted():
    _, ax = plt.subplots(figsize=(4, 3))
    display = W2SBarDisplay.from_frame(score_frame(), ax=ax)
    assert {text.get_rotation() for text in display.ax_.get_xticklabels()} == {30.0}


def test_the_legend_names_models_and_chance():
    texts = [text.get_text() for text in W2SBarDisplay.from_frame(score_frame()).legend_.get_texts()]
    assert texts == [
        "weak model", "weak ensemble", "student of the weak model (baseline)", "student of the ensemble (W2S)",
        "student on true labels (oracle)", "chance",
    ]  # fmt: skip


def test_the_chance_line_follows_each_pair():
    frame = score_frame()
    frame.loc[frame["weak"] == GEMMA, "chance"] = 0.5
    line = W2SBarDisplay.from_frame(frame).chance_line_
    assert line.get_xdata() == pytest.approx([-0.5, 0.5, 0.5, 1.5, 1.5, 2.5])
    assert line.get_ydata() == pytest.approx([0.25, 0.25, 0.25, 0.25, 0.5, 0.5])


def test_without_a_chance_level_there_is_no_line():
    display = W2SBarDisplay({"weak": [0.5]}).plot()
    assert display.chance_line_ is None
    assert "chance" not in [text.get_text() for text in display.legend_.get_texts()]


def test_weak_models_alone_are_grouped_by_weak_model():
    frame = score_frame()
    display = W2SBarDisplay.from_frame(frame, models=("weak", "ensemble"), metric="token_error")
    weak = frame[frame["strong"] == QWEN].groupby(["weak", "model"], sort=False)["token_error"].mean()
    assert heights(display, "ensemble") == pytest.approx([weak[SMOL, "ensemble"], weak[GEMMA, "ensemble"]])
    assert display.ax_.get_ylabel() == "test token error"
    assert display.chance_line_ is None  # the chance level is one of accuracies


def test_a_model_that_a_pair_lacks_is_said_to_be_missing():
    frame = score_frame()
    frame = frame[~((frame["weak"] == GEMMA) & (frame["model"] == "oracle"))]
    display = W2SBarDisplay.from_frame(frame)
    assert np.isnan(heights(display, "oracle")[2])
    (text,) = display.ax_.texts
    assert text.get_text().strip() == "not trained"
    assert text.get_position()[0] == pytest.approx(2 + 2 * 0.84 / 5)


def test_a_model_that_no_pair_has_takes_no_room():
    frame = score_frame()
    assert "baseline" not in W2SBarDisplay.from_frame(frame[frame["model"] != "baseline"]).bars_


def test_a_report_gives_accuracies_and_their_intervals():
    r = report()
    display = W2SBarDisplay.from_report(r, label="small → large")
    for model, bars in display.bars_.items():
        assert bars[0].get_height() == pytest.approx(r.correct[model].mean())
        assert extents(display, model)[0] == pytest.approx(r.interval(model))
    assert [text.get_text() for text in display.ax_.get_xticklabels()] == ["small → large"]
    assert display.legend_.get_title().get_text() == "bars: 95% bootstrap over items, one seed"


def test_several_reports_are_several_groups():
    display = W2SBarDisplay.from_report({"a": report(), "b": report(weak=0.4, student=0.5)})
    assert len(display.bars_["weak"]) == 2
    assert np.isnan(heights(display, "oracle")[1])


def test_an_interval_that_leaves_out_the_mean_is_drawn_as_it_is():
    display = W2SBarDisplay({"weak": [0.5]}, {"weak": [0.52]}, {"weak": [0.6]}).plot()
    assert extents(display, "weak")[0] == pytest.approx([0.52, 0.6])


def test_given_axes_are_used():
    figure, (left, right) = plt.subplots(1, 2)
    display = W2SBarDisplay.from_frame(score_frame(), ax=right)
    assert (display.ax_, display.figure_) == (right, figure)
    assert not left.has_data()
    assert plt.get_fignums() == [figure.number]


def test_plot_without_axes_makes_one_figure_and_returns_the_display():
    display = W2SBarDisplay({"weak": [0.5]})
    assert display.plot() is display
    assert plt.get_fignums() == [display.figure_.number]


def test_plot_leaves_settings_alone():
    before = dict(plt.rcParams)
    W2SBarDisplay.from_frame(score_frame())
    assert dict(plt.rcParams) == before


def test_a_dollar_in_a_name_is_no_formula():
    display = W2SBarDisplay({"weak": [0.5]}, pairs=["a$x_{$ → b"]).plot()
    display.figure_.draw_without_rendering()
    assert display.ax_.get_xticklabels()[0].get_text() == "a$x_{$ → b"


@pytest.mark.parametrize("column", ["split", "variant"])
def test_runs_that_differ_in_more_than_the_seed_are_not_averaged(column):
    frame = score_frame()
    frame.loc[frame["seed"] == 1, column] = "other"
    with pytest.raises(ValueError, match=f"several values of '{column}'.*must not be averaged; pass {column}="):
        W2SBarDisplay.from_frame(frame)


def test_a_split_is_picked():
    frame = score_frame(splits=("random", "easy-hard"))
    display = W2SBarDisplay.from_frame(frame, split="easy-hard")
    rows = frame[(frame["split"] == "easy-hard") & (frame["model"] == "weak")]
    assert heights(display, "weak")[2] == pytest.approx(rows[rows["weak"] == GEMMA]["accuracy"].mean())


def test_an_unknown_split_lists_the_known_ones():
    with pytest.raises(ValueError, match=r"split must be one of 'random'. Got 'hard' instead"):
        W2SBarDisplay.from_frame(score_frame(), split="hard")


def test_rows_that_come_twice_are_refused():
    frame = score_frame()
    frame.loc[frame["seed"] == 2, "seed"] = 1
    with pytest.raises(ValueError, match=r"one row per weak, strong, seed, model. Got several for weak="):
        W2SBarDisplay.from_frame(frame)


def test_a_missing_column_is_named():
    with pytest.raises(ValueError, match=r"frame must have the column 'seed'"):
        W2SBarDisplay.from_frame(score_frame().drop(columns="seed"))


def test_something_else_than_a_frame_is_refused():
    with pytest.raises(TypeError, match=r"frame must be a pandas DataFrame"):
        W2SBarDisplay.from_frame([1])


def test_something_else_than_a_report_is_refused():
    with pytest.raises(TypeError, match=r"report must be a W2SReport, or a dict of them"):
        W2SBarDisplay.from_report(score_frame())


def test_an_unknown_model_is_refused():
    with pytest.raises(ValueError, match=r"models must be among 'weak'.*Got \('teacher',\)"):
        W2SBarDisplay.from_frame(score_frame(), models=("teacher",))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (({},), "score must be a dict"),
        (({"teacher": [0.5]},), "score must have keys among"),
        (({"weak": [[0.5]]},), r"shape \(n_pairs,\)"),
        (({"weak": [0.5], "student": [0.5, 0.6]},), r"score\['student'\] must have shape \(1,\)"),
        (({"weak": [np.inf]},), "finite numbers or nan"),
        (({"weak": ["high"]},), "must hold numbers"),
    ],
)
def test_arrays_of_the_wrong_kind_are_refused(arguments, message):
    with pytest.raises((TypeError, ValueError), match=message):
        W2SBarDisplay(*arguments)


def test_pairs_of_another_number_are_refused():
    with pytest.raises(ValueError, match=r"pairs must have 1 entries"):
        W2SBarDisplay({"weak": [0.5]}, pairs=["a", "b"])


def test_axes_of_another_kind_are_refused():
    with pytest.raises(ValueError, match=r"ax must be a matplotlib Axes"):
        W2SBarDisplay({"weak": [0.5]}).plot(plt.figure())


def test_an_axis_is_named_by_what_was_measured():
    report = W2SReport({"weak": [0.2, 0.4], "student": [0.3, 0.9], "oracle": [1.0, 0.8]}, metric="exact_match")
    assert W2SBarDisplay.from_report(report).ax_.get_ylabel() == "test exact match"
    assert PGRDisplay.from_report(report).ax_.get_ylabel() == "test exact match"
    with pytest.raises(ValueError, match=r"reports of one metric. Got exact_match, accuracy"):
        W2SBarDisplay.from_report({"a": report, "b": W2SReport({"weak": [1, 0]})})
    frame = pd.DataFrame({
        "weak": "a", "strong": "b", "seed": [0, 0], "model": ["weak", "student"], "f1": [0.2, 0.4], "metric": "f1",
    })  # fmt: skip
    assert W2SBarDisplay.from_frame(frame).ax_.get_ylabel() == "test f1"
