"""A fitted pipeline that can be saved and loaded."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sklearn.base import clone
from sklearn.utils.validation import check_is_fitted

from ensemw2s.ensemble import FineTunedGenerator, LLMAdaBoostClassifier, TokenAdaBoostGenerator
from ensemw2s.exceptions import CheckpointError
from ensemw2s.learners import HFClassifier, read_scikit_learn, write_scikit_learn
from ensemw2s.pseudo import PseudoLabeler
from ensemw2s.storage import MALFORMED, Pretrained, StoredFolder, decode, encode, write_json

__all__ = ["SavedPipeline"]

_PIPELINE, _SKOPS = "pipeline.json", "estimator.skops"
_PARTS = ("weak", "student", "baseline", "oracle")
_KINDS: dict[str, type[Pretrained]] = {
    kind.__name__: kind for kind in (FineTunedGenerator, HFClassifier, LLMAdaBoostClassifier, TokenAdaBoostGenerator)
}
_UNSAVED = ("checkpoint_dir", "on_locked")  # of this machine


class SavedPipeline(Pretrained):
    """Saves the models, but no questions and no labels: ``pseudo_labels_`` is None in what is loaded."""

    baseline: bool
    oracle: Any
    weak_: Any
    student_: Any
    pseudo_labels_: Any
    baseline_labels_: Any
    skipped_rows_: Any

    def _write_files(self, folder: Path, include_base: bool) -> list[dict[str, Any]]:
        check_is_fitted(self, "student_")
        parameters = self.get_params(deep=False)  # type: ignore[attr-defined]
        labeler = parameters.pop("labeler")
        parts: dict[str, str | None] = {}
        bases: list[dict[str, Any]] = []
        for name in _PARTS:
            parameters.pop(name, None)
            model = getattr(self, f"{name}_")
            if name == "baseline" and model is self.student_:
                parts[name] = "student"
                continue
            parts[name] = None if model is None else type(model).__name__
            if model is not None:
                (folder / name).mkdir()
                bases += _write(model, folder / name, name, include_base)
        write_json(
            folder / _PIPELINE,
            {
                "parts": parts,
                "labeler": None if labeler is None else encode(labeler.get_params(), "labeler"),
                "baseline": bool(self.baseline),
                "oracle": self.oracle is not None,
                "parameters": {key: encode(value, key) for key, value in parameters.items() if key not in _UNSAVED},
                "skipped_rows": encode(getattr(self, "skipped_rows_", {}), "skipped_rows_"),
            },
        )
        return bases

    @classmethod
    def _read_files(cls, stored: StoredFolder, base: Any) -> Any:
        path = stored.file(_PIPELINE)
        content = stored.json(_PIPELINE)
        bases = base or {}
        if not isinstance(bases, dict):
            raise ValueError(f"base must be a dict, with the base of 'weak', 'student', … Got {base!r} instead.")
        try:
            parts = content["parts"]
            models = {name: _read(stored, name, parts[name], bases.get(name)) for name in _PARTS}
            labeler = content["labeler"]
            pipeline = cls(
                weak=clone(models["weak"]), student=clone(models["student"]), baseline=content["baseline"],
                labeler=None if labeler is None else PseudoLabeler(**decode(labeler)),
                oracle=clone(models["oracle"]) if content["oracle"] and models["oracle"] is not None else None,
                **{key: decode(value) for key, value in content["parameters"].items()},
            )  # type: ignore[call-arg]  # fmt: skip
            skipped = decode(content["skipped_rows"])
        except MALFORMED as error:
            raise CheckpointError(
                f"{path} is no {cls.__name__} that this version of ensemw2s can read ({error}). Save it again, with "
                f"this version."
            ) from error
        for name, model in models.items():
            setattr(pipeline, f"{name}_", models["student"] if parts[name] == "student" else model)
        pipeline.pseudo_labels_ = pipeline.baseline_labels_ = None
        pipeline.skipped_rows_ = skipped
        return pipeline

    def _card_lines(self) -> Iterator[str]:
        yield "The student, taught by a weak ensemble; `weak_`, `baseline_` and `oracle_` are beside it where trained."
        if isinstance(self.weak_, Pretrained):
            yield "## The weak ensemble"
            yield from self.weak_._card_lines()


def _write(model: Any, folder: Path, name: str, include_base: bool) -> list[dict[str, Any]]:
    if isinstance(model, Pretrained):
        return model._write_files(folder, include_base)
    write_scikit_learn(model, folder / _SKOPS, name)
    return []


def _read(stored: StoredFolder, name: str, kind: Any, base: Any) -> Any:
    if kind is None or kind == "student":
        return None
    if kind in _KINDS:
        return _KINDS[kind]._read_files(stored.part(name), base)
    return read_scikit_learn(stored, f"{name}/{_SKOPS}")
