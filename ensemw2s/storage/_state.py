"""What training made of any estimator, as files; its parameters are known where it is read again."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from ensemw2s.storage._json import JsonObject
from ensemw2s.storage._manifest import StoredFolder
from ensemw2s.storage._pretrained import Pretrained
from ensemw2s.storage._reader import Reader
from ensemw2s.storage._registry import Registered
from ensemw2s.storage._skops import check_scikit_learn, check_skops, read_scikit_learn, write_scikit_learn
from ensemw2s.storage._temporary import temporary_folder
from ensemw2s.storage._writer import Writer

_SKOPS, _BY_SKOPS = "estimator.skops", "by skops"


class Checkpointed(Pretrained):
    """One that a checkpoint keeps without its parameters, which are known there; others are kept by skops."""

    def _check_can_be_written(self, name: str) -> None:
        """Raise a TypeError before training where `_write_state` would raise it afterwards."""
        # A token learner holds before its training what it holds after it, such as its tokenizer.
        from sklearn.base import clone

        if hasattr(self, "initialize") and hasattr(self, "token_logits"):
            with temporary_folder("estimator") as folder:
                clone(self).initialize()._write_learned(Path(folder), name)

    def _write_state(self, folder: Path, name: str) -> JsonObject:
        """Write what training made of it into an empty folder, and return its record; `name` is said in an error."""
        from sklearn.base import clone

        try:
            return self._write_learned(folder, name)
        except TypeError as error:  # an attribute that only training has shown
            unwritten = error
        shutil.rmtree(folder)
        folder.mkdir()
        try:
            check_skops(self, name)
            write_scikit_learn(self, folder / _SKOPS, name, like=clone(self))
        except TypeError:
            raise unwritten from None
        return {_BY_SKOPS: True}

    def _write_learned(self, folder: Path, name: str) -> JsonObject:
        """Write what was learned, without the parameters but those that hold fitted estimators; return its record."""
        writer = Writer(folder, include_base=False, include_functions=True, owner=f"{name}.")
        fitted = {key: value for key, value in self._kept_parameters().items() if _holds_fitted(value)}
        return {
            "parameters": writer.encode_all(fitted),  # as a Pipeline's steps do
            "state": writer.encode_all(self._saved_state()),
            **writer.shared(),
        }

    def _read_state(self, record: JsonObject, stored: StoredFolder, place: str) -> Any:
        """The fitted estimator of `_write_state`, which this one becomes, from the folder `place`."""
        if record.get(_BY_SKOPS):
            return read_scikit_learn(stored, f"{place}/{_SKOPS}", like=self)
        reader = Reader(Reader(stored, record).within(place).stored, record)
        for key, value in reader.decode_all(record["parameters"]).items():
            setattr(self, key, value)
        self._restore_state(reader.decode_all(record["state"]))
        return self


def check_can_be_written(estimator: Any, name: str) -> None:
    """Raise what `write_state` would raise when training is over.

    Raises
    ------
    TypeError
        If the estimator is of a kind, or holds objects of types, that cannot be written and read back.
    """
    from sklearn.base import clone

    if isinstance(estimator, Checkpointed):
        estimator._check_can_be_written(name)
        return
    check_scikit_learn(estimator, name)
    for place, value in estimator.get_params(deep=True).items():
        # What will hold a tokenizer or tensors.
        if not isinstance(value, type) and (
            hasattr(value, "token_logits") or (isinstance(value, Registered) and value._holds_tensors)
        ):
            kind = type(estimator).__name__
            raise TypeError(
                f"{name} cannot be saved: skops, which stores a {kind}, cannot store the {type(value).__name__} in it "
                f"({place}) once that is trained. Let its class derive from PretrainedMixin too, which can: class "
                f"Saved(PretrainedMixin, {kind})."
            )
    starts = hasattr(estimator, "initialize") and hasattr(estimator, "token_logits")
    check_skops(clone(estimator).initialize() if starts else estimator, name)


def write_state(estimator: object, path: Path, name: str) -> JsonObject:
    """Write a fitted estimator into a new folder, without its parameters.

    Returns
    -------
    dict
        Its record, as JSON, for `read_state`.
    """
    from sklearn.base import clone

    path.mkdir(parents=True)
    if isinstance(estimator, Checkpointed):
        return estimator._write_state(path, name)
    write_scikit_learn(estimator, path / _SKOPS, name, like=clone(estimator))
    return {}


def read_state(estimator: object, record: JsonObject, stored: StoredFolder, name: str) -> Any:
    """The fitted estimator of `write_state`.

    Parameters
    ----------
    estimator : estimator
        With the parameters it had, not fitted; of ensemw2s' learners it becomes the fitted one.
    record : dict
        From `write_state`.
    stored : StoredFolder
        Verified.
    name : str
        Folder in it.
    """
    if isinstance(estimator, Checkpointed):
        return estimator._read_state(record, stored, name)
    return read_scikit_learn(stored, f"{name}/{_SKOPS}", like=estimator)


def _holds_fitted(value: object) -> bool:
    if isinstance(value, list | tuple):
        return any(map(_holds_fitted, value))
    if isinstance(value, dict):
        return any(map(_holds_fitted, value.values()))
    if not hasattr(value, "get_params") or isinstance(value, type):
        return False
    has_learned = any(name.endswith("_") and not name.startswith("_") for name in vars(value))
    return has_learned or any(map(_holds_fitted, value.get_params(deep=False).values()))
