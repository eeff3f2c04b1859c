"""The record of a run, as a sweep keeps it: answers as JSON and back, its settings, and whether it is one."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from ensemw2s._validation import shorten
from ensemw2s.exceptions import CheckpointError
from ensemw2s.experiments._grouping import Record
from ensemw2s.experiments._store import ResultStore
from ensemw2s.storage import MALFORMED, digest

# Of a run's record, whatever version has written it.
_DICTS = ("readout", "correct", "token_errors", "students")
_LISTS = ("votes", "errors", "priors", "stages", "members")
_NUMBERS = ("votes", "errors", "priors")
_TEXTS = ("weak", "strong", "split", "variant", "task", "dataset", "stop_reason")


def pack_bits(values: np.ndarray) -> str:
    """Truth values as a text of 0 and 1."""
    return "".join("01"[bool(value)] for value in values)


def unpack_bits(text: str) -> np.ndarray:
    """Truth values from `pack_bits`."""
    return np.array([character == "1" for character in text], dtype=bool)


def pack_credit(values: np.ndarray) -> str | list[int] | list[float]:
    """What items earn, as a text of 0 and m where it is 0 or 1/m, m < 10; else as a list of m, or of the numbers."""
    earned = np.asarray(values, dtype=np.float64)
    if not all(value == 0.0 or value == 1.0 / round(1.0 / value) for value in earned.tolist()):
        return list(map(float, earned))
    tied = [round(1.0 / value) if value else 0 for value in np.asarray(values, dtype=np.float64).tolist()]
    return "".join(map(str, tied)) if max(tied) < 10 else tied


def unpack_credit(packed: str | list[int] | list[float]) -> np.ndarray:
    """What items earn, float64, from `pack_credit` or `pack_bits`."""
    if isinstance(packed, list) and any(isinstance(value, float) for value in packed):
        return np.array(packed, dtype=np.float64)
    return np.array([1.0 / int(tied) if int(tied) else 0.0 for tied in packed])


def accuracy(packed: str | list[int] | list[float]) -> float:
    """Mean of what items earn, from `pack_credit`."""
    return float(unpack_credit(packed).mean())


def load_record(store: ResultStore, path: Path, description: dict[str, object] | None = None) -> Record:
    """A run's stored record, with its settings.

    Raises
    ------
    CheckpointError
        If the file is damaged, or holds no record of a run.
    """
    stored = store.read_record(path, description)
    try:
        record = _with_settings(stored["result"], stored)
        brief_settings(record)
        fault = _fault(record)
    except MALFORMED as error:
        fault = f"{type(error).__name__}: {error}"
    if fault:
        raise CheckpointError(f"{path} holds no result of a unit ({fault}); delete it to compute it again.")
    return record


def _fault(record: Record) -> str:
    """What is missing or odd in a record; "" if nothing is."""
    kinds = [(_DICTS, dict), (_LISTS, list), (_TEXTS, str), (("seed",), int), (("chance",), float)]
    for names, kind in kinds:
        for name in names:
            if type(record[name]) is not kind:
                return f"{name} is {shorten(record[name])}"
    n_rounds, n_items = len(record["stages"]), len(record["correct"]["weak"])
    if any(len(record[name]) != n_rounds for name in _LISTS):
        return f"not all of {', '.join(_LISTS)} have {n_rounds} entries"
    answers = [*record["correct"].values(), *record["students"].values(), *record["stages"]]
    if n_rounds == 0 or any(len(one) != n_items for one in [*answers, *record["members"]]):
        return f"not all models have {n_items} answers"
    if any((unpack_credit(packed) < 0).any() for packed in answers):
        return "answers count less than nothing"
    if not isinstance(record.get("metric", ""), str):
        return f"metric is {shorten(record['metric'])}"
    np.array(record["members"], dtype=np.int64)
    by_round = (record[name] or [0.0] * n_rounds for name in ("validation", "stage_token_errors"))
    for numbers in (*(record[name] for name in _NUMBERS), list(record["token_errors"].values()), *by_round):
        if any(type(number) not in (int, float) for number in numbers):
            return f"{shorten(numbers)} are not all numbers"
        np.array(numbers, dtype=np.float64)  # raises where one is too large
    if record.get("items") is not None and len(record["items"]) != n_items:
        return f"items has not {n_items} entries"
    return ""


def _with_settings(result: Record, stored: Record) -> Record:
    """A run's record with all that it was computed with but the seed, as "settings", its hash, and the ensemble's.

    Parameters
    ----------
    result : dict
        The run's.
    stored : dict
        What `ResultStore.read_record` gives. Versions are unknown of results of an early version.
    """
    description = stored["description"]
    weak = {name: value for name, value in description["weak"].items() if name not in ("readouts", "rounds", "seed")}
    weak["data"] = {name: value for name, value in weak["data"].items() if name != "seed"}
    # What else a sweep has trained and asked changes none of a run's numbers: "train_on_easy", other "readouts", ...
    settings = {
        "weak": weak,
        "readout": description["readout"],
        "strong": description["strong"],
        "versions": stored.get("versions", {}),
    }
    ensemble = {
        "weak": {name: value for name, value in weak.items() if name != "labeler"},
        "readout": description["readout"],
        "versions": settings["versions"],
    }
    return {
        **result,
        "settings": settings,
        "settings_digest": digest(settings),
        "weak_settings_digest": digest(ensemble),
    }


def brief_settings(record: Record) -> str:
    """What was asked for, as JSON; defaults of the models are in the digest only."""
    settings = record.get("settings")
    if not settings:
        return ""
    weak = settings["weak"]
    shown = {
        **weak["booster"],
        **settings["readout"],
        "weak_params": {**weak["learner"]["params"], **weak["overrides"]},
        "student_params": settings["strong"]["params"],
        "sizes": weak["data"]["sizes"],
        "validation_size": weak["validation_size"],
    }
    return json.dumps(shown, sort_keys=True)
