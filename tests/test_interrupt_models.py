"""Ctrl-C while a model is trained: nothing is taken for trained, and what shares its base goes on."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import Any

import numpy as np
import peft
import pytest
from numpy.testing import assert_array_equal
from sklearn.exceptions import NotFittedError
from tiny_classifiers import OPINIONS, SENTENCES, bert_classifier
from tiny_models import ANSWERS, PROMPTS, fit, tiny_learner
from transformers import TrainerCallback

import ensemw2s.learners
from ensemw2s import TokenAdaBoostGenerator

IDS = np.array([[65, 66, 67]])


class CtrlC(TrainerCallback):
    """Ctrl-C at a step, counted over all trainings; once."""

    def __init__(self, at: int) -> None:
        self.to_come = at

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.to_come -= 1
        if self.to_come == 0:
            signal.raise_signal(signal.SIGINT)


def logits(learner: Any) -> np.ndarray:
    return learner.token_logits(IDS, np.ones_like(IDS)).numpy()


@pytest.mark.parametrize("peft_config", ["default", None])
@pytest.mark.slow
def test_a_model_that_was_interrupted_is_not_fitted(peft_config):
    learner = fit(tiny_learner(peft_config=peft_config, epochs=2))
    expected = logits(learner)
    learner.set_params(callbacks=[CtrlC(2)])
    with pytest.raises(KeyboardInterrupt, match=r"^The HFCausalLM in training is not fitted\.$"):
        fit(learner)
    with pytest.raises(NotFittedError):
        logits(learner)
    assert_array_equal(logits(fit(learner)), expected)


def test_a_classifier_that_was_interrupted_is_not_fitted():
    classifier = bert_classifier(epochs=1)
    expected = classifier.fit(SENTENCES, OPINIONS).predict_proba(SENTENCES[:3])
    classifier.set_params(callbacks=[CtrlC(2)])
    with pytest.raises(KeyboardInterrupt, match=r"^The HFClassifier in training is not fitted\.$"):
        classifier.fit(SENTENCES, OPINIONS)
    with pytest.raises(NotFittedError):
        classifier.predict(SENTENCES)
    assert_array_equal(classifier.fit(SENTENCES, OPINIONS).predict_proba(SENTENCES[:3]), expected)


@pytest.mark.slow
def test_members_with_adapters_are_kept():
    def booster(**parameters: Any) -> TokenAdaBoostGenerator:
        learner = tiny_learner(epochs=2, **parameters)
        return TokenAdaBoostGenerator(learner, n_estimators=3, reweight=False, random_state=0)

    model = booster(callbacks=[CtrlC(4)])  # two steps a round: at the end of round 2
    with pytest.raises(KeyboardInterrupt, match="fitted with the round before"):
        model.fit(PROMPTS, ANSWERS)
    whole = booster().fit(PROMPTS, ANSWERS)
    assert_array_equal(logits(model.estimators_[0]), logits(whole.estimators_[0]))
    assert model.generate(PROMPTS[:1], max_new_tokens=3) == whole.with_votes([1.0]).generate(
        PROMPTS[:1], max_new_tokens=3
    )


@pytest.mark.slow
def test_a_base_outlives_ctrl_c_at_any_line_of_a_new_adapter():
    member = fit(tiny_learner(epochs=1))
    host, expected = member._host(), logits(member)
    folders = (str(Path(peft.__file__).parent), str(Path(ensemw2s.learners.__file__).parent))

    def reset_until(step: int | None) -> int:
        seen = 0

        def trace(frame: Any, event: str, _: Any) -> Any:
            nonlocal seen
            if not frame.f_code.co_filename.startswith(folders):
                return None
            if event == "line":
                seen += 1
                if seen == step:
                    sys.settrace(None)
                    raise KeyboardInterrupt
            return trace

        before = sys.gettrace()
        sys.settrace(trace)
        try:
            host.reset(1)
        finally:
            sys.settrace(before)
        return seen

    n_lines = reset_until(None)
    for step in range(1, n_lines, n_lines // 12):
        with pytest.raises(KeyboardInterrupt):
            reset_until(step)
        assert_array_equal(logits(member), expected, err_msg=f"line {step} of {n_lines}")
    another = fit(tiny_learner(epochs=1))
    assert another._host() is host
    assert_array_equal(logits(another), expected)
