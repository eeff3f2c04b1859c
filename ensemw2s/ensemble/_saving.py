"""Ensembles as folders of safetensors and JSON."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.utils.validation import check_is_fitted

from ensemw2s._validation import shorten
from ensemw2s.exceptions import CheckpointError
from ensemw2s.learners import LearnerReader, LearnerWriter, fitted_attributes, restore_attributes
from ensemw2s.mixing import normalized_votes
from ensemw2s.storage import StoredFolder, commit_folder, decode, encode, open_folder, write_arrays, write_json

__all__ = ["SavedEnsemble"]

_ENSEMBLE = "ensemble.json"
_WEIGHT = "token_weight.safetensors"
_ON_HUB = ["*.bpe", "*.jinja", "*.json", "*.model", "*.safetensors", "*.skops", "*.spm", "*.txt"]


class SavedEnsemble:
    """An ensemble that can be saved and loaded; it has the parameter ``estimator``, and ``estimators_`` when fitted."""

    estimators_: list[Any]
    token_weight_: np.ndarray

    def save_pretrained(self, save_directory: str | os.PathLike[str], *, include_base: bool = False) -> None:
        """Save the fitted ensemble as a folder of safetensors and JSON.

        A member with an adapter becomes a PEFT adapter, ``members/0`` and so on, that ``PeftModel.from_pretrained``
        opens; one whose weights are all trained a model folder of transformers. The base model is referred to by its
        id, or folder, and revision. ``manifest.json`` holds size and SHA-256 of every file.

        Parameters
        ----------
        save_directory : path
            New or empty folder. It appears when it is complete: a run that is killed leaves none.
        include_base : bool, default=False
            Write the base model too; needed where ``model`` is a function.

        Raises
        ------
        FileExistsError
            If the folder holds something.
        TypeError
            If a parameter cannot be written, such as a function as model, callbacks, or a random state that is no int.
        OSError
            If a file cannot be written.

        Examples
        --------
        >>> import tempfile
        >>> from ensemw2s import BigramLearner, FineTunedGenerator
        >>> generator = FineTunedGenerator(BigramLearner()).fit(["Sky?", "Grass?"], ["blue", "blue"])
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     generator.save_pretrained(f"{folder}/blue")
        ...     FineTunedGenerator.from_pretrained(f"{folder}/blue").predict(["Sea?"])
        array(['blue'], dtype=object)
        """
        check_is_fitted(self, "estimators_")
        with commit_folder(save_directory, kind=type(self).__name__) as folder:
            _write(self, folder, include_base)

    @classmethod
    def from_pretrained(
        cls, directory: str | os.PathLike[str], *, revision: str | None = None, base: str | None = None
    ) -> Any:
        """Load an ensemble of `save_pretrained`; it predicts and generates equal to the bit, and can be fitted again.

        Every file is verified before it is parsed, nothing is unpickled, and no code is loaded.

        Parameters
        ----------
        directory : path or str
            Folder; what is none is taken for the id of a repository of the Hugging Face hub.
        revision : str, optional
            Branch, tag or commit of the repository.
        base : str, optional
            Folder or hub id of the base model, where it is no longer where it was; its weights must be the same.

        Returns
        -------
        estimator
            Fitted.

        Raises
        ------
        CheckpointError
            If a file is missing, damaged, not listed, or was made by something else; it names the file.
        FileNotFoundError
            If there is no such folder, and the name is no hub id.
        """
        return _read(cls, _open(directory, revision, cls.__name__), base)


def _write(ensemble: Any, folder: Path, include_base: bool) -> None:
    writer = LearnerWriter(folder, include_base=include_base)
    members = [writer.member(member, f"members/{row}") for row, member in enumerate(ensemble.estimators_)]
    parameters = {
        name: writer.estimator(value, name) if name == "estimator" else encode(value, name)
        for name, value in ensemble.get_params(deep=False).items()
        if name not in ("checkpoint_dir", "on_locked")  # of this machine
    }
    fitted = fitted_attributes(ensemble, without=("estimators_", "token_weight_"))
    weight = getattr(ensemble, "token_weight_", None)
    if weight is not None:
        write_arrays(folder / _WEIGHT, {"token_weight": weight})
    write_json(
        folder / _ENSEMBLE,
        {
            "class": type(ensemble).__name__,
            "parameters": parameters,
            "fitted": {name: encode(value, name) for name, value in fitted.items()},
            "members": members,
            "has_token_weight": weight is not None,
            **writer.shared(),
        },
    )


def _open(directory: str | os.PathLike[str], revision: str | None, kind: str) -> StoredFolder:
    if os.path.isdir(directory):
        if revision is not None:
            raise ValueError(f"revision belongs to a hub id; it must be None for a folder. Got {revision!r} instead.")
        return open_folder(os.path.abspath(directory), kind=kind)
    name = os.fspath(directory)
    if not re.fullmatch(r"[\w-][\w.-]*(/[\w-][\w.-]*)?", name):
        raise FileNotFoundError(f"directory must be a folder or a hub id. Got {shorten(name)}, which is neither.")
    from huggingface_hub import snapshot_download

    folder = Path(snapshot_download(name, revision=revision, allow_patterns=_ON_HUB))
    # The cache keeps each file once, in "blobs", and links to it.
    return open_folder(folder, kind=kind, links_into=folder.parent.parent / "blobs")


def _read(cls: Any, stored: StoredFolder, base: str | None) -> Any:
    path = stored.file(_ENSEMBLE)
    content = stored.json(_ENSEMBLE)
    try:
        reader = LearnerReader(stored, content, base=base)
        parameters = {
            name: reader.estimator(value) if name == "estimator" else decode(value)
            for name, value in content["parameters"].items()
        }
        ensemble = cls(**parameters)
        restore_attributes(ensemble, {name: decode(value) for name, value in content["fitted"].items()})
        ensemble.estimators_ = [
            reader.member(record, f"members/{row}") for row, record in enumerate(content["members"])
        ]
        normalized_votes(ensemble.estimator_weights_, len(ensemble.estimators_))
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        raise CheckpointError(
            f"{path} is no {cls.__name__} that this version of ensemw2s can read ({error}). Save it again, with this "
            f"version."
        ) from error
    if content["has_token_weight"]:
        ensemble.token_weight_ = _token_weight(stored)
    return ensemble


def _token_weight(stored: StoredFolder) -> np.ndarray:
    weight = stored.arrays(_WEIGHT).get("token_weight")
    if weight is None or weight.ndim != 1:
        raise CheckpointError(f"{stored.path / _WEIGHT} must hold token_weight, one number a token. Save it again.")
    return weight
