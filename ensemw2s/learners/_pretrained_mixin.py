"""Estimators of one's own that can be saved and loaded."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ensemw2s.learners._saved_object import SavedObject
from ensemw2s.storage import StoredFolder

if TYPE_CHECKING:
    from ensemw2s.learners._reading import LearnerReader
    from ensemw2s.learners._saving import LearnerWriter

__all__ = ["PretrainedMixin"]

_UNSAVED = ("checkpoint_dir", "on_locked")  # of this machine


class PretrainedMixin(SavedObject):
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

    _record = "object.json"

    def _write_part(self, writer: LearnerWriter) -> dict[str, Any]:
        parameters = self.get_params(deep=False) if hasattr(self, "get_params") else {}
        # First what was trained: it has the bases that parameters refer to.
        state = {name: writer.encode(value, name) for name, value in self._saved_state().items()}
        encoded = {name: writer.encode(value, name) for name, value in parameters.items() if name not in _UNSAVED}
        return {"parameters": encoded, "state": state}

    @classmethod
    def _read_part(cls, reader: LearnerReader, content: dict[str, Any]) -> Any:
        made = cls(**{name: reader.decode(value) for name, value in content["parameters"].items()})
        made._restore_state({name: reader.decode(value) for name, value in content["state"].items()})
        return made

    def _write_state(self, folder: Path, name: str) -> dict[str, Any]:
        """Write what was learned, without the parameters but those that hold fitted estimators; return its record."""
        from ensemw2s.learners._saving import LearnerWriter

        writer = LearnerWriter(folder, include_base=False, include_functions=True, owner=f"{name}.")
        parameters = self.get_params(deep=False) if hasattr(self, "get_params") else {}
        fitted = {key: value for key, value in parameters.items() if _holds_fitted(value)}  # as a Pipeline's steps do
        return {
            "parameters": {key: writer.encode(value, key) for key, value in fitted.items()},
            "state": {key: writer.encode(value, key) for key, value in self._saved_state().items()},
            **writer.shared(),
        }

    def _read_state(self, record: dict[str, Any], stored: StoredFolder, place: str) -> Any:
        """Take over what `_write_state` wrote into the folder `place`."""
        from ensemw2s.learners._reading import LearnerReader

        reader = LearnerReader(LearnerReader(stored, record).within(place).stored, record)
        for key, value in record["parameters"].items():
            setattr(self, key, reader.decode(value))
        self._restore_state({key: reader.decode(value) for key, value in record["state"].items()})
        return self


def _holds_fitted(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return any(map(_holds_fitted, value))
    if isinstance(value, dict):
        return any(map(_holds_fitted, value.values()))
    if not hasattr(value, "get_params") or isinstance(value, type):
        return False
    has_learned = any(name.endswith("_") and not name.startswith("_") for name in vars(value))
    return has_learned or any(map(_holds_fitted, value.get_params(deep=False).values()))
