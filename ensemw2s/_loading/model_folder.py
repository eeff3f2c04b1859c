"""Folders of models and tokenizers, looked through before transformers opens them."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

from ensemw2s._loading.gguf_header import check_gguf
from ensemw2s._validation import shorten
from ensemw2s.exceptions import CheckpointError
from ensemw2s.storage import StoredFolder, links_of, open_plain, parse_json, read_file, temporary_folder

_CONTENT = {".bpe", ".jinja", ".json", ".model", ".spm", ".tiktoken", ".txt", ".vocab"}
_WEIGHTS = {".gguf", ".safetensors"}
_LARGEST_COPY = 2**30  # bytes of weights
_LARGEST_CONFIG, _LARGEST_JSON = 16 * 2**20, 512 * 2**20  # bytes
_INDEX = ".safetensors.index.json"
_TEMPLATES = "additional_chat_templates"

# What transformers goes through one by one when it builds a model: more of them than tensors in the file is no model.
_COUNTS = re.compile(r"(^|_|num|n)(layers?|blocks?|depths?|experts?|stages?|levels?|codebooks?|adapters?)($|_)")
_MOST_PARTS = 1024
_LARGEST_OF = {"num_labels": 2**20, "max_position_embeddings": 2**26, "n_positions": 2**26, "vocab_size": 2**28}
_LARGEST_NUMBER = 10**40  # some have 10**30 for no limit


@dataclass(frozen=True)
class ModelFolder:
    """A private folder with copies of the files of another, and links to weights that are too large to be copied.

    Attributes
    ----------
    source : str
        The folder, or a hub id, which stays as it is.
    path : str
        What transformers is to open.
    hashes : dict of str to str
        SHA-256 of what was copied, by name.
    """

    source: str
    path: str
    hashes: dict[str, str] = field(default_factory=dict)

    def record_source(self, loaded: Any) -> Any:
        """Tell a model, configuration or tokenizer where it is from, and what was read; returns it."""
        if self.path != self.source:
            _replace_path(loaded, self.path, self.source)
            loaded._ensemw2s_files = self.hashes
        return loaded


def compare_files(stored: StoredFolder, name: str, loaded: object) -> None:
    """Compare the small files that a model or tokenizer was made of with those that were saved in a folder.

    Raises
    ------
    CheckpointError
        If one has been replaced since the folder was verified; its weights are compared as tensors.
    """
    found = getattr(loaded, "_ensemw2s_files", None)
    if isinstance(found, dict):
        stored.part(name).compare(found)


@contextmanager
def checked_folder(model: str, gguf_file: str | None = None, *, weights: bool = True) -> Iterator[ModelFolder]:
    """Lend what transformers is to open in place of a folder; a hub id stays one.

    What transformers parses is what was looked at: sizes and counts that no model has, and names that lead out of the
    folder, are refused before anything is built.

    Parameters
    ----------
    model : str
        Folder or hub id.
    gguf_file : str, optional
        Name of a file in it.
    weights : bool, default=True
        Whether weights will be read.

    Yields
    ------
    ModelFolder

    Raises
    ------
    CheckpointError
        Names the file.
    """
    if not os.path.isdir(model):
        yield ModelFolder(model, model)
        return
    # Copies, since a file could be replaced between the check and the reading. For a configuration or a tokenizer no
    # weights are copied: they become links.
    with temporary_folder("model") as place:
        hashes = _fill(Path(place), Path(os.path.abspath(model)), gguf_file, _LARGEST_COPY if weights else 0)
        with _errors_name(model, place):
            yield ModelFolder(model, place, hashes)


@contextmanager
def _errors_name(model: str, place: str) -> Iterator[None]:
    """Name the folder, and not the private one, in whatever transformers raises."""
    try:
        yield
    except CheckpointError:
        raise
    except OSError as error:
        message = str(error).replace(place, model)
        raise OSError(message if model in message else f"{model} cannot be read: {message}") from error
    except Exception as error:  # `tokenizers` raises nothing more specific
        raise CheckpointError(
            f"{model} holds no model or tokenizer that can be read ({str(error).replace(place, model)}). Copy or "
            f"download it again."
        ) from error


def refuse_adapter(folder: ModelFolder) -> None:
    """Raise a CheckpointError where an adapter lies beside a model: transformers would follow it to another model."""
    if "adapter_config.json" in folder.hashes:
        raise CheckpointError(
            f"{folder.source} holds an adapter beside a model, which would lead to another one. Pass the folder of a "
            f"model; HFCausalLM.from_peft reads adapters."
        )


def check_on_hub(model: str, revision: str | None, gguf_file: str | None) -> None:
    """Refuse a repository whose index of weights leads out of it, or whose GGUF file is none.

    Raises
    ------
    CheckpointError
        Names the file.
    """
    from transformers.utils import cached_file

    try:
        # This downloads one file. The weights that an index names are fetched later, when it has been checked.
        path = cached_file(model, gguf_file or "model" + _INDEX, revision=revision)
    except OSError:  # there is none, or what stands in the way of this stands in the way of the rest
        return
    found = Path(path)
    if gguf_file is not None:
        check_gguf(found, links_of(found.parent))
    else:
        _shards(parse_json(read_file(found, _LARGEST_JSON, links_of(found.parent)), found), found)


def _fill(place: Path, source: Path, gguf_file: str | None, largest_copy: int) -> dict[str, str]:
    links, hashes = links_of(source), {}
    weights = {entry.name for entry in os.scandir(source) if Path(entry.name).suffix in _WEIGHTS}
    names = sorted(entry.name for entry in os.scandir(source) if Path(entry.name).suffix in _CONTENT)
    if (source / _TEMPLATES).is_dir():
        names += sorted(f"{_TEMPLATES}/{entry.name}" for entry in os.scandir(source / _TEMPLATES))
    # Small files come first, since an index may name more weights; configurations are judged last, by the number of
    # tensors in the weights beside them.
    configurations = {}
    for name in names:
        path = source / name
        content = read_file(path, _LARGEST_CONFIG if name.endswith("config.json") else _LARGEST_JSON, links)
        hashes[name] = hashlib.sha256(content).hexdigest()
        # Other JSON, such as a vocabulary, is bounded by its size alone, and parsed by `tokenizers`.
        if name.endswith(("config.json", _INDEX)):
            parsed = parse_json(content, path, own=False)
            if name.endswith(_INDEX):
                weights.update(_shards(parsed, path))
            elif name == "tokenizer_config.json":
                content = _without_files(parsed, content, path)
            else:
                configurations[path] = parsed
        (place / name).parent.mkdir(exist_ok=True)
        (place / name).write_bytes(content)
    if gguf_file is not None:
        if os.path.isfile(gguf_file):  # where transformers looks first
            check_gguf(Path(gguf_file), Path(os.path.realpath(gguf_file)).parent)
        else:
            weights.add(_inside(gguf_file, source))
            check_gguf(source / gguf_file, links)
    root = source.resolve()
    for name in weights:
        # The folder of a file with weights. The file itself may be a link, into the cache of the hub, see `links_of`.
        if not (source / name).parent.resolve().is_relative_to(root):
            raise CheckpointError(f"{source / name} lies outside its folder, behind a link. Do not use it.")
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        _link(place / name, source / name, links, largest_copy)
    for path, configuration in configurations.items():
        _check_configuration(configuration, path, place)
    return hashes


def _shards(index: Any, path: Path) -> set[str]:
    """Names of the files that an index of weights points to."""
    names = index.get("weight_map") if isinstance(index, dict) else None
    if not isinstance(names, dict) or not names or not isinstance(index.get("metadata"), dict):
        raise CheckpointError(f"{path} is no index of weights: it has no weight_map, or no metadata.")
    return {_inside(name, path) for name in set(map(str, names.values()))}


def _inside(name: str, path: Path) -> str:
    parts = PurePosixPath(name).parts
    if not parts or ".." in parts or name.startswith("/") or "\\" in name or ":" in name or "\0" in name:
        raise CheckpointError(f"{path} points to {shorten(name)}, outside its folder. Do not use it.")
    return name


def _link(link: Path, path: Path, links_into: Path, largest_copy: int) -> None:
    """Let a name in the private folder stand for a file with weights, which is copied where it is not too large.

    transformers maps files into memory: if one is cut while it is read, the process ends.
    """
    try:
        with open_plain(path, None, links_into) as file:
            if os.fstat(file.fileno()).st_size <= largest_copy and _copy(file, link):
                return
    except FileNotFoundError as error:
        raise CheckpointError(f"{path} is missing. Copy or download the folder again.") from error
    try:
        link.symlink_to(path.resolve())
    except OSError:  # Windows keeps them to administrators
        shutil.copyfile(path, link)


def _copy(file: BinaryIO, copy: Path) -> bool:
    try:
        with open(copy, "wb") as written:
            shutil.copyfileobj(file, written, 2**20)
    except OSError:  # no room for temporary files
        copy.unlink(missing_ok=True)
        return False
    return True


def _without_files(settings: Any, content: bytes, path: Path) -> bytes:
    """A tokenizer's configuration, checked, without the paths of files, which are those of whoever has saved it."""
    longest = settings.get("model_max_length", 1) if isinstance(settings, dict) else ""
    if not isinstance(longest, int | float) or isinstance(longest, bool) or not longest >= 1:
        raise CheckpointError(f"{path} is no configuration of a tokenizer. Copy or download the folder again.")
    paths = [key for key, value in settings.items() if key.endswith("_file") and isinstance(value, str)]
    if not paths:
        return content
    return json.dumps({key: value for key, value in settings.items() if key not in paths}).encode()


def _check_configuration(configuration: object, path: Path, place: Path) -> None:
    if not isinstance(configuration, dict):
        raise CheckpointError(f"{path} is no configuration of a model. Copy or download the folder again.")
    named = configuration.get("transformers_weights")
    if named is not None:
        _inside(str(named), path)
    # A stack instead of recursion: JSON may nest deeper than Python recurses.
    waiting: list[dict[str, object] | list[object]] = [configuration]
    while waiting:
        entry = waiting.pop()
        for key, value in entry.items() if isinstance(entry, dict) else (("", value) for value in entry):
            if isinstance(value, dict | list):
                waiting.append(value)
            # An attention "organisation/name" is a kernel of the hub, which is code.
            if key.strip("_").startswith(("attn_impl", "experts_impl")) and "/" in str(value):
                raise CheckpointError(f"{path} asks for code to be run ({key!r}). Do not use it.")
            if not isinstance(value, int) or isinstance(value, bool):
                continue
            # num_hidden_layers costs ten bytes in the file and a module for each when the model is built: more than
            # _MOST_PARTS must be backed by as many tensors.
            limit = _LARGEST_OF.get(key, _LARGEST_NUMBER)
            is_count = _COUNTS.search(key) is not None and key.startswith("n")
            if is_count and value > _MOST_PARTS:
                limit = max(_MOST_PARTS, _n_tensors(place))
            if abs(value) > limit or (is_count and value < 0):
                raise CheckpointError(
                    f"{path} says {key} = {value:,}, which no model has whose weights are beside it. Do not use it."
                )


def _n_tensors(place: Path) -> int:
    """Number of tensors in the safetensors files of a folder, from their headers."""
    found = 0
    for path in place.rglob("*.safetensors"):
        with open(path, "rb") as file:
            start = file.read(8)
            # safetensors begins with the length of its header, then JSON with one "data_offsets" for each tensor:
            # counting the word takes no parser.
            size = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
            if size <= 10**8:
                found += file.read(size).count(b"data_offsets")
    return found


def _replace_path(loaded: object, before: str, after: str) -> None:
    """Replace the private folder in whatever an object says of itself."""
    for values in (vars(loaded), getattr(loaded, "init_kwargs", {})):
        for name, value in values.items():
            if isinstance(value, str) and value.startswith(before):
                values[name] = after + value[len(before) :]
    config = getattr(loaded, "config", None)
    if config is not None:
        _replace_path(config, before, after)
