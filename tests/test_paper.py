"""The paper's tables and figures from small sweeps: every number renders, and cells are those of the sweep."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from ensemw2s import (
    BigramLearner,
    CheckpointError,
    SweepResult,
    ablations,
    cross_val_difficulty,
    load_quartz,
    make_qa,
    paper,
    plan_sweep,
    run_sweep,
)

POOL = make_qa(60, difficulty=(3, 4), random_state=0)
WEAK, STRONG = ("weak", BigramLearner()), ("strong", BigramLearner(smoothing=0.05))
PAIR = ("weak", "strong")
SETTINGS = {
    "dataset": POOL, "n_estimators": 2, "student_rounds": "all",
    "booster_params": {"prior": "uniform", "sampling": "count"},
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("paper")


@pytest.fixture(scope="module")
def result(folder):
    return run_sweep(
        [(WEAK, STRONG)], seeds=2, validation_size=0.25, train_on_easy=True, cv=2, out_dir=folder, **SETTINGS
    )


@pytest.fixture(scope="module")
def variants():
    ways = ablations("combine", "window")
    return run_sweep([(WEAK, STRONG)], seeds=1, splits=["random"], variants=ways, **SETTINGS)


@pytest.fixture
def draw():
    drawn = []

    def figure(*args, **kwargs):
        drawn.append(paper.figure(*args, **kwargs))
        return drawn[-1]

    yield figure
    for one in drawn:
        plt.close(one)


@pytest.mark.parametrize("number", paper.TABLES)
@pytest.mark.slow
def test_every_table_renders(result, number):
    text = paper.table(number, result).to_markdown()
    name = "Figure 5" if number == "figure-5" else f"Table {number}"
    assert text.startswith(f"**{name} of the paper: ")
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert len(rows) >= 3
    assert len({row.count(" | ") for row in rows[:1] + rows[2:]}) == 1


@pytest.mark.parametrize("number", paper.FIGURES)
@pytest.mark.slow
def test_every_figure_renders_and_states_data_chance_seeds_and_test_items(result, variants, draw, number, tmp_path):
    source = {"runs": result, "variants": variants, "ratings": np.linspace(0, 1, 20)}[paper.FIGURES[number].needs]
    figure = draw(number, source)
    assert figure.axes[0].get_ylabel() or figure.axes[0].get_xlabel()
    figure.savefig(tmp_path / "figure.png", dpi=30)
    assert (tmp_path / "figure.png").stat().st_size > 1000
    if paper.FIGURES[number].needs == "ratings":
        return
    seeds = "seed 0, n = 12 test items" if number > 5 and number != 15 else "seeds 0, 1, n = 12 test items each"
    rater = ", difficulty rated by weak in 2 folds" if number in (2, 3, 4, 5, 14, 15, 17) else ""
    assert f"make_qa, generation{rater}. Chance 0.250; {seeds}." in " ".join(figure.get_suptitle().split())
    assert any(axes.get_legend() for axes in figure.axes)


@pytest.mark.slow
@pytest.mark.parametrize(("number", "split"), [(1, "random"), (2, "easy-hard")])
def test_rounds_hold_votes_errors_and_accuracies_of_the_sweep(result, number, split):
    frame = paper.table(number, result).frame
    runs = result.rounds.query("split == @split")
    for members in (1, 2):
        row, cell = frame.loc[(*PAIR, members)], runs.query("round == @members")
        for name, column in {
            "alpha": "vote", "error": "error", "ensemble": "accuracy", "student": "student_accuracy",
        }.items():  # fmt: skip
            assert row[name] == pytest.approx(cell[column].mean())
            assert row[f"{name}_sem"] == pytest.approx(abs(np.diff(cell[column])[0]) / 2)


def test_rounds_begin_with_the_baseline_and_end_with_the_student(result):
    frame, summary = paper.table(1, result).frame, result.summary()["accuracy"]
    cell = (*PAIR, "random", "boosting")
    assert frame.loc[(*PAIR, 1), "student"] == pytest.approx(summary[(*cell, "baseline")])
    assert frame.loc[(*PAIR, 2), "student"] == pytest.approx(summary[(*cell, "student")])
    assert frame.loc[(*PAIR, 2), "oracle"] == pytest.approx(summary[(*cell, "oracle")])


def with_models(result, **correct):
    """The same sweep, had its models been so right on the test part."""
    students = {"1": correct["baseline"], "2": correct["student"]}
    return SweepResult([
        {**record, "correct": {**record["correct"], **correct}, "students": students} for record in result.records
    ])  # fmt: skip


def test_pgr_by_round_is_that_of_the_mean_accuracies(result):
    known = with_models(
        result, weak="1" * 4 + "0" * 8, baseline="1" * 6 + "0" * 6, student="1" * 8 + "0" * 4, oracle="1" * 12
    )
    frame = paper.table(1, known).frame
    assert frame["pgr"].tolist() == pytest.approx([0.25, 0.5], abs=1e-12)
    assert "| 0.25 | 2 |" in paper.table(1, known).to_markdown()


def test_pgr_is_withheld_where_the_comparison_withholds_it(result):
    same = "10" * 6
    known = with_models(result, weak=same, baseline=same, student=same, oracle=same)
    assert paper.table(1, known).frame["pgr"].isna().all()
    assert paper.table(3, known).frame["pgr"].isna().all()


def test_pgr_below_chance_is_withheld_by_every_table(result):
    # A clear gap: all seeds agree on it.
    known = with_models(
        result, weak="1" * 2 + "0" * 10, baseline="1" * 5 + "0" * 7, student="1" * 6 + "0" * 6, oracle="1" * 12
    )
    assert paper.table(1, known).frame["pgr"].isna().all()
    assert paper.table(3, known).frame["pgr"].isna().all()
    assert "below chance (0.25) lies the weak model (0.166667)" in known.comparison()["pgr_reason"].iloc[0]


def test_the_binary_tables_say_that_the_papers_alpha_is_half(result):
    binary = SweepResult([{**record, "task": "classification"} for record in result.records])
    assert "The paper's α of the binary task is half of this one" in paper.table(1, binary).to_markdown()
    assert "half" not in paper.table(1, result).to_markdown()


@pytest.mark.slow
@pytest.mark.parametrize(("number", "split"), [(3, "random"), (4, "easy-hard"), (6, "random"), (7, "easy-hard")])
def test_models_hold_mean_and_sem_of_accuracy_and_token_error(result, number, split):
    frame = paper.table(number, result).frame
    for measure in ("accuracy", "token_error"):
        scores = result.frame.query("split == @split").pivot(index="seed", columns="model", values=measure)
        row = frame.loc[(*PAIR, measure.replace("_", " "))]
        for model in ("weak", "ensemble", "baseline", "student", "oracle"):
            column = "weak_member" if model == "weak" else model
            assert row[column] == pytest.approx(scores[model].mean())
            assert row[f"{column}_sem"] == pytest.approx(scores[model].sem())


def test_models_hold_the_comparison_and_the_chosen_rounds(result):
    row = paper.table(4, result).frame.loc[(*PAIR, "accuracy")]
    expected = result.comparison().loc[(*PAIR, "easy-hard", "boosting")]
    assert row["improvement"] == expected["student_minus_baseline"]
    assert (row["improvement_low"], row["improvement_high"]) == (expected["low"], expected["high"])
    chosen = result.selected_rounds().xs("easy-hard", level="split")
    assert row["student_validation"] == pytest.approx(chosen["student_accuracy"].mean())
    assert row["ensemble_validation"] == pytest.approx(chosen["ensemble_accuracy"].mean())
    assert row["student_best"] == pytest.approx(chosen["best_student_accuracy"].mean())


@pytest.mark.parametrize("number", [5, 8])
def test_a_single_run_is_that_of_the_first_seed(result, number):
    frame = paper.table(number, result).frame
    chosen = paper.at_round(result).frame.query("seed == 0 and split == 'random'").set_index("model")["accuracy"]
    row = frame.loc[("random", *PAIR)]
    assert row["student"] == chosen["student"]
    assert row["improvement"] == pytest.approx(chosen["student"] - chosen["baseline"])
    assert frame.index.get_level_values("split").tolist() == ["random", "easy-hard"]


def test_a_single_run_of_every_pair_is_shown_whatever_its_seeds(result, draw):
    later = [{**record, "weak": "other", "seed": record["seed"] + 5} for record in result.records]
    both = SweepResult([*result.records, *later])
    shown = paper.table(5, both)
    assert list(shown.frame.index) == [
        (split, weak, "strong") for split in ("random", "easy-hard") for weak in ("weak", "other")
    ]
    np.testing.assert_array_equal(*(shown.frame.xs(weak, level="weak") for weak in ("weak", "other")))
    assert "other → strong, random: 5" in shown.remarks[0]
    assert "seeds 0, 5" in draw(13, both)._suptitle.get_text()


def test_a_student_of_some_seeds_only_has_no_mean_by_round(result):
    records = [record for record in result.records if record["split"] == "random"]
    records[0] = {**records[0], "students": {t: row for t, row in records[0]["students"].items() if t != "1"}}
    frame = paper.table(1, SweepResult(records)).frame
    assert np.isnan(frame.loc[(*PAIR, 1), ["student", "student_sem", "pgr"]].astype(float)).all()
    assert frame.loc[(*PAIR, 2), "student"] == paper.table(1, result).frame.loc[(*PAIR, 2), "student"]


@pytest.mark.slow
def test_training_on_easy_refuses_other_raters_of_one_strong_model(result, draw):
    other = run_sweep(
        [(("other", BigramLearner(smoothing=9.0)), STRONG)], seeds=[5], splits=["easy-hard"], train_on_easy=True, cv=2,
        **SETTINGS,
    )  # fmt: skip
    both = SweepResult([*result.records, *other.records])
    for show in (lambda: paper.table("figure-5", both), lambda: draw(5, both)):
        with pytest.raises(
            ValueError, match=r"Figure 5 must show one setting of .*rating\.rater.*smoothing, 1.0 and 9"
        ):
            show()
    assert len(paper.table(4, both).frame) == 4  # a row per pair, each with its rater in the title


def test_training_on_easy_stands_against_the_oracle_on_hard_questions(result):
    row = paper.table("figure-5", result).frame.loc["strong"]
    scores = result.frame.query("split == 'easy-hard'").pivot(index="seed", columns="model", values="accuracy")
    assert row["easy"] == pytest.approx(scores["easy"].mean())
    assert row["hard"] == pytest.approx(scores["oracle"].mean())
    assert row["difference"] == pytest.approx((scores["oracle"] - scores["easy"]).mean())
    assert row["n_seeds"] == 2


@pytest.mark.slow
def test_training_on_easy_must_have_been_asked_for(variants):
    with pytest.raises(ValueError, match=r"must have runs with split='easy-hard'\. Got split 'random'"):
        paper.table("figure-5", variants)
    moved = SweepResult([{**record, "split": "easy-hard"} for record in variants.records])
    with pytest.raises(ValueError, match="train_on_easy=True"):
        paper.table("figure-5", moved)


@pytest.mark.parametrize("choice", ["validation", "best"])
def test_at_round_gives_the_round_that_selected_rounds_names(result, choice):
    found = paper.at_round(result, choice).frame.query("model == 'student'")
    column = "student_accuracy" if choice == "validation" else "best_student_accuracy"
    key = ["weak", "strong", "split", "variant", "seed"]
    expected = result.selected_rounds()[column]
    pd.testing.assert_series_equal(found.set_index(key)["accuracy"], expected, check_names=False)


def test_at_round_without_what_it_needs_is_refused(variants):
    assert paper.at_round(variants) is variants
    with pytest.raises(ValueError, match="choice='validation' needs a sweep with validation_size"):
        paper.at_round(variants, "validation")
    last_only = SweepResult([{**record, "students": {"2": record["students"]["2"]}} for record in variants.records])
    with pytest.raises(ValueError, match="choice='best' needs a sweep with student_rounds='all'"):
        paper.at_round(last_only, "best")
    with pytest.raises(ValueError, match="choice must be one of 'last', 'validation', 'best'"):
        paper.at_round(variants, "first")


@pytest.mark.slow
def test_a_figure_says_which_round_it_shows(result, draw):
    chosen = result.selected_rounds()
    title = " ".join(draw(4, result).get_suptitle().split())
    assert "best on validation" in title
    assert f"optimistic, {chosen['best_student_accuracy'].mean():.3f}" in title
    assert "best on test, as in the paper: optimistic" in " ".join(
        draw(4, result, choice="best").get_suptitle().split()
    )


def test_bars_are_those_of_the_sweep(result, draw):
    axes = draw(13, result, choice="last").axes[0]
    heights = sorted(bar.get_height() for bars in axes.containers if hasattr(bars, "patches") for bar in bars.patches)
    rows = result.frame.query("seed == 0 and split == 'random' and model in ['weak', 'baseline', 'student', 'oracle']")
    np.testing.assert_allclose(heights, sorted(rows["accuracy"]))


def test_one_variant_of_several_is_shown(variants):
    logits = paper.table(3, variants, variant="mix logits").frame
    expected = variants.summary().loc[(*PAIR, "random", "mix logits", "ensemble"), "accuracy"]
    assert logits.loc[(*PAIR, "accuracy"), "ensemble"] == expected
    with pytest.raises(ValueError, match=r"variant='bagging'\. Got variant 'boosting', 'mix logits'"):
        paper.table(3, variants, variant="bagging")


@pytest.mark.slow
@pytest.mark.parametrize("number", paper.TABLES)
def test_every_table_states_chance_seeds_and_test_items_in_columns_of_their_own(result, number):
    frame = paper.table(number, result).frame
    seeds = 1 if number in (5, 8) else 2
    scored = frame.drop("token error", level="measure") if "measure" in frame.index.names else frame
    assert (scored[["chance", "n_seeds", "n_test"]].to_numpy() == [0.25, seeds, 12 * seeds]).all()
    columns = frame.reset_index().columns  # raises where a column has the name of a level
    assert columns.is_unique


def test_a_single_run_says_what_it_draws(result, draw):
    # Not the mean over both seeds and splits, which is another number.
    student = result.rounds.query("split == 'easy-hard' and seed == 0")["student_accuracy"]
    assert f"optimistic, {student.max():.3f}." in " ".join(draw(14, result, choice="last").get_suptitle().split())
    assert result.selected_rounds()["best_student_accuracy"].mean() != pytest.approx(student.max(), abs=1e-3)


def test_ratings_of_a_plan_name_data_and_rater(result, folder, draw):
    plan = plan_sweep([(WEAK, STRONG)], cv=2, out_dir=folder, **SETTINGS)
    figure = draw(7, plan)
    assert figure.get_suptitle() == "make_qa: 60 questions, rated by weak in 2 folds, generation."
    assert figure.axes[0].get_legend().get_texts()[0].get_text() == "make_qa (n = 60)"
    assert draw(7, [0.5, 0.25]).get_suptitle() == "questions: 2 questions, data set and rater not named."


def test_csv_holds_unrounded_numbers(result, tmp_path):
    found = paper.table(1, result)
    found.to_csv(tmp_path / "table.csv")
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "table.csv", index_col=[0, 1, 2]), found.frame)


@pytest.mark.parametrize(
    ("kind", "number", "message"),
    [
        ("table", 9, "number of a table must be one of 1, 2, 3, 4, 5, 6, 7, 8, figure-5. Got 9"),
        ("figure", 18, "number of a figure must be one of 2, 3, 4, 5, 7, .*, 17. Got 18"),
        ("figure", 1, "Figure 1 is a drawing of the method"),
        ("figure", 6, "Figure 6 is a drawing of the method"),
        ("picture", 2, "kind must be one of 'table', 'figure'"),
    ],
)
def test_unknown_numbers_are_named_with_the_known_ones(kind, number, message):
    with pytest.raises(ValueError, match=message):
        paper.preset(number, kind)


def test_presets_are_arguments_of_a_sweep_and_not_shared():
    for kind, numbers in (("table", paper.TABLES), ("figure", paper.FIGURES)):
        for number in numbers:
            arguments = paper.preset(number, kind)
            arguments |= {"dataset": POOL, "task": "generation", "weak_params": None, "student_params": None}
            assert plan_sweep([(WEAK, STRONG)], **arguments).units
    paper.preset(1)["weak_params"]["epochs"] = 100
    assert paper.preset(1)["weak_params"]["epochs"] == 3


def test_ratings_of_a_sweep_are_read(result, folder):
    plan = plan_sweep([(WEAK, STRONG)], cv=2, out_dir=folder, **SETTINGS)
    expected = cross_val_difficulty(BigramLearner(), POOL.drop_answers(), POOL.answers, cv=2, random_state=0).ratings
    np.testing.assert_array_equal(plan.difficulty_ratings(), expected)


def test_missing_ratings_are_computed_once(tmp_path):
    plan = plan_sweep([(WEAK, STRONG)], cv=2, out_dir=tmp_path, **SETTINGS)
    first = plan.difficulty_ratings()
    (kept,) = (tmp_path / "difficulty").glob("*.json")
    before = kept.stat().st_mtime_ns
    np.testing.assert_array_equal(plan.difficulty_ratings(), first)
    assert kept.stat().st_mtime_ns == before


def test_damaged_ratings_are_named(tmp_path):
    plan = plan_sweep([(WEAK, STRONG)], cv=2, out_dir=tmp_path, **SETTINGS)
    plan.difficulty_ratings()
    (kept,) = (tmp_path / "difficulty").glob("*.json")
    stored = json.loads(kept.read_text())
    stored["body"]["result"][0] += 0.125
    kept.write_text(json.dumps(stored))
    with pytest.raises(CheckpointError, match=kept.name):
        plan.difficulty_ratings()


def test_figures_refuse_the_wrong_source(result):
    with pytest.raises(TypeError, match=r"pass the result of SweepPlan\.difficulty_ratings"):
        paper.figure(7, result)
    with pytest.raises(TypeError, match="source must be a SweepResult for Figure 4"):
        paper.figure(4, [0.1, 0.2])
    for record in (records := [dict(record) for record in result.records]):
        record["token_errors"] = {}
    with pytest.raises(ValueError, match="Figure 3 compares token errors"):
        paper.figure(3, SweepResult(records))


def test_the_documentation_selects_data_sets_by_the_names_that_they_have():
    docs = Path(__file__).parents[1] / "docs"
    named = [re.findall(r'select\(dataset="([^"]*)"\)', page.read_text("utf-8")) for page in docs.glob("*.md")]
    shared = Path(os.environ.get("ENSEMW2S_DATA") or Path(__file__).parents[2] / "shared" / "data")
    if not shared.is_dir():
        pytest.skip("no copy of the published data; set ENSEMW2S_DATA to one")
    assert {name for page in named for name in page} == {load_quartz("train", data_dir=shared).name}


def test_the_documentation_has_a_line_for_every_table_and_figure():
    text = (Path(__file__).parents[1] / "docs" / "paper.md").read_text(encoding="utf-8")
    for number in paper.TABLES:
        name = '"Figure 5"' if number == "figure-5" else f"Table {number}"
        assert re.search(rf"^\| {name} \|.*ensemw2s table {number} ", text, re.MULTILINE)
    for number in range(1, 18):
        command = f"ensemw2s figure {number} " if number in paper.FIGURES else "drawing"
        assert re.search(rf"^\| Figure {number} \|.*{command}", text, re.MULTILINE)
