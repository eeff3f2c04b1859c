"""Write beside, synchronise, rename: what has its final name is complete."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from ensemw2s.storage._files import writing
from ensemw2s.storage._manifest import MANIFEST, write_manifest


@contextmanager
def commit_folder(path: str | os.PathLike[str], *, kind: str) -> Iterator[Path]:
    """Lend a folder beside `path` to write into; at the end it gets a manifest, is synchronised and renamed.

    A process that is killed leaves at most a hidden folder ``.NAME.….tmp`` beside `path`, which nobody reads.

    Parameters
    ----------
    path : path
        The folder to be; it must not exist, or be empty.
    kind : str
        What the folder holds; `open_folder` asks for it.

    Yields
    ------
    Path
        Folder to write into, removed again if the ``with`` block fails.

    Raises
    ------
    FileExistsError
        If `path` is a file, or a folder that is not empty.
    OSError
        If something cannot be written; it names the file.
    ValueError
        If what was written could not be opened again, see `open_folder`.
    """
    final = Path(os.path.abspath(path))
    _refuse_occupied(final)
    beside = final.with_name(f".{final.name}.{uuid4().hex[:12]}.tmp")
    with writing(final):
        try:
            final.parent.mkdir(parents=True, exist_ok=True)
            beside.mkdir()
            yield beside
            write_manifest(beside, kind=kind)
            mode = stat.S_IMODE((beside / MANIFEST).stat().st_mode)
            # From the leaves up: a crash must not leave a folder whose entries are on the disk and their contents not.
            for folder, _, names in os.walk(beside, topdown=False):
                for name in names:
                    os.chmod(os.path.join(folder, name), mode)  # safetensors lets nobody but the owner read its files
                    _sync(os.path.join(folder, name))
                _sync(folder)
            try:
                os.rename(beside, final)
            except OSError:
                _refuse_occupied(final)  # another process was first
                raise
            _sync(final.parent)
        except BaseException:
            shutil.rmtree(beside, ignore_errors=True)
            raise


def commit_text(path: Path, text: str) -> None:
    """Write a file beside `path`, synchronise and rename it; an older file is replaced.

    Raises
    ------
    OSError
        If the file cannot be written; it names the file, and an older one is left as it was.
    """
    beside = path.with_name(f".{path.name}.{uuid4().hex[:12]}.tmp")
    with writing(path):
        try:
            with open(beside, "w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            os.replace(beside, path)
            _sync(path.parent)
        except BaseException:
            beside.unlink(missing_ok=True)
            raise


def _refuse_occupied(path: Path) -> None:
    if path.is_dir() and not any(path.iterdir()):
        return
    if path.exists() or path.is_symlink():
        raise FileExistsError(f"{path} must be a new or an empty folder. Delete it, or save under another name.")


def _sync(path: str | Path) -> None:
    if os.name == "nt" and os.path.isdir(path):  # folders cannot be opened there
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
