"""Sweeps: the same numbers as the pipeline by hand, nothing computed twice, failures by name."""

from __future__ import annotations

import json
import re

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.dummy import DummyClassifier
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sweep_learners import DyingBigram, FailingBigram

from ensemw2s import (
    BigramLearner,
    CheckpointError,
    EasyHardSplit,
    FineTunedGenerator,
    LLMAdaBoostClassifier,
    OpinionPool,
    PGRDisplay,
    PseudoLabeler,
    QADataset,
    RandomSplit,
    RoundsDisplay,
    SweepError,
    SweepResult,
    TokenAdaBoostGenerator,
    W2SBarDisplay,
    W2SPipeline,
    ablations,
    cross_val_difficulty,
    interval_over_seeds,
    make_qa,
    paper,
    performance_gap_recovered,
    plan_sweep,
    run_sweep,
    to_binary,
    word_tokenizer,
)
from ensemw2s.experiments._store import ResultStore
from ensemw2s.storage import digest, versions

POOL = make_qa(150, difficulty=(3, 6), random_state=0)
WEAK, STRONG = ("weak", BigramLearner()), ("strong", BigramLearner(smoothing=0.05))
SMALL = POOL[:60]  # where the numbers do not matter
SETTINGS = {"dataset": POOL, "n_estimators": 3, "booster_params": {"prior": "uniform", "sampling": "count"}}
FEW = {**SETTINGS, "dataset": SMALL, "n_estimators": 1}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("sweep")


@pytest.fixture(scope="module")
def result(folder):
    return run_sweep([(WEAK, STRONG)], seeds=2, out_dir=folder, **SETTINGS)


def files(folder):
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*.json")}


def parts(split, seed):
    if split == "random":
        return next(RandomSplit(random_state=seed).split(POOL))
    ratings = cross_val_difficulty(BigramLearner(), POOL.drop_answers(), POOL.answers, random_state=0)
    return next(EasyHardSplit(random_state=seed).split(POOL, ratings))


@pytest.mark.parametrize("split", ["random", "easy-hard"])
@pytest.mark.slow
def test_a_unit_equals_the_pipeline_by_hand(result, split):
    easy, hard, test = (POOL[rows] for rows in parts(split, seed=1))
    weak = TokenAdaBoostGenerator(WEAK[1], n_estimators=3, random_state=1, **SETTINGS["booster_params"])
    report = W2SPipeline(weak, STRONG[1]).fit(easy, None, hard.drop_answers(), hard.answers).evaluate(test)
    unit = next(
        r for r, kept in zip(result.records, result.reports, strict=True) if r["split"] == split and r["seed"] == 1
    )
    found = result.reports[result.records.index(unit)]
    assert found.correct.keys() == report.correct.keys()
    for name, right in report.correct.items():
        np.testing.assert_array_equal(found.correct[name], right)
    np.testing.assert_array_equal(found.votes, report.votes)
    assert found.token_errors == pytest.approx(report.token_errors, abs=0)
    assert found.chance == report.chance
    np.testing.assert_array_equal(found.staged, report.staged)


def test_a_pool_of_experts_teaches_and_learns(tmp_path):
    pool = OpinionPool([BigramLearner(), BigramLearner(smoothing=3.0)], weights=[2.0, 1.0])
    sweep = run_sweep([(("pool", pool), ("pooled", pool))], dataset=SMALL, splits=["random"], seeds=1, out_dir=tmp_path)
    easy, hard, test = (SMALL[rows] for rows in next(RandomSplit(random_state=0).split(SMALL)))
    seeded = clone(pool).set_params(random_state=0)
    report = W2SPipeline(seeded, seeded).fit(easy, None, hard.drop_answers(), hard.answers).evaluate(test)
    (found,) = SweepResult.load(tmp_path).reports
    assert found.correct.keys() == report.correct.keys()
    for name, right in report.correct.items():
        np.testing.assert_array_equal(found.correct[name], right)
    np.testing.assert_array_equal(found.votes, report.votes)
    np.testing.assert_allclose(sweep.records[0]["priors"], 1 - found.chance)
    assert found.to_markdown() == report.to_markdown()  # with a row for each expert, and what they could gain
    assert "weak ensemble, given votes" in found.to_frame().index
    assert sweep.rounds["member"].tolist() == ["FineTunedGenerator, BigramLearner"] * 2


def test_a_pool_rates_the_questions_and_its_trainings_are_kept_until_it_is_there(tmp_path):
    pool = OpinionPool([BigramLearner(), BigramLearner(smoothing=3.0)], weights=[2.0, 1.0])
    run_sweep(
        [(("pool", pool), STRONG)], dataset=SMALL, splits=["easy-hard"], seeds=1, cv=2, out_dir=tmp_path,
        checkpoint_rounds=True, weak_params={"smoothing": 0.5, "validation_fraction": 0.3},
    )  # fmt: skip
    rater = OpinionPool([BigramLearner(smoothing=0.5)] * 2, weights=[2.0, 1.0], validation_fraction=0.3, random_state=0)
    rated = cross_val_difficulty(rater, SMALL.drop_answers(), SMALL.answers, cv=2, random_state=0)
    (record,) = (tmp_path / "difficulty").glob("*.json")
    ratings = ResultStore(tmp_path).read_record(record)["result"]
    np.testing.assert_allclose(ratings, rated.ratings, atol=1e-12)
    assert not list((tmp_path / "rounds").glob("*"))


def test_parameters_of_weak_models_reach_the_generators_of_a_pool():
    from ensemw2s import FineTunedGenerator, HFCausalLM, HFVerifier

    pool = OpinionPool(["org/a", HFVerifier("org/a", lr=1e-3), FineTunedGenerator("org/a", zero_shot=True)])
    plan = plan_sweep([(("pool", pool), STRONG)], dataset=SMALL, weak_params={"lr": 0.5, "epochs": 7, "cv": 4})
    built = plan.units[0].weak.build(plan.settings.task, 0)
    writer, verifier, zero_shot = built.experts
    assert isinstance(writer, HFCausalLM)
    assert (writer.lr, zero_shot.estimator.lr, verifier.lr) == (0.5, 0.5, 1e-3)
    assert (writer.epochs, built.cv, built.random_state) == (7, 4, 0)
    assert pool.experts[0] == "org/a"  # and what was passed is as it was
    with pytest.raises(ValueError, match=r"of a generator among its experts. Got 'layers'"):
        plan_sweep([(("pool", pool), STRONG)], dataset=SMALL, weak_params={"layers": 3})


@pytest.mark.slow
def test_a_second_call_reads_what_the_first_one_kept(result, folder):
    before = files(folder)
    again = run_sweep([(WEAK, STRONG)], seeds=2, out_dir=folder, **SETTINGS)
    pd.testing.assert_frame_equal(again.frame, result.frame)
    assert files(folder) == before


def test_a_lost_student_alone_is_trained_again(folder, result):
    before = files(folder)
    lost = sorted((folder / "student").glob("*.json"))[0]
    unit = sorted((folder / "unit").glob("*.json"))
    lost.unlink()
    for path in unit:
        path.unlink()
    again = run_sweep([(WEAK, STRONG)], seeds=2, out_dir=folder, **SETTINGS)
    pd.testing.assert_frame_equal(again.frame, result.frame)
    after = files(folder)
    assert {path for path in before if before[path] != after[path]} == {lost, *unit}


def test_loading_gives_the_same_result(folder, result):
    loaded = SweepResult.load(folder)
    columns = ["weak", "strong", "split", "variant", "seed", "model"]
    pd.testing.assert_frame_equal(
        loaded.frame.sort_values(columns, ignore_index=True), result.frame.sort_values(columns, ignore_index=True)
    )


def test_an_empty_folder_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="out_dir must hold finished units"):
        SweepResult.load(tmp_path)


@pytest.mark.slow
def test_a_damaged_unit_is_refused(tmp_path):
    run_sweep([(WEAK, STRONG)], seeds=1, splits=["random"], out_dir=tmp_path, **SETTINGS)
    path = next((tmp_path / "unit").glob("*.json"))
    path.write_text(path.read_text().replace('"seed": 0', '"seed": 7'))
    with pytest.raises(CheckpointError, match=path.name):
        SweepResult.load(tmp_path)


def quick(folder=None, **settings):
    """A sweep of two seeds and the random split in a second."""
    arguments = {"seeds": 2, "splits": ["random"], "out_dir": folder, **SETTINGS, "dataset": SMALL, "n_estimators": 2}
    return run_sweep([(WEAK, STRONG)], **(arguments | settings))


@pytest.mark.slow
def test_sweeps_that_ask_for_more_of_the_same_are_one_when_loaded(tmp_path):
    first = quick(tmp_path)
    quick(tmp_path, seeds=1, student_rounds="all")
    quick(tmp_path, train_on_easy=True, variants=ablations("combine"))
    loaded = SweepResult.load(tmp_path)
    assert len(list((tmp_path / "unit").glob("*.json"))) == 7
    assert loaded.frame["settings_digest"].nunique() == 2  # of two variants
    cell = ("weak", "strong", "random", "boosting")
    pd.testing.assert_series_equal(loaded.comparison().loc[cell], first.comparison().loc[cell])
    assert loaded.summary().loc[(*cell, "easy"), "n_seeds"] == 2
    assert paper.table(3, loaded).frame["n_seeds"].tolist() == [2, 2]


@pytest.mark.slow
def test_data_sets_and_settings_that_share_a_folder_are_never_averaged(tmp_path):
    others = {"dataset": make_qa(60, random_state=5)}, {"n_estimators": 1}, {"student_params": {"smoothing": 0.3}}
    for changed in ({}, *others):
        quick(tmp_path, **changed)
    loaded = SweepResult.load(tmp_path)
    summary, comparison = loaded.summary(), loaded.comparison()
    assert set(summary["n_seeds"]) == set(comparison["n_seeds"]) == {2}
    assert len(comparison) == 1 + len(others)
    assert comparison.index.names[0] == "settings_digest"
    assert loaded.to_markdown().count("| weak → strong | random |") == 1 + len(others)
    for show in (
        lambda: paper.table(3, loaded), lambda: paper.figure(13, loaded), lambda: PGRDisplay.from_frame(loaded.frame),
        lambda: W2SBarDisplay.from_frame(loaded.frame), lambda: RoundsDisplay.from_frame(loaded.rounds),
    ):  # fmt: skip
        with pytest.raises(ValueError, match="settings"):
            show()
    with pytest.raises(
        ValueError, match=r"Table 3 must show one setting of weak → strong, random, boosting. .*differ in"
    ):
        paper.table(3, loaded)
    digest = loaded.frame.query("settings.str.contains('\"smoothing\": 0.3')")["settings_digest"].iloc[0]
    expected = quick(student_params={"smoothing": 0.3})
    chosen = loaded.select(settings_digest=digest)
    pd.testing.assert_frame_equal(chosen.summary(), expected.summary())
    assert paper.table(3, chosen).frame["n_seeds"].tolist() == [2, 2]


def test_a_sweep_of_which_no_unit_is_finished_can_be_shown():
    nothing = SweepResult([])  # as SweepError has it where all units failed
    assert repr(nothing) == "SweepResult(0 units)\nNo unit is finished."
    for name in ("summary", "comparison"):
        with pytest.raises(ValueError, match=f"{name} needs at least one finished unit"):
            getattr(nothing, name)()


@pytest.mark.slow
def test_weak_ensembles_of_other_settings_are_not_pooled_over_strong_models():
    first = quick()
    again = run_sweep(
        [(WEAK, ("stronger", BigramLearner(smoothing=0.01)))], seeds=2, splits=["random"],
        **{**SETTINGS, "dataset": SMALL, "n_estimators": 2},
    )  # fmt: skip
    both = SweepResult([*first.records, *again.records])  # the same weak ensembles, drawn once
    expected = first.summary()["accuracy"][WEAK[0], STRONG[0], "random", "boosting", "ensemble"]
    display = W2SBarDisplay.from_frame(both.frame, models=("weak", "ensemble"))
    assert display.score["ensemble"][0] == pytest.approx(expected)
    other = [
        {**record, "seed": record["seed"] + 2, "strong": "stronger"}
        for record in quick(sizes=(0.2, 0.4, 0.2)).records
    ]  # fmt: skip
    mixed = SweepResult([*first.records, *other])
    for show in (
        lambda: W2SBarDisplay.from_frame(mixed.frame, models=("weak", "ensemble")),
        lambda: RoundsDisplay.from_frame(mixed.rounds), lambda: paper.figure(3, mixed), lambda: paper.figure(10, mixed),
    ):  # fmt: skip
        with pytest.raises(ValueError, match="settings"):
            show()


def test_data_sets_by_name_are_levels_of_a_summary_and_refused_by_tables(result):
    records = [{**record, "dataset": "another"} for record in result.records]
    both = SweepResult([*result.records, *records])
    assert both.summary().index.names[0] == "dataset"
    pd.testing.assert_frame_equal(both.summary().loc["another"], result.summary())
    with pytest.raises(
        ValueError, match=r"Table 3 must show one dataset\. Got 'make_qa', 'another'; pass result\.select"
    ):
        paper.table(3, both)
    with pytest.raises(ValueError, match="several values of 'dataset'"):
        W2SBarDisplay.from_frame(both.frame, split="random")
    with pytest.raises(ValueError, match=r"dataset='third'\. Got dataset 'make_qa', 'another'"):
        both.select(dataset="third")
    with pytest.raises(ValueError, match="Got seed 0 of weak → strong, random, boosting several times"):
        SweepResult([*result.records, *result.records]).comparison()


@pytest.mark.slow
def test_seeds_of_other_versions_are_not_further_seeds(tmp_path, monkeypatch):
    quick(tmp_path, seeds=[0])
    changed = {**versions(), "torch": "9.9"}
    monkeypatch.setattr("ensemw2s.experiments._store.versions", lambda: changed)
    with pytest.raises(CheckpointError, match=r"was computed with torch \S+ \(now 9\.9\)"):
        quick(tmp_path, seeds=2)
    with pytest.warns(UserWarning, match=r"\(now 9\.9\); it is shown as it is"):
        quick(tmp_path, seeds=[0])
    quick(tmp_path, seeds=[1])
    assert SweepResult.load(tmp_path).summary()["n_seeds"].tolist() == [1] * 12


@pytest.mark.slow
def test_mixed_precision_of_the_environment_makes_another_result(tmp_path, monkeypatch):
    quick(tmp_path, seeds=[0])
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "no")
    quick(tmp_path, seeds=[0])
    assert len(SweepResult.load(tmp_path)) == 1
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "bf16")
    plan = plan_sweep([(WEAK, STRONG)], splits=["random"], seeds=[0], out_dir=tmp_path, **SETTINGS | {"dataset": SMALL})
    quick(tmp_path, seeds=[0])
    assert len(SweepResult.load(tmp_path).comparison()) == 2
    monkeypatch.delenv("ACCELERATE_MIXED_PRECISION")
    with pytest.raises(SweepError, match="ACCELERATE_MIXED_PRECISION must be 'bf16', as where the sweep was planned"):
        plan.run()


@pytest.mark.parametrize("name", ["train_on_easy", "checkpoint_rounds"])
def test_a_text_is_no_switch(name):
    # `bool("false")`, as a file with quotes has it, is True.
    with pytest.raises(ValueError, match=f"{name} must be True or False. Got 'false'"):
        plan_sweep([(WEAK, STRONG)], **SETTINGS | {name: "false"})


@pytest.mark.parametrize(("name", "value"), [("labeler", "hard"), ("data_dir", 3), ("out_dir", False), ("out_dir", "")])
def test_a_value_of_another_kind_is_named(name, value):
    with pytest.raises(TypeError, match=f"{name} must be a .* or None. Got"):
        plan_sweep([(WEAK, STRONG)], **SETTINGS | {name: value})


@pytest.mark.parametrize(
    "forged",
    [{"votes": "xy"}, {"votes": ["x", "y"]}, {"stages": []}, {"chance": None}, {"members": [["a"], ["b"]]},
     {"seed": "0"}, {"correct": {"weak": "ab"}}, {"students": {"1": "01"}}, {"token_errors": {"weak": "low"}},
     {"readout": 3}, {"errors": [10**400, 0, 0]}, {"stages": [[-1] * 30] * 3}],
    ids=lambda forged: next(iter(forged)),
)  # fmt: skip
def test_a_forged_unit_is_named(result, folder, tmp_path, forged):
    stored = json.loads(next((folder / "unit").glob("*.json")).read_text())["body"]
    path = tmp_path / "unit" / f"{digest(stored['description'])}.json"
    path.parent.mkdir()
    ResultStore(tmp_path)._commit(path, {**stored, "result": {**stored["result"], **forged}})
    with pytest.raises(CheckpointError, match=rf"{path.name} holds no result of a unit \("):
        SweepResult.load(tmp_path)


def test_a_result_of_another_kind_is_no_unit(tmp_path):
    quick(tmp_path, seeds=[0])
    other = next((tmp_path / "student").glob("*.json"))
    other.rename(tmp_path / "unit" / other.name)
    with pytest.raises(CheckpointError, match=f"{other.name} holds no result of a unit"):
        SweepResult.load(tmp_path)


@pytest.mark.slow
def test_units_share_weak_ensembles_oracles_and_ratings(tmp_path):
    other = ("other", BigramLearner(smoothing=2.0))
    variants = {
        "boosting": {},
        "logits": {"combine": "logits"},
        "uniform": {"votes": "uniform"},
        "one": {"n_estimators": 1},
        "held-out": {"votes": "held-out"},
    }
    pairs = [(WEAK, STRONG), (WEAK, other), (other, STRONG)]
    settings = {**SETTINGS, "dataset": SMALL, "n_estimators": 2, "splits": ["easy-hard"]}
    run_sweep(pairs, seeds=1, variants=variants, out_dir=tmp_path, **settings)
    count = {kind: len(list((tmp_path / kind).glob("*.json"))) for kind in ("difficulty", "weak", "unit")}
    # Two weak models; "boosting", "logits" and "uniform" ask the same members.
    assert count == {"difficulty": 1, "weak": 2 * 3, "unit": 3 * 5}


@pytest.mark.slow
def test_worker_processes_give_the_same_result(result, tmp_path):
    parallel = run_sweep([(WEAK, STRONG)], seeds=2, out_dir=tmp_path, n_jobs=2, **SETTINGS)
    pd.testing.assert_frame_equal(parallel.frame, result.frame)
    pd.testing.assert_frame_equal(parallel.rounds, result.rounds)


@pytest.mark.parametrize("n_jobs", [None, 2])
@pytest.mark.slow
def test_a_unit_that_raises_is_named_and_the_others_finish(tmp_path, n_jobs):
    with pytest.raises(
        SweepError, match=r"1 of 3 units failed:\nweak → strong, random, boosting, seed 1: .*no luck"
    ) as caught:
        run_sweep(
            [(WEAK, ("strong", FailingBigram()))],
            seeds=3,
            splits=["random"],
            out_dir=tmp_path,
            n_jobs=n_jobs,
            **FEW,
        )
    assert [record["seed"] for record in caught.value.result.records] == [0, 2]
    assert "no luck" in caught.value.failures[0].traceback


@pytest.mark.slow
def test_a_killed_worker_loses_its_unit_and_a_second_call_completes(tmp_path):
    flag = tmp_path / "flag"
    flag.touch()
    pairs = [(WEAK, ("strong", DyingBigram(flag=str(flag), fails_at=3)))]
    with pytest.raises(SweepError, match=r"was cut off: \d of 4 units are finished.* TerminatedWorkerError"):
        run_sweep(pairs, seeds=4, splits=["random"], out_dir=tmp_path, n_jobs=2, **FEW)
    kept = files(tmp_path / "unit")
    flag.unlink()
    assert len(run_sweep(pairs, seeds=4, splits=["random"], out_dir=tmp_path, **FEW)) == 4
    assert kept.items() <= files(tmp_path / "unit").items()


@pytest.mark.slow
def test_a_sweep_goes_on_within_a_weak_ensemble(result, tmp_path, monkeypatch):
    fits = []
    real = BigramLearner.fit

    def fit(self, tokens, *, token_weight):
        fits.append(1)
        if len(fits) == stop_at:
            raise MemoryError("the second round")
        return real(self, tokens, token_weight=token_weight)

    monkeypatch.setattr(BigramLearner, "fit", fit)
    settings = {"seeds": 1, "splits": ["random"], "out_dir": tmp_path, "checkpoint_rounds": True, **SETTINGS}
    stop_at = 2
    with pytest.raises(SweepError, match="the second round"):
        run_sweep([(WEAK, STRONG)], **settings)
    assert [path.name for path in tmp_path.glob("rounds/*/round-*")] == ["round-0001"]
    stop_at = 0
    found, expected = run_sweep([(WEAK, STRONG)], **settings).frame, result.frame
    expected = expected[(expected["split"] == "random") & (expected["seed"] == 0)]
    pd.testing.assert_frame_equal(found.reset_index(drop=True), expected.reset_index(drop=True))
    assert not list(tmp_path.glob("rounds/*"))


def test_the_summary_is_mean_and_standard_error_over_seeds(result):
    row = result.summary().loc[("weak", "strong", "random", "boosting", "student")]
    scores = [r.student_score for r, k in zip(result.reports, result.records, strict=True) if k["split"] == "random"]
    assert row["accuracy"] == pytest.approx(np.mean(scores))
    assert row["sem"] == pytest.approx(abs(scores[0] - scores[1]) / 2)
    assert row["n_seeds"] == 2
    assert row["n_test"] == 60


def test_the_comparison_is_over_seeds_and_knows_which_items_they_share(result):
    row = result.comparison().loc[("weak", "strong", "random", "boosting")]
    kept = [(r, k) for r, k in zip(result.reports, result.records, strict=True) if k["split"] == "random"]
    reports, items = [r for r, _ in kept], [k["items"] for _, k in kept]
    assert items == [parts("random", seed)[2].tolist() for seed in (0, 1)]
    differences = [r.correct["student"].astype(float) - r.correct["baseline"] for r in reports]
    assert row["student_minus_baseline"] == pytest.approx(np.mean([values.mean() for values in differences]))
    assert (row["low"], row["high"]) == interval_over_seeds(differences, items=items)
    if not np.isnan(row["pgr"]):
        weak, student, oracle = (
            np.mean([getattr(r, f"{n}_score") for r in reports]) for n in ("weak", "student", "oracle")
        )
        assert row["pgr"] == pytest.approx(performance_gap_recovered(weak, student, oracle))
    else:
        assert "performance_gap_recovered is nan" in row["pgr_reason"]


@pytest.mark.slow
def test_students_of_every_round_and_a_validation_split_choose_the_number_of_rounds():
    swept = quick(n_estimators=3, validation_size=0.3, student_rounds="all")
    chosen = swept.selected_rounds()
    for (_, unit), (_, row) in zip(swept.rounds.groupby("seed"), chosen.iterrows(), strict=True):
        assert row["best_student_accuracy"] == unit["student_accuracy"].max()
        assert (
            unit["validation_accuracy"].max() == unit.set_index("round").loc[row["chosen_round"], "validation_accuracy"]
        )
        assert row["student_accuracy"] <= row["best_student_accuracy"]
    assert len(chosen) == 2


def test_selected_rounds_needs_a_validation_split(result):
    with pytest.raises(ValueError, match="validation_size"):
        result.selected_rounds()


def test_a_validation_part_is_not_trained_on(tmp_path):
    plan = plan_sweep([(WEAK, STRONG)], splits=["random"], seeds=1, validation_size=0.25, **SETTINGS)
    from ensemw2s.experiments._parts import find_parts

    found = find_parts(plan.settings, "random", 0, ResultStore(tmp_path))
    assert 0.2 <= len(found.validation) / 60 <= 0.3  # forms of one question stay together
    assert sorted([*found.weak, *found.validation]) == sorted(parts("random", 0)[0])


@pytest.mark.slow
def test_training_on_easy_data_is_a_row_of_its_own():
    swept = run_sweep([(WEAK, STRONG)], seeds=1, splits=["random"], train_on_easy=True, **SETTINGS)
    easy, _, test = (POOL[rows] for rows in parts("random", 0))
    from ensemw2s import FineTunedGenerator

    expected = FineTunedGenerator(STRONG[1]).fit(easy).score(test)
    frame = swept.frame.set_index("model")
    assert frame.loc["easy", "accuracy"] == pytest.approx(expected)


def test_the_classification_task_equals_the_pipeline_by_hand():
    weak = ("words", make_pipeline(CountVectorizer(), LogisticRegression()))
    strong = ("pairs of words", make_pipeline(CountVectorizer(ngram_range=(1, 2)), LogisticRegression()))
    swept = run_sweep([(weak, strong)], task="classification", dataset=POOL, seeds=1, splits=["random"], n_estimators=4)
    rows, pool = parts("random", 0), to_binary(POOL, random_state=0)
    easy, hard, test = (([pool.texts[row] for row in part], pool.labels[part]) for part in rows)
    booster = LLMAdaBoostClassifier(weak[1], n_estimators=4, random_state=0, on_failure="keep")
    report = W2SPipeline(booster, strong[1]).fit(*easy, *hard).evaluate(*test)
    for name, right in report.correct.items():
        np.testing.assert_array_equal(swept.reports[0].correct[name], right)
    assert swept.reports[0].chance == 0.5


def test_a_collapsed_teacher_is_a_result(tmp_path):
    weak = ("majority", DummyClassifier())
    strong = ("words", make_pipeline(CountVectorizer(), LogisticRegression()))
    swept = run_sweep(
        [(weak, strong)], task="classification", dataset=POOL, seeds=3, splits=["random"], n_estimators=1,
        out_dir=tmp_path,
    )  # fmt: skip
    pool, chosen = to_binary(POOL, random_state=0), []
    for seed in range(3):
        easy, _, test = parts("random", seed)
        majority = np.argmax(np.bincount(pool.labels[easy]))
        chosen.append(np.mean(pool.labels[test] == majority))
    students = swept.frame.query("model == 'student'")
    np.testing.assert_allclose(students["accuracy"], chosen)
    np.testing.assert_array_equal(students["accuracy"], swept.frame.query("model == 'weak'")["accuracy"])
    for text in (swept.to_markdown(), str(paper.table(1, swept))):
        assert re.search(r"collapsed to one class.*majority → words, random, boosting, seed 0 \(T = 1", text)
        assert "ended early" not in text
    assert paper.table(1, swept).frame["n_seeds"].tolist()[0] == 3


@pytest.mark.slow
def test_soft_labels_reach_the_students():
    hard, soft = (
        run_sweep([(WEAK, STRONG)], seeds=[1], splits=["random"], labeler=PseudoLabeler(labels=labels), **SETTINGS)
        for labels in ("hard", "soft")
    )
    weak, student = ({str(r.records[0]["correct"][name]) for r in (hard, soft)} for name in ("weak", "student"))
    assert len(weak) == 1
    assert len(student) == 2


def test_a_sweep_is_measured_by_the_metric_that_is_asked_for(tmp_path):
    X = [f"q {number} w{number % 4}" for number in range(40)]
    free = QADataset(X, [f"a{number % 4} {'bbc'[number % 3]}" for number in range(40)])
    words = word_tokenizer([*free.prompts, *free.answers])
    pair = tuple((name, BigramLearner(words, prompt_template="{prompt}", smoothing=by))
                 for name, by in (("weak", 0.5), ("strong", 0.01)))  # fmt: skip
    settings = {**FEW, "dataset": free, "splits": ["random"], "seeds": 1, "out_dir": tmp_path, "near_duplicates": None}
    f1 = run_sweep([pair], metric="f1", **settings)
    [report], frame = f1.reports, f1.frame
    assert f1.metric == report.metric == frame["metric"].unique().item() == "f1"
    assert 0 < report.oracle_score < 1
    _, hard, test = next(RandomSplit(random_state=0, near_duplicates=None).split(free))
    oracle = FineTunedGenerator(pair[1][1]).fit(free[hard])
    np.testing.assert_array_equal(report.correct["oracle"], oracle.credit(free[test], metric="f1"))
    assert f1.summary().loc[("weak", "strong", "random", "boosting", "oracle"), "f1"] == pytest.approx(
        report.oracle_score
    )
    assert "f1, mean ± standard error" in f1.to_markdown()
    assert f1.rounds["student_f1"].iloc[-1] == pytest.approx(report.student_score)
    assert RoundsDisplay.from_frame(f1.rounds, quantities="accuracy").ax_.get_ylabel().startswith("test f1")
    assert W2SBarDisplay.from_frame(f1.frame).ax_.get_ylabel() == "test f1"
    with pytest.raises(ValueError, match=r"is one of accuracies. Got runs by f1"):
        paper.table(3, f1)
    # Another metric is another result beside it, and the default has the name that it always had.
    again = run_sweep([pair], metric="f1", **settings)
    assert again.records == f1.records
    run_sweep([pair], metric="exact_text", **settings)
    before = files(tmp_path)
    run_sweep([pair], **settings)
    assert files(tmp_path) == before
    both = SweepResult.load(tmp_path)
    with pytest.raises(ValueError, match=r"must have one metric. Got .*result.select\(metric="):
        both.summary()
    assert both.select(metric="f1").records == f1.records


def test_a_metric_that_could_not_be_told_from_another_is_refused():
    with pytest.raises(ValueError, match="metric"):
        plan_sweep([(WEAK, STRONG)], metric=lambda said, right: [1.0] * len(said), **FEW)
    with pytest.raises(ValueError, match="references must hold a number in each row"):
        plan_sweep([(WEAK, STRONG)], metric="number", **FEW)


def test_free_text_without_options_has_students_too():
    pool = QADataset([f"say {word} {n}" for n in range(20) for word in "ab"], ["aa", "bb"] * 20)
    swept = run_sweep(
        [(WEAK, STRONG)], dataset=pool, splits=["random"], seeds=1, n_estimators=2,
        near_duplicates=None, booster_params={"prior": "uniform"},
    )  # fmt: skip
    assert np.isnan(swept.frame["chance"]).all()
    assert set(swept.frame["model"]) == {"weak", "ensemble", "uniform", "baseline", "student", "oracle"}


def test_a_list_of_weak_learners_is_boosted_together():
    by_words = BigramLearner(word_tokenizer([*SMALL.prompts, *SMALL.answers]))
    both, settings = [by_words, BigramLearner()], {"reweight": False, "unit": "sample"}
    swept = run_sweep([(("both", both), STRONG)], dataset=SMALL, splits=["random"], seeds=[1], n_estimators=2,
                      booster_params=settings)  # fmt: skip
    easy, _, test = (SMALL[rows] for rows in next(RandomSplit(random_state=1).split(SMALL)))
    weak = TokenAdaBoostGenerator(estimators=both, n_estimators=2, on_failure="keep", random_state=1, **settings)
    assert weak.fit(easy).picks_.tolist() == [0, 1]
    np.testing.assert_array_equal(swept.reports[0].correct["ensemble"], weak.credit(test))
    np.testing.assert_array_equal(swept.reports[0].votes, weak.estimator_weights_)


def test_lists_of_weak_learners_differ_in_their_order_and_are_rated_by_the_first():
    lists = [[WEAK[1], STRONG[1]], [STRONG[1], WEAK[1]]]
    plans = [plan_sweep([(each, STRONG)], dataset=SMALL) for each in lists]
    assert plans[0].units[0].name == "BigramLearner + BigramLearner → strong, random, boosting, seed 0"
    first, second = (plan.units[0].weak.describe() for plan in plans)
    assert first != second
    assert [plan.settings.rater.model for plan in plans] == [WEAK[1], STRONG[1]]


def test_the_plan_lists_units_and_trains_nothing(folder, result):
    plan = plan_sweep([(WEAK, STRONG)], seeds=3, out_dir=folder, **SETTINGS)
    frame = plan.to_frame()
    assert frame["finished"].tolist() == [True, True, False] * 2
    assert set(frame["split"]) == {"random", "easy-hard"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"pairs": []}, "pairs must be a sequence with at least one entry"),
        ({"pairs": [BigramLearner()]}, "pairs must hold pairs"),
        ({"pairs": [(BigramLearner(), [BigramLearner()])]}, r"pairs\[0\]\[1\] must be a model id"),
        ({"pairs": [([BigramLearner(), 3], STRONG)]}, r"pairs\[0\]\[0\] must be a model id.*a list of these"),
        ({"pairs": [(TokenAdaBoostGenerator(WEAK[1]), STRONG)]}, "estimator must be a token learner or a model id"),
        ({"booster_params": {"estimators": [WEAK[1]]}}, r"(?s)leave out 'estimators'.*pass a list as the weak model"),
        ({"booster_params": {"unit": 0}}, "unit must be 'token'"),
        ({"booster_params": {"unit": 10**400}}, "unit must be 'token'"),
        ({"variants": {"a": {"sampling": "both"}}}, "sampling must be one of"),
        ({"pairs": [(BigramLearner(), 3)]}, r"pairs\[0\]\[1\] must be a model id"),
        (
            {"pairs": [(WEAK, STRONG), (("weak", BigramLearner(smoothing=3)), STRONG)]},
            "two different models with one name",
        ),
        ({"dataset": "mnist"}, "dataset must be one of 'sciq'"),
        ({"dataset": QADataset(["a", "b"])}, "dataset must have answers"),
        ({"task": "regression"}, "task must be one of 'generation', 'classification'"),
        ({"splits": "random"}, "splits must be a sequence"),
        ({"splits": ["hard"]}, "splits must be one of 'random', 'easy-hard'"),
        ({"task": ["generation"]}, "task must be one of 'generation', 'classification'"),
        ({"seeds": 0}, "seeds must be an integer of at least 1"),
        ({"seeds": 10**20}, "seeds must be a number of seeds, at most 10,000"),
        ({"variants": 5}, "variants must be a dict of dicts"),
        ({"variants": {"a": 5}}, r"variants\['a'\] must be a dict of parameters"),
        ({"variants": {"a": {"weak_params": 5}}}, r"variants\['a'\]\['weak_params'\] must be a dict of parameters"),
        ({"booster_params": {1: 2}}, "booster_params must be a dict of parameters"),
        ({"seeds": [1, 1]}, "seeds must hold different integers"),
        ({"n_estimators": 0}, "'n_estimators'.* must be an integer of at least 1"),
        ({"sizes": (0.5, 0.5)}, "sizes must be three"),
        ({"sizes": (1, "x", 2)}, "strong_size must"),
        ({"sizes": (100, 100, 100)}, "must have at most n_samples=150 rows"),
        ({"validation_size": 1.0}, r"validation_size must lie in \[0, 1\)"),
        ({"student_rounds": "best"}, "student_rounds must be one of"),
        ({"cv": 1}, "cv must be an integer of at least 2"),
        ({"variants": {"x": {"votes": "many"}}}, r"variants\['x'\]\['votes'\] must be 'boosted' or 'uniform'"),
        ({"variants": {"x": {"windows": 3}}}, "windows"),
        ({"weak_params": {"epoch": 3}}, "epoch"),
    ],
)
def test_bad_arguments_are_named_before_anything_is_trained(change, message):
    pairs = change.pop("pairs", [(WEAK, STRONG)])
    with pytest.raises((ValueError, TypeError), match=message):
        run_sweep(pairs, **{**SETTINGS, **change})


def test_ablations_change_one_thing_at_a_time():
    variants = ablations("combine", "window", "unit", "sampling", "prior", "learning_rate", "controls", epochs=2)
    assert variants["boosting"] == {}
    assert variants["longer training"] == {"n_estimators": 1, "weak_params": {"epochs": 10.0}}
    assert all(len(settings) == 1 for name, settings in variants.items() if name not in ("boosting", "longer training"))
    tiling, sliding = variants["window 4"], ablations("sliding_window")["sliding window 4"]
    assert (tiling, sliding) == ({"unit": 4}, {"unit": 4, "window": "sliding"})


@pytest.mark.filterwarnings("ignore::ensemw2s.EarlyStopWarning")
@pytest.mark.slow
def test_every_ablation_runs():
    weak = ("weak", BigramLearner(corpus=POOL.answers[:20]))  # knows something: two priors need that
    variants = ablations("combine", "window", "sliding_window", "unit", "sampling", "prior", "learning_rate")
    variants["bagging"] = ablations("controls", epochs=1)["bagging"]
    swept = run_sweep(
        [(weak, STRONG)], dataset=POOL[:32], seeds=1, splits=["random"], n_estimators=2, variants=variants
    )
    assert len(swept) == len(variants)


def test_unknown_ablations_are_named():
    with pytest.raises(ValueError, match=r"'combine', 'window'.* Got 'windows'"):
        ablations("windows")
    with pytest.raises(ValueError, match="epochs must be that of the weak learner"):
        ablations("controls")


def test_the_table_names_everything_needed_to_read_it(result):
    table = result.to_markdown()
    assert "weak → strong | random | boosting" in table
    assert "0.250" in table  # chance
    assert "2 × 30" in table


def test_rounds_report_diversity_and_margins(result):
    first, second = (result.rounds.query("split == 'random' and seed == 0 and round == @t").iloc[0] for t in (1, 2))
    record = result.records[0]
    wrong = np.array(record["members"])[:2] != 0
    assert np.isnan(first["error_correlation"])
    assert second["error_correlation"] == pytest.approx(np.corrcoef(wrong)[0, 1])
    assert first["margin"] == pytest.approx(1 - 2 * wrong[0].mean())
    assert first["member_accuracy"] == first["accuracy"] == first["any_member_accuracy"]
    best = [max(1 / int(m) if int(m) else 0 for m in pair) for pair in zip(*record["member_credit"][:2], strict=True)]
    assert second["any_member_accuracy"] == pytest.approx(np.mean(best))
    assert second["disagreement"] == np.mean(np.array(record["members"])[0] != np.array(record["members"])[1])


def test_a_variants_parameter_of_the_weak_learner_counts_more_than_the_sweeps():
    variants = {"boosting": {}, "smooth": {"weak_params": {"smoothing": 5.0}}}
    plan = plan_sweep([(WEAK, STRONG)], seeds=1, variants=variants, weak_params={"smoothing": 0.5}, **SETTINGS)
    learners = [unit.weak.build(plan.settings.task, 0, unit.variant.learner) for unit in plan.units[:2]]
    assert [learner.smoothing for learner in learners] == [0.5, 5.0]
