"""Ensembles as files of safetensors and JSON: as a folder of its own, and as what training made of one.

`SavedEnsemble` writes all that an ensemble is, for `save_pretrained`. The functions below it write what `fit` has
found, for a checkpoint of the pipeline, which knows the parameters.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.base import clone, is_classifier
from sklearn.utils.validation import check_is_fitted

from ensemw2s._html.rounds_table import rounds_table
from ensemw2s._markdown import table_lines
from ensemw2s._validation import check_same_length
from ensemw2s._validation.row_filter import without_texts
from ensemw2s.ensemble._settings import seed_parameters
from ensemw2s.exceptions import CheckpointError
from ensemw2s.mixture import normalized_votes
from ensemw2s.storage import (
    MALFORMED,
    Pretrained,
    Reader,
    StoredFolder,
    Writer,
    check_can_be_written,
    decode,
    encode,
    read_state,
    write_arrays,
    write_json,
    write_state,
)

_WEIGHT, _FITTED = "token_weight.safetensors", "fitted.json"


class SavedEnsemble(Pretrained):
    """An ensemble that can be saved and loaded; its learners are the parameters ``estimator`` or ``estimators``."""

    _record = "ensemble.json"
    _derived = ("estimators_", "token_weight_")
    _checks_fitted = True

    estimators_: list[Any]
    estimator_weights_: np.ndarray
    token_weight_: np.ndarray
    alphas_: np.ndarray

    def _write_files(self, folder: Path, include_base: bool) -> list[dict[str, Any]]:
        check_is_fitted(self, "estimators_")
        return super()._write_files(folder, include_base)

    def _saved_state(self) -> dict[str, Any]:
        state = super()._saved_state()
        if "skipped_rows_" in state:
            state["skipped_rows_"] = without_texts(state["skipped_rows_"])
        return state

    def _restore_state(self, state: dict[str, Any]) -> None:
        super()._restore_state(state)
        # Saved by a version whose boosters had no other votes; what is no booster's has none.
        if "estimator_errors_" in state and "alphas_" not in state:
            self.alphas_ = self.estimator_weights_

    def _write_part(self, writer: Writer) -> dict[str, Any]:
        members, parameters = self._write_members(writer.folder, writer.member), self._kept_parameters()
        return {
            "parameters": {name: _encoded(writer, name, value) for name, value in parameters.items()},
            "fitted": writer.encode_all(self._saved_state()),
            "members": members,
            "has_token_weight": getattr(self, "token_weight_", None) is not None,
        }

    @classmethod
    def _read_part(cls, reader: Reader, content: dict[str, Any]) -> Any:
        ensemble = cls(**reader.decode_all(content["parameters"]))
        ensemble._restore_state(reader.decode_all(content["fitted"]))
        if not content["members"]:  # a parameter of another estimator, which had not been fitted
            return ensemble
        has_weight = content["has_token_weight"]
        ensemble._read_members(content["members"], reader.stored, has_weight, lambda row, *at: reader.member(*at))
        normalized_votes(ensemble.estimator_weights_, len(ensemble.estimators_))
        for name in ("alphas_", "estimator_errors_", "picks_", "prior_errors_"):
            check_same_length(ensemble.estimators_, getattr(ensemble, name, ensemble.estimators_), "members", name)
        return ensemble

    def _write_members(self, folder: Path, write: Callable[[Any, str], Any]) -> list[Any]:
        """Write the members, each by `write` into its own folder, and the weights; return the members' records."""
        weight = getattr(self, "token_weight_", None)
        if weight is not None:
            write_arrays(folder / _WEIGHT, {"token_weight": weight})
        return [write(member, f"members/{row}") for row, member in enumerate(getattr(self, "estimators_", ()))]

    def _read_members(
        self, records: list[Any], stored: StoredFolder, has_weight: bool, read: Callable[[int, Any, str], Any]
    ) -> None:
        """Take over what `_write_members` wrote; `read` gets a member's number, record and folder."""
        self.estimators_ = [read(row, record, f"members/{row}") for row, record in enumerate(records)]
        if has_weight:
            self.token_weight_ = _token_weight(stored)

    def _card_lines(self) -> Iterator[str]:
        if not hasattr(self, "estimator_errors_"):
            return
        columns, rows = rounds_table(self)
        n_members = "1 member" if len(rows) == 1 else f"{len(rows)} members"
        yield f"{n_members}; boosting ended with `{getattr(self, 'stop_reason_', '')}`."
        yield "\n".join(table_lines(columns, rows))


def _encoded(writer: Writer, name: str, value: Any) -> Any:
    if name == "estimator" and value is not None:
        return writer.estimator(value, name)
    if name == "estimators" and value is not None:
        return [writer.estimator(each, f"{name}[{place}]") for place, each in enumerate(value)]
    return writer.encode(value, name)


def _token_weight(stored: StoredFolder) -> np.ndarray:
    weight: np.ndarray | None = stored.arrays(_WEIGHT).get("token_weight")
    if weight is None or weight.ndim != 1:
        raise CheckpointError(f"{stored.path / _WEIGHT} must hold token_weight, one number a token. Save it again.")
    return weight


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
        write_json(folder / _FITTED, {"members": [write_member(estimator, folder / "member", f"{name} member")]})
        return
    members = estimator._write_members(
        folder, lambda member, place: write_member(member, folder / place, f"{name} {place}")
    )
    write_json(folder / _FITTED, {"members": members, "fitted": encode(estimator._saved_state(), name)})


def read_fitted(estimator: Any, stored: StoredFolder) -> Any:
    """The fitted estimator of `write_fitted`.

    Parameters
    ----------
    estimator : estimator
        With the parameters it had, not fitted.
    stored : StoredFolder
        Verified.
    """
    path = stored.file(_FITTED)
    try:
        record = stored.json(_FITTED)
        if not isinstance(estimator, SavedEnsemble):
            return read_member(estimator, record["members"][0], stored, "member")
        estimator._restore_state(decode(record["fitted"]))
        picks = getattr(estimator, "picks_", None)

        def read(row: int, member: Any, place: str) -> Any:
            return read_member(_learners(estimator)[0 if picks is None else picks[row]], member, stored, place)

        estimator._read_members(record["members"], stored, _WEIGHT in stored.files, read)
    except MALFORMED as error:
        raise CheckpointError(
            f"{path} is no {type(estimator).__name__} that this version of ensemw2s can read ({error}). Begin anew in "
            f"another folder."
        ) from error
    return estimator


def _learners(ensemble: Any) -> list[Any]:
    """Clones of what its members are trained from."""
    return [clone(ensemble._weak_learner())] if is_classifier(ensemble) else ensemble._base_estimators()


def write_member(member: Any, folder: Path, name: str) -> dict[str, Any]:
    """Write what training made of a member into a new folder, and return its record, with its seeds."""
    values = member.get_params()
    # Those that a booster has set; a learner of its own keeps what it was given.
    seeds = {key: values[key] for key in seed_parameters(member) if type(values[key]) is int}
    return {"seeds": seeds, "state": write_state(member, folder, name)}


def read_member(learner: Any, record: dict[str, Any], stored: StoredFolder, place: str) -> Any:
    """The member of `write_member`, from the folder `place`; `learner` is what it was trained from, not fitted."""
    return read_state(learner.set_params(**record["seeds"]), record["state"], stored, place)
