"""scikit-learn estimators as files of skops, which hold types and numbers, and no code."""

from __future__ import annotations

import importlib
import io
import struct
import zipfile
from pathlib import Path
from typing import Any

from ensemw2s._validation import shorten
from ensemw2s.exceptions import BackendUnavailableError, CheckpointError
from ensemw2s.storage._files import writing
from ensemw2s.storage._json import MALFORMED
from ensemw2s.storage._manifest import StoredFolder

# What scikit-learn's juries and searches hold beside estimators; written in Python, and nothing but their attributes.
_HARMLESS = {
    "sklearn.metrics._scorer._PassthroughScorer",
    "sklearn.model_selection._split.KFold",
    "sklearn.model_selection._split.StratifiedKFold",
    "sklearn.utils._bunch.Bunch",
}


def write_scikit_learn(estimator: object, path: Path, name: str, *, like: object = None) -> None:
    """Write an estimator of scikit-learn, with its parameters.

    Parameters
    ----------
    estimator : estimator
        What to write.
    path : Path
        The file.
    name : str
        What to call it in an error.
    like : estimator, optional
        Given where the file stays on this machine, see `read_scikit_learn`.

    Raises
    ------
    BackendUnavailableError
        If skops is not installed.
    TypeError
        If it is no estimator, or holds objects of types that skops does not trust.
    """
    check_scikit_learn(estimator, name)
    skops = _skops(f"{name}, a {type(estimator).__name__}, is written")
    content = _dump(skops, estimator, name)
    foreign = _foreign(skops.get_untrusted_types(data=content), _own_types(skops, like, name))
    if foreign:
        raise TypeError(f"{name} cannot be saved: a {type(estimator).__name__} {_reason(foreign, estimator)}")
    with writing(path):
        path.write_bytes(content)


def check_scikit_learn(estimator: object, name: str) -> None:
    """Raise a TypeError where something is no estimator of scikit-learn."""
    from sklearn.base import BaseEstimator

    if not isinstance(estimator, BaseEstimator):
        raise TypeError(
            f"{name} cannot be saved. Got {shorten(estimator)}; HFCausalLM, HFClassifier, BigramLearner, estimators of "
            f"scikit-learn, and classes that derive from these or from PretrainedMixin are written."
        )


def check_skops(estimator: object, name: str) -> None:
    """Raise the TypeError of `write_scikit_learn` where an estimator that is not fitted could not be read back.

    It is written and read once, in memory, as a checkpoint would be.
    """
    skops = _skops(f"{name}, a {type(estimator).__name__}, is written")
    content = _dump(skops, estimator, name)
    try:
        found = skops.loads(content, trusted=skops.get_untrusted_types(data=content))
    except Exception as error:  # whatever a class that skops does not know raises
        raise _unreadable(estimator, name, error) from error
    if type(found) is not type(estimator):
        raise _unreadable(estimator, name, f"it would come back as {type(found).__qualname__}")


def read_scikit_learn(stored: StoredFolder, name: str, *, like: object = None) -> Any:
    """Read an estimator that holds nothing but types which skops trusts.

    Parameters
    ----------
    stored : StoredFolder
        Verified.
    name : str
        The file in it.
    like : estimator, optional
        Given where this machine has written the file, as in a checkpoint: the estimator with its parameters. All types
        of scikit-learn are trusted then, its trees among them, which from another's file could crash the process, and
        those that it is made of itself.

    Raises
    ------
    BackendUnavailableError
        If skops is not installed.
    CheckpointError
        If the file is damaged, compressed, or holds other types; it lists them.
    """
    content, path = stored.bytes(name), stored.file(name)
    skops = _skops(f"{path} is read")
    # Looked at before skops opens it: a small file may stand for more than the memory holds.
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            entries = archive.infolist()
        if any(
            entry.compress_type != zipfile.ZIP_STORED or entry.file_size != entry.compress_size for entry in entries
        ):
            raise CheckpointError(f"{path} is compressed, and could fill the memory; it was not opened. Do not use it.")
        untrusted = skops.get_untrusted_types(data=content)
        foreign = _foreign(untrusted, _own_types(skops, like, path.name))
        if foreign:
            raise CheckpointError(f"{path} holds objects of types that are not trusted: {foreign}. Do not use it.")
        return skops.loads(content, trusted=untrusted)
    except (zipfile.BadZipFile, ImportError, NotImplementedError, struct.error, *MALFORMED) as error:
        raise CheckpointError(f"{path} is no estimator that can be read ({error}). Save it again.") from error


def _dump(skops: Any, estimator: Any, name: str) -> bytes:
    try:
        return bytes(skops.dumps(estimator, compression=zipfile.ZIP_STORED))
    except Exception as error:  # whatever a class that skops does not know raises
        raise _unreadable(estimator, name, error) from error


def _reason(foreign: list[str], estimator: object) -> str:
    if any(kind.startswith("sklearn.") and "tree" in kind.lower() for kind in foreign):
        return (
            f"holds trees ({', '.join(foreign)}), which are not read from a folder: a forged one could crash the "
            f"process. Keep it in a checkpoint_dir, whose files are not for others, or pass an estimator without trees."
        )
    return (
        f"holds objects of types that would not be trusted when loaded, {', '.join(foreign)}. Estimators made of "
        f"scikit-learn, NumPy and SciPy alone can be saved. Let your class derive from PretrainedMixin too, and the "
        f"estimator that holds its objects as well: class Saved(PretrainedMixin, {type(estimator).__name__})."
    )


def _unreadable(estimator: object, name: str, reason: object) -> TypeError:
    return TypeError(
        f"{name} cannot be saved: skops cannot store a {type(estimator).__name__} and read it back ({reason}). Let its "
        f"class derive from PretrainedMixin too, which says how it is stored, or pass another estimator."
    )


def _own_types(skops: Any, like: Any, name: str) -> set[str] | None:
    """Types that an estimator is made of; None if there is none."""
    return None if like is None else set(skops.get_untrusted_types(data=_dump(skops, like, name)))


def _foreign(untrusted: list[str], own: set[str] | None) -> list[str]:
    if own is None:
        return [name for name in untrusted if name not in _HARMLESS]
    return [name for name in untrusted if not (name in own or name.startswith("sklearn."))]


def _skops(what: str) -> Any:
    try:
        return importlib.import_module("skops.io")
    except ImportError as error:
        raise BackendUnavailableError(
            f"{what} by skops, which is not installed: pip install 'ensemw2s[skops]'."
        ) from error
