"""Estimators of one's own that can be saved and loaded."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from sklearn.base import clone

from ensemw2s.storage._manifest import StoredFolder
from ensemw2s.storage._reader import LearnerReader
from ensemw2s.storage._saved_object import SavedObject
from ensemw2s.storage._skops import check_skops, read_scikit_learn, write_scikit_learn
from ensemw2s.storage._temporary import temporary_folder
from ensemw2s.storage._writer import LearnerWriter

__all__ = ["Checkpointed", "PretrainedMixin"]

_SKOPS, _BY_SKOPS = "estimator.skops", "by skops"


class Checkpointed(SavedObject):
    """One that a checkpoint keeps without its parameters, which are known there; others are kept by skops."""

    def _check_can_be_written(self, name: str) -> None:
        """Raise a TypeError before training where `_write_state` would raise it afterwards."""
        # A token learner holds before its training what it holds after it, such as its tokenizer.
        if hasattr(self, "initialize") and hasattr(self, "token_logits"):
            with temporary_folder("estimator") as folder:
                clone(self).initialize()._write_learned(Path(folder), name)

    def _write_state(self, folder: Path, name: str) -> dict[str, Any]:
        """Write what training made of it into an empty folder, and return its record; `name` is said in an error."""
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

    def _write_learned(self, folder: Path, name: str) -> dict[str, Any]:
        """Write what was learned, without the parameters but those that hold fitted estimators; return its record."""
        writer = LearnerWriter(folder, include_base=False, include_functions=True, owner=f"{name}.")
        fitted = {key: value for key, value in self._kept_parameters().items() if _holds_fitted(value)}
        return {
            "parameters": writer.encode_all(fitted),  # as a Pipeline's steps do
            "state": writer.encode_all(self._saved_state()),
            **writer.shared(),
        }

    def _read_state(self, record: dict[str, Any], stored: StoredFolder, place: str) -> Any:
        """The fitted estimator of `_write_state`, which this one becomes, from the folder `place`."""
        if record.get(_BY_SKOPS):
            return read_scikit_learn(stored, f"{place}/{_SKOPS}", like=self)
        reader = LearnerReader(LearnerReader(stored, record).within(place).stored, record)
        for key, value in reader.decode_all(record["parameters"]).items():
            setattr(self, key, value)
        self._restore_state(reader.decode_all(record["state"]))
        return self


class PretrainedMixin(Checkpointed):
    """Lets an estimator of one's own be saved, by itself, in an ensemble, in a `W2SPipeline` or in a checkpoint.

    Derive from it and from scikit-learn's ``BaseEstimator``. What is written are the constructor's parameters and the
    attributes that `fit` has set: numbers, texts, arrays, containers of these, tokenizers, and estimators that can be
    saved themselves. A class with other attributes says how they are written: it overrides ``_saved_state()``, which
    returns a dict of values of these kinds, and ``_restore_state(state)``, which takes it back.

    A class is found again by its module and name, and nothing is imported while a folder is read: import or define it
    before ``from_pretrained``.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> from sklearn.base import BaseEstimator, ClassifierMixin
    >>> from ensemw2s import PretrainedMixin
    >>> class Majority(PretrainedMixin, ClassifierMixin, BaseEstimator):
    ...     def __init__(self, *, tie=0):
    ...         self.tie = tie
    ...     def fit(self, X, y):
    ...         self.classes_, counts = np.unique(y, return_counts=True)
    ...         self.usual_ = self.classes_[counts.argmax()]
    ...         return self
    ...     def predict(self, X):
    ...         return np.full(len(X), self.usual_)
    >>> model = Majority().fit([[0], [1], [2]], ["no", "yes", "yes"])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     model.save_pretrained(f"{folder}/majority")
    ...     Majority.from_pretrained(f"{folder}/majority").predict([[3]])
    array(['yes'], dtype='<U3')
    """


def _holds_fitted(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return any(map(_holds_fitted, value))
    if isinstance(value, dict):
        return any(map(_holds_fitted, value.values()))
    if not hasattr(value, "get_params") or isinstance(value, type):
        return False
    has_learned = any(name.endswith("_") and not name.startswith("_") for name in vars(value))
    return has_learned or any(map(_holds_fitted, value.get_params(deep=False).values()))
