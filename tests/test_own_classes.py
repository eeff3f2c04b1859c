"""Boosters, labelers and learners of one's own: stored and read back as themselves, or refused with a way out."""

from __future__ import annotations

import dataclasses
import gc
import importlib
import json
import sys
from collections import Counter
from typing import ClassVar

import numpy as np
import pytest
from kill_server import WORDS, booster, fingerprint, questions
from numpy.testing import assert_array_equal
from saved_ensembles import relist
from sklearn.base import BaseEstimator, ClassifierMixin, TransformerMixin, clone
from sklearn.ensemble import RandomForestClassifier, VotingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from tiny_classifiers import OPINIONS, SENTENCES, bert_classifier
from tiny_models import ANSWERS, CHOICES, PROMPTS, tiny_learner, tiny_llama

from ensemw2s import (
    BigramLearner,
    CheckpointError,
    FineTunedGenerator,
    HFCausalLM,
    HFClassifier,
    LLMAdaBoostClassifier,
    PretrainedMixin,
    PseudoLabeler,
    TokenAdaBoostGenerator,
    W2SPipeline,
    byte_tokenizer,
)

X = np.random.default_rng(0).normal(size=(96, 4))
Y = np.where(X.sum(axis=1) > 0, "yes", "no")
DATA, HARD = questions(0), questions(3)


class FirstHalf(PseudoLabeler):
    """Keeps the first rows."""

    def __init__(self, *, share=0.5, labels="hard"):
        super().__init__(labels=labels)
        self.share = share

    def label(self, teacher, X, choices=None):
        labels = super().label(teacher, X, choices)
        return dataclasses.replace(labels, kept=np.arange(len(labels.y)) < self.share * len(labels.y))


class Moved(LLMAdaBoostClassifier):
    """A booster with a parameter more, and with what it has learned under names of all kinds."""

    def __init__(self, estimator=None, *, by=0.0, n_estimators=2, random_state=0):
        super().__init__(estimator, n_estimators=n_estimators, random_state=random_state)
        self.by = by

    def fit(self, X, y, sample_weight=None):
        self._centre, self.by_pair_ = X.mean(axis=0), {("a", 1): frozenset({2})}
        return super().fit(X - self._centre, y, sample_weight)

    def predict(self, X):
        return super().predict(X - self._centre - self.by)


class Columns(PretrainedMixin, ClassifierMixin, BaseEstimator):
    """A booster that owes nothing to this package's."""

    def __init__(self, base=None):
        self.base = base

    def fit(self, X, y):
        self.members_ = [clone(self.base).fit(X[:, [k]], y) for k in range(2)]
        self.estimator_weights_, self.classes_ = np.array([2.0, 1.0]), np.unique(y)
        return self

    def predict(self, X):
        return self.predict_under([self.estimator_weights_], X)[0]

    def predict_under(self, votes, X):
        proba = np.stack([member.predict_proba(X[:, [k]]) for k, member in enumerate(self.members_)])
        return [self.classes_[np.tensordot(np.asarray(row), proba, 1).argmax(axis=1)] for row in votes]

    def with_votes(self, votes):
        other = Columns(self.base)
        other.members_, other.classes_ = self.members_[: len(votes)], self.classes_
        other.estimator_weights_ = np.asarray(votes)
        return other


class Plain(ClassifierMixin, BaseEstimator):
    """A classifier that says nothing of how it is stored."""

    fits: ClassVar[int] = 0

    def fit(self, X, y):
        Plain.fits += 1
        self.inner_ = GaussianNB().fit(X, y)
        self.classes_ = self.inner_.classes_
        return self

    def predict(self, X):
        return self.inner_.predict(X)


class Centred(TransformerMixin, BaseEstimator):
    def fit(self, X, y=None):
        self.mean_ = X.mean(axis=0)
        return self

    def transform(self, X):
        return X - self.mean_


class SavedCentred(PretrainedMixin, Centred):
    pass


class SavedPipe(PretrainedMixin, Pipeline):
    pass


class SavedJury(PretrainedMixin, VotingClassifier):
    pass


class SavedSearch(PretrainedMixin, GridSearchCV):
    """Its cross-validation says nothing of how it is stored, which skops knows."""


def small(model=None):
    return LLMAdaBoostClassifier(LogisticRegression(C=0.3) if model is None else model, n_estimators=2, random_state=0)


NUMBERS = {
    "labeler": lambda: W2SPipeline(small(), LogisticRegression(), labeler=FirstHalf(share=0.75)),
    "booster": lambda: W2SPipeline(Moved(GaussianNB(), by=0.1), LogisticRegression()),
    "own booster": lambda: W2SPipeline(Columns(GaussianNB()), LogisticRegression()),
    "jury": lambda: W2SPipeline(
        VotingClassifier([("one", GaussianNB()), ("other", LogisticRegression())]), GaussianNB()
    ),
    "booster in a pipeline": lambda: W2SPipeline(
        SavedPipe([("scale", StandardScaler()), ("boost", small())]), SavedPipe([("centre", SavedCentred()),
                                                                              ("fit", GaussianNB())])),
    "jury of own classes": lambda: W2SPipeline(
        SavedJury([("one", Columns(GaussianNB())), ("other", GaussianNB())]), GaussianNB()
    ),
    "booster of boosters": lambda: W2SPipeline(small(small()), GaussianNB()),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("kind", NUMBERS)
def test_a_pipeline_with_own_classes_comes_back_as_it_was(kind, tmp_path):
    pipeline = NUMBERS[kind]().fit(X[:32], Y[:32], X[32:64], Y[32:64])
    pipeline.save_pretrained(tmp_path / "saved")
    loaded = W2SPipeline.from_pretrained(tmp_path / "saved")
    for name in ("weak_", "student_", "labeler"):
        assert type(getattr(loaded, name)) is type(getattr(pipeline, name))
    assert_array_equal(loaded.weak_.predict(X), pipeline.weak_.predict(X))
    assert_array_equal(loaded.predict(X), pipeline.predict(X))
    if pipeline.labeler is not None:
        assert loaded.labeler.get_params() == pipeline.labeler.get_params()
    again = loaded.fit(X[:32], Y[:32], X[32:64], Y[32:64])  # with the parameters it had
    assert_array_equal(again.pseudo_labels_.kept, pipeline.pseudo_labels_.kept)
    assert_array_equal(again.weak_.predict(X), pipeline.weak_.predict(X))


def test_all_that_a_booster_of_ones_own_has_learned_comes_back(tmp_path):
    model = Moved(GaussianNB(), by=0.1).fit(X, Y)
    model.save_pretrained(tmp_path / "saved")
    loaded = Moved.from_pretrained(tmp_path / "saved")
    assert (loaded.by, loaded.by_pair_) == (0.1, {("a", 1): frozenset({2})})
    assert_array_equal(loaded._centre, model._centre)


@pytest.mark.slow
@pytest.mark.parametrize(
    "weak",
    [
        Moved(GaussianNB(), by=0.1), Columns(GaussianNB()), Plain(), make_pipeline(Centred(), GaussianNB()),
        SavedPipe([("scale", StandardScaler()), ("boost", small())]),
        small(Columns(GaussianNB())).set_params(sampling="resample"),
        SavedSearch(GaussianNB(), {"var_smoothing": [1e-9, 1e-3]}, cv=2),
    ],
    ids=lambda weak: type(weak).__name__,
)  # fmt: skip
def test_a_checkpoint_keeps_own_classes(weak, tmp_path):
    pipeline = W2SPipeline(weak, Plain(), labeler=FirstHalf(), baseline=False, checkpoint_dir=tmp_path)
    first = clone(pipeline).fit(X[:32], Y[:32], X[32:64], Y[32:64])
    n_fits = Plain.fits
    again = clone(pipeline).fit(X[:32], Y[:32], X[32:64], Y[32:64])
    assert Plain.fits == n_fits
    assert type(again.weak_) is type(weak)
    for name in ("weak_", "student_", "oracle_"):
        assert_array_equal(getattr(again, name).predict(X), getattr(first, name).predict(X))
    assert_array_equal(again.pseudo_labels_.kept, first.pseudo_labels_.kept)


def local():
    class Local(Plain):
        pass

    return Local()


@pytest.mark.parametrize("name", ["weak", "student", "oracle"])
@pytest.mark.parametrize(
    "model", [make_pipeline(FunctionTransformer(lambda x: x), GaussianNB()), local()], ids=["lambda", "local"]
)
def test_what_a_checkpoint_cannot_keep_is_refused_before_training(name, model, tmp_path):
    models = {"weak": Plain(), "student": Plain(), "oracle": Plain(), name: model}
    pipeline = W2SPipeline(**models, checkpoint_dir=tmp_path)
    Plain.fits = 0
    with pytest.raises(TypeError, match=rf"{name} cannot be saved: skops cannot store.*derive from PretrainedMixin"):
        pipeline.fit(X[:32], Y[:32], X[32:64], Y[32:64])
    assert Plain.fits == 0


def never_called():
    raise AssertionError("the model was loaded")


def test_a_jury_that_skops_cannot_keep_once_it_is_trained_is_refused_before_it(tmp_path):
    learner = HFClassifier(never_called, tokenizer=str(tmp_path))  # by name: no tokenizer is in it before its fit
    jury = VotingClassifier([("a", learner)], voting="soft")
    with pytest.raises(TypeError, match=r"weak cannot be saved: skops.* HFClassifier in it \(a\).*class Saved\(Pretr"):
        W2SPipeline(jury, GaussianNB(), checkpoint_dir=tmp_path / "run").fit(SENTENCES, OPINIONS, SENTENCES)


def test_classes_that_say_nothing_are_refused_when_saved_and_the_remedy_works(tmp_path):
    pipeline = W2SPipeline(make_pipeline(Centred(), GaussianNB()), GaussianNB())
    pipeline.fit(X[:32], Y[:32], X[32:64])
    with pytest.raises(TypeError, match=r"weak_ cannot be saved.*Centred.*class Saved\(PretrainedMixin, Pipeline\)"):
        pipeline.save_pretrained(tmp_path / "saved")
    pipeline.set_params(weak=SavedPipe([("centre", SavedCentred()), ("fit", GaussianNB())]))
    pipeline.fit(X[:32], Y[:32], X[32:64]).save_pretrained(tmp_path / "saved")
    loaded = W2SPipeline.from_pretrained(tmp_path / "saved")
    assert_array_equal(loaded.weak_.predict(X), pipeline.weak_.predict(X))


def test_trees_are_refused_with_the_reason(tmp_path):
    pipeline = W2SPipeline(RandomForestClassifier(2, random_state=0), GaussianNB()).fit(X[:32], Y[:32], X[32:64])
    with pytest.raises(TypeError, match=r"weak_ cannot be saved: a RandomForestClassifier holds trees.*checkpoint_dir"):
        pipeline.save_pretrained(tmp_path / "saved")


def test_a_labeler_that_says_nothing_is_refused_and_the_remedy_works(tmp_path):
    class Ask:
        def label(self, teacher, X):
            return PseudoLabeler().label(teacher, X)

    pipeline = W2SPipeline(GaussianNB(), GaussianNB(), labeler=Ask()).fit(X[:32], Y[:32], X[32:64])
    with pytest.raises(TypeError, match=r"labeler cannot be saved\..*derive from PseudoLabeler.*set_params\(labeler"):
        pipeline.save_pretrained(tmp_path / "saved")
    pipeline.set_params(labeler=None).save_pretrained(tmp_path / "saved")
    assert_array_equal(W2SPipeline.from_pretrained(tmp_path / "saved").predict(X), pipeline.predict(X))


def test_a_counter_would_come_back_as_a_dict_and_is_refused(tmp_path):
    model = Columns(GaussianNB()).fit(X, Y)
    model.seen_ = Counter("aab")
    with pytest.raises(TypeError, match=r"seen_ cannot be saved.*plain lists, tuples, sets and dicts.*_saved_state"):
        model.save_pretrained(tmp_path / "saved")


# Learners


class Renamed(HFCausalLM):
    """One line."""


class Warm(BigramLearner):
    def __init__(self, tokenizer=None, *, corpus=None, smoothing=1.0, prompt_template="{prompt}:", temperature=1.0):
        super().__init__(tokenizer, corpus=corpus, smoothing=smoothing, prompt_template=prompt_template)
        self.temperature = temperature

    def fit(self, tokens, *, token_weight):
        self.n_answers_ = len(tokens)
        return super().fit(tokens, token_weight=token_weight)

    def token_logits(self, input_ids, attention_mask):
        return super().token_logits(input_ids, attention_mask) / self.temperature


class Counts(PretrainedMixin, BaseEstimator):
    """A token learner that owes nothing to this package's: it counts what follows a token."""

    def initialize(self):
        self.tokenizer_, self.counts_ = byte_tokenizer(), {}
        return self

    def fit(self, tokens, *, token_weight):
        self.initialize()
        for row in range(len(tokens)):
            prompt, answer = (ids.tolist() for ids in tokens.row_ids(row))
            weights = token_weight[tokens.indptr[row] : tokens.indptr[row + 1]].tolist()
            for pair, weight in zip(zip([prompt[-1], *answer], answer, strict=False), weights, strict=True):
                self.counts_[pair] = self.counts_.get(pair, 0.0) + weight
        return self

    def token_logits(self, input_ids, attention_mask):
        table = np.full((258, 258), np.log(0.01))
        for pair, weight in self.counts_.items():
            table[pair] = np.log(0.01 + weight)
        return table[np.asarray(input_ids)]


def bagged(learner):
    return TokenAdaBoostGenerator(learner, n_estimators=2, reweight=False, random_state=0)


@pytest.mark.slow
@pytest.mark.parametrize("learner", [Warm(temperature=2.0), Counts()], ids=lambda learner: type(learner).__name__)
def test_token_learners_of_ones_own_come_back_and_go_on(learner, tmp_path):
    arguments = (DATA, None, HARD.drop_answers(), HARD.answers)
    pipeline = W2SPipeline(bagged(learner), learner, checkpoint_dir=tmp_path / "run").fit(*arguments)
    again = W2SPipeline(bagged(learner), learner, checkpoint_dir=tmp_path / "run").fit(*arguments)
    pipeline.save_pretrained(tmp_path / "saved")
    for other in (again, W2SPipeline.from_pretrained(tmp_path / "saved")):
        for name in ("weak_", "student_", "oracle_"):
            one, found = getattr(pipeline, name), getattr(other, name)
            assert {type(member) for member in found.estimators_} == {type(learner)}
            assert_array_equal(found.predict_proba(HARD), one.predict_proba(HARD))
            assert found.estimators_[0].get_params() == one.estimators_[0].get_params()


@pytest.mark.slow
def test_a_base_is_written_once_for_all_parts_and_callbacks_are_left_behind(tmp_path):
    from transformers import TrainerCallback

    learner = tiny_learner(tiny_llama, epochs=1, callbacks=[TrainerCallback()])
    student = Renamed(**tiny_learner(tiny_llama, epochs=1).get_params(deep=False))
    pipeline = W2SPipeline(bagged(learner), student)
    pipeline.fit(PROMPTS[:3], ANSWERS[:3], PROMPTS[:3], ANSWERS[:3], choices_hard=CHOICES[:3])
    with pytest.raises(TypeError, match=r"Call weak_\.estimator\.set_params\(callbacks=\(\)\), save"):
        pipeline.save_pretrained(tmp_path / "saved", include_base=True)
    pipeline.weak_.estimator.set_params(callbacks=())  # what the message says
    pipeline.save_pretrained(tmp_path / "saved", include_base=True)
    models = [path.relative_to(tmp_path / "saved").as_posix() for path in tmp_path.rglob("model.safetensors")]
    tokenizers = [path.parent.name for path in tmp_path.rglob("tokenizer.json")]
    assert (models, tokenizers) == (["base/model.safetensors"], ["tokenizer"])
    card = pipeline._card("someone/pipeline", json.loads((tmp_path / "saved/pipeline.json").read_text())["bases"])
    assert "The base model is included, in `base`.\n" in card
    loaded = W2SPipeline.from_pretrained(tmp_path / "saved")
    for name in ("weak_", "student_", "oracle_"):
        one, other = getattr(pipeline, name), getattr(loaded, name)
        assert_array_equal(one.answer_nll(PROMPTS, ANSWERS), other.answer_nll(PROMPTS, ANSWERS))
    assert type(loaded.student_.estimators_[0]) is Renamed
    with pytest.raises(CheckpointError, match=r"weak is a part of the W2SPipeline.*from_pretrained\('.*'\)\.weak_"):
        TokenAdaBoostGenerator.from_pretrained(tmp_path / "saved" / "weak")


def test_a_learner_of_ones_own_is_saved_by_itself(tmp_path):
    learner = Renamed(**tiny_learner(tiny_llama, epochs=1).get_params(deep=False)).initialize()
    learner.save_pretrained(tmp_path / "saved", include_base=True)
    assert type(Renamed.from_pretrained(tmp_path / "saved")) is Renamed
    with pytest.raises(CheckpointError, match="holds a Renamed, not a HFCausalLM"):
        HFCausalLM.from_pretrained(tmp_path / "saved")


class Twice(PretrainedMixin, BigramLearner):
    """Says a second time that it can be saved."""


def test_a_learner_that_is_told_twice_that_it_can_be_saved_keeps_what_it_has_learned(tmp_path):
    learner = Twice(corpus=["abab"]).initialize()
    learner.save_pretrained(tmp_path / "saved")
    assert_array_equal(Twice.from_pretrained(tmp_path / "saved").log_proba_, learner.log_proba_)


class Fixed(HFCausalLM):
    """Names its model itself, and has fewer parameters."""

    def __init__(self, *, lr=1e-2, peft_config="default", random_state=0):
        fixed = {"tokenizer": byte_tokenizer(), "prompt_template": "{prompt}:", "epochs": 1}
        super().__init__(tiny_llama, lr=lr, peft_config=peft_config, random_state=random_state, **fixed)


@pytest.mark.parametrize("peft_config", ["default", None])
@pytest.mark.slow
def test_a_learner_with_fewer_parameters_is_stored(peft_config, tmp_path):
    def trained():
        generator = FineTunedGenerator(Fixed(lr=3e-2, peft_config=peft_config))
        pipeline = W2SPipeline(generator, generator, checkpoint_dir=tmp_path / "run")
        return pipeline.fit(PROMPTS[:3], ANSWERS[:3], PROMPTS[:3], choices_hard=CHOICES[:3])

    pipeline = trained()
    pipeline.save_pretrained(tmp_path / "saved", include_base=True)
    for other in (trained(), W2SPipeline.from_pretrained(tmp_path / "saved")):
        assert type(other.student_.estimators_[0]) is Fixed
        expected = pipeline.student_.answer_nll(PROMPTS, ANSWERS)
        assert_array_equal(other.student_.answer_nll(PROMPTS, ANSWERS), expected)


class Pair(PretrainedMixin, ClassifierMixin, BaseEstimator):
    """Holds two models of a function, one in a dict and one in a list."""

    def __init__(self, base=None):
        self.base = base

    def fit(self, X, y):
        self.models_ = {"all": clone(self.base).fit(X, y), "half": [clone(self.base).fit(X[::2], y[::2])]}
        self.classes_ = self.models_["all"].classes_
        return self

    def predict(self, X):
        return self.models_["all"].predict(X)

    def predict_proba(self, X):
        return self.models_["half"][0].predict_proba(X)


@pytest.mark.slow
def test_models_that_a_class_of_ones_own_holds_are_stored_with_it(tmp_path):
    texts, y = np.array(SENTENCES), np.array(OPINIONS)
    pipeline = W2SPipeline(Pair(bert_classifier()), Pair(bert_classifier()), checkpoint_dir=tmp_path / "run")
    expected = pipeline.fit(texts, y, texts).student_.predict_proba(texts)
    pipeline.save_pretrained(tmp_path / "saved", include_base=True)
    for other in (clone(pipeline).fit(texts, y, texts), W2SPipeline.from_pretrained(tmp_path / "saved")):
        assert_array_equal(other.student_.predict_proba(texts), expected)


# Names


def test_no_module_is_imported_to_find_a_class(tmp_path, monkeypatch):
    (tmp_path / "boosters_of_a_user.py").write_text(
        "from ensemw2s import PseudoLabeler\nclass Mine(PseudoLabeler):\n    pass\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    labeler = importlib.import_module("boosters_of_a_user").Mine(threshold=0.25)
    pipeline = W2SPipeline(GaussianNB(), GaussianNB(), labeler=labeler).fit(X[:32], Y[:32], X[32:64])
    pipeline.save_pretrained(tmp_path / "saved")
    del pipeline, labeler, sys.modules["boosters_of_a_user"]
    gc.collect()
    message = r"pipeline\.json cannot be read: the class boosters_of_a_user\.Mine is not known.*import or define"
    with pytest.raises(CheckpointError, match=message):
        W2SPipeline.from_pretrained(tmp_path / "saved")
    assert "boosters_of_a_user" not in sys.modules
    mine = importlib.import_module("boosters_of_a_user").Mine
    found = W2SPipeline.from_pretrained(tmp_path / "saved").labeler
    assert type(found) is mine
    assert found.threshold == 0.25


def test_two_classes_of_one_name_are_not_mixed_up(tmp_path):
    def made(number):
        class Same(PseudoLabeler):
            place = number

        return Same

    first, second = made(1), made(2)
    pipeline = W2SPipeline(GaussianNB(), GaussianNB(), labeler=first()).fit(X[:32], Y[:32], X[32:64])
    with pytest.raises(TypeError, match=r"labeler cannot be saved: its class .*Same has been defined again since"):
        pipeline.save_pretrained(tmp_path / "saved")
    pipeline.set_params(labeler=second()).save_pretrained(tmp_path / "saved")
    with pytest.raises(CheckpointError, match=r"2 classes are called .*Same"):
        W2SPipeline.from_pretrained(tmp_path / "saved")


def test_a_class_of_another_module_with_the_same_name_is_refused(tmp_path):
    Columns(GaussianNB()).fit(X, Y).save_pretrained(tmp_path / "saved")
    other = type("Columns", (Columns,), {"__module__": "elsewhere"})
    with pytest.raises(CheckpointError, match=r"holds a test_own_classes\.Columns, not a elsewhere\.Columns"):
        other.from_pretrained(tmp_path / "saved")


def test_a_pipeline_saved_part_by_part_is_still_read(tmp_path):
    pipeline = W2SPipeline(booster(None, n_estimators=2), BigramLearner(WORDS), labeler=PseudoLabeler(batch_size=8))
    pipeline.fit(DATA, None, HARD.drop_answers(), HARD.answers).save_pretrained(tmp_path / "saved")
    record = json.loads((tmp_path / "saved/pipeline.json").read_text())
    for name in ("weak", "student", "baseline", "oracle"):  # as earlier versions wrote them, each with its own
        getattr(pipeline, f"{name}_").save_pretrained(tmp_path / name)
        for path in (tmp_path / "saved" / name).rglob("*.*"):
            path.unlink()
        (tmp_path / name / "manifest.json").unlink()
        for path in (tmp_path / name).rglob("*.*"):
            place = tmp_path / "saved" / name / path.relative_to(tmp_path / name)
            place.parent.mkdir(parents=True, exist_ok=True)
            path.rename(place)
    former = {key: value for key, value in record.items() if key not in ("bases", "tokenizers", "class")}
    (tmp_path / "saved/pipeline.json").write_text(json.dumps(former))
    relist(tmp_path / "saved")
    loaded = W2SPipeline.from_pretrained(tmp_path / "saved")
    assert isinstance(loaded.student_, FineTunedGenerator)
    for name in ("weak_", "student_", "baseline_", "oracle_"):
        assert fingerprint(getattr(loaded, name)) == fingerprint(getattr(pipeline, name))
