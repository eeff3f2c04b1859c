"""A fitted pipeline that can be saved and loaded."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import joblib
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from sklearn.utils.validation import check_is_fitted

from ensemw2s._validation import shorten
from ensemw2s._validation.row_filter import without_texts
from ensemw2s.pipeline._pseudo import PseudoLabeler
from ensemw2s.storage import (
    Pretrained,
    Reader,
    Registered,
    StoredFolder,
    Writer,
    decode,
    encode,
    find_class,
    hash_file,
    read_scikit_learn,
    temporary_folder,
    write_json,
)

_SKOPS = "estimator.skops"
_PARTS = ("weak", "student", "baseline", "oracle")


class SavedPipeline(Pretrained):
    """Saves the models, but no questions and no labels: ``pseudo_labels_`` is None in what is loaded."""

    _record = "pipeline.json"

    baseline: bool
    oracle: Any
    weak: Any
    weak_: Any
    student_: Any
    pseudo_labels_: Any
    baseline_labels_: Any
    skipped_rows_: Any

    def _write_part(self, writer: Writer) -> dict[str, Any]:
        check_is_fitted(self, "student_")
        parameters = self._kept_parameters()
        labeler = parameters.pop("labeler")
        parts: dict[str, str | None] = {}
        for name in _PARTS:
            parameters.pop(name, None)
            model = getattr(self, f"{name}_")
            if name == "baseline" and model is self.student_:
                parts[name] = "student"
                continue
            parts[name] = None if model is None else type(model).__name__
            if model is not None:
                _write_model(model, writer.within(name, f"{name}_"), name)
        return {
            "parts": parts,
            "frozen": isinstance(self.weak, FrozenEstimator),
            "labeler": _encode_labeler(labeler, writer),
            "baseline": bool(self.baseline),
            "oracle": self.oracle is not None,
            "parameters": writer.encode_all(parameters),
            "skipped_rows": encode(
                {column: without_texts(rows) for column, rows in getattr(self, "skipped_rows_", {}).items()},
                "skipped_rows_",
            ),
        }

    @classmethod
    def _read_files(cls, stored: StoredFolder, base: Any) -> Any:
        if base is not None and not isinstance(base, dict):
            raise ValueError(f"base must be a dict, with the base of 'weak', 'student', … Got {base!r} instead.")
        return super()._read_files(stored, base or {})

    @classmethod
    def _read_part(cls, reader: Reader, content: dict[str, Any]) -> Any:
        parts = content["parts"]
        bases = reader.other_base if isinstance(reader.other_base, dict) else {}
        models = {
            name: _read_model(reader, name, parts[name], _base_of(bases, name, content["oracle"])) for name in _PARTS
        }
        frozen = content.get("frozen", False)  # an earlier version knew of none
        pipeline = cls(
            weak=FrozenEstimator(models["weak"]) if frozen else clone(models["weak"]),
            student=clone(models["student"]), baseline=content["baseline"],
            labeler=_decode_labeler(content["labeler"], reader),
            oracle=clone(models["oracle"]) if content["oracle"] and models["oracle"] is not None else None,
            **reader.decode_all(content["parameters"]),
        )  # type: ignore[call-arg]  # fmt: skip
        for name, model in models.items():
            setattr(pipeline, f"{name}_", models["student"] if parts[name] == "student" else model)
        pipeline.pseudo_labels_ = pipeline.baseline_labels_ = None
        pipeline.skipped_rows_ = decode(content["skipped_rows"])
        return pipeline

    def _card_lines(self) -> Iterator[str]:
        yield "The student, taught by a weak ensemble; `weak_`, `baseline_` and `oracle_` are beside it where trained."
        if isinstance(self.weak_, Pretrained):
            yield "## The weak ensemble"
            yield from self.weak_._card_lines()


def fitted_digest(model: Any) -> str:
    """A hash of a fitted estimator with all that training has made of it."""
    if not isinstance(model, Pretrained):
        return str(joblib.hash(model))
    with temporary_folder("teacher") as place:
        folder = Path(place) / "teacher"
        model.save_pretrained(folder)
        return hash_file(folder / "manifest.json")


def _write_model(model: Any, writer: Writer, name: str) -> None:
    if isinstance(model, Pretrained):
        write_json(writer.folder / model._record, writer.content(model, f"{name}_"))
    else:
        writer.scikit_learn(model, "", _SKOPS)


def _read_model(reader: Reader, name: str, kind: Any, base: Any) -> Any:
    if kind is None or kind == "student":
        return None
    inner = reader.within(name, base=base)
    records = [file for file in inner.stored.files if file.endswith(".json") and "/" not in file]
    if not records:
        return read_scikit_learn(inner.stored, _SKOPS)
    [record] = records
    content = inner.stored.json(record)
    found = find_class(content.get("class", kind), Pretrained)
    if "bases" in content:  # an earlier version gave each part its own
        inner = Reader(inner.stored, content, base=base)
    return found._read_part(inner, content)


def _base_of(bases: dict[str, Any], name: str, has_oracle: bool) -> Any:
    """What stands for a part's base; copies of the student come from the student's."""
    copies = ("baseline",) if has_oracle else ("baseline", "oracle")
    return bases.get(name, bases.get("student") if name in copies else None)


def _encode_labeler(labeler: Any, writer: Writer) -> Any:
    if labeler is None:
        return None
    if type(labeler) is PseudoLabeler:
        return writer.encode(labeler.get_params(deep=False), "labeler")
    if not isinstance(labeler, Registered):
        raise TypeError(
            f"labeler cannot be saved. Got {shorten(labeler)}; let its class derive from PseudoLabeler or from "
            f"PretrainedMixin, which say how it is stored, or call set_params(labeler=None) before saving: a loaded "
            f"pipeline needs it for another fit alone."
        )
    return writer.encode(labeler, "labeler")


def _decode_labeler(encoded: Any, reader: Reader) -> Any:
    if encoded is None or any(key.startswith("$") for key in encoded):
        return reader.decode(encoded)
    return PseudoLabeler(**reader.decode(encoded))
