"""Mixtures as folders: those of a fitted ensemble are its folder, others have one of the same form."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ensemw2s.exceptions import CheckpointError
from ensemw2s.learners import LearnerReader, LearnerWriter
from ensemw2s.storage import Pretrained, StoredFolder, decode, encode, open_pretrained, placed, write_json

__all__ = ["SavedMixture"]

_ENSEMBLE = "ensemble.json"


class SavedMixture(Pretrained):
    """A model of members that can be saved and loaded; subclasses have ``members``, ``votes`` and ``from_members``."""

    members: Sequence[Any]
    config: Any
    _votes_given: list[float]
    _backend_asked_for: str
    _ensemble: Pretrained | None = None  # of which it is the mixture

    def save_pretrained(self, save_directory: str | os.PathLike[str], *, include_base: bool = False) -> None:
        """Save the mixture as a folder of safetensors and JSON.

        ``booster.mixture_`` is saved as the booster, which the booster's `from_pretrained` reads back, too.

        Parameters
        ----------
        save_directory : path
            New or empty folder. It appears when it is complete: a run that is killed leaves none.
        include_base : bool, default=False
            Write the base model too; needed where ``model`` of the members is a function.

        Raises
        ------
        FileExistsError
            If the folder holds something.
        TypeError
            If a parameter of a member cannot be written, such as a function as model.
        OSError
            If a file cannot be written.
        """
        if self._ensemble is not None:
            self._ensemble.save_pretrained(save_directory, include_base=include_base)
        else:
            super().save_pretrained(save_directory, include_base=include_base)

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
        settings: dict[str, Any] = {
            "private": private, "revision": revision, "token": token, "commit_message": commit_message,
            "include_base": include_base,
        }  # fmt: skip
        if self._ensemble is not None:
            return self._ensemble.push_to_hub(repo_id, **settings)
        return super().push_to_hub(repo_id, **settings)

    @classmethod
    def from_pretrained(
        cls,
        directory: str | os.PathLike[str],
        *,
        revision: str | None = None,
        base: Any = None,
        device: str | None = None,
        attn_implementation: str | None = None,
    ) -> Any:
        """Load a mixture, or the mixture of a saved `TokenAdaBoostGenerator` or `FineTunedGenerator`.

        Every file is verified before it is parsed, nothing is unpickled, and no code is loaded.

        Parameters
        ----------
        directory : path or str
            Folder; what is none is taken for the id of a repository of the Hugging Face hub.
        revision : str, optional
            Branch, tag or commit of the repository.
        base : str or dict, optional
            Folder or hub id of the base model, where it is no longer where it was; its weights must be the same. Of
            several bases a dict from where they were.
        device : str, optional
            Where to put models, such as "cpu". If None, where they were when saved, or, where this machine has no
            such device, the best that it has, which the log says once.
        attn_implementation : str, optional
            Attention of transformers, such as "sdpa"; in the same way that of the saved models if None.

        Returns
        -------
        MixtureForCausalLM

        Raises
        ------
        CheckpointError
            If a file is missing, damaged, not listed, or holds something else; it names the file.
        FileNotFoundError
            If there is no such folder, and the name is no hub id.
        ValueError
            If the device or the attention that was asked for cannot be had.
        """
        with placed(device, attn_implementation):
            return cls._read_files(open_pretrained(directory, revision, None), base)

    def _write_files(self, folder: Path, include_base: bool) -> list[dict[str, Any]]:
        writer = LearnerWriter(folder, include_base=include_base)
        members = [writer.member(member, f"members/{row}") for row, member in enumerate(self.members)]
        shared = writer.shared()
        write_json(
            folder / _ENSEMBLE,
            {
                "class": type(self).__name__,
                "parameters": {"combine": self.config.combine, "backend": self._backend_asked_for},
                "fitted": {"estimator_weights_": encode(self._votes_given, "votes")},
                "members": members,
                **shared,
            },
        )
        return shared["bases"]

    @classmethod
    def _read_files(cls, stored: StoredFolder, base: Any) -> Any:
        if _ENSEMBLE not in stored.entries:
            raise CheckpointError(f"{stored.path} holds a {stored.kind}, not an ensemble that writes answers.")
        path, content = stored.file(_ENSEMBLE), stored.json(_ENSEMBLE)
        try:
            reader = LearnerReader(stored, content, base=base)
            members = [reader.member(record, f"members/{row}") for row, record in enumerate(content["members"])]
            if not all(hasattr(member, "token_logits") for member in members):
                raise ValueError(f"it is a {stored.kind}, whose members write no answers")
            parameters = content["parameters"]
            return cls.from_members(
                members,
                decode(content["fitted"]["estimator_weights_"]),
                combine=decode(parameters.get("combine", "probabilities")),
                backend=decode(parameters.get("backend", "auto")),
            )
        except CheckpointError:
            raise
        except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
            raise CheckpointError(
                f"{path} holds no mixture that this version of ensemw2s can read ({error})."
            ) from error

    @classmethod
    def from_members(cls, members: Any, votes: Any, *, combine: str = "probabilities", backend: str = "auto") -> Any:
        """Join fitted learners."""
        raise NotImplementedError
