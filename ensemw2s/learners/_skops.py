"""scikit-learn estimators as files of skops, which hold types and numbers, and no code."""

from __future__ import annotations

import importlib
import io
import struct
import zipfile
from pathlib import Path
from typing import Any

from ensemw2s.exceptions import BackendUnavailableError, CheckpointError
from ensemw2s.storage import MALFORMED, writing

__all__ = ["read_skops", "write_skops"]


def write_skops(path: Path, estimator: Any, name: str, *, own: bool = False) -> None:
    """Write an estimator.

    Parameters
    ----------
    path : Path
        The file.
    estimator : estimator
        Of scikit-learn.
    name : str
        What to call it in an error.
    own : bool, default=False
        Whether the file stays where it is, see `read_skops`.

    Raises
    ------
    BackendUnavailableError
        If skops is not installed.
    TypeError
        If the estimator holds objects of types that skops does not trust.
    """
    skops = _skops(f"{name}, a {type(estimator).__name__}, is written")
    with writing(path):
        skops.dump(estimator, path, compression=zipfile.ZIP_STORED)
    foreign = _foreign(skops.get_untrusted_types(file=path), own)
    if foreign:
        raise TypeError(
            f"{name} cannot be saved: it holds objects of types that would not be trusted when loaded, {foreign}. "
            f"Estimators made of scikit-learn, NumPy and SciPy alone can be."
        )


def read_skops(content: bytes, path: Path, *, own: bool = False) -> Any:
    """An estimator that holds nothing but types which skops trusts.

    Parameters
    ----------
    content : bytes
        Of the file.
    path : Path
        The file, named in an error.
    own : bool, default=False
        Whether this machine has written it, as in a checkpoint. All types of scikit-learn are trusted then, its trees
        among them, which from another's file could crash the process.

    Raises
    ------
    BackendUnavailableError
        If skops is not installed.
    CheckpointError
        If the file is damaged, compressed, or holds other types; it lists them.
    """
    skops = _skops(f"{path} is read")
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            entries = archive.infolist()
        if any(
            entry.compress_type != zipfile.ZIP_STORED or entry.file_size != entry.compress_size for entry in entries
        ):
            raise CheckpointError(f"{path} is compressed, and could fill the memory; it was not opened. Do not use it.")
        untrusted = skops.get_untrusted_types(data=content)
        foreign = _foreign(untrusted, own)
        if foreign:
            raise CheckpointError(f"{path} holds objects of types that are not trusted: {foreign}. Do not use it.")
        return skops.loads(content, trusted=untrusted)
    except (zipfile.BadZipFile, ImportError, NotImplementedError, struct.error, *MALFORMED) as error:
        raise CheckpointError(f"{path} is no estimator that can be read ({error}). Save it again.") from error


def _foreign(untrusted: list[str], own: bool) -> list[str]:
    return [name for name in untrusted if not (own and name.startswith("sklearn."))]


def _skops(what: str) -> Any:
    try:
        return importlib.import_module("skops.io")
    except ImportError as error:
        raise BackendUnavailableError(
            f"{what} by skops, which is not installed: pip install 'ensemw2s[skops]'."
        ) from error
