"""Objects from the files of `Writer`."""

from __future__ import annotations

import copy
import os
from collections.abc import Mapping
from typing import Any

from ensemw2s.exceptions import CheckpointError
from ensemw2s.storage._codec import CODECS
from ensemw2s.storage._json import JsonObject
from ensemw2s.storage._manifest import StoredFolder
from ensemw2s.storage._placement import check_placement
from ensemw2s.storage._registry import Registered, find_stored
from ensemw2s.storage._skops import read_scikit_learn
from ensemw2s.storage._values import decode

# Parameters that say which base a learner starts from; they are replaced where a base is included in what is saved.
BASE_PARAMETERS = ("model", "revision", "gguf_file")


class Reader:
    """Reads an object with all that it holds.

    Parameters
    ----------
    stored : StoredFolder
        Of the whole, verified.
    shared : dict
        From `Writer.shared`.
    base : str or dict of str to str, optional
        Folder or hub id to use in place of the base that was referred to; by the latter where there are several.

    Attributes
    ----------
    stored : StoredFolder
        Where files are read, of a part its own.
    root : StoredFolder
        The folder of the whole, which has the bases and tokenizers.
    tokenizers : dict of int to tokenizer
        Those that have been read, by their numbers.
    checked : set of int
        Numbers of the bases that have been compared with their records.
    """

    def __init__(self, stored: StoredFolder, shared: JsonObject, *, base: str | dict[str, str] | None = None) -> None:
        self.stored = self.root = stored
        self.shared, self.other_base = shared, base
        check_placement()
        self.tokenizers: dict[int, object] = {}
        self.checked: set[int] = set()

    def within(self, place: str, *, base: Any = None) -> Reader:
        """A reader of a folder of this one that was written by `Writer.within`."""
        inner = copy.copy(self)
        inner.stored = self.stored.part(place) if self._has(place) else _nothing(self.stored, place)
        inner.other_base = self.other_base if base is None else base
        return inner

    def decode(self, encoded: object) -> Any:
        """A value from the JSON of `Writer.encode`."""
        return decode(encoded, self._special)

    def decode_all(self, encoded: Mapping[str, object]) -> JsonObject:
        """Values by their names, of `Writer.encode_all`."""
        return {name: self.decode(value) for name, value in encoded.items()}

    def member(self, record: JsonObject, place: str) -> Any:
        """A fitted member from its record, of `Writer.member`, and the folder `place`."""
        from sklearn.base import BaseEstimator

        # Learners of ours have files of their own there, and read the whole record.
        encoded = record["learner"]
        if list(encoded) == ["$learner"]:
            return find_stored("$learner", encoded["$learner"])._read_member(self, record, place)
        member = self.decode(encoded)
        if not isinstance(member, BaseEstimator | Registered):
            raise ValueError(f"{place} is no estimator")
        return member

    def base(self, number: int) -> JsonObject:
        """The parameters that name a base."""
        record = self.shared["bases"][number]
        if record["included"]:
            self.root.refuse_adapter(record["included"])
            return {"model": str(self.root.folder(record["included"]))}
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

    def _special(self, tag: str, content: Any) -> Any:
        if tag in CODECS:
            return CODECS[tag].read(content, self)
        if tag == "$base":
            return self.base(content)["model"]
        if tag == "$member":
            return self.member(content, content["place"])
        if tag == "$skops":
            return read_scikit_learn(self.stored, content)
        return find_stored(tag, content)._decoded(self, content)

    def _has(self, place: str) -> bool:
        return any(file.startswith(f"{place}/") for file in self.stored.files)


def _nothing(stored: StoredFolder, place: str) -> StoredFolder:
    """The folder of a part that has written no file."""
    if not isinstance(place, str):
        raise TypeError(f"{place!r} is no folder")
    return StoredFolder(stored.path / place, stored.kind, stored.digest, {}, stored.links_into)
