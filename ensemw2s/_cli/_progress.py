"""Names of units as they finish, whichever process or machine ran them."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from ensemw2s.experiments import SweepPlan

__all__ = ["UnitProgress"]

_INTERVAL = 0.5  # seconds


class UnitProgress:
    """Context manager that watches a sweep's folder and writes a line for each unit that is committed to it.

    Parameters
    ----------
    plan : SweepPlan
        With an ``out_dir``.
    stream : text file
        Where to write.
    """

    def __init__(self, plan: SweepPlan, stream: TextIO) -> None:
        self.stream = stream
        self.folder = Path(str(plan.out_dir)) / "unit"
        finished = plan.finished()
        self.waiting = {unit.name for unit, done in zip(plan.units, finished, strict=True) if not done}
        self.n_units, self.n_done = len(finished), sum(finished)
        self._seen = set(self.folder.glob("*.json"))
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> UnitProgress:
        self.stream.write(f"{self.n_units} units, {self.n_done} finished before\n")
        self._thread.start()
        return self

    def __exit__(self, *error: Any) -> None:
        self._stop.set()
        self._thread.join()
        self._look()

    def _watch(self) -> None:
        while not self._stop.wait(_INTERVAL):
            self._look()

    def _look(self) -> None:
        new = sorted(set(self.folder.glob("*.json")) - self._seen)
        self._seen.update(new)
        for path in new:
            record = json.loads(path.read_text(encoding="utf-8"))["body"]["result"]
            name = "{weak} → {strong}, {split}, {variant}, seed {seed}".format(**record)
            if name in self.waiting:  # another sweep may share the folder
                self.waiting.remove(name)
                self.n_done += 1
                self.stream.write(f"[{self.n_done}/{self.n_units}] {name}\n")
                self.stream.flush()
