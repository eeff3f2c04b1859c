"""The one way in which files are opened, plain and no larger than allowed, and what an error of writing names."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from ensemw2s.exceptions import CheckpointError

AGAIN = "Copy or download the folder again, or save it again."
LARGEST_JSON = 512 * 2**20  # bytes

_BLOCK = 2**20
_SPARSE = 2**30, 64  # files from this size on must take at least this fraction of it on the disk
# A pipe would be waited for, and a link be followed.
_FLAGS = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
_WRITING = {errno.EACCES, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.ENOSPC, errno.EPERM, errno.EROFS}


def size_of(path: Path, links_into: Path | None = None) -> int:
    """Size of a plain file, which is not opened.

    Raises
    ------
    CheckpointError
        As `open_plain`.
    FileNotFoundError
        If there is no such file.
    """
    return _look(path, links_into)[1].st_size


def links_of(folder: Path) -> Path:
    """Where the links in a folder may lead: into itself, and in a snapshot of the hub's cache to its files."""
    folder = folder.resolve()
    for place in (folder, *folder.parents):
        if place.parent.name == "snapshots" and (place.parent.parent / "blobs").is_dir():
            return place.parent.parent / "blobs"
    return folder


@contextmanager
def open_plain(path: Path, limit: int | None = None, links_into: Path | None = None) -> Iterator[BinaryIO]:
    """Open a file to read bytes from.

    Parameters
    ----------
    path : Path
        The file.
    limit : int, optional
        It must have at most so many bytes.
    links_into : Path, optional
        It may be a link to a file in this folder, as in the cache of the hub.

    Raises
    ------
    CheckpointError
        If it is a folder, a pipe, a device or a link to elsewhere, cannot be read, is too large, or nearly all holes.
    FileNotFoundError
        If there is no such file.
    """
    place, _ = _look(path, links_into)
    with _reading(path):
        handle = os.open(place, _FLAGS)
    with os.fdopen(handle, "rb") as file:
        status = os.fstat(handle)  # it may be another file by now
        _check_kind(path, status)
        if limit is not None and status.st_size > limit:
            raise CheckpointError(
                f"{path} has {status.st_size:,} bytes, more than the {limit:,} that are read; it was not opened. "
                f"Do not use it."
            )
        _check_holes(path, status)
        yield file


def read_file(path: Path, limit: int | None = None, links_into: Path | None = None) -> bytes:
    """All bytes of a file, of at most `limit`.

    Raises
    ------
    CheckpointError
        As `open_plain`.
    FileNotFoundError
        If there is no such file.
    """
    with open_plain(path, limit, links_into) as file:
        size = os.fstat(file.fileno()).st_size
        with _reading(path):
            return file.read(size)


def hash_file(path: Path, links_into: Path | None = None) -> str:
    """SHA-256 of a file, in hexadecimal.

    Raises
    ------
    CheckpointError, FileNotFoundError
        As `open_plain`.
    """
    digest = hashlib.sha256()
    with open_plain(path, None, links_into) as file, _reading(path):
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Name the file in an error of reading, such as a disk that fails; what is not there is another matter."""
    try:
        yield
    except FileNotFoundError:
        raise
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror}. {AGAIN}") from error


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Name the file in an error of writing, such as a full disk, whoever wrote it."""
    from safetensors import SafetensorError

    try:
        yield
    except OSError as error:
        if error.errno not in _WRITING or "could not be written" in str(error):
            raise
        named = path if error.filename is None else error.filename
        raise OSError(error.errno, f"{named} could not be written: {error.strerror}") from error
    except SafetensorError as error:  # its way to say that the disk is full
        raise OSError(errno.EIO, f"{path} could not be written: {error}") from error


def _look(path: Path, links_into: Path | None) -> tuple[Path, os.stat_result]:
    """Where a file is, links followed where they may be, and what it is; a device is not even opened."""
    place = path
    try:
        status = path.lstat()
        if stat.S_ISLNK(status.st_mode):
            target = path.resolve()
            if links_into is None or not target.is_relative_to(links_into.resolve()):
                raise CheckpointError(f"{path} is a link to {target}; only plain files are read. {AGAIN}")
            place, status = target, target.lstat()
    except (FileNotFoundError, CheckpointError):
        raise
    except NotADirectoryError as error:
        raise FileNotFoundError(error.errno, error.strerror, str(path)) from error
    except (OSError, RuntimeError) as error:  # RuntimeError: a link to itself, before Python 3.13
        raise CheckpointError(f"{path} cannot be read: {error}. {AGAIN}") from error
    _check_kind(path, status)
    return place, status


def _check_kind(path: Path, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise CheckpointError(f"{path} is no plain file. {AGAIN}")


def _check_holes(path: Path, status: os.stat_result) -> None:
    smallest, fraction = _SPARSE
    on_disk = getattr(status, "st_blocks", status.st_size) * 512
    if status.st_size >= smallest and on_disk * fraction < status.st_size:
        raise CheckpointError(
            f"{path} has {status.st_size:,} bytes, of which {on_disk:,} are on the disk: the rest is holes. It was not "
            f"read. Do not use it."
        )
