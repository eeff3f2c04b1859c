"""Fitted objects as files: what they share, bases and tokenizers, is written once."""

from __future__ import annotations

import copy
import os
from collections.abc import Mapping
from itertools import count
from pathlib import Path
from typing import Any

from ensemw2s._launch.processes import n_processes
from ensemw2s._validation import as_id, check_bool, shorten
from ensemw2s.storage._codec import CODECS
from ensemw2s.storage._json import JsonObject
from ensemw2s.storage._registry import Registered, class_name, require_known
from ensemw2s.storage._skops import write_scikit_learn
from ensemw2s.storage._values import encode


class Writer:
    """Writes an object with all that it holds: the members of an ensemble, or all parts of a pipeline.

    Parameters
    ----------
    folder : Path
        Of the whole.
    include_base : bool
        Whether base models are written too.
    include_functions : bool, default=False
        Whether a base that a function returns is written all the same: no file can hold the function.
    owner : str, default=""
        What to put before the names of parameters in an error.

    Attributes
    ----------
    folder : Path
        Where files are written, of a part its own.
    root : Path
        The folder of the whole, which has the bases and tokenizers.
    bases : list of (tuple, dict)
        What tells the bases apart, and their records.
    tokenizers : list of (tokenizer, str)
        With their folders in the whole.
    """

    def __init__(self, folder: Path, *, include_base: bool, include_functions: bool = False, owner: str = "") -> None:
        if check_bool(include_base, "include_base") and n_processes() > 1:
            raise ValueError(
                "include_base must be False in a launch of several processes, of which one saves. Got True instead; "
                "save the ensemble once more with include_base=True in a process of its own."
            )
        self.include_base, self.include_functions, self.owner = include_base, include_functions, owner
        self._around: tuple[int, ...] = ()  # the objects that a value is held by
        self.folder = self.root = folder
        self.bases: list[tuple[tuple, JsonObject]] = []
        self.tokenizers: list[tuple[object, str]] = []
        self._numbers = count()  # of files that no parameter names

    def within(self, place: str, owner: str) -> Writer:
        """A writer into a folder of this one, which shares bases and tokenizers."""
        inner = copy.copy(self)
        inner.folder, inner.owner, inner._numbers = self.folder / place, f"{self.owner}{owner}.", count()
        inner.folder.mkdir(parents=True, exist_ok=True)
        return inner

    def shared(self) -> JsonObject:
        """Records of bases and tokenizers, as JSON; to be asked for at the end."""
        return {"bases": [record for _, record in self.bases], "tokenizers": [name for _, name in self.tokenizers]}

    def encode(self, value: object, name: str) -> Any:
        """Any value as JSON; estimators in it are written, with what they have learned.

        Raises
        ------
        TypeError
            If it cannot be written; names it.
        """
        return encode(value, f"{self.owner}{name}", self._special)

    def encode_all(self, values: Mapping[str, object], name: str = "") -> JsonObject:
        """Values by their names as JSON; `name` is that of the object that has them."""
        return {key: self.encode(value, f"{name}.{key}" if name else key) for key, value in values.items()}

    def member(self, member: object, place: str) -> JsonObject:
        """Write a fitted member of an ensemble into the folder `place`, and return its record."""
        if isinstance(member, Registered):
            return member._as_member(self, place)
        (self.folder / place).mkdir(parents=True)
        return {"learner": self.scikit_learn(member, place, f"{place}/estimator.skops")}

    def estimator(self, estimator: object, name: str) -> Any:
        """A model id, a learner that is not fitted, or another estimator, which becomes a file, as JSON."""
        estimator = as_id(estimator)
        if isinstance(estimator, str):
            return {"$base": self.base((estimator, None, None), f"{self.owner}{name}")}
        if isinstance(estimator, Registered):
            return estimator._as_estimator(self, name)
        return self.scikit_learn(estimator, name, "estimator.skops")

    def scikit_learn(self, estimator: object, name: str, file: str) -> Any:
        """Write an estimator of scikit-learn into a file, and return what refers to it."""
        write_scikit_learn(estimator, self.folder / file, f"{self.owner}{name}".rstrip("."))
        return {"$skops": file}

    def part(self, part: object, place: str, name: str) -> Any:
        """Write an object that has files of its own into the folder `place`, and return what refers to it."""
        inner = self.within(place, name)
        if id(part) in self._around:
            raise TypeError(f"{self.owner}{name} cannot be saved: a {type(part).__name__} holds itself. Leave it out.")
        inner._around = (*self._around, id(part))
        return {"$part": {"place": place, **inner.content(part, f"{self.owner}{name}")}}

    def content(self, part: Any, name: str) -> JsonObject:
        """Write the files of an object whose class can be found again, and return its record."""
        require_known(part, name)
        return {"class": class_name(type(part)), **part._write_part(self)}

    def new_place(self) -> str:
        """A folder for an object that no parameter names."""
        return f"objects/{next(self._numbers)}"

    def base(self, key: tuple, name: str) -> int:
        """Number of a base, known by `key`, which begins with its `BASE_PARAMETERS`; a new one is referred to."""
        # What has been written comes first: members and parameters then mean one base by one number.
        number = self.known_base(key)
        if number is not None:
            return number
        model, revision, gguf_file = key[:3]
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
        self.bases.append((key, record))
        return len(self.bases) - 1

    def known_base(self, key: tuple) -> int | None:
        """Number of a base that was written or referred to; a model id alone stands for how the members read it."""
        return next((number for number, (known, _) in enumerate(self.bases) if known[: len(key)] == key), None)

    def _special(self, value: object, name: str) -> Any:
        from sklearn.base import BaseEstimator

        name = name.removeprefix(self.owner)
        if isinstance(value, type):  # it has the methods by which its objects are known
            return None
        for tag, codec in CODECS.items():
            if codec.knows(value):
                return {tag: codec.write(value, name, self)}
        if isinstance(value, Registered):
            return value._encoded(self, name)
        if isinstance(value, BaseEstimator):
            (self.folder / "objects").mkdir(exist_ok=True)
            return self.scikit_learn(value, name, f"{self.new_place()}.skops")
        return None
