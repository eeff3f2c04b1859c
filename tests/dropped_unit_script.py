"""A sweep on Dask whose scheduler drops a unit at the first death of its worker: joblib waits for it for ever."""

from __future__ import annotations

import sys


def main(folder: str, flag: str) -> None:
    """Run the sweep; does not come back while the flag is there."""
    import dask
    import joblib
    from distributed import Client, LocalCluster
    from test_clusters import LAST_DIES, SETTINGS, pairs_with_dying

    from ensemw2s import run_sweep

    settings = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": None}
    with (
        dask.config.set({"distributed.scheduler.allowed-failures": 0}),
        LocalCluster(**settings) as cluster,
        Client(cluster),
        joblib.parallel_config(backend="dask"),
    ):
        run_sweep(pairs_with_dying(flag, LAST_DIES), seeds=2, splits=["random"], out_dir=folder, **SETTINGS)


if __name__ == "__main__":
    main(*sys.argv[1:])
