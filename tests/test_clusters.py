"""Real local clusters of Ray and Dask: the bits of a sequential run, failures by name, and what dead workers cost."""

from __future__ import annotations

import logging
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
import psutil
import pytest
from sweep_learners import DyingBigram, FailingBigram
from tiny_models import fit, tiny_learner, tiny_llama, untrained_model

from ensemw2s import (
    BigramLearner,
    PseudoLabeler,
    SweepError,
    TokenAdaBoostGenerator,
    byte_tokenizer,
    make_qa,
    run_sweep,
)
from ensemw2s._cli._backends import parallel_backend, ray_workers

pytestmark = pytest.mark.slow

POOL = make_qa(60, difficulty=(3, 6), random_state=0)
WEAK, STRONG = ("weak", BigramLearner()), ("strong", BigramLearner(smoothing=0.05))
SETTINGS = {"dataset": POOL, "n_estimators": 2, "booster_params": {"prior": "uniform", "sampling": "count"}}
# Ray gives the work of an actor that died to another only if it is told to.
RESTARTING = {"ray_remote_args": {"max_restarts": -1, "max_task_retries": -1}}
LAST_DIES = 1


def pairs_with_dying(flag, seed):
    return [(WEAK, ("strong", DyingBigram(flag=str(flag), fails_at=seed)))]


def free_ports(count):
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("", 0))
        return [each.getsockname()[1] for each in sockets]


@contextmanager
def leaving_no_process():
    """Gives a function to call before a cluster is shut down; fails where a process of the cluster outlives it."""
    before, started = set(psutil.Process().children(recursive=True)), set()
    yield lambda: started.update(set(psutil.Process().children(recursive=True)) - before)
    deadline = time.monotonic() + 30
    while (alive := {process for process in started if lives(process)}) and time.monotonic() < deadline:
        time.sleep(0.1)
    for process in alive:
        process.kill()
    assert not alive


def lives(process):
    try:
        # multiprocessing's resource tracker serves this process until its end.
        return process.status() != psutil.STATUS_ZOMBIE and "resource_tracker" not in " ".join(process.cmdline())
    except psutil.NoSuchProcess:
        return False


@pytest.fixture(scope="module")
def ray_backend():
    """Name of joblib's backend, with a cluster of one node, two CPUs and two GPUs that are there by name only."""
    import ray
    from ray.cluster_utils import Cluster
    from ray.util.joblib import register_ray

    # With ports of its own choice, a node crashes when its agents take more than 15 s to start: on a busy machine.
    ports = ("metrics_agent_port", "metrics_export_port", "dashboard_agent_listen_port", "runtime_env_agent_port")
    node = {"num_cpus": 2, "num_gpus": 2, "include_dashboard": False, "include_log_monitor": False}
    with pytest.MonkeyPatch.context() as patch, leaving_no_process() as note_processes, ExitStack() as stack:
        patch.setenv("PYTHONPATH", os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]))
        patch.setenv("RAY_AUTH_MODE", "disabled")  # writes a token into the home directory otherwise
        cluster = Cluster(shutdown_at_exit=False)
        stack.callback(cluster.shutdown)
        cluster.add_node(**node, **dict(zip(ports, free_ports(len(ports)), strict=True)))
        stack.callback(ray.shutdown)
        ray.init(address=cluster.address, log_to_driver=False, logging_level=logging.ERROR)
        register_ray()
        yield "ray"
        note_processes()


@pytest.fixture(scope="module")
def dask_backend():
    """Name of joblib's backend, with two worker processes of one thread each."""
    from distributed import Client, LocalCluster

    settings = {"n_workers": 2, "threads_per_worker": 1, "processes": True, "dashboard_address": None}
    with leaving_no_process() as note_processes, LocalCluster(**settings) as cluster, Client(cluster):
        yield "dask"
        note_processes()


@pytest.fixture(params=["ray", "dask"])
def backend(request):
    return request.getfixturevalue(f"{request.param}_backend")


def files(folder):
    return {path: path.stat().st_mtime_ns for path in (folder / "unit").glob("*.json")}


@pytest.fixture(scope="module")
def sequential():
    return run_sweep([(WEAK, STRONG)], seeds=2, **SETTINGS)


def test_a_sweep_with_its_ratings_gives_the_bits_of_a_sequential_one(backend, sequential, tmp_path):
    with joblib.parallel_config(backend=backend):
        found = run_sweep([(WEAK, STRONG)], seeds=2, out_dir=tmp_path, n_jobs=2, **SETTINGS)
    pd.testing.assert_frame_equal(found.frame, sequential.frame, check_exact=True)
    pd.testing.assert_frame_equal(found.rounds, sequential.rounds, check_exact=True)
    assert len(list((tmp_path / "difficulty").glob("*.json"))) == 1


@pytest.mark.parametrize(
    ("backend", "arguments"), [("ray", RESTARTING), ("dask", {})], indirect=["backend"], ids=["ray", "dask"]
)
def test_units_that_raise_or_kill_their_workers_are_named_and_a_second_call_completes(backend, arguments, tmp_path):
    flag = tmp_path / "flag"
    flag.touch()
    pairs = [(WEAK, ("dying", DyingBigram(flag=str(flag), fails_at=1))), (WEAK, ("raising", FailingBigram(fails_at=0)))]
    with (
        joblib.parallel_config(backend=backend, **arguments),
        pytest.raises(SweepError, match="2 of 4 units failed") as caught,
    ):
        run_sweep(pairs, seeds=2, splits=["random"], out_dir=tmp_path, n_jobs=2, **SETTINGS)
    dead, raised = sorted(caught.value.failures, key=lambda failure: failure.name)
    assert (dead.name, raised.name) == tuple(
        f"weak → {name}, random, boosting, seed {seed}" for name, seed in (("dying", 1), ("raising", 0))
    )
    assert "its worker died, 2 times" in dead.reason
    assert "no luck with seed 0" in raised.traceback
    assert [(record["strong"], record["seed"]) for record in caught.value.result.records] == [
        ("dying", 0),
        ("raising", 1),
    ]
    kept = files(tmp_path)
    assert len(kept) == 2
    assert not list((tmp_path / "attempt").iterdir())
    flag.unlink()
    assert len(run_sweep(pairs[:1], seeds=2, splits=["random"], out_dir=tmp_path, **SETTINGS)) == 2
    assert kept.items() <= files(tmp_path).items()


def test_a_worker_killed_on_plain_ray_loses_its_unit_and_a_second_call_completes(ray_backend, tmp_path):
    flag = tmp_path / "flag"
    flag.touch()
    pairs = pairs_with_dying(flag, 3)
    with (
        joblib.parallel_config(backend=ray_backend),
        pytest.raises(SweepError, match=r"was cut off: \d of 4 units are finished.* ActorDiedError"),
    ):
        run_sweep(pairs, seeds=4, splits=["random"], out_dir=tmp_path, n_jobs=2, **SETTINGS)
    kept = files(tmp_path)
    assert kept
    flag.unlink()
    assert len(run_sweep(pairs, seeds=4, splits=["random"], out_dir=tmp_path, **SETTINGS)) == 4
    assert kept.items() <= files(tmp_path).items()


def test_a_unit_that_dask_drops_is_waited_for_until_a_limit_and_a_second_call_completes(tmp_path):
    flag, log = tmp_path / "flag", tmp_path / "log"
    flag.touch()
    script = Path(__file__).with_name("dropped_unit_script.py")
    with open(log, "w") as stderr:
        command = [sys.executable, str(script), str(tmp_path), str(flag)]
        process = subprocess.Popen(command, stderr=stderr, start_new_session=True)
        try:
            deadline = time.monotonic() + 450
            while "marked as failed" not in log.read_text() or len(files(tmp_path)) < LAST_DIES:
                assert process.poll() is None, log.read_text()
                assert time.monotonic() < deadline, log.read_text()
                time.sleep(0.1)
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(timeout=3)
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    kept = files(tmp_path)
    flag.unlink()
    pairs = pairs_with_dying(flag, LAST_DIES)
    assert len(run_sweep(pairs, seeds=2, splits=["random"], out_dir=tmp_path, **SETTINGS)) == 2
    assert kept.items() <= files(tmp_path).items()


def test_labels_are_those_of_a_sequential_call(dask_backend):
    teacher = TokenAdaBoostGenerator(BigramLearner(), n_estimators=2, prior="uniform", random_state=0).fit(POOL[:30])
    questions = POOL[30:].drop_answers()
    expected = PseudoLabeler(labels="soft", batch_size=4).label(teacher, questions)
    with joblib.parallel_config(backend=dask_backend):
        found = PseudoLabeler(labels="soft", batch_size=4, n_jobs=2).label(teacher, questions)
    np.testing.assert_array_equal(found.y, expected.y)
    np.testing.assert_array_equal(found.proba, expected.proba)


_BASES = []  # of a worker process; held, so that none takes another's address


def count_bases(learner):
    """Process, and how many base models its learners have had so far."""
    with fit(learner).lend_model() as model:
        _BASES.append(model.get_input_embeddings())
    return os.getpid(), len({id(base) for base in _BASES})


def test_a_worker_loads_a_base_once_for_all_its_units(dask_backend, tmp_path):
    untrained_model(tiny_llama).save_pretrained(tmp_path)
    byte_tokenizer().save_pretrained(tmp_path)
    learners = [tiny_learner(str(tmp_path), tokenizer=None, random_state=seed, epochs=1, lr=1e-2) for seed in range(5)]
    with joblib.parallel_config(backend=dask_backend):
        counts = joblib.Parallel(n_jobs=2, batch_size=1)(joblib.delayed(count_bases)(learner) for learner in learners)
    assert len({process for process, _ in counts}) < len(counts)  # one had two units at least
    assert {number for _, number in counts} == {1}


def test_each_ray_worker_sees_a_gpu_of_its_own(ray_backend):
    with joblib.parallel_config(backend=ray_backend, ray_remote_args={"num_gpus": 1}):
        seen = joblib.Parallel(n_jobs=2, batch_size=1)(
            joblib.delayed(os.getenv)("CUDA_VISIBLE_DEVICES") for _ in range(4)
        )
    assert set(seen) == {"0", "1"}


@pytest.mark.parametrize(("n_jobs", "at_a_time", "share"), [(None, 2, 1.0), (-1, 2, 1.0), (1, 1, 1.0), (3, 3, 0.5)])
def test_the_command_line_gives_ray_workers_gpus(ray_backend, n_jobs, at_a_time, share):
    with parallel_backend(ray_backend, n_jobs, None) as found:
        settings = joblib.parallel.get_active_backend()[0]
        if n_jobs is None:
            seen = joblib.Parallel(n_jobs=found, batch_size=1)(
                joblib.delayed(os.getenv)("CUDA_VISIBLE_DEVICES") for _ in range(4)
            )
            assert set(seen) == {"0", "1"}
    assert found == at_a_time
    assert ray_workers(n_jobs)[1] == {"ray_remote_args": {"num_gpus": share}}
    assert type(settings).__name__ == "RayBackend"
