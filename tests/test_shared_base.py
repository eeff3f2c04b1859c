"""The base that members share stays what it was, whatever is trained on it."""

from __future__ import annotations

import copy
import pickle
import shutil

import numpy as np
import peft
import pytest
import torch
from numpy.testing import assert_array_equal
from peft import LoraConfig
from tiny_classifiers import OPINIONS, SENTENCES, WORDS, tiny_bert
from tiny_models import fit, tiny_gpt2, tiny_learner, tiny_llama, untrained_model
from torch import nn
from transformers import TrainerCallback

from ensemw2s import CheckpointError, HFCausalLM, HFClassifier, clear_model_cache
from ensemw2s._adapters import host as _adapters
from ensemw2s._adapters.base_record import BaseRecord
from ensemw2s.learners import _checks

IDS = np.array([[97, 98, 58]])
REPLICATED = {"layer_replication": [(0, 2), (1, 2)]}
KASA = {"kasa_config": peft.KasaConfig()}


@pytest.fixture(autouse=True)
def own_base():
    clear_model_cache()
    yield
    clear_model_cache()


def config(**settings) -> LoraConfig:
    return LoraConfig(**{"r": 2, "target_modules": ["q_proj", "v_proj"], **settings})


def logits(learner: HFCausalLM) -> np.ndarray:
    return learner.token_logits(IDS, np.ones_like(IDS)).numpy()


def bare_logits(factory) -> np.ndarray:
    with torch.no_grad():
        return untrained_model(factory)(torch.from_numpy(IDS)).logits.numpy()


@pytest.mark.slow
@pytest.mark.parametrize("settings", [REPLICATED, KASA], ids=["layer_replication", "kasa_config"])
def test_a_setting_that_is_known_to_change_the_base_is_refused_by_name(settings):
    with pytest.raises(ValueError, match=rf"peft_config\.{next(iter(settings))} must be None.*all members share"):
        tiny_learner(peft_config=config(**settings)).initialize()


@pytest.mark.filterwarnings("ignore:Careful, disabling adapter layers with bias")
@pytest.mark.parametrize("is_first", [True, False], ids=["first on its base", "beside another"])
@pytest.mark.parametrize(
    ("factory", "settings", "what"),
    [
        (tiny_llama, REPLICATED, r"module model\.layers\.2 is new"),
        (tiny_llama, KASA, r"weights model\.layers\.0\.self_attn\.q_proj\.weight"),
        (tiny_llama, {"init_lora_weights": "olora"}, r"weights model\.layers\.0\.self_attn\.q_proj\.weight"),
        (tiny_gpt2, {"bias": "all", "target_modules": ["c_attn"]}, r"weights transformer\.h\.0\.attn\.c_attn\.bias"),
    ],
    ids=["layer_replication", "kasa_config", "init_lora_weights", "bias"],
)
@pytest.mark.slow
def test_a_setting_that_changes_the_base_is_found_out(factory, settings, what, is_first, monkeypatch):
    for module in (_adapters, _checks):  # as if the setting were new
        monkeypatch.setattr(module, "check_adapter_config", lambda _: None)
    if not is_first:
        other = fit(tiny_learner(factory, epochs=1))
        before = logits(other)
    learner = tiny_learner(factory, peft_config=config(**settings), epochs=1)
    with pytest.raises(ValueError, match=rf"It has changed \({what}.*perhaps by .*{next(iter(settings))}"):
        fit(learner)
    assert_array_equal(logits(tiny_learner(factory).initialize()), bare_logits(factory))
    if not is_first:
        assert_array_equal(logits(other), before)


class Change(TrainerCallback):
    """Changes something of the base in the middle of a training."""

    def __init__(self, change) -> None:
        self.change = change

    def on_step_end(self, args, state, control, model=None, **kwargs):
        self.change(model.get_base_model())


def _weights(base):
    base.model.norm.weight.data.mul_(1.5)


def _buffer(base):
    base.model.rotary_emb.inv_freq.mul_(2)


def _module(base):
    base.model.layers[0].mlp.act_fn = nn.ReLU()


def _config(base):
    base.config.rms_norm_eps = 0.5


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (_weights, r"weights model\.norm\.weight"),
        (_buffer, r"weights model\.rotary_emb\.inv_freq"),
        (_module, r"module model\.layers\.0\.mlp\.act_fn, which was SiLUActivation and is ReLU"),
        (_config, r"config\.rms_norm_eps, which was 1e-06 and is 0\.5"),
    ],
    ids=["weights", "buffer", "module", "config"],
)
@pytest.mark.slow
def test_what_a_training_changes_in_the_base_is_found_out_and_undone(change, what):
    other = fit(tiny_learner(epochs=1))
    before = logits(other)
    with pytest.raises(ValueError, match=rf"It has changed \({what}"):
        fit(tiny_learner(epochs=1, callbacks=[Change(change)]))
    assert_array_equal(logits(other), before)
    assert_array_equal(logits(fit(tiny_learner(epochs=1))), before)


def _decoder(folder, peft_config):
    learner = fit(tiny_learner(folder, peft_config=peft_config, epochs=1))
    return learner, lambda: logits(learner)


def _classifier(folder, peft_config):
    classifier = HFClassifier(folder, tokenizer=WORDS, peft_config=peft_config, epochs=1, random_state=0)
    classifier.fit(SENTENCES, OPINIONS)
    return classifier, lambda: classifier.predict_proba(SENTENCES)


@pytest.mark.parametrize("peft_config", ["default", None], ids=["LoRA", "full"])
@pytest.mark.parametrize(("factory", "make"), [(tiny_llama, _decoder), (tiny_bert, _classifier)])
@pytest.mark.slow
def test_weights_in_memory_are_not_those_of_the_file(factory, make, peft_config, tmp_path):
    folder, other = str(tmp_path / "base"), tmp_path / "other"
    untrained_model(factory).save_pretrained(folder)
    torch.manual_seed(1)
    factory().save_pretrained(other)
    learner, say = make(folder, peft_config)
    before = say()
    shutil.copyfile(other / "model.safetensors", f"{folder}/model.safetensors")  # the same file, other content
    assert_array_equal(say(), before)
    learner.save_pretrained(tmp_path / "saved", include_base=False)


@pytest.mark.slow
def test_a_training_leaves_every_switch_of_the_configuration():
    learner = fit(tiny_learner(epochs=1))
    with learner.lend_model() as model:
        assert model.config.use_cache
    full = fit(tiny_learner(epochs=1, peft_config=None))
    assert full.model_.config.use_cache


@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")  # of PEFT
def test_record_is_that_of_the_bare_model_under_adapters_of_layers_and_modules():
    bare = BaseRecord.of(untrained_model(tiny_gpt2))
    settings = {"target_modules": "all-linear", "modules_to_save": ["ln_f"], "trainable_token_indices": [1]}
    wrapped = peft.get_peft_model(untrained_model(tiny_gpt2), LoraConfig(fan_in_fan_out=True, **settings))
    assert bare == BaseRecord.of(wrapped)
    assert {".transformer.wte.weight", ".lm_head.weight", ".transformer.ln_f.bias"} <= set(bare.tensors)


@pytest.mark.filterwarnings("ignore:Unsupported layer type")
@pytest.mark.slow
def test_an_adapter_that_peft_cannot_take_off_does_not_stop_others_on_its_base():
    wanted = logits(fit(tiny_learner(epochs=1, random_state=3)))
    clear_model_cache()
    settings = peft.LNTuningConfig(task_type="CAUSAL_LM", modules_to_save=["lm_head"])  # whose head stays behind
    learner = fit(tiny_learner(epochs=1, peft_config=settings))
    before = logits(learner)
    assert_array_equal(logits(fit(tiny_learner(epochs=1, random_state=3))), wanted)
    assert_array_equal(logits(learner), before)


@pytest.mark.slow
def test_a_copy_of_a_member_is_not_put_on_a_base_that_was_overwritten(tmp_path):
    untrained_model(tiny_llama).save_pretrained(tmp_path / "base")
    member = fit(tiny_learner(str(tmp_path / "base"), peft_config=config()))
    before, travelling = logits(member), pickle.dumps(member)
    assert_array_equal(logits(pickle.loads(travelling)), before)  # noqa: S301
    other = untrained_model(tiny_llama)
    with torch.no_grad():
        other.lm_head.weight += 0.1
    other.save_pretrained(tmp_path / "base")
    copied = pickle.loads(travelling)  # noqa: S301
    with pytest.raises(CheckpointError, match="not the base model that this HFCausalLM was trained on"):
        logits(copied)
    with pytest.raises(CheckpointError, match="not the base model"):  # handed on without ever having been used
        logits(copy.deepcopy(copied))
    assert_array_equal(logits(member), before)
    assert not np.array_equal(logits(fit(copied)), before)  # fitted again, on what is there now
