"""Folders for what is needed for a while, removed also where the process that made them was killed."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

_PREFIX = "ensemw2s-tmp-"
_NEW = 60.0  # seconds within which whoever makes a folder has long locked it


@contextmanager
def temporary_folder(kind: str) -> Iterator[str]:
    """A new folder for the length of this block.

    Parameters
    ----------
    kind : str
        Part of its name, for whoever looks into the folder for temporary files.
    """
    _remove_abandoned()
    with tempfile.TemporaryDirectory(prefix=f"{_PREFIX}{kind}-") as folder:
        held = hold_folder(folder)
        try:
            yield folder
        finally:
            if held is not None:
                os.close(held)


def hold_folder(folder: str) -> int | None:
    """Lock a folder for the life of this process, or until the descriptor is closed; None where that cannot be done."""
    try:
        import fcntl
    except ImportError:  # Windows
        return None
    descriptor = None
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:  # somebody holds it; or a file system without locks
        if descriptor is not None:
            os.close(descriptor)
        return None
    return descriptor


@cache
def _remove_abandoned() -> None:
    """Remove, once in a process, the folders that nobody holds: those of processes that were killed."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        with suppress(OSError):
            status = folder.lstat()
            if time.time() - status.st_mtime < _NEW or status.st_uid != os.getuid():
                continue
            descriptor = hold_folder(str(folder))
            if descriptor is not None:
                shutil.rmtree(folder, ignore_errors=True)
                os.close(descriptor)
