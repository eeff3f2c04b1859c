"""Ensembles of weak learners as scikit-learn estimators."""

from __future__ import annotations

from ensemw2s.ensemble._checkpoint import check_checkpoint
from ensemw2s.ensemble._estimators import as_booster, as_student, given_seed, leaves_seed_open, with_seed
from ensemw2s.ensemble._generator import BaseTokenGenerator
from ensemw2s.ensemble._held_out import VOTES
from ensemw2s.ensemble._saving import check_fitted_can_be_written, commits_rounds, read_fitted, write_fitted
from ensemw2s.ensemble._settings import describe_estimator
from ensemw2s.ensemble.classifier_boosting import LLMAdaBoostClassifier
from ensemw2s.ensemble.fine_tuned import FineTunedGenerator
from ensemw2s.ensemble.opinion_pool import OpinionPool
from ensemw2s.ensemble.token_boosting import TokenAdaBoostGenerator
