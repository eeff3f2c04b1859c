"""Weak ensemble, pseudo-labels, student, baseline and oracle, and the report of it."""

from __future__ import annotations

from ensemw2s.pipeline._pipeline import W2SPipeline
from ensemw2s.pipeline._pseudo import PseudoLabeler, PseudoLabels
from ensemw2s.pipeline._report import W2SReport

__all__ = [
    "PseudoLabeler",
    "PseudoLabels",
    "W2SPipeline",
    "W2SReport",
]
