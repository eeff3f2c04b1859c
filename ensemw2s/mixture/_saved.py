"""Mixtures as folders: those of a fitted ensemble are its folder, others have one of the same form."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ensemw2s.exceptions import CheckpointError
from ensemw2s.learners import LearnerReader, LearnerWriter
from ensemw2s.storage import Pretrained, StoredFolder, decode, encode, open_pretrained, placed, write_json

if TYPE_CHECKING:
    import torch

__all__ = ["SavedMixture"]

_ENSEMBLE = "ensemble.json"


class SavedMixture(Pretrained):
    """A model of members that can be saved and loaded; subclasses have ``members``, ``votes`` and ``from_members``."""

    members: Sequence[Any]
    config: Any
    generation_config: Any
    _votes_given: list[float]
    _backend_asked_for: str
    _ensemble: Pretrained | None = None  # of which it is the mixture

    def save_pretrained(self, save_directory: str | os.PathLike[str], *, include_base: bool = False) -> None:
        """Save the mixture as a folder of safetensors and JSON.

        ``booster.mixture_`` is saved as the booster, which the booster's `from_pretrained` reads back, too. What was
        set in ``generation_config`` is in the folders of other mixtures only; a warning says so.

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
            self._warn_of_settings()
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
            self._warn_of_settings()
            return self._ensemble.push_to_hub(repo_id, **settings)
        return super().push_to_hub(repo_id, **settings)

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
        device : str or torch.device, optional
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
                "generation_config": self._generation_settings(),
                **shared,
            },
        )
        return shared["bases"]

    def _generation_settings(self) -> dict[str, Any]:
        """What of ``generation_config`` was set since the mixture was made, as JSON."""
        made, now = (
            json.loads(each.to_json_string(use_diff=False))
            for each in (type(self.generation_config).from_model_config(self.config), self.generation_config)
        )
        changed = {name: value for name, value in now.items() if value != made.get(name)}
        biases = self.generation_config.sequence_bias
        if isinstance(biases, dict):  # its keys are tuples; the other form that transformers takes
            changed["sequence_bias"] = [[list(tokens), bias] for tokens, bias in biases.items()]
        return changed

    def _take_settings(self, settings: dict[str, Any]) -> None:
        made = self.generation_config.to_dict()
        unknown = sorted(set(settings) - set(made))
        if unknown:
            raise ValueError(f"generation_config has no {', '.join(unknown)}")
        if settings:
            self.generation_config = type(self.generation_config).from_dict({**made, **settings})

    def _warn_of_settings(self) -> None:
        names = sorted(self._generation_settings())
        if names:
            kind = type(self._ensemble).__name__
            warnings.warn(
                f"The folder of a {kind} does not hold the generation_config of its mixture: {', '.join(names)} will "
                "be as before. Pass them to generate, or save MixtureForCausalLM.from_members(estimators_, "
                "estimator_weights_).",
                UserWarning,
                stacklevel=3,
            )

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
            mixture = cls.from_members(
                members,
                decode(content["fitted"]["estimator_weights_"]),
                combine=decode(parameters.get("combine", "probabilities")),
                backend=decode(parameters.get("backend", "auto")),
            )
            mixture._take_settings(content.get("generation_config", {}))
            return mixture
        except CheckpointError:
            raise
        except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
            raise CheckpointError(
                f"{path} holds no mixture that this version of ensemw2s can read ({error})."
            ) from error

    if TYPE_CHECKING:

        @classmethod
        def from_members(cls, members: Any, votes: Any, *, combine: str = ..., backend: str = ...) -> Any: ...
