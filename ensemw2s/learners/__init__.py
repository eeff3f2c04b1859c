"""Weak learners, and the contract they follow."""

from __future__ import annotations

from ensemw2s.learners._model_cache import clear_model_cache
from ensemw2s.learners._reading import LearnerReader, restore_attributes
from ensemw2s.learners._rng import isolated_rng
from ensemw2s.learners._saving import LearnerWriter, fitted_attributes
from ensemw2s.learners.base import TokenLearner, check_weak_learner
from ensemw2s.learners.bigram import BigramLearner
from ensemw2s.learners.hf_causal_lm import HFCausalLM
from ensemw2s.learners.hf_classifier import HFClassifier
from ensemw2s.learners.losses import CrossEntropyLoss, LogConfLoss, ProductLoss

__all__ = [
    "BigramLearner",
    "CrossEntropyLoss",
    "HFCausalLM",
    "HFClassifier",
    "LearnerReader",
    "LearnerWriter",
    "LogConfLoss",
    "ProductLoss",
    "TokenLearner",
    "check_weak_learner",
    "clear_model_cache",
    "fitted_attributes",
    "isolated_rng",
    "restore_attributes",
]
