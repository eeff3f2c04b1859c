"""What an estimator with parts writes of itself, and how it is read back."""

from __future__ import annotations

from abc import abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ensemw2s.exceptions import CheckpointError
from ensemw2s.storage import (
    MALFORMED,
    Pretrained,
    StoredFolder,
    UnknownClassError,
    class_name,
    require_known,
    write_json,
)

if TYPE_CHECKING:
    from ensemw2s.learners._reading import LearnerReader
    from ensemw2s.learners._saving import LearnerWriter

__all__ = ["SavedObject", "part_content"]


class SavedObject(Pretrained):
    """An estimator that is one JSON record and the files of its learners, by itself or as a part of another."""

    _record: str
    """Name of the file with the record."""

    @abstractmethod
    def _write_part(self, writer: LearnerWriter) -> dict[str, Any]:
        """Write the learners, and return all else as JSON; bases and tokenizers are the writer's."""

    @classmethod
    @abstractmethod
    def _read_part(cls, reader: LearnerReader, content: dict[str, Any]) -> Any:
        """The estimator from what `_write_part` returned."""

    def _write_files(self, folder: Path, include_base: bool) -> list[dict[str, Any]]:
        from ensemw2s.learners._saving import LearnerWriter

        writer = LearnerWriter(folder, include_base=include_base)
        content = part_content(self, writer, type(self).__name__)
        shared = writer.shared()
        write_json(folder / self._record, {**content, **shared})
        return shared["bases"]

    @classmethod
    def _read_files(cls, stored: StoredFolder, base: Any) -> Any:
        from ensemw2s.learners._reading import LearnerReader

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


def part_content(part: SavedObject, writer: LearnerWriter, name: str) -> dict[str, Any]:
    """The record of an object whose class can be found again."""
    require_known(part, name)
    return {"class": class_name(type(part)), **part._write_part(writer)}


def _is_called(kind: type, name: str) -> bool:
    """Whether a file means this class; one of a script is found again in the module that it has moved to."""
    if name in (class_name(kind), kind.__name__):  # without its module it was saved by an earlier version
        return True
    moved = "__main__." in (name[:9], class_name(kind)[:9])
    return moved and name.rpartition(".")[2] == kind.__name__
