"""The units of a sweep and their cost as a Markdown table."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ensemw2s._cli._estimate import UnitCost
from ensemw2s._markdown import table_lines

__all__ = ["dry_run_table"]


def dry_run_table(costs: Sequence[UnitCost]) -> str:
    """A row per unit, and the sum below."""
    rows = []
    for cost in costs:
        cells = [_operations(cost.flops), _duration(cost.seconds)]
        if cost.finished:
            cells = ["–", "–"]
        elif cost.reason:
            cells = ["no estimate", "no estimate"]
        rows.append([cost.name, "yes" if cost.finished else "no", *cells])
    missing = [cost for cost in costs if not cost.finished]
    known = [cost for cost in missing if not cost.reason]
    said = [f"{len(costs)} units, {len(costs) - len(missing)} finished."]
    if known:
        flops, seconds = sum(cost.flops for cost in known), sum(cost.seconds for cost in known)
        said.append(
            f"About {_operations(flops)} operations and {_duration(seconds)} of this machine for "
            f"{'the others' if len(known) == len(missing) else f'{len(known)} of the others'}, all its threads busy: "
            f"more jobs at a time share them. What units share is counted with the first."
        )
    said += [f"No estimate: {reason}." for reason in dict.fromkeys(cost.reason for cost in missing if cost.reason)]
    return "\n".join([*table_lines(["unit", "finished", "operations", "time here"], rows), "", " ".join(said)])


def _operations(number: float) -> str:
    return f"{number:.2g}".replace("e+", "e") if np.isfinite(number) else "–"


def _duration(seconds: float) -> str:
    for size, unit in ((86400.0, "d"), (3600.0, "h"), (60.0, "min")):
        if seconds >= size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.1f} s"
