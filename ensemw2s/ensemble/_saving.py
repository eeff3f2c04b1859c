"""Ensembles as folders of safetensors and JSON."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.utils.validation import check_is_fitted

from ensemw2s._markdown import table_lines
from ensemw2s._rows import without_texts
from ensemw2s._validation import check_same_length
from ensemw2s.ensemble._rounds_table import rounds_table
from ensemw2s.exceptions import CheckpointError
from ensemw2s.learners import LearnerReader, LearnerWriter, SavedObject
from ensemw2s.mixing import normalized_votes
from ensemw2s.storage import StoredFolder, write_arrays

__all__ = ["SavedEnsemble"]

_WEIGHT = "token_weight.safetensors"


class SavedEnsemble(SavedObject):
    """An ensemble that can be saved and loaded; its learners are the parameters ``estimator`` or ``estimators``."""

    _record = "ensemble.json"
    _derived = ("estimators_", "token_weight_")
    _checks_fitted = True

    estimators_: list[Any]
    estimator_weights_: np.ndarray
    token_weight_: np.ndarray

    def _write_files(self, folder: Path, include_base: bool) -> list[dict[str, Any]]:
        check_is_fitted(self, "estimators_")
        return super()._write_files(folder, include_base)

    def _saved_state(self) -> dict[str, Any]:
        state = super()._saved_state()
        if "skipped_rows_" in state:
            state["skipped_rows_"] = without_texts(state["skipped_rows_"])
        return state

    def _write_part(self, writer: LearnerWriter) -> dict[str, Any]:
        members = [
            writer.member(member, f"members/{row}") for row, member in enumerate(getattr(self, "estimators_", ()))
        ]
        parameters = {
            name: _encoded(writer, name, value)
            for name, value in self.get_params(deep=False).items()  # type: ignore[attr-defined]
            if name not in ("checkpoint_dir", "on_locked")  # of this machine
        }
        weight = getattr(self, "token_weight_", None)
        if weight is not None:
            write_arrays(writer.folder / _WEIGHT, {"token_weight": weight})
        return {
            "parameters": parameters,
            "fitted": {name: writer.encode(value, name) for name, value in self._saved_state().items()},
            "members": members,
            "has_token_weight": weight is not None,
        }

    @classmethod
    def _read_part(cls, reader: LearnerReader, content: dict[str, Any]) -> Any:
        ensemble = cls(**{name: reader.decode(value) for name, value in content["parameters"].items()})
        ensemble._restore_state({name: reader.decode(value) for name, value in content["fitted"].items()})
        if not content["members"]:  # a parameter of another estimator, which had not been fitted
            return ensemble
        ensemble.estimators_ = [
            reader.member(record, f"members/{row}") for row, record in enumerate(content["members"])
        ]
        normalized_votes(ensemble.estimator_weights_, len(ensemble.estimators_))
        for name in ("estimator_errors_", "picks_", "prior_errors_"):
            check_same_length(ensemble.estimators_, getattr(ensemble, name, ensemble.estimators_), "members", name)
        if content["has_token_weight"]:
            ensemble.token_weight_ = _token_weight(reader.stored)
        return ensemble

    def _card_lines(self) -> Iterator[str]:
        if not hasattr(self, "estimator_errors_"):
            return
        columns, rows = rounds_table(self)
        n_members = "1 member" if len(rows) == 1 else f"{len(rows)} members"
        yield f"{n_members}; boosting ended with `{getattr(self, 'stop_reason_', '')}`."
        yield "\n".join(table_lines(columns, rows))


def _encoded(writer: LearnerWriter, name: str, value: Any) -> Any:
    if name == "estimator" and value is not None:
        return writer.estimator(value, name)
    if name == "estimators" and value is not None:
        return [writer.estimator(each, f"{name}[{place}]") for place, each in enumerate(value)]
    return writer.encode(value, name)


def _token_weight(stored: StoredFolder) -> np.ndarray:
    weight = stored.arrays(_WEIGHT).get("token_weight")
    if weight is None or weight.ndim != 1:
        raise CheckpointError(f"{stored.path / _WEIGHT} must hold token_weight, one number a token. Save it again.")
    return weight
