"""The last feed-forward layer acts on the positions whose logits are asked for; outputs and gradients stay."""

from __future__ import annotations

import copy
import dataclasses

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from tiny_models import FACTORIES, SHAPE, fit, fitted_members, tiny_learner, tokens_for, untrained_model
from transformers import TrainerCallback, TrainingArguments

from ensemw2s._forward.last_block import last_feed_forward_at
from ensemw2s._forward.output_head import logits_at


def tiny_mistral():
    from transformers import MistralConfig, MistralForCausalLM

    return MistralForCausalLM(MistralConfig(vocab_size=258, **SHAPE, num_key_value_heads=1, sliding_window=6))


def tiny_gemma2():
    from transformers import Gemma2Config, Gemma2ForCausalLM

    return Gemma2ForCausalLM(Gemma2Config(vocab_size=258, **SHAPE, num_key_value_heads=1, head_dim=16))


def tiny_mixtral():
    from transformers import MixtralConfig, MixtralForCausalLM

    experts = {"num_local_experts": 4, "num_experts_per_tok": 2, "output_router_logits": True}
    return MixtralForCausalLM(MixtralConfig(vocab_size=258, **SHAPE, num_key_value_heads=1, **experts))


MODELS = {**FACTORIES, "mistral": tiny_mistral, "gemma2": tiny_gemma2}
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


@pytest.mark.parametrize("name", MODELS)
def test_only_the_positions_asked_for_go_through_it_and_logits_are_the_same(name):
    model = untrained_model(MODELS[name]).double()
    expected = plain_logits(model)
    seen = seen_by(last_mlp(model))
    logits = logits_at(model, CELLS, N_LAST, input_ids=ids())
    assert seen == [len(CELLS)]
    assert_allclose(logits.detach(), expected.detach(), rtol=1e-12, atol=1e-12)
    model(input_ids=ids())
    assert seen[1:] == [N_ROWS * LENGTH]  # nothing is left in the model


@pytest.mark.parametrize("name", MODELS)
def test_gradients_of_all_parameters_are_the_same(name):
    model = untrained_model(MODELS[name]).double()
    found = []
    for logits in (plain_logits(model), logits_at(model, CELLS, N_LAST, input_ids=ids())):
        model.zero_grad()
        logits.sin().sum().backward()
        found.append({name: parameter.grad.clone() for name, parameter in model.named_parameters()})
    for parameter, expected in found[0].items():
        assert_allclose(found[1][parameter], expected, rtol=1e-9, atol=1e-12, err_msg=parameter)


def test_adapters_inside_it_act_on_these_positions_too():
    with fitted_members("llama")[0].lend_model() as model:
        seen = seen_by(last_mlp(model))
        logits = logits_at(model, CELLS, N_LAST, input_ids=ids())
        assert seen == [len(CELLS)]
        assert_allclose(logits.detach(), plain_logits(model).detach(), atol=1e-5)
        with model.disable_adapter():
            assert (logits - plain_logits(model)).abs().max() > 0.01


def test_positions_behind_a_cache_and_padding_keep_their_logits():
    model = untrained_model(FACTORIES["llama"]).double()
    mask = torch.ones(N_ROWS, LENGTH, dtype=torch.long)
    mask[0, :5] = 0
    expected = model(input_ids=ids(), attention_mask=mask).logits[:, -N_LAST:].flatten(0, 1)[CELLS]
    cache = model(input_ids=ids()[:, :7], attention_mask=mask[:, :7], use_cache=True).past_key_values
    behind = logits_at(
        model, CELLS, N_LAST, input_ids=ids()[:, 7:], attention_mask=mask, past_key_values=cache, use_cache=True
    )
    assert_allclose(behind.detach(), expected.detach(), rtol=1e-10)


class Mixer(torch.nn.Module):
    """Adds the position before to each one."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        y = self.inner(x)
        return y + torch.nn.functional.pad(y, (0, 0, 1, 0))[:, :-1]


def with_a_mixer(model):
    model.model.layers[-1].mlp = Mixer(model.model.layers[-1].mlp)


def with_one_layer_twice(model):
    model.model.layers[0].mlp = model.model.layers[1].mlp


def with_one_block_twice(model):
    model.model.layers[0] = model.model.layers[1]


def with_another_block(model):
    model.model.layers.append(copy.deepcopy(model.model.layers[0]))
    model.model.layers[-1].self_attn.layer_idx = 2
    model.config.num_hidden_layers = 3


@pytest.mark.parametrize("change", [with_a_mixer, with_one_layer_twice, with_one_block_twice, with_another_block])
def test_a_model_that_was_changed_gives_its_own_logits(change):
    model = untrained_model(FACTORIES["llama"]).double()
    logits_at(model, CELLS, N_LAST, input_ids=ids())
    change(model)
    assert_allclose(logits_at(model, CELLS, N_LAST, input_ids=ids()).detach(), plain_logits(model).detach(), rtol=1e-10)


def test_experts_whose_routers_are_watched_take_all_positions():
    model = untrained_model(tiny_mixtral)
    mask = torch.ones(N_ROWS, LENGTH, dtype=torch.long)
    logits = logits_at(model, CELLS, N_LAST, input_ids=ids(), attention_mask=mask)
    assert_allclose(logits.detach(), plain_logits(model).detach(), atol=1e-5)


def test_dropout_acts_on_these_positions():
    model = untrained_model(FACTORIES["gpt2"]).train()
    mlp, dropped = last_mlp(model), []
    mlp.dropout.p = 0.5
    mlp.dropout.register_forward_hook(lambda module, _, output: dropped.append((output == 0).double().mean().item()))
    logits_at(model, CELLS, N_LAST, input_ids=ids())
    assert 0.3 < dropped[0] < 0.7


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_under_autocast(dtype):
    model = untrained_model(FACTORIES["llama"])
    with torch.autocast("cpu", dtype):
        logits = logits_at(model, CELLS, N_LAST, input_ids=ids())
        expected = plain_logits(model)
    assert logits.dtype == dtype
    assert_allclose(logits.detach().float(), expected.detach().float(), atol=0.1)


def test_most_positions_wanted_is_done_in_the_plain_way():
    model = untrained_model(FACTORIES["llama"])
    seen = seen_by(last_mlp(model))
    logits_at(model, torch.arange(31), LENGTH, input_ids=ids())
    logits_at(model, torch.arange(30), LENGTH, input_ids=ids())
    assert seen == [60, 30]


class Watch(TrainerCallback):
    def on_train_begin(self, *_, model, **__):
        self.seen = seen_by(last_mlp(model))


@pytest.mark.slow
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
    with pytest.raises(IndexError):
        logits_at(model, torch.tensor([99]), N_LAST, input_ids=ids())
    assert "forward" not in vars(last_mlp(model))
    assert [layer for layer, _ in last_feed_forward_at(model, CELLS, N_LAST)] == [last_mlp(model)]
