"""Run all benchmarks: ``python -m benchmarks`` from the repository's root.

Prints the table in Markdown; ``--out results.json`` writes it as JSON too, with all measurements and what they were
made on. Each script runs in a process of its own. Leaves with 1 if a script fails, for instance because a package is
missing, or if outputs differ; a target that another machine misses is shown in the table only. ``gpu`` runs where it is
named.
"""

from __future__ import annotations

import argparse
import json
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from benchmarks._machine import describe
from benchmarks._measure import Row, as_table, run_script

FOLDER = Path(__file__).parent
WHERE_NAMED = {"gpu"}  # needs what not every machine has


def names() -> list[str]:
    """All scripts of this folder that measure speed; others have no ``run``."""
    scripts = FOLDER.glob("[!_]*.py")
    return sorted(path.stem for path in scripts if "\ndef run(" in path.read_text(encoding="utf-8"))


def run_all(chosen: list[str], repeats: int) -> tuple[list[Row], dict[str, str]]:
    """Rows of the scripts, and why some gave none."""
    rows: list[Row] = []
    failures: dict[str, str] = {}
    for name in chosen:
        print(f"{name} ...", file=sys.stderr, flush=True)
        # A fresh process: its peak of memory is its own, and if it dies the others go on.
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            future = pool.submit(run_script, name, repeats)
            error = future.exception()
            if error is None:
                rows += future.result()
            else:
                failures[name] = f"{type(error).__name__}: {error}"
    return rows, failures


def main(arguments: list[str] | None = None) -> int:
    """Run what was asked for and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="All benchmarks, as one table.")
    usual = [name for name in names() if name not in WHERE_NAMED]
    parser.add_argument("--only", nargs="+", choices=names(), default=usual, metavar="NAME", help="some scripts")
    parser.add_argument("--repeats", type=int, default=5, help="measurements of each candidate (default: %(default)s)")
    parser.add_argument("--out", type=Path, help="JSON file; none if left out")
    options = parser.parse_args(arguments)

    rows, failures = run_all(options.only, options.repeats)
    print(as_table(rows))
    for name, reason in failures.items():
        print(f"{name} failed: {reason}", file=sys.stderr)
    if options.out is not None:
        report = {
            **describe(),
            "repeats": options.repeats,
            "rows": [row.as_dict() for row in rows],
            "failures": failures,
        }
        options.out.write_text(json.dumps(report, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return int(bool(failures) or any(row.equal is False for row in rows))


if __name__ == "__main__":
    sys.exit(main())
