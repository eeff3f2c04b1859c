"""Runs that are killed at any moment go on where they were, and end in the same ensemble to the bit."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow


class Server:
    """Runs cases in children of one process, see `kill_server`."""

    def __init__(self) -> None:
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
        self.process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("kill_server.py"))],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment,
        )  # fmt: skip
        self.uninterrupted: dict[str, dict[str, Any]] = {}

    def run(self, run: str, folder: Path, *, keep: bool = True, **case: Any) -> dict[str, Any]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        log = folder.with_suffix(".log")
        given = {"run": run, "folder": str(folder) if keep else None, "log": str(log), **case}
        self.process.stdin.write(json.dumps(given) + "\n")
        self.process.stdin.flush()
        found = json.loads(self.process.stdout.readline())
        return {**found, "fits": log.stat().st_size if log.exists() else 0}


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    server = Server()
    yield server
    with server.process:  # closes its pipes, which ends it
        pass


@pytest.fixture(scope="module")
def whole(server, tmp_path_factory):
    """The uninterrupted run of a kind: its hash, its trainings, its duration."""

    def find(run: str) -> dict[str, Any]:
        if run not in server.uninterrupted:
            server.uninterrupted[run] = server.run(run, tmp_path_factory.mktemp(run) / "whole")
            assert server.uninterrupted[run]["error"] == ""
        return server.uninterrupted[run]

    return find


def assert_resumed(server, whole, run: str, folder: Path, n_kills: int = 1) -> None:
    resumed = server.run(run, folder)
    assert resumed["error"] == "", resumed.get("traceback")
    assert resumed["digest"] == whole(run)["digest"]
    assert resumed["fits"] <= whole(run)["fits"] + n_kills  # at most one training was lost by a kill
    assert not list(folder.rglob("*.tmp"))


POINTS = ["drawn", "in training", "trained", "error known", "in writing", "written", "before rename", "after rename"]


@pytest.mark.parametrize("number", [1, 3])  # with no round before it, and with some
@pytest.mark.parametrize("point", [*POINTS, "power cut"])
@pytest.mark.parametrize("run", ["tokens", "classes"])
def test_a_killed_round_is_made_good(server, whole, tmp_path, run, point, number):
    folder = tmp_path / "run"
    killed = server.run(run, folder, point=point, number=number, step=f"round-{number:04d}")
    assert killed["killed"], killed["error"]
    assert_resumed(server, whole, run, folder)


@pytest.mark.parametrize("step", ["begin", "start"])
@pytest.mark.parametrize("point", ["written", "before rename", "after rename"])
def test_a_run_killed_before_its_first_round_starts(server, whole, tmp_path, step, point):
    assert server.run("tokens", tmp_path / "run", point=point, step=step)["killed"]
    assert_resumed(server, whole, "tokens", tmp_path / "run")


@pytest.mark.parametrize(
    "number", [1, 3, 4, 6]
)  # of three batches of the ensemble's labels, then of the first member's
def test_labelling_goes_on_after_the_last_batch(server, whole, tmp_path, number):
    assert server.run("pipeline", tmp_path / "run", point="labelling", number=number)["killed"]
    assert_resumed(server, whole, "pipeline", tmp_path / "run")


@pytest.mark.parametrize(
    ("point", "step"),
    [
        ("after rename", "round-0001"), ("before rename", "weak"), ("after rename", "batch-000001"),
        ("in writing", "student"), ("before rename", "student"), ("after rename", "student"), ("written", "baseline"),
        ("after rename", "baseline"), ("before rename", "oracle"), ("after rename", "oracle"),
    ],
)  # fmt: skip
def test_a_pipeline_goes_on_after_the_last_stage(server, whole, tmp_path, point, step):
    assert server.run("pipeline", tmp_path / "run", point=point, step=step)["killed"]
    assert_resumed(server, whole, "pipeline", tmp_path / "run")


@pytest.mark.parametrize("number", [1, 2])
def test_adapters_go_on(server, whole, tmp_path, number):
    assert server.run("adapters", tmp_path / "run", point="in training", number=number)["killed"]
    assert_resumed(server, whole, "adapters", tmp_path / "run")


@pytest.mark.parametrize("case", range(8))
def test_a_run_killed_at_a_random_time_goes_on(server, whole, tmp_path, case):
    run = "pipeline" if case % 2 else "tokens"
    after = random.Random(case).uniform(0, 0.8 * whole(run)["seconds"])
    folder = tmp_path / "run"
    while not server.run(run, folder, after=after)["killed"]:  # it was done before
        folder, after = folder.with_name(folder.name + "-again"), after / 2
    assert_resumed(server, whole, run, folder)


def test_a_run_may_be_killed_again_and_again(server, whole, tmp_path):
    kills = [("trained", 1), ("in training", 1), ("after rename", 2), ("error known", 1), ("trained", 1)]
    for point, number in kills:
        server.run("tokens", tmp_path / "run", point=point, number=number, step=f"round-{number:04d}")
    assert_resumed(server, whole, "tokens", tmp_path / "run", n_kills=len(kills))


def test_what_is_finished_is_read_and_not_trained_again(server, whole, tmp_path):
    for _ in range(2):
        found = server.run("pipeline", tmp_path / "run")
        assert found["digest"] == whole("pipeline")["digest"]
    assert found["fits"] == whole("pipeline")["fits"]


def test_a_run_without_a_checkpoint_gives_the_same(server, whole, tmp_path):
    kept = {run: whole(run)["digest"] for run in ("tokens", "classes", "pipeline")}
    plain = {run: server.run(run, tmp_path / "run", keep=False)["digest"] for run in kept}
    assert plain == kept


def test_three_fits_in_one_folder_wait_for_each_other(server, whole, tmp_path):
    found = server.run("tokens", tmp_path / "run", beside=2)
    assert found["error"] == ""
    assert found["digest"] == whole("tokens")["digest"]
    assert found["fits"] == whole("tokens")["fits"]  # one has trained, the others have read
    assert_resumed(server, whole, "tokens", tmp_path / "run", n_kills=0)


def test_a_full_disk_is_named_and_the_rounds_before_stay(server, whole, tmp_path):
    full = server.run("tokens", tmp_path / "run", full_after="round-0002")
    assert re.search(r"OSError: .*round-0003.* could not be written: .*File too large", full["error"]), full
    assert sorted(entry.name for entry in (tmp_path / "run").glob("round-*")) == ["round-0001", "round-0002"]
    assert_resumed(server, whole, "tokens", tmp_path / "run")


@pytest.fixture
def open_folder_for_all():
    """A folder in which somebody who is not root can read: those of pytest are private."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        yield Path(folder)
        for path in Path(folder).rglob("*"):
            path.chmod(0o755)


@pytest.mark.parametrize("n_missing", [0, 1])
@pytest.mark.slow
def test_a_folder_that_cannot_be_written_is_read(server, whole, open_folder_for_all, n_missing):
    folder = open_folder_for_all / "run"
    server.run("tokens", folder)
    if n_missing:
        shutil.rmtree(folder / "round-0003")
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o555 if path.is_dir() else 0o444)
    found = server.run("tokens", folder, unprivileged=True)
    assert found["fits"] == whole("tokens")["fits"]  # nothing was trained that could not be kept
    if n_missing:
        assert re.search(r"PermissionError: .*run/\.lock could not be written: Permission denied", found["error"])
    else:
        assert found["digest"] == whole("tokens")["digest"]
