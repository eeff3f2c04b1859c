"""Saved ensembles that are damaged or hostile: an error that names the file, and nothing runs."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import struct
import sys
import zipfile
from pathlib import Path

import pytest
from damage_matrix import outcomes
from damaged_files import DAMAGES, spoil
from saved_ensembles import bagged, base_folder, open_ensemble, relist, saved, voting
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from tiny_models import tiny_learner

from ensemw2s import (
    CheckpointError,
    FineTunedGenerator,
    HFCausalLM,
    HFClassifier,
    LLMAdaBoostClassifier,
    TokenAdaBoostGenerator,
)

# Damage


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """Two runs of one kind that differ in what they learned, and in their base."""
    folder = tmp_path_factory.mktemp("pair")
    for name, seed in (("one", 0), ("two", 1)):
        learner = tiny_learner(epochs=1, random_state=seed, lr=0.01 + seed / 100)
        bagged(learner).save_pretrained(folder / name, include_base=True)
    return folder


FILES = [
    "manifest.json", "ensemble.json", "token_weight.safetensors", "tokenizer/tokenizer.json",
    "tokenizer/tokenizer_config.json", "base/config.json", "base/generation_config.json", "base/model.safetensors",
    "members/0/adapter_config.json", "members/0/adapter_model.safetensors", "members/1/adapter_config.json",
    "members/1/adapter_model.safetensors",
]  # fmt: skip


@pytest.mark.slow
def test_every_file_is_in_the_matrix(pair):
    assert {path.relative_to(pair / "one").as_posix() for path in (pair / "one").rglob("*.*")} == set(FILES)


@pytest.mark.slow
@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_is_named(pair, tmp_path, name, damage):
    shutil.copytree(pair / "one", tmp_path / "copy")
    path = tmp_path / "copy" / name
    if not spoil(path, damage, pair / "two" / name):  # both runs have the same tokenizer and base
        assert not name.endswith(("manifest.json", "ensemble.json", "adapter_model.safetensors"))
        return
    blamed = "manifest.json|ensemble.json" if (damage, name) == ("swapped", "manifest.json") else path.name
    with pytest.raises(CheckpointError, match=blamed):
        TokenAdaBoostGenerator.from_pretrained(tmp_path / "copy")


@pytest.mark.timeout(120)
@pytest.mark.parametrize("name", ["ratings", "sweep", "learner BigramLearner", "pipeline", "checkpoint of classes"])
@pytest.mark.slow
def test_no_damage_is_silent_or_waited_for(tmp_path, name):
    """A part of the matrix; ``python tests/damage_matrix.py`` goes through all kinds of files and damages."""
    found = list(outcomes(name, tmp_path, damages=("bit", "deleted", "pipe")))
    assert len(found) >= 3
    assert [case for case in found if case[-1] not in ("named", "as before")] == []
    assert [case for case in found if case[-1] == "named"]


# Malice: whoever makes the folder also makes its manifest fit


class Bomb:
    """Writes the canary file when it is unpickled."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self):
        return os.system, (f"touch '{self.canary}'",)


@pytest.fixture
def hostile(tmp_path, monkeypatch):
    """A copy of a saved ensemble to be changed; afterwards nothing may have run, and nobody have been asked."""

    def no_question(*args):
        raise AssertionError("a question on standard input")

    monkeypatch.setattr("builtins.input", no_question)
    canary = tmp_path / "canary"

    def copy(kind: str) -> Path:
        return Path(shutil.copytree(saved(kind), tmp_path / kind))

    yield copy, canary
    assert not canary.exists()


WEIGHTS = [
    ("tokens-lora", "members/0/adapter_model.safetensors"), ("tokens-lora", "token_weight.safetensors"),
    ("tokens-full", "members/1/model.safetensors"), ("tokens-bigram", "members/0/log_proba.safetensors"),
    ("classes-lora-base", "base/model.safetensors"), ("classes-full-base", "members/0/model.safetensors"),
]  # fmt: skip


def test_the_bomb_would_go_off(tmp_path):
    pickle.loads(pickle.dumps(Bomb(tmp_path / "canary")))  # noqa: S301
    assert (tmp_path / "canary").exists()


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "name"), WEIGHTS)
@pytest.mark.parametrize("content", ["pickle", "huge header", "huge tensor"])
def test_weights_that_are_none_are_refused(hostile, kind, name, content):
    copy, canary = hostile
    folder = copy(kind)
    header = json.dumps({"a": {"dtype": "F64", "shape": [2**40], "data_offsets": [0, 2**43]}}).encode()
    (folder / name).write_bytes(
        {
            "pickle": pickle.dumps(Bomb(canary)),
            "huge header": struct.pack("<Q", 2**60) + b"{}",
            "huge tensor": struct.pack("<Q", len(header)) + header,
        }[content]
    )
    relist(folder)
    with pytest.raises(
        CheckpointError, match=Path(name).name if "/model." not in name else "holds no model|not the base"
    ):
        open_ensemble(kind, folder)


@pytest.mark.parametrize("name", ["members/0/pytorch_model.bin", "members/0/adapter_model.bin", "base/code.py"])
def test_a_file_that_could_hold_code_is_refused_even_if_listed(hostile, name):
    copy, canary = hostile
    folder = copy("tokens-lora-base")
    (folder / name).write_bytes(pickle.dumps(Bomb(canary)))
    relist(folder)
    with pytest.raises(CheckpointError, match=rf"lists '{name}', which is of no kind that is read"):
        open_ensemble("tokens-lora-base", folder)


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("tokens-full", "members/0/config.json"), ("tokens-lora-base", "base/config.json"),
        ("tokens-lora", "tokenizer/tokenizer_config.json"), ("tokens-lora", "members/0/adapter_config.json"),
        ("tokens-full", "members/0/generation_config.json"),
    ],
)  # fmt: skip
def test_a_configuration_with_auto_map_is_refused(hostile, kind, name):
    copy, _ = hostile
    folder = copy(kind)
    settings = json.loads((folder / name).read_text())
    (folder / name).write_text(json.dumps({**settings, "auto_map": {"AutoModelForCausalLM": "evil/repo--code.Model"}}))
    relist(folder)
    with pytest.raises(CheckpointError, match=rf"{name} asks for code to be run \('auto_map'\)"):
        open_ensemble(kind, folder)


def test_an_adapter_that_leads_from_a_model_to_another_is_refused(hostile):
    copy, _ = hostile
    folder = copy("tokens-full")
    settings = {"peft_type": "LORA", "base_model_name_or_path": "evil/repo"}
    (folder / "members" / "0" / "adapter_config.json").write_text(json.dumps(settings))
    relist(folder)
    with pytest.raises(CheckpointError, match="members/0 holds an adapter beside a model"):
        open_ensemble("tokens-full", folder)


def change(folder: Path, edit) -> None:
    content = json.loads((folder / "ensemble.json").read_text())
    edit(content)
    (folder / "ensemble.json").write_text(json.dumps(content))
    relist(folder)


@pytest.mark.parametrize(
    "edit",
    [
        lambda content: content.update(tokenizers=["../../elsewhere"]),
        lambda content: content.update(tokenizers=["/etc"]),
        lambda content: content["bases"].append({}) or content["bases"].reverse(),
        lambda content: content["fitted"].update(__class__=1),
        lambda content: content["fitted"].update(mixture_=1),
        lambda content: content["fitted"].update(estimator_weights_=[1.0, 2.0, 3.0]),
        lambda content: content["fitted"].update(token_weight_=[1.0]),
        lambda content: content["fitted"].update(max_new_tokens_="13"),
        lambda content: content["fitted"].update(picks_={"$array": {"dtype": "<i8", "shape": [1], "values": [0]}}),
        lambda content: content["fitted"].update(
            stop_reason_={"$array": {"dtype": "<U400000000", "shape": [1], "values": ["a"]}}
        ),
        lambda content: content["members"][0]["fitted"].update(tokenizer_="forged"),
        lambda content: content["members"][0]["fitted"].update(adapter_={}),
        lambda content: content["members"][0]["fitted"].update(max_length_="96"),
        lambda content: content["members"][0]["fitted"].update(max_length_=-1),
        lambda content: content["members"][0]["fitted"].update(max_length_=10**400),
        lambda content: content["members"][0]["fitted"].update(history_=[3]),
        lambda content: content["members"][0].update(tokenizer=10**30),
        lambda content: content["members"][0].update(weights=["adapter"]),
        lambda content: content["parameters"].update(surprise=1),
        lambda content: content["parameters"].update(sampling={"$code": "1"}),
        lambda content: content["parameters"]["estimator"]["$learner"].update({"class": "os.system"}),
        lambda content: content["members"][0]["learner"]["$learner"]["parameters"].update(model="x"),
        lambda content: content["members"][0].update(learner={"$base": 0}),
        lambda content: content["parameters"].update(
            estimator={"$object": {"class": "HFCausalLM", "parameters": {"model": "someone/else"}, "state": {}}}
        ),
        lambda content: content.pop("members"),
    ],
)
def test_an_ensemble_that_was_tampered_with_is_refused(hostile, edit):
    copy, _ = hostile
    folder = copy("tokens-lora")
    change(folder, edit)
    with pytest.raises(
        CheckpointError, match=r"ensemble\.json (is no TokenAdaBoostGenerator|cannot be read)|is missing"
    ):
        open_ensemble("tokens-lora", folder)


@pytest.mark.slow
@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"megatron_config": {"a": 1}, "megatron_core": "antigravity"}, "megatron_co.* is not read from a file"),
        ({"peft_type": "SHADOW", "shadow_model": "../code"}, "peft_type 'SHADOW' is not read from a file"),
        ({"peft_type": "XLORA", "adapters": {"a": "evil/repo"}}, "peft_type 'XLORA' is not read from a file"),
        ({"peft_type": ["LORA"]}, r"peft_type \['LORA'\] is not read"),
        ({"shadow_model": "evil/repo"}, "shadow_model' is not known to the installed version of peft"),
        ({"layer_replication": [[0, 2]] * 100_000}, "layer_replication.* is not read from a file"),
        ({"kasa_config": {"beta": 1.0}}, "kasa_config.* is not read from a file"),
        ({"target_modules": "(a+)+$"}, "target_modules' could take for ever"),
        ({"rank_pattern": {"(x|x)*y": 4}}, "rank_pattern' has a pattern that could take for ever"),
        ({"alpha_pattern": {".*" * 9 + "x": 4}}, "alpha_pattern' has a pattern that could take for ever"),
        ({"exclude_modules": "(?:a?){40}" + "a" * 40}, "exclude_modules' could take for ever"),
        ({"modules_to_save": ["(a+)+$"]}, "modules_to_save' must be names of modules"),
        ({"layers_to_transform": [0], "layers_pattern": "(a+)+$"}, "layers_pattern' must be names of modules"),
        ({"r": 10**9}, "r' must be an integer of at most"),
    ],
)
def test_a_peft_configuration_that_is_not_on_the_list_is_refused(hostile, settings, message):
    copy, _ = hostile
    folder = copy("tokens-lora")

    def edit(content):
        content["parameters"]["estimator"]["$learner"]["parameters"]["peft_config"]["$peft"].update(settings)

    change(folder, edit)
    with pytest.raises(CheckpointError, match=rf"ensemble\.json is no .*{message}"):
        open_ensemble("tokens-lora", folder)
    assert "antigravity" not in sys.modules


@pytest.mark.parametrize("learner", [HFCausalLM, HFClassifier])
def test_a_base_with_pickled_weights_is_refused(tmp_path, learner):
    shutil.copytree(base_folder("lm"), tmp_path / "base")
    (tmp_path / "base" / "model.safetensors").unlink()
    (tmp_path / "base" / "pytorch_model.bin").write_bytes(pickle.dumps(Bomb(tmp_path / "canary")))
    ensemble = FineTunedGenerator if learner is HFCausalLM else LLMAdaBoostClassifier
    with pytest.raises(OSError, match=r"base has no weights as safetensors; pickled ones.*are not read"):
        ensemble(learner(str(tmp_path / "base"))).fit(["Sky?", "Leaf?"], ["blue", "green"])
    assert not (tmp_path / "canary").exists()


@pytest.fixture
def voters(tmp_path):
    """A saved ensemble of scikit-learn's estimators."""
    pytest.importorskip("skops")
    voting(make_pipeline(TfidfVectorizer(), LogisticRegression())).save_pretrained(tmp_path / "voters")
    return tmp_path / "voters"


@pytest.mark.parametrize("name", ["estimator.skops", "members/1/estimator.skops"])
@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("pickle", "is no estimator that can be read"),
        ("foreign", r"holds objects of types that are not trusted: .*Bomb.*Do not use it"),
        ("compressed", "is compressed, and could fill the memory"),
    ],
)
def test_a_hostile_skops_file_is_refused(voters, name, content, message):
    import skops.io

    canary = voters.parent / "canary"
    if content == "pickle":
        (voters / name).write_bytes(pickle.dumps(Bomb(canary)))
    elif content == "foreign":
        skops.io.dump({"a": Bomb(canary)}, voters / name)
    else:
        skops.io.dump(LogisticRegression(), voters / name, compression=zipfile.ZIP_DEFLATED)
    relist(voters)
    with pytest.raises(CheckpointError, match=rf"{name} {message}"):
        LLMAdaBoostClassifier.from_pretrained(voters)
    assert not canary.exists()
