"""Ctrl-C: what is kept of a fit that it ends, and how it goes on."""

from __future__ import annotations

import functools
import multiprocessing
import os
import signal
import sys
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from sklearn.exceptions import NotFittedError
from sklearn.tree import DecisionTreeClassifier
from tiny_models import fit as fit_learner
from tiny_models import tiny_learner
from transformers import TrainerCallback

import ensemw2s.ensemble
from ensemw2s import (
    BigramLearner,
    FineTunedGenerator,
    LLMAdaBoostClassifier,
    TokenAdaBoostGenerator,
    W2SPipeline,
    make_qa,
    word_tokenizer,
)

QUESTIONS = make_qa(12, random_state=0)
HARD = make_qa(10, random_state=1)
WORDS = word_tokenizer([*QUESTIONS.prompts, *HARD.prompts, *QUESTIONS.answers, *HARD.answers, "Question: Answer:"])
FEATURES = np.random.RandomState(0).normal(size=(60, 3))
CLASSES = (FEATURES[:, 0] + FEATURES[:, 1] > 0).astype(int)

interrupt_in: list[int] = []  # the number of the fit that Ctrl-C ends, counted from 1, if any


@pytest.fixture(autouse=True)
def ctrl_c(monkeypatch):
    """Let Ctrl-C be pressed in a training; learners of the test's own could not be kept in a checkpoint."""
    for learner in (BigramLearner, DecisionTreeClassifier):
        real = learner.fit

        def fit(self, *args, real=real, **kwargs):
            if interrupt_in:
                interrupt_in[0] -= 1
                if interrupt_in[0] == 0:
                    interrupt_in.clear()
                    signal.raise_signal(signal.SIGINT)
            return real(self, *args, **kwargs)

        functools.update_wrapper(fit, real)  # scikit-learn looks for sample_weight
        monkeypatch.setattr(learner, "fit", fit)


def booster(kind: str, n_estimators: int = 4, **parameters: Any) -> Any:
    if kind == "tokens":
        settings = {"prior": "uniform", "sampling": "count", "random_state": 0, **parameters}
        return TokenAdaBoostGenerator(BigramLearner(WORDS), n_estimators=n_estimators, **settings)
    settings = {"sampling": "resample", "random_state": 0, **parameters}
    return LLMAdaBoostClassifier(
        DecisionTreeClassifier(max_depth=1, splitter="random"), n_estimators=n_estimators, **settings
    )


def fit(model: Any, in_round: int | None = None) -> Any:
    interrupt_in[:] = [] if in_round is None else [in_round]
    if isinstance(model, TokenAdaBoostGenerator):
        return model.fit(QUESTIONS)
    return model.fit(FEATURES, CLASSES)


def learned(model: Any) -> list[np.ndarray]:
    """All that was learned, as arrays."""
    tables = [getattr(member, "log_proba_", None) for member in model.estimators_]
    if tables[0] is None:
        tables = [member.tree_.threshold for member in model.estimators_]
    names = ("estimator_weights_", "estimator_errors_", "prior_errors_", "token_weight_")
    return [*tables, *(getattr(model, name) for name in names if hasattr(model, name))]


def assert_same(model: Any, other: Any) -> None:
    for array, expected in zip(learned(model), learned(other), strict=True):
        assert_array_equal(array, expected)


kinds = pytest.mark.parametrize("kind", ["tokens", "classes"])


@kinds
def test_the_rounds_before_are_a_fitted_ensemble(kind):
    model = booster(kind)
    with pytest.raises(KeyboardInterrupt, match=r"in round 3 of 4\. The ensemble is fitted with the 2 rounds before"):
        fit(model, in_round=3)
    assert model.stop_reason_ == "interrupted"
    assert_same(model, fit(booster(kind, n_estimators=2)))


def test_after_the_last_round_nothing_is_missing(monkeypatch):
    model = booster("classes", n_estimators=1)
    real = ensemw2s.ensemble._boosting_loop.run_rounds

    def interrupted(*args):
        real(*args)
        raise KeyboardInterrupt

    monkeypatch.setattr("ensemw2s.ensemble._boosting_loop.run_rounds", interrupted)
    with pytest.raises(KeyboardInterrupt, match=r"^Interrupted after the last round\. The ensemble is complete\.$"):
        fit(model)
    assert model.stop_reason_ == "n_estimators"


def test_a_single_model_is_as_it_was():
    model = FineTunedGenerator(BigramLearner(WORDS))
    interrupt_in[:] = [1]
    with pytest.raises(KeyboardInterrupt, match=r"^The FineTunedGenerator is as it was before fit\.$"):
        model.fit(QUESTIONS)
    with pytest.raises(NotFittedError):
        model.predict(QUESTIONS)


@kinds
def test_what_is_kept_can_be_used(kind):
    model = booster(kind)
    with pytest.raises(KeyboardInterrupt):
        fit(model, in_round=3)
    rows = (QUESTIONS,) if kind == "tokens" else (FEATURES, CLASSES)
    assert model.score(*rows) == fit(booster(kind, n_estimators=2)).score(*rows)


@kinds
def test_nothing_is_fitted_before_a_round_has_ended(kind):
    model = booster(kind)
    with pytest.raises(KeyboardInterrupt, match="before the first round had ended"):
        fit(model, in_round=1)
    with pytest.raises(NotFittedError):
        model.predict(QUESTIONS if kind == "tokens" else FEATURES)


@kinds
def test_an_interrupted_refit_without_a_round_leaves_the_ensemble_as_it_was(kind):
    model = fit(booster(kind, n_estimators=2))
    before = learned(model)
    with pytest.raises(KeyboardInterrupt, match="as it was before fit"):
        fit(model, in_round=1)
    for array, expected in zip(learned(model), before, strict=True):
        assert_array_equal(array, expected)


@pytest.mark.slow
@kinds
@pytest.mark.parametrize("in_round", [1, 3])
def test_fit_goes_on_to_the_bit(tmp_path, kind, in_round):
    expected = "as it was before" if in_round == 1 else "fit goes on from there when it is called again"
    with pytest.raises(KeyboardInterrupt, match=expected):
        fit(booster(kind, checkpoint_dir=tmp_path), in_round=in_round)
    model = fit(booster(kind, checkpoint_dir=tmp_path))  # on_locked="raise": the lock was released
    assert model.stop_reason_ == "n_estimators"
    assert_same(model, fit(booster(kind)))


def test_a_checkpoint_dir_is_recommended_to_those_who_have_none():
    with pytest.raises(KeyboardInterrupt, match="with a checkpoint_dir, fit could go on"):
        fit(booster("tokens"), in_round=2)


def fit_until(model: Any, step: int | None) -> int:
    """Fit, with Ctrl-C at the given line of the loops, counted from 1; gives the number of lines."""
    folder, seen = Path(ensemw2s.ensemble.__file__).parent, 0
    names = ("_boosting_loop", "_rounds", "token_boosting", "classifier_boosting")
    files = {str(folder / f"{name}.py") for name in names}

    def trace(frame: Any, event: str, _: Any) -> Any:
        nonlocal seen
        if frame.f_code.co_filename not in files:
            return None
        if event == "line":
            seen += 1
            if seen == step:
                raise KeyboardInterrupt
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        fit(model)
    finally:
        sys.settrace(before)
    return seen


@kinds
@pytest.mark.slow
def test_it_may_come_at_any_line(kind):
    by_length = {n: fit(booster(kind, n_estimators=n)) for n in (1, 2)}
    kept = set()
    for step in range(1, fit_until(booster(kind, n_estimators=2), None) + 1):
        model = booster(kind, n_estimators=2)
        with pytest.raises(KeyboardInterrupt):
            fit_until(model, step)
        n_kept = len(getattr(model, "estimators_", ()))
        kept.add(n_kept)
        if n_kept:
            assert model.stop_reason_ == ("interrupted" if n_kept < 2 else "n_estimators"), step
            assert_same(model, by_length[n_kept])
    assert kept == {0, 1, 2}


def pipeline(**parameters: Any) -> W2SPipeline:
    """It trains three members, the student, the baseline and the oracle."""
    return W2SPipeline(booster("tokens", n_estimators=3), BigramLearner(WORDS, smoothing=0.5), **parameters)


def fit_pipeline(model: W2SPipeline, in_fit: int | None = None) -> W2SPipeline:
    interrupt_in[:] = [] if in_fit is None else [in_fit]
    return model.fit(QUESTIONS, None, HARD.drop_answers(), HARD.answers)


def test_a_pipeline_keeps_the_rounds_before():
    model = pipeline()
    with pytest.raises(
        KeyboardInterrupt, match=r"with the 2 rounds before it.* The pipeline holds weak_; student_ is m"
    ):
        fit_pipeline(model, in_fit=3)
    assert_same(model.weak_, fit(booster("tokens", n_estimators=2)))
    with pytest.raises(NotFittedError):
        model.predict(HARD)


def test_a_pipeline_has_nothing_before_the_first_round():
    model = pipeline()
    with pytest.raises(KeyboardInterrupt, match="No stage of the pipeline had ended"):
        fit_pipeline(model, in_fit=1)
    assert not hasattr(model, "weak_")


def test_a_pipeline_keeps_the_stages_before_and_none_of_an_earlier_fit():
    model = fit_pipeline(pipeline())
    labels = model.pseudo_labels_.y
    with pytest.raises(KeyboardInterrupt, match=r"holds weak_, pseudo_labels_; student_ is missing\."):
        fit_pipeline(model, in_fit=4)
    assert_array_equal(model.pseudo_labels_.y, labels)
    assert not hasattr(model, "student_")


def test_a_pipeline_without_its_oracle_can_be_evaluated():
    model = pipeline()
    with pytest.raises(KeyboardInterrupt, match=r"student_, baseline_labels_, baseline_\.$"):
        fit_pipeline(model, in_fit=6)
    report = model.evaluate(HARD)
    assert report.correct.keys() == {"weak", "ensemble", "uniform", "student", "baseline"}
    assert report.performance_gap_recovered()[1] == "no oracle was trained"


@pytest.mark.slow
@pytest.mark.parametrize("in_fit", [2, 4, 6])
def test_a_pipeline_goes_on_to_the_bit(tmp_path, in_fit):
    with pytest.raises(KeyboardInterrupt):
        fit_pipeline(pipeline(checkpoint_dir=tmp_path), in_fit=in_fit)
    model, expected = fit_pipeline(pipeline(checkpoint_dir=tmp_path)), fit_pipeline(pipeline())
    for name in ("weak_", "student_", "baseline_", "oracle_"):
        assert_same(getattr(model, name), getattr(expected, name))


class _CtrlC(TrainerCallback):
    """Presses Ctrl-C at the second step: where Python swallows it, or in the worker processes alone."""

    def __init__(self, where: str) -> None:
        self.where, self.last_step = where, 0

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.last_step = state.global_step
        if state.global_step != 1:
            return
        if self.where == "__del__":
            weakref.finalize(self.__class__.__new__(self.__class__), signal.raise_signal, signal.SIGINT)
        else:
            workers = multiprocessing.active_children()
            assert workers
            for worker in workers:
                os.kill(worker.pid, signal.SIGINT)


@pytest.mark.filterwarnings("ignore:Exception ignored in:pytest.PytestUnraisableExceptionWarning")
def test_ctrl_c_that_python_swallows_ends_a_training_at_the_next_step() -> None:
    ctrl_c = _CtrlC("__del__")
    learner = tiny_learner(batch_size=1, callbacks=[ctrl_c])
    with pytest.raises(KeyboardInterrupt, match="The HFCausalLM in training is not fitted"):
        fit_learner(learner)
    assert ctrl_c.last_step == 1
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_ctrl_c_reaches_no_worker_process_that_the_training_would_wait_for() -> None:
    arguments = {"dataloader_num_workers": 1, "dataloader_persistent_workers": True}
    learner = tiny_learner(batch_size=1, epochs=2, callbacks=[_CtrlC("workers")], training_args=arguments)
    assert fit_learner(learner).history_
