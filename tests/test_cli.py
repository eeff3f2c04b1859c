"""``python -m ensemw2s``: what it prints, writes and returns, with real sweeps of tiny models."""

from __future__ import annotations

import json
import logging
import os
import re
import signal
import subprocess
import sys

import pandas as pd
import pytest
from tiny_models import tiny_llama

from ensemw2s import BigramLearner, LearnerCost, SweepResult, Workload, byte_tokenizer, paper, plan_sweep, stage_costs
from ensemw2s._cli import main
from ensemw2s._cli._backends import parallel_backend
from ensemw2s._cli._estimate import estimate_runs
from ensemw2s._cli._models import read_model

WORDS = ("tin", "iron", "zinc", "lead", "gold", "neon", "coal", "salt", "sand", "wood", "silk", "wool")
FAST = [
    "--n-estimators", "2", "--weak-params", "epochs=1", "--student-params", "epochs=1",
    "--booster-params", "reweight=false", "--near-duplicates", "none",
]  # fmt: skip


@pytest.fixture(autouse=True)
def quiet_and_quick(monkeypatch):
    monkeypatch.setattr("ensemw2s._cli._estimate._SECONDS", 0.02)
    level = logging.getLogger("ensemw2s").level
    yield
    logging.getLogger("ensemw2s").setLevel(level)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A folder with a saved model under two names, and questions in the form of SciQ and of QuaRTz."""
    import torch

    folder = tmp_path_factory.mktemp("world")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        for name in ("small", "large"):
            tiny_llama().save_pretrained(folder / name)
            byte_tokenizer().save_pretrained(folder / name)
    (folder / "empty").mkdir()
    (folder / "sciq").mkdir()
    rows = [
        {
            "question": f"{first} or {second}?",
            "correct_answer": first,
            "distractor1": second,
            "distractor2": "air",
            "distractor3": "ice",
        }
        for first in WORDS[:6]
        for second in WORDS[6:]
    ]
    (folder / "sciq" / "train.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return folder


def flags(world, *more, out="runs"):
    return [
        "--pair", f"small={world / 'small'}", f"large={world / 'large'}", "--data-dir", str(world),
        "--dataset", "sciq", "--task", "generation", "--out-dir", str(world / out), *FAST, *more,
    ]  # fmt: skip


def one_unit(world, *more, out="runs"):
    return flags(world, "--splits", "random", "--seeds", "1", "--n-questions", "20", *more, out=out)


@pytest.fixture(scope="module")
def swept(world):
    assert main(["sweep", *one_unit(world)]) == 0
    return SweepResult.load(world / "runs")


@pytest.mark.slow
def test_a_sweep_prints_its_table_and_reads_what_is_finished(world, swept, capsys):
    assert main(["sweep", *one_unit(world), "--csv", str(world / "all.csv")]) == 0
    captured = capsys.readouterr()
    assert captured.out == f"{swept.to_markdown()}\n"
    assert "1 units, 1 finished before" in captured.err
    pd.testing.assert_frame_equal(pd.read_csv(world / "all.csv"), swept.frame)


@pytest.mark.slow
def test_units_are_named_as_they_finish(world, swept, capsys):
    assert main(["sweep", *one_unit(world, "--seeds", "2")]) == 0
    assert "2 units, 1 finished before\n[2/2] small → large, random, boosting, seed 1\n" in capsys.readouterr().err


@pytest.mark.slow
def test_without_a_folder_nothing_is_kept(world, capsys):
    arguments = one_unit(world)
    del arguments[arguments.index("--out-dir") : arguments.index("--out-dir") + 2]
    before = sorted(world.iterdir())
    assert main(["sweep", *arguments, "--n-estimators", "1", "--backend", "threading", "--threads", "1"]) == 0
    assert "| small → large | random |" in capsys.readouterr().out
    assert sorted(world.iterdir()) == before


@pytest.mark.slow
def test_a_table_is_that_of_the_same_sweep(world, capsys):
    assert main(["table", "3", *one_unit(world, out="table")]) == 0
    expected = paper.table(3, SweepResult.load(world / "table"))
    assert capsys.readouterr().out == f"{expected.to_markdown()}\n"
    assert main(["table", "3", *one_unit(world, out="table"), "--csv", str(world / "table.csv")]) == 0
    assert capsys.readouterr().out == ""
    assert pd.read_csv(world / "table.csv")["oracle"][0] == expected.frame["oracle"].iloc[0]
    assert SweepResult.load(world / "table").records[0]["students"].keys() == {"1", "2"}  # the preset asks for all


@pytest.mark.slow
def test_a_figure_is_saved_and_its_numbers_printed(world, capsys):
    path = world / "figure.svg"
    assert main(["figure", "13", *one_unit(world, out="table"), "--save", str(path)]) == 0
    captured = capsys.readouterr()
    assert "<svg" in path.read_text()
    assert f"saved: {path}" in captured.err
    assert SweepResult.load(world / "table").to_markdown() in captured.out
    assert "Mean W2S accuracy" in captured.out


def test_ratings_are_drawn_and_kept(world, capsys):
    arguments = ["figure", "9", *flags(world, "--n-questions", "10", "--cv", "2", "--seeds", "1", out="rated")]
    assert main([*arguments, "--save", str(world / "ratings.png")]) == 0
    assert "sciq/train: 10 questions, rated by small in 2 folds" in capsys.readouterr().out
    assert len(list((world / "rated" / "difficulty").glob("*.json"))) == 1
    assert not (world / "rated" / "unit").exists()


@pytest.mark.slow
def test_failed_units_are_named_and_the_others_are_in_the_table(world, swept, capsys):
    bad = ["--pair", f"small={world / 'small'}", f"nothing={world / 'empty'}"]
    assert main(["sweep", *one_unit(world, *bad)]) == 1
    captured = capsys.readouterr()
    assert "failed: small → nothing, random, boosting, seed 0: " in captured.err
    assert "| small → large | random |" in captured.out
    assert "nothing" not in captured.out


@pytest.mark.slow
def test_a_dry_run_lists_units_and_costs_and_trains_nothing(world, swept, capsys):
    assert main(["sweep", *one_unit(world, "--seeds", "7", "0"), "--dry-run"]) == 0
    text = capsys.readouterr().out
    assert "| small → large, random, boosting, seed 0 | yes | – | – |" in text
    assert "| small → large, random, boosting, seed 7 | no | " in text
    assert "2 units, 1 finished. About " in text
    assert len(SweepResult.load(world / "runs")) <= 2


def plan_of(world, **changes):
    pair = (("small", str(world / "small")), ("large", str(world / "large")))
    settings = {
        "dataset": "sciq", "data_dir": world, "splits": ["random"], "seeds": 1, "n_estimators": 2, "sizes": (8, 10, 6),
        "near_duplicates": None,
    }  # fmt: skip
    return plan_sweep(changes.pop("pairs", [pair]), **{**settings, **changes})


@pytest.mark.slow
def test_the_estimate_is_that_of_the_cost_model(world):
    plan = plan_of(world)
    (cost,) = estimate_runs(plan)
    learner = LearnerCost.from_learner(plan.units[0].weak.build(plan.settings.task, 0))
    questions = plan.settings.task.questions
    n = len(questions)
    prompt = sum(len(f"Question: {text}\nAnswer:".encode()) for text in questions.prompts) / n
    answer = sum(len(f" {text}".encode()) + 1 for text in questions.answers) / n
    workload = Workload(8, 10, 6, prompt, answer, n_estimators=2, n_folds=0)
    stages = stage_costs(learner, learner, workload)
    assert cost.flops == pytest.approx(sum(stage.flops for stage in stages))
    # Of the students each is in memory by itself.
    assert cost.memory == max(stage.memory for stage in stages if stage.stage not in ("student: baseline", "oracle"))
    assert cost.seconds > 0


@pytest.mark.slow
def test_shared_work_is_counted_with_the_first_unit(world):
    weak, strong = (("small", str(world / "small")), ("large", str(world / "large")))
    alone = estimate_runs(plan_of(world))[0].flops
    first, second = estimate_runs(plan_of(world, pairs=[(weak, strong), (weak, weak)]))
    assert first.flops == pytest.approx(alone)
    assert 0 < second.flops < first.flops  # the weak ensemble is there
    ways = estimate_runs(plan_of(world, variants={"boosting": {}, "bagging": {"reweight": False}}))
    assert ways[1].flops < ways[0].flops  # the oracle is there


@pytest.mark.slow
def test_the_estimate_covers_ratings_easy_training_and_students_of_all_rounds(world):
    plain = estimate_runs(plan_of(world))[0].flops
    for change in ({"splits": ["easy-hard"]}, {"train_on_easy": True}, {"student_rounds": "all", "n_estimators": 3}):
        assert estimate_runs(plan_of(world, **change))[0].flops > plain


@pytest.mark.slow
def test_a_classifier_has_an_estimate_too(world):
    assert estimate_runs(plan_of(world, task="classification"))[0].flops > 0


def test_models_of_other_kinds_have_no_estimate(world):
    pairs = [(("counts", BigramLearner()), ("large", str(world / "large")))]
    (cost,) = estimate_runs(plan_of(world, pairs=pairs))
    assert cost.reason == "counts is no Hugging Face model, whose sizes could be read"
    assert cost.flops != cost.flops


def test_a_pool_has_no_estimate_and_takes_none_from_the_others(world):
    pair = (("small", str(world / "small")), ("large", str(world / "large")))
    pool = read_model(f"{{experts: ['{world / 'small'}', {{verifier: '{world / 'small'}'}}]}}", "weak")
    alone = estimate_runs(plan_of(world, splits=["easy-hard"], rater=pair[0]))[0]
    pooled, boosted = estimate_runs(plan_of(world, splits=["easy-hard"], rater=pair[0], pairs=[(pool, pair[1]), pair]))
    assert pooled.reason == "small + verifier small is a pool of experts, for which there is no cost model"
    assert boosted.flops == pytest.approx(alone.flops)  # the rating, which both need, is counted


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["sweep", "--dataset", "sciq"], "--pair WEAK STRONG must be given"),
        (["sweep", "--pair", "a", "b"], "--dataset NAME or --data FILE must be given"),
        (["sweep", "--pair", "a", "b", "--dataset", "mnist"], "dataset must be one of 'sciq'"),
        (["table", "9", "--pair", "a", "b"], "number of a table must be one of 1, 2, 3"),
        (["table", "two", "--pair", "a", "b"], "number of a table must be one of 1, 2, 3"),
        (["figure", "6", "--pair", "a", "b"], "Figure 6 is a drawing"),
        (["figure", "99", "--pair", "a", "b"], "number of a figure must be one of 2, 3"),
        (["table", "4", "--pair", "a", "b", "--splits", "random"], "table 4 needs --splits easy-hard"),
        (["figure", "4", "--pair", "a", "b", "--save", "x.gif"], "--save must end in .png, .pdf, .svg"),
        (["figure", "4", "--pair", "a", "b", "--choice", "validation"], "needs --validation-size"),
        (["table", "4", "--pair", "a", "b", "--csv", "no/such/folder.csv"], "--csv must lie in a folder that exists"),
        (["sweep", "--pair", "a", "b", "--dataset", "make_qa", "--weak-params", "lr"], "must be given as KEY=VALUE"),
        (["sweep", "--pair", "a", "b", "--dataset", "make_qa", "--weak-params", "epoch=1"], "epoch"),
        (["sweep", "--pair", "a", "b", "--dataset", "make_qa", "--ablations", "windows"], "names must be among"),
        (["sweep", "--pair", "a", "b", "--dataset", "make_qa", "--labels", "kind"], "labels must be"),
        (["sweep", "--config", "no_such.yaml"], "no_such.yaml"),
    ],
)
@pytest.mark.slow
def test_bad_arguments_are_one_line_without_a_traceback(arguments, message, capsys):
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("error: ")
    assert re.search(message, captured.err)
    assert "Traceback" not in captured.err
    assert captured.out == ""


@pytest.mark.parametrize("arguments", [[], ["sweep", "--seeds", "many"], ["picture", "2"]])
def test_what_argparse_refuses_has_its_exit_code(arguments, capsys):
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert "usage:" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["sweep", "table", "figure"])
def test_help_has_examples_and_the_exit_codes(command, capsys):
    with pytest.raises(SystemExit) as caught:
        main([command, "--help"])
    assert caught.value.code == 0
    text = capsys.readouterr().out
    assert f"python -m ensemw2s {command}" in text
    assert "130 interrupted" in text


def test_backends_are_active_inside_only():
    from joblib.parallel import get_active_backend

    before = type(get_active_backend()[0])
    with parallel_backend("threading", 2, None):
        assert type(get_active_backend()[0]).__name__ == "ThreadingBackend"
    assert type(get_active_backend()[0]) is before


def run(arguments, **kwargs):
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUTF8": "1"}
    command = [sys.executable, "-m", "ensemw2s", *arguments]
    return subprocess.Popen(
        command,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        # A background job of a shell is started with Ctrl-C ignored, and hands this on.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        **kwargs,
    )


@pytest.mark.slow
def test_a_process_shows_a_sweep_that_is_finished(world, swept):
    process = run(["sweep", *one_unit(world)])
    out, err = process.communicate(timeout=500)
    assert process.returncode == 0, err
    assert out == f"{swept.to_markdown()}\n"
    assert "1 units, 1 finished before" in err


@pytest.mark.slow
def test_control_c_says_what_is_kept(world):
    process = run(["sweep", *one_unit(world, "--seeds", "500", out="stopped")])
    for line in process.stderr:
        if line.startswith("[1/500]"):
            break
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=300)
    assert process.returncode == 130, err
    kept = len(list((world / "stopped" / "unit").glob("*.json")))
    assert f"interrupted: {kept} of 500 units are finished and kept in {world / 'stopped'}" in err
    assert "Traceback" not in err
