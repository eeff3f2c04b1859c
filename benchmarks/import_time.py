"""CPU seconds of ``import ensemw2s`` in fresh interpreters."""

from __future__ import annotations

import statistics
import subprocess
import sys

from benchmarks._measure import Row, script

PROBE = "import time; start = time.process_time(); import ensemw2s; print(time.process_time() - start)"


def run(repeats: int = 5) -> list[Row]:
    """Row of the import."""
    command = [sys.executable, "-c", PROBE]
    seconds = [
        float(subprocess.run(command, capture_output=True, text=True, check=True).stdout) for _ in range(repeats + 1)
    ][1:]  # the first one compiles and fills the disk's cache
    return [Row("import ensemw2s", "-", min(seconds), statistics.median(seconds), "≤ 0.3 s")]


if __name__ == "__main__":
    script(run)
