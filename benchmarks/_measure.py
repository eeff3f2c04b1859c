"""How every script here measures, and the row of the table that comes of it.

Times are CPU seconds of this process with one thread: another process that takes the core does not count, and a second
thread could only add. On a GPU they are seconds of the wall, until all is done that the GPU was given. Candidates take
turns, so that what disturbs one disturbs the others; a ratio is formed within a turn, and the least and the median of
the turns' ratios are shown.
"""

from __future__ import annotations

import argparse
import gc
import importlib
import inspect
import re
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from ensemw2s._markdown import table_lines

__all__ = ["Row", "as_table", "clock", "compare", "interleave", "one_thread", "run_script", "script"]

_TARGET = re.compile(r"([≤≥]) (\d+(?:\.\d+)?)(x| s| MB|)")


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes
    ----------
    case, alternative : str
        What is measured, and against what; the alternative of an absolute number is "-".
    ratio_min, ratio_median : float
        Over the repeats, in the unit of `target`.
    target : str
        As "≤ 1.7" (a cost), "≥ 4x" (so many times cheaper), "≤ 2 s" or "≤ 300 MB".
    equal : bool or None
        Whether the outputs were equal; None where there are none to compare.
    details : dict
        Whatever else was measured, for the JSON file.
    """

    case: str
    alternative: str
    ratio_min: float
    ratio_median: float
    target: str
    equal: bool | None = None
    details: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not _TARGET.fullmatch(self.target):
            raise ValueError(f"target must look like '≤ 1.7', '≥ 4x', '≤ 2 s' or '≤ 300 MB'. Got {self.target!r}.")

    @property
    def holds(self) -> bool:
        """Whether the median reaches the target."""
        sign, limit, _ = _TARGET.fullmatch(self.target).groups()  # type: ignore[union-attr]
        return bool(self.ratio_median <= float(limit) if sign == "≤" else self.ratio_median >= float(limit))

    @property
    def margin(self) -> float:
        """By what part of the target the median is better; negative where it is missed."""
        sign, limit, _ = _TARGET.fullmatch(self.target).groups()  # type: ignore[union-attr]
        better = float(limit) - self.ratio_median if sign == "≤" else self.ratio_median - float(limit)
        return better / float(limit)

    @property
    def of_the_machine(self) -> bool:
        """Whether the number is a time, which no alternative on the same machine corrects: another one may miss it."""
        return _TARGET.fullmatch(self.target)[3] == " s"  # type: ignore[index]

    def with_more(self, again: Row) -> Row:
        """This row with another's measurements beside its own; the other's alone where only totals were kept."""
        mine, theirs = self.details, again.details
        if not ("ours" in mine and "theirs" in mine):
            return again
        ours, others = ([*mine[side], *theirs[side]] for side in ("ours", "theirs"))
        equal = None if self.equal is None or again.equal is None else self.equal and again.equal
        rest = {name: value for name, value in theirs.items() if name not in ("ours", "theirs")}
        return compare(self.case, self.alternative, ours, others, self.target, equal=equal, **rest)

    def as_dict(self) -> dict[str, Any]:
        """All of it, for JSON."""
        return {**asdict(self), "holds": self.holds, "of_the_machine": self.of_the_machine}


def compare(
    case: str,
    alternative: str,
    ours: Sequence[float],
    theirs: Sequence[float],
    target: str,
    *,
    equal: bool | None = None,
    **details: Any,
) -> Row:
    """Row of the ratios of two lists that `interleave` measured: ours to theirs for "≤", theirs to ours for "≥"."""
    pairs = zip(ours, theirs, strict=True)
    ratios = [mine / other if target.startswith("≤") else other / mine for mine, other in pairs]
    measured = {"ours": list(ours), "theirs": list(theirs), **details}
    # Python's own numbers, which JSON takes.
    equal = None if equal is None else bool(equal)
    return Row(case, alternative, float(min(ratios)), float(statistics.median(ratios)), target, equal, measured)


class one_thread:
    """Context manager that gives torch one thread."""

    def __enter__(self) -> None:
        import torch

        self.n_before = torch.get_num_threads()
        torch.set_num_threads(1)

    def __exit__(self, *_: object) -> None:
        import torch

        torch.set_num_threads(self.n_before)


def clock(device: str = "cpu") -> float:
    """Seconds: of CPU time on a CPU; elsewhere of the wall, as soon as the device has done what it was given."""
    if device == "cpu":
        return time.process_time()
    import torch

    torch.cuda.synchronize(device)
    return time.perf_counter()


def interleave(
    candidates: dict[str, Callable[[], Any]], repeats: int = 5, device: str = "cpu"
) -> dict[str, list[float]]:
    """Seconds of each candidate by `clock`, one thread, in turn.

    Parameters
    ----------
    candidates : dict of str to callable
        Called once to warm up, then once a repeat, in an order that is reversed every other time.
    repeats : int, at least 1
        Measurements of each.
    device : str
        Where the candidates work.

    Returns
    -------
    dict of str to list of float
        `repeats` numbers each.
    """
    seconds: dict[str, list[float]] = {name: [] for name in candidates}
    with one_thread():
        for work in candidates.values():
            work()
        for repeat in range(repeats):
            for name in list(candidates)[:: -1 if repeat % 2 else 1]:
                gc.collect()  # what the one before left is not for this one to clean up
                start = clock(device)
                candidates[name]()
                seconds[name].append(clock(device) - start)
    return seconds


def as_table(rows: Sequence[Row]) -> str:
    """Rows in Markdown; a star is a time of this machine, and no ratio of two times on it."""
    words = {True: "yes", False: "**no**", None: "-"}
    cells = [
        (
            row.case + " *" * row.of_the_machine,
            row.alternative,
            f"{row.ratio_min:.3g}",
            f"{row.ratio_median:.3g}",
            row.target,
            words[row.holds],
            words[row.equal],
        )
        for row in rows
    ]
    return "\n".join(table_lines(["case", "against", "least", "median", "target", "holds", "equal outputs"], cells))


def run_script(name: str, repeats: int) -> list[Row]:
    """Rows of the script with this name."""
    rows: list[Row] = importlib.import_module(f"benchmarks.{name}").run(repeats=repeats)
    return rows


def script(run: Callable[..., list[Row]]) -> None:
    """Command line of one script: an option for each parameter of its `run`; prints the table and the details."""
    parser = argparse.ArgumentParser(description=inspect.getdoc(inspect.getmodule(run)) or "")
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    for name, parameter in inspect.signature(run).parameters.items():
        default = parameter.default
        parser.add_argument(f"--{name.replace('_', '-')}", type=type(default), default=default)
    rows = run(**vars(parser.parse_args()))
    print(as_table(rows))
    for row in rows:
        for name, value in row.details.items():
            print(f"{row.case}: {name} = {value}")
    if any(row.equal is False for row in rows):
        raise SystemExit("Outputs differ.")
