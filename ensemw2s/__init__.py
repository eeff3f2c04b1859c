"""Weak-to-strong generalization with token-level AdaBoost ensembles of language models.

The names below are the public interface. Each is imported when it is first used, so that ``import ensemw2s`` stays
light: torch, transformers, peft, pandas and scikit-learn are loaded by the parts that need them.
"""

from __future__ import annotations

import importlib
import logging
from typing import TYPE_CHECKING, Any

from ensemw2s._version import __version__

if TYPE_CHECKING:
    from ensemw2s.boosting import draw_tokens as draw_tokens
    from ensemw2s.boosting import estimator_weight as estimator_weight
    from ensemw2s.boosting import reweight as reweight
    from ensemw2s.boosting import training_error_bound as training_error_bound
    from ensemw2s.boosting import weighted_error as weighted_error
    from ensemw2s.boosting import window_error as window_error
    from ensemw2s.contracts import OptionLearner as OptionLearner
    from ensemw2s.contracts import TextExpert as TextExpert
    from ensemw2s.contracts import TokenLearner as TokenLearner
    from ensemw2s.contracts import VotingEnsemble as VotingEnsemble
    from ensemw2s.contracts import check_option_learner as check_option_learner
    from ensemw2s.contracts import check_text_expert as check_text_expert
    from ensemw2s.contracts import check_weak_learner as check_weak_learner
    from ensemw2s.costs import LearnerCost as LearnerCost
    from ensemw2s.costs import ModelCost as ModelCost
    from ensemw2s.costs import StageCost as StageCost
    from ensemw2s.costs import Workload as Workload
    from ensemw2s.costs import measure_bandwidth as measure_bandwidth
    from ensemw2s.costs import measure_flops as measure_flops
    from ensemw2s.costs import stage_costs as stage_costs
    from ensemw2s.datasets import BinaryQA as BinaryQA
    from ensemw2s.datasets import QADataset as QADataset
    from ensemw2s.datasets import from_binary as from_binary
    from ensemw2s.datasets import load_arc as load_arc
    from ensemw2s.datasets import load_gsm8k as load_gsm8k
    from ensemw2s.datasets import load_quartz as load_quartz
    from ensemw2s.datasets import load_sciq as load_sciq
    from ensemw2s.datasets import make_arithmetic as make_arithmetic
    from ensemw2s.datasets import make_corpus as make_corpus
    from ensemw2s.datasets import make_qa as make_qa
    from ensemw2s.datasets import to_binary as to_binary
    from ensemw2s.difficulty import DifficultyRatings as DifficultyRatings
    from ensemw2s.difficulty import cross_val_difficulty as cross_val_difficulty
    from ensemw2s.ensemble import FineTunedGenerator as FineTunedGenerator
    from ensemw2s.ensemble import LLMAdaBoostClassifier as LLMAdaBoostClassifier
    from ensemw2s.ensemble import OpinionPool as OpinionPool
    from ensemw2s.ensemble import TokenAdaBoostGenerator as TokenAdaBoostGenerator
    from ensemw2s.exceptions import BackendUnavailableError as BackendUnavailableError
    from ensemw2s.exceptions import CheckpointError as CheckpointError
    from ensemw2s.exceptions import EarlyStopWarning as EarlyStopWarning
    from ensemw2s.exceptions import ExpertRequestError as ExpertRequestError
    from ensemw2s.exceptions import SweepError as SweepError
    from ensemw2s.exceptions import WeakLearnerError as WeakLearnerError
    from ensemw2s.experiments import SweepPlan as SweepPlan
    from ensemw2s.experiments import SweepResult as SweepResult
    from ensemw2s.experiments import ablations as ablations
    from ensemw2s.experiments import plan_sweep as plan_sweep
    from ensemw2s.experiments import run_sweep as run_sweep
    from ensemw2s.kernels import KernelBackend as KernelBackend
    from ensemw2s.kernels import available_backends as available_backends
    from ensemw2s.kernels import get_backend as get_backend
    from ensemw2s.kernels import register_backend as register_backend
    from ensemw2s.learners import BigramLearner as BigramLearner
    from ensemw2s.learners import CompletionsExpert as CompletionsExpert
    from ensemw2s.learners import CrossEntropyLoss as CrossEntropyLoss
    from ensemw2s.learners import HFCausalLM as HFCausalLM
    from ensemw2s.learners import HFClassifier as HFClassifier
    from ensemw2s.learners import HFVerifier as HFVerifier
    from ensemw2s.learners import LogConfLoss as LogConfLoss
    from ensemw2s.learners import PretrainedMixin as PretrainedMixin
    from ensemw2s.learners import ProductLoss as ProductLoss
    from ensemw2s.learners import TextOptionLearner as TextOptionLearner
    from ensemw2s.learners import clear_model_cache as clear_model_cache
    from ensemw2s.metrics import bootstrap_interval as bootstrap_interval
    from ensemw2s.metrics import chance_level as chance_level
    from ensemw2s.metrics import error_correlation as error_correlation
    from ensemw2s.metrics import exact_match as exact_match
    from ensemw2s.metrics import expected_calibration_error as expected_calibration_error
    from ensemw2s.metrics import interval_over_seeds as interval_over_seeds
    from ensemw2s.metrics import majority_at_k as majority_at_k
    from ensemw2s.metrics import margins as margins
    from ensemw2s.metrics import number_match as number_match
    from ensemw2s.metrics import option_accuracy as option_accuracy
    from ensemw2s.metrics import paired_bootstrap_interval as paired_bootstrap_interval
    from ensemw2s.metrics import pairwise_disagreement as pairwise_disagreement
    from ensemw2s.metrics import pass_at_k as pass_at_k
    from ensemw2s.metrics import performance_gap_recovered as performance_gap_recovered
    from ensemw2s.metrics import q_statistic as q_statistic
    from ensemw2s.metrics import staged_margins as staged_margins
    from ensemw2s.metrics import token_error as token_error
    from ensemw2s.metrics import token_f1 as token_f1
    from ensemw2s.mixture import MixtureForCausalLM as MixtureForCausalLM
    from ensemw2s.pipeline import PseudoLabeler as PseudoLabeler
    from ensemw2s.pipeline import PseudoLabels as PseudoLabels
    from ensemw2s.pipeline import SampledAnswers as SampledAnswers
    from ensemw2s.pipeline import W2SPipeline as W2SPipeline
    from ensemw2s.pipeline import W2SReport as W2SReport
    from ensemw2s.pipeline import W2SReports as W2SReports
    from ensemw2s.pipeline import sample_answers as sample_answers
    from ensemw2s.plots import DifficultyDisplay as DifficultyDisplay
    from ensemw2s.plots import ErrorCorrelationDisplay as ErrorCorrelationDisplay
    from ensemw2s.plots import MarginDisplay as MarginDisplay
    from ensemw2s.plots import PGRDisplay as PGRDisplay
    from ensemw2s.plots import RoundsDisplay as RoundsDisplay
    from ensemw2s.plots import TokenWeightDisplay as TokenWeightDisplay
    from ensemw2s.plots import W2SBarDisplay as W2SBarDisplay
    from ensemw2s.splits import EasyHardSplit as EasyHardSplit
    from ensemw2s.splits import RandomSplit as RandomSplit
    from ensemw2s.splits import question_groups as question_groups
    from ensemw2s.tokens import TokenDataset as TokenDataset
    from ensemw2s.tokens import byte_tokenizer as byte_tokenizer
    from ensemw2s.tokens import word_tokenizer as word_tokenizer

# Public name -> module of ensemw2s that defines it. Keep the TYPE_CHECKING block above in step: a test compares them.
_PUBLIC: dict[str, str] = {
    # exceptions
    "BackendUnavailableError": "exceptions",
    "CheckpointError": "exceptions",
    "EarlyStopWarning": "exceptions",
    "ExpertRequestError": "exceptions",
    "SweepError": "exceptions",
    "WeakLearnerError": "exceptions",
    # the equations
    "draw_tokens": "boosting",
    "estimator_weight": "boosting",
    "reweight": "boosting",
    "training_error_bound": "boosting",
    "weighted_error": "boosting",
    "window_error": "boosting",
    # metrics
    "bootstrap_interval": "metrics",
    "chance_level": "metrics",
    "interval_over_seeds": "metrics",
    "option_accuracy": "metrics",
    "paired_bootstrap_interval": "metrics",
    "performance_gap_recovered": "metrics",
    "token_error": "metrics",
    # answers as texts
    "exact_match": "metrics",
    "expected_calibration_error": "metrics",
    "majority_at_k": "metrics",
    "number_match": "metrics",
    "pass_at_k": "metrics",
    "token_f1": "metrics",
    # diversity
    "error_correlation": "metrics",
    "margins": "metrics",
    "pairwise_disagreement": "metrics",
    "q_statistic": "metrics",
    "staged_margins": "metrics",
    # costs
    "LearnerCost": "costs",
    "ModelCost": "costs",
    "StageCost": "costs",
    "Workload": "costs",
    "measure_bandwidth": "costs",
    "measure_flops": "costs",
    "stage_costs": "costs",
    # kernels
    "KernelBackend": "kernels",
    "available_backends": "kernels",
    "get_backend": "kernels",
    "register_backend": "kernels",
    # tokenizers
    "byte_tokenizer": "tokens",
    "word_tokenizer": "tokens",
    # tokens
    "TokenDataset": "tokens",
    # datasets
    "BinaryQA": "datasets",
    "QADataset": "datasets",
    "from_binary": "datasets",
    "load_arc": "datasets",
    "load_gsm8k": "datasets",
    "load_quartz": "datasets",
    "load_sciq": "datasets",
    "make_arithmetic": "datasets",
    "make_corpus": "datasets",
    "make_qa": "datasets",
    "to_binary": "datasets",
    # splits and difficulty
    "DifficultyRatings": "difficulty",
    "EasyHardSplit": "splits",
    "RandomSplit": "splits",
    "cross_val_difficulty": "difficulty",
    "question_groups": "splits",
    # learners
    "BigramLearner": "learners",
    "CompletionsExpert": "learners",
    "HFCausalLM": "learners",
    "HFClassifier": "learners",
    "HFVerifier": "learners",
    "OptionLearner": "contracts",
    "PretrainedMixin": "learners",  # with it all learners are defined, and can be read
    "TextExpert": "contracts",
    "TextOptionLearner": "learners",
    "TokenLearner": "contracts",
    "check_option_learner": "contracts",
    "check_text_expert": "contracts",
    "check_weak_learner": "contracts",
    "clear_model_cache": "learners",
    # losses of a student
    "CrossEntropyLoss": "learners",
    "LogConfLoss": "learners",
    "ProductLoss": "learners",
    # mixture
    "MixtureForCausalLM": "mixture",
    # ensemble
    "FineTunedGenerator": "ensemble",
    "LLMAdaBoostClassifier": "ensemble",
    "OpinionPool": "ensemble",
    "TokenAdaBoostGenerator": "ensemble",
    "VotingEnsemble": "contracts",
    # pseudo
    "PseudoLabeler": "pipeline",
    "PseudoLabels": "pipeline",
    "SampledAnswers": "pipeline",
    # report
    "W2SReport": "pipeline",
    "W2SReports": "pipeline",
    # pipeline
    "W2SPipeline": "pipeline",
    "sample_answers": "pipeline",
    # plots
    "DifficultyDisplay": "plots",
    "ErrorCorrelationDisplay": "plots",
    "MarginDisplay": "plots",
    "PGRDisplay": "plots",
    "RoundsDisplay": "plots",
    "TokenWeightDisplay": "plots",
    "W2SBarDisplay": "plots",
    # experiments
    "SweepPlan": "experiments",
    "SweepResult": "experiments",
    "ablations": "experiments",
    "plan_sweep": "experiments",
    "run_sweep": "experiments",
}

# Public modules with names of their own.
_MODULES = ("paper",)

__all__ = ["__version__", *_PUBLIC]

# Without it Python writes warnings to standard error where the user has set up no logging.
logging.getLogger("ensemw2s").addHandler(logging.NullHandler())


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(f"ensemw2s.{name}")
    if name not in _PUBLIC:
        raise AttributeError(f"module 'ensemw2s' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"ensemw2s.{_PUBLIC[name]}"), name)
    globals()[name] = value  # the next access does not come here
    return value


def __dir__() -> list[str]:
    return sorted([*__all__, *_MODULES])
