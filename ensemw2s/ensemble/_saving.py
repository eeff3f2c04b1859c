"""Ensembles as folders of safetensors and JSON."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.utils.validation import check_is_fitted

from ensemw2s._markdown import table_lines
from ensemw2s._validation import check_same_length
from ensemw2s.ensemble._rounds_table import rounds_table
from ensemw2s.exceptions import CheckpointError
from ensemw2s.learners import LearnerReader, LearnerWriter, fitted_attributes, restore_attributes
from ensemw2s.mixing import normalized_votes
from ensemw2s.storage import MALFORMED, Pretrained, StoredFolder, decode, encode, write_arrays, write_json

__all__ = ["SavedEnsemble"]

_ENSEMBLE = "ensemble.json"
_WEIGHT = "token_weight.safetensors"
_LEARNERS = ("estimator", "estimators")


class SavedEnsemble(Pretrained):
    """An ensemble that can be saved and loaded; its learners are the parameters ``estimator`` or ``estimators``."""

    estimators_: list[Any]
    estimator_weights_: np.ndarray
    token_weight_: np.ndarray

    def _write_files(self, folder: Path, include_base: bool) -> list[dict[str, Any]]:
        check_is_fitted(self, "estimators_")
        return _write(self, folder, include_base)

    @classmethod
    def _read_files(cls, stored: StoredFolder, base: Any) -> Any:
        return _read(cls, stored, base)

    def _card_lines(self) -> Iterator[str]:
        if not hasattr(self, "estimator_errors_"):
            return
        columns, rows = rounds_table(self)
        n_members = "1 member" if len(rows) == 1 else f"{len(rows)} members"
        yield f"{n_members}; boosting ended with `{getattr(self, 'stop_reason_', '')}`."
        yield "\n".join(table_lines(columns, rows))


def _write(ensemble: Any, folder: Path, include_base: bool) -> list[dict[str, Any]]:
    writer = LearnerWriter(folder, include_base=include_base)
    members = [writer.member(member, f"members/{row}") for row, member in enumerate(ensemble.estimators_)]
    parameters = {
        name: _encoded(writer, name, value)
        for name, value in ensemble.get_params(deep=False).items()
        if name not in ("checkpoint_dir", "on_locked")  # of this machine
    }
    fitted = fitted_attributes(ensemble, without=("estimators_", "token_weight_"))
    weight = getattr(ensemble, "token_weight_", None)
    if weight is not None:
        write_arrays(folder / _WEIGHT, {"token_weight": weight})
    shared = writer.shared()
    write_json(
        folder / _ENSEMBLE,
        {
            "class": type(ensemble).__name__,
            "parameters": parameters,
            "fitted": {name: encode(value, name) for name, value in fitted.items()},
            "members": members,
            "has_token_weight": weight is not None,
            **shared,
        },
    )
    return shared["bases"]


def _encoded(writer: LearnerWriter, name: str, value: Any) -> Any:
    if name not in _LEARNERS or value is None:
        return encode(value, name)
    if name == "estimator":
        return writer.estimator(value, name)
    return [writer.estimator(each, f"{name}[{place}]") for place, each in enumerate(value)]


def _read(cls: Any, stored: StoredFolder, base: Any) -> Any:
    path = stored.file(_ENSEMBLE)
    content = stored.json(_ENSEMBLE)
    try:
        reader = LearnerReader(stored, content, base=base)
        parameters = {
            name: reader.estimator(value) if name in _LEARNERS else decode(value)
            for name, value in content["parameters"].items()
        }
        ensemble = cls(**parameters)
        restore_attributes(ensemble, {name: decode(value) for name, value in content["fitted"].items()})
        ensemble.estimators_ = [
            reader.member(record, f"members/{row}") for row, record in enumerate(content["members"])
        ]
        normalized_votes(ensemble.estimator_weights_, len(ensemble.estimators_))
        for name in ("estimator_errors_", "picks_", "prior_errors_"):
            check_same_length(ensemble.estimators_, getattr(ensemble, name, ensemble.estimators_), "members", name)
        if content["has_token_weight"]:
            ensemble.token_weight_ = _token_weight(stored)
    except MALFORMED as error:
        raise CheckpointError(
            f"{path} is no {cls.__name__} that this version of ensemw2s can read ({error}). Save it again, with this "
            f"version."
        ) from error
    return ensemble


def _token_weight(stored: StoredFolder) -> np.ndarray:
    weight = stored.arrays(_WEIGHT).get("token_weight")
    if weight is None or weight.ndim != 1:
        raise CheckpointError(f"{stored.path / _WEIGHT} must hold token_weight, one number a token. Save it again.")
    return weight
