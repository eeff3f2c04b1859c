"""Results on disk: computed once, committed whole, noticed when damaged."""

from __future__ import annotations

import copy
import hashlib
import json
import multiprocessing
import os
import threading
from collections import defaultdict
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
from sweep_learners import ask_for_one_result

from ensemw2s import BigramLearner, CheckpointError, HFCausalLM, PseudoLabeler, QADataset, byte_tokenizer
from ensemw2s.experiments._record import pack_bits, unpack_bits
from ensemw2s.experiments._store import ResultStore
from ensemw2s.storage import describe, describe_model, digest, versions


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


@pytest.mark.slow
def test_two_processes_that_need_one_result_compute_it_once(tmp_path):
    log = tmp_path / "log"
    context = multiprocessing.get_context("spawn")
    together = context.Barrier(2)
    processes = [context.Process(target=ask_for_one_result, args=(tmp_path, log, together)) for _ in range(2)]
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


def test_a_flipped_bit_in_any_byte_of_a_result_is_noticed(tmp_path):
    store, value = ResultStore(tmp_path), {"value": 12345, "chance": float("nan")}
    store.get("kind", {"a": 1}, lambda: value)
    path = store.path("kind", {"a": 1})
    whole = path.read_bytes()
    for place in range(len(whole)):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << place % 8
        path.write_bytes(damaged)
        with pytest.raises(CheckpointError, match=path.name):
            store.read_record(path)


def test_what_is_no_plain_file_with_its_own_name_is_refused(tmp_path):
    store = ResultStore(tmp_path)
    store.get("kind", {"a": 1}, lambda: {"value": 1})
    path = store.path("kind", {"a": 1})
    copied, link, pipe, folder, deep, listed = (path.with_name(f"{name}.json") for name in "abcdef")
    copied.write_bytes(path.read_bytes())  # it would be a further seed
    link.symlink_to(path)
    os.mkfifo(pipe)
    folder.mkdir()
    deep.write_text("[" * 100_000)
    listed.write_text("[]")
    for other in (copied, link, pipe, folder, deep, listed):
        with pytest.raises(CheckpointError, match=other.name):
            store.read_record(other)


def test_a_result_of_an_early_version_is_read(tmp_path):
    body = {"description": {"a": 1}, "seconds": {"wall": 1.0, "cpu": 1.0}, "result": {"value": [float("nan"), 1.5]}}
    checksum = hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
    path = ResultStore(tmp_path).path("kind", {"a": 1})
    path.parent.mkdir()
    path.write_text(json.dumps({"format": 1, "ensemw2s": "0.0.1", "sha256": checksum, "body": body}))
    assert ResultStore(tmp_path).get("kind", {"a": 1}, lambda: 0)["value"][1] == 1.5


def test_more_is_not_computed_from_results_of_other_versions(tmp_path, monkeypatch):
    ResultStore(tmp_path).get("kind", {"a": 1}, lambda: {"value": 1})
    now = {**versions(), "torch": "9.9"}
    monkeypatch.setattr("ensemw2s.experiments._store.versions", lambda: now)
    with pytest.raises(CheckpointError, match=r"was computed with torch \S+ \(now 9\.9\)\. What is still missing"):
        ResultStore(tmp_path).get("kind", {"a": 1}, lambda: 0)
    assert ResultStore(tmp_path, for_more=False).get("kind", {"a": 1}, lambda: 0) == {"value": 1}


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


class Named(list):
    """A list with more to it than its entries."""

    def __init__(self, entries, name=None):
        super().__init__(entries)
        self.name = name


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
        (Named([1], 2), Named([1], 3)),
        (defaultdict(int, a=1), defaultdict(float, a=1)),
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
