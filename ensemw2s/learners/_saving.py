"""Fitted learners as files: what they share, the base and the tokenizer, is written once."""

from __future__ import annotations

import copy
import os
from collections.abc import Mapping
from itertools import count
from pathlib import Path
from typing import Any

from sklearn.base import BaseEstimator
from sklearn.utils import Bunch

from ensemw2s._tokenizer_digest import digest_tokenizer
from ensemw2s._validation import as_id, check_bool, dtype_name, shorten
from ensemw2s.learners._buffers import outline_of_buffers
from ensemw2s.learners._distributed import n_processes
from ensemw2s.learners._hf_learner import BASE_PARAMETERS, HFLearner
from ensemw2s.learners._loading import loading_bar
from ensemw2s.learners._peft_settings import encode_peft_config
from ensemw2s.learners._saved_object import SavedObject, part_content
from ensemw2s.learners._state import attention_of, forget_base, learner_tokenizer, write_scikit_learn, write_training
from ensemw2s.learners.bigram import BigramLearner
from ensemw2s.learners.losses import CrossEntropyLoss, LogConfLoss, ProductLoss
from ensemw2s.storage import Registered, class_name, encode, require_known, writing

__all__ = ["LOSSES", "LearnerWriter"]

LOSSES = {kind.__name__: kind for kind in (CrossEntropyLoss, LogConfLoss, ProductLoss)}

# What a base's weights depend on beside where they come from: those of a classifier are others than a language model's.
_READ_AS = ("dtype", "head")
# Settings of Trainer that name folders, accounts and reports of this machine.
_OF_THIS_MACHINE = {
    "output_dir", "logging_dir", "run_name", "project", "report_to", "hub_token", "push_to_hub_token", "hub_model_id",
    "trackio_space_id", "trackio_bucket_id", "trackio_static_space_id",
}  # fmt: skip


class LearnerWriter:
    """Writes the learners of one ensemble, or of all parts of a pipeline.

    Parameters
    ----------
    folder : Path
        Of the ensemble.
    include_base : bool
        Whether base models are written too.
    include_functions : bool, default=False
        Whether a base that a function returns is written all the same: no file can hold the function.
    owner : str, default=""
        What to put before the names of parameters in an error.

    Attributes
    ----------
    folder : Path
        Where the learners are written, of a part its own.
    """

    def __init__(self, folder: Path, *, include_base: bool, include_functions: bool = False, owner: str = "") -> None:
        if check_bool(include_base, "include_base") and n_processes() > 1:
            raise ValueError(
                "include_base must be False in a launch of several processes, of which one saves. Got True instead; "
                "save the ensemble once more with include_base=True in a process of its own."
            )
        self._include_base, self._include_functions, self._owner = include_base, include_functions, owner
        self._around: tuple[int, ...] = ()  # the objects that a value is held by
        self.folder = self._root = folder
        self._bases: list[tuple[tuple, dict[str, Any]]] = []  # what tells them apart, and their records
        self._tokenizers: list[tuple[Any, str]] = []  # with their folders
        self._numbers = count()  # of files that no parameter names

    def within(self, place: str, owner: str) -> LearnerWriter:
        """A writer into a folder of this one, which shares bases and tokenizers."""
        inner = copy.copy(self)
        inner.folder, inner._owner, inner._numbers = self.folder / place, f"{self._owner}{owner}.", count()
        inner.folder.mkdir(parents=True, exist_ok=True)
        return inner

    def shared(self) -> dict[str, Any]:
        """Records of bases and tokenizers, as JSON; to be asked for at the end."""
        return {"bases": [record for _, record in self._bases], "tokenizers": [name for _, name in self._tokenizers]}

    def encode(self, value: Any, name: str) -> Any:
        """Any value as JSON; estimators in it are written, with what they have learned.

        Raises
        ------
        TypeError
            If it cannot be written; names it.
        """
        return encode(value, f"{self._owner}{name}", self._special)

    def member(self, member: Any, name: str) -> dict[str, Any]:
        """Write a fitted learner into the folder `name`, and return its record."""
        if isinstance(member, HFLearner):
            return self._hf_member(member, name)
        if isinstance(member, BigramLearner):
            return {
                "learner": self.estimator(member, "estimator", fitted=True),
                "tokenizer": self._tokenizer(member.tokenizer_, None),
                **write_training(member, self.folder / name, name, self.encode),
            }
        if isinstance(member, SavedObject):
            return {"learner": self._part(member, name, name)}
        (self.folder / name).mkdir(parents=True)
        return {"learner": self.scikit_learn(member, name, f"{name}/estimator.skops")}

    def estimator(self, estimator: Any, name: str, *, fitted: bool = False) -> Any:
        """An estimator with its parameters, not fitted, as JSON.

        Parameters
        ----------
        estimator : str or estimator
            A model id, a learner, or another scikit-learn estimator, which becomes a file.
        name : str
            What to call it in an error.
        fitted : bool, default=False
            Whether it is a member, whose training is over: its callbacks are left out.
        """
        estimator = as_id(estimator)
        if isinstance(estimator, str):
            return {"$base": self._base((estimator, None, None), f"{self._owner}{name}")}
        if isinstance(estimator, SavedObject) and not isinstance(estimator, HFLearner | BigramLearner):
            return self._part(estimator, name, name)
        if not isinstance(estimator, HFLearner | BigramLearner):
            return self.scikit_learn(estimator, name, "estimator.skops")
        require_known(estimator, f"{self._owner}{name}")
        parameters, base = estimator.get_params(deep=False), None
        if isinstance(estimator, HFLearner):
            base = self._base(_key(estimator), f"{self._owner}{name}.model")
            parameters = {key: value for key, value in parameters.items() if key not in BASE_PARAMETERS}
            if not fitted:
                self.refuse_callbacks(estimator, name)
            parameters |= {key: () for key in ("callbacks",) if key in parameters}
        if isinstance(parameters.get("training_args"), Mapping):
            kept = {key: value for key, value in parameters["training_args"].items() if key not in _OF_THIS_MACHINE}
            parameters["training_args"] = kept or None
        if "dtype" in parameters:
            parameters["dtype"] = dtype_name(parameters["dtype"])
        if isinstance(as_id(parameters.get("tokenizer")), str) and os.path.isdir(parameters["tokenizer"]):
            parameters["tokenizer"] = learner_tokenizer(estimator)  # written along: the folder is of this machine
        encoded = {key: self.encode(value, f"{name}.{key}") for key, value in parameters.items()}
        return {"$learner": {"class": class_name(type(estimator)), "base": base, "parameters": encoded}}

    def scikit_learn(self, estimator: Any, name: str, file: str) -> Any:
        """Write an estimator of scikit-learn into a file, and return what refers to it."""
        write_scikit_learn(estimator, self.folder / file, f"{self._owner}{name}".rstrip("."))
        return {"$skops": file}

    def refuse_callbacks(self, learner: Any, name: str) -> None:
        """Raise a TypeError where a learner that is to be trained again has callbacks."""
        if len(getattr(learner, "callbacks", ())) == 0:
            return
        whose = f"{self._owner}{name}".strip(".")
        path, call = (f"{whose}.callbacks", f"{whose}.set_params") if whose else ("callbacks", "set_params")
        raise TypeError(
            f"{path} cannot be saved. Got {shorten(learner.callbacks)}; only a further fit needs them. Call "
            f"{call}(callbacks=()), save, and pass them again after loading."
        )

    def _hf_member(self, member: HFLearner, name: str) -> dict[str, Any]:
        base = self._base_of_member(member)
        given = member.tokenizer is None and self._bases[base][1]["included"]
        tokenizer = self._tokenizer(member.tokenizer_, given or None)
        record = write_training(member, self.folder / name, name, self.encode)
        if self._bases[base][1]["included"] and record["weights"] == "adapter":
            forget_base(self.folder / name)
        return {"learner": self.estimator(member, "estimator", fitted=True), "tokenizer": tokenizer, **record}

    def _base(self, key: tuple, name: str) -> int:
        """Number of a base; one that no member has is referred to."""
        number = self._known_base(key)
        if number is not None:
            return number
        model, revision, gguf_file = key[: len(BASE_PARAMETERS)]
        if not isinstance(model, str):
            raise TypeError(
                f"{name} cannot be saved. Got {shorten(model)}, a function; pass include_base=True, which writes the "
                f"model it returns (the members have to come from it), or fit with a hub id or folder as model."
            )
        is_folder = os.path.isdir(model)
        record = {
            "model": os.path.abspath(model) if is_folder else model, "folder": is_folder,
            "revision": revision, "gguf_file": gguf_file, "included": None,
        }  # fmt: skip
        self._bases.append((key, record))
        return len(self._bases) - 1

    def _known_base(self, key: tuple) -> int | None:
        """Number of a base that was written or referred to; a model id alone stands for how the members read it."""
        for number, (known, _) in enumerate(self._bases):
            if known[: len(key)] == key:
                return number
        return None

    def _base_of_member(self, member: HFLearner) -> int:
        """Number of a member's base, which is looked at, and written if it is to be."""
        key = _key(member)
        number = self._known_base(key)
        includes = self._include_base or (self._include_functions and callable(member.model))
        if number is not None and (self._bases[number][1]["included"] or not includes):
            return number
        if includes:
            n_included = sum(record["included"] is not None for _, record in self._bases)
            folder = f"base_{n_included}" if n_included else "base"
            self._write_base(member, self._root / folder)
            record: dict[str, Any] = {"model": None, "included": folder}
            if number is None:
                self._bases.append((key, record))
                number = len(self._bases) - 1
            else:  # a parameter has named it before
                self._bases[number] = (key, record)
        else:
            number = self._base(key, f"{self._owner}estimator.model")
            record = self._bases[number][1]
        if member.peft_config is not None:
            host = member._host()
            model = host.model.get_base_model()
            record["sha256"], record["attention"] = host.digest(), attention_of(model)
            record["buffers"] = outline_of_buffers(model)
        else:
            model = member.model_
        if record.get("folder") is False:
            # The commit that a branch pointed to: it may point to another one by the time of loading.
            record["revision"] = getattr(getattr(model, "config", None), "_commit_hash", None) or record["revision"]
        return number

    def _write_base(self, member: HFLearner, path: Path) -> None:
        model, untrained = member._load_untrained()
        kept = None
        if untrained:  # so that they are drawn anew by the next fit, as from any checkpoint without them
            heads = tuple(f"{name}." for name in untrained)
            kept = {key: tensor for key, tensor in model.state_dict().items() if not key.startswith(heads)}
        with writing(path), loading_bar(member.verbose):
            model.save_pretrained(path, state_dict=kept)

    def _tokenizer(self, tokenizer: Any, folder: str | None) -> int:
        """Number of a tokenizer, written once, and into a base's folder where it is looked for there."""
        names = [name for _, name in self._tokenizers]
        if folder is not None and folder in names:
            return names.index(folder)
        for number, (known, _) in enumerate(self._tokenizers):
            if folder is None and (known is tokenizer or digest_tokenizer(known) == digest_tokenizer(tokenizer)):
                return number
        name = folder or (f"tokenizer_{len(self._tokenizers)}" if self._tokenizers else "tokenizer")
        with writing(self._root / name):
            tokenizer.save_pretrained(self._root / name)
        self._tokenizers.append((tokenizer, name))
        return len(self._tokenizers) - 1

    def _part(self, part: SavedObject, place: str, name: str) -> Any:
        inner = self.within(place, name)
        if id(part) in self._around:
            raise TypeError(f"{self._owner}{name} cannot be saved: a {type(part).__name__} holds itself. Leave it out.")
        inner._around = (*self._around, id(part))
        return {"$part": {"place": place, **part_content(part, inner, f"{self._owner}{name}")}}

    def _special(self, value: Any, name: str) -> Any:
        name = name.removeprefix(self._owner)
        if isinstance(value, type):
            return None
        if hasattr(value, "save_vocabulary") and hasattr(value, "eos_token_id"):
            return {"$tokenizer": self._tokenizer(value, None)}
        if type(value) in LOSSES.values():
            return {"$loss": {"class": type(value).__name__, "parameters": encode(value.get_params(), name)}}
        if hasattr(value, "peft_type"):
            return {"$peft": encode_peft_config(value, name)}
        if type(value) is slice:
            return {"$slice": [self.encode(entry, name) for entry in (value.start, value.stop, value.step)]}
        if type(value) is Bunch:  # what scikit-learn's juries call their members by
            return {"$bunch": {str(key): self.encode(entry, f"{name}[{key!r}]") for key, entry in value.items()}}
        if isinstance(value, HFLearner | BigramLearner):
            if not hasattr(value, "tokenizer_"):
                return self.estimator(value, name)
            place = f"objects/{next(self._numbers)}"
            return {"$member": {"place": place, **self.member(value, place)}}
        if isinstance(value, SavedObject):
            return self._part(value, f"objects/{next(self._numbers)}", name)
        if isinstance(value, Registered):
            return self._object(value, name)
        if isinstance(value, BaseEstimator):
            (self.folder / "objects").mkdir(exist_ok=True)
            return self.scikit_learn(value, name, f"objects/{next(self._numbers)}.skops")
        return None

    def _object(self, value: Any, name: str) -> Any:
        require_known(value, f"{self._owner}{name}")
        parameters, state = value.get_params(deep=False), value._saved_state()
        return {
            "$object": {
                "class": class_name(type(value)),
                "parameters": {key: self.encode(entry, f"{name}.{key}") for key, entry in parameters.items()},
                "state": {key: self.encode(entry, f"{name}.{key}") for key, entry in state.items()},
            }
        }


def _key(learner: HFLearner) -> tuple:
    """What tells a learner's base from others."""
    place = tuple(as_id(getattr(learner, name, None)) for name in BASE_PARAMETERS)
    kind = next(base.__name__ for base in type(learner).__mro__ if base.__module__.startswith("ensemw2s."))
    return (*place, kind, *(repr(dtype_name(getattr(learner, name, None))) for name in _READ_AS))
