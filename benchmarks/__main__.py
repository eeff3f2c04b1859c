"""Run all benchmarks: ``python -m benchmarks`` from the repository's root.

Prints the table in Markdown; ``--out results.json`` writes it as JSON too, with all measurements and what they were
made on. Each script runs in a process of its own. A script with a row within a tenth of its target, on either side, is
run once more with twice the repeats, and its measurements are joined. Leaves with 1, and a list, if a row misses its
target, if outputs differ, or if a script fails, for instance because a package is missing. A row with a star is a time
and depends on the machine; the others are ratios of two times on the same one. ``gpu`` runs where it is named.
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
NEAR = 0.1  # part of a target; a median so close to it is measured again


def names() -> list[str]:
    """All scripts of this folder that measure speed; others have no ``run``."""
    scripts = FOLDER.glob("[!_]*.py")
    return sorted(path.stem for path in scripts if "\ndef run(" in path.read_text(encoding="utf-8"))


def run_all(chosen: list[str], repeats: int) -> tuple[list[Row], dict[str, str]]:
    """Rows of the scripts, and why some gave none."""
    rows: list[Row] = []
    failures: dict[str, str] = {}
    for name in chosen:
        found, error = run_alone(name, repeats)
        if any(abs(row.margin) <= NEAR for row in found):
            again, error = run_alone(name, 2 * repeats)
            found = [row.with_more(other) for row, other in zip(found, again, strict=True)] if error is None else found
        rows += found
        if error is not None:
            failures[name] = f"{type(error).__name__}: {error}"
    return rows, failures


def run_alone(name: str, repeats: int) -> tuple[list[Row], BaseException | None]:
    """Rows of a script in a fresh process, and why there are none: its peak of memory is its own, and it may die."""
    print(f"{name}, {repeats} repeats ...", file=sys.stderr, flush=True)
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        future = pool.submit(run_script, name, repeats)
        error = future.exception()
        return ([], error) if error is not None else (future.result(), None)


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
    wrong = [row for row in rows if row.equal is False or not row.holds]
    for row in wrong:
        what = "outputs differ" if row.equal is False else f"{row.ratio_median:.3g}, target {row.target}"
        print(f"missed: {row.case}, against {row.alternative}: {what}", file=sys.stderr)
    return int(bool(failures or wrong))


if __name__ == "__main__":
    sys.exit(main())
