"""Checkpoints: what is damaged or another run's is refused by name, and what may change goes on exactly."""

from __future__ import annotations

import os
import shutil
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from damaged_files import DAMAGES, spoil
from kill_server import WORDS, booster, fingerprint, questions
from safetensors.torch import load_file, save_file
from saved_ensembles import base_folder, classifier, from_folder
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.linear_model import LogisticRegression
from sklearn.tree import DecisionTreeClassifier
from tiny_classifiers import OPINIONS, SENTENCES
from tiny_models import ANSWERS, PROMPTS

from ensemw2s import (
    BigramLearner,
    CheckpointError,
    EarlyStopWarning,
    FineTunedGenerator,
    LLMAdaBoostClassifier,
    PseudoLabeler,
    QADataset,
    TokenAdaBoostGenerator,
    W2SPipeline,
    WeakLearnerError,
    word_tokenizer,
)
from ensemw2s.pipeline._labelling import label_shard
from ensemw2s.storage import Journal, Steps

DATA = questions(0)


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """Two finished runs that differ in their seed, and what the first of them found."""
    folder = tmp_path_factory.mktemp("pair")
    booster(folder / "two", random_state=1).fit(DATA)
    return folder, fingerprint(booster(folder / "one").fit(DATA))


@pytest.fixture
def one(pair, tmp_path):
    """A copy of the first run."""
    return Path(shutil.copytree(pair[0] / "one", tmp_path / "one"))


# Damage

STEP = ["manifest.json", "step.json"]
FILES = [
    *(f"begin/{name}" for name in ("manifest.json", "settings.json", "rows.safetensors")),
    *(f"start/{name}" for name in (*STEP, "untrained_errors.safetensors")),
    *(f"round-000{number}/{name}" for number in (1, 2, 3)
      for name in (*STEP, "round.json", "weight.safetensors", "member/log_proba.safetensors")),
]  # fmt: skip


def test_every_file_is_in_the_matrix(one):
    files = {path.relative_to(one).as_posix() for path in one.rglob("*.*") if path.is_file()}
    assert files == {*FILES, ".lock"}


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.slow
def test_a_damaged_file_is_named_with_its_round(pair, one, name, damage):
    path = one / name
    if not spoil(path, damage, pair[0] / "two" / name):  # what does not depend on the seed
        assert name in ("begin/rows.safetensors", "start/untrained_errors.safetensors")
        assert fingerprint(booster(one).fit(DATA)) == pair[1]
        return
    # A manifest of another run blames the first file that is not in its list as it should be.
    blamed = f"{name.split('/')[0]}/" if (damage, path.name) == ("swapped", "manifest.json") else name
    with pytest.raises(CheckpointError, match=blamed):
        booster(one).fit(DATA)


@pytest.mark.parametrize("name", ["start", "round-0001", "round-0002", "round-0003"])
def test_a_round_of_another_run_is_refused(pair, one, name):
    shutil.rmtree(one / name)
    shutil.copytree(pair[0] / "two" / name, one / name)
    with pytest.raises(CheckpointError, match=rf"{name}/step\.json belongs to another checkpoint: another run"):
        booster(one).fit(DATA)


def test_a_round_under_another_number_is_refused(one):
    shutil.rmtree(one / "round-0003")
    shutil.copytree(one / "round-0002", one / "round-0003")
    with pytest.raises(CheckpointError, match=r"round-0003/step\.json .*: another name and another previous\. Put"):
        booster(one).fit(DATA)


def test_a_beginning_of_another_run_is_refused(pair, one):
    shutil.rmtree(one / "begin")
    shutil.copytree(pair[0] / "two" / "begin", one / "begin")
    with pytest.raises(CheckpointError, match=r"parameters\.random_state: 1 in the checkpoint, 0 now"):
        booster(one).fit(DATA)


@pytest.mark.parametrize(("name", "later"), [("round-0001", "round-0002"), ("round-0002", "round-0003")])
def test_a_gap_is_refused(one, name, later):
    shutil.rmtree(one / name)
    with pytest.raises(CheckpointError, match=f"{name} is missing, but {later}, which came after it, is there"):
        booster(one).fit(DATA)


def test_rounds_without_their_beginning_are_refused(one):
    shutil.rmtree(one / "begin")
    with pytest.raises(CheckpointError, match=r"must be a new folder.* It holds round-0001, but begin/manifest\.json"):
        booster(one).fit(DATA)


@pytest.mark.parametrize("kept", [0, 1, 2])
def test_rounds_that_were_taken_away_at_the_end_are_made_again(pair, one, kept):
    for number in range(kept + 1, 4):
        shutil.rmtree(one / f"round-000{number}")
    assert fingerprint(booster(one).fit(DATA)) == pair[1]


def test_a_folder_that_holds_something_else_is_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(CheckpointError, match=r"must be a new folder.* It holds notes\.txt"):
        booster(tmp_path).fit(DATA)


def test_a_file_as_folder_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        booster(tmp_path / "file").fit(DATA)


# Other data or settings


def changed(column: str) -> tuple[Any, ...]:
    prompts, answers, choices = list(DATA.prompts), list(DATA.answers), [list(row) for row in DATA.choices]
    if column == "X":
        prompts[5] = "what is 9 ?"
    elif column == "y":
        answers[5] = choices[5][0] = "0 odd"
    else:
        choices[5] = choices[5][::-1]
    return QADataset(prompts, answers, choices)


@pytest.mark.parametrize("column", ["X", "y", "choices"])
def test_the_first_row_that_differs_is_named(one, column):
    with pytest.raises(CheckpointError, match=rf"other data or settings:\n(.*\n)*- {column}: row 5 is the first that"):
        booster(one).fit(changed(column))


def fit_skipping(kind: str, folder: Path, changed: dict[int, Any]) -> Any:
    """A fit that leaves out row 2, with the rows of `changed` in their places."""
    changed = {2: None, **changed}
    if kind == "classes":
        labels = [changed.get(row, label) for row, label in enumerate(LABELS.tolist())]
        return stumps(folder, on_bad_row="skip").fit(TABLE, labels)
    prompts = [changed.get(row, prompt) for row, prompt in enumerate(DATA.prompts)]
    return booster(folder, n_estimators=1, on_bad_row="skip").fit(prompts, list(DATA.answers))


@pytest.mark.parametrize("kind", ["tokens", "classes"])
@pytest.mark.slow
def test_rows_have_their_own_numbers_where_others_were_skipped(tmp_path, kind):
    fit_skipping(kind, tmp_path, {})
    with pytest.raises(CheckpointError, match=r"- (X|y): row 10 is the first that differs"):
        fit_skipping(kind, tmp_path, {10: "what is 8 ?" if kind == "tokens" else 1 - int(LABELS[10])})


def test_a_missing_row_is_counted(one):
    with pytest.raises(CheckpointError, match="- X: 24 rows in the checkpoint, 23 now"):
        booster(one).fit(DATA[:23])


def test_a_new_sample_weight_is_named(one):
    with pytest.raises(CheckpointError, match="- sample_weight: given now, unlike in the checkpoint"):
        booster(one).fit(DATA, sample_weight=np.ones(24))


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"sampling": "binary"}, r"- parameters\.sampling: 'count' in the checkpoint, 'binary' now"),
        ({"learning_rate": 0.5}, r"- parameters\.learning_rate: 1\.0 in the checkpoint, 0\.5 now"),
        ({"random_state": 7}, r"- parameters\.random_state: 0 in the checkpoint, 7 now"),
        ({"random_state": None}, r"- parameters\.random_state: 0 in the checkpoint, None now"),
        ({"unit": "sample", "reweight": False}, r"parameters\.reweight: True .*\n- parameters\.unit: 'token' in the"),
        ({"estimator__smoothing": 2.0}, r"- parameters\.estimator\.smoothing: 1\.0 in the checkpoint, 2\.0 now"),
        ({"estimator__corpus": ["0 1"]}, r"- parameters\.estimator\.corpus: None in the checkpoint, \['0 1'\] now"),
        ({"estimator__tokenizer": word_tokenizer(["what is 0 1 2 3 4 5 6 7 8 9 + - ? zero even odd = Answer:"])},
         r"- parameters\.estimator\.tokenizer\.tokenizer: '\w+' in the checkpoint"),
    ],
)  # fmt: skip
def test_each_parameter_that_differs_is_named(one, parameters, message):
    model = booster(one)
    model.set_params(**{name: value for name, value in parameters.items() if "__" not in name})
    model.estimator = clone(model.estimator).set_params(
        **{name.partition("__")[2]: value for name, value in parameters.items() if "__" in name}
    )
    with pytest.raises(CheckpointError, match=message):
        model.fit(DATA)


@pytest.mark.slow
def test_another_class_is_named(tmp_path):
    booster(tmp_path).fit(DATA)
    model = LLMAdaBoostClassifier(LogisticRegression(), checkpoint_dir=tmp_path)
    with pytest.raises(CheckpointError, match="- class: 'TokenAdaBoostGenerator' in the checkpoint, 'LLMAdaBoost"):
        model.fit([[0.0], [1.0]], [0, 1])


def test_a_precision_that_the_environment_asks_for_is_named(one, monkeypatch):
    # Trainer reads it, so that the rounds that follow would be those of another run.
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "bf16")
    with pytest.raises(CheckpointError, match=r"versions\.ACCELERATE_MIXED_PRECISION.*'bf16' now"):
        booster(one).fit(DATA)


def test_other_versions_are_named(one, monkeypatch):
    monkeypatch.setattr("ensemw2s.ensemble._checkpoint.versions", lambda: {"ensemw2s": "9.9"})
    with pytest.raises(CheckpointError, match=r"- versions\.ensemw2s: '.*' in the checkpoint, '9\.9' now"):
        booster(one).fit(DATA)


TABLE = np.random.RandomState(0).normal(size=(30, 3))
LABELS = (TABLE[:, 0] + 0.5 * TABLE[:, 1] > 0).astype(int)


def stumps(folder: Any, **parameters: Any) -> LLMAdaBoostClassifier:
    settings = {"n_estimators": 3, "random_state": 0, **parameters}
    return LLMAdaBoostClassifier(DecisionTreeClassifier(max_depth=1), checkpoint_dir=folder, **settings)


@pytest.mark.parametrize("kind", [np.asarray, sp.csr_array, lambda X: pd.DataFrame(X, columns=["a", "b", "c"])])
def test_rows_of_any_kind_are_compared(tmp_path, kind):
    first = stumps(tmp_path).fit(kind(TABLE), LABELS)
    again = stumps(tmp_path).fit(kind(TABLE), LABELS)
    assert np.array_equal(again.decision_function(kind(TABLE)), first.decision_function(kind(TABLE)))
    other = TABLE.copy()
    other[17, 2] += 1e-9
    with pytest.raises(CheckpointError, match="- X: row 17 is the first that differs"):
        stumps(tmp_path).fit(kind(other), LABELS)


def test_columns_without_an_entry_are_compared(tmp_path):
    stumps(tmp_path).fit(sp.csr_array(TABLE), LABELS)
    wider = sp.csr_array(np.hstack([TABLE, np.zeros((30, 2))]))
    with pytest.raises(CheckpointError, match="- X: row 0 is the first that differs"):
        stumps(tmp_path).fit(wider, LABELS)


def test_another_label_is_named(tmp_path):
    stumps(tmp_path).fit(TABLE, LABELS)
    labels = LABELS.copy()
    labels[3] = 1 - labels[3]
    with pytest.raises(CheckpointError, match="- y: row 3 is the first that differs"):
        stumps(tmp_path).fit(TABLE, labels)


def change_weights(folder: Path) -> None:
    path = folder / "model.safetensors"
    tensors = load_file(path)
    name = next(name for name in sorted(tensors) if "norm" in name.lower() and name.endswith("weight"))
    tensors[name] = tensors[name] + 0.125
    save_file(tensors, path, metadata={"format": "pt"})


@pytest.mark.parametrize("peft_config", ["default", None])
@pytest.mark.parametrize("n_rounds", [0, 1])
@pytest.mark.slow
def test_another_base_of_a_generator_is_refused(tmp_path, peft_config, n_rounds):
    shutil.copytree(base_folder("lm"), tmp_path / "base")
    learner = from_folder(peft_config=peft_config).set_params(model=str(tmp_path / "base"))

    def fit():
        model = TokenAdaBoostGenerator(learner, n_estimators=1, reweight=False, checkpoint_dir=tmp_path / "run")
        return model.set_params(random_state=0).fit(PROMPTS, ANSWERS)

    fit()
    if n_rounds == 0:
        shutil.rmtree(tmp_path / "run" / "round-0001")  # what the untrained model said is still there
    change_weights(tmp_path / "base")
    with pytest.raises(CheckpointError, match="- weights of the base model: '"):
        fit()


def test_another_base_of_a_classifier_is_refused(tmp_path):
    shutil.copytree(base_folder("bert"), tmp_path / "base")
    learner = classifier("bert").set_params(model=str(tmp_path / "base"))
    model = LLMAdaBoostClassifier(learner, n_estimators=1, reweight=False, checkpoint_dir=tmp_path / "run")
    first = model.set_params(random_state=0).fit(SENTENCES, OPINIONS).predict_proba(SENTENCES)
    assert np.array_equal(clone(model).fit(SENTENCES, OPINIONS).predict_proba(SENTENCES), first)
    change_weights(tmp_path / "base")
    with pytest.raises(CheckpointError, match="round-0001/member was trained on another base model"):
        clone(model).fit(SENTENCES, OPINIONS)


# What may change, and what is drawn


class Counting(BigramLearner):
    """Counts as another class than the one it derives from."""


@pytest.fixture
def fits(monkeypatch):
    """Trainings so far."""
    seen: list[int] = []
    real = BigramLearner.fit

    def fit(self, tokens, *, token_weight):
        seen.append(1)
        return real(self, tokens, token_weight=token_weight)

    monkeypatch.setattr(BigramLearner, "fit", fit)
    return seen


def test_more_rounds_go_on_after_the_last(tmp_path, fits):
    for n_estimators in (1, 3, 5):
        grown = booster(tmp_path, n_estimators=n_estimators).fit(DATA)
    assert len(fits) == 5
    assert fingerprint(grown) == fingerprint(booster(None, n_estimators=5).fit(DATA))


def test_fewer_rounds_are_the_first(one, fits):
    fewer = booster(one, n_estimators=2).fit(DATA)
    assert not fits
    assert fingerprint(fewer) == fingerprint(booster(None, n_estimators=2).fit(DATA))


def test_a_drawn_seed_is_kept(tmp_path):
    first = booster(tmp_path, n_estimators=1, random_state=None).fit(DATA)
    grown = booster(tmp_path, random_state=None).fit(DATA)
    shutil.rmtree(tmp_path / "round-0002")
    shutil.rmtree(tmp_path / "round-0003")
    assert fingerprint(booster(tmp_path, random_state=None).fit(DATA)) == fingerprint(grown)
    assert np.array_equal(grown.estimators_[0].log_proba_, first.estimators_[0].log_proba_)


@pytest.mark.parametrize("kind", ["tokens", "classes"])
def test_a_random_state_ends_where_it_would_have_ended(tmp_path, kind):
    def fit(folder, n_estimators, rng):
        if kind == "tokens":
            return booster(folder, n_estimators=n_estimators, random_state=rng).fit(DATA)
        return stumps(folder, n_estimators=n_estimators, random_state=rng, sampling="resample").fit(TABLE, LABELS)

    rngs = [np.random.RandomState(4) for _ in range(3)]
    whole = fit(None, 3, rngs[0])
    fit(tmp_path, 1, rngs[1])
    resumed = fit(tmp_path, 3, rngs[2])
    assert np.array_equal(resumed.estimator_weights_, whole.estimator_weights_)
    assert rngs[2].randint(2**31) == rngs[0].randint(2**31)
    with pytest.raises(CheckpointError, match=r"- parameters\.random_state\.random state: '\w+' in the checkpoint"):
        fit(tmp_path, 3, np.random.RandomState(5))


def test_a_round_that_was_discarded_is_not_trained_again(tmp_path, fits):
    def fit():
        model = booster(tmp_path, prior="pretrained", n_estimators=30)
        model.estimator = BigramLearner(WORDS, corpus=[f"{n} {word}" for n in range(10) for word in ("odd", "even")])
        return model.fit(DATA)

    first = fit()
    assert first.stop_reason_ == "error_above_prior"
    assert len(fits) == len(first.estimators_) + 1
    assert fingerprint(fit()) == fingerprint(first)
    assert len(fits) == len(first.estimators_) + 1


class Opinion(ClassifierMixin, BaseEstimator):
    """Its parameter is a function without a name."""

    def __init__(self, rule=None):
        self.rule = rule

    def fit(self, X, y, sample_weight=None):
        raise AssertionError("trained")

    def predict(self, X):
        raise AssertionError("asked")


class Talker(BaseEstimator):
    """A token learner that says nothing of how it is stored."""

    def initialize(self):
        self.tokenizer_ = WORDS
        return self

    def fit(self, tokens, *, token_weight):
        raise AssertionError("trained")

    def token_logits(self, input_ids, attention_mask):
        return np.zeros((*np.shape(input_ids), len(WORDS)))


@pytest.mark.parametrize(
    "model",
    [TokenAdaBoostGenerator(Talker()), LLMAdaBoostClassifier(Opinion(lambda x: x))], ids=["tokens", "classes"],
)  # fmt: skip
def test_a_learner_that_cannot_be_written_is_refused_before_it_is_trained(tmp_path, model):
    data = (DATA, None) if hasattr(model, "unit") else (TABLE, LABELS)
    with pytest.raises(TypeError, match=r"estimator cannot be saved.*derive from PretrainedMixin"):
        model.set_params(checkpoint_dir=tmp_path).fit(*data)


def test_a_warning_at_the_end_is_given_again_without_training(tmp_path, monkeypatch):
    noise = np.random.RandomState(1).randint(0, 2, 30)
    model = stumps(tmp_path, n_estimators=50, sampling="resample")
    with pytest.warns(EarlyStopWarning, match="was discarded") as first:
        model.fit(TABLE, noise)
    monkeypatch.setattr(DecisionTreeClassifier, "fit", None)
    with pytest.warns(EarlyStopWarning, match="was discarded") as second:
        stumps(tmp_path, n_estimators=50, sampling="resample").fit(TABLE, noise)
    assert [str(entry.message) for entry in second] == [str(entry.message) for entry in first]
    assert second[0].filename == __file__


def test_a_first_round_that_fails_leaves_nothing_to_resume(tmp_path):
    same = np.zeros((8, 1))
    labels = [0, 1] * 4
    with pytest.raises(WeakLearnerError, match="first weak learner"):
        stumps(tmp_path).fit(same, labels)
    assert not list(tmp_path.glob("round-*"))


# Two writers


def test_a_second_writer_is_refused(one):
    with Journal(one, on_locked="raise"), pytest.raises(CheckpointError, match=r"is in use by another process.*\.lock"):
        booster(one).fit(DATA)


def test_a_second_writer_waits(pair, one):
    found: list[str] = []
    thread = threading.Thread(target=lambda: found.append(fingerprint(booster(one, on_locked="wait").fit(DATA))))
    with Journal(one, on_locked="raise"):
        thread.start()
        thread.join(0.3)
        assert thread.is_alive()
    thread.join(60)
    assert found == [pair[1]]


def test_on_locked_is_checked():
    with pytest.raises(ValueError, match="on_locked must be one of 'raise', 'wait'"):
        booster(None, on_locked="ignore").fit(DATA)


def test_checkpoint_dir_is_checked():
    with pytest.raises(TypeError, match=r"checkpoint_dir must be a path or None\. Got 3 instead"):
        booster(3).fit(DATA)


def test_a_launch_of_several_processes_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("LOCAL_RANK", "0")
    with pytest.raises(ValueError, match="checkpoint_dir must be None in a launch of several processes"):
        booster(tmp_path).fit(DATA)


# Pipelines

HARD = questions(3)


def pipeline(folder: Any, **parameters: Any) -> W2SPipeline:
    settings = {"labeler": PseudoLabeler(batch_size=8), "checkpoint_dir": folder, **parameters}
    return W2SPipeline(booster(None, n_estimators=2), BigramLearner(WORDS, smoothing=0.5), **settings)


@pytest.fixture(scope="module")
def taught(tmp_path_factory):
    """A finished pipeline, its folder and its hash."""
    folder = tmp_path_factory.mktemp("taught") / "run"
    return folder, fingerprint(pipeline(folder).fit(DATA, None, HARD.drop_answers(), HARD.answers))


@pytest.fixture
def stages(taught, tmp_path):
    return Path(shutil.copytree(taught[0], tmp_path / "run"))


STAGE_FILES = [
    "begin/settings.json", "weak/rounds.json", "weak-rounds/round-0002/member/log_proba.safetensors",
    "labels/batch-000001/labels.json", "labels/batch-000002/manifest.json", "student/fitted.json",
    "student/members/0/log_proba.safetensors", "student/step.json", "baseline-labels/batch-000000/labels.json",
    "baseline/fitted.json", "oracle/members/0/log_proba.safetensors",
]  # fmt: skip


@pytest.mark.parametrize("name", STAGE_FILES)
@pytest.mark.parametrize("damage", ["cut", "bit", "deleted"])
@pytest.mark.slow
def test_a_damaged_stage_is_named(stages, name, damage):
    spoil(stages / name, damage)
    with pytest.raises(CheckpointError, match=name):
        pipeline(stages).fit(DATA, None, HARD.drop_answers(), HARD.answers)


def test_other_rounds_under_the_same_labels_are_refused(tmp_path):
    def fit():
        weak = booster(None, n_estimators=1, random_state=None)
        return W2SPipeline(weak, BigramLearner(WORDS), checkpoint_dir=tmp_path / "run").fit(DATA, None, HARD)

    fit()
    shutil.rmtree(tmp_path / "run" / "weak-rounds")  # the next call draws another seed
    with pytest.raises(CheckpointError, match=r"weak-rounds does not hold the rounds that .*weak was made from"):
        fit()


@pytest.mark.parametrize(
    ("parameters", "hard", "message"),
    [
        ({"labeler": PseudoLabeler(batch_size=4)}, HARD, r"- labeler\.parameters\.batch_size: 8 in the checkpoint, 4"),
        ({"student": BigramLearner(WORDS)}, HARD, r"- student\.estimator\.smoothing: 0\.5 in the checkpoint, 1\.0 now"),
        ({"baseline": False}, HARD, "- baseline: True in the checkpoint, False now"),
        ({}, HARD[:20], "- X_hard: 24 rows in the checkpoint, 20 now"),
    ],
)
def test_what_differs_in_a_pipeline_is_named(stages, parameters, hard, message):
    model = pipeline(stages).set_params(**parameters)
    with pytest.raises(CheckpointError, match=message):
        model.fit(DATA, None, hard.drop_answers(), hard.answers)


def test_hard_rows_have_their_own_numbers_where_others_were_skipped(tmp_path):
    def fit(prompt):
        prompts = [" " if row == 2 else prompt if row == 10 else text for row, text in enumerate(HARD.prompts)]
        return pipeline(tmp_path, on_bad_row="skip", baseline=False).fit(DATA, None, prompts)

    fit(HARD.prompts[10])
    with pytest.raises(CheckpointError, match="- X_hard: row 10 is the first that differs"):
        fit("what is 8 ?")


@pytest.mark.parametrize("inside", [".", "weak", "some/where"])
def test_an_ensemble_in_the_folder_of_its_pipeline_is_refused(tmp_path, inside):
    model = pipeline(tmp_path).set_params(weak=booster(tmp_path / inside))
    with pytest.raises(ValueError, match=r"weak\.checkpoint_dir must lie outside the pipeline's, .* pass another"):
        model.fit(DATA, None, HARD)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("baseline", "gold"), [(True, None), (False, HARD.answers)])
def test_a_folder_for_several_students_is_refused(tmp_path, baseline, gold):
    model = pipeline(None, baseline=baseline).set_params(student=booster(tmp_path))
    with pytest.raises(ValueError, match=r"student\.checkpoint_dir must be None where a baseline or an oracle"):
        model.fit(DATA, None, HARD.drop_answers(), gold)


def test_a_folder_for_one_student_is_used(tmp_path):
    model = pipeline(None, baseline=False).set_params(student=booster(tmp_path, n_estimators=1))
    model.fit(DATA, None, HARD.drop_answers())
    assert (tmp_path / "round-0001").is_dir()


def test_checkpoint_dir_of_a_pipeline_is_checked(tmp_path, monkeypatch):
    with pytest.raises(TypeError, match=r"checkpoint_dir must be a path or None\. Got 3 instead"):
        pipeline(3).fit(DATA, None, HARD)
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("LOCAL_RANK", "0")
    with pytest.raises(ValueError, match="checkpoint_dir must be None in a launch of several processes"):
        pipeline(tmp_path).set_params(weak=FineTunedGenerator(BigramLearner(WORDS))).fit(DATA, None, HARD)


def test_workers_share_the_batches_of_a_checkpoint(taught, stages):
    shutil.rmtree(stages / "labels" / "batch-000001")
    for name in ("student", "baseline", "oracle"):
        shutil.rmtree(stages / name)
    shutil.rmtree(stages / "baseline-labels")
    model = pipeline(stages, labeler=PseudoLabeler(batch_size=8, n_jobs=2))
    import joblib

    with joblib.parallel_config(backend="threading"):
        assert fingerprint(model.fit(DATA, None, HARD.drop_answers(), HARD.answers)) == taught[1]


class Teacher:
    """Answers 1, and may be told to let another worker commit the batch while it does."""

    def __init__(self, other: Steps | None = None) -> None:
        self.other = other

    def predict(self, X):
        if self.other is not None:
            label_ones(X, Teacher(), self.other)
        return np.ones(len(X), dtype=int)


def label_ones(X: Any, teacher: Teacher, steps: Steps) -> Any:
    return label_shard(
        X, 0, kind="classes", teacher=teacher, generation_kwargs={}, with_confidence=False, batch_size=4,
        random_state=0, verbose=False, steps=steps,
    )  # fmt: skip


def test_a_batch_of_a_worker_that_outlives_a_killed_fit_is_taken(tmp_path):
    with Journal(tmp_path, on_locked="raise") as journal:
        kept = journal.independent("labels")
        assert label_ones(np.zeros((4, 1)), Teacher(kept), kept).y.tolist() == [1, 1, 1, 1]
    assert [entry.name for entry in (tmp_path / "labels").iterdir()] == ["batch-000000"]


def test_a_worker_that_outlives_a_killed_fit_may_commit_before_its_traces_are_deleted(tmp_path, monkeypatch):
    (tmp_path / ".batch-000000.0123456789ab.tmp").mkdir()

    def commit_meanwhile(path):  # the last that is asked about a leftover
        os.rename(path, tmp_path / "batch-000000")
        return False

    monkeypatch.setattr(Path, "is_symlink", commit_meanwhile)
    with Journal(tmp_path, on_locked="raise"):
        assert (tmp_path / "batch-000000").is_dir()


def test_a_weak_model_that_is_no_booster_is_a_stage(tmp_path):
    def fit():
        weak = FineTunedGenerator(BigramLearner(WORDS))
        return W2SPipeline(weak, BigramLearner(WORDS, smoothing=0.2), checkpoint_dir=tmp_path).fit(DATA, None, HARD)

    first = fit()
    again = fit()
    assert np.array_equal(again.weak_.estimators_[0].log_proba_, first.weak_.estimators_[0].log_proba_)
    assert again.predict(HARD).tolist() == first.predict(HARD).tolist()


def test_classifiers_with_soft_labels_are_stages(tmp_path):
    def fit():
        weak = stumps(None)
        labeler = PseudoLabeler(labels="hard", threshold=0.5)
        pipeline = W2SPipeline(weak, LogisticRegression(), labeler=labeler, checkpoint_dir=tmp_path)
        return pipeline.fit(TABLE[:20], LABELS[:20], TABLE[20:], LABELS[20:])

    first, again = fit(), fit()
    for name in ("weak_", "student_", "baseline_", "oracle_"):
        one, other = getattr(first, name), getattr(again, name)
        assert np.array_equal(one.predict_proba(TABLE), other.predict_proba(TABLE)), name
