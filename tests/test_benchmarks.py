"""How the benchmarks measure and report; what they measure is not run here."""

from __future__ import annotations

import ast
import importlib.util
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / "benchmarks"


def load_measure():
    """The module, which is no part of the package."""
    spec = importlib.util.spec_from_file_location("ensemw2s_benchmarks_measure", FOLDER / "_measure.py")
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


measure = load_measure()
Row, as_table, compare, interleave = measure.Row, measure.as_table, measure.compare, measure.interleave


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


def test_a_target_without_a_sign_is_refused():
    with pytest.raises(ValueError, match=r"target must look like '≤ 1\.7'.*Got '4x'"):
        Row("case", "-", 1.0, 1.0, "4x")


def test_the_table_says_whether_targets_hold_and_outputs_are_equal():
    rows = [Row("a", "-", 1.0, 1.23456, "≤ 2 s"), Row("b", "c", 1.0, 2.0, "≥ 4x", equal=False)]
    assert as_table(rows).splitlines()[2:] == [
        "| a | - | 1 | 1.23 | ≤ 2 s | yes | - |",
        "| b | c | 1 | 2 | ≥ 4x | **no** | **no** |",
    ]


def test_a_failing_script_does_not_stop_the_others(tmp_path):
    folder = tmp_path / "benchmarks"
    folder.mkdir()
    for name in ("__init__.py", "__main__.py", "_measure.py"):
        shutil.copy(FOLDER / name, folder)
    (folder / "broken.py").write_text("import no_such_package\ndef run(repeats=5): return []\n")
    (folder / "fine.py").write_text(
        "from benchmarks._measure import Row\ndef run(repeats=5): return [Row('fine', '-', 1.0, repeats, '≤ 2 s')]\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "--repeats", "2"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "broken failed: ModuleNotFoundError: No module named 'no_such_package'" in done.stderr
    assert "| fine | - | 1 | 2 | ≤ 2 s | yes | - |" in done.stdout
    report = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    assert report["failures"] == {"broken": "ModuleNotFoundError: No module named 'no_such_package'"}
    assert [(row["case"], row["ratio_median"], row["holds"]) for row in report["rows"]] == [("fine", 2, True)]


WITHOUT_ROWS = {"adapt_answer_accuracy"}  # takes hours
SCRIPTS = sorted(path for path in FOLDER.glob("[!_]*.py") if path.stem not in WITHOUT_ROWS)


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_every_script_can_be_run_by_the_others_rules(path):
    functions = [node for node in ast.parse(path.read_text(encoding="utf-8")).body if isinstance(node, ast.FunctionDef)]
    (run,) = (function for function in functions if function.name == "run")
    assert [argument.arg for argument in run.args.args][:1] == ["repeats"]
    assert ast.unparse(run.returns) == "list[Row]"
    assert len(run.args.defaults) == len(run.args.args)
