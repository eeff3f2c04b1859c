"""One attempt at a unit: it survives a worker that died once, and gives up on one that dies again."""

from __future__ import annotations

from pathlib import Path

from ensemw2s._fingerprint import digest
from ensemw2s.experiments._run import UnitFailure, describe_unit, run_unit
from ensemw2s.experiments._spec import Settings, Unit
from ensemw2s.experiments._store import ResultStore

__all__ = ["attempt_unit", "forget_attempts"]

_ATTEMPTS = 2


def attempt_unit(settings: Settings, unit: Unit, folder: str, call: str) -> UnitFailure | None:
    """Run a unit, unless it has been begun twice in this call and never ended.

    Dask, and Ray where it is told to, give a unit whose worker died to another worker. One that kills every worker,
    such as by taking more memory than there is, would go round for ever, or be dropped by the cluster without a word
    to joblib, which then waits for ever.

    Parameters
    ----------
    call : str
        Of the sweep, different in each call, so that a new call tries again.
    """
    from joblib import parallel_config

    description = describe_unit(settings, unit)
    begun = _folder(folder) / f"{call}-{digest(description)}"
    begun.parent.mkdir(parents=True, exist_ok=True)
    with open(begun, "a", encoding="utf-8") as file:
        file.write("|")
    if begun.stat().st_size > _ATTEMPTS and not ResultStore(folder).path("unit", description).exists():
        return UnitFailure(
            unit.name,
            f"its worker died, {_ATTEMPTS} times: it was out of memory, crashed, or was killed. See the worker's log; "
            f"fewer workers on a machine leave each more memory.",
            "",
        )
    # Parallel calls within a unit stay in its process. Dask would send them to the cluster, where they wait for workers
    # that wait for this unit's ratings.
    with parallel_config(backend="sequential"):
        outcome = run_unit(settings, unit, folder)
    begun.unlink(missing_ok=True)
    return outcome


def forget_attempts(folder: str, call: str) -> None:
    """Remove the notes of a call that is over."""
    for begun in _folder(folder).glob(f"{call}-*"):
        begun.unlink(missing_ok=True)


def _folder(folder: str) -> Path:
    return Path(folder) / "attempt"
