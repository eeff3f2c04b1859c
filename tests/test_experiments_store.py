"""Results on disk: computed once, committed whole, noticed when damaged."""

from __future__ import annotations

import copy
import json
import multiprocessing
import threading
import time
from dataclasses import dataclass
from functools import partial, wraps

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from peft import LoraConfig
from scipy.sparse import csr_array
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import KFold

from ensemw2s import BigramLearner, CheckpointError, HFCausalLM, PseudoLabeler, QADataset, byte_tokenizer
from ensemw2s._fingerprint import describe, describe_model, digest
from ensemw2s.experiments._encoding import pack_bits, unpack_bits
from ensemw2s.experiments._store import ResultStore


def test_a_result_is_computed_once(tmp_path):
    calls = []
    store = ResultStore(tmp_path)
    for _ in range(2):
        assert store.get("kind", {"a": 1}, lambda: calls.append(1) or {"value": 2.5}) == {"value": 2.5}
    assert calls == [1]


def test_another_description_is_another_result(tmp_path):
    store = ResultStore(tmp_path)
    assert store.get("kind", {"a": 1}, lambda: 1) == 1
    assert store.get("kind", {"a": 2}, lambda: 2) == 2


def test_an_error_leaves_nothing_behind(tmp_path):
    store = ResultStore(tmp_path)
    with pytest.raises(ZeroDivisionError):
        store.get("kind", {}, lambda: 1 / 0)
    assert store.get("kind", {}, lambda: 3) == 3
    assert [path.suffix for path in (tmp_path / "kind").iterdir() if path.suffix != ".lock"] == [".json"]


def slow_append(path):
    time.sleep(0.3)
    with open(path, "a") as file:
        file.write("x")
    return 1


def ask(folder, path):
    ResultStore(folder).get("kind", {}, partial(slow_append, path))


def test_two_processes_that_need_one_result_compute_it_once(tmp_path):
    log = tmp_path / "log"
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=ask, args=(tmp_path, log)) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0]
    assert log.read_text() == "x"


@pytest.mark.parametrize("damage", ["cut", "bit", "empty", "format", "swapped"])
def test_a_damaged_result_is_never_used(tmp_path, damage):
    store = ResultStore(tmp_path)
    store.get("kind", {"a": 1}, lambda: {"value": 12345})
    store.get("kind", {"a": 2}, lambda: {"value": 54321})
    path = store.path("kind", {"a": 1})
    text = path.read_text()
    new = {
        "cut": text[:-9],
        "bit": text.replace("12345", "12344"),
        "empty": "",
        "format": json.dumps({**json.loads(text), "format": 0}),
        "swapped": store.path("kind", {"a": 2}).read_text(),
    }[damage]
    path.write_text(new)
    with pytest.raises(CheckpointError, match=path.name):
        store.get("kind", {"a": 1}, lambda: {"value": 0})


def test_a_folder_that_cannot_be_written_is_named(tmp_path, monkeypatch):
    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("ensemw2s.experiments._store.os.fsync", full)
    with pytest.raises(OSError, match=rf"{tmp_path}.*No space left"):
        ResultStore(tmp_path).get("kind", {}, lambda: 1)
    assert not list(tmp_path.glob("kind/*.tmp"))


@given(st.lists(st.booleans()))
def test_bits_survive_packing(values):
    assert unpack_bits(pack_bits(np.array(values, dtype=bool))).tolist() == values


def test_a_folder_with_new_weights_is_another_model(tmp_path):
    (tmp_path / "model.safetensors").write_bytes(b"old")
    before = describe_model(str(tmp_path))
    (tmp_path / "model.safetensors").write_bytes(b"newer")
    assert describe_model(str(tmp_path)) != before


LONG = np.arange(5000.0)[None]  # NumPy, SciPy, torch and pandas write the middle of it as "..."
OTHER = np.where(LONG == 2500, -1.0, LONG)


@dataclass
class Holder:
    """An object whose repr shows what its content's shows."""

    content: object


def wrapped(factor):
    @wraps(digest)
    def scaled(value):
        return factor * value

    return scaled


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (BigramLearner(), BigramLearner(smoothing=2.0)),
        (HFCausalLM("some/model"), HFCausalLM("some/other")),
        (HFCausalLM("some/model"), HFCausalLM("some/model", lr=1e-4)),
        (HFCausalLM("m", peft_config=LoraConfig(r=4)), HFCausalLM("m", peft_config=LoraConfig(r=8))),
        (HFCausalLM("m", tokenizer=byte_tokenizer()), HFCausalLM("m")),
        (LogisticRegression(), LogisticRegression(C=2.0)),
        (QADataset(["a"], ["b"]), QADataset(["a"], ["c"])),
        (digest, describe),
        ([1, 2], [2, 1]),
        ({1: "a"}, {"1": "a"}),
        (np.array([1, None]), np.array([1, "None"])),
        (KFold(3), KFold(4)),
        ("a".join, "b".join),
        (Holder(LONG), Holder(OTHER)),
        (Holder(csr_array(LONG)), Holder(csr_array(OTHER))),
        (Holder(csr_array(LONG).todok()), Holder(csr_array(OTHER).todok())),
        (Holder(torch.from_numpy(LONG)), Holder(torch.from_numpy(OTHER))),
        (Holder(pd.DataFrame({"a": LONG[0]})), Holder(pd.DataFrame({"a": OTHER[0]}))),
        (partial(digest, LONG), partial(digest, OTHER)),
        (wrapped(2), wrapped(3)),
    ],
)
def test_a_description_tells_different_things_apart(one, other):
    assert digest(describe(one, "x")) != digest(describe(other, "x"))
    assert digest(describe(one, "x")) == digest(describe(copy.deepcopy(one), "x"))


def test_what_cannot_be_recognised_in_the_next_run_is_refused():
    with pytest.raises(ValueError, match=r"model\.model must be something that can be recognised"):
        describe(HFCausalLM(lambda: None), "model")
    endless = Holder(None)
    endless.content = [endless]
    for value in (Holder(threading.Lock()), Holder(lambda: None), endless):
        with pytest.raises(ValueError, match="must be something that can be recognised"):
            describe(value, "x")


def test_what_has_no_effect_on_a_result_is_left_out():
    quiet, loud = HFCausalLM("some/model"), HFCausalLM("some/model", verbose=True)
    assert describe(quiet, "x") == describe(loud, "x")
    assert describe(PseudoLabeler(), "x") == describe(PseudoLabeler(n_jobs=2), "x")
