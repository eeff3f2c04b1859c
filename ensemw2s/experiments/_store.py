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

from ensemw2s._version import __version__
from ensemw2s.exceptions import CheckpointError
from ensemw2s.storage import MALFORMED, commit_text, digest, read_file, versions

OTHER_VERSIONS = (
    "What is still missing would be computed with these, and both be averaged. Install those versions to go on, pass "
    "another out_dir, or read what is finished with SweepResult.load."
)

logger = logging.getLogger("ensemw2s")

_FORMAT = 1
_LARGEST = 512 * 2**20  # bytes


class ResultStore:
    """A folder of JSON files, one for each result, named by kind and by the hash of what it was computed from.

    A file is written beside its place, synchronised and renamed, so it is there as a whole or not at all. A lock per
    result lets processes that need the same one wait for the first; the operating system releases it when a process
    dies. All processes, on whatever machine, must see the folder under the same path.

    Parameters
    ----------
    folder : path
        Created where it is missing.
    for_more : bool, default=True
        Whether what is read goes into results that are computed now, and must have been computed with the same versions
        of packages; what is only shown need not.
    """

    def __init__(self, folder: str | os.PathLike[str], *, for_more: bool = True) -> None:
        self.folder = Path(folder)
        self._for_more = for_more

    def get(self, kind: str, description: dict[str, object], compute: Callable[[], Any]) -> Any:
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
            If the stored result is damaged, or was computed with other versions of packages.
        """
        from filelock import FileLock

        path = self.path(kind, description)
        if path.exists():
            return self._read_kept(path, description)
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_suffix(".lock")):
            if path.exists():  # another process was first
                return self._read_kept(path, description)
            started, cpu = time.perf_counter(), time.process_time()
            result = compute()
            seconds = {"wall": time.perf_counter() - started, "cpu": time.process_time() - cpu}
            self._commit(path, {"description": description, "seconds": seconds, "result": result})
        logger.info("%s %s: %.0f s", kind, path.stem, seconds["wall"])
        # As the next reader will get it: JSON has no tuples and no integer keys.
        return self.read(path, description)

    def path(self, kind: str, description: dict[str, object]) -> Path:
        """Where a result is, or will be."""
        return self.folder / kind / f"{digest(description)}.json"

    def read(self, path: Path, description: dict[str, object] | None = None) -> Any:
        """A stored result; `description`, where given, must be the one it was computed from."""
        return self.read_record(path, description)["result"]

    def read_record(self, path: Path, description: dict[str, object] | None = None) -> dict[str, Any]:
        """A stored result with its ``description``, the ``seconds`` it took, and the ``versions`` that computed it.

        Files of early versions say no versions.

        Raises
        ------
        CheckpointError
            If the file is damaged, no plain file, has another's name, or holds something else.
        """
        content = read_file(path, _LARGEST)
        try:
            stored = json.loads(content.decode("utf-8"))
            if not isinstance(stored, dict) or set(stored) != {"format", "ensemw2s", "sha256", "body"}:
                raise ValueError("it has other entries than a result has")
            spelled, body = json.dumps(stored).encode(), stored["body"]
            whole = isinstance(body, dict) and {"description", "seconds", "result"} <= set(body)
        except MALFORMED as error:
            raise CheckpointError(f"{path} is no stored result ({error}); delete it to compute it again.") from error
        if stored["format"] != _FORMAT:
            raise CheckpointError(
                f"{path} has format {stored['format']!r}, this version reads {_FORMAT}; delete it to compute it again."
            )
        # Spelled as it was written: every bit counts, and no key is there twice.
        if not whole or spelled != content or _checksum(body) != stored["sha256"]:
            raise CheckpointError(f"{path} is damaged, its checksum differs; delete it to compute it again.")
        if body.get("versions", {}).get("ensemw2s", stored["ensemw2s"]) != stored["ensemw2s"]:
            raise CheckpointError(f"{path} is damaged, it says two versions; delete it to compute it again.")
        if description is not None and body["description"] != json.loads(json.dumps(description)):
            raise CheckpointError(f"{path} was computed from something else; delete it to compute it again.")
        if path.stem != digest(body["description"]):
            raise CheckpointError(
                f"{path} is a copy, or was renamed: its name is not that of what it was computed from, "
                f"{digest(body['description'])}.json. Give it that name, or delete it."
            )
        return body

    def _read_kept(self, path: Path, description: dict[str, object]) -> Any:
        body = self.read_record(path, description)
        if self._for_more and (difference := other_versions(body)):
            raise CheckpointError(f"{path} was computed with {difference}. {OTHER_VERSIONS}")
        return body["result"]

    def _commit(self, path: Path, body: dict[str, Any]) -> None:
        body = json.loads(json.dumps({**body, "versions": versions()}))
        stored = {"format": _FORMAT, "ensemw2s": __version__, "sha256": _checksum(body), "body": body}
        commit_text(path, json.dumps(stored))


def other_versions(body: dict[str, Any]) -> str:
    """How the packages that computed a result differ from those of this process; "" if they do not, or are unknown."""
    known, now = body.get("versions"), versions()
    if known is None:
        return ""
    changed = [name for name in sorted({*known, *now}) if known.get(name) != now.get(name)]
    return ", ".join(f"{name} {known.get(name, 'missing')} (now {now.get(name, 'missing')})" for name in changed)


def _checksum(body: object) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
