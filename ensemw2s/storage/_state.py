"""What training made of any estimator, as files; its parameters are known where it is read again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sklearn.base import clone

from ensemw2s.storage._manifest import StoredFolder
from ensemw2s.storage._pretrained_mixin import Checkpointed
from ensemw2s.storage._registry import Registered
from ensemw2s.storage._skops import check_scikit_learn, check_skops, read_scikit_learn, write_scikit_learn

__all__ = ["check_can_be_written", "read_state", "write_state"]

_SKOPS = "estimator.skops"


def check_can_be_written(estimator: Any, name: str) -> None:
    """Raise what `write_state` would raise when training is over.

    Raises
    ------
    TypeError
        If the estimator is of a kind, or holds objects of types, that cannot be written and read back.
    """
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


def write_state(estimator: Any, path: Path, name: str) -> dict[str, Any]:
    """Write a fitted estimator into a new folder, without its parameters.

    Returns
    -------
    dict
        Its record, as JSON, for `read_state`.
    """
    path.mkdir(parents=True)
    if isinstance(estimator, Checkpointed):
        return estimator._write_state(path, name)
    write_scikit_learn(estimator, path / _SKOPS, name, like=clone(estimator))
    return {}


def read_state(estimator: Any, record: dict[str, Any], stored: StoredFolder, name: str) -> Any:
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
