"""Adapters that PEFT has saved: they share a base with what was trained here, and compute what PEFT does."""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import re
import warnings

import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from peft import PEFT_TYPE_TO_CONFIG_MAPPING, AutoPeftModelForCausalLM, LoraConfig, PeftModel, get_peft_model
from tiny_models import TEMPLATE, fit, tiny_learner, tiny_llama, tiny_qwen2, untrained_model

from ensemw2s import CheckpointError, HFCausalLM, MixtureForCausalLM, byte_tokenizer
from ensemw2s._adapters.config import ADAPTERS
from ensemw2s._adapters.module_patterns import pattern_fault
from ensemw2s._adapters.peft_settings import _FIELDS
from ensemw2s.mixture._groups import group_members

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning"),
    pytest.mark.filterwarnings("ignore:Model has `tie_word_embeddings=True`:UserWarning"),
]

BYTES = byte_tokenizer()
TRAINING = {"epochs": 2, "lr": 3e-2}
IDS = torch.tensor([list(b"Is it?:")])


def config(**settings):
    shape = {"r": 8, "lora_alpha": 16, "target_modules": "all-linear", "task_type": "CAUSAL_LM"}
    return LoraConfig(**{**shape, **settings})


def saved_by_peft(folder, seed=0, factory=tiny_llama, change_base=None, **settings):
    """An adapter that moves logits, in a folder of PEFT's; and its model."""
    with torch.random.fork_rng(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Setting `save_embedding_layers`")
        base = untrained_model(factory)
        if change_base is not None:
            change_base(base)
        torch.manual_seed(seed)
        model = get_peft_model(base, config(**settings)).eval()
        for name, parameter in model.named_parameters():
            if "lora_" in name:
                torch.nn.init.normal_(parameter, std=0.1)
        model.save_pretrained(folder)
    return model


def read(folder, model=tiny_llama, **parameters):
    return HFCausalLM.from_peft(folder, model=model, tokenizer=BYTES, prompt_template=TEMPLATE, **parameters)


def assert_stacked_as_peft(members, models):
    """Members are one batch, and each computes what PEFT does."""
    mixture = MixtureForCausalLM.from_members(members, [1.0] * len(members))
    logits, cache = mixture.member_logits(IDS, n_last=IDS.shape[1], use_cache=True)
    assert [group.places for group in cache.groups] == [tuple(range(len(members)))]
    assert_logits_are_pefts(logits, models)


@torch.no_grad()
def assert_logits_are_pefts(logits, models):
    expected = torch.stack([model(IDS).logits for model in models])
    assert_allclose(logits, expected, atol=1e-5)
    assert (expected[0] - expected[1]).abs().max() > 0.01  # the members differ


def exported(learner, folder):
    folder.mkdir()
    learner._host().save(learner.adapter_, folder)
    return PeftModel.from_pretrained(untrained_model(learner.model), folder).eval()


@pytest.fixture(scope="module")
def trained():
    return fit(tiny_learner(**TRAINING))


# --- one base, one batch ----------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_members_trained_here_exported_and_imported_are_one_batch(trained, tmp_path):
    model, other = exported(trained, tmp_path / "trained"), saved_by_peft(tmp_path / "other")
    members = [trained, read(tmp_path / "other"), read(tmp_path / "trained")]
    assert len({id(member._host()) for member in members}) == 1
    assert_stacked_as_peft(members, [model, other, model])


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        {"peft_version": "0.18.0", "revision": "main", "inference_mode": False, "base_model_name_or_path": "elsewhere"},
        {"task_type": None, "auto_mapping": {"base_model_class": "LlamaForCausalLM"}},
        {"lora_dropout": 0.1, "init_lora_weights": "gaussian"},
        {"r": 1, "lora_alpha": 1, "rank_pattern": {".*": 8}, "alpha_pattern": {".*": 16}},
        {"target_modules": r".*\.(self_attn|mlp)\..*_proj", "layers_to_transform": None},
    ],
    ids=["origin", "task", "training", "patterns", "expression"],
)
def test_what_does_not_shape_an_adapter_keeps_members_together(trained, tmp_path, changes):
    model = saved_by_peft(tmp_path)
    path = tmp_path / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    member = read(tmp_path)
    assert member._host() is trained._host()
    assert_stacked_as_peft([trained, member], [exported(trained, tmp_path / "trained"), model])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        (
            {"r": 4},
            r"lora_A.default.weight is float32 of shape \(8, 48\) in one, float32 of shape \(4, 48\) in another",
        ),
        ({"lora_alpha": 8}, r"the scaling of .* is 2.0 in one, 1.0 in another"),
        ({"target_modules": ["q_proj"]}, r"weight is float32 of shape .* in one, absent in another"),
        ({"use_dora": True}, r"peft_config.use_dora is False in one, True in another"),
    ],
    ids=["rank", "scaling", "layers", "kind"],
)
def test_other_shapes_share_the_base_run_apart_and_say_so_once(trained, tmp_path, caplog, settings, reason):
    model = saved_by_peft(tmp_path, **settings)
    member = read(tmp_path)
    with caplog.at_level(logging.WARNING, logger="ensemw2s"):
        for _ in range(2):
            mixture = MixtureForCausalLM.from_members([trained, member], [1.0, 1.0])
            logits, cache = mixture.member_logits(IDS, n_last=IDS.shape[1], use_cache=True)
    assert [group.places for group in cache.groups] == [(0,), (1,)]
    [message] = caplog.messages
    assert "Members of one base run as 2 batches" in message
    assert re.search(reason, message)
    assert_logits_are_pefts(logits, [exported(trained, tmp_path / "trained"), model])
    one, other = (
        {
            name.replace(".base_layer", ""): tensor.data_ptr()
            for name, tensor in learner._host().model.named_parameters()
        }
        for learner in (trained, member)
    )
    frozen = [name for name in one if "lora_" not in name]
    assert len(frozen) == 21
    assert [one[name] for name in frozen] == [other[name] for name in frozen]


@pytest.mark.parametrize("settings", [{"lora_dropout": 0.5}, {"init_lora_weights": "gaussian"}])
@pytest.mark.slow
def test_learners_of_one_host_train_with_their_own_dropout_and_initialisation(trained, settings, tmp_path):
    shared = fit(tiny_learner(peft_config=config(**settings), **TRAINING))
    assert shared._host() is trained._host()
    alone = fit(tiny_learner(lambda: tiny_llama(), peft_config=config(**settings), **TRAINING))
    assert alone._host() is not trained._host()
    for name, tensor in alone.adapter_.items():
        assert_array_equal(shared.adapter_[name], tensor)
    again = fit(tiny_learner(**TRAINING))
    for name, tensor in trained.adapter_.items():
        assert_array_equal(again.adapter_[name], tensor)
        assert not torch.equal(tensor, shared.adapter_[name])
    shared.save_pretrained(tmp_path / "saved", include_base=True)
    written = json.loads((tmp_path / "saved" / "member" / "adapter_config.json").read_text())
    assert {name: written[name] for name in settings} == settings


# --- adapters of the head and of embeddings ---------------------------------------------------------------------------


@pytest.mark.parametrize("targets", [["lm_head", "q_proj"], ["embed_tokens", "q_proj"], ["lm_head", "embed_tokens"]])
def test_adapted_heads_and_embeddings_are_read_without_the_base(tmp_path, targets):
    models = [saved_by_peft(tmp_path / str(seed), seed, target_modules=targets) for seed in range(2)]
    members = [read(tmp_path / str(seed)) for seed in range(2)]
    assert not [name for name in members[0].adapter_ if "base_layer" in name]
    mixture = MixtureForCausalLM.from_members(members, [1.0, 1.0])
    logits, _ = mixture.member_logits(IDS, n_last=IDS.shape[1], use_cache=True)
    assert_logits_are_pefts(logits, models)


def test_a_base_in_half_precision_is_the_same_base(tmp_path):
    saved_by_peft(tmp_path, target_modules=["lm_head"], change_base=lambda base: base.bfloat16())
    assert len(read(tmp_path).adapter_) == 2
    saved_by_peft(tmp_path / "single", target_modules=["lm_head"])
    assert len(read(tmp_path / "single", dtype="bfloat16").adapter_) == 2


@pytest.mark.parametrize("saved", [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16"])
@pytest.mark.slow
def test_an_adapter_of_any_precision_is_read_as_peft_reads_it(tmp_path, saved, dtype):
    model = saved_by_peft(tmp_path)
    for parameter in model.parameters():
        parameter.data = parameter.data.to(saved)
    model.save_pretrained(tmp_path)
    base = untrained_model(tiny_llama).to(getattr(torch, dtype))
    wanted = dict(PeftModel.from_pretrained(base, tmp_path).named_parameters())
    found = read(tmp_path, dtype=dtype).adapter_
    assert found
    for name, tensor in found.items():
        assert tensor.dtype == wanted[name].dtype
        assert_array_equal(tensor.float(), wanted[name].detach().float(), err_msg=name)


def test_a_base_that_was_changed_with_the_adapter_is_refused_until_it_is_passed(tmp_path):
    def change(base):
        with torch.no_grad():
            base.lm_head.weight[3] += 0.5

    model = saved_by_peft(tmp_path, target_modules=["lm_head"], change_base=change)
    with pytest.raises(CheckpointError, match=r"lm_head.base_layer.weight is not that of the model.*pass model=FOLDER"):
        read(tmp_path)
    expected = model(IDS).logits.detach()
    model.unload().save_pretrained(tmp_path / "base")
    found = read(tmp_path, model=str(tmp_path / "base")).token_logits(IDS, torch.ones_like(IDS))
    assert_allclose(found, expected, atol=1e-5)


def test_tied_heads_are_read_as_peft_saves_them(tmp_path):
    model = saved_by_peft(tmp_path, factory=tiny_qwen2, target_modules=["lm_head", "q_proj"])
    with torch.no_grad():
        assert_allclose(
            read(tmp_path, tiny_qwen2).token_logits(IDS, torch.ones_like(IDS)), model(IDS).logits, atol=1e-5
        )


def test_members_of_another_base_are_no_relatives(trained, tmp_path):
    saved_by_peft(tmp_path, factory=tiny_qwen2, r=4)
    assert read(tmp_path, tiny_qwen2)._host().shared_base is not trained._host().shared_base
    assert len(group_members([trained, read(tmp_path, tiny_qwen2)])) == 2


# --- files that are none, or hostile ----------------------------------------------------------------------------------


@pytest.fixture
def saved_adapter(tmp_path):
    saved_by_peft(tmp_path)
    return tmp_path / "adapter_config.json"


@pytest.mark.slow
@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"peft_type": "SHADOW", "shadow_model": "evil/repo"}, "peft_type 'SHADOW' is not read from a file"),
        ({"target_modules": "("}, r"target_modules' is no regular expression \(missing \)"),
        ({"target_modules": "^(([a-z])+.)+[A-Z]([a-z])+$"}, "target_modules' could take for ever"),
        ({"rank_pattern": {"(.*)*x": 4}}, "rank_pattern' has a pattern that could take for ever"),
        ({"target_modules": ["nowhere"]}, "belongs to another base: .*nowhere.* not found"),
        ({"new_setting": 3}, "new_setting' is not known to the installed version of peft"),
    ],
)
def test_an_adapter_that_is_not_on_the_list_is_refused(saved_adapter, changes, message):
    saved_adapter.write_text(json.dumps({**json.loads(saved_adapter.read_text()), **changes}))
    with pytest.raises(CheckpointError, match=rf"(?s)adapter_config\.json .*{message}"):
        read(saved_adapter.parent)


@pytest.mark.parametrize(
    "text", ["[]", "null", "3", '"("', "[" * 5000 + "]" * 5000, '{"a":' * 500 + "1" + "}" * 500, ""]
)
def test_a_configuration_that_is_none_is_refused(saved_adapter, text):
    saved_adapter.write_text(text)
    with pytest.raises(
        CheckpointError, match=r"adapter_config\.json (holds no configuration|is damaged: it is no JSON)"
    ):
        read(saved_adapter.parent)


@pytest.mark.timeout(60)
@pytest.mark.parametrize("name", ["adapter_config.json", "adapter_model.safetensors"])
@pytest.mark.parametrize("place", ["folder", "pipe", "link"])
def test_what_is_no_file_of_the_folder_is_refused(tmp_path, name, place):
    saved_by_peft(tmp_path / "adapter")
    path = tmp_path / "adapter" / name
    moved = path.rename(tmp_path / name)
    if place == "folder":
        path.mkdir()
    elif place == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to(moved)
    with pytest.raises(CheckpointError, match=rf"{name} (is no plain file|is a link to)"):
        read(tmp_path / "adapter")


def test_every_kind_of_adapter_that_is_read_has_all_its_settings_checked():
    """A setting that the next version of PEFT adds is refused, unless it is left out, until it is looked at."""
    fields = {
        kind: {field.name for field in dataclasses.fields(PEFT_TYPE_TO_CONFIG_MAPPING[kind])} for kind in ADAPTERS
    }
    unchecked = {kind: names - set(_FIELDS) for kind, names in fields.items()}
    refused = {
        "megatron_config", "megatron_core", "loftq_config", "eva_config", "corda_config", "lora_ga_config",
        "velora_config", "monteclora_config", "layer_replication", "runtime_config", "use_bdlora", "arrow_config",
        "kasa_config",
    }  # fmt: skip
    assert {kind for kind, names in unchecked.items() if names} == {"LORA", "ADALORA"}
    assert unchecked["LORA"] == unchecked["ADALORA"] == refused


@pytest.mark.parametrize(
    ("pattern", "accepted"),
    [
        (r".*\.(self_attn|mlp)\..*_proj", True), (r"model\.layers\.\d+\.self_attn\.(q|v)_proj", True),
        (r".*\.layers\.(?:1[0-9]|[2-9])\..*proj", True), ("(?:.*?(?:text).*?(?:attn|mlp).*?(?:q_proj).*?)|lm", True),
        ("(a|aa)" * 30, False), ("a?" * 30 + "a" * 30, False), (r"(\w+\.)+q", False), (r"(?P<x>a)(?P=x)", False),
        (".*" * 5 + "x", False), ("x" * 1001, False),
    ],
)  # fmt: skip
def test_expressions_are_read_where_they_are_soon_done_with(pattern, accepted):
    assert (pattern_fault(pattern) == "") is accepted


def test_what_is_exported_is_opened_by_pefts_auto_class(tmp_path):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        tiny_llama().save_pretrained(tmp_path / "base")
    unnamed = LoraConfig(r=2, target_modules="all-linear")  # which names no task
    learner = fit(tiny_learner(str(tmp_path / "base"), peft_config=unnamed, **TRAINING))
    (tmp_path / "adapter").mkdir()
    learner._host().save(learner.adapter_, tmp_path / "adapter")
    found = AutoPeftModelForCausalLM.from_pretrained(tmp_path / "adapter").eval()
    with torch.no_grad(), learner.lend_model() as model:
        assert_allclose(found(IDS).logits, model(IDS).logits, atol=1e-5)
    assert unnamed.task_type is None
