"""What training made of any estimator that the pipeline trains, as files; its parameters are known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sklearn.base import clone, is_classifier

from ensemw2s.ensemble._saving import SavedEnsemble
from ensemw2s.ensemble._settings import seed_parameters
from ensemw2s.exceptions import CheckpointError
from ensemw2s.learners import check_can_be_written, read_state, write_state
from ensemw2s.storage import MALFORMED, StoredFolder, decode, encode, write_arrays, write_json

__all__ = ["check_fitted_can_be_written", "commits_rounds", "read_fitted", "write_fitted"]

_RECORD, _WEIGHT = "fitted.json", "token_weight.safetensors"


def commits_rounds(estimator: Any) -> bool:
    """Whether an estimator is a booster of this package, or derived from one, which commits each round by itself."""
    return "checkpoint_dir" in estimator.get_params(deep=False) and isinstance(estimator, SavedEnsemble)


def check_fitted_can_be_written(estimator: Any, name: str) -> None:
    """Raise a TypeError before training where `write_fitted` would raise it afterwards."""
    if isinstance(estimator, SavedEnsemble):
        for learner in _learners(estimator):
            check_can_be_written(learner, f"{name}.estimator")
    else:
        check_can_be_written(estimator, name)


def write_fitted(estimator: Any, folder: Path, name: str) -> None:
    """Write a fitted estimator, without its parameters, into a folder of `commit_folder`."""
    if not isinstance(estimator, SavedEnsemble):
        write_json(folder / _RECORD, {"members": [_write(estimator, folder, "member", name)]})
        return
    members = [_write(member, folder, f"members/{row}", name) for row, member in enumerate(estimator.estimators_)]
    fitted = estimator._saved_state()
    weight = getattr(estimator, "token_weight_", None)
    if weight is not None:
        write_arrays(folder / _WEIGHT, {"token_weight": weight})
    write_json(folder / _RECORD, {"members": members, "fitted": encode(fitted, name)})


def read_fitted(estimator: Any, stored: StoredFolder) -> Any:
    """The fitted estimator of `write_fitted`.

    Parameters
    ----------
    estimator : estimator
        With the parameters it had, not fitted.
    stored : StoredFolder
        Verified.
    """
    path = stored.file(_RECORD)
    try:
        record = stored.json(_RECORD)
        if not isinstance(estimator, SavedEnsemble):
            return _read(estimator, record["members"][0], stored, "member")
        estimator._restore_state(decode(record["fitted"]))
        picks = getattr(estimator, "picks_", None)
        estimator.estimators_ = [
            _read(_learners(estimator)[0 if picks is None else picks[row]], member, stored, f"members/{row}")
            for row, member in enumerate(record["members"])
        ]
        if _WEIGHT in stored.files:
            estimator.token_weight_ = stored.arrays(_WEIGHT)["token_weight"]
    except MALFORMED as error:
        raise CheckpointError(
            f"{path} is no {type(estimator).__name__} that this version of ensemw2s can read ({error}). Begin anew in "
            f"another folder."
        ) from error
    return estimator


def _learners(ensemble: Any) -> list[Any]:
    """Clones of what its members are trained from."""
    return [clone(ensemble._weak_learner())] if is_classifier(ensemble) else ensemble._base_estimators()


def _write(member: Any, folder: Path, place: str, name: str) -> dict[str, Any]:
    values = member.get_params()
    # Those that a booster has set; a learner of its own keeps what it was given.
    seeds = {key: values[key] for key in seed_parameters(member) if type(values[key]) is int}
    return {"seeds": seeds, "state": write_state(member, folder / place, f"{name} {place}")}


def _read(member: Any, record: dict[str, Any], stored: StoredFolder, place: str) -> Any:
    return read_state(member.set_params(**record["seeds"]), record["state"], stored, place)
