"""Features of texts, kept in memory up to a limit."""

from __future__ import annotations

from collections import OrderedDict

import numpy as np
from numpy.typing import NDArray

from ensemw2s._forward.memory_limit import memory_limit
from ensemw2s._launch.locks import ThreadLock

LIMIT = "ENSEMW2S_FEATURE_CACHE"


class FeatureCache:
    """Arrays by a hash of all that they were made from.

    The environment variable ``ENSEMW2S_FEATURE_CACHE`` limits their size. Those that were not asked for for the longest
    time make room.
    """

    def __init__(self) -> None:
        self._arrays: OrderedDict[bytes, NDArray[np.float32]] = OrderedDict()
        self._size = 0  # bytes
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

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._arrays.clear()
            self._size = 0


KEPT = FeatureCache()
"""That of the process: what it holds depends on the texts and the weights that read them, on nothing else."""
