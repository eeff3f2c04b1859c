"""Fitted estimators as folders and repositories."""

from __future__ import annotations

import os
from abc import abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sklearn.base import is_classifier

from ensemw2s._version import __version__
from ensemw2s.storage._commit import commit_folder
from ensemw2s.storage._hub import model_card, open_pretrained, upload_folder
from ensemw2s.storage._manifest import StoredFolder
from ensemw2s.storage._placement import placed
from ensemw2s.storage._registry import Registered
from ensemw2s.storage._temporary import temporary_folder

if TYPE_CHECKING:
    import torch

__all__ = ["Pretrained"]


class Pretrained(Registered):
    """An estimator that can be saved and loaded."""

    _reads_any_kind = False
    """Whether `from_pretrained` opens what another class has saved."""

    def save_pretrained(self, save_directory: str | os.PathLike[str], *, include_base: bool = False) -> None:
        """Save the fitted estimator as a folder of safetensors and JSON.

        A model with an adapter becomes a folder that ``PeftModel.from_pretrained`` opens, ``members/0`` and so on of an
        ensemble, ``member`` of a learner; one whose weights are all trained a model folder of transformers. The base
        model is referred to by its id, or folder, and revision. ``manifest.json`` holds size and SHA-256 of every file.

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
            If something cannot be written, such as a function as model, callbacks, or an object of a class that says
            nothing of how it is stored; the message names a way out.
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
        whole = self._whole()
        if whole is not self:
            whole.save_pretrained(save_directory, include_base=include_base)
            return
        with commit_folder(save_directory, kind=type(self).__name__) as folder:
            self._write_files(folder, include_base)

    @classmethod
    def from_pretrained(
        cls,
        directory: str | os.PathLike[str],
        *,
        revision: str | None = None,
        base: Any = None,
        device: str | torch.device | None = None,
        attn_implementation: str | None = None,
    ) -> Any:
        """Load what `save_pretrained` saved; it predicts and generates equal to the bit, and can be fitted again.

        Every file is verified before it is parsed, nothing is unpickled, and no code is loaded.

        Parameters
        ----------
        directory : path or str
            Folder; what is none is taken for the id of a repository of the Hugging Face hub.
        revision : str, optional
            Branch, tag or commit of the repository.
        base : str or dict, optional
            Folder or hub id of the base model, where it is no longer where it was; its weights must be the same. Of
            several bases a dict from where they were; for a pipeline such a dict, or ``{"weak": ..., "student": ...}``.
        device : str or torch.device, optional
            Where to put models, such as "cpu". If None, where they were when saved, or, where this machine has no
            such device, the best that it has, which the log says once.
        attn_implementation : str, optional
            Attention of transformers, such as "sdpa"; in the same way that of the saved models if None.

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
        ValueError
            If the device or the attention that was asked for cannot be had.
        """
        with placed(device, attn_implementation):
            kind = None if cls._reads_any_kind else cls.__name__
            return cls._read_files(open_pretrained(directory, revision, kind), base)

    def push_to_hub(
        self,
        repo_id: str,
        *,
        private: bool | None = None,
        revision: str | None = None,
        token: str | None = None,
        commit_message: str | None = None,
        include_base: bool = False,
    ) -> str:
        """Upload what `save_pretrained` saves, and a model card, to a repository of the Hugging Face hub.

        Other files of the repository are removed in the same commit.

        Parameters
        ----------
        repo_id : str
            Such as "someone/ensemble"; made where it does not exist.
        private : bool, optional
            Whether a new repository is private; the account's setting if None.
        revision : str, optional
            Branch; made where it does not exist.
        token : str, optional
            That of ``hf auth login`` if None.
        commit_message : str, optional
            "Upload" and the class if None.
        include_base : bool, default=False
            Upload the base model too; needed where it is a function or a folder of this machine.

        Returns
        -------
        str
            Address of the commit.

        Raises
        ------
        ValueError
            If the base is a folder of this machine and not included.
        """
        whole = self._whole()
        if whole is not self:
            return whole.push_to_hub(
                repo_id, private=private, revision=revision, token=token, commit_message=commit_message,
                include_base=include_base,
            )  # fmt: skip
        with temporary_folder("upload") as place:
            folder = Path(place) / "upload"
            with commit_folder(folder, kind=type(self).__name__) as beside:
                bases = self._write_files(beside, include_base)
                (beside / "README.md").write_text(self._card(repo_id, bases), encoding="utf-8")
            return upload_folder(
                folder, repo_id, private=private, revision=revision, token=token,
                message=commit_message or f"Upload {type(self).__name__}",
            )  # fmt: skip

    def _whole(self) -> Pretrained:
        """What is saved in the place of an object that is a part of it."""
        return self

    @abstractmethod
    def _write_files(self, folder: Path, include_base: bool) -> list[dict[str, Any]]:
        """Write all but the manifest, and return the records of the base models."""

    @classmethod
    @abstractmethod
    def _read_files(cls, stored: StoredFolder, base: Any) -> Any:
        """The fitted estimator from verified files."""

    def _card_lines(self) -> Iterator[str]:
        """What a model card says of what was learned, as Markdown."""
        return iter(())

    def _card(self, repo_id: str, bases: list[dict[str, Any]]) -> str:
        kind = type(self).__name__
        whole = getattr(self, "student_", self)
        classifies = hasattr(whole, "__sklearn_tags__") and is_classifier(whole)
        opened = f"from {_module_of(type(self))} import {kind}\n\nmodel = {kind}.from_pretrained({repo_id!r})"
        text = [
            f"# {repo_id.rpartition('/')[2]}",
            f"A fitted `{kind}` of ensemw2s {__version__}: weak-to-strong generalization with boosted language models.",
            f"```python\n{opened}\n```",
            "Every file is verified before it is read, and none holds code.",
            *self._card_lines(),
        ]
        included = [base["included"] for base in bases if base.get("included")]
        if included:
            text.append(f"The base model is included, in `{'`, `'.join(sorted(included))}`.")
        task = "text-classification" if classifies else "text-generation"
        return model_card(kind, "\n\n".join(text) + "\n", task=task, bases=bases)


def _module_of(kind: type) -> str:
    """Where a class is imported from."""
    root = kind.__module__.partition(".")[0]
    return root if root == "ensemw2s" else kind.__module__
