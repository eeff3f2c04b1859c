"""joblib's backends by name."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any


@contextmanager
def parallel_backend(name: str | None, n_jobs: int | None, threads: int | None) -> Iterator[int | None]:
    """Make a backend the active one, and yield the units at a time that it has workers for.

    Where Ray's cluster has GPUs, each worker has one of its own; more workers than GPUs share them evenly.

    Parameters
    ----------
    name : {"loky", "threading", "ray", "dask"} or None
        None leaves joblib's default.
    n_jobs : int or None
        Units at a time; all workers of a cluster if None.
    threads : int or None
        Of torch in each process.

    Raises
    ------
    ImportError
        If the backend's package is not installed; the message tells how to install it.
    """
    import joblib

    if threads is not None:
        import torch

        torch.set_num_threads(threads)
    with ExitStack() as stack:
        if name in ("ray", "dask"):
            _start_cluster(name, n_jobs, threads, stack)
            n_jobs, settings = ray_workers(n_jobs) if name == "ray" else (n_jobs, {})
            all_workers = -1 if n_jobs is None else n_jobs
            stack.enter_context(joblib.parallel_config(backend=name, n_jobs=all_workers, **settings))
        elif name == "threading":
            stack.enter_context(joblib.parallel_config(backend=name))
        elif name == "loky" or threads is not None:
            stack.enter_context(joblib.parallel_config(backend="loky", inner_max_num_threads=threads))
        yield n_jobs


def ray_workers(n_jobs: int | None) -> tuple[int | None, dict[str, Any]]:
    """Units at a time, and what joblib tells Ray of the workers for them.

    Parameters
    ----------
    n_jobs : int or None
        What the user has asked for.
    """
    import ray

    n_gpus = int(ray.cluster_resources().get("GPU", 0))
    if not n_gpus:
        return n_jobs, {}
    if n_jobs is None or n_jobs < 0:
        n_jobs = n_gpus  # Ray counts CPUs, and workers beyond the GPUs would wait for ever for one
    return n_jobs, {"ray_remote_args": {"num_gpus": 1 / math.ceil(n_jobs / n_gpus)}}


def _start_cluster(name: str, n_jobs: int | None, threads: int | None, stack: ExitStack) -> None:
    try:
        if name == "ray":
            import ray
            from ray.util.joblib import register_ray
        else:
            import dask
            from distributed import Client
    except ImportError as error:
        raise ImportError(
            f"--backend {name} needs {name}. Install it with `pip install 'ensemw2s[{name}]'`."
        ) from error
    if name == "ray":
        if not ray.is_initialized():
            environment = {} if threads is None else {"env_vars": {"OMP_NUM_THREADS": str(threads)}}
            ray.init(runtime_env=environment, log_to_driver=False, include_dashboard=False)
            stack.callback(ray.shutdown)
        register_ray()
    elif dask.config.get("scheduler-address", None):  # of the environment: a cluster that is there already
        stack.enter_context(Client())
    else:
        local = {} if n_jobs is None or n_jobs < 0 else {"n_workers": n_jobs}
        # Two runs in one process would wait for its generators of random numbers, one after the other.
        stack.enter_context(Client(threads_per_worker=1, dashboard_address=None, **local))
