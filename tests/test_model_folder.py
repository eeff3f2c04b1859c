"""Folders of base models that were not written here: what leads out of them, or takes for ever, is not opened."""

from __future__ import annotations

import json
import os
import shutil
import struct
from pathlib import Path

import pytest
from safetensors import safe_open
from saved_ensembles import base_folder, saved
from tiny_models import TEMPLATE
from transformers import AutoModelForCausalLM

from ensemw2s import CheckpointError, HFCausalLM, HFClassifier, TokenAdaBoostGenerator
from ensemw2s._loading import model_folder as _model_folder
from ensemw2s._loading.gguf_header import check_gguf


@pytest.fixture
def base(tmp_path):
    return Path(shutil.copytree(base_folder("lm"), tmp_path / "base"))


def load(folder):
    model, _ = HFCausalLM(str(folder), prompt_template=TEMPLATE, peft_config=None).initialize()._load_untrained()
    return model


def edit(path, **settings):
    path.write_text(json.dumps({**json.loads(path.read_text()), **settings}))


def point_to(base, shard):
    """Make the weights one shard of an index, under any name."""
    with safe_open(base / "model.safetensors", "pt") as file:
        names = list(file.keys())
    (base / "model.safetensors.index.json").write_text(
        json.dumps({"metadata": {}, "weight_map": dict.fromkeys(names, shard)})
    )
    return (base / "model.safetensors").rename(base.parent / "secret.safetensors")


@pytest.mark.parametrize(
    "shard", ["../secret.safetensors", "{parent}/secret.safetensors", "a/../../secret.safetensors"]
)
@pytest.mark.parametrize("learner", [HFCausalLM, HFClassifier])
def test_an_index_that_leads_out_is_refused(base, shard, learner):
    point_to(base, shard.format(parent=base.parent))
    with pytest.raises(CheckpointError, match=r"index\.json points to '.*, outside its folder"):
        learner(str(base), peft_config=None).initialize() if learner is HFCausalLM else learner(str(base)).fit(
            ["a", "b"], ["x", "y"]
        )


@pytest.mark.parametrize("place", ["file", "folder"])
def test_a_link_that_leads_out_is_refused(base, place):
    secret = point_to(base, "shards/one.safetensors")
    if place == "file":
        (base / "shards").mkdir()
        (base / "shards" / "one.safetensors").symlink_to(secret)
    else:
        (base.parent / "elsewhere").mkdir()
        secret.rename(base.parent / "elsewhere" / "one.safetensors")
        (base / "shards").symlink_to(base.parent / "elsewhere")
    with pytest.raises(CheckpointError, match=r"one\.safetensors (is a link to|lies outside its folder)"):
        load(base)


def test_shards_and_links_inside_a_folder_are_read_as_the_folder_without(base):
    expected = load(base)
    secret = point_to(base, "shards/one.safetensors")
    (base / "shards").mkdir()
    secret.rename(base / "two.safetensors")
    (base / "shards" / "one.safetensors").symlink_to("../two.safetensors")
    found = load(base)
    assert found.name_or_path == str(base)
    for one, other in zip(expected.parameters(), found.parameters(), strict=True):
        assert one.equal(other)


def test_the_index_of_a_repository_is_looked_at_before_its_files(base, monkeypatch):
    point_to(base, "../../secret.safetensors")
    monkeypatch.setattr("transformers.utils.cached_file", lambda model, name, **_: str(base / name))
    with pytest.raises(CheckpointError, match=r"points to '\.\./\.\./secret\.safetensors', outside its folder"):
        _model_folder.check_on_hub("someone/model", None, None)


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_hidden_layers": 10**6}, r"config\.json says num_hidden_layers = 1,000,000, which no model has"),
        ({"num_hidden_layers": 3}, r"base lacks 9 of the tensors that its configuration asks for, such as model"),
        ({"num_labels": 10**9}, r"config\.json says num_labels"),
        ({"text_config": {"n_layers": 10**7}}, r"config\.json says n_layers"),
        ({"attn_implementation": "evil/kernel"}, r"config\.json asks for code to be run"),
        ({"transformers_weights": "../secret.safetensors"}, r"config\.json points to '\.\./secret.*outside its folder"),
        ({"num_attention_heads": 0}, "base holds no model or tokenizer that can be read"),
        ({"model_type": "nothing"}, "base holds no model or tokenizer that can be read"),
    ],
)
def test_a_configuration_that_no_model_has_is_refused(base, settings, message):
    edit(base / "config.json", **settings)
    with pytest.raises(CheckpointError, match=message):
        load(base)


@pytest.mark.timeout(60)
@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors"])
@pytest.mark.parametrize("damage", ["cut", "pipe", "folder", "device", "deep", "list"])
def test_a_damaged_file_is_named(base, name, damage):
    path = base / name
    content = path.read_bytes()
    path.unlink()
    if damage == "pipe":
        os.mkfifo(path)
    elif damage == "folder":
        path.mkdir()
    elif damage == "device":
        path.symlink_to("/dev/zero")
    else:
        path.write_bytes({"cut": content[: len(content) // 2], "deep": b"[" * 10**5, "list": b"[]"}[damage])
    with pytest.raises(CheckpointError, match=rf"({name}|base holds no model or tokenizer)"):
        load(base)


def test_weights_that_are_nearly_all_holes_are_not_read(base):
    os.truncate(base / "model.safetensors", 2**42)
    with pytest.raises(CheckpointError, match=r"model\.safetensors has 4,398,046,511,104 bytes.*the rest is holes"):
        load(base)


def test_an_adapter_beside_a_model_is_not_followed(base):
    (base / "adapter_config.json").write_text('{"peft_type": "LORA", "base_model_name_or_path": "evil/repo"}')
    with pytest.raises(CheckpointError, match="base holds an adapter beside a model"):
        load(base)


def header(n_tensors, *values, version=3):
    """A GGUF file's beginning."""
    return b"GGUF" + struct.pack("<IQQ", version, n_tensors, len(values)) + b"".join(values)


def value(kind, content, name=b"general.name"):
    return struct.pack("<Q", len(name)) + name + struct.pack("<I", kind) + content


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    "content",
    [
        b"", b"GGUF", b"JUNK" * 100, header(0, version=9), header(2**60),
        b"GGUF" + struct.pack("<IQQ", 3, 0, 2**60),
        header(1, value(8, struct.pack("<Q", 2**62))) + b"\0" * 64,
        header(1, value(9, struct.pack("<IQ", 4, 2**61))) + b"\0" * 64,
        header(1, value(9, struct.pack("<IQ", 9, 2**40))) + b"\0" * 64,
        header(1, value(77, b"")) + b"\0" * 64,
        header(0, value(8, struct.pack("<Q", 5) + b"llama", b"general.architecture")),  # no weights: 7e9 were drawn
        header(1, value(4, struct.pack("<I", 10**9), b"llama.block_count")) + b"\0" * 64,
        header(1, value(4, struct.pack("<I", 1))) + struct.pack("<Q", 1) + b"a" + struct.pack("<I", 10**9) + b"\0" * 64,
    ],
)  # fmt: skip
def test_a_gguf_file_that_is_none_is_named(base, content):
    (base / "model.gguf").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"model\.gguf is no GGUF file that can be read"):
        HFCausalLM(str(base), gguf_file="model.gguf").initialize()


def test_the_header_of_a_gguf_file_is_gone_through(tmp_path):
    texts = struct.pack("<IQ", 8, 2) + (struct.pack("<Q", 3) + b"abc") * 2
    values = value(8, struct.pack("<Q", 5) + b"llama"), value(9, texts), value(9, struct.pack("<IQ", 5, 2) + b"\0" * 8)
    tensor = struct.pack("<Q", 1) + b"a" + struct.pack("<IQIQ", 1, 4, 0, 0) + b"\0" * 16
    (tmp_path / "model.gguf").write_bytes(header(1, *values) + tensor)
    check_gguf(tmp_path / "model.gguf")


def test_weights_that_are_cut_while_they_are_read_do_not_end_the_process(base):
    """transformers maps them into memory, where a file that has been cut is a bus error."""
    expected = load(base).state_dict()
    with _model_folder.checked_folder(str(base)) as folder:
        os.truncate(base / "model.safetensors", 100)
        found = AutoModelForCausalLM.from_pretrained(folder.path).state_dict()
    for name, tensor in expected.items():
        assert tensor.equal(found[name])


@pytest.mark.slow
def test_a_base_that_is_replaced_while_it_is_read_is_noticed(tmp_path, monkeypatch):
    """What is parsed is what was hashed, also by transformers: other settings fit the same weights."""
    shutil.copytree(saved("tokens-lora-base"), tmp_path / "saved")
    path = tmp_path / "saved" / "base" / "config.json"
    fill = _model_folder._fill

    def replace(*arguments):
        edit(path, layer_norm_epsilon=0.5)
        return fill(*arguments)

    monkeypatch.setattr(_model_folder, "_fill", replace)
    with pytest.raises(CheckpointError, match=r"(config|tokenizer_config)\.json is damaged: its sha256"):
        TokenAdaBoostGenerator.from_pretrained(tmp_path / "saved")
