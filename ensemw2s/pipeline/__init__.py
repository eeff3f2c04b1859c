"""Weak ensemble, pseudo-labels, student, baseline and oracle, and the report of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ensemw2s.pipeline._report import W2SReport
from ensemw2s.pipeline._test_sets import W2SReports

if TYPE_CHECKING:
    from ensemw2s.pipeline._pipeline import W2SPipeline as W2SPipeline
    from ensemw2s.pipeline._pseudo import PseudoLabeler as PseudoLabeler
    from ensemw2s.pipeline._pseudo_labels import PseudoLabels as PseudoLabels
    from ensemw2s.pipeline._written_answers import SampledAnswers as SampledAnswers
    from ensemw2s.pipeline._written_answers import sample_answers as sample_answers


def __getattr__(name: str) -> Any:
    # Estimators, whose modules load scikit-learn and pandas: a report does without.
    if name == "W2SPipeline":
        from ensemw2s.pipeline._pipeline import W2SPipeline

        return W2SPipeline
    if name == "PseudoLabeler":
        from ensemw2s.pipeline._pseudo import PseudoLabeler

        return PseudoLabeler
    if name == "PseudoLabels":
        from ensemw2s.pipeline._pseudo_labels import PseudoLabels

        return PseudoLabels
    if name in ("SampledAnswers", "sample_answers"):
        from ensemw2s.pipeline import _written_answers

        return getattr(_written_answers, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
