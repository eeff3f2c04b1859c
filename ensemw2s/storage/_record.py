"""Single files of JSON with a checksum: written as a whole or not at all, read once, compared, then used."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from ensemw2s._version import __version__
from ensemw2s.exceptions import CheckpointError
from ensemw2s.storage._commit import commit_text
from ensemw2s.storage._files import LARGEST_JSON, read_file
from ensemw2s.storage._json import checksum, dump_json, parse_json


def commit_record(path: str | os.PathLike[str], content: object, *, kind: str, version: int) -> None:
    """Write a value as JSON with a checksum, synchronised; an older file is replaced.

    Parameters
    ----------
    path : path
        The file.
    content : object
        As JSON.
    kind : str
        What the file holds; `check_record` asks for it.
    version : int
        Of its format.

    Raises
    ------
    OSError
        If the file cannot be written; it names the file, and an older one is left as it was.
    """
    body = {"kind": kind, "version": version, "ensemw2s": __version__, "content": content}
    commit_text(Path(path), dump_json({"body": body, "sha256": checksum(body)}))


def check_record(stored: Any, content: bytes, path: str | os.PathLike[str], *, kind: str, version: int) -> Any:
    """The value in a record, from what `read_json` gives.

    Raises
    ------
    CheckpointError
        If the file is damaged, or holds something else; it is named.
    """
    body = stored.get("body") if isinstance(stored, dict) else None
    if not isinstance(body, dict):
        raise CheckpointError(f"{path} is no file of a {kind}. Pass another, or make it again.")
    # Spelled as it is written: every bit counts.
    if stored.get("sha256") != checksum(body) or dump_json(stored).encode() != content:
        raise CheckpointError(f"{path} is damaged: its checksum differs. Copy it again, or make it again.")
    if body.get("kind") != kind:
        raise CheckpointError(f"{path} must hold a {kind}. Got {body.get('kind')!r} instead.")
    if body.get("version") != version:
        raise CheckpointError(
            f"{path} must have version {version}. Got {body.get('version')!r}, written by ensemw2s "
            f"{body.get('ensemw2s')!r}; read it with that version, or make it again."
        )
    return body.get("content")


def read_json(path: str | os.PathLike[str], links_into: Path | None = None) -> tuple[Any, bytes]:
    """The value of a JSON file, and the bytes that it was read from.

    Parameters
    ----------
    path : path
        The file.
    links_into : Path, optional
        It may be a link to a file in this folder; to any file if None, since who names a file may name a link to it.

    Raises
    ------
    CheckpointError
        If it is no plain file, too large, or no JSON; it is named.
    FileNotFoundError
        If there is no such file.
    """
    content = read_file(Path(path), LARGEST_JSON, links_into or Path(os.path.realpath(path)).parent)
    return parse_json(content, Path(path)), content
