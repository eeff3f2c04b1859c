"""Weak learners and students, and the losses of students."""

from __future__ import annotations

from ensemw2s._adapters.model_cache import clear_model_cache
from ensemw2s.learners._saved_hf_learner import base_digest
from ensemw2s.learners.bigram import BigramLearner
from ensemw2s.learners.completions import CompletionsExpert
from ensemw2s.learners.hf_causal_lm import HFCausalLM
from ensemw2s.learners.hf_classifier import HFClassifier
from ensemw2s.learners.hf_verifier import HFVerifier
from ensemw2s.learners.losses import CrossEntropyLoss, LogConfLoss, ProductLoss
from ensemw2s.learners.text_options import TextOptionLearner
from ensemw2s.storage import PretrainedMixin
