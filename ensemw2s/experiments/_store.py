"""Results on disk, each computed once and committed at once."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ensemw2s._fingerprint import digest
from ensemw2s._version import __version__
from ensemw2s.exceptions import CheckpointError
from ensemw2s.storage import commit_text

__all__ = ["ResultStore"]

logger = logging.getLogger("ensemw2s")

_FORMAT = 1


class ResultStore:
    """A folder of JSON files, one for each result, named by kind and by the hash of what it was computed from.

    A file is written beside its place, synchronised and renamed, so it is there as a whole or not at all. A lock per
    result lets processes that need the same one wait for the first; the operating system releases it when a process
    dies. All processes, on whatever machine, must see the folder under the same path.

    Parameters
    ----------
    folder : path
        Created where it is missing.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder)

    def get(self, kind: str, description: dict[str, Any], compute: Callable[[], Any]) -> Any:
        """Read a result, or compute and commit it.

        Parameters
        ----------
        kind : str
            Folder of the result, such as "weak".
        description : dict
            All that the result depends on, as JSON.
        compute : callable
            Gives the result as JSON.

        Raises
        ------
        CheckpointError
            If the stored result is damaged.
        """
        from filelock import FileLock

        path = self.path(kind, description)
        if path.exists():
            return self.read(path, description)
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_suffix(".lock")):
            if path.exists():  # another process was first
                return self.read(path, description)
            started, cpu = time.perf_counter(), time.process_time()
            result = compute()
            seconds = {"wall": time.perf_counter() - started, "cpu": time.process_time() - cpu}
            self._commit(path, {"description": description, "seconds": seconds, "result": result})
        logger.info("%s %s: %.0f s", kind, path.stem, seconds["wall"])
        # As the next reader will get it: JSON has no tuples and no integer keys.
        return self.read(path, description)

    def path(self, kind: str, description: dict[str, Any]) -> Path:
        """Where a result is, or will be."""
        return self.folder / kind / f"{digest(description)}.json"

    def read(self, path: Path, description: dict[str, Any] | None = None) -> Any:
        """A stored result; `description`, where given, must be the one it was computed from."""
        return self.read_record(path, description)["result"]

    def read_record(self, path: Path, description: dict[str, Any] | None = None) -> dict[str, Any]:
        """A stored result with its ``description`` and the ``seconds`` it took."""
        try:
            stored = json.loads(path.read_text(encoding="utf-8"))
            body, checksum = stored["body"], stored["sha256"]
        except (ValueError, KeyError, TypeError) as error:
            raise CheckpointError(f"{path} is no stored result ({error}); delete it to compute it again.") from error
        if stored.get("format") != _FORMAT:
            raise CheckpointError(
                f"{path} has format {stored.get('format')!r}, this version reads {_FORMAT}; "
                f"delete it to compute it again."
            )
        if _checksum(body) != checksum:
            raise CheckpointError(f"{path} is damaged, its checksum differs; delete it to compute it again.")
        if description is not None and body["description"] != json.loads(json.dumps(description)):
            raise CheckpointError(f"{path} was computed from something else; delete it to compute it again.")
        return body

    def _commit(self, path: Path, body: dict[str, Any]) -> None:
        body = json.loads(json.dumps(body))
        stored = {"format": _FORMAT, "ensemw2s": __version__, "sha256": _checksum(body), "body": body}
        commit_text(path, json.dumps(stored))


def _checksum(body: Any) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
