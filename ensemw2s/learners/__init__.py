"""Weak learners, and the contract they follow."""

from __future__ import annotations

from ensemw2s._adapters.model_cache import clear_model_cache
from ensemw2s.learners._pretrained_mixin import PretrainedMixin
from ensemw2s.learners._reading import LearnerReader
from ensemw2s.learners._saved_hf_learner import base_digest
from ensemw2s.learners._saved_object import SavedObject
from ensemw2s.learners._saving import LearnerWriter
from ensemw2s.learners._skops import read_scikit_learn
from ensemw2s.learners._state import check_can_be_written, read_state, write_state
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
    "PretrainedMixin",
    "ProductLoss",
    "SavedObject",
    "base_digest",
    "check_can_be_written",
    "clear_model_cache",
    "read_scikit_learn",
    "read_state",
    "write_state",
]
