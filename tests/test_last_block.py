"""The last feed-forward layer acts on the positions whose logits are asked for; outputs and gradients stay."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from tiny_models import FACTORIES, fit, fitted_members, tiny_learner, tokens_for, untrained_model
from transformers import TrainerCallback, TrainingArguments

from ensemw2s.learners._last_block import last_feed_forward_at
from ensemw2s.learners._output_head import logits_at

ARCHITECTURES = sorted(FACTORIES)
N_ROWS, LENGTH, N_LAST = 3, 20, 4
CELLS = torch.tensor([1, 3, 6, 10, 11])  # of 3 x 4


def last_mlp(model):
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    backbone = base.base_model
    return (backbone.h if hasattr(backbone, "h") else backbone.layers)[-1].mlp


def seen_by(module):
    """List that the numbers of positions which a module's own layers take are added to."""
    seen = []
    first = next(layer for layer in module.children() if hasattr(layer, "weight"))
    first.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].shape[:-1].numel()))
    return seen


def ids():
    return torch.from_numpy(np.random.default_rng(0).integers(0, 258, (N_ROWS, LENGTH)))


def plain_logits(model):
    return model(input_ids=ids()).logits[:, -N_LAST:].flatten(0, 1)[CELLS]


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_only_the_positions_asked_for_go_through_it_and_logits_are_the_same(name):
    model = untrained_model(FACTORIES[name]).double()
    expected = plain_logits(model)
    seen = seen_by(last_mlp(model))
    logits_at(model, CELLS, N_LAST, input_ids=ids())
    seen.clear()  # the first call tries the layer out
    logits = logits_at(model, CELLS, N_LAST, input_ids=ids())
    assert seen == [len(CELLS)]
    assert_allclose(logits.detach(), expected.detach(), rtol=1e-12, atol=1e-12)
    model(input_ids=ids())
    assert seen[1:] == [N_ROWS * LENGTH]  # nothing is left in the model


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_gradients_of_all_parameters_are_the_same(name):
    model = untrained_model(FACTORIES[name]).double()
    found = []
    for logits in (plain_logits(model), logits_at(model, CELLS, N_LAST, input_ids=ids())):
        model.zero_grad()
        logits.sin().sum().backward()
        found.append({name: parameter.grad.clone() for name, parameter in model.named_parameters()})
    for parameter, expected in found[0].items():
        assert_allclose(found[1][parameter], expected, rtol=1e-9, atol=1e-12, err_msg=parameter)


def test_adapters_inside_it_act_on_these_positions_too():
    learner = fitted_members("llama")[0]
    batch = tokens_for(learner).batch(np.arange(2))
    with learner.lend_model() as model:
        seen = seen_by(last_mlp(model))
        learner.answer_logits(batch)
        learner.answer_logits(batch)
    assert seen[-1] == batch.is_answer.sum() < batch.input_ids.size / 2


class Mixer(torch.nn.Module):
    """Adds the position before to each one."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        y = self.inner(x)
        return y + torch.nn.functional.pad(y, (0, 0, 1, 0))[:, :-1]


class Pair(torch.nn.Module):
    """Returns two things, as experts with their router's scores do, and takes only the first back."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        return _Pair((self.inner(x), None))


class _Pair(tuple):
    def __radd__(self, residual):
        return residual + self[0]


@pytest.mark.parametrize("layer", [Mixer, Pair])
def test_a_layer_that_is_not_position_wise_takes_all_positions(layer):
    model = untrained_model(FACTORIES["llama"]).double()
    model.model.layers[-1].mlp = layer(model.model.layers[-1].mlp)
    assert_allclose(logits_at(model, CELLS, N_LAST, input_ids=ids()).detach(), plain_logits(model).detach(), rtol=1e-12)


def test_a_layer_with_dropout_is_tried_without_it_and_trains_with_it():
    model = untrained_model(FACTORIES["gpt2"]).train()
    mlp = last_mlp(model)
    mlp.dropout.p = 0.5
    seen = seen_by(mlp)
    dropped = []
    mlp.dropout.register_forward_hook(lambda module, _, output: dropped.append((output == 0).double().mean().item()))
    for _ in range(2):
        logits_at(model, CELLS, N_LAST, input_ids=ids())
    assert seen[-1] == len(CELLS)
    assert 0.3 < dropped[-1] < 0.7
    assert all(module.training for module in model.modules())


def test_most_positions_wanted_is_done_in_the_plain_way():
    model = untrained_model(FACTORIES["llama"])
    seen = seen_by(last_mlp(model))
    logits_at(model, torch.arange(N_ROWS * LENGTH), LENGTH, input_ids=ids())
    assert seen[-1] == N_ROWS * LENGTH


class Watch(TrainerCallback):
    def on_train_begin(self, *_, model, **__):
        self.seen = seen_by(last_mlp(model))


def test_blocks_that_are_run_again_for_their_gradients_are_left_as_they_are():
    # Were the layer's positions picked in the first pass alone, the second would save tensors of other shapes.
    names = [field.name for field in dataclasses.fields(TrainingArguments)]
    switch = "activation_checkpointing" if "activation_checkpointing" in names else "gradient_checkpointing"
    seen, adapters = [], []
    for arguments in ({}, {switch: True}, {}):
        watch = Watch()
        learner = fit(tiny_learner(training_args=arguments, epochs=2, batch_size=4, callbacks=(watch,)))
        seen.append(watch.seen[-1])
        adapters.append(learner.adapter_)
    n_tokens = tokens_for(learner).n_tokens
    assert seen[0] == seen[2] == n_tokens < seen[1]  # the switch is off again for others with this base
    for name, tensor in adapters[0].items():
        assert_allclose(adapters[1][name], tensor, rtol=1e-4, atol=1e-6, err_msg=name)
        assert_array_equal(adapters[2][name], tensor, err_msg=name)


def test_a_function_that_someone_else_has_put_there_stays():
    model = untrained_model(FACTORIES["llama"])
    mlp = last_mlp(model)
    own = mlp.forward
    mlp.forward = lambda x: 2 * own(x)
    logits = logits_at(model, CELLS, N_LAST, input_ids=ids())
    assert_array_equal(logits.detach(), plain_logits(model).detach())


def test_an_exception_leaves_the_model_as_it_was():
    model = untrained_model(FACTORIES["llama"])
    with pytest.raises(KeyError), last_feed_forward_at(model, CELLS, N_LAST):
        raise KeyError
    assert "forward" not in vars(last_mlp(model))
