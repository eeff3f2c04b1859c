"""Learners as files: by themselves, as members, as parameters of others, and in checkpoints."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sklearn.utils.validation import check_is_fitted

from ensemw2s._loading.tokenizer_codec import read_tokenizer, write_tokenizer
from ensemw2s._validation import shorten
from ensemw2s.storage import (
    BASE_PARAMETERS,
    Checkpointed,
    Reader,
    StoredFolder,
    Writer,
    class_name,
    decode,
    encode,
    require_known,
)

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_MEMBER = "member"


class SavedLearner(Checkpointed):
    """A learner of ensemw2s: its JSON names its base, and what training made of it are files."""

    _stored_under = "$learner"
    _record = "learner.json"
    _checks_fitted = True
    _holds_tensors = True

    tokenizer_: PreTrainedTokenizerBase

    @abstractmethod
    def _given_tokenizer(self) -> PreTrainedTokenizerBase:
        """The tokenizer that a learner with these parameters has."""

    @abstractmethod
    def _write_weights(self, folder: Path) -> dict[str, Any]:
        """Write what was learned, beside the fitted attributes, into a folder, and return its record."""

    @abstractmethod
    def _read_weights(
        self, record: dict[str, Any], stored: StoredFolder, place: str, check_base: Callable[[], None]
    ) -> None:
        """Read what `_write_weights` wrote, all else being there; `check_base` is called before an adapter is read."""

    def _check_base(self, reader: Reader, number: int) -> None:
        """Compare the base with that which the members were trained on."""

    def _described(self, writer: Writer, name: str, *, trained: bool) -> tuple[int | None, dict[str, Any]]:
        """Number of the base, and the parameters beside it.

        Parameters
        ----------
        trained : bool
            Whether training is over, which callbacks are for.
        """
        return None, self.get_params(deep=False)  # type: ignore[attr-defined]

    def _write_part(self, writer: Writer) -> dict[str, Any]:
        check_is_fitted(self, "tokenizer_")
        self._refuse_callbacks(writer, "")
        return {"member": self._as_member(writer, _MEMBER)}

    @classmethod
    def _read_part(cls, reader: Reader, content: dict[str, Any]) -> Any:
        return cls._read_member(reader, content["member"], _MEMBER)

    def _encoded(self, writer: Writer, name: str) -> dict[str, Any]:
        if not hasattr(self, "tokenizer_"):
            return self._as_estimator(writer, name)
        place = writer.new_place()
        return {"$member": {"place": place, **self._as_member(writer, place)}}

    def _as_estimator(self, writer: Writer, name: str, *, trained: bool = False) -> dict[str, Any]:
        require_known(self, f"{writer.owner}{name}")
        base, parameters = self._described(writer, name, trained=trained)
        encoded = writer.encode_all(parameters, name)
        return {"$learner": {"class": class_name(type(self)), "base": base, "parameters": encoded}}

    @classmethod
    def _decoded(cls, reader: Reader, content: dict[str, Any]) -> Any:
        parameters = reader.decode_all(content["parameters"])
        if not set(parameters).isdisjoint(BASE_PARAMETERS):
            raise ValueError(f"the base of {content['class']} is named twice")
        base = {} if content["base"] is None else reader.base(content["base"])
        taken = set(cls._get_param_names())  # type: ignore[attr-defined]
        learner = cls(**parameters, **{name: value for name, value in base.items() if name in taken})
        for name, value in base.items():
            if name not in taken:  # a class that names its model itself; here it is where the files are
                setattr(learner, name, value)
        return learner

    def _as_member(self, writer: Writer, place: str) -> dict[str, Any]:
        return {
            "learner": self._as_estimator(writer, "estimator", trained=True),
            "tokenizer": write_tokenizer(writer, self.tokenizer_),
            **self._write_trained(writer, place),
        }

    def _write_trained(self, writer: Writer, place: str) -> dict[str, Any]:
        (writer.folder / place).mkdir(parents=True)
        fitted = writer.encode(self._saved_state(), place)
        return {"fitted": fitted, **self._write_weights(writer.folder / place)}

    @classmethod
    def _read_member(cls, reader: Reader, record: dict[str, Any], place: str) -> Any:
        described = record["learner"]["$learner"]
        learner = cls._decoded(reader, described)
        learner.tokenizer_ = read_tokenizer(reader, record["tokenizer"])
        learner._restore_state(reader.decode(record["fitted"]))
        learner._read_weights(record, reader.stored, place, partial(learner._check_base, reader, described["base"]))
        return learner

    def _refuse_callbacks(self, writer: Writer, name: str) -> None:
        """Raise a TypeError where a learner that is to be trained again has callbacks."""
        callbacks = getattr(self, "callbacks", ())
        if len(callbacks) == 0:
            return
        whose = f"{writer.owner}{name}".strip(".")
        path, call = (f"{whose}.callbacks", f"{whose}.set_params") if whose else ("callbacks", "set_params")
        raise TypeError(
            f"{path} cannot be saved. Got {shorten(callbacks)}; only a further fit needs them. Call "
            f"{call}(callbacks=()), save, and pass them again after loading."
        )

    def _check_can_be_written(self, name: str) -> None:
        """All of it can be."""

    def _write_state(self, folder: Path, name: str) -> dict[str, Any]:
        return {"fitted": encode(self._saved_state(), name), **self._write_weights(folder)}

    def _read_state(self, record: dict[str, Any], stored: StoredFolder, place: str) -> Any:
        self.tokenizer_ = self._given_tokenizer()
        self._restore_state(decode(record["fitted"]))
        self._read_weights(record, stored, place, partial(self._check_recorded, record, stored.path / place))
        return self

    def _check_recorded(self, record: dict[str, Any], path: Path) -> None:
        """Compare the base with that of `_write_state`."""
