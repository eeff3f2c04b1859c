"""The list of a folder's files with their sizes and hashes, checked before any of them is parsed."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ensemw2s._version import __version__
from ensemw2s.exceptions import CheckpointError
from ensemw2s.storage._files import AGAIN, LARGEST_JSON, hash_file, read_file, size_of
from ensemw2s.storage._json import JsonObject, checksum, dump_json, find_code, parse_json
from ensemw2s.storage._tensors import parse_arrays, parse_tensors

if TYPE_CHECKING:
    import numpy as np
    import torch

MANIFEST = "manifest.json"

_FORMAT = 1
_LARGEST_MANIFEST = 16 * 2**20  # bytes
# Not listed, and never read: what a repository of the hub has beside the ensemble.
_UNLISTED = {MANIFEST, "README.md", ".gitattributes"}
_UNLISTED_FOLDERS = {".cache", ".git"}
# JSON, safetensors, the text and sentencepiece files of tokenizers, chat templates (which transformers runs in a
# sandbox), and skops, whose types are checked. Pickles and Python files have no place here.
SUFFIXES = {".bpe", ".jinja", ".json", ".model", ".safetensors", ".skops", ".spm", ".txt"}
_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
_DEEPEST = 12  # ensembles may be parts of others


@dataclass(frozen=True)
class StoredFolder:
    """A folder whose files are those that were saved.

    A file may have been replaced since the folder was verified: what is parsed is what was read and compared again.

    Attributes
    ----------
    path : Path
    kind : str
        What it holds.
    digest : str
        SHA-256 of the manifest.
    entries : mapping of str to dict
        Size and SHA-256 of each file, by its name, relative to `path`, with "/" between folders.
    links_into : Path, optional
        Files may be links to files in this folder.
    """

    path: Path
    kind: str
    digest: str
    entries: Mapping[str, JsonObject] = field(repr=False)
    links_into: Path | None = None

    @property
    def files(self) -> frozenset[str]:
        """Names of the files."""
        return frozenset(self.entries)

    def file(self, name: str) -> Path:
        """Path of a listed file, to be named.

        Raises
        ------
        CheckpointError
            If no such file was saved.
        """
        if not isinstance(name, str) or name not in self.entries:
            raise CheckpointError(f"{self.path / str(name)} is missing, and {MANIFEST} does not list it. {AGAIN}")
        return self.path / name

    def folder(self, name: str) -> Path:
        """Path of a folder that holds a listed file."""
        if not isinstance(name, str) or not any(file.startswith(name + "/") for file in self.entries):
            raise CheckpointError(f"{self.path / str(name)} is missing, and {MANIFEST} lists nothing in it. {AGAIN}")
        return self.path / name

    def part(self, name: str) -> StoredFolder:
        """A folder in it, by itself."""
        start, folder = f"{name}/", self.folder(name)
        inside = {file.removeprefix(start): entry for file, entry in self.entries.items() if file.startswith(start)}
        return StoredFolder(folder, self.kind, self.digest, inside, self.links_into)

    def bytes(self, name: str) -> bytes:
        """Content of a file, as it was saved.

        Raises
        ------
        CheckpointError
            If it was not saved, or is another by now.
        """
        path, entry = self.file(name), self.entries[name]
        with _there(path):
            content = read_file(path, links_into=self.links_into)
        if len(content) != entry["size"] or hashlib.sha256(content).hexdigest() != entry["sha256"]:
            raise CheckpointError(f"{path} is damaged: its sha256 is not that of {MANIFEST}. {AGAIN}")
        return content

    def refuse_adapter(self, name: str) -> None:
        """Raise a CheckpointError where an adapter lies beside a model: transformers would follow it to another one."""
        if f"{name}/adapter_config.json" in self.entries:
            raise CheckpointError(f"{self.path / name} holds an adapter beside a model. Do not use it.")

    def compare(self, found: Mapping[str, str]) -> None:
        """Compare files that were read elsewhere with those that were saved, weights left aside.

        Parameters
        ----------
        found : mapping of str to str
            SHA-256 of each, by name.

        Raises
        ------
        CheckpointError
            If one is missing, was not saved, or is another.
        """
        listed = {name: entry["sha256"] for name, entry in self.entries.items() if not name.endswith(".safetensors")}
        for name in sorted({*listed, *found} - _UNLISTED):
            if listed.get(name) != found.get(name):
                raise CheckpointError(f"{self.path / name} is damaged: its sha256 is not that of {MANIFEST}. {AGAIN}")

    def json(self, name: str) -> Any:
        """Content of a JSON file."""
        path = self.file(name)
        if self.entries[name]["size"] > LARGEST_JSON:
            raise CheckpointError(f"{path} has more than the {LARGEST_JSON:,} bytes that are read. Do not use it.")
        return parse_json(self.bytes(name), path)

    def arrays(self, name: str) -> dict[str, np.ndarray]:
        """NumPy arrays of a safetensors file, by name."""
        return parse_arrays(self.bytes(name), self.file(name))

    def tensors(self, name: str) -> dict[str, torch.Tensor]:
        """torch tensors of a safetensors file, by name, on the CPU."""
        return parse_tensors(self.bytes(name), self.file(name))


def write_json(path: Path, value: object) -> None:
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
        fault = _fault_of_name(name)
        if fault:
            raise ValueError(f"{name} cannot be saved: its name {fault}.")
        key = _code_in(path)
        if key:
            raise ValueError(f"{name} cannot be saved: its {key!r} asks for code that is not part of transformers.")
        files[name] = {"size": path.stat().st_size, "sha256": hash_file(path)}
    body = {"format": _FORMAT, "kind": kind, "ensemw2s": __version__, "files": files}
    write_json(folder / MANIFEST, {"body": body, "sha256": checksum(body)})


def open_folder(path: str | os.PathLike[str], *, kind: str | None, links_into: Path | None = None) -> StoredFolder:
    """Verify a folder of `commit_folder`: its names, sizes and hashes, in this order.

    Parameters
    ----------
    path : path
        The folder.
    kind : str or None
        What it must hold; anything if None.
    links_into : Path, optional
        Files may be links to files in this folder, as in the cache of the hub. Links elsewhere are refused.

    Raises
    ------
    CheckpointError
        Names the file that is missing, damaged, not listed, a link or a device, or that asks for code.
    """
    folder = Path(path)
    manifest = folder / MANIFEST
    content = _read_manifest(manifest, links_into)
    body = _parse_body(content, manifest)
    if kind not in (None, body["kind"]):
        raise CheckpointError(f"{folder} holds a {body['kind']}, not a {kind}; open it with {body['kind']}.")
    files = body["files"]
    # Names first: none of them leads out of the folder. Then sizes: nothing is hashed that is larger than it says.
    for name in files:
        fault = _fault_of_name(name)
        if fault or name in _UNLISTED:
            raise CheckpointError(f"{manifest} lists {name!r}, which {fault or 'it must not list'}. Do not use it.")
    for name, entry in files.items():
        with _there(folder / name):
            size = size_of(folder / name, links_into)
        if size != entry["size"]:
            raise CheckpointError(
                f"{folder / name} is damaged: it has {size:,} bytes, not the {entry['size']:,} that {MANIFEST} says. "
                f"{AGAIN}"
            )
    for found in _files_in(folder):
        name = found.relative_to(folder).as_posix()
        if name not in files and name not in _UNLISTED:
            raise CheckpointError(f"{found} is not listed in {MANIFEST}. Delete the file if it is yours. {AGAIN}")
    stored = StoredFolder(folder, body["kind"], hashlib.sha256(content).hexdigest(), files, links_into)
    for name in files:
        _verify(stored, name)
    return stored


def _verify(stored: StoredFolder, name: str) -> None:
    """Compare a file's hash, and refuse a configuration that asks for code."""
    path = stored.path / name
    if _is_configuration(path):
        if stored.entries[name]["size"] > _LARGEST_MANIFEST:
            raise CheckpointError(f"{path} has more than the {_LARGEST_MANIFEST:,} bytes that are read. Do not use it.")
        key = find_code(parse_json(stored.bytes(name), path, own=False))
        if key:
            raise CheckpointError(f"{path} asks for code to be run ({key!r}). Do not use it.")
        return
    with _there(path):
        digest = hash_file(path, stored.links_into)
    if digest != stored.entries[name]["sha256"]:
        raise CheckpointError(f"{path} is damaged: its sha256 is not that of {MANIFEST}. {AGAIN}")


def list_files(folder: Path) -> tuple[str, set[str]]:
    """What the manifest of a folder says that it holds, and the names of its files; they are not looked at.

    Raises
    ------
    CheckpointError
        If the manifest is damaged.
    """
    body = _parse_body(_read_manifest(folder / MANIFEST, None), folder / MANIFEST)
    return body["kind"], set(body["files"])


@contextmanager
def _there(path: Path) -> Iterator[None]:
    """Say that a file is missing which a folder must have."""
    try:
        yield
    except FileNotFoundError as error:
        raise CheckpointError(f"{path} is missing. {AGAIN}") from error


def _read_manifest(manifest: Path, links_into: Path | None) -> bytes:
    with _there(manifest):
        return read_file(manifest, _LARGEST_MANIFEST, links_into)


def _parse_body(content: bytes, manifest: Path) -> JsonObject:
    stored = parse_json(content, manifest)
    body = stored.get("body") if isinstance(stored, dict) else None
    if not isinstance(body, dict) or stored.get("sha256") != checksum(body) or dump_json(stored).encode() != content:
        raise CheckpointError(f"{manifest} is damaged: its checksum differs. {AGAIN}")
    if body.get("format") != _FORMAT:
        raise CheckpointError(
            f"{manifest} has format {body.get('format')!r}; this version of ensemw2s reads {_FORMAT}. It was written "
            f"by version {body.get('ensemw2s')!r}; read it with that version, or save it again with this one."
        )
    files = body.get("files")
    if not isinstance(body.get("kind"), str) or not isinstance(files, dict) or not all(map(_is_entry, files.values())):
        raise CheckpointError(f"{manifest} is no list of files with sizes and hashes. Do not use it.")
    return body


def _is_entry(entry: object) -> bool:
    return (
        isinstance(entry, dict)
        and set(entry) == {"size", "sha256"}
        and type(entry["size"]) is int
        and entry["size"] >= 0
        and isinstance(entry["sha256"], str)
        and re.fullmatch("[0-9a-f]{64}", entry["sha256"]) is not None
    )


def _files_in(folder: Path) -> Iterator[Path]:
    for place, folders, names in os.walk(folder):
        if Path(place) == folder:
            folders[:] = [name for name in folders if name not in _UNLISTED_FOLDERS]
        for name in folders:
            if os.path.islink(os.path.join(place, name)):
                raise CheckpointError(f"{os.path.join(place, name)} is a link; only plain folders are read. {AGAIN}")
        for name in sorted(names):
            yield Path(place, name)


def _fault_of_name(name: object) -> str:
    """What is wrong with the name of a listed file, relative to its folder; "" if nothing is."""
    if not isinstance(name, str):
        return "is no text"
    parts = name.split("/")
    if len(parts) > _DEEPEST or len(name) > 255 or not all(_PART.fullmatch(part) for part in parts) or ".." in name:
        return "does not name a file inside the folder"
    if "." + parts[-1].rpartition(".")[2] not in SUFFIXES:
        return f"is of no kind that is read; only {', '.join(sorted(SUFFIXES))} are"
    return ""


def _is_configuration(path: Path) -> bool:
    return path.name.endswith("config.json")


def _code_in(path: Path) -> str:
    """What in a configuration asks for code that is not part of transformers; "" if nothing does."""
    return find_code(parse_json(read_file(path, _LARGEST_MANIFEST), path, own=False)) if _is_configuration(path) else ""
