"""Members that run as one batch over their base, against PEFT's own forward of each."""

from __future__ import annotations

import copy
import gc
import logging
import pickle
import re
from functools import cache, partial
from weakref import ref

import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from peft import LoHaConfig, LoraConfig, PeftModel, get_peft_model
from tiny_models import FACTORIES, PROMPTS, TEMPLATE, fit, tiny_learner, tiny_llama, untrained_model
from transformers import DynamicCache, MambaConfig, MambaForCausalLM

from ensemw2s import HFCausalLM, MixtureForCausalLM, byte_tokenizer, clear_model_cache, get_backend
from ensemw2s._adapters.stacked import StackedAdapters
from ensemw2s._forward.few_rows import linear_forward
from ensemw2s._forward.growing_cache import leave_room
from ensemw2s.exceptions import CheckpointError
from ensemw2s.mixture._groups import group_members
from ensemw2s.tokens._dataset import pad_left

BYTES = byte_tokenizer()
ROWS = [BYTES(TEMPLATE.replace("{prompt}", prompt))["input_ids"] for prompt in PROMPTS]
VOTES = [0.5, 2.0, 1.0]
LORA = {
    "rank-stabilised": {"r": 4, "lora_alpha": 3, "use_rslora": True, "target_modules": "all-linear"},
    "by pattern": {
        "r": 4, "rank_pattern": {"q_proj": 2, "layers.1.mlp.up_proj": 7}, "alpha_pattern": {"q_proj": 5},
        "target_modules": "all-linear",
    },
    "attention only": {"target_modules": ["q_proj", "v_proj"]},
    "dropout": {"lora_dropout": 0.5, "target_modules": "all-linear"},
    "head": {"target_modules": ["lm_head", "up_proj"]},
}  # fmt: skip


def with_random_adapters(learners, seed=0):
    """Fitted as far as anyone can see, without training."""
    generator = torch.Generator().manual_seed(seed)
    for learner in learners:
        state = learner.initialize()._host().state()
        learner.adapter_ = {
            name: torch.empty_like(tensor).normal_(0, 0.1, generator=generator) for name, tensor in state.items()
        }
    return learners


@cache
def members_of(name="llama", kind=None, n_members=3, **parameters):
    config = "default" if kind is None else LoraConfig(task_type="CAUSAL_LM", **LORA[kind])
    learners = [tiny_learner(FACTORIES[name], peft_config=config, **parameters) for _ in range(n_members)]
    return with_random_adapters(learners)


def padded(rows=ROWS):
    ids, mask = map(torch.from_numpy, pad_left(rows, 257))
    return ids, mask, (mask.cumsum(dim=1) - 1).clamp(min=0)


def step(groups, *inputs, caches=None, **settings):
    """One step of all groups: logits (T, B, n_last, V) and the caches."""
    caches = caches or [None] * len(groups)
    made = [group.step(*inputs, kept, **settings) for group, kept in zip(groups, caches, strict=True)]
    return torch.cat([logits for logits, _ in made]), [kept for _, kept in made]


def assert_steps_equal(members, atol=1e-5, n_rows=4):
    """A prompt, another order of rows, and two tokens: as one batch, and by PEFT one after another."""
    together, alone = group_members(members), group_members(members, together=False)
    assert len(together) == 1 < len(alone)
    ids, mask, positions = padded(ROWS[:n_rows])
    found, kept = step(together, ids, mask, positions, n_last=ids.shape[1], use_cache=True)
    expected, caches = step(alone, ids, mask, positions, n_last=ids.shape[1], use_cache=True)
    real = mask.bool()
    assert_allclose(found[:, real].float(), expected[:, real].float(), atol=atol)
    more, order = torch.arange(n_rows).repeat_interleave(2), torch.arange(2 * n_rows).flip(0)
    for one in (*kept, *caches):
        one.reorder_cache(more)
        one.reorder_cache(order)
    order = more[order]
    tokens = torch.randint(0, 256, (2 * n_rows, 2), generator=torch.Generator().manual_seed(1))
    mask = torch.cat([mask[order], torch.ones_like(tokens)], dim=1)
    last = positions[order, -1:]
    found, kept = step(together, tokens, mask, last + torch.tensor([1, 2]), caches=kept, n_last=2, use_cache=True)
    expected, _ = step(alone, tokens, mask, last + torch.tensor([1, 2]), caches=caches, n_last=2, use_cache=True)
    assert_allclose(found.float(), expected.float(), atol=atol)
    assert (expected[0] - expected[1]).abs().max() > 0.01  # the members differ


# --- equality with PEFT -----------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(FACTORIES))
def test_steps_equal_pefts_forward(name):
    assert_steps_equal(members_of(name))


@pytest.mark.slow
@pytest.mark.parametrize("kind", sorted(LORA))
def test_steps_equal_pefts_forward_for_other_settings_of_lora(kind):
    assert_steps_equal(members_of("llama", kind))


def test_steps_equal_pefts_forward_in_half_precision():
    assert_steps_equal(members_of("llama", dtype="bfloat16"), atol=0.05)


def test_updates_come_from_the_backend_that_was_asked_for():
    class Counting:
        name, n_asked = "counting", 0

        def stacked_lora(self, *args):
            self.n_asked += 1
            return get_backend("torch").stacked_lora(*args)

    members, backend = members_of(), Counting()
    found, _ = step(group_members(members, backend=backend), *padded(), n_last=1, use_cache=True)
    assert backend.n_asked == 14  # layers of two blocks
    expected, _ = step(group_members(members, together=False), *padded(), n_last=1, use_cache=True)
    assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("n_members", [2, 5])
def test_steps_equal_pefts_forward_for_few_rows(n_members):
    assert_steps_equal(members_of("gpt_neox", n_members=n_members), n_rows=1)


@pytest.mark.parametrize("n_rows", [1, 2, 5, 6, 9])
@pytest.mark.parametrize("n_outputs", [11, 2100])
@pytest.mark.parametrize("bias", [True, False])
def test_linear_layers_of_any_number_of_rows_are_products(n_rows, n_outputs, bias):
    layer, x = torch.nn.Linear(7, n_outputs, bias=bias), torch.randn(n_rows, 3, 7)[:, 1:2]
    expected = x.double() @ layer.weight.double().T + (layer.bias.double() if bias else 0.0)
    with torch.no_grad():
        assert_allclose(linear_forward(layer, any_order=True)(x), expected.detach(), atol=1e-5)
        y = linear_forward(layer)(x)
    assert y.is_contiguous()
    assert_allclose(y, expected.detach(), atol=1e-5)


class TinyMamba:
    """A model that keeps no key-value cache."""

    def __call__(self):
        config = MambaConfig(
            vocab_size=258, hidden_size=16, state_size=4, num_hidden_layers=1, intermediate_size=32, time_step_rank=2,
            use_cache=False,
        )  # fmt: skip
        return MambaForCausalLM(config)


def test_models_without_a_key_value_cache_read_all_tokens_again():
    config = LoraConfig(r=2, target_modules=["in_proj", "x_proj"], task_type="CAUSAL_LM")
    factory = TinyMamba()
    members = with_random_adapters([tiny_learner(factory, peft_config=config) for _ in range(2)])
    assert_steps_equal(members, n_rows=2)


# --- generation -------------------------------------------------------------------------------------------------------

SETTINGS = {
    "greedy": {"do_sample": False},
    "sampling": {"do_sample": True, "top_k": 20},
    "exact sampling": {"do_sample": True, "top_k": 0},
    "beams": {"num_beams": 3, "num_return_sequences": 2},
    "group of sequences": {"do_sample": True, "top_k": 0, "top_p": 0.9, "num_return_sequences": 2},
}


@pytest.mark.slow
@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
def test_one_batch_generates_what_members_one_after_another_do(settings, monkeypatch):
    ids, mask, _ = padded()
    outputs = []
    for together in (True, False):
        if not together:
            monkeypatch.setattr(
                "ensemw2s.mixture._groups.group_members", lambda members, **_: group_members(members, together=False)
            )
        mixture = MixtureForCausalLM.from_members(members_of(), VOTES)
        with torch.random.fork_rng():
            torch.manual_seed(0)
            output = mixture.generate(ids, attention_mask=mask, max_new_tokens=4, eos_token_id=[], **settings)
        outputs.append(output)
    assert_array_equal(*outputs)


def test_groups_with_other_members_between_keep_the_members_order():
    first, second, third = members_of()
    alone = fit(tiny_learner(tiny_llama, peft_config=None, epochs=1))
    several = [first, alone, second, third]
    mixture = MixtureForCausalLM.from_members(several, [1.0, 2.0, 0.0, 4.0])
    ids, mask, positions = padded()
    logits, cache = mixture.member_logits(ids, mask, positions, use_cache=True)
    assert [group.places for group in cache.groups] == [(0, 2), (1,)]
    expected = [member.decode_step(ids, mask, positions)[0] for member in (first, alone, third)]
    assert_allclose(logits, torch.stack(expected), atol=1e-5)


def test_logits_of_one_batch_are_mixed_where_they_lie():
    mixture, seen = MixtureForCausalLM.from_members(members_of(), VOTES), []
    [group] = (cache := mixture._new_cache(True)).groups
    run = group.step
    group.step = lambda *args, **settings: seen.append(run(*args, **settings)) or seen[-1]
    logits, _ = mixture.member_logits(*padded()[:2], past_key_values=cache, use_cache=True)
    assert logits.data_ptr() == seen[0][0].data_ptr()


def test_a_pass_without_a_cache_runs_one_member_after_another():
    mixture = MixtureForCausalLM.from_members(members_of(), VOTES)
    ids, mask, _ = padded()
    assert_allclose(
        mixture(ids, mask, use_cache=True).logits[mask.bool()], mixture(ids, mask).logits[mask.bool()], atol=1e-5
    )


def test_training_another_member_leaves_a_generation_as_it_was():
    members = members_of()
    group, alone = group_members(members), group_members(members, together=False)
    ids, mask, positions = padded()
    _, kept = step(group, ids, mask, positions, n_last=1, use_cache=True)
    _, caches = step(alone, ids, mask, positions, n_last=1, use_cache=True)
    fit(tiny_learner(random_state=7, epochs=1))  # wraps the base anew
    inputs = (ids[:, -1:], torch.cat([mask, mask[:, -1:]], dim=1), positions[:, -1:] + 1)
    found, _ = step(group, *inputs, caches=kept, n_last=1, use_cache=True)
    expected, _ = step(alone, *inputs, caches=caches, n_last=1, use_cache=True)
    assert_allclose(found, expected, atol=1e-5)


def test_the_base_is_neither_copied_nor_changed():
    members = members_of()
    model = members[0]._host().model
    before = {name: (parameter.data_ptr(), parameter.sum().item()) for name, parameter in model.named_parameters()}
    ids, mask, positions = padded()
    [group] = group_members(members)
    _, kept = group.step(ids, mask, positions, None, n_last=1, use_cache=True)
    bad = torch.full_like(ids, 10**6)
    with pytest.raises(IndexError):
        group.step(bad, torch.cat([mask, mask], dim=1), positions, kept, n_last=1, use_cache=True)
    assert not [module for module in model.modules() if "forward" in vars(module)]
    after = {name: (parameter.data_ptr(), parameter.sum().item()) for name, parameter in model.named_parameters()}
    assert before == {name: after[name] for name in before}


# --- stacks that are kept ---------------------------------------------------------------------------------------------


def greedy(mixture):
    ids, mask, _ = padded()
    return mixture.generate(ids, attention_mask=mask, max_new_tokens=4, eos_token_id=[], do_sample=False)


def test_a_mixture_makes_one_stack_for_all_calls(monkeypatch):
    made, make = [], StackedAdapters.of
    monkeypatch.setattr(StackedAdapters, "of", lambda *args: made.append(make(*args)) or made[-1])
    mixture = MixtureForCausalLM.from_members(members_of(), VOTES)
    outputs = [greedy(mixture) for _ in range(2)]
    assert_array_equal(*outputs)
    mixture.generate(torch.tensor([ROWS[0]]), max_new_tokens=2, do_sample=True, top_k=0)
    assert len(made) == 1


def trained_in_place(member):
    with member.lend_model() as model, torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.mul_(-3.0)


def changed_in_place(member):
    for tensor in member.adapter_.values():
        tensor.neg_()
        tensor[0] = 0.5


CHANGES = {
    "fitted anew": lambda member: fit(member.set_params(random_state=5, epochs=30)),
    "another adapter": lambda member: with_random_adapters([member], seed=3),
    "another tensor": lambda member: member.adapter_.update({name: -3 * t for name, t in member.adapter_.items()}),
    "changed in place": changed_in_place,
    "trained in place": trained_in_place,
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
@pytest.mark.slow
def test_a_member_that_has_changed_answers_as_what_it_is(change):
    members = with_random_adapters([tiny_learner() for _ in range(2)])
    mixture = MixtureForCausalLM.from_members(members, [1.0, 9.0])
    before = greedy(mixture)
    change(members[1])
    now = greedy(mixture)
    assert_array_equal(now, greedy(MixtureForCausalLM.from_members(members, [1.0, 9.0])))
    assert not torch.equal(now, before)


def test_members_put_in_the_place_of_others_are_run():
    mixture = MixtureForCausalLM.from_members(members_of(), VOTES)
    greedy(mixture)
    mixture.members[:] = mixture.members[::-1]
    assert_array_equal(greedy(mixture), greedy(MixtureForCausalLM.from_members(members_of()[::-1], VOTES)))


def test_a_copy_of_a_mixture_makes_a_stack_of_its_own():
    mixture = MixtureForCausalLM.from_members(members_of(), VOTES)
    expected, (group,) = greedy(mixture), mixture._new_cache(True).groups
    for copied in (copy.deepcopy(mixture), pickle.loads(pickle.dumps(mixture))):  # noqa: S301
        assert_array_equal(greedy(copied), expected)
        assert copied._new_cache(True).groups[0] is not group
    assert mixture._new_cache(True).groups[0] is group


@pytest.mark.slow
def test_a_stack_and_its_base_are_freed_with_the_mixture():
    factory = partial(FACTORIES["llama"])  # a base that no other test holds
    members = with_random_adapters([tiny_learner(factory) for _ in range(2)])
    mixture = MixtureForCausalLM.from_members(members, [1.0, 2.0])
    greedy(mixture)
    clear_model_cache()
    stack, host = ref(mixture._new_cache(True).groups[0].step.__self__), ref(members[0]._host())
    del mixture
    gc.collect()
    assert stack() is None
    assert host() is not None
    del members
    gc.collect()
    assert host() is None


# --- what is not covered ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        (
            LoraConfig(use_dora=True, target_modules="all-linear"),
            r"q_proj is LoRA of another kind \(DoraLinearVariant\)",
        ),
        (LoraConfig(target_modules=["embed_tokens"]), "lora_embedding_A.default is no weight of LoRA on a linear"),
        (LoraConfig(target_modules=["q_proj"], modules_to_save=["lm_head"]), "lm_head.modules_to_save.default.weight"),
        (LoHaConfig(target_modules=["q_proj"]), "hada_w1_a.default is no weight of LoRA on a linear layer"),
    ],
    ids=["DoRA", "embedding", "saved module", "LoHa"],
)
def test_other_adapters_run_one_after_another_and_say_so_once(config, reason, caplog):
    config.task_type = "CAUSAL_LM"
    members = with_random_adapters([tiny_learner(peft_config=config) for _ in range(2)])
    with caplog.at_level(logging.WARNING, logger="ensemw2s"):
        mixture = MixtureForCausalLM.from_members(members, [1.0, 3.0])
        ids, mask, positions = padded()
        logits, cache = mixture.member_logits(ids, mask, positions, use_cache=True)
        group_members(members)
    assert [group.places for group in cache.groups] == [(0,), (1,)]
    assert len(caplog.messages) == 1
    assert "one after another" in caplog.messages[0]
    assert re.search(reason, caplog.messages[0])
    assert_allclose(logits[0], members[0].decode_step(ids, mask, positions)[0], atol=1e-6)


def test_members_of_different_ranks_run_apart():
    members = with_random_adapters([tiny_learner(), tiny_learner(peft_config=LoraConfig(r=2, task_type="CAUSAL_LM"))])
    assert len(group_members(members)) == 2


# --- PEFT folders -----------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")
@pytest.mark.parametrize("kind", [None, "by pattern"])
def test_a_stacked_mixture_equals_peft_on_each_folder(kind, tmp_path):
    members = members_of("llama", kind)
    mixed = torch.zeros(1, len(ROWS[1]), 258, dtype=torch.float64)
    for row, (member, vote) in enumerate(zip(members, VOTES, strict=True)):
        (tmp_path / str(row)).mkdir()
        member._host().save(member.adapter_, tmp_path / str(row))
        model = PeftModel.from_pretrained(untrained_model(tiny_llama), tmp_path / str(row)).double().eval()
        with torch.inference_mode():
            mixed += vote / sum(VOTES) * model(torch.tensor([ROWS[1]])).logits.softmax(dim=-1)
    read = [HFCausalLM.from_peft(tmp_path / str(row), model=tiny_llama, tokenizer=BYTES) for row in range(3)]
    for several in (members, read):
        mixture = MixtureForCausalLM.from_members(several, VOTES)
        output = mixture(torch.tensor([ROWS[1]]), use_cache=True)
        assert [group.places for group in output.past_key_values.groups] == [(0, 1, 2)]
        assert_allclose(output.logits.double().softmax(dim=-1), mixed, atol=1e-5)


@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")
def test_an_adapter_of_peft_is_read_to_the_bit(tmp_path):
    config = LoraConfig(r=3, target_modules=["up_proj", "q_proj"], init_lora_weights=False, task_type="CAUSAL_LM")
    model = get_peft_model(untrained_model(tiny_llama), config).half()
    model.save_pretrained(tmp_path)
    learner = HFCausalLM.from_peft(tmp_path, model=tiny_llama, tokenizer=BYTES)
    state = dict(model.named_parameters())
    assert len(learner.adapter_) == 8
    for name, tensor in learner.adapter_.items():
        assert tensor.dtype == torch.float32
        assert torch.equal(tensor, state[name].float())


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, r"adapter_config.json is missing. Pass the folder of an adapter"),
        ({"adapter_config.json": "{"}, r"adapter_config.json is damaged: it is no JSON"),
        ({"adapter_config.json": '{"peft_type": "LORA", "r": 8}'}, r"adapter_model.safetensors is missing; weights in"),
    ],
)
def test_a_folder_without_a_whole_adapter_is_refused(files, message, tmp_path):
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(CheckpointError, match=message):
        HFCausalLM.from_peft(tmp_path, model=tiny_llama, tokenizer=BYTES)


def test_an_adapter_that_names_no_base_needs_one(tmp_path):
    (tmp_path / "adapter_config.json").write_text('{"peft_type": "LORA"}')
    with pytest.raises(ValueError, match=r"model must be given, the base of .*, which names none. Got None"):
        HFCausalLM.from_peft(tmp_path, tokenizer=BYTES)


# --- the cache --------------------------------------------------------------------------------------------------------


def test_a_cache_with_room_holds_what_concatenation_holds():
    generator = torch.Generator().manual_seed(0)
    ours, theirs = leave_room(DynamicCache()), DynamicCache()
    for n_new in (5, 1, 1, 70, 1, 0, 200, 3):
        keys, values = torch.randn(2, 2, 3, n_new, 4, generator=generator)
        for one in (ours, theirs):
            one.update(keys, values, 0)
        ours = leave_room(ours)
        if n_new == 70:
            for one in (ours, theirs):
                one.reorder_cache(torch.tensor([1, 1]))
        if n_new == 200:
            for one in (ours, theirs):
                one.crop(-100)
    assert type(ours.layers[0]).__name__ == "GrowingLayer"
    assert torch.equal(ours.layers[0].keys, theirs.layers[0].keys)
    assert torch.equal(ours.layers[0].values, theirs.layers[0].values)
    assert ours.get_seq_length() == theirs.get_seq_length() == 181


def test_a_step_copies_no_earlier_token():
    kept, one = DynamicCache(), torch.ones(1, 1, 1, 2)
    kept.update(torch.zeros(1, 1, 5, 2), torch.zeros(1, 1, 5, 2), 0)
    leave_room(kept).update(one, one, 0)
    address = kept.layers[0].keys.data_ptr()
    for _ in range(60):
        kept.update(one, one, 0)
        kept.crop(-1)  # as where a guess is not accepted
        kept.update(one, one, 0)
    assert kept.layers[0].keys.data_ptr() == address
    assert kept.get_seq_length() == 66
