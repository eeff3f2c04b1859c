"""Learners from the files of `LearnerWriter`."""

from __future__ import annotations

import copy
import os
from typing import Any

from sklearn.base import BaseEstimator
from sklearn.utils import Bunch

from ensemw2s._validation import shorten
from ensemw2s.exceptions import CheckpointError
from ensemw2s.learners._buffers import changed_buffer, outline_of_buffers
from ensemw2s.learners._hf_learner import BASE_PARAMETERS, HFLearner
from ensemw2s.learners._loading import load_tokenizer
from ensemw2s.learners._peft_settings import build_peft_config
from ensemw2s.learners._placement import check_placement, device_here, set_attention
from ensemw2s.learners._saved_learner import SavedLearner
from ensemw2s.learners._saved_object import SavedObject
from ensemw2s.learners._saving import LOSSES
from ensemw2s.learners._state import (
    attention_of,
    compare_files,
    naming_model,
    read_scikit_learn,
    read_training,
    refuse_adapter,
)
from ensemw2s.learners.bigram import BigramLearner
from ensemw2s.storage import Registered, StoredFolder, decode, find_class

__all__ = ["LearnerReader"]


class LearnerReader:
    """Reads the learners of one ensemble.

    Parameters
    ----------
    stored : StoredFolder
        The ensemble's, verified.
    shared : dict
        From `LearnerWriter.shared`.
    base : str or dict of str to str, optional
        Folder or hub id to use in place of the base that was referred to; by the latter where there are several.
    """

    def __init__(
        self, stored: StoredFolder, shared: dict[str, Any], *, base: str | dict[str, str] | None = None
    ) -> None:
        self.stored = self._root = stored
        self._shared, self.other_base = shared, base
        check_placement()
        self._tokenizers: dict[int, Any] = {}
        self._checked: set[int] = set()

    def within(self, place: str, *, base: Any = None) -> LearnerReader:
        """A reader of a folder of this one that was written by `LearnerWriter.within`."""
        inner = copy.copy(self)
        inner.stored = self.stored.part(place) if self._has(place) else _nothing(self.stored, place)
        inner.other_base = self.other_base if base is None else base
        return inner

    def decode(self, encoded: Any) -> Any:
        """A value from the JSON of `LearnerWriter.encode`."""
        return decode(encoded, self._special)

    def member(self, record: dict[str, Any], name: str, *, kind: type | None = None) -> Any:
        """A fitted learner from its record and the folder `name`.

        Parameters
        ----------
        record : dict
            Of `LearnerWriter.member`.
        name : str
            The folder.
        kind : type, optional
            The learner's class, where it is known.
        """
        encoded = record["learner"]
        learner = self.estimator(encoded) if kind is None else self._learner(encoded["$learner"], kind)
        if not isinstance(learner, BaseEstimator | Registered):
            raise ValueError(f"{name} is no estimator")
        if not isinstance(learner, HFLearner | BigramLearner) or "$learner" not in encoded:
            return learner
        learner.tokenizer_ = self._tokenizer(record["tokenizer"])
        read_training(
            learner, record, self.stored, name,
            lambda member: self._check_base(member, encoded["$learner"]["base"]), self.decode,
        )  # fmt: skip
        return learner

    def estimator(self, encoded: Any) -> Any:
        """An estimator from the JSON of `LearnerWriter.estimator`."""
        return self.decode(encoded)

    def _special(self, tag: str, content: Any) -> Any:
        if tag == "$base":
            return self._base(content)["model"]
        if tag == "$learner":
            return self._learner(content, find_class(content["class"], SavedLearner))
        if tag == "$member":
            return self.member(content, content["place"])
        if tag == "$part":
            kind = find_class(content["class"], SavedObject)
            return kind._read_part(self.within(content["place"]), content)
        if tag == "$object":
            kind = find_class(content["class"], Registered)
            if issubclass(kind, SavedObject):
                raise ValueError(f"{content['class']} has files of its own")
            made = kind(**self._values(content["parameters"]))
            made._restore_state(self._values(content["state"]))
            return made
        if tag == "$loss":
            if content["class"] not in LOSSES:
                raise ValueError(f"{shorten(content['class'])} is none of {', '.join(LOSSES)}")
            return LOSSES[content["class"]](**decode(content["parameters"]))
        if tag == "$slice":
            return slice(*map(self.decode, content))
        if tag == "$bunch":
            return Bunch(**self._values(content))
        if tag == "$tokenizer":
            return self._tokenizer(content)
        if tag == "$peft":
            return build_peft_config(content)
        if tag == "$skops":
            return read_scikit_learn(self.stored, content)
        raise ValueError(f"{tag} is unknown")

    def _values(self, encoded: dict[str, Any]) -> dict[str, Any]:
        return {name: self.decode(value) for name, value in encoded.items()}

    def _learner(self, content: dict[str, Any], kind: Any) -> Any:
        parameters = self._values(content["parameters"])
        if not set(parameters).isdisjoint(BASE_PARAMETERS):
            raise ValueError(f"the base of {content['class']} is named twice")
        base = {} if content["base"] is None else self._base(content["base"])
        taken = set(kind._get_param_names())
        learner = kind(**parameters, **{name: value for name, value in base.items() if name in taken})
        for name, value in base.items():
            if name not in taken:  # a class that names its model itself; here it is where the files are
                setattr(learner, name, value)
        if isinstance(learner, HFLearner):
            learner.device = device_here(learner.device)
        return learner

    def _has(self, place: str) -> bool:
        return any(file.startswith(f"{place}/") for file in self.stored.files)

    def _base(self, number: int) -> dict[str, Any]:
        """The parameters that name a base."""
        record = self._shared["bases"][number]
        if record["included"]:
            refuse_adapter(self._root, record["included"])
            return {"model": str(self._root.folder(record["included"]))}
        other = self.other_base.get(record["model"]) if isinstance(self.other_base, dict) else self.other_base
        if other is not None:
            gguf_file = record["gguf_file"]
            return {"model": other, **({} if gguf_file is None else {"gguf_file": gguf_file})}
        if record["folder"] and not os.path.isdir(record["model"]):
            raise CheckpointError(
                f"{record['model']}, the folder of the base model, is missing. Pass base=, its new folder or a hub id; "
                f"or save with include_base=True."
            )
        return {name: record[name] for name in BASE_PARAMETERS if record[name] is not None}

    def _check_base(self, learner: HFLearner, number: int) -> None:
        if number in self._checked:
            return
        record = self._shared["bases"][number]
        with naming_model(learner.model):
            host = learner._host()
        if record["included"]:
            compare_files(self._root, record["included"], host.model.get_base_model())
        expected, found = record.get("sha256"), host.digest()
        if None not in (expected, found) and expected != found:
            raise CheckpointError(
                f"{learner.model} is not the base model that the members were trained on: its weights differ. Pass "
                f"base=, the folder or hub id of that model."
            )
        if "buffers" in record:
            changed = changed_buffer(record["buffers"], outline_of_buffers(host.model))
            if changed is not None:
                raise CheckpointError(
                    f"{learner.model} is not the base model that the members were trained on: its buffer "
                    f"{changed.removeprefix('.')} differs. Pass base=, the folder or hub id of that model."
                )
        base = host.model.get_base_model()
        before = attention_of(base)
        set_attention(base, record.get("attention"))
        if attention_of(base) != before:
            host.forget_prompts()  # equal up to rounding only
        self._checked.add(number)

    def _tokenizer(self, number: int) -> Any:
        if number not in self._tokenizers:
            folder = self._root.folder(self._shared["tokenizers"][number])
            try:
                self._tokenizers[number] = load_tokenizer(str(folder), None)
            except CheckpointError:
                raise
            except Exception as error:  # `tokenizers` raises nothing more specific
                raise CheckpointError(
                    f"{folder} holds no tokenizer that can be read ({error}). Save it again."
                ) from error
            compare_files(self._root, self._shared["tokenizers"][number], self._tokenizers[number])
        return self._tokenizers[number]


def _nothing(stored: StoredFolder, place: str) -> StoredFolder:
    """The folder of a part that has written no file."""
    if not isinstance(place, str):
        raise TypeError(f"{place!r} is no folder")
    return StoredFolder(stored.path / place, stored.kind, stored.digest, {}, stored.links_into)
