"""Fitted estimators in other processes, and the base models that a process keeps."""

from __future__ import annotations

import copy
import gc
import os
import pickle
import shutil
import signal
import threading
import time
import weakref
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import cloudpickle
import numpy as np
import pytest
import torch
from joblib.externals.loky import get_reusable_executor
from numpy.testing import assert_array_equal
from peft import LoraConfig
from tiny_classifiers import OPINIONS, SENTENCES, bert_classifier
from tiny_classifiers import save_pretrained as save_encoder
from tiny_models import ANSWERS, CHOICES, PROMPTS, fit, tiny_gpt2, tiny_learner, tiny_llama, tokens_for, untrained_model
from transformers import TrainerCallback

from ensemw2s import (
    FineTunedGenerator,
    LLMAdaBoostClassifier,
    PseudoLabeler,
    QADataset,
    TokenAdaBoostGenerator,
    W2SPipeline,
    byte_tokenizer,
    clear_model_cache,
)
from ensemw2s._adapters.model_cache import shared_host
from ensemw2s._launch.rng import isolated_rng

QUICK = {"epochs": 1, "lr": 1e-2}
QUESTIONS = QADataset(PROMPTS[:3], ANSWERS[:3], CHOICES[:3])


@pytest.fixture(scope="module")
def worker():
    """Run a function in one other process, the same for all tests, with as many threads as this one."""
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    pool = get_reusable_executor(max_workers=1, timeout=600, env={"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"})
    yield lambda function, *arguments: pool.submit(function, *arguments).result()
    pool.shutdown(kill_workers=True)
    torch.set_num_threads(n_threads)


@pytest.fixture
def folder(tmp_path):
    untrained_model(tiny_llama).save_pretrained(tmp_path)
    byte_tokenizer().save_pretrained(tmp_path)
    return str(tmp_path)


@pytest.fixture(autouse=True)
def empty_cache():
    clear_model_cache()
    yield
    clear_model_cache()


def _booster(model: Any = tiny_llama, **parameters: Any) -> TokenAdaBoostGenerator:
    learner = tiny_learner(model, **{"epochs": 12, **parameters})
    booster = TokenAdaBoostGenerator(learner, n_estimators=2, prior="uniform", random_state=0).fit(QUESTIONS)
    assert len(booster.estimators_) == 2
    return booster


def _pipeline() -> W2SPipeline:
    student = FineTunedGenerator(tiny_learner(tiny_gpt2, **QUICK))
    return W2SPipeline(_booster(), student).fit(QUESTIONS, None, QUESTIONS.drop_answers())


FITTED = {
    "HFCausalLM": lambda _: fit(tiny_learner(**QUICK)),
    "HFCausalLM, all weights": lambda _: fit(tiny_learner(peft_config=None, **QUICK)),
    "HFCausalLM of a folder": lambda folder: fit(tiny_learner(folder, tokenizer=None, **QUICK)),
    "HFClassifier": lambda folder: (
        bert_classifier(peft_config="default", epochs=1)
        .set_params(model=save_encoder("bert", folder), tokenizer=None)
        .fit(SENTENCES, OPINIONS)
    ),
    "HFClassifier, all weights": lambda _: bert_classifier(epochs=1).fit(SENTENCES, OPINIONS),
    "FineTunedGenerator of a lambda": lambda _: FineTunedGenerator(tiny_learner(lambda: tiny_llama(), **QUICK)).fit(
        QUESTIONS
    ),
    "LLMAdaBoostClassifier": lambda _: LLMAdaBoostClassifier(
        bert_classifier(epochs=8), n_estimators=2, random_state=0
    ).fit(SENTENCES, OPINIONS),
    "W2SPipeline": lambda _: _pipeline(),  # its parts are a boosted ensemble and single generators
}


def predictions(estimator: Any) -> list[np.ndarray]:
    """All that an estimator says about a few rows."""
    if isinstance(estimator, W2SPipeline):
        return [*predictions(estimator.weak_), *predictions(estimator.student_), *predictions(estimator.baseline_)]
    if hasattr(estimator, "classes_"):
        return [estimator.predict_proba(SENTENCES), estimator.predict(SENTENCES)]
    if hasattr(estimator, "token_logits"):
        ids = np.array([[257, 97, 98, 58], [83, 107, 121, 58]])
        return [estimator.token_logits(ids, ids != 257).numpy()]
    with isolated_rng(5):
        sampled = estimator.generate(PROMPTS, do_sample=True, max_new_tokens=4)
    return [estimator.predict_proba(QUESTIONS), np.array(estimator.generate(PROMPTS)), np.array(sampled)]


def same(estimator: Any) -> Any:
    return estimator


# --- fitted estimators travel -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FITTED)
@pytest.mark.slow
def test_another_process_predicts_the_same_bits(worker, name, tmp_path):
    estimator = FITTED[name](tmp_path if name == "HFClassifier" else _saved_llama(tmp_path))
    here = predictions(estimator)
    for there, expected in zip(worker(predictions, estimator), here, strict=True):
        assert_array_equal(there, expected)


def _saved_llama(folder: Any) -> str:
    untrained_model(tiny_llama).save_pretrained(folder)
    byte_tokenizer().save_pretrained(folder)
    return str(folder)


@pytest.mark.slow
def test_learner_comes_back_to_the_base_that_it_left(worker):
    model = lambda: tiny_llama()  # noqa: E731 (a lambda is another object after each journey)
    learner, other = (fit(tiny_learner(model, random_state=seed, **QUICK)) for seed in (0, 1))
    returned = worker(same, learner)
    assert returned.model is learner.model
    with returned.lend_model() as mine, other.lend_model() as theirs:
        assert mine is theirs
    assert_array_equal(predictions(returned)[0], predictions(learner)[0])


def train_and_predict(learner: Any) -> list[np.ndarray]:
    return predictions(fit(learner))


@pytest.mark.slow
def test_base_that_was_loaded_for_predicting_can_be_trained_on(worker, folder):
    learner = fit(tiny_learner(folder, tokenizer=None, **QUICK))
    worker(predictions, learner)
    assert_array_equal(worker(train_and_predict, learner)[0], predictions(learner)[0])


@pytest.mark.slow
def test_pickle_holds_the_adapters_alone(folder):
    booster = _booster(folder, tokenizer=None)
    adapters = 4 * sum(tensor.numel() for member in booster.estimators_ for tensor in member.adapter_.values())
    base = 4 * sum(parameter.numel() for parameter in tiny_llama().parameters())
    tokenizer = len(cloudpickle.dumps(byte_tokenizer()))
    with booster.estimators_[0].lend_model():
        rest = len(cloudpickle.dumps(booster)) - adapters
    # Names of 28 tensors a member, settings and the log of training.
    assert rest < 25_000 < min(base, tokenizer + 23_000)


@pytest.mark.slow
def test_tokenizer_that_was_read_by_name_is_read_where_it_arrives(folder):
    learner = fit(tiny_learner(folder, tokenizer=None, **QUICK))
    assert b"[UNK]" not in pickle.dumps(learner)
    assert pickle.loads(pickle.dumps(learner)).tokenizer_ is learner.tokenizer_  # noqa: S301 (our own bytes)


def test_tokenizer_of_ones_own_travels(worker):
    learner = fit(tiny_learner(**QUICK))
    assert worker(same, learner).tokenizer_.get_vocab() == learner.tokenizer_.get_vocab()


@pytest.mark.slow
def test_model_with_all_its_weights_needs_no_folder_where_it_arrives(folder):
    learner = fit(tiny_learner(folder, tokenizer=None, peft_config=None, **QUICK))
    stored, expected = pickle.dumps(learner), predictions(learner)[0]
    shutil.rmtree(folder)
    clear_model_cache()
    assert_array_equal(predictions(pickle.loads(stored))[0], expected)  # noqa: S301 (our own bytes)


# --- one base per process ---------------------------------------------------------------------------------------------


def counted_llama() -> Any:
    os.environ["TINY_LOADS"] = str(int(os.environ.get("TINY_LOADS", "0")) + 1)
    return tiny_llama()


def loads_after_predicting(learner: Any) -> int:
    predictions(learner)
    return int(os.environ["TINY_LOADS"])


def forget_loads() -> None:
    clear_model_cache()
    os.environ["TINY_LOADS"] = "0"


@pytest.mark.slow
@pytest.mark.parametrize("model", [counted_llama, lambda: counted_llama()], ids=["function", "lambda"])
def test_worker_loads_a_base_once_for_all_its_tasks(worker, model):
    learners = [fit(tiny_learner(model, random_state=seed, **QUICK)) for seed in range(2)]
    worker(forget_loads)
    assert [worker(loads_after_predicting, learner) for learner in [*learners, *learners]] == [1, 1, 1, 1]


@pytest.mark.slow
def test_learners_that_are_gone_leave_their_base_to_the_next(folder):
    learner = fit(tiny_learner(folder, tokenizer=None, **QUICK))
    host = weakref.ref(learner._host())
    del learner
    assert fit(tiny_learner(folder, tokenizer=None, **QUICK))._host() is host()


def test_base_of_a_folder_that_was_written_anew_is_read_anew(folder):
    before = predictions(tiny_learner(folder, tokenizer=None).initialize())[0]
    model = untrained_model(tiny_llama)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(0.5)
    model.save_pretrained(folder)
    os.utime(os.path.join(folder, "config.json"), ns=(0, 0))  # whatever the clock's resolution
    after = predictions(tiny_learner(folder, tokenizer=None).initialize())[0]
    assert np.abs(after - before).max() > 0.1


@pytest.mark.slow
def test_clearing_frees_the_memory_of_a_base():
    # A rank of its own: a base with the usual one may be held by a learner of another test.
    learner = fit(tiny_learner(**QUICK, peft_config=LoraConfig(r=3, target_modules="all-linear")))
    base = weakref.ref(learner._host().model)
    del learner
    assert base() is not None
    clear_model_cache()
    assert base() is None


@pytest.mark.slow
def test_learners_go_on_after_their_base_was_cleared():
    learner = fit(tiny_learner(**QUICK))
    before = predictions(learner)[0]
    clear_model_cache()
    assert_array_equal(predictions(learner)[0], before)


class Host:
    """Anything that can be held weakly and has something to forget, on a base that has not changed."""

    shared_base = SimpleNamespace(is_changed=False)

    def forget_prompts(self):
        self.forgotten = True


def test_two_bases_are_kept_and_the_least_recently_asked_for_goes_first():
    first, second = weakref.ref(shared_host(("first",), Host)), weakref.ref(shared_host(("second",), Host))
    assert shared_host(("first",), Host) is first()
    shared_host(("third",), Host)
    gc.collect()
    assert first() is not None
    assert second() is None


def test_room_is_made_before_the_next_base_is_loaded():
    first, _ = weakref.ref(shared_host(("first",), Host)), shared_host(("second",), Host)

    def build():
        assert first() is None
        return Host()

    shared_host(("third",), build)


def test_base_that_is_held_elsewhere_is_found_after_it_went():
    held = shared_host(("held",), Host)
    for number in range(3):
        shared_host((number,), Host)
    assert shared_host(("held",), Host) is held


@pytest.mark.slow
@pytest.mark.parametrize(("text", "limit"), [("0", 0), ("1", 1), ("3", 3), ("", 2), (" ", 2)])
def test_the_environment_says_how_many_bases_are_kept(text, limit, monkeypatch):
    monkeypatch.setenv("ENSEMW2S_MODEL_CACHE", text)
    hosts = [weakref.ref(shared_host((number,), Host)) for number in range(4)]
    assert [host() is not None for host in hosts] == [False] * (4 - limit) + [True] * limit


@pytest.mark.slow
@pytest.mark.parametrize("text", ["-1", "two", "1.5"])
def test_a_bad_number_in_the_environment_is_named(text, monkeypatch):
    monkeypatch.setenv("ENSEMW2S_MODEL_CACHE", text)
    with pytest.raises(ValueError, match=r"ENSEMW2S_MODEL_CACHE must be a number of models.*Got '"):
        shared_host(("any",), Host)


def test_a_base_that_cannot_be_loaded_leaves_nothing_behind():
    def fail():
        raise OSError("no such file")

    with pytest.raises(OSError, match="no such file"):
        shared_host(("broken",), fail)
    assert isinstance(shared_host(("broken",), Host), Host)


# --- threads ----------------------------------------------------------------------------------------------------------


def test_threads_that_ask_at_once_share_one_base():
    built, start = [], threading.Barrier(8)

    def build():
        built.append(1)
        return Host()

    def ask(_):
        start.wait()
        return shared_host(("one",), build)

    with ThreadPoolExecutor(8) as pool:
        hosts = set(pool.map(ask, range(8)))
    assert len(hosts) == len(built) == 1


def test_threads_draw_each_from_their_own_seed():
    def draws(seed):
        with isolated_rng(seed):
            return [(torch.rand(1).item(), np.random.random()) for _ in range(5_000)]  # noqa: NPY002

    expected = [draws(seed) for seed in range(4)]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(draws, range(4))) == expected


@pytest.mark.slow
def test_one_thread_samples_while_another_trains_on_the_same_base():
    generator = FineTunedGenerator(tiny_learner(**QUICK)).fit(QUESTIONS)
    labeler = PseudoLabeler(method="generate", generation_kwargs={"do_sample": True, "max_new_tokens": 2}, batch_size=1)
    expected = list(labeler.label(generator, PROMPTS).y)
    trained = predictions(fit(tiny_learner(random_state=3, **QUICK)))[0]
    with ThreadPoolExecutor(2) as pool:
        training = pool.submit(lambda: [predictions(fit(tiny_learner(random_state=3, **QUICK)))[0] for _ in range(3)])
        sampling = pool.submit(lambda: [list(labeler.label(generator, PROMPTS).y) for _ in range(3)])
        assert sampling.result(timeout=120) == [expected] * 3
        for again in training.result(timeout=120):
            assert_array_equal(again, trained)


@pytest.mark.slow
def test_a_copy_of_a_learner_shares_the_tokenizer_and_the_base(folder):
    learner = fit(tiny_learner(folder, tokenizer=None, **QUICK))
    copied = copy.deepcopy(learner)
    assert copied.tokenizer_ is learner.tokenizer_
    assert copied._host() is learner._host()


class _Waits(TrainerCallback):
    """Keeps a training in its first step until it is told to go on."""

    def __init__(self) -> None:
        self.began, self.go_on = threading.Event(), threading.Event()

    def on_step_begin(self, args, state, control, **kwargs):
        self.began.set()
        self.go_on.wait(60)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
@pytest.mark.slow
def test_a_child_forked_while_another_thread_trains_predicts():
    # Of the parent's threads it has one: the others' locks would never be released, and the base has half an adapter.
    member = fit(tiny_learner())
    batch = tokens_for(member).batch(np.arange(len(PROMPTS)))
    expected = member.answer_logits(batch)
    waits = _Waits()
    training = threading.Thread(target=fit, args=(tiny_learner(random_state=1, callbacks=[waits]),))
    training.start()
    try:
        assert waits.began.wait(60)
        child = os.fork()
        if child == 0:
            code = 1
            try:
                code = 0 if np.array_equal(member.answer_logits(batch), expected) else 2
            finally:
                os._exit(code)
        ended, until = (0, 0), time.monotonic() + 30
        while ended[0] == 0 and time.monotonic() < until:
            ended = os.waitpid(child, os.WNOHANG)
            time.sleep(0.02)
        if ended[0] == 0:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
    finally:
        waits.go_on.set()
        training.join()
    assert ended[0] == child, "the child hangs"
    assert os.waitstatus_to_exitcode(ended[1]) == 0
