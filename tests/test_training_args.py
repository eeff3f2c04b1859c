"""Each argument of `transformers.Trainer` acts, or is refused with what replaces it; nothing stays switched on."""

from __future__ import annotations

import os
from dataclasses import fields

import pytest
import torch
from tiny_models import fit, tiny_learner
from transformers import TrainerCallback, TrainingArguments
from transformers.utils import logging

from ensemw2s._training.arguments import ACTING, REFUSED

FIELDS = {field.name for field in fields(TrainingArguments)}


def _never_called():
    raise AssertionError("the model was loaded")


def trained(**training_args):
    learner = fit(tiny_learner(epochs=2, batch_size=2, training_args=training_args))
    return torch.cat([tensor.flatten() for tensor in learner.adapter_.values()]), learner.history_


@pytest.fixture(scope="module")
def plain():
    return trained()[0]


def test_every_field_of_the_installed_version_is_known():
    assert ACTING | REFUSED.keys() >= FIELDS
    assert not ACTING & REFUSED.keys()


@pytest.mark.parametrize("name", sorted(REFUSED.keys() & FIELDS))
def test_what_would_do_nothing_or_contradict_a_parameter_is_refused_before_anything_is_loaded(name):
    with pytest.raises(ValueError, match=rf"training_args must not hold '{name}': \w+"):
        tiny_learner(_never_called, training_args={name: 1}).initialize()


@pytest.mark.parametrize(
    "training_args",
    [
        {"max_steps": 3},
        {"lr_scheduler_type": "cosine"},
        {"lr_scheduler_type": "cosine_with_min_lr", "lr_scheduler_kwargs": {"min_lr": 5e-3}},
        {"warmup_steps": 2},
        {"optim": "sgd"},
        {"optim": "rmsprop", "optim_args": "momentum=0.5"},
        {"weight_decay": 0.1},
        {"adam_beta1": 0.5},
        {"adam_beta2": 0.5},
        {"adam_epsilon": 1e-3},
        {"gradient_accumulation_steps": 2},
        {"max_grad_norm": 0.01},
        {"neftune_noise_alpha": 5.0},
        {"bf16": True},
    ],
    ids=str,
)
@pytest.mark.slow
def test_arguments_that_move_the_weights_do(training_args, plain):
    assert not torch.equal(trained(**training_args)[0], plain)


@pytest.mark.parametrize(
    ("training_args", "found"),
    [
        ({"logging_strategy": "steps", "logging_steps": 1}, "learning_rate"),
        ({"include_num_input_tokens_seen": "all"}, "num_input_tokens_seen"),
        ({"skip_memory_metrics": False}, "train_mem_cpu_alloc_delta"),
    ],
)
@pytest.mark.slow
def test_arguments_that_add_to_the_log_leave_the_weights_alone(training_args, found, plain):
    weights, history = trained(**training_args)
    assert torch.equal(weights, plain)
    assert any(found in entry for entry in history)


@pytest.mark.parametrize(
    ("training_args", "message"),
    [
        ({"weight_decay": -0.1}, r"training_args\['weight_decay'\] must be >= 0. Got -0.1"),
        ({"weight_decay": "0.1"}, r"training_args\['weight_decay'\] must be a number. Got '0.1'"),
        ({"weight_decay": 1e308}, r"training_args\['weight_decay'\] must be at most 1e\+09. Got 1e\+308"),
        ({"warmup_steps": float("inf")}, r"training_args\['warmup_steps'\] must be finite"),
        ({"adam_beta2": 1.0}, r"training_args\['adam_beta2'\] must lie in \[0, 1\)"),
        ({"gradient_accumulation_steps": 0}, r"\['gradient_accumulation_steps'\] must be an integer of at least 1"),
        ({"max_steps": 0}, r"training_args\['max_steps'\] must be an integer of at least 1. Got 0"),
        ({"max_steps": 2.5}, r"training_args\['max_steps'\] must be an integer of at least 1. Got 2.5"),
        ({"logging_steps": 0}, r"training_args\['logging_steps'\] must be > 0"),
        ({"logging_steps": 5}, r"must come with logging_strategy='steps'"),
        ({"optim": "adamm"}, r"training_args\['optim'\] must be one of 'adamw_torch'.* Got 'adamm'"),
        ({"log_level": "loud"}, r"training_args\['log_level'\] must be one of .*'passive'. Got 'loud'"),
        ({"lr_scheduler_type": "reduce_lr_on_plateau"}, r"a schedule that needs no evaluation"),
        ({"lr_scheduler_type": "constant", "warmup_steps": 3}, r"'constant_with_warmup' warms up"),
        ({"bf16": True, "fp16": True}, r"training_args\['fp16'\] must be False with bf16=True"),
        ({"fp16": True}, r"training_args\['fp16'\] must be False on a CPU"),
        ({"output_dir": "runs"}, r"training_args\['output_dir'\] must come with report_to"),
        ({"run_name": "a"}, r"training_args\['run_name'\] must come with report_to"),
        ({"bf16": "False"}, r"training_args\['bf16'\] must be True or False. Got 'False'"),
        ({"max_grad_norm": None}, r"training_args\['max_grad_norm'\] must not be None; .* default, 1.0"),
        (
            {"lr_scheduler_kwargs": {"num_cycles": 2}},
            r"must be what lr_scheduler_type='linear' takes. Got .*num_cycles",
        ),
        ({"lr_scheduler_type": "cosine_with_min_lr"}, r"must be what .* takes. Got .*min_lr"),
        ({"torch_compile": False, "torch_compile_mode": "default"}, r"\['torch_compile'\] must not be False with"),
        ({"dataloader_prefetch_factor": 2}, r"\['dataloader_prefetch_factor'\] must come with dataloader_num_workers"),
    ],
)
def test_values_are_checked_before_anything_is_loaded(training_args, message):
    with pytest.raises(ValueError, match=message):
        tiny_learner(_never_called, device="cpu", training_args=training_args).initialize()


@pytest.mark.parametrize(("name", "value"), [("neftune_noise_alpha", 1), ("torch_compile", True)])
def test_what_would_not_reach_a_cached_prompt_is_refused(name, value):
    with pytest.raises(ValueError, match=rf"adapt must be 'all' with training_args\['{name}'\]"):
        tiny_learner(_never_called, adapt="answer", training_args={name: value}).initialize()


@pytest.mark.parametrize("setting", [{"adam_beta1": 0.5}, {"optim_args": "mommentum=0.9"}])
def test_what_the_optimiser_does_not_read_is_refused(setting):
    with pytest.raises(ValueError, match=rf"must not hold '{next(iter(setting))}' with optim='sgd', which does not"):
        trained(optim="sgd", **setting)


def test_a_training_leaves_the_switches_of_the_process_as_they_were():
    def switches():
        return (
            torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.deterministic,
            torch.backends.cudnn.benchmark, torch.backends.fp32_precision, logging.get_verbosity(), dict(os.environ),
        )  # fmt: skip

    before = switches()
    torch.backends.cudnn.benchmark = True
    try:
        trained(full_determinism=True, log_level="error", tf32=False)
        assert torch.backends.cudnn.benchmark
    finally:
        torch.backends.cudnn.benchmark = False
    assert switches() == before


class _Stops(TrainerCallback):
    def on_step_end(self, args, state, control, **kwargs):
        raise RuntimeError("stop")


def test_a_training_that_fails_leaves_no_noise_and_no_switch_in_the_shared_base():
    member = tiny_learner(training_args={"neftune_noise_alpha": 5.0}, callbacks=[_Stops()])
    other = tiny_learner().initialize()
    with other.lend_model() as model:
        embeddings, used_cache = model.get_input_embeddings(), model.config.use_cache
    with pytest.raises(RuntimeError, match="stop"):
        fit(member)
    assert not embeddings._forward_hooks
    assert not hasattr(embeddings, "neftune_noise_alpha")
    assert model.config.use_cache == used_cache is True
