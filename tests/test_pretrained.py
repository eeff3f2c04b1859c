"""Single learners and pipelines as folders, and all of them in a repository of the hub."""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from fake_hub import COMMIT, running_hub
from kill_server import WORDS, booster, fingerprint, questions
from saved_ensembles import ADAPTER, base_folder, from_folder
from sklearn.linear_model import LogisticRegression
from sklearn.tree import DecisionTreeClassifier
from tiny_classifiers import OPINIONS, SENTENCES, bert_classifier
from tiny_models import ANSWERS, PROMPTS, tiny_learner, tokens_for
from tiny_models import fit as fit_tokens

from ensemw2s import (
    BigramLearner,
    CheckpointError,
    FineTunedGenerator,
    HFCausalLM,
    HFClassifier,
    LLMAdaBoostClassifier,
    MixtureForCausalLM,
    PseudoLabeler,
    TokenAdaBoostGenerator,
    W2SPipeline,
)
from ensemw2s.experiments._store import ResultStore
from ensemw2s.storage import describe, describe_model

DATA, HARD = questions(0), questions(3)

# Learners


def logits(learner):
    batch = tokens_for(learner).batch(np.arange(4))
    return np.asarray(learner.token_logits(batch.input_ids, batch.attention_mask))


@pytest.fixture(scope="module")
def learners():
    return {
        "bigram": fit_tokens(BigramLearner(prompt_template="{prompt}:", corpus=["a b"])),
        "adapter": fit_tokens(from_folder(peft_config=ADAPTER)),
        "untrained": from_folder(peft_config=ADAPTER).initialize(),
    }


@pytest.mark.parametrize("kind", ["bigram", "adapter", "untrained"])
def test_a_learner_is_loaded_to_the_bit(learners, tmp_path, kind):
    learner = learners[kind]
    learner.save_pretrained(tmp_path / "learner")
    loaded = type(learner).from_pretrained(tmp_path / "learner")
    assert np.array_equal(logits(loaded), logits(learner))
    assert {*vars(loaded)} - {"_shared_host"} == {*vars(learner)} - {"_shared_host"}


def test_a_learner_with_adapter_is_a_folder_of_peft(learners, tmp_path):
    learners["adapter"].save_pretrained(tmp_path / "learner")
    written = {path.relative_to(tmp_path / "learner").as_posix() for path in tmp_path.rglob("member/*")}
    assert written == {"member/adapter_config.json", "member/adapter_model.safetensors"}


def test_a_classifier_is_loaded_to_the_bit(tmp_path):
    classifier = bert_classifier(epochs=1).fit(SENTENCES, OPINIONS)
    classifier.save_pretrained(tmp_path / "classifier", include_base=True)
    loaded = HFClassifier.from_pretrained(tmp_path / "classifier")
    assert np.array_equal(loaded.predict_proba(SENTENCES), classifier.predict_proba(SENTENCES))
    assert loaded.classes_.tolist() == classifier.classes_.tolist()


def test_another_learner_is_refused(learners, tmp_path):
    learners["bigram"].save_pretrained(tmp_path / "learner")
    with pytest.raises(CheckpointError, match="holds a BigramLearner, not a HFCausalLM"):
        HFCausalLM.from_pretrained(tmp_path / "learner")


def test_a_learner_that_is_not_initialised_is_not_saved(tmp_path):
    with pytest.raises(ValueError, match="not fitted"):
        BigramLearner().save_pretrained(tmp_path / "learner")
    assert not list(tmp_path.iterdir())


# Pipelines


@pytest.fixture(scope="module")
def taught():
    pipeline = W2SPipeline(
        booster(None, n_estimators=2), BigramLearner(WORDS, smoothing=0.5), labeler=PseudoLabeler(batch_size=8)
    )
    return pipeline.fit(DATA, None, HARD.drop_answers(), HARD.answers)


@pytest.fixture(scope="module")
def stored(taught, tmp_path_factory):
    folder = tmp_path_factory.mktemp("stored") / "pipeline"
    taught.save_pretrained(folder)
    return folder


def test_a_pipeline_is_loaded_to_the_bit(taught, stored):
    loaded = W2SPipeline.from_pretrained(stored)
    for name in ("weak_", "student_", "baseline_", "oracle_"):
        assert fingerprint(getattr(loaded, name)) == fingerprint(getattr(taught, name))
    one, other = loaded.evaluate(HARD), taught.evaluate(HARD)
    assert {name: row.tolist() for name, row in one.correct.items()} == {
        name: row.tolist() for name, row in other.correct.items()
    }


def test_a_loaded_pipeline_is_fitted_again_to_the_same(taught, stored):
    loaded = W2SPipeline.from_pretrained(stored)
    assert loaded.labeler.batch_size == 8
    again = loaded.fit(DATA, None, HARD.drop_answers(), HARD.answers)
    assert fingerprint(again) == fingerprint(taught)


def test_no_question_is_saved_with_a_pipeline(stored):
    kept = {path.relative_to(stored).parts[0] for path in stored.rglob("*.*")}
    assert kept == {"manifest.json", "pipeline.json", "tokenizer", "weak", "student", "baseline", "oracle"}
    assert W2SPipeline.from_pretrained(stored).pseudo_labels_ is None


def test_classifiers_of_scikit_learn_are_saved_with_a_pipeline(tmp_path):
    X = np.random.RandomState(0).normal(size=(30, 2))
    y = (X[:, 0] > 0).astype(int)
    weak = LLMAdaBoostClassifier(LogisticRegression(), n_estimators=1)
    pipeline = W2SPipeline(weak, LogisticRegression(C=2.0)).fit(X[:15], y[:15], X[15:])
    pipeline.save_pretrained(tmp_path / "pipeline")
    loaded = W2SPipeline.from_pretrained(tmp_path / "pipeline")
    assert loaded.baseline_ is loaded.student_
    assert loaded.oracle_ is None
    assert np.array_equal(loaded.student_.predict_proba(X), pipeline.student_.predict_proba(X))
    assert loaded.student.C == 2.0


@pytest.mark.parametrize(
    "name", ["pipeline.json", "weak/ensemble.json", "student/members/0/log_proba.safetensors", "oracle/ensemble.json"]
)
def test_a_damaged_pipeline_is_named(stored, tmp_path, name):
    shutil.copytree(stored, tmp_path / "copy")
    content = bytearray((tmp_path / "copy" / name).read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / "copy" / name).write_bytes(content)
    with pytest.raises(CheckpointError, match=name):
        W2SPipeline.from_pretrained(tmp_path / "copy")


def test_the_bases_of_a_pipeline_are_named_one_by_one(stored):
    with pytest.raises(ValueError, match="base must be a dict, with the base of 'weak'"):
        W2SPipeline.from_pretrained(stored, base="somewhere")


def test_the_checkpoint_folder_is_not_saved(tmp_path):
    model = booster(tmp_path / "checkpoint").fit(DATA)
    model.save_pretrained(tmp_path / "model")
    assert "checkpoint" not in (tmp_path / "model" / "ensemble.json").read_text()
    assert TokenAdaBoostGenerator.from_pretrained(tmp_path / "model").checkpoint_dir is None


# The hub


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A hub on this machine, in place of the real one."""
    with running_hub() as hub:
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", hub.url)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(
            "huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE",
            hub.url + "/{repo_id}/resolve/{revision}/{filename}",
        )
        yield hub


def test_what_is_pushed_is_downloaded_to_the_bit(hub):
    model = booster(None).fit(DATA)
    address = model.push_to_hub("someone/thing", token="secret", private=True)
    assert address == f"{hub.url}/someone/thing/commit/{COMMIT}"
    assert hub.commits == [{"summary": "Upload TokenAdaBoostGenerator", "description": ""}]
    loaded = TokenAdaBoostGenerator.from_pretrained("someone/thing")
    assert fingerprint(loaded) == fingerprint(model)


@pytest.mark.parametrize("of_a_booster", [True, False])
def test_a_mixture_is_pushed_with_all_that_belongs_to_it(hub, of_a_booster):
    model = booster(None, n_estimators=2).fit(DATA)
    mixture = model.mixture_ if of_a_booster else MixtureForCausalLM.from_members(model.estimators_, [0.3, 0.6])
    mixture.push_to_hub("someone/thing", token="secret")
    kind = "TokenAdaBoostGenerator" if of_a_booster else "MixtureForCausalLM"
    assert f"A fitted `{kind}`" in hub.files["README.md"].decode()
    ids = torch.tensor([[3, 4, 5]])
    assert torch.equal(MixtureForCausalLM.from_pretrained("someone/thing")(ids).logits, mixture(ids).logits)


def test_the_repository_holds_what_a_folder_would_and_a_card(hub, tmp_path):
    model = booster(None, n_estimators=2).fit(DATA)
    model.push_to_hub("someone/thing", token="secret")
    model.save_pretrained(tmp_path / "folder")
    written = [path for path in (tmp_path / "folder").rglob("*") if path.is_file()]
    names = {path.relative_to(tmp_path / "folder").as_posix(): path.read_bytes() for path in written}
    card = hub.files.pop("README.md").decode()
    assert hub.files == names
    for expected in (
        "library_name: ensemw2s", "pipeline_tag: text-generation", "- weak-to-strong", "# thing",
        "model = TokenAdaBoostGenerator.from_pretrained('someone/thing')", "2 members; boosting ended with",
        "pip install ensemw2s", "| `n_estimators` | `2` |", "| `estimator__prompt_template` | `", "arXiv:2410.04571",
        f"| 1 | {model.estimator_errors_[0]:.4f} | {model.prior_errors_[0]:.4f} | {model.estimator_weights_[0]:.4f} |",
    ):  # fmt: skip
        assert expected in card


def test_files_of_an_earlier_push_are_removed(hub):
    booster(None, n_estimators=3).fit(DATA).push_to_hub("someone/thing", token="secret")
    assert "members/2/log_proba.safetensors" in hub.files
    booster(None, n_estimators=2).fit(DATA).push_to_hub("someone/thing", token="secret", commit_message="Smaller")
    assert "members/2/log_proba.safetensors" not in hub.files
    assert hub.commits[-1]["summary"] == "Smaller"
    assert len(TokenAdaBoostGenerator.from_pretrained("someone/thing").estimators_) == 2


def test_a_pipeline_is_pushed_and_downloaded(hub, taught):
    taught.push_to_hub("someone/thing", token="secret", revision="v1")
    assert any("/branch/v1" in request for request in hub.requests)
    assert "## The weak ensemble" in hub.files["README.md"].decode()
    assert fingerprint(W2SPipeline.from_pretrained("someone/thing").student_) == fingerprint(taught.student_)


def test_a_base_that_only_this_machine_has_is_not_referred_to(hub, learners):
    with pytest.raises(ValueError, match="include_base must be True where the base model is a folder of this machine"):
        learners["adapter"].push_to_hub("someone/thing", token="secret")
    assert not hub.requests
    learners["adapter"].push_to_hub("someone/thing", token="secret", include_base=True)
    assert base_folder("lm") not in "".join(data.decode("latin-1") for data in hub.files.values())
    assert "The base model is included, in `base`." in hub.files["README.md"].decode()
    loaded = HFCausalLM.from_pretrained("someone/thing")
    assert np.array_equal(logits(loaded), logits(learners["adapter"]))


def test_a_base_of_the_hub_is_named_in_the_card(tmp_path):
    from ensemw2s.storage._hub import model_card

    record = {"model": "someone/base", "folder": False, "included": None}
    assert "base_model:\n- someone/base" in model_card("HFCausalLM", "text", task="text-generation", bases=[record])


def test_an_estimator_that_cannot_be_read_elsewhere_is_not_pushed(hub):
    X = np.arange(8.0)[:, None]
    model = LLMAdaBoostClassifier(DecisionTreeClassifier(max_depth=1)).fit(X, X[:, 0] > 3)
    with pytest.raises(TypeError, match=r"holds trees .*, which are not read from a folder"):
        model.push_to_hub("someone/thing", token="secret")
    assert not hub.requests


def test_a_generator_is_pushed_with_its_task(hub):
    FineTunedGenerator(BigramLearner(WORDS)).fit(DATA).push_to_hub("someone/thing", token="secret")
    assert json.loads(hub.files["manifest.json"])["body"]["kind"] == "FineTunedGenerator"
    assert Path("README.md").name in hub.files


def test_an_adapter_is_read_from_the_hub(hub, learners, tmp_path):
    learner = learners["adapter"]
    (tmp_path / "adapter").mkdir()
    learner._host().save(learner.adapter_, tmp_path / "adapter")
    hub.files |= {path.name: path.read_bytes() for path in (tmp_path / "adapter").iterdir()}
    hub.files["adapter_model.bin"] = b"a pickle"
    found = HFCausalLM.from_peft("someone/thing", tokenizer=learner.tokenizer_, prompt_template="{prompt}:")
    assert np.array_equal(logits(found), logits(learner))
    assert not [request for request in hub.requests if "adapter_model.bin" in request]
    with pytest.raises(FileNotFoundError, match="must be a folder or a hub id"):
        HFCausalLM.from_peft(tmp_path / "no folder")


class Shouting(PseudoLabeler):
    """Its labels are kept in one file, with the rows that were left out."""

    def label(self, teacher, X, choices=None):
        return super().label(teacher, X, choices)


@pytest.mark.slow
def test_neither_rows_nor_places_of_this_machine_are_written(tmp_path, caplog):
    caplog.set_level(logging.DEBUG, "ensemw2s")
    base, words = tmp_path / "my_models" / "base", tmp_path / "my_models" / "words"
    from_folder().initialize().save_pretrained(tmp_path / "my_models" / "learner", include_base=True)
    shutil.copytree(tmp_path / "my_models" / "learner" / "base", base)
    shutil.copytree(base, words)
    settings = {"output_dir": str(tmp_path / "my_reports"), "report_to": "tensorboard"}
    parameters = {"model": str(base), "tokenizer": str(words), "training_args": settings}
    adapted = tiny_learner(epochs=1, **parameters)
    weak = TokenAdaBoostGenerator(adapted, n_estimators=2, reweight=False, random_state=0)
    prompts = [*PROMPTS, "secret" + " long" * 60, "secret", " "]
    answers = [*ANSWERS, "none", "secret<eos>", "secret"]
    pipeline = W2SPipeline(
        weak, tiny_learner(epochs=1, peft_config=None, **parameters), on_bad_row="skip", baseline=False,
        labeler=Shouting(keep_unfinished=True, generation_kwargs={"max_new_tokens": 3}),
        checkpoint_dir=tmp_path / "written" / "run",
    )  # fmt: skip
    pipeline.fit(prompts, answers, prompts, answers)
    pipeline.save_pretrained(tmp_path / "written" / "pipeline", include_base=True)
    pipeline.student_.estimators_[0].save_pretrained(tmp_path / "written" / "learner", include_base=True)
    store = ResultStore(tmp_path / "written" / "results")
    store.get("unit", {"model": describe_model(str(base)), "learner": describe(adapted, "x")}, lambda: 1)
    record = json.loads((tmp_path / "written" / "pipeline" / "pipeline.json").read_text())
    (tmp_path / "written" / "README.md").write_text(pipeline._card("someone/thing", record["bases"]))
    files = [path for path in (tmp_path / "written").rglob("*") if path.is_file()]
    assert len(files) > 40
    for path in files:
        for kept in (b"secret", b"my_models", b"my_reports"):
            assert kept not in path.read_bytes(), (path, kept)
    assert not [text for text in caplog.messages if "secret" in text]
    assert any("secret" in reason for _, reason in pipeline.skipped_rows_["X"])  # the user is told
    loaded = W2SPipeline.from_pretrained(tmp_path / "written" / "pipeline")
    assert loaded.skipped_rows_["X"] == [
        (4, "too long"), (5, "an answer that holds the end-of-answer token"), (6, "blank"),
    ]  # fmt: skip
    assert loaded.skipped_rows_["X_hard"] == [(4, "too long"), (6, "blank")]
    loaded.save_pretrained(tmp_path / "written" / "again", include_base=True)
    again = json.loads((tmp_path / "written" / "again" / "pipeline.json").read_text())
    assert again["skipped_rows"] == record["skipped_rows"]
