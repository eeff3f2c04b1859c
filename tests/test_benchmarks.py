"""How the benchmarks measure and report, and that every script of them runs."""

from __future__ import annotations

import gc
import importlib
import inspect
import json
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / "benchmarks"
sys.path.append(str(FOLDER.parent))  # the benchmarks are no part of the installed package

from benchmarks._measure import Row, as_table, compare, interleave  # noqa: E402


def test_candidates_take_turns_after_a_warm_up():
    calls = []
    seconds = interleave({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, repeats=3)
    assert calls == ["a", "b", "a", "b", "b", "a", "a", "b"]
    assert [len(seconds["a"]), len(seconds["b"])] == [3, 3]


def test_seconds_grow_with_the_work():
    seconds = interleave({"once": lambda: sum(range(200_000)), "ten": lambda: sum(range(2_000_000))}, repeats=3)
    assert 5 < min(seconds["ten"]) / min(seconds["once"]) < 20


def test_work_runs_with_one_thread_and_the_number_of_threads_comes_back():
    import torch

    before, during = torch.get_num_threads(), []
    torch.set_num_threads(2)
    try:
        interleave({"a": lambda: during.append(torch.get_num_threads())}, repeats=1)
        assert during == [1, 1]
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_a_cost_is_ours_over_theirs():
    row = compare("decoding", "one model", [3.0, 2.0, 1.0], [1.0, 1.0, 1.0], "≤ 1.7")
    assert (row.ratio_min, row.ratio_median, row.holds) == (1.0, 2.0, False)


def test_a_gain_is_theirs_over_ours():
    row = compare("decoding", "a loop", [1.0, 1.0, 2.0], [4.0, 5.0, 2.0], "≥ 4x", equal=True)
    assert (row.ratio_min, row.ratio_median, row.holds) == (1.0, 4.0, True)


@pytest.mark.parametrize(
    ("target", "median", "holds"), [("≤ 2 s", 2.0, True), ("≤ 300 MB", 301.0, False), ("≥ 1.35x", 1.3, False)]
)
def test_a_target_is_held_by_the_median(target, median, holds):
    assert Row("case", "-", 0.0, median, target).holds is holds


def test_measurements_of_two_runs_are_joined():
    first = compare("decoding", "one model", [3.0, 3.0], [1.0, 2.0], "≤ 1.7", equal=True)
    again = compare("decoding", "one model", [1.0, 1.0, 1.0], [1.0, 2.0, 2.0], "≤ 1.7", equal=True)
    joined = first.with_more(again)
    assert (joined.ratio_min, joined.ratio_median, joined.equal) == (0.5, 1.0, True)
    assert joined.details["ours"] == [3.0, 3.0, 1.0, 1.0, 1.0]
    assert joined.margin == pytest.approx(0.7 / 1.7)


def test_a_target_without_a_sign_is_refused():
    with pytest.raises(ValueError, match=r"target must look like '≤ 1\.7'.*Got '4x'"):
        Row("case", "-", 1.0, 1.0, "4x")


def test_the_table_says_whether_targets_hold_and_outputs_are_equal():
    rows = [Row("a", "-", 1.0, 1.23456, "≤ 2 s"), Row("b", "c", 1.0, 2.0, "≥ 4x", equal=False)]
    assert as_table(rows).splitlines()[2:] == [
        "| a * | - | 1 | 1.23 | ≤ 2 s | yes | - |",
        "| b | c | 1 | 2 | ≥ 4x | **no** | **no** |",
    ]


def test_a_failing_script_does_not_stop_the_others(tmp_path):
    folder = tmp_path / "benchmarks"
    folder.mkdir()
    for name in ("__init__.py", "__main__.py", "_machine.py", "_measure.py"):
        shutil.copy(FOLDER / name, folder)
    (folder / "broken.py").write_text("import no_such_package\ndef run(repeats=5): return []\n")
    (folder / "fine.py").write_text(
        "from benchmarks._measure import Row\ndef run(repeats=5): return [Row('fine', '-', 1.0, repeats, '≤ 2 s')]\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "--repeats", "2", "--out", "results.json"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "broken failed: ModuleNotFoundError: No module named 'no_such_package'" in done.stderr
    # Two repeats gave 2, which is at its target, and so it was measured again with four, which miss it.
    assert "| fine * | - | 1 | 4 | ≤ 2 s | **no** | - |" in done.stdout
    assert "missed: fine, against -: 4, target ≤ 2 s" in done.stderr
    report = json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))
    assert report["failures"] == {"broken": "ModuleNotFoundError: No module named 'no_such_package'"}
    assert [(row["case"], row["ratio_median"], row["holds"]) for row in report["rows"]] == [("fine", 4, False)]
    assert report["packages"]["torch"] == version("torch")
    assert {"date", "revision", "processor", "caches", "threads", "repeats"} <= set(report)


# --- every script, small ----------------------------------------------------------------------------------------------

TINY = {
    "adapt_answer": {"shape": "tiny", "n_members": 2, "n_rows": 2, "n_prompt": 16, "n_new": 2},
    "cost_model": {"size": "tiny", "interval": 0.01, "copied": 1 << 20},
    "decode_lora": {"shape": "tiny", "n_members": 2, "n_prompt": 8, "n_new": 2},
    "gpu": {
        "device": "cpu", "dtype": "float32", "shape": "tiny", "n_members": 2, "n_rows": 2, "n_prompt": 8, "n_new": 2,
        "copied_mb": 1,
    },
    "growth": {"shape": "tiny", "n_sizes": 1},
    "import_time": {},
    "mix_and_draw": {"n_tokens": 3000, "n_calls": 50},
    "option_scoring": {"shape": "tiny", "n_questions": 4, "data_dir": ""},
    "resident_weights": {"shape": "tiny", "n_members": 2},
    "sampling": {"shape": "tiny", "n_members": 2, "n_prompt": 8, "n_new": 4, "n_samples": 300},
    "speculation": {"shape": "tiny", "n_members": 2, "n_new": 6, "n_samples": 20},
    "token_bookkeeping": {"tokens": 10_000, "growth": 2},
    "token_error": {"shape": "tiny"},
    "training_step": {"shape": "tiny", "n_rows": 32, "data_dir": ""},
    "verifier": {"shape": "tiny", "n_questions": 4, "n_fitted": 8, "n_trained": 4, "data_dir": ""},
}  # fmt: skip
WITHOUT_ROWS = {"adapt_answer_accuracy"}  # takes hours
SCRIPTS = sorted({path.stem for path in FOLDER.glob("[!_]*.py")} - WITHOUT_ROWS)


@pytest.fixture(scope="module", autouse=True)
def little_garbage():
    """What is imported is not looked through before each measurement."""
    importlib.import_module("transformers.trainer")
    gc.freeze()


@pytest.mark.filterwarnings("default")  # the alternatives' own
@pytest.mark.parametrize("name", SCRIPTS)
@pytest.mark.slow
def test_every_script_gives_rows_with_equal_outputs(name):
    if name == "option_scoring":
        pytest.importorskip("lm_eval")
    run = importlib.import_module(f"benchmarks.{name}").run
    assert next(iter(inspect.signature(run).parameters)) == "repeats"
    inspect.signature(run).bind()  # as `python -m benchmarks` calls it
    rows = run(repeats=1, **TINY[name])
    assert rows
    assert [row.case for row in rows if row.equal is False] == []
    json.dumps([row.as_dict() for row in rows])


def test_the_gpu_script_refuses_a_machine_without_one(monkeypatch):
    import torch

    from benchmarks import gpu

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SystemExit, match=r"device='cuda' needs a GPU, and torch\.cuda finds none.*--device cpu"):
        gpu.run()


def test_the_gpu_script_says_why_the_kernel_is_left_out(capsys):
    import torch

    from benchmarks import gpu

    assert gpu.mixture((2, 3, 10), torch.float32, "cpu", 1, 1) == []
    assert "The mixture kernel is left out: backend 'triton' does not serve torch.float32" in capsys.readouterr().err


@pytest.mark.gpu
def test_the_gpu_script_runs_on_a_gpu():
    from benchmarks import gpu

    rows = gpu.run(repeats=1, **{**TINY["gpu"], "device": "cuda"})
    assert [row.case for row in rows if row.equal is False] == []
    assert any("mixture kernel" in row.case for row in rows)


def test_a_shape_that_is_not_known_is_refused():
    from benchmarks._models import RandomLlama

    with pytest.raises(ValueError, match=r"shape must be one of 134M, 1B, 10M, tiny\. Got 'huge' instead"):
        RandomLlama("huge")
