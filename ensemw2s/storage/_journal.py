"""The committed steps of one computation, in one folder that one process writes."""

from __future__ import annotations

import errno
import logging
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from ensemw2s._validation import shorten
from ensemw2s.exceptions import CheckpointError
from ensemw2s.storage._commit import commit_folder
from ensemw2s.storage._files import hash_file, writing
from ensemw2s.storage._manifest import MANIFEST, StoredFolder, open_folder, write_json
from ensemw2s.storage._tensors import write_arrays
from ensemw2s.storage._values import encode

if TYPE_CHECKING:
    import numpy as np
    from filelock import FileLock

logger = logging.getLogger("ensemw2s")

_BEGIN, _STEP = "begin", "step.json"
_LOCK = ".lock"
_LEFTOVER = re.compile(r"\..+\.[0-9a-f]{12}\.tmp")  # of a killed `commit_folder`
_NEW = "Pass another checkpoint_dir, or delete the folder to begin anew."


@dataclass(frozen=True)
class Steps:
    """Steps of one run that do not depend on each other, so that several processes may commit them.

    Attributes
    ----------
    folder : Path
    run : str
        What tells the run from others; a step of another run is refused.
    """

    folder: Path
    run: str

    def read(self, name: str, previous: str = "") -> StoredFolder | None:
        """A committed step, verified; None if it has not been committed.

        Raises
        ------
        CheckpointError
            If a file of it is damaged, or it is a step of another run, or has another name or predecessor.
        """
        path = self.folder / name
        if not os.path.lexists(path):
            return None
        stored = open_folder(path, kind="checkpoint step")
        label, found = self._label(name, previous), stored.json(_STEP)
        if found != label:
            changed = [key for key in label if not isinstance(found, dict) or found.get(key) != label[key]]
            raise CheckpointError(
                f"{path / _STEP} belongs to another checkpoint: another {' and another '.join(changed)}. Put the right "
                f"folder back, or delete {path}, and what came after it, to compute it again."
            )
        return stored

    @contextmanager
    def commit(self, name: str, previous: str = "") -> Iterator[Path]:
        """Lend a folder to write the step into; it is there when the block has ended, see `commit_folder`."""
        with commit_folder(self.folder / name, kind="checkpoint step") as folder:
            yield folder
            write_json(folder / _STEP, self._label(name, previous))

    def _label(self, name: str, previous: str) -> dict[str, str]:
        return {"name": name, "run": self.run, "previous": previous}


class Journal:
    """Steps that follow each other, each there as a whole or not at all; a context manager that locks the folder.

    Parameters
    ----------
    folder : path
        Created where it is missing.
    on_locked : {"raise", "wait"}
        What to do while another process has it.

    Raises
    ------
    CheckpointError
        On entering, if another process has the folder and `on_locked` is "raise".
    """

    def __init__(self, folder: str | os.PathLike[str], *, on_locked: str) -> None:
        self.folder = Path(os.path.abspath(folder))
        self._on_locked = on_locked
        self._lock: FileLock | None = None
        self._unwritable: OSError | None = None
        self._steps = Steps(self.folder, "")
        self._previous = ""

    def __enter__(self) -> Journal:
        from filelock import FileLock, Timeout

        path = self.folder / _LOCK
        try:
            with writing(self.folder):
                self.folder.mkdir(parents=True, exist_ok=True)
            with writing(path):
                os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o666))
        except OSError as error:
            if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS) or not self.folder.is_dir():
                raise
            self._unwritable = error  # what has been committed can be read all the same
            return self
        self._lock = FileLock(path)
        try:
            self._lock.acquire(blocking=False)
        except Timeout:
            if self._on_locked == "raise":
                raise CheckpointError(
                    f"{self.folder} is in use by another process, which holds {path}. Wait until it has ended, pass "
                    f"on_locked='wait', or pass another checkpoint_dir."
                ) from None
            logger.info("waiting for the process that holds %s", path)
            self._lock.acquire()
        _remove_leftovers(self.folder)
        return self

    def __exit__(self, *_: object) -> None:
        if self._lock is not None:
            self._lock.release()

    def begin(self, settings: Mapping[str, object], rows: Mapping[str, np.ndarray], drawn: object = None) -> Any:
        """Start a computation, or make sure that the one in the folder is the same.

        Parameters
        ----------
        settings : mapping
            All that the steps depend on, but the data.
        rows : mapping of str to ndarray of shape (n_rows,), uint64
            A hash for each row of each column of the data.
        drawn : object
            What was drawn at the start, such as a seed.

        Returns
        -------
        object
            `drawn` of the call that began the computation.

        Raises
        ------
        CheckpointError
            Says which settings differ, and which row; or which file is damaged.
        """
        path = self.folder / _BEGIN
        given = encode(dict(settings), "settings")
        if not os.path.lexists(path):
            self._refuse_others()
            self.require_writable()
            with commit_folder(path, kind="checkpoint") as beside:
                write_json(beside / "settings.json", {"settings": given, "drawn": drawn})
                write_arrays(beside / "rows.safetensors", dict(rows))
        # Read back even where it was written a moment ago: what is compared below is what the next call will compare.
        stored = open_folder(path, kind="checkpoint")
        content, known = stored.json("settings.json"), stored.arrays("rows.safetensors")
        different = [*_differences(content["settings"], given, ""), *_different_rows(known, rows)]
        if different:
            raise CheckpointError(
                f"{self.folder} was begun with other data or settings:\n"
                + "\n".join(f"- {text}" for text in different)
                + f"\n{_NEW}"
            )
        self._steps = Steps(self.folder, stored.digest)
        return content["drawn"]

    def read(self, name: str) -> StoredFolder | None:
        """The next step, verified; None if it has not been committed, see `Steps.read`.

        Raises
        ------
        CheckpointError
            Also if a later one of its series, ``round-1``, ``round-2``, ..., is there without it.
        """
        stored = self._steps.read(name, self._previous)
        if stored is None:
            later = sorted(entry.name for entry in self._series(name) if entry.name > name)
            if later:
                raise CheckpointError(
                    f"{self.folder / name} is missing, but {later[0]}, which came after it, is there. Put it back, or "
                    f"delete {', '.join(later)} too."
                )
            return None
        self._previous = stored.digest
        return stored

    @contextmanager
    def commit(self, name: str) -> Iterator[Path]:
        """Lend a folder to write the next step into."""
        self.require_writable()
        with self._steps.commit(name, self._previous) as folder:
            yield folder
        self._previous = hash_file(self.folder / name / MANIFEST)  # all of the step's hashes are in it

    def independent(self, name: str) -> Steps:
        """A folder for steps that follow the last one, but not each other."""
        folder = self.folder / name
        if self._unwritable is None:
            with writing(folder):
                folder.mkdir(exist_ok=True)
            _remove_leftovers(folder)
        return Steps(folder, f"{self._steps.run} {self._previous}")

    def require_writable(self) -> None:
        """Raise what stood in the way of the lock: before hours of work that could not be kept."""
        if self._unwritable is not None:
            raise self._unwritable

    def _series(self, name: str) -> list[Path]:
        series = re.sub(r"\d+$", "", name)
        return [entry for entry in self.folder.iterdir() if re.fullmatch(re.escape(series) + r"\d+", entry.name)]

    def _refuse_others(self) -> None:
        found = sorted(entry.name for entry in self.folder.iterdir() if not entry.name.startswith("."))
        if found:
            raise CheckpointError(
                f"{self.folder} must be a new folder, an empty one or a checkpoint. It holds {found[0]}, but "
                f"{_BEGIN}/{MANIFEST} is missing. {_NEW}"
            )


def _remove_leftovers(folder: Path) -> None:
    """Delete what killed processes were writing; whoever calls this has the lock."""
    for entry in list(folder.iterdir()):
        if not _LEFTOVER.fullmatch(entry.name) or not entry.is_dir() or entry.is_symlink():
            continue
        # A worker that has outlived its killed parent may still write it. Moved away, it is not committed half deleted.
        gone = entry.with_name(f".gone.{uuid4().hex[:12]}.tmp")
        try:
            entry.rename(gone)
        except FileNotFoundError:  # that worker has committed it
            continue
        shutil.rmtree(gone)


def _differences(before: object, now: object, name: str) -> Iterator[str]:
    """Where two JSON values differ, entry by entry."""
    if isinstance(before, dict) and isinstance(now, dict):
        for key in sorted({*before, *now}):
            yield from _differences(
                before.get(key, _Absent), now.get(key, _Absent), f"{name}.{key}" if name else str(key)
            )
    elif isinstance(before, list) and isinstance(now, list) and len(before) == len(now):
        for row, (one, other) in enumerate(zip(before, now, strict=True)):
            yield from _differences(one, other, f"{name}[{row}]")
    elif type(before) is not type(now) or before != now:
        yield f"{name}: {_shown(before)} in the checkpoint, {_shown(now)} now"


@contextmanager
def open_journal(folder: str | os.PathLike[str] | None, *, on_locked: str) -> Iterator[Journal | None]:
    """The `Journal` in a folder, locked; None, which keeps nothing, where there is no folder."""
    if folder is None:
        yield None
        return
    with Journal(folder, on_locked=on_locked) as journal:
        yield journal


class _Absent:
    """Stands for an entry that one side lacks."""


def _shown(value: object) -> str:
    return "nothing" if value is _Absent else shorten(value)


def _different_rows(before: Mapping[str, np.ndarray], now: Mapping[str, np.ndarray]) -> Iterator[str]:
    for name in sorted({*before, *now}):
        one, other = before.get(name), now.get(name)
        if one is None or other is None:
            yield f"{name}: {'given' if other is not None else 'not given'} now, unlike in the checkpoint"
            continue
        n_common = min(len(one), len(other))
        changed = (one[:n_common] != other[:n_common]).nonzero()[0]
        if len(changed):
            yield f"{name}: row {changed[0]} is the first that differs"
        if len(one) != len(other):
            yield f"{name}: {len(one)} rows in the checkpoint, {len(other)} now"
