"""Single learners that can be saved and loaded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sklearn.utils.validation import check_is_fitted

from ensemw2s.learners._saved_object import SavedObject

if TYPE_CHECKING:
    from ensemw2s.learners._reading import LearnerReader
    from ensemw2s.learners._saving import LearnerWriter

__all__ = ["SavedLearner"]

_MEMBER = "member"


class SavedLearner(SavedObject):
    """A learner of ensemw2s, saved as an ensemble's member is."""

    _record = "learner.json"
    _checks_fitted = True

    def _write_part(self, writer: LearnerWriter) -> dict[str, Any]:
        check_is_fitted(self, "tokenizer_")
        writer.refuse_callbacks(self, "")
        return {"member": writer.member(self, _MEMBER)}

    @classmethod
    def _read_part(cls, reader: LearnerReader, content: dict[str, Any]) -> Any:
        return reader.member(content["member"], _MEMBER, kind=cls)
