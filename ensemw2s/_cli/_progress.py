"""Names of runs as they finish, whichever process or machine ran them."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from ensemw2s.experiments import SweepPlan

_INTERVAL = 0.5  # seconds


class RunProgress:
    """Context manager that watches a sweep's folder and writes a line for each run that is committed to it.

    Parameters
    ----------
    plan : SweepPlan
        With an ``out_dir``.
    stream : text file
        Where to write.
    """

    def __init__(self, plan: SweepPlan, stream: TextIO) -> None:
        self.stream = stream
        paths = dict(zip((run.name for run in plan.units), plan.paths(), strict=True))
        self.waiting = {name: path for name, path in paths.items() if not path.exists()}
        self.n_runs, self.n_done = len(paths), len(paths) - len(self.waiting)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> RunProgress:
        self.stream.write(f"{self.n_runs} units, {self.n_done} finished before\n")
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        self._thread.join()
        self._look()

    def _watch(self) -> None:
        while not self._stop.wait(_INTERVAL):
            self._look()

    def _look(self) -> None:
        # By time: of two runs that were committed between two looks, the first is named first.
        new = sorted((path.stat().st_mtime_ns, name) for name, path in self.waiting.items() if path.exists())
        for _, name in new:
            del self.waiting[name]
            self.n_done += 1
            self.stream.write(f"[{self.n_done}/{self.n_runs}] {name}\n")
            self.stream.flush()
