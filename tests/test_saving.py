"""Saved ensembles: equal to the bit, also in another process, and opened by PEFT and transformers."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from saved_ensembles import KINDS, base_folder, fitted, open_ensemble, relist, saved, sayings, tuned, voting
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from tiny_classifiers import OPINIONS, SENTENCES
from tiny_models import ANSWERS, CHOICES, PROMPTS, tiny_llama

from ensemw2s import (
    BackendUnavailableError,
    BigramLearner,
    CheckpointError,
    FineTunedGenerator,
    LLMAdaBoostClassifier,
    TokenAdaBoostGenerator,
)
from ensemw2s.storage import _placement, write_tensors

FRESH = """
import json, sys
from ensemw2s import MixtureForCausalLM
folders = json.loads(sys.argv[1])
MixtureForCausalLM.from_pretrained(folders["tokens-bigram"])  # where no learner has been named yet
from saved_ensembles import open_ensemble, sayings
print(json.dumps({kind: sayings(open_ensemble(kind, folder)) for kind, folder in folders.items()}))
"""


@pytest.fixture(scope="module")
def fresh():
    """What another process hears from the saved ensembles."""
    command = [sys.executable, "-c", FRESH, json.dumps({kind: str(saved(kind)) for kind in KINDS})]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
    run = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.slow
def test_a_loaded_ensemble_says_the_same_to_the_bit(kind):
    assert sayings(open_ensemble(kind, saved(kind))) == sayings(fitted(kind))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.slow
def test_an_ensemble_says_the_same_in_another_process(fresh, kind):
    assert fresh[kind] == sayings(fitted(kind))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.slow
def test_parameters_and_attributes_survive(kind):
    before, after = fitted(kind), open_ensemble(kind, saved(kind))
    assert set(vars(before)) == set(vars(after))
    for name, value in vars(before).items():
        if name not in ("estimator", "estimators_"):
            np.testing.assert_array_equal(getattr(after, name), value)
    if not isinstance(before.estimator, str):
        replaced = {"model", "tokenizer", "loss"}
        for name in set(before.estimator.get_params(deep=False)) - replaced:
            assert getattr(after.estimator, name) == getattr(before.estimator, name)
    for one, other in zip(before.estimators_, after.estimators_, strict=True):
        assert getattr(one, "random_state", None) == getattr(other, "random_state", None)
        assert set(vars(one)) - {"_shared_host"} == set(vars(other)) - {"_shared_host"}


@pytest.mark.parametrize("kind", [kind for kind in KINDS if "bigram" not in kind and "-id" not in kind])
@pytest.mark.slow
def test_a_loaded_ensemble_is_fitted_again_to_the_same(kind):
    loaded = open_ensemble(kind, saved(kind))
    if hasattr(loaded, "classes_"):
        texts = loaded.classes_.dtype.kind == "U"
        again = loaded.fit(SENTENCES, fit_labels(texts))
        assert np.array_equal(again.predict_proba(SENTENCES), fitted(kind).predict_proba(SENTENCES))
    else:
        again = loaded.fit(PROMPTS, ANSWERS)
        assert np.array_equal(again.answer_nll(PROMPTS, ANSWERS), fitted(kind).answer_nll(PROMPTS, ANSWERS))


def fit_labels(texts: bool):
    return OPINIONS if texts else [int(opinion == "like") for opinion in OPINIONS]


@pytest.mark.slow
def test_an_ensemble_of_a_model_id_is_fitted_again():
    loaded = open_ensemble("tuned-id-base", saved("tuned-id-base"))
    assert loaded.estimator == str(saved("tuned-id-base") / "base")
    assert loaded.fit(PROMPTS, ANSWERS).answer_nll(PROMPTS, ANSWERS).shape == (4,)


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "base"), [("tokens-lora", None), ("tokens-lora-base", "base"), ("tuned-id", None)])
@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")
def test_peft_opens_a_member(kind, base):
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    plain = AutoModelForCausalLM.from_pretrained(saved(kind) / base if base else base_folder("lm"), dtype=torch.float32)
    model = PeftModel.from_pretrained(plain, saved(kind) / "members" / "0").eval()
    member = fitted(kind).estimators_[0]
    ids = torch.tensor([member.tokenizer_("Is it? no")["input_ids"]])
    with torch.inference_mode():
        assert torch.equal(model(ids).logits, member.token_logits(ids, torch.ones_like(ids)))
        with model.disable_adapter():
            assert not torch.equal(model(ids).logits, member.token_logits(ids, torch.ones_like(ids)))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")
def test_peft_opens_a_classifier_with_its_head():
    from peft import PeftModel
    from transformers import AutoModelForSequenceClassification

    plain = AutoModelForSequenceClassification.from_pretrained(base_folder("bert"), num_labels=2)
    model = PeftModel.from_pretrained(plain, saved("classes-lora") / "members" / "1").eval()
    member = fitted("classes-lora").estimators_[1]
    ids = torch.tensor([member.tokenizer_(SENTENCES[0])["input_ids"]])
    with torch.inference_mode():
        proba = model(input_ids=ids).logits.double().softmax(dim=1).numpy()
    np.testing.assert_allclose(proba, member.predict_proba(SENTENCES[:1]), rtol=1e-5)


@pytest.mark.slow
def test_transformers_opens_a_member_of_which_all_weights_were_trained():
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(saved("tokens-full") / "members" / "1", dtype=torch.float32)
    trained = fitted("tokens-full").estimators_[1].model_.state_dict()
    assert all(torch.equal(tensor, trained[name]) for name, tensor in model.state_dict().items())


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_the_tokenizer_is_saved_once(kind):
    assert len(list((saved(kind)).rglob("tokenizer.json"))) == 1


def test_loading_leaves_the_members_of_the_same_base_alone():
    one, other = fitted("tokens-lora").estimators_
    file = saved("tokens-lora") / "members" / "1" / "adapter_model.safetensors"
    before = {name: tensor.clone() for name, tensor in one.adapter_.items()}
    with one.lend_model():
        pass  # its tensors are in the base's slot now
    loaded = one._host().load(load_file(file), file)
    assert all(torch.equal(one.adapter_[name], tensor) for name, tensor in before.items())
    assert all(torch.equal(other.adapter_[name], tensor) for name, tensor in loaded.items())


def test_a_loaded_ensemble_is_pickled():
    loaded = open_ensemble("tokens-lora", saved("tokens-lora"))
    assert sayings(pickle.loads(pickle.dumps(loaded))) == sayings(fitted("tokens-lora"))  # noqa: S301


def test_a_loaded_ensemble_is_saved_again(tmp_path):
    open_ensemble("tokens-lora", saved("tokens-lora")).save_pretrained(tmp_path / "again")
    for name in ("members/0/adapter_model.safetensors", "token_weight.safetensors", "ensemble.json"):
        assert (tmp_path / "again" / name).read_bytes() == (saved("tokens-lora") / name).read_bytes()


def test_an_ensemble_with_fewer_votes_is_saved(tmp_path):
    first = fitted("tokens-bigram").with_votes([1.0])
    first.save_pretrained(tmp_path / "first")
    loaded = TokenAdaBoostGenerator.from_pretrained(tmp_path / "first")
    assert np.array_equal(loaded.answer_nll(PROMPTS, ANSWERS), first.answer_nll(PROMPTS, ANSWERS))


# What cannot be saved


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"estimator__model": lambda: None}, r"estimator\.model cannot be saved.*include_base=True"),
        ({"estimator__callbacks": (object(),)}, r"estimator\.callbacks cannot be saved.*after loading"),
        ({"estimator__random_state": np.random.RandomState(0)}, r"estimator\.random_state cannot be saved.*set_params"),
        ({"estimator__training_args": {"a": print}}, r"estimator\.training_args\['a'\] cannot be saved"),
        ({"estimator": object()}, r"estimator cannot be saved.*HFCausalLM, HFClassifier, BigramLearner"),
    ],
)
def test_a_parameter_that_cannot_be_written_is_named(tmp_path, parameters, message):
    ensemble = open_ensemble("tuned-full-base", saved("tuned-full-base")).set_params(**parameters)
    with pytest.raises(TypeError, match=message):
        ensemble.save_pretrained(tmp_path / "new")
    assert list(tmp_path.iterdir()) == []


def test_a_function_as_model_asks_for_include_base(tmp_path):
    with pytest.raises(TypeError, match=r"model cannot be saved\. Got .*tiny_llama.*pass include_base=True"):
        fitted("tuned-full-base").save_pretrained(tmp_path / "new")


class OwnLearner:
    """A learner that says nothing of how it is stored."""

    def __init__(self, learner):
        self.tokenizer_, self.learner = learner.tokenizer_, learner

    def token_logits(self, input_ids, attention_mask):
        return self.learner.token_logits(input_ids, attention_mask)


def test_a_learner_that_says_nothing_is_refused(tmp_path):
    generator = open_ensemble("tuned-bigram", saved("tuned-bigram"))
    generator.estimators_ = [OwnLearner(generator.estimators_[0])]
    with pytest.raises(TypeError, match=r"members/0 cannot be saved\. Got <.*OwnLearner.*PretrainedMixin are written"):
        generator.save_pretrained(tmp_path / "new")


def test_a_launch_cannot_include_the_base(tmp_path, monkeypatch):
    ensemble = fitted("tuned-bigram")
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("LOCAL_RANK", "0")
    with pytest.raises(ValueError, match=r"include_base must be False in a launch of several processes"):
        ensemble.save_pretrained(tmp_path / "new", include_base=True)


def test_an_ensemble_that_is_not_fitted_is_not_saved(tmp_path):
    with pytest.raises(ValueError, match="not fitted"):
        FineTunedGenerator(BigramLearner()).save_pretrained(tmp_path / "new")


# Where it is loaded from


def test_another_class_is_refused():
    with pytest.raises(CheckpointError, match="holds a TokenAdaBoostGenerator, not a FineTunedGenerator"):
        FineTunedGenerator.from_pretrained(saved("tokens-bigram"))


def test_what_is_neither_a_folder_nor_an_id_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="directory must be a folder or a hub id"):
        FineTunedGenerator.from_pretrained(tmp_path / "nowhere")


def test_a_revision_belongs_to_a_hub_id():
    with pytest.raises(ValueError, match="revision belongs to a hub id"):
        TokenAdaBoostGenerator.from_pretrained(saved("tokens-bigram"), revision="main")


@pytest.fixture
def cached_repository(tmp_path, monkeypatch):
    """An ensemble in the cache of the hub, as a download leaves it: links to files that are named by their hashes."""
    commit, repository = "0" * 40, tmp_path / "models--someone--ensemble"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(commit)
    (repository / "blobs").mkdir()
    source = saved("tokens-bigram")
    for path in filter(Path.is_file, source.rglob("*")):
        link = repository / "snapshots" / commit / path.relative_to(source)
        blob = repository / "blobs" / hashlib.sha256(str(path).encode()).hexdigest()
        shutil.copy(path, blob)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(os.path.relpath(blob, link.parent))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    return repository / "snapshots" / commit


def test_a_hub_id_is_loaded_from_the_cache(cached_repository):
    loaded = TokenAdaBoostGenerator.from_pretrained("someone/ensemble", revision="main")
    assert sayings(loaded) == sayings(fitted("tokens-bigram"))


def test_a_link_out_of_the_cache_is_refused(cached_repository):
    path = cached_repository / "ensemble.json"
    path.unlink()
    path.symlink_to(saved("tokens-bigram") / "ensemble.json")
    with pytest.raises(CheckpointError, match=r"ensemble\.json is a link to"):
        TokenAdaBoostGenerator.from_pretrained("someone/ensemble")


@pytest.fixture
def movable(tmp_path):
    """An ensemble and the base folder it refers to."""
    shutil.copytree(base_folder("lm"), tmp_path / "base")
    ensemble = tuned(str(tmp_path / "base"))
    ensemble.save_pretrained(tmp_path / "saved")
    return ensemble, tmp_path


@pytest.mark.slow
def test_a_base_that_has_gone_is_named_and_can_be_passed(movable):
    ensemble, folder = movable
    expected = sayings(ensemble)
    (folder / "base").rename(folder / "moved")
    with pytest.raises(CheckpointError, match=r"base, the folder of the base model, is missing\. Pass base="):
        FineTunedGenerator.from_pretrained(folder / "saved")
    assert sayings(FineTunedGenerator.from_pretrained(folder / "saved", base=str(folder / "moved"))) == expected


def test_a_base_with_other_weights_is_refused(movable):
    _, folder = movable
    with torch.random.fork_rng():
        torch.manual_seed(7)
        tiny_llama().save_pretrained(folder / "base")
    with pytest.raises(CheckpointError, match=r"is not the base model .* its weights differ"):
        FineTunedGenerator.from_pretrained(folder / "saved")


def test_an_adapter_of_another_shape_is_refused(movable):
    _, folder = movable
    name = "members/0/adapter_model.safetensors"
    write_tensors(folder / "saved" / name, {"base_model.model.lm_head.lora_A.weight": torch.zeros(2, 2)})
    relist(folder / "saved")
    with pytest.raises(CheckpointError, match=rf"{name} is no adapter for this base and peft_config"):
        FineTunedGenerator.from_pretrained(folder / "saved")


# Estimators of scikit-learn


@pytest.fixture
def voters():
    return voting(make_pipeline(TfidfVectorizer(), LogisticRegression()))


def test_estimators_of_scikit_learn_are_saved_by_skops(voters, tmp_path):
    pytest.importorskip("skops")
    voters.save_pretrained(tmp_path / "voters")
    loaded = LLMAdaBoostClassifier.from_pretrained(tmp_path / "voters")
    assert sayings(loaded) == sayings(voters)
    assert sayings(loaded.fit(SENTENCES, OPINIONS)) == sayings(voters)


def test_types_that_skops_does_not_trust_are_listed(tmp_path):
    pytest.importorskip("skops")
    voters = voting(make_pipeline(FunctionTransformer(sorted_words), TfidfVectorizer(), LogisticRegression()))
    with pytest.raises(TypeError, match=r"cannot be saved: a Pipeline holds objects of types .*sorted_words"):
        voters.save_pretrained(tmp_path / "voters")


def sorted_words(texts):
    return [" ".join(sorted(text.split())) for text in texts]


def test_without_skops_the_error_says_what_to_install(voters, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "skops.io", None)
    with pytest.raises(BackendUnavailableError, match=r"pip install 'ensemw2s\[skops\]'"):
        voters.save_pretrained(tmp_path / "voters")


def test_a_booster_saved_without_its_priors_has_them(voters, tmp_path):
    voters.save_pretrained(tmp_path / "voters")
    path = tmp_path / "voters" / "ensemble.json"
    content = json.loads(path.read_text())
    del content["fitted"]["prior_errors_"]  # which versions before did not write
    path.write_text(json.dumps(content))
    relist(tmp_path / "voters")
    loaded = LLMAdaBoostClassifier.from_pretrained(tmp_path / "voters")
    assert loaded.prior_errors_.tolist() == voters.prior_errors_.tolist() == [0.5] * len(voters.estimators_)


# --- other machines ---------------------------------------------------------------------------------------------------


def elsewhere(kind, folder):
    """A saved ensemble as one that comes from a machine with GPUs and flash attention."""
    shutil.copytree(saved(kind), folder)
    path = folder / "ensemble.json"

    def moved(value):
        if isinstance(value, list):
            return [moved(entry) for entry in value]
        if not isinstance(value, dict):
            return value
        other = {"device": "cuda:5", "attention": "flash_attention_2"}
        return {key: other.get(key, moved(entry)) for key, entry in value.items()}

    path.write_text(json.dumps(moved(json.loads(path.read_text()))))
    relist(folder)
    return folder


@pytest.mark.skipif(torch.cuda.device_count() > 5, reason="the device is here")
@pytest.mark.parametrize("kind", ["tokens-lora", "tuned-full-base", "classes-lora"])
@pytest.mark.slow
def test_what_another_machine_has_saved_is_put_on_what_is_here_and_says_so_once(kind, tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(_placement, "_WARNED", set())
    folder = elsewhere(kind, tmp_path / "there")
    assert sayings(open_ensemble(kind, folder)) == sayings(fitted(kind))
    open_ensemble(kind, folder)
    said = [record.getMessage() for record in caplog.records]
    assert sum("The device 'cuda:5' of a saved model is not here" in message for message in said) == 1
    assert sum("The attention 'flash_attention_2' of a saved model cannot be had" in message for message in said) == 1


@pytest.mark.parametrize("kind", ["tokens-lora", "tuned-full-base"])
def test_device_and_attention_are_those_that_are_asked_for(kind, tmp_path, caplog):
    found = type(fitted(kind)).from_pretrained(
        elsewhere(kind, tmp_path / "there"), device=torch.device("cpu"), attn_implementation="eager"
    )
    assert {member.device for member in found.estimators_} == {"cpu"}
    for member in found.estimators_:
        with member.lend_model() as model:
            assert (model.device.type, model.config._attn_implementation) == ("cpu", "eager")
    assert not caplog.records
    assert found.predict(PROMPTS[:2], CHOICES[:2]).tolist() == fitted(kind).predict(PROMPTS[:2], CHOICES[:2]).tolist()
    open_ensemble(kind, saved(kind))  # the base is shared: with its own attention again


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"device": "cuda:99"}, "device must be a torch device of this machine.*Got 'cuda:99'"),
        ({"device": "toaster"}, "device must be a torch device of this machine.*Got 'toaster'"),
        ({"attn_implementation": "toast"}, "attn_implementation must be an attention that can be had.*Got 'toast'"),
    ],
)
def test_a_device_or_attention_that_is_asked_for_in_vain_is_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        type(fitted("tuned-full-base")).from_pretrained(saved("tuned-full-base"), **settings)
