"""The stages of a pipeline that have ended, as HTML."""

from __future__ import annotations

from typing import Any

from sklearn.frozen import FrozenEstimator

from ensemw2s._html.fitted import FittedHTML, learner_name, skipped
from ensemw2s._html.pieces import Markup, facts, panel, table


class PipelineHTML(FittedHTML):
    """A pipeline that shows its stages; after Ctrl-C those that are there."""

    weak: Any
    include_easy: bool

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "student_")

    def _fitted_html(self) -> str:
        weak = getattr(self, "weak_", None)
        if weak is None:
            return ""
        labels, first_labels = getattr(self, "pseudo_labels_", None), getattr(self, "baseline_labels_", None)
        frozen = isinstance(self.weak, FrozenEstimator)
        stages = [
            ("weak_", weak, "fitted before" if frozen else "true answers of the easy questions"),
            (
                "student_",
                getattr(self, "student_", None),
                _source(labels, "the teacher" if frozen else "the weak ensemble"),
            ),
            ("baseline_", getattr(self, "baseline_", None), _source(first_labels, "the ensemble's first member")),
            ("oracle_", getattr(self, "oracle_", None), "true answers of the hard questions"),
        ]
        also = ", and true answers of the easy ones" if self.include_easy else ""
        rows = [
            (name, _model(model), source + also * (name != "weak_"))
            for name, model, source in stages
            if model is not None
        ]
        left_out = [(f"rows left out of {name}", skipped(rows)) for name, rows in self._skipped().items()]
        parts: list[Markup] = [table(("stage", "model", "learned from"), rows), facts(left_out)]
        ended = "Stages" if hasattr(self, "student_") else "Stages that had ended; there is no student yet"
        return panel(ended, *parts) + (weak._fitted_html() if isinstance(weak, FittedHTML) else "")

    def _skipped(self) -> dict[str, Any]:
        return getattr(self, "skipped_rows_", {})


def _model(model: object) -> str:
    members = getattr(model, "estimators_", None)
    if not members:
        return learner_name(model)
    names = {learner_name(member): None for member in members}  # each once, in the order of the members
    several = f"{len(members)} × " if len(members) > 1 else ""
    return f"{type(model).__name__} of {several}{', '.join(names)}"


def _source(labels: Any, teacher: str) -> str:
    if labels is None:  # of a saved pipeline
        return f"labels of {teacher}"
    n_kept, n = int(labels.kept.sum()), len(labels.kept)
    kind = "soft labels" if labels.soft and labels.proba is not None else "labels"
    return f"{kind} of {teacher} for {n_kept} of {n} hard questions"
