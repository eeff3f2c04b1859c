"""Single learners that can be saved and loaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sklearn.utils.validation import check_is_fitted

from ensemw2s.exceptions import CheckpointError
from ensemw2s.storage import MALFORMED, Pretrained, StoredFolder, write_json

__all__ = ["SavedLearner"]

_LEARNER, _MEMBER = "learner.json", "member"


class SavedLearner(Pretrained):
    """A learner of ensemw2s, saved as an ensemble's member is."""

    def _write_files(self, folder: Path, include_base: bool) -> list[dict[str, Any]]:
        from ensemw2s.learners._saving import LearnerWriter

        check_is_fitted(self, "tokenizer_")
        writer = LearnerWriter(folder, include_base=include_base)
        record = {"member": writer.member(self, _MEMBER), **writer.shared()}
        write_json(folder / _LEARNER, record)
        return record["bases"]

    @classmethod
    def _read_files(cls, stored: StoredFolder, base: Any) -> Any:
        from ensemw2s.learners._reading import LearnerReader

        path = stored.file(_LEARNER)
        try:
            content = stored.json(_LEARNER)
            learner = LearnerReader(stored, content, base=base).member(content["member"], _MEMBER)
            if type(learner) is not cls:
                raise ValueError(f"it holds a {type(learner).__name__}")
        except MALFORMED as error:
            raise CheckpointError(
                f"{path} is no {cls.__name__} that this version of ensemw2s can read ({error}). Save it again, with "
                f"this version."
            ) from error
        return learner
