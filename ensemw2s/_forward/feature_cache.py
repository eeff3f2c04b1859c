"""Features of texts, kept in memory up to a limit, and in a folder for other processes."""

from __future__ import annotations

import logging
import os
from collections import OrderedDict
from collections.abc import Mapping
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray

from ensemw2s._forward.memory_limit import memory_limit
from ensemw2s._launch.locks import ThreadLock
from ensemw2s.exceptions import CheckpointError
from ensemw2s.storage import parse_arrays, read_file, writing

LIMIT, DISK, FOLDER = "ENSEMW2S_FEATURE_CACHE", "ENSEMW2S_FEATURE_CACHE_DISK", "ENSEMW2S_FEATURE_CACHE_DIR"

logger = logging.getLogger("ensemw2s")


class FeatureCache:
    """Arrays by a hash of all that they were made from.

    The environment variable ``ENSEMW2S_FEATURE_CACHE`` limits their size. Those that were not asked for for the longest
    time make room. ``ENSEMW2S_FEATURE_CACHE_DIR`` names a folder in which processes leave them for each other, and
    ``ENSEMW2S_FEATURE_CACHE_DISK`` limits it.
    """

    def __init__(self) -> None:
        self._arrays: OrderedDict[bytes, NDArray[np.float32]] = OrderedDict()
        self._size = 0  # bytes
        self._seen: set[str] = set()  # files that have been read, or written, here
        self._lock = ThreadLock()

    def get(self, key: bytes) -> NDArray[np.float32] | None:
        """What is known by a key."""
        with self._lock:
            if key in self._arrays:
                self._arrays.move_to_end(key)
            return self._arrays.get(key)

    def add(self, key: bytes, array: NDArray[np.float32]) -> None:
        """Keep an array, unless it is too large for the limit by itself."""
        limit = memory_limit(LIMIT, "1GB")
        with self._lock:
            if key in self._arrays or array.nbytes > limit:
                return
            self._arrays[key] = array
            self._size += array.nbytes
            while self._size > limit:
                self._size -= self._arrays.popitem(last=False)[1].nbytes

    def read_others(self) -> bool:
        """Keep what other processes have written since, and say whether there was anything."""
        folder = os.environ.get(FOLDER, "").strip()
        new = sorted(set(Path(folder).glob("*.safetensors")) if folder else ())
        new = [path for path in new if path.name not in self._seen]
        for path in new:
            self._seen.add(path.name)
            with suppress(FileNotFoundError):  # it has made room
                try:
                    content = read_file(path)
                    if _name(content) != path.name:
                        raise CheckpointError(f"{path} has been changed.")
                    for key, array in parse_arrays(content, path).items():
                        self.add(bytes.fromhex(key), array)
                except CheckpointError as error:
                    logger.warning("Features that were kept in a file are read again by the model: %s", error)
        return bool(new)

    def write(self, arrays: Mapping[bytes, NDArray[np.float32]]) -> None:
        """Leave arrays for other processes, where there is a folder; the oldest files make room.

        Raises
        ------
        OSError
            If the folder cannot be written to; it names the file.
        """
        from safetensors.numpy import save

        folder = os.environ.get(FOLDER, "").strip()
        if not folder or not arrays:
            return
        content = save({key.hex(): array for key, array in arrays.items()})
        room = memory_limit(DISK, "4GB") - len(content)
        if room < 0:
            return
        path = Path(folder) / _name(content)  # which tells whether it is still what was written
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            _shrink(path.parent, room)
            beside = path.with_name(f".{uuid4().hex}.tmp")
            try:
                beside.write_bytes(content)
                os.replace(beside, path)
            finally:
                beside.unlink(missing_ok=True)
        self._seen.add(path.name)

    def clear(self) -> None:
        """Forget everything; what is in a folder stays there."""
        with self._lock:
            self._arrays.clear()
            self._seen.clear()
            self._size = 0


def _name(content: bytes) -> str:
    return f"{blake2b(content, digest_size=16).hexdigest()}.safetensors"


def _shrink(folder: Path, limit: int) -> None:
    """Remove the oldest files until the others take no more than a limit."""
    sizes = {}
    for path in folder.glob("*.safetensors"):
        with suppress(FileNotFoundError):  # another process makes room, too
            sizes[path] = path.stat().st_mtime, path.stat().st_size
    total = sum(size for _, size in sizes.values())
    for path, (_, size) in sorted(sizes.items(), key=lambda entry: entry[1]):
        if total <= limit:
            return
        path.unlink(missing_ok=True)
        total -= size


KEPT = FeatureCache()
"""That of the process: what it holds depends on the texts and the weights that read them, on nothing else."""
