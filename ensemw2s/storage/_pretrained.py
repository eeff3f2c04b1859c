"""Fitted estimators as folders and repositories."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ensemw2s._markdown import table_lines
from ensemw2s._validation.method_names import methods_of
from ensemw2s._version import __version__
from ensemw2s.exceptions import CheckpointError
from ensemw2s.storage._commit import commit_folder
from ensemw2s.storage._hub import model_card, open_pretrained, upload_folder
from ensemw2s.storage._json import MALFORMED, JsonObject
from ensemw2s.storage._manifest import StoredFolder, write_json
from ensemw2s.storage._placement import placed
from ensemw2s.storage._reader import Reader
from ensemw2s.storage._registry import Registered, UnknownClassError, class_name
from ensemw2s.storage._temporary import temporary_folder
from ensemw2s.storage._writer import Writer

if TYPE_CHECKING:
    import torch

# As in CITATION.cff, which is no part of the package.
_CITATION = """\
@article{agrawal2024ensemw2s,
  title = {EnsemW2S: Can an Ensemble of LLMs be Leveraged to Obtain a Stronger LLM?},
  author = {Agrawal, Aakriti and Ding, Mucong and Che, Zora and Deng, Chenghao and Satheesh, Anirudh
            and Langford, John and Huang, Furong},
  journal = {arXiv preprint arXiv:2410.04571},
  year = {2024},
}"""
_OF_THIS_MACHINE = ("checkpoint_dir", "on_locked")


@methods_of()
class Pretrained(Registered):
    """An estimator that is one JSON record and the files of its learners, by itself or as a part of another."""

    _stored_under = "$part"
    _record = "object.json"
    """Name of the file with the record."""
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
        base: object = None,
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

    def _write_part(self, writer: Writer) -> JsonObject:
        """Write the learners, and return all else as JSON; bases and tokenizers are the writer's."""
        # First what was trained: it has the bases that parameters refer to.
        state = writer.encode_all(self._saved_state())
        return {"parameters": writer.encode_all(self._kept_parameters()), "state": state}

    @classmethod
    def _read_part(cls, reader: Reader, content: JsonObject) -> Any:
        """The estimator from what `_write_part` returned."""
        return super()._decoded(reader, content)

    def _kept_parameters(self) -> JsonObject:
        """The constructor's parameters, but for those that speak of this machine."""
        parameters = self.get_params(deep=False) if hasattr(self, "get_params") else {}
        return {name: value for name, value in parameters.items() if name not in _OF_THIS_MACHINE}

    def _encoded(self, writer: Writer, name: str) -> JsonObject:
        return writer.part(self, writer.new_place(), name)

    @classmethod
    def _decoded(cls, reader: Reader, content: JsonObject) -> Any:
        return cls._read_part(reader.within(content["place"]), content)

    def _as_estimator(self, writer: Writer, name: str) -> JsonObject:
        return writer.part(self, name, name)

    def _as_member(self, writer: Writer, place: str) -> JsonObject:
        return {"learner": writer.part(self, place, place)}

    def _write_files(self, folder: Path, include_base: bool) -> list[JsonObject]:
        """Write all but the manifest, and return the records of the base models."""
        writer = Writer(folder, include_base=include_base)
        content = writer.content(self, type(self).__name__)
        shared = writer.shared()
        write_json(folder / self._record, {**content, **shared})
        return shared["bases"]

    @classmethod
    def _read_files(cls, stored: StoredFolder, base: Any) -> Any:
        """The fitted estimator from verified files."""
        path, content = stored.file(cls._record), stored.json(cls._record)
        try:
            named = content.get("class", cls.__name__)
            if not _is_called(cls, named):
                raise CheckpointError(
                    f"{path} holds a {named}, not a {class_name(cls)}. Open it with from_pretrained of that class."
                )
            return cls._read_part(Reader(stored, content, base=base), content)
        except UnknownClassError as error:
            raise CheckpointError(f"{path} cannot be read: {error}") from error
        except MALFORMED as error:
            raise CheckpointError(
                f"{path} is no {cls.__name__} that this version of ensemw2s can read ({error}). Save it again, with "
                f"this version."
            ) from error

    def _card_lines(self) -> Iterator[str]:
        """What a model card says of what was learned, as Markdown."""
        return iter(())

    def _card(self, repo_id: str, bases: list[JsonObject]) -> str:
        from sklearn.base import is_classifier

        kind = type(self).__name__
        whole = getattr(self, "student_", self)
        classifies = hasattr(whole, "__sklearn_tags__") and is_classifier(whole)
        opened = f"from {_module_of(type(self))} import {kind}\n\nmodel = {kind}.from_pretrained({repo_id!r})"
        text = [
            f"# {repo_id.rpartition('/')[2]}",
            f"A fitted `{kind}` of ensemw2s {__version__}: weak-to-strong generalization with boosted language models.",
            "```console\npip install ensemw2s\n```",
            f"```python\n{opened}\n```",
            "Every file is verified before it is read, and none holds code.",
            *self._card_lines(),
            *_settings(self.get_params(deep=True) if hasattr(self, "get_params") else {}),
        ]
        included = [base["included"] for base in bases if base.get("included")]
        if included:
            text.append(f"The base model is included, in `{'`, `'.join(sorted(included))}`.")
        text.append(f"## Citation\n\n```bibtex\n{_CITATION}\n```")
        task = "text-classification" if classifies else "text-generation"
        return model_card(kind, "\n\n".join(text) + "\n", task=task, bases=bases)


def _settings(parameters: JsonObject) -> Iterator[str]:
    """A table of numbers, switches and templates; other texts may be names of this machine's folders."""
    rows = [
        (f"`{name}`", f"`{value!r}`")
        for name, value in parameters.items()
        if isinstance(value, bool | int | float)
        or (name.rpartition("__")[2] == "prompt_template" and isinstance(value, str))
    ]
    if rows:
        yield "## Settings"
        yield "\n".join(table_lines(["parameter", "value"], rows))


def _module_of(kind: type) -> str:
    """Where a class is imported from."""
    root = kind.__module__.partition(".")[0]
    return root if root == "ensemw2s" else kind.__module__


def _is_called(kind: type, name: str) -> bool:
    """Whether a file means this class; one of a script is found again in the module that it has moved to."""
    if name in (class_name(kind), kind.__name__):  # without its module it was saved by an earlier version
        return True
    moved = "__main__." in (name[:9], class_name(kind)[:9])
    return moved and name.rpartition(".")[2] == kind.__name__
