"""Stored folders from and to the Hugging Face hub."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

from ensemw2s._validation import shorten
from ensemw2s._version import __version__
from ensemw2s.exceptions import CheckpointError
from ensemw2s.storage._files import links_of
from ensemw2s.storage._json import JsonObject
from ensemw2s.storage._manifest import MANIFEST, SUFFIXES, StoredFolder, list_files, open_folder


def open_pretrained(directory: str | os.PathLike[str], revision: str | None, kind: str | None) -> StoredFolder:
    """Verify a folder, or download a repository of the hub and verify that.

    Raises
    ------
    CheckpointError
        As `open_folder`.
    FileNotFoundError
        If there is no such folder, and the name is no hub id.
    """
    folder = download_folder(directory, revision, sorted(f"*{suffix}" for suffix in SUFFIXES))
    _refuse_part(folder)
    return open_folder(folder, kind=kind, links_into=links_of(folder))


def download_folder(directory: str | os.PathLike[str], revision: str | None, files: Sequence[str]) -> Path:
    """A folder of this machine, or a repository of the hub, of which files of these names are downloaded.

    Raises
    ------
    FileNotFoundError
        If there is no such folder, and the name is no hub id.
    """
    if os.path.isdir(directory):
        if revision is not None:
            raise ValueError(f"revision belongs to a hub id; it must be None for a folder. Got {revision!r} instead.")
        return Path(os.path.abspath(directory))
    name = os.fspath(directory)
    if not re.fullmatch(r"[\w-][\w.-]*(/[\w-][\w.-]*)?", name):
        raise FileNotFoundError(f"directory must be a folder or a hub id. Got {shorten(name)}, which is neither.")
    from huggingface_hub import snapshot_download

    return Path(snapshot_download(name, revision=revision, allow_patterns=list(files)))


def _refuse_part(folder: Path) -> None:
    """Raise a CheckpointError that names the whole where a folder is a part of a saved one."""
    if os.path.lexists(folder / MANIFEST):
        return
    for whole in folder.parents:
        if not os.path.isfile(whole / MANIFEST):
            continue
        (kind, files), place = list_files(whole), folder.relative_to(whole).as_posix()
        if any(name.startswith(f"{place}/") for name in files):
            parts = {name: f".{name}_" for name in ("weak", "student", "baseline", "oracle")}
            raise CheckpointError(
                f"{folder} is a part of the {kind} saved in {whole}, and cannot be opened by itself. Open the whole: "
                f"{kind}.from_pretrained({str(whole)!r}){parts.get(place, '')}."
            )
        return


def upload_folder(
    folder: Path, repo_id: str, *, private: bool | None, revision: str | None, token: str | None, message: str
) -> str:
    """Make the repository, where there is none, hold the files of a folder, and no other; return the commit's address.

    Parameters
    ----------
    folder : Path
        Of `commit_folder`, with a README.md.
    repo_id : str
        Such as "someone/ensemble".
    private, revision, token
        As in `huggingface_hub.HfApi`; a branch that does not exist is made.
    message : str
        Of the commit.
    """
    from huggingface_hub import HfApi

    api = HfApi(token=token, library_name="ensemw2s", library_version=__version__)
    name = api.create_repo(repo_id, private=private, exist_ok=True).repo_id
    if revision is not None:
        api.create_branch(name, branch=revision, exist_ok=True)
    # Files of an earlier, larger ensemble would be refused when this one is loaded.
    commit = api.upload_folder(
        repo_id=name, folder_path=folder, revision=revision, commit_message=message, delete_patterns=["*"]
    )
    return str(commit.commit_url)


def model_card(kind: str, text: str, *, task: str, bases: Sequence[JsonObject]) -> str:
    """README.md of a repository.

    Parameters
    ----------
    kind : str
        Class that opens it.
    text : str
        What it is, as Markdown.
    task : str
        "text-generation" or "text-classification".
    bases : sequence of dict
        Records of the base models.

    Raises
    ------
    ValueError
        If a base is a folder of this machine, where nobody else would find it.
    """
    from huggingface_hub import ModelCard, ModelCardData

    for base in bases:
        if base.get("folder"):
            raise ValueError(
                f"include_base must be True where the base model is a folder of this machine, {base['model']}, which a "
                f"repository cannot refer to. Or fit with the hub id of the model."
            )
    referred = sorted({base["model"] for base in bases if not base.get("included")})
    data = ModelCardData(
        library_name="ensemw2s", pipeline_tag=task, tags=["ensemw2s", "weak-to-strong", kind],
        base_model=referred or None,
    )  # fmt: skip
    return str(ModelCard(f"---\n{data.to_yaml()}\n---\n\n{text}"))
