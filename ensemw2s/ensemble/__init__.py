"""Ensembles of weak learners as scikit-learn estimators."""

from __future__ import annotations

from ensemw2s.ensemble._checkpoint import check_checkpoint
from ensemw2s.ensemble._settings import describe_estimator
from ensemw2s.ensemble._state import check_fitted_can_be_written, read_fitted, write_fitted
from ensemw2s.ensemble.classifier_boosting import LLMAdaBoostClassifier
from ensemw2s.ensemble.fine_tuned import FineTunedGenerator
from ensemw2s.ensemble.token_boosting import TokenAdaBoostGenerator

__all__ = [
    "FineTunedGenerator",
    "LLMAdaBoostClassifier",
    "TokenAdaBoostGenerator",
    "check_checkpoint",
    "check_fitted_can_be_written",
    "describe_estimator",
    "read_fitted",
    "write_fitted",
]
