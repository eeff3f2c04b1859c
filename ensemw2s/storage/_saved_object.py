"""What an estimator with parts writes of itself, and how it is read back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ensemw2s.exceptions import CheckpointError
from ensemw2s.storage._json import MALFORMED
from ensemw2s.storage._manifest import StoredFolder, write_json
from ensemw2s.storage._pretrained import Pretrained
from ensemw2s.storage._reader import LearnerReader
from ensemw2s.storage._registry import UnknownClassError, class_name
from ensemw2s.storage._writer import LearnerWriter

__all__ = ["SavedObject"]

_OF_THIS_MACHINE = ("checkpoint_dir", "on_locked")


class SavedObject(Pretrained):
    """An estimator that is one JSON record and the files of its learners, by itself or as a part of another."""

    _stored_under = "$part"
    _record = "object.json"
    """Name of the file with the record."""

    def _write_part(self, writer: LearnerWriter) -> dict[str, Any]:
        """Write the learners, and return all else as JSON; bases and tokenizers are the writer's."""
        # First what was trained: it has the bases that parameters refer to.
        state = writer.encode_all(self._saved_state())
        return {"parameters": writer.encode_all(self._kept_parameters()), "state": state}

    @classmethod
    def _read_part(cls, reader: LearnerReader, content: dict[str, Any]) -> Any:
        """The estimator from what `_write_part` returned."""
        made = cls(**reader.decode_all(content["parameters"]))
        made._restore_state(reader.decode_all(content["state"]))
        return made

    def _kept_parameters(self) -> dict[str, Any]:
        """The constructor's parameters, but for those that speak of this machine."""
        parameters = self.get_params(deep=False) if hasattr(self, "get_params") else {}
        return {name: value for name, value in parameters.items() if name not in _OF_THIS_MACHINE}

    def _encoded(self, writer: LearnerWriter, name: str) -> dict[str, Any]:
        return writer.part(self, writer.new_place(), name)

    @classmethod
    def _decoded(cls, reader: LearnerReader, content: dict[str, Any]) -> Any:
        return cls._read_part(reader.within(content["place"]), content)

    def _as_estimator(self, writer: LearnerWriter, name: str) -> dict[str, Any]:
        return writer.part(self, name, name)

    def _as_member(self, writer: LearnerWriter, place: str) -> dict[str, Any]:
        return {"learner": writer.part(self, place, place)}

    def _write_files(self, folder: Path, include_base: bool) -> list[dict[str, Any]]:
        writer = LearnerWriter(folder, include_base=include_base)
        content = writer.content(self, type(self).__name__)
        shared = writer.shared()
        write_json(folder / self._record, {**content, **shared})
        return shared["bases"]

    @classmethod
    def _read_files(cls, stored: StoredFolder, base: Any) -> Any:
        path, content = stored.file(cls._record), stored.json(cls._record)
        try:
            named = content.get("class", cls.__name__)
            if not _is_called(cls, named):
                raise CheckpointError(
                    f"{path} holds a {named}, not a {class_name(cls)}. Open it with from_pretrained of that class."
                )
            return cls._read_part(LearnerReader(stored, content, base=base), content)
        except UnknownClassError as error:
            raise CheckpointError(f"{path} cannot be read: {error}") from error
        except MALFORMED as error:
            raise CheckpointError(
                f"{path} is no {cls.__name__} that this version of ensemw2s can read ({error}). Save it again, with "
                f"this version."
            ) from error


def _is_called(kind: type, name: str) -> bool:
    """Whether a file means this class; one of a script is found again in the module that it has moved to."""
    if name in (class_name(kind), kind.__name__):  # without its module it was saved by an earlier version
        return True
    moved = "__main__." in (name[:9], class_name(kind)[:9])
    return moved and name.rpartition(".")[2] == kind.__name__
