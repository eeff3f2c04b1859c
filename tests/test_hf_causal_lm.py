"""HFCausalLM against plain forward passes, closed-form steps, PEFT's own model and scikit-learn's habits."""

from __future__ import annotations

import copy
import functools
import math
import pickle
import random
import sys
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from types import SimpleNamespace

import numpy as np
import peft
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from peft import LoraConfig
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from test_example_weights import gguf_file  # noqa: F401 (a fixture: a tiny Llama as a GGUF file)
from tiny_models import (
    ANSWERS,
    CHOICES,
    FACTORIES,
    N_POSITIONS,
    PROMPTS,
    fit,
    fitted_members,
    plain_model,
    reference_log_proba,
    tiny_gpt2,
    tiny_learner,
    tiny_llama,
    tokens_for,
    untrained_model,
)
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import BitsAndBytesConfig, PreTrainedTokenizerFast, TrainerCallback

from ensemw2s import (
    BigramLearner,
    EarlyStopWarning,
    FineTunedGenerator,
    HFCausalLM,
    LogConfLoss,
    ProductLoss,
    TokenAdaBoostGenerator,
    TokenDataset,
    WeakLearnerError,
    byte_tokenizer,
    check_weak_learner,
    word_tokenizer,
)
from ensemw2s.ensemble import describe_estimator
from ensemw2s.mixture._scoring import option_nll
from ensemw2s.storage import describe

ARCHITECTURES = sorted(FACTORIES)
# One exact step of gradient descent on all rows.
ONE_STEP = {
    "epochs": 1,
    "batch_size": len(PROMPTS),
    "training_args": {"optim": "sgd", "max_grad_norm": 0.0, "lr_scheduler_type": "constant"},
}


def answer_logits(learner):
    tokens = tokens_for(learner)
    return learner.answer_logits(tokens.batch(np.arange(len(tokens))))


def losses(learner):
    return [entry["loss"] for entry in learner.history_ if "loss" in entry]


def token_nll(model, tokens):
    """NLL of each answer token by one unpadded forward pass a row, differentiable, of shape (n_tokens,)."""
    rows = []
    for row in range(len(tokens)):
        prompt, answer = tokens.row_ids(row)
        logits = model(torch.tensor([[*prompt, *answer[:-1]]])).logits[0, -len(answer) :]
        rows.append(torch.nn.functional.cross_entropy(logits, torch.tensor(answer), reduction="none"))
    return torch.cat(rows)


def some_weights(tokens, seed=0):
    return np.random.default_rng(seed).uniform(0.0, 3.0, tokens.n_tokens)


# --- logits -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ARCHITECTURES)
@pytest.mark.parametrize("peft_config", ["default", None])
@pytest.mark.slow
def test_answer_logits_equal_an_unpadded_float64_forward(name, peft_config):
    learner = fitted_members(name, peft_config)[0]
    tokens = tokens_for(learner)
    log_proba = answer_logits(learner).log_softmax(dim=-1).numpy()
    for row in range(len(tokens)):
        prompt, answer = tokens.row_ids(row)
        expected = reference_log_proba(learner, [*prompt, *answer[:-1]])[-len(answer) :]
        assert_allclose(log_proba[tokens.indptr[row] : tokens.indptr[row + 1]], expected, atol=1e-5)


@pytest.mark.parametrize("name", ARCHITECTURES)
@pytest.mark.slow
def test_token_logits_equal_an_unpadded_float64_forward(name):
    learner = fitted_members(name)[0]
    tokens = tokens_for(learner)
    batch = tokens.batch(np.arange(len(tokens)))
    logits = learner.token_logits(batch.input_ids, batch.attention_mask)
    assert logits.shape == (*batch.input_ids.shape, 258)
    for row in range(len(tokens)):
        ids = batch.input_ids[row][batch.attention_mask[row] == 1]
        expected = reference_log_proba(learner, ids)
        assert_allclose(logits[row, -len(ids) :].log_softmax(dim=-1), expected, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_decode_step_with_a_cache_equals_one_without(name):
    learner = fitted_members(name)[0]
    batch = tokens_for(learner).batch(np.arange(len(PROMPTS)))
    ids, mask, positions = map(torch.from_numpy, (batch.input_ids, batch.attention_mask, batch.position_ids))
    whole, none = learner.decode_step(ids, mask, positions, n_last=4)
    assert none is None
    _, cache = learner.decode_step(ids[:, :-4], mask[:, :-4], positions[:, :-4], use_cache=True)
    stepped = []
    for end in range(ids.shape[1] - 3, ids.shape[1] + 1):
        logits, cache = learner.decode_step(
            ids[:, end - 1 : end], mask[:, :end], positions[:, end - 1 : end], cache=cache, use_cache=True
        )
        stepped.append(logits)
    assert_allclose(torch.cat(stepped, dim=1), whole, atol=1e-5)


def _tiny_mamba():
    from transformers import MambaConfig, MambaForCausalLM

    return MambaForCausalLM(MambaConfig(vocab_size=258, hidden_size=16, num_hidden_layers=1, initializer_range=0.2))


def test_model_without_a_key_value_cache_decodes_and_scores():
    learner = tiny_learner(_tiny_mamba, peft_config=None, epochs=1).initialize()
    check_weak_learner(learner)  # compares decode_step with token_logits
    nll = option_nll([learner], [1.0], PROMPTS, CHOICES)[0]
    prompt, answer = TokenDataset.for_learner(learner, PROMPTS[:1], CHOICES[0][:1]).row_ids(0)
    log_proba = reference_log_proba(learner, [*prompt, *answer[:-1]])[-len(answer) :]
    assert nll[0, 0] == pytest.approx(-log_proba[np.arange(len(answer)), answer].sum(), abs=1e-4)


def test_batch_size_changes_logits_by_rounding_only():
    learner = fitted_members("gemma3")[0]
    tokens = tokens_for(learner)
    together = answer_logits(learner)
    for row in range(len(tokens)):
        alone = learner.answer_logits(tokens.batch(np.array([row])))
        assert_allclose(alone, together[tokens.indptr[row] : tokens.indptr[row + 1]], atol=1e-5)


# --- training ---------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("name", ARCHITECTURES)
@pytest.mark.parametrize("peft_config", ["default", None])
def test_fit_lowers_the_loss(name, peft_config):
    for member in fitted_members(name, peft_config):
        assert losses(member)[-1] < 0.9 * losses(member)[0]


@pytest.mark.parametrize("peft_config", ["default", None])
def test_first_loss_is_the_weighted_mean_nll_of_the_untrained_model(peft_config):
    learner = tiny_learner(peft_config=peft_config, batch_size=8, epochs=1).initialize()
    tokens = tokens_for(learner)
    weight = some_weights(tokens)
    learner.fit(tokens, token_weight=weight)
    with torch.no_grad():
        nll = token_nll(untrained_model(tiny_llama).double(), tokens).numpy()
    assert losses(learner) == [pytest.approx(np.average(nll, weights=weight), rel=1e-5)]


@pytest.mark.parametrize("name", ["llama", "gpt2", "gemma3"])
def test_full_batch_step_moves_all_weights_by_the_closed_form_gradient(name):
    lr = 0.1
    learner = tiny_learner(FACTORIES[name], peft_config=None, lr=lr, **ONE_STEP).initialize()
    tokens = tokens_for(learner)
    weight = some_weights(tokens)
    learner.fit(tokens, token_weight=weight)
    model = untrained_model(FACTORIES[name]).double()
    loss = (token_nll(model, tokens) * torch.tensor(weight)).sum() / weight.sum()
    loss.backward()
    for (parameter_name, before), (_, after) in zip(
        model.named_parameters(), learner.model_.named_parameters(), strict=True
    ):
        expected = before.detach() - lr * before.grad
        assert_allclose(after.detach(), expected, atol=1e-6, err_msg=parameter_name)


def test_confidence_in_own_tokens_moves_the_weights_by_its_gradient():
    lr, a = 0.1, 0.4
    learner = tiny_learner(peft_config=None, lr=lr, loss=LogConfLoss(a, warmup=0), dtype="float64", **ONE_STEP)
    tokens = tokens_for(learner.initialize())
    learner.fit(tokens, token_weight=(weight := some_weights(tokens)))
    model, total = untrained_model(tiny_llama).double(), 0.0
    for row in range(len(tokens)):
        prompt, answer = tokens.row_ids(row)
        logits = model(torch.tensor([[*prompt, *answer]])).logits[0, len(prompt) - 1 : -1]
        for log_proba, label, w in zip(logits.log_softmax(-1), answer, weight[tokens.indptr[row] :], strict=False):
            total -= w * ((1 - a) * log_proba[label] + a * log_proba.max())
    (total / weight.sum()).backward()
    for before, after in zip(model.parameters(), learner.model_.parameters(), strict=True):
        assert_allclose(after.detach(), before.detach() - lr * before.grad, atol=1e-6)


def test_full_batch_step_moves_an_adapter_by_the_closed_form_gradient():
    lr = 0.1
    learner = tiny_learner(lr=lr, **ONE_STEP).initialize()
    tokens = tokens_for(learner)
    weight = some_weights(tokens)
    untouched = fit(clone(learner).set_params(lr=1e-30, **ONE_STEP)).adapter_
    learner.fit(tokens, token_weight=weight)
    start = copy.copy(learner)
    start.adapter_ = untouched
    model = plain_model(start)
    ((token_nll(model, tokens) * torch.tensor(weight)).sum() / weight.sum()).backward()
    moved = {name: p for name, p in model.named_parameters() if name in learner.adapter_}
    assert any(parameter.grad.abs().max() > 1e-3 for parameter in moved.values())
    for name, parameter in moved.items():
        assert_allclose(learner.adapter_[name], (parameter - lr * parameter.grad).detach(), atol=1e-6, err_msg=name)


@pytest.mark.parametrize(
    ("n_rows", "batch_size", "accumulated", "epochs"),
    [(4, 1, 1, 1), (9, 1, 4, 1), (10, 2, 2, 1), (6, 1, 5, 2), (7, 3, 4, 1)],
)
@pytest.mark.slow
def test_every_row_pulls_by_its_weight_whatever_batch_and_window_it_is_in(n_rows, batch_size, accumulated, epochs):
    # To first order, the steps of an epoch are one step on the documented loss, times their number: neither the light
    # rows nor those of an incomplete batch or window may pull as much as the others.
    lr = 1e-6
    arguments = {**ONE_STEP["training_args"], "gradient_accumulation_steps": accumulated}
    learner = tiny_learner(
        peft_config=None, dtype="float64", lr=lr, epochs=epochs, batch_size=batch_size, training_args=arguments
    ).initialize()
    prompts = [f"{prompt} {number}" for number in range(3) for prompt in PROMPTS][:n_rows]
    tokens = TokenDataset.for_learner(learner, prompts, (ANSWERS * 3)[:n_rows])
    row_weight = np.random.default_rng(0).uniform(0.1, 3.0, n_rows)
    weight = tokens.spread(row_weight)
    learner.fit(tokens, token_weight=weight)

    model = untrained_model(tiny_llama).double()
    nll = token_nll(model, tokens)
    gradients = []
    for row in range(n_rows):
        start, stop = tokens.indptr[row], tokens.indptr[row + 1]
        gradient = torch.autograd.grad(nll[start:stop].sum(), list(model.parameters()), retain_graph=True)
        gradients.append(torch.cat([part.flatten() for part in gradient]))
    step = torch.cat([
        (before - after).detach().flatten() for before, after in zip(
            model.parameters(), learner.model_.parameters(), strict=True)
    ])  # fmt: skip
    pull = torch.linalg.lstsq(torch.stack(gradients).T, step[:, None] / lr).solution[:, 0]
    n_steps = epochs * math.ceil(math.ceil(n_rows / batch_size) / accumulated)
    assert_allclose(pull, n_steps * row_weight / weight.sum(), rtol=1e-3)


def test_accumulated_batches_equal_a_full_batch():
    accumulated = {**ONE_STEP["training_args"], "gradient_accumulation_steps": 2}
    whole = fit(tiny_learner(peft_config=None, **ONE_STEP))
    halves = fit(tiny_learner(peft_config=None, epochs=1, batch_size=2, training_args=accumulated))
    for one, other in zip(whole.model_.parameters(), halves.model_.parameters(), strict=True):
        assert_allclose(other.detach(), one.detach(), atol=1e-6)


def test_token_without_weight_has_no_influence():
    learner = tiny_learner().initialize()
    tokens = tokens_for(learner)
    weight = np.ones(tokens.n_tokens)
    weight[tokens.indptr[1:] - 1] = 0.0  # the last tokens, which are never fed
    labels = tokens.labels.copy()
    labels[tokens.indptr[1:] - 1] = 7
    other = TokenDataset(tokens.prompt_ids, tokens.prompt_indptr, labels, tokens.indptr)
    first, second = (answer_logits(clone(learner).fit(data, token_weight=weight)) for data in (tokens, other))
    assert_array_equal(first, second)


def test_row_without_weight_has_no_influence():
    learner = tiny_learner().initialize()
    tokens = tokens_for(learner)
    weight = tokens.spread(np.array([1.0, 0.0, 2.0, 1.0]))
    kept = np.array([0, 2, 3])
    both = clone(learner).fit(tokens, token_weight=weight)
    alone = clone(learner).fit(tokens.take(kept), token_weight=weight[weight > 0])
    assert_allclose(answer_logits(both), answer_logits(alone), atol=1e-6)


@pytest.mark.parametrize("scale", [1e-60, 2.0**-20, 1e60])
@pytest.mark.slow
def test_only_the_ratios_of_the_weights_matter(scale):
    weight = some_weights(tokens_for(tiny_learner().initialize()))
    once, scaled = (answer_logits(fit(tiny_learner(), w)) for w in (weight, weight * scale))
    assert_allclose(scaled, once, atol=1e-4)


def test_training_args_reach_the_trainer():
    learner = fit(tiny_learner(training_args={"max_steps": 3, "logging_strategy": "steps", "logging_steps": 1}))
    assert [entry["step"] for entry in learner.history_ if "loss" in entry] == [1, 2, 3]


class _Counter(TrainerCallback):
    def __init__(self):
        self.steps, self.lock = 0, sys.stdout  # a file cannot be copied

    def on_step_end(self, args, state, control, **kwargs):
        self.steps += 1


def test_callbacks_are_called_also_in_a_clone():
    counter = _Counter()
    fit(clone(tiny_learner(callbacks=[counter], epochs=3, batch_size=2)))
    assert counter.steps == 6


def test_fit_says_nothing_unless_verbose(capfd):
    fit(tiny_learner())
    assert capfd.readouterr() == ("", "")


def test_fit_shows_its_progress_when_verbose(capfd):
    fit(tiny_learner(verbose=True))
    assert "4/4" in capfd.readouterr().err


def test_mixed_precision_ends_with_the_training():
    learner = fit(tiny_learner(peft_config=None, training_args={"bf16": True}))
    with torch.no_grad():
        expected = token_nll(learner.model_, tokens_for(learner)).numpy()
    plain = untrained_model(tiny_llama)
    plain.load_state_dict(learner.model_.state_dict())
    with torch.no_grad():
        assert_allclose(expected, token_nll(plain, tokens_for(learner)).numpy(), atol=1e-5)
    assert "forward" not in vars(learner.model_)


# --- divergence -------------------------------------------------------------------------------------------------------


def test_loss_that_is_not_finite_is_an_error():
    with pytest.raises(WeakLearnerError, match=r"The training loss is (nan|inf) at step [2-4]; lower lr"):
        fit(tiny_learner(lr=1e30))


def test_overflow_in_the_last_step_is_an_error():
    settings = {"weight_decay": 10.0, "lr_scheduler_type": "constant"}  # weights are multiplied by 1 - 1e39
    with pytest.raises(WeakLearnerError, match=r"Training left a value in .* that is not finite; lower lr"):
        fit(tiny_learner(lr=1e38, epochs=1, training_args=settings))


def test_failed_training_leaves_other_members_as_they_were():
    config = LoraConfig(r=4, target_modules="all-linear", lora_dropout=0.5)
    member = fit(tiny_learner(peft_config=config))
    before = answer_logits(member)
    with pytest.raises(WeakLearnerError, match="training loss"):
        fit(tiny_learner(peft_config=config, lr=1e30, random_state=1))
    assert_array_equal(answer_logits(member), before)


# --- adapters ---------------------------------------------------------------------------------------------------------


def base_weights(learner):
    with learner.lend_model() as model:
        return {name: p.data_ptr() for name, p in model.named_parameters() if "lora" not in name}


def test_members_share_one_base_in_memory():
    first, second, third = fitted_members("llama")
    assert base_weights(first) == base_weights(second) == base_weights(third)


def test_members_keep_their_predictions_when_others_are_trained():
    member = fit(tiny_learner())
    before = answer_logits(member)
    other = fit(tiny_learner(random_state=5, lr=0.05))
    assert not np.allclose(answer_logits(other), before)
    assert_array_equal(answer_logits(member), before)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_initialize_gives_the_base_model_also_after_a_fit(name):
    fitted_members(name)
    learner = tiny_learner(FACTORIES[name]).initialize()
    tokens = tokens_for(learner)
    with torch.no_grad():
        expected = token_nll(untrained_model(FACTORIES[name]).double(), tokens).numpy()
    batch = tokens.batch(np.arange(len(tokens)))
    log_proba = learner.answer_logits(batch).log_softmax(dim=-1).numpy()
    assert_allclose(-log_proba[np.arange(tokens.n_tokens), tokens.labels], expected, atol=1e-5)


def test_initialize_forgets_what_was_fitted():
    learner = fit(tiny_learner())
    assert_array_equal(answer_logits(learner.initialize()), answer_logits(tiny_learner().initialize()))


CONFIGS = {
    "dora": LoraConfig(r=2, target_modules="all-linear", use_dora=True),
    "ia3": peft.IA3Config(task_type="CAUSAL_LM"),
    "loha": peft.LoHaConfig(r=2, target_modules=["q_proj", "v_proj"]),
    "modules_to_save": LoraConfig(r=2, target_modules=["q_proj"], modules_to_save=["lm_head"]),
    "token_indices": LoraConfig(r=2, target_modules=["q_proj"], trainable_token_indices=[97, 98]),
    "gaussian": LoraConfig(r=2, target_modules="all-linear", init_lora_weights="gaussian"),
    "for_inference": LoraConfig(r=2, target_modules="all-linear", inference_mode=True),
    "dropout": LoraConfig(r=2, target_modules="all-linear", lora_dropout=0.3),
}


@pytest.mark.parametrize("name", sorted(CONFIGS))
@pytest.mark.slow
def test_other_adapters_learn_and_leave_the_base_alone(name):
    learner = fit(tiny_learner(peft_config=CONFIGS[name], random_state=1))
    assert losses(learner)[-1] < losses(learner)[0]
    first = answer_logits(learner)
    fit(tiny_learner(peft_config=CONFIGS[name], random_state=2))
    assert_array_equal(answer_logits(learner), first)
    untrained = tiny_learner(peft_config=CONFIGS[name]).initialize()
    assert_array_equal(answer_logits(untrained), answer_logits(tiny_learner(peft_config=None).initialize()))


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (LoraConfig(bias="all"), r"peft_config.bias must be 'none'.*Got 'all'"),
        (LoraConfig(init_lora_weights="pissa"), r"init_lora_weights must be True, False, .*Got 'pissa'"),
        (LoraConfig(init_lora_weights="olora"), r"init_lora_weights must be True, False, .*Got 'olora'"),
        (peft.PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=2), r"peft_config must adapt layers"),
    ],
    ids=["bias", "pissa", "olora", "prompt"],
)
def test_adapters_that_would_change_the_shared_base_are_refused(config, message):
    with pytest.raises(ValueError, match=message):
        tiny_learner(_never_called, peft_config=config).initialize()


@dataclass
class _Factory:
    """A function with a state, and without a hash."""

    make: object

    def __call__(self):
        return self.make()


@pytest.mark.parametrize("model", [functools.partial(tiny_llama), _Factory(tiny_llama)], ids=["partial", "no hash"])
def test_clones_of_any_callable_share_one_base(model):
    learner = tiny_learner(model)
    first, second = (clone(learner).initialize() for _ in range(2))
    assert base_weights(first) == base_weights(second)


@pytest.mark.slow
def test_threads_do_not_swap_each_others_adapters():
    members = fitted_members("llama")
    expected = [answer_logits(member) for member in members]
    wrong = []

    def predict(member, logits):
        for _ in range(30):
            if not torch.equal(answer_logits(member), logits):
                wrong.append(member)

    threads = [Thread(target=predict, args=pair) for pair in zip(members, expected, strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


# --- determinism ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("peft_config", [LoraConfig(r=2, target_modules="all-linear", lora_dropout=0.2), None])
@pytest.mark.slow
def test_same_seed_gives_the_same_bits(peft_config):
    first, second = (answer_logits(fit(tiny_learner(peft_config=peft_config, batch_size=2))) for _ in range(2))
    assert_array_equal(first, second)


def test_seeds_differ():
    first, second = (answer_logits(fit(tiny_learner(random_state=seed))) for seed in (0, 1))
    assert not np.array_equal(first, second)


def test_fitting_again_starts_from_the_untrained_model():
    learner = fit(tiny_learner(peft_config=None))
    once = answer_logits(learner).clone()
    assert_array_equal(answer_logits(fit(learner)), once)


@pytest.mark.parametrize("peft_config", ["default", None])
def test_global_generators_are_left_alone(peft_config):
    states = (random.getstate(), np.random.get_state()[1].copy(), torch.get_rng_state())  # noqa: NPY002
    answer_logits(fit(tiny_learner(peft_config=peft_config)))
    assert random.getstate() == states[0]
    assert_array_equal(np.random.get_state()[1], states[1])  # noqa: NPY002
    assert torch.equal(torch.get_rng_state(), states[2])


def test_global_seed_does_not_matter_for_a_seeded_learner():
    torch.manual_seed(1)
    first = answer_logits(fit(tiny_learner()))
    torch.manual_seed(2)
    assert_array_equal(answer_logits(fit(tiny_learner())), first)


# --- tokenizers -------------------------------------------------------------------------------------------------------


def _without_pad():
    tokenizer = byte_tokenizer()
    tokenizer.pad_token = None
    return tokenizer


def _right_padding():
    tokenizer = byte_tokenizer()
    tokenizer.padding_side = "right"
    return tokenizer


@pytest.mark.parametrize("make", [_without_pad, _right_padding])
@pytest.mark.slow
def test_pad_token_and_padding_side_of_the_tokenizer_do_not_matter(make):
    tokenizer = make()
    expected = answer_logits(fit(tiny_learner()))
    assert_array_equal(answer_logits(fit(tiny_learner(tokenizer=tokenizer))), expected)


def test_tokenizer_with_bos_starts_every_prompt_with_it():
    from tokenizers.processors import TemplateProcessing

    tokenizer = byte_tokenizer()
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(single="<eos> $A", special_tokens=[("<eos>", 256)])
    learner = fit(tiny_learner(tokenizer=tokenizer))
    tokens = tokens_for(learner)
    for row in range(len(tokens)):
        prompt, answer = tokens.row_ids(row)
        assert prompt[0] == 256
        expected = reference_log_proba(learner, [*prompt, *answer[:-1]])[-len(answer) :]
        found = learner.answer_logits(tokens.batch(np.array([row]))).log_softmax(dim=-1)
        assert_allclose(found, expected, atol=1e-5)


def with_one_more(token="<image>"):
    tokenizer = byte_tokenizer()
    tokenizer.add_tokens([token])
    return tokenizer


def test_a_token_without_an_embedding_is_refused_where_it_occurs():
    learner = tiny_learner(tokenizer=with_one_more(), epochs=1)
    generator = FineTunedGenerator(learner, on_bad_row="skip").fit(["a", "b", "c"], ["one", "<image>", "two"])
    [(row, reason)] = generator.skipped_rows_
    assert row == 1
    assert "Row 1 holds the token '<image>', number 258, and the model has only 258 embeddings" in reason
    for use in (
        lambda: generator.predict(["a", "<image> b"]),
        lambda: generator.predict(["a", "b"], choices=[["x", "y"], ["x", "<image>"]]),
        lambda: generator.answer_nll(["a", "b"], ["x", "<image>"]),
    ):
        with pytest.raises(ValueError, match="Row 1 holds the token '<image>'"):
            use()
    same = FineTunedGenerator(tiny_learner(epochs=1)).fit(["a", "c"], ["one", "two"])
    assert_array_equal(generator.answer_nll(["a"], ["x"]), same.answer_nll(["a"], ["x"]))


def test_a_padding_token_without_an_embedding_fills_no_row():
    padded = with_one_more("[PAD]")
    padded.pad_token = "[PAD]"
    questions, answers = ["a", "longer than a"], ["one", "nineteen"]
    same, other = (FineTunedGenerator(tiny_learner(tokenizer=t, epochs=2)).fit(questions, answers)
                   for t in (byte_tokenizer(), padded))  # fmt: skip
    assert same.generate(questions) == other.generate(questions)
    assert_allclose(same.answer_nll(questions, answers), other.answer_nll(questions, answers), rtol=1e-5)


def test_a_tokenizer_whose_end_of_answer_has_no_embedding_is_refused():
    tokenizer = with_one_more("</s>")
    tokenizer.eos_token = "</s>"
    with pytest.raises(WeakLearnerError, match=r"The tokenizer has 259 tokens, the model only 258 embeddings, and none "
                       r"for '</s>', which ends an answer"):  # fmt: skip
        tiny_learner(tokenizer=tokenizer).initialize()


def test_ids_may_have_holes():
    vocabulary = {"<eos>": 0, "<unk>": 3, "a": 5, "b": 7, "red": 40, "blue": 100, "?": 257}
    words = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, eos_token="<eos>", unk_token="<unk>")
    assert len(tokenizer) == 7
    settings = {"tokenizer": tokenizer, "prompt_template": "{prompt}"}
    for learner in (tiny_learner(epochs=30, **settings), BigramLearner(**settings)):
        generator = FineTunedGenerator(learner).fit(["a", "b"], ["red", "blue"])
        assert generator.predict(["a", "b"]).tolist() == ["red", "blue"]


def ends_turns():
    """A model that has learned, in a chat, to end a turn by ``<pad>``."""
    model = tiny_llama()
    model.generation_config.eos_token_id = [257, 65]
    return model


@pytest.mark.slow
def test_a_text_ends_where_the_models_own_generation_does(tmp_path):
    untrained_model(ends_turns).save_pretrained(tmp_path / "base")
    byte_tokenizer().save_pretrained(tmp_path / "base")
    assert tiny_learner(tiny_llama).initialize().end_ids_ == []  # LlamaConfig's own 2 is a byte
    for given in (ends_turns, str(tmp_path / "base")):
        learner = tiny_learner(given, epochs=1).initialize()
        assert learner.end_ids_ == [257]  # 65 is a letter
        generator = FineTunedGenerator(learner).fit(["a", "b"], ["one", "two"])
        assert generator.mixture_.config.eos_token_id == [256, 257]
        with pytest.raises(ValueError, match=r"row 0 must not hold the end-of-answer token '<pad>'.* Got 'x<pad>'"):
            generator.answer_nll(["a"], ["x<pad>"])
    generator.save_pretrained(tmp_path / "saved")
    assert FineTunedGenerator.from_pretrained(tmp_path / "saved").mixture_.config.eos_token_id == [256, 257]
    before = describe_estimator(learner, "x")
    untrained_model(tiny_llama).generation_config.save_pretrained(tmp_path / "base")
    assert describe_estimator(learner, "x") != before


def test_tokenizer_smaller_than_the_embeddings_is_served():
    learner = fit(tiny_learner(tokenizer=word_tokenizer([*PROMPTS, *ANSWERS, ":"]), prompt_template="{prompt} :"))
    assert answer_logits(learner).shape[-1] == 258
    assert losses(learner)[-1] < losses(learner)[0]


# --- limits and input -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("max_length", "limit"), [(None, N_POSITIONS), (40, 40), (4000, N_POSITIONS)])
def test_max_length_is_limited_by_the_model(max_length, limit):
    assert tiny_learner(max_length=max_length).initialize().max_length_ == limit


def test_overlong_row_is_refused_before_training():
    learner = tiny_learner(max_length=20).initialize()
    with pytest.raises(ValueError, match=r"Row 1 is 32 tokens long, question and answer, more than max_length=20"):
        tokens_for(learner)


def test_overlong_prompt_is_cut_on_request():
    learner = tiny_learner(max_length=20, truncation="prompt").initialize()
    tokens = tokens_for(learner)
    assert tokens.lengths.max() == 20
    assert losses(learner.fit(tokens, token_weight=np.ones(tokens.n_tokens)))


def test_fit_refuses_rows_longer_than_the_model():
    tokens = TokenDataset.from_text(["x" * N_POSITIONS], ["y"], tokenizer=byte_tokenizer())
    with pytest.raises(ValueError, match=rf"rows of at most {N_POSITIONS} tokens. Got \d+ in row 0"):
        tiny_learner().fit(tokens, token_weight=np.ones(tokens.n_tokens))


def test_fit_refuses_tokens_of_another_tokenizer():
    tokens = TokenDataset.from_text(PROMPTS, ANSWERS, tokenizer=byte_tokenizer())
    learner = tiny_learner(tokenizer=word_tokenizer(PROMPTS))
    with pytest.raises(ValueError, match=r"tokens must come from this learner's tokenizer, of \d+ tokens"):
        learner.fit(tokens, token_weight=np.ones(tokens.n_tokens))


@pytest.mark.parametrize(
    ("weight", "message"),
    [
        (lambda n: np.ones(n + 1), r"token_weight must have shape \(\d+,\), one per answer token"),
        (lambda n: np.zeros(n), r"token_weight must have a positive, finite sum"),
        (lambda n: -np.ones(n), r"token_weight must hold non-negative numbers. Got token_weight\[0\] = -1.0"),
        (lambda n: np.full(n, np.nan), r"token_weight must hold finite numbers"),
    ],
)
def test_fit_refuses_bad_weights(weight, message):
    tokens = TokenDataset.from_text(PROMPTS, ANSWERS, tokenizer=byte_tokenizer())
    with pytest.raises(ValueError, match=message):
        tiny_learner(_never_called).fit(tokens, token_weight=weight(tokens.n_tokens))


def test_fit_refuses_texts_and_names_the_remedy():
    with pytest.raises(TypeError, match=r"tokens must be a TokenDataset. Got list.*FineTunedGenerator"):
        tiny_learner(_never_called).fit(PROMPTS, token_weight=np.ones(4))


def _never_called():
    raise AssertionError("the model was loaded")


@pytest.mark.parametrize(
    ("parameters", "error", "message"),
    [
        ({"model": 3}, TypeError, r"model must be a hub id, a folder or a function.*Got int"),
        ({"tokenizer": None}, ValueError, r"tokenizer must be given when model is a function"),
        ({"tokenizer": 3}, TypeError, r"tokenizer must be a hub id, a folder or a tokenizer. Got int"),
        ({"peft_config": "lora"}, ValueError, r"peft_config must be 'default', a PeftConfig or None. Got 'lora'"),
        ({"lr": 0.0}, ValueError, r"lr must be > 0. Got 0.0"),
        ({"lr": float("nan")}, ValueError, r"lr must be finite"),
        ({"lr": 1e308}, ValueError, r"lr must lie between 0 and 3.40282e\+38. Got 1e\+308"),
        ({"lr": 1e39, "dtype": "bfloat16"}, ValueError, r"lr must lie between 0 and 3.38953e\+38. Got 1e\+39"),
        ({"epochs": -1}, ValueError, r"epochs must be > 0. Got -1"),
        ({"epochs": 1e308}, ValueError, r"epochs must lie between 0 and 1e\+09. Got 1e\+308"),
        ({"epochs": 10**400}, ValueError, r"epochs must be finite. Got inf"),
        ({"batch_size": 10**30}, ValueError, r"batch_size must be at most"),
        ({"verbose": "false"}, ValueError, r"verbose must be True or False. Got 'false'"),
        ({"batch_size": 0}, ValueError, r"batch_size must be an integer of at least 1. Got 0"),
        ({"batch_size": 1.5}, ValueError, r"batch_size must be an integer of at least 1. Got 1.5"),
        ({"eval_batch_size": None}, ValueError, r"eval_batch_size must be an integer of at least 1. Got None"),
        ({"max_length": 1}, ValueError, r"max_length must be an integer of at least 2. Got 1"),
        ({"truncation": True}, ValueError, r"truncation must be one of 'error', 'prompt'. Got True"),
        ({"prompt_template": "Q:"}, ValueError, r"prompt_template must contain"),
        ({"training_args": {"warmup_ratio": 0.1}}, ValueError, r"fields of transformers.TrainingArguments.*warmup_"),
        ({"training_args": "fast"}, TypeError, r"training_args must be a dict or None. Got 'fast'"),
        ({"callbacks": 3}, TypeError, r"callbacks must be a sequence of TrainerCallback. Got 3"),
        ({"callbacks": [print]}, TypeError, r"callbacks\[0\] must be a TrainerCallback"),
        ({"dtype": "float33"}, ValueError, r"dtype must name a floating-point torch dtype.*Got 'float33'"),
        ({"dtype": "int8"}, ValueError, r"dtype must name a floating-point torch dtype.*Got 'int8'"),
        ({"device": "tpu9"}, ValueError, r"device must be a torch device.*Got 'tpu9'"),
        ({"dtype": "float8_e4m3fn"}, ValueError, "dtype must name a floating-point torch dtype"),
        ({"random_state": "x"}, ValueError, "random_state must be an integer from 0 to .* Got 'x'"),
        ({"gguf_file": "x.gguf"}, ValueError, r"gguf_file must be None when model is a function"),
        ({"revision": "main"}, ValueError, r"revision must be None when model is a function"),
        ({"loss": "product"}, ValueError, r"loss must be one of 'cross-entropy', 'logconf'. Got 'product'"),
        ({"loss": LogConfLoss(2)}, ValueError, r"alpha must lie in \[0, 1\]"),
        ({"loss": ProductLoss()}, ValueError, r"an object with a method start_tokens\(n_steps\). Got ProductLoss"),
        ({"model_kwargs": "eager"}, TypeError, r"model_kwargs must be a dict of arguments"),
        (
            {"model_kwargs": {"trust_remote_code": True}},
            ValueError,
            r"model_kwargs may hold .* Got 'trust_remote_code'",
        ),
        ({"model_kwargs": {"device_map": "auto"}}, ValueError, r"model_kwargs must be None when model is a function"),
    ],
)
def test_wrong_parameters_are_refused_before_anything_is_loaded(parameters, error, message):
    learner = tiny_learner(**{"model": _never_called, **parameters})
    with pytest.raises(error, match=message):
        learner.initialize()


@pytest.mark.parametrize(
    ("parameters", "error", "message"),
    [
        ({"attn_implementation": "kernels-community/flash-attn"}, ValueError, r"must be one of 'eager', 'sdpa'"),
        ({"attn_implementation": "flash_attention_2"}, ValueError, "needs the package flash_attn, which is not inst"),
        ({"quantization_config": {"load_in_4bit": True}}, TypeError, "must be a configuration of transformers"),
        ({"quantization_config": BitsAndBytesConfig(load_in_4bit=True)}, ValueError, "needs the package bitsandbytes"),
    ],
)
def test_what_a_base_cannot_be_loaded_with_is_refused_before_it_is_loaded(monkeypatch, parameters, error, message):
    monkeypatch.setattr("ensemw2s.learners._checks.find_spec", lambda name: None)
    with pytest.raises(error, match=message):
        HFCausalLM("no-such-model", model_kwargs=parameters).initialize()


def test_quantised_weights_are_not_trained():
    with pytest.raises(ValueError, match="quantised weights are not trained, an adapter on them is"):
        HFCausalLM(
            "no-such-model",
            peft_config=None,
            model_kwargs={"quantization_config": BitsAndBytesConfig(load_in_4bit=True)},
        ).initialize()


def test_a_device_that_bitsandbytes_does_not_know_is_refused(monkeypatch):
    stand_in = SimpleNamespace(supported_torch_devices={"cuda"}, __version__="0.45", __spec__=True)
    monkeypatch.setitem(sys.modules, "bitsandbytes", stand_in)
    monkeypatch.setattr("ensemw2s.learners._checks.find_spec", lambda name: True)
    with pytest.raises(ValueError, match="cannot be used on the device 'cpu': bitsandbytes"):
        HFCausalLM(
            "no-such-model", device="cpu", model_kwargs={"quantization_config": BitsAndBytesConfig(load_in_4bit=True)}
        ).initialize()


@pytest.fixture
def base_folder(tmp_path):
    untrained_model(tiny_llama).save_pretrained(tmp_path / "base")
    byte_tokenizer().save_pretrained(tmp_path / "base")
    return str(tmp_path / "base")


def test_the_base_is_loaded_with_the_attention_that_was_asked_for(base_folder, tmp_path):
    learner = tiny_learner(
        base_folder, tokenizer=None, model_kwargs={"attn_implementation": "eager", "device_map": "cpu"}
    )
    fitted = FineTunedGenerator(learner).fit(PROMPTS[:3], [row[0] for row in CHOICES[:3]])
    with fitted.estimators_[0].lend_model() as model:
        assert model.config._attn_implementation == "eager"
    assert not {"model_kwargs", "loss"} & describe(tiny_learner(base_folder), "x")["parameters"].keys()
    fitted.save_pretrained(tmp_path / "saved")
    read = FineTunedGenerator.from_pretrained(tmp_path / "saved")
    assert read.estimator.model_kwargs == {"attn_implementation": "eager"}  # where it lay is of the other machine
    assert np.array_equal(
        read.predict_proba(PROMPTS[:3], choices=CHOICES[:3]), fitted.predict_proba(PROMPTS[:3], choices=CHOICES[:3])
    )


@pytest.mark.filterwarnings("default")
def test_adapters_on_a_base_of_4_bit_weights(base_folder, tmp_path):
    pytest.importorskip("bitsandbytes")
    config = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4")
    learner = tiny_learner(base_folder, tokenizer=None, device="cpu", model_kwargs={"quantization_config": config})
    fitted = FineTunedGenerator(learner).fit(PROMPTS[:3], [row[0] for row in CHOICES[:3]])
    with fitted.estimators_[0].lend_model() as model:
        layer = model.get_base_model().model.layers[0].self_attn.q_proj.base_layer
        assert layer.weight.dtype == torch.uint8
    losses = [entry["loss"] for entry in fitted.estimators_[0].history_ if "loss" in entry]
    assert losses[-1] < losses[0]
    fitted.save_pretrained(tmp_path / "saved")
    read = FineTunedGenerator.from_pretrained(tmp_path / "saved")
    assert np.array_equal(
        read.predict_proba(PROMPTS[:3], choices=CHOICES[:3]), fitted.predict_proba(PROMPTS[:3], choices=CHOICES[:3])
    )


def test_live_model_is_refused():
    with pytest.raises(TypeError, match=r"Got LlamaForCausalLM instead; save a live model with save_pretrained"):
        tiny_learner(tiny_llama()).initialize()


@pytest.mark.parametrize("peft_config", ["default", None])
def test_factory_that_returns_one_model_again_is_refused(peft_config):
    model = tiny_llama()
    tiny_learner(lambda: model, peft_config=peft_config).initialize()
    with pytest.raises(ValueError, match=r"model\(\) must build a new model at each call"):
        tiny_learner(lambda: model, peft_config=peft_config).initialize()


def test_factory_must_return_a_model():
    with pytest.raises(TypeError, match=r"model\(\) must return a transformers.PreTrainedModel. Got int"):
        tiny_learner(lambda: 3).initialize()


@pytest.mark.parametrize("call", ["answer_logits", "token_logits", "lend_model"])
def test_use_before_initialize_is_a_not_fitted_error(call):
    batch = TokenDataset.from_text(PROMPTS, ANSWERS, tokenizer=byte_tokenizer()).batch(np.arange(2))
    arguments = {"answer_logits": (batch,), "token_logits": (batch.input_ids, batch.attention_mask), "lend_model": ()}
    with pytest.raises(NotFittedError, match="HFCausalLM instance is not fitted"):
        getattr(tiny_learner(), call)(*arguments[call])


# --- scikit-learn's habits --------------------------------------------------------------------------------------------


def test_clone_keeps_every_parameter_and_nothing_fitted():
    learner = tiny_learner(peft_config=LoraConfig(r=3), training_args={"warmup_steps": 2}, random_state=7)
    copied = clone(fit(learner) and learner)
    assert {name: repr(value) for name, value in copied.get_params().items()} == {
        name: repr(value) for name, value in learner.get_params().items()
    }
    assert copied.training_args is not learner.training_args
    assert not hasattr(copied, "tokenizer_")


@pytest.mark.slow
def test_parameters_set_after_a_fit_are_used_by_the_next():
    learner = fit(tiny_learner(peft_config=LoraConfig(r=2, target_modules="all-linear")))
    changed = fit(learner.set_params(peft_config=LoraConfig(r=5, target_modules="all-linear"), model=tiny_gpt2))
    expected = fit(tiny_learner(tiny_gpt2, peft_config=LoraConfig(r=5, target_modules="all-linear")))
    assert_array_equal(answer_logits(changed), answer_logits(expected))


def test_parameters_set_after_a_fit_do_not_touch_what_was_fitted():
    learner = fit(tiny_learner())
    before = answer_logits(learner)
    assert_array_equal(answer_logits(learner.set_params(peft_config=None)), before)


@pytest.mark.parametrize("peft_config", ["default", None])
@pytest.mark.parametrize("copied", [lambda x: pickle.loads(pickle.dumps(x)), copy.deepcopy], ids=["pickle", "deepcopy"])  # noqa: S301
def test_copy_of_a_fitted_learner_predicts_the_same(peft_config, copied):
    learner = fitted_members("llama", peft_config)[0]
    assert_array_equal(answer_logits(copied(learner)), answer_logits(learner))


def test_pickle_holds_the_adapter_and_not_the_base():
    learner = fitted_members("llama")[0]
    adapter = sum(tensor.numel() for tensor in learner.adapter_.values())
    with learner.lend_model() as model:
        total = sum(parameter.numel() for parameter in model.parameters())
    learner = copy.copy(learner)
    learner.tokenizer = learner.tokenizer_ = None
    assert 4 * adapter < len(pickle.dumps(learner)) < 4 * (total - adapter)


# --- loading ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path):
    untrained_model(tiny_llama).save_pretrained(tmp_path)
    byte_tokenizer().save_pretrained(tmp_path)
    return str(tmp_path)


@pytest.mark.parametrize("peft_config", ["default", None])
@pytest.mark.slow
def test_folder_gives_the_same_learner_as_a_factory(folder, peft_config):
    loaded = fit(tiny_learner(folder, tokenizer=None, peft_config=peft_config))
    assert_array_equal(answer_logits(loaded), answer_logits(fit(tiny_learner(peft_config=peft_config))))


@pytest.mark.slow
def test_a_path_and_a_torch_dtype_are_what_their_names_are(folder, tmp_path):
    path, settings = Path(folder), {"lr": 1e-2, "epochs": 1, "random_state": 0}
    named = fit(HFCausalLM(folder, dtype="bfloat16", **settings))
    given = fit(HFCausalLM(path, tokenizer=path, dtype=torch.bfloat16, **settings))
    assert (given.model, given.dtype) == (path, torch.bfloat16)
    assert given._host() is named._host()
    assert_array_equal(answer_logits(given), answer_logits(named))
    given.save_pretrained(tmp_path / "saved")
    assert_array_equal(answer_logits(HFCausalLM.from_pretrained(tmp_path / "saved")), answer_logits(named))

    booster = TokenAdaBoostGenerator(path, n_estimators=1, prior="uniform", checkpoint_dir=tmp_path / "run")
    booster.set_params(on_failure="keep", random_state=0)
    with pytest.warns(EarlyStopWarning):
        booster.fit(PROMPTS, ANSWERS)
    with pytest.warns(EarlyStopWarning):
        again = clone(booster).set_params(estimator=folder).fit(PROMPTS, ANSWERS)  # goes on with the same run
    assert_array_equal(again.answer_nll(PROMPTS, ANSWERS), booster.answer_nll(PROMPTS, ANSWERS))
    booster.save_pretrained(tmp_path / "booster")
    loaded = TokenAdaBoostGenerator.from_pretrained(tmp_path / "booster")
    assert_array_equal(loaded.answer_nll(PROMPTS, ANSWERS), booster.answer_nll(PROMPTS, ANSWERS))


def test_loading_shows_no_bar_unless_verbose(folder, capfd):
    answer_logits(tiny_learner(folder, tokenizer=None).initialize())
    assert capfd.readouterr().err == ""


def test_loading_leaves_the_bars_of_transformers_on(folder):
    from transformers.utils import logging

    before = logging.set_tqdm_hook(None)
    logging.set_tqdm_hook(before)
    answer_logits(tiny_learner(folder, tokenizer=None).initialize())
    after = logging.set_tqdm_hook(before)
    assert after is before
    assert logging.is_progress_bar_enabled()


def test_missing_folder_is_an_error(tmp_path):
    with pytest.raises(OSError, match=r"."):
        HFCausalLM(str(tmp_path / "nothing")).initialize()


@pytest.mark.slow
@pytest.mark.parametrize("peft_config", ["default", None])
def test_gguf_file_is_loaded_trained_and_shared(gguf_file, peft_config):  # noqa: F811
    from transformers import AutoModelForCausalLM

    # transformers gives this file's own tokenizer one token more than there are embeddings.
    learner = tiny_learner(str(gguf_file.parent), gguf_file=gguf_file.name, peft_config=peft_config, max_length=60)
    fit(learner.initialize())
    assert losses(learner)[-1] < losses(learner)[0]
    loaded = AutoModelForCausalLM.from_pretrained(gguf_file.parent, gguf_file=gguf_file.name, dtype=torch.float32)
    ids = torch.tensor([byte_tokenizer()("to be")["input_ids"]])
    with torch.no_grad():
        expected = loaded(ids).logits
    assert_allclose(learner.initialize().token_logits(ids, torch.ones_like(ids)), expected, atol=1e-5)


def test_tokenizer_of_a_gguf_file_is_read(gguf_file):  # noqa: F811
    learner = tiny_learner(str(gguf_file.parent), gguf_file=gguf_file.name, tokenizer=None).initialize()
    assert (len(learner.tokenizer_), learner.n_embeddings_) == (259, 258)


# --- what goes through the head ---------------------------------------------------------------------------------------


def positions_through_the_head(model, work):
    """Number of vectors that reach the head while `work` runs."""
    seen = []
    hook = model.get_output_embeddings().register_forward_hook(lambda _, inputs, __: seen.append(inputs[0].shape[:-1]))
    work()
    hook.remove()
    return sum(int(np.prod(shape)) for shape in seen)


@pytest.mark.slow
@pytest.mark.parametrize("adapt", ["all", "answer"])
def test_only_answer_tokens_go_through_the_head(adapt):
    learner = tiny_learner(adapt=adapt, peft_config="default", epochs=1, batch_size=8).initialize()
    tokens = TokenDataset.for_learner(learner, ["one question"] * 8, ["a"] * 7 + ["a far longer answer"])
    learner.fit(tokens, token_weight=np.ones(tokens.n_tokens))
    with learner.lend_model() as model:
        in_scoring = positions_through_the_head(model, lambda: learner.answer_logits(tokens.batch(np.arange(8))))
        in_training = positions_through_the_head(
            model, lambda: learner.fit(tokens, token_weight=np.ones(tokens.n_tokens))
        )
    assert in_scoring == tokens.n_tokens
    assert in_training == tokens.n_tokens
