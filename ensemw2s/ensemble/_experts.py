"""Experts of any kind: checked, trained or read from a checkpoint, and asked for scores of options."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
from sklearn.base import clone, is_classifier

from ensemw2s._html.fitted import learner_name
from ensemw2s._inputs.questions import require_choices
from ensemw2s._validation import as_id, shorten
from ensemw2s.contracts import checked_scores, only_texts
from ensemw2s.datasets import QADataset
from ensemw2s.ensemble._generator import BaseTokenGenerator
from ensemw2s.ensemble._saving import read_fitted, write_fitted
from ensemw2s.ensemble._weak_learners import as_option_learner
from ensemw2s.ensemble.fine_tuned import FineTunedGenerator
from ensemw2s.exceptions import WeakLearnerError
from ensemw2s.storage import Journal


def expert_name(expert: Any) -> str:
    """The class of an expert, the model that it or its single member starts from, and what tells it from its like."""
    from ensemw2s.learners import HFVerifier

    names = [learner_name(expert)]
    if isinstance(expert, FineTunedGenerator):
        names += [*map(learner_name, expert.estimators_), *(["zero-shot"] if expert.zero_shot else [])]
    elif isinstance(expert, HFVerifier):
        names.append(expert.features)
    return ", ".join(names)


def check_expert(expert: Any, name: str) -> None:
    if isinstance(as_id(expert), str):
        return
    scores = any(hasattr(expert, method) for method in ("option_scores", "token_logits", "predict_proba"))
    if isinstance(expert, type) or not (scores or only_texts(expert)) or is_classifier(expert):
        raise TypeError(
            f"{name} must be a generator, a verifier, another OptionLearner, a TextExpert, a TokenLearner "
            f"or a model id. Got {shorten(expert)} instead; a classifier of texts has no questions with options "
            f"to choose from."
        )


def as_expert(expert: Any) -> Any:
    """An unfitted clone; learners and model ids are fine-tuned, what only returns texts is asked as it is."""
    if only_texts(expert):
        return as_option_learner(expert)
    is_learner = isinstance(as_id(expert), str) or hasattr(expert, "token_logits")
    return FineTunedGenerator(expert) if is_learner else clone(expert)


def committed_expert(
    steps: Journal | None, number: int, expert: Any, questions: QADataset, weight: np.ndarray | None
) -> Any:
    """A trained clone of an expert, read if it has been committed."""
    expert = clone(expert)
    if steps is None:
        return train_expert(expert, questions, weight)
    name = f"expert-{number:04d}"
    stored = steps.read(name)
    if stored is not None:
        return read_fitted(expert, stored)
    steps.require_writable()
    expert = train_expert(expert, questions, weight)
    with steps.commit(name) as folder:
        write_fitted(expert, folder, name)
    return expert


def takes(expert: Any, name: str) -> bool:
    parameters = inspect.signature(expert.fit).parameters
    return name in parameters or any(each.kind is inspect.Parameter.VAR_KEYWORD for each in parameters.values())


def train_expert(expert: Any, questions: QADataset, weight: np.ndarray | None) -> Any:
    if "question_weight" in inspect.signature(expert.fit).parameters:
        return expert.fit(questions, question_weight=np.ones(len(questions)) if weight is None else weight)
    return expert.fit(questions, None, **({} if weight is None else {"sample_weight": weight}))


def expert_scores(expert: Any, questions: QADataset) -> np.ndarray:
    """Scores of all options, (n, K), on a logarithmic scale; ``-inf`` for what is excluded, or not there."""
    n_choices = np.asarray(questions.n_choices)
    if isinstance(expert, BaseTokenGenerator):
        log_likelihood: np.ndarray = -expert._option_nll(questions)[-1]
        return log_likelihood
    if hasattr(expert, "option_scores"):
        found = expert.option_scores(questions.prompts, require_choices(questions))
        return checked_scores(found, expert, n_choices)
    proba = np.asarray(expert.predict_proba(questions), dtype=np.float64)
    expected = (len(questions), int(n_choices.max()))
    if proba.shape != expected or not np.isfinite(proba).all() or (proba < 0).any():
        raise WeakLearnerError(
            f"{type(expert).__name__}.predict_proba must return probabilities of shape {expected}, one for each "
            f"option. Got an array of shape {proba.shape}."
        )
    with np.errstate(divide="ignore"):
        return np.log(proba)
