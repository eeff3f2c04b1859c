"""Evaluation while training: its loss is the plain one, and it changes nothing but where training ends."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.base import clone
from tiny_classifiers import OPINIONS, SENTENCES, WORDS, tiny_bert
from tiny_models import ANSWERS, CHOICES, PROMPTS, TEMPLATE, plain_model, tiny_learner, tiny_llama, tokens_for
from transformers import EarlyStoppingCallback, TrainerCallback

from ensemw2s import HFClassifier, HFVerifier, QADataset, TokenAdaBoostGenerator, TokenDataset, byte_tokenizer

HELD_OUT = (["Sky: a or d?", "Is it two?"], ["d", "no two"])
WHILE_TRAINING = {"load_best_model_at_end": True}


def fitted(eval_set=None, **parameters):
    learner = tiny_learner(**parameters)
    tokens = tokens_for(learner.initialize())
    return learner.fit(tokens, token_weight=np.linspace(0.1, 2.0, tokens.n_tokens), eval_set=eval_set)


def eval_losses(learner):
    return [entry["eval_loss"] for entry in learner.history_ if "eval_loss" in entry]


def loop_nll(learner, prompts, answers):
    """Mean over answer tokens, one row and one token at a time, in float64."""
    model, tokens = plain_model(learner), TokenDataset.for_learner(learner, prompts, answers)
    losses = []
    for row in range(len(tokens)):
        prompt, answer = (ids.tolist() for ids in tokens.row_ids(row))
        with torch.no_grad():
            log_proba = model(torch.tensor([prompt + answer])).logits[0].log_softmax(-1)
        losses += [-log_proba[len(prompt) + k - 1, token].item() for k, token in enumerate(answer)]
    return np.mean(losses)


def adapter(learner):
    return torch.cat([tensor.flatten() for tensor in learner.adapter_.values()])


@pytest.mark.parametrize(("adapt", "loss"), [("all", "cross-entropy"), ("all", "logconf"), ("answer", "cross-entropy")])
def test_loss_is_that_of_a_loop_without_weights_and_training_goes_through_the_same_numbers(adapt, loss):
    settings = {"adapt": adapt, "loss": loss, "epochs": 2}
    evaluated, plain = fitted(HELD_OUT, **settings, eval_batch_size=1), fitted(**settings)
    assert torch.equal(adapter(evaluated), adapter(plain))
    losses = eval_losses(evaluated)
    assert len(losses) == 2
    if adapt == "all":
        assert losses[-1] == pytest.approx(loop_nll(evaluated, *HELD_OUT), rel=1e-5)
    assert eval_losses(fitted(QADataset(*HELD_OUT), **settings)) == pytest.approx(losses, rel=1e-5)


def test_the_best_weights_come_back():
    # Other answers to the same questions: what is learned at first helps, and what is learned later does not.
    held_out = PROMPTS, ANSWERS[::-1]
    learner = fitted(held_out, lr=3e-2, epochs=12, training_args=WHILE_TRAINING)
    losses = eval_losses(learner)
    assert min(losses) < losses[-1]
    assert loop_nll(learner, *held_out) == pytest.approx(min(losses), rel=1e-4)


class _Counts(TrainerCallback):
    def __init__(self):
        self.n_evaluations = 0

    def on_evaluate(self, args, state, control, metrics, **kwargs):
        self.n_evaluations += "eval_loss" in metrics


def test_training_stops_early_in_each_fit_and_steps_are_evaluated_as_asked():
    stopping = EarlyStoppingCallback(early_stopping_patience=1)
    learner = tiny_learner(lr=0.1, epochs=20, callbacks=[stopping], training_args=WHILE_TRAINING)
    tokens, ends = tokens_for(learner.initialize()), []
    for _ in range(2):  # the count of the first fit must not end the second at once
        learner.fit(tokens, token_weight=np.ones(tokens.n_tokens), eval_set=HELD_OUT)
        losses = eval_losses(learner)
        assert losses[-1] >= losses[-2]
        ends.append(len(losses))
    assert ends[0] == ends[1] < 20
    counts = _Counts()
    fitted(
        HELD_OUT, epochs=1, batch_size=2, callbacks=[counts], training_args={"eval_strategy": "steps", "eval_steps": 1}
    )
    assert counts.n_evaluations == -(-len(PROMPTS) // 2)


def test_rows_that_are_held_out_are_evaluated_and_not_trained_on():
    seen, learner = [], tiny_learner(validation_fraction=0.5, epochs=1)
    train = learner._train
    learner._train = lambda model, tokens, weight, seed, evaluated: (
        seen.extend([tokens, evaluated]), train(model, tokens, weight, seed, evaluated)
    )  # fmt: skip
    tokens = TokenDataset.for_learner(learner.initialize(), [*PROMPTS, *PROMPTS], [*ANSWERS, *ANSWERS])
    learner.fit(tokens, token_weight=np.ones(tokens.n_tokens))
    trained, evaluated = ({each.row_ids(row)[0].tobytes() for row in range(len(each))} for each in seen)
    assert trained
    assert evaluated
    assert not trained & evaluated  # also where a question stands twice
    assert len(seen[0]) + len(seen[1]) == 2 * len(PROMPTS)
    assert len(eval_losses(learner)) == 1


def test_a_classifier_evaluates_the_cross_entropy_of_what_it_predicts():
    held_out = (SENTENCES[::5], OPINIONS[::5])
    classifier = HFClassifier(
        tiny_bert, tokenizer=WORDS, peft_config=None, loss="logconf", lr=1e-2, epochs=3, random_state=0,
        training_args=WHILE_TRAINING,
    ).fit(SENTENCES, OPINIONS, eval_set=held_out)  # fmt: skip
    columns = np.searchsorted(classifier.classes_, held_out[1])
    loss = -classifier.predict_log_proba(held_out[0])[np.arange(len(columns)), columns].mean()
    assert loss == pytest.approx(min(eval_losses(classifier)), rel=1e-5)
    part = HFClassifier(tiny_bert, tokenizer=WORDS, epochs=1, random_state=0, validation_fraction=0.25)
    assert len(eval_losses(part.fit(SENTENCES, OPINIONS))) == 1


def test_a_verifier_evaluates_the_softmax_over_options():
    rows = [row for row, options in enumerate(CHOICES) if len(options) > 1]
    choices = [CHOICES[row] for row in rows]
    questions = QADataset([PROMPTS[row] for row in rows], [options[0] for options in choices], choices=choices)
    verifier = HFVerifier(
        tiny_llama, tokenizer=byte_tokenizer(), prompt_template=TEMPLATE, features="adapted", epochs=3, lr=1e-2,
        random_state=0, training_args=WHILE_TRAINING,
    ).fit(questions[:2], eval_set=questions[2:])  # fmt: skip
    proba = verifier.predict_proba(questions[2:])[np.arange(len(questions) - 2), questions[2:].labels]
    assert -np.log(proba).mean() == pytest.approx(min(eval_losses(verifier)), rel=1e-4)


def _never_called():
    raise AssertionError("the model was loaded")


@pytest.mark.parametrize(
    ("parameters", "eval_set", "message"),
    [
        ({"training_args": WHILE_TRAINING}, None, r"\['load_best_model_at_end'\] needs rows .* pass eval_set to fit"),
        ({"callbacks": [EarlyStoppingCallback()]}, None, "EarlyStoppingCallback needs rows to evaluate on"),
        ({"validation_fraction": 0.5}, HELD_OUT, "validation_fraction must be None where eval_set is given"),
        ({"validation_fraction": 1.0}, None, r"validation_fraction must lie in \(0, 1\)"),
        ({"training_args": {"eval_steps": 3}}, HELD_OUT, "must come with eval_strategy='steps'"),
    ],
)
def test_what_cannot_be_evaluated_is_refused_before_anything_is_loaded(parameters, eval_set, message):
    tokens = tokens_for(tiny_learner().initialize())
    with pytest.raises(ValueError, match=message):
        tiny_learner(_never_called, **parameters).fit(tokens, token_weight=np.ones(tokens.n_tokens), eval_set=eval_set)


def test_a_booster_refuses_a_learner_that_would_hold_out_rows_of_which_errors_are_counted():
    learner = tiny_learner(_never_called, validation_fraction=0.5)
    with pytest.raises(ValueError, match="validation_fraction of a weak learner must be None"):
        TokenAdaBoostGenerator(learner).fit(PROMPTS, ANSWERS)


def test_each_round_evaluates_on_questions_on_which_no_error_is_counted():
    learner = tiny_learner(epochs=8)
    booster = TokenAdaBoostGenerator(learner, n_estimators=2, prior="uniform", sampling="weight", random_state=0)
    plain = clone(booster).fit(PROMPTS, ANSWERS)
    with pytest.raises(ValueError, match=r"eval_set must hold other questions than X.* Got question 0"):
        booster.fit(PROMPTS, ANSWERS, eval_set=(PROMPTS[:1], ANSWERS[:1]))
    booster.fit(PROMPTS, ANSWERS, eval_set=HELD_OUT)
    assert np.array_equal(booster.estimator_errors_, plain.estimator_errors_)
    for member in booster.estimators_:
        assert eval_losses(member)[-1] == pytest.approx(loop_nll(member, *HELD_OUT), rel=1e-5)
