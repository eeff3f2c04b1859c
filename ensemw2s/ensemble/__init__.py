"""Ensembles of weak learners as scikit-learn estimators."""

from __future__ import annotations

from ensemw2s.ensemble.classifier_boosting import LLMAdaBoostClassifier
from ensemw2s.ensemble.fine_tuned import FineTunedGenerator
from ensemw2s.ensemble.token_boosting import TokenAdaBoostGenerator

__all__ = ["FineTunedGenerator", "LLMAdaBoostClassifier", "TokenAdaBoostGenerator"]
