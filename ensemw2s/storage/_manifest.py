"""The list of a folder's files with their sizes and hashes, checked before any of them is parsed."""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ensemw2s._version import __version__
from ensemw2s.exceptions import CheckpointError
from ensemw2s.storage._json import checksum, dump_json, find_code, parse_json, read_text
from ensemw2s.storage._names import complaint_about_name

__all__ = ["MANIFEST", "StoredFolder", "open_folder", "write_json", "write_manifest"]

MANIFEST = "manifest.json"

_FORMAT = 1
_LARGEST_MANIFEST = 16 * 2**20  # bytes
_LARGEST_JSON = 512 * 2**20
# Not listed, and never read: what a repository of the hub has beside the ensemble.
_UNLISTED = {MANIFEST, "README.md", ".gitattributes"}
_UNLISTED_FOLDERS = {".cache", ".git"}
_AGAIN = "Copy or download the folder again, or save it again."


@dataclass(frozen=True)
class StoredFolder:
    """A folder whose files are those that were saved.

    Attributes
    ----------
    path : Path
    kind : str
        What it holds.
    files : frozenset of str
        Names of the files, relative to `path`, with "/" between folders.
    """

    path: Path
    kind: str
    files: frozenset[str]

    def file(self, name: str) -> Path:
        """Path of a listed file.

        Raises
        ------
        CheckpointError
            If no such file was saved.
        """
        if name not in self.files:
            raise CheckpointError(f"{self.path / name} is missing, and {MANIFEST} does not list it. {_AGAIN}")
        return self.path / name

    def folder(self, name: str) -> Path:
        """Path of a folder that holds a listed file."""
        if not any(file.startswith(name + "/") for file in self.files):
            raise CheckpointError(f"{self.path / name} is missing, and {MANIFEST} lists nothing in it. {_AGAIN}")
        return self.path / name

    def part(self, name: str) -> StoredFolder:
        """A folder in it, by itself."""
        start = f"{name}/"
        inside = {file.removeprefix(start) for file in self.files if file.startswith(start)}
        return StoredFolder(self.folder(name), self.kind, frozenset(inside))

    def json(self, name: str) -> Any:
        """Content of a JSON file."""
        path = self.file(name)
        return parse_json(read_text(path, _LARGEST_JSON), path)

    def arrays(self, name: str) -> dict[str, Any]:
        """NumPy arrays of a safetensors file, by name."""
        from ensemw2s.storage._tensors import read_arrays

        return read_arrays(self.file(name))

    def tensors(self, name: str) -> dict[str, Any]:
        """torch tensors of a safetensors file, by name, on the CPU."""
        from ensemw2s.storage._tensors import read_tensors

        return read_tensors(self.file(name))


def write_json(path: Path, value: Any) -> None:
    """Write a value of `encode` as a JSON file."""
    path.write_text(dump_json(value), encoding="utf-8")


def write_manifest(folder: Path, *, kind: str) -> None:
    """List all files of a folder, with sizes and hashes.

    Raises
    ------
    ValueError
        If a file could not be opened again, because of its name or because it asks for code.
    """
    files = {}
    for path in _files_in(folder):
        name = path.relative_to(folder).as_posix()
        if name in _UNLISTED:
            continue
        complaint = complaint_about_name(name)
        if complaint:
            raise ValueError(f"{name} cannot be saved: its name {complaint}.")
        key = _code_in(path)
        if key:
            raise ValueError(f"{name} cannot be saved: its {key!r} asks for code that is not part of transformers.")
        files[name] = {"size": path.stat().st_size, "sha256": _sha256(path)}
    body = {"format": _FORMAT, "kind": kind, "ensemw2s": __version__, "files": files}
    write_json(folder / MANIFEST, {"body": body, "sha256": checksum(body)})


def open_folder(path: str | os.PathLike[str], *, kind: str, links_into: Path | None = None) -> StoredFolder:
    """Verify a folder of `commit_folder`: its names, sizes and hashes, in this order.

    Parameters
    ----------
    path : path
        The folder.
    kind : str
        What it must hold.
    links_into : Path, optional
        Files may be links to files in this folder, as in the cache of the hub. Links elsewhere are refused.

    Raises
    ------
    CheckpointError
        Names the file that is missing, damaged, not listed, a link or a device, or that asks for code.
    """
    folder = Path(path)
    manifest = folder / MANIFEST
    _check_regular(manifest, links_into)
    body = _read_body(manifest)
    if body["kind"] != kind:
        raise CheckpointError(f"{folder} holds a {body['kind']}, not a {kind}; open it with {body['kind']}.")
    files = body["files"]
    for name in files:
        complaint = complaint_about_name(name)
        if complaint or name in _UNLISTED:
            raise CheckpointError(f"{manifest} lists {name!r}, which {complaint or 'it must not list'}. Do not use it.")
    for name, entry in files.items():
        size = _check_regular(folder / name, links_into)
        if size != entry["size"]:
            raise CheckpointError(
                f"{folder / name} is damaged: it has {size:,} bytes, not the {entry['size']:,} that {MANIFEST} says. "
                f"{_AGAIN}"
            )
    for found in _files_in(folder):
        name = found.relative_to(folder).as_posix()
        if name not in files and name not in _UNLISTED:
            raise CheckpointError(f"{found} is not listed in {MANIFEST}. Delete the file if it is yours. {_AGAIN}")
    for name, entry in files.items():
        if _sha256(folder / name) != entry["sha256"]:
            raise CheckpointError(f"{folder / name} is damaged: its sha256 is not that of {MANIFEST}. {_AGAIN}")
        key = _code_in(folder / name)
        if key:
            raise CheckpointError(f"{folder / name} asks for code to be run ({key!r}). Do not use it.")
    return StoredFolder(folder, kind, frozenset(files))


def _read_body(manifest: Path) -> dict[str, Any]:
    text = read_text(manifest, _LARGEST_MANIFEST)
    stored = parse_json(text, manifest)
    body = stored.get("body") if isinstance(stored, dict) else None
    if not isinstance(body, dict) or stored.get("sha256") != checksum(body) or dump_json(stored) != text:
        raise CheckpointError(f"{manifest} is damaged: its checksum differs. {_AGAIN}")
    if body.get("format") != _FORMAT:
        raise CheckpointError(
            f"{manifest} has format {body.get('format')!r}; this version of ensemw2s reads {_FORMAT}. It was written "
            f"by version {body.get('ensemw2s')!r}; read it with that version, or save it again with this one."
        )
    files = body.get("files")
    if not isinstance(body.get("kind"), str) or not isinstance(files, dict) or not all(map(_is_entry, files.values())):
        raise CheckpointError(f"{manifest} is no list of files with sizes and hashes. Do not use it.")
    return body


def _is_entry(entry: Any) -> bool:
    return (
        isinstance(entry, dict)
        and set(entry) == {"size", "sha256"}
        and type(entry["size"]) is int
        and entry["size"] >= 0
        and isinstance(entry["sha256"], str)
        and re.fullmatch("[0-9a-f]{64}", entry["sha256"]) is not None
    )


def _check_regular(path: Path, links_into: Path | None) -> int:
    """Size of a file that is a file; the name is that of a link at most where links are allowed."""
    try:
        if path.is_symlink():
            target = path.resolve()
            if links_into is None or not target.is_relative_to(links_into.resolve()):
                raise CheckpointError(f"{path} is a link to {target}; only plain files are read. {_AGAIN}")
            status = target.stat()
        else:
            status = path.lstat()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise CheckpointError(f"{path} is missing. {_AGAIN}") from error
    except (OSError, RuntimeError) as error:  # RuntimeError: a link to itself, before Python 3.13
        raise CheckpointError(f"{path} cannot be read: {error}. {_AGAIN}") from error
    if not stat.S_ISREG(status.st_mode):
        raise CheckpointError(f"{path} is no plain file. {_AGAIN}")
    return status.st_size


def _files_in(folder: Path) -> Iterator[Path]:
    for place, folders, names in os.walk(folder):
        if Path(place) == folder:
            folders[:] = [name for name in folders if name not in _UNLISTED_FOLDERS]
        for name in folders:
            if os.path.islink(os.path.join(place, name)):
                raise CheckpointError(f"{os.path.join(place, name)} is a link; only plain folders are read. {_AGAIN}")
        for name in sorted(names):
            yield Path(place, name)


def _code_in(path: Path) -> str:
    """What in a configuration asks for code that is not part of transformers; "" if nothing does."""
    if not path.name.endswith("config.json"):
        return ""
    return find_code(parse_json(read_text(path, _LARGEST_MANIFEST), path))


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest()
