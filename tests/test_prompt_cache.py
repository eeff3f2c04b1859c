"""What is kept of prompts: which ones, when there is not room for all, and what becomes of a disk that is full."""

from __future__ import annotations

import logging
import os
import pathlib
import tempfile
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from tiny_models import fit, tiny_learner

from ensemw2s._forward.memory_limit import memory_limit
from ensemw2s._forward.prompt_cache import PromptCache
from ensemw2s._forward.prompt_file import PromptFile

SIZE = 80  # bytes that are kept of a prompt of two tokens


def key_of(number):
    return np.array([number, number], dtype=np.int64).tobytes()


def state_of(number):
    return (torch.full((1, 1, 2, 5), float(number)), torch.full((1, 1, 2, 5), -float(number)))


class Reader:
    """Asks for prompts as `PromptReader` does, and counts those that have to be read."""

    def __init__(self, monkeypatch, memory, disk=0):
        monkeypatch.setenv("ENSEMW2S_PROMPT_CACHE", f"{memory * SIZE}B")
        monkeypatch.setenv("ENSEMW2S_PROMPT_CACHE_DISK", f"{disk * SIZE}B")
        self.cache, self.n_read = PromptCache(), 0

    def read(self, numbers):
        found = self.cache.find(key_of(number) for number in numbers)
        for number in numbers:
            state = found[key_of(number)]
            assert state is None or all(map(torch.equal, state, state_of(number)))
        missing = [number for number in dict.fromkeys(numbers) if found[key_of(number)] is None]
        self.n_read += len(missing)
        self.cache.add({key_of(number): state_of(number) for number in missing})

    def epoch(self, order, batch_size):
        before = self.n_read
        for start in range(0, len(order), batch_size):
            self.read([int(number) for number in order[start : start + batch_size]])
        return self.n_read - before


# --- which prompts are kept -------------------------------------------------------------------------------------------


@given(
    n_prompts=st.integers(1, 40), room=st.integers(0, 45), batch_size=st.integers(1, 9), n_epochs=st.integers(2, 6),
    shuffled=st.booleans(), seed=st.integers(0, 1000), on_disk=st.booleans(),
)  # fmt: skip
def test_in_epochs_of_any_order_what_is_kept_stays(n_prompts, room, batch_size, n_epochs, shuffled, seed, on_disk):
    rng = np.random.default_rng(seed)
    with pytest.MonkeyPatch.context() as monkeypatch:
        reader = Reader(monkeypatch, 0 if on_disk else room, room if on_disk else 0)
        orders = [rng.permutation(n_prompts) if shuffled else np.arange(n_prompts) for _ in range(n_epochs)]
        reader.epoch(orders[0], batch_size)
        for order in orders[1:]:
            kept = len(reader.cache)
            assert kept <= room
            assert reader.epoch(order, batch_size) == n_prompts - kept
            assert len(reader.cache) >= kept


@pytest.mark.parametrize(("room", "reads"), [(30, 3.0), (15, 4.0), (9, 4.4)])
def test_five_epochs_read_what_was_not_kept(monkeypatch, room, reads):
    reader, rng = Reader(monkeypatch, room), np.random.default_rng(0)
    for _ in range(5):
        reader.epoch(rng.permutation(60), 3)
    assert reader.n_read == 60 * reads


@pytest.mark.parametrize(("memory", "disk"), [(20, 0), (0, 20), (10, 10)])
@pytest.mark.parametrize("seed", range(3))
def test_new_prompts_take_over_where_the_old_are_not_asked_for(monkeypatch, memory, disk, seed):
    reader, rng = Reader(monkeypatch, memory, disk), np.random.default_rng(seed)
    for _ in range(3):
        reader.epoch(rng.permutation(20), 2)
    new = [reader.epoch(100 + rng.permutation(20), 2) for _ in range(4)]
    assert new == [20, 20, 20, 0]
    assert len(reader.cache) == 20


@pytest.mark.parametrize("text", ["", " "])
def test_an_empty_limit_in_the_environment_is_the_default(text, monkeypatch):
    monkeypatch.setenv("ENSEMW2S_PROMPT_CACHE", text)
    assert memory_limit("ENSEMW2S_PROMPT_CACHE", "2KB") == 2000


def test_prompts_that_are_asked_for_stay_among_new_ones(monkeypatch):
    reader = Reader(monkeypatch, 20)
    reader.epoch(np.arange(20), 2)
    for _ in range(4):
        reader.epoch(100 + np.arange(40), 2)
        assert reader.epoch(np.arange(10), 2) == 0
    assert reader.epoch(100 + np.arange(40), 2) == 30


def test_a_full_cache_says_so_once(monkeypatch, caplog):
    reader = Reader(monkeypatch, 5)
    with caplog.at_level(logging.WARNING, logger="ensemw2s"):
        reader.epoch(np.arange(5), 1)
        assert not caplog.messages
        for _ in range(3):
            reader.epoch(np.arange(9), 1)
    [message] = caplog.messages
    assert message.startswith("5 prompts are kept for adapt='answer', and there is no room for more")
    assert "A token takes 40 bytes" in message
    assert "ENSEMW2S_PROMPT_CACHE (memory) and ENSEMW2S_PROMPT_CACHE_DISK (files)" in message


def test_a_cache_that_is_switched_off_says_nothing(monkeypatch, caplog):
    Reader(monkeypatch, 0).epoch(np.arange(5), 1)
    assert not caplog.messages


# --- disks that cannot be written -------------------------------------------------------------------------------------


@contextmanager
def full_disk(room=100):
    """No file of this process can become larger, as where a disk is full."""
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_is_named_once_and_what_is_kept_stays(monkeypatch, caplog, tmp_path):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    reader = Reader(monkeypatch, 2, 100)
    reader.epoch(np.arange(10), 2)
    with full_disk():
        assert reader.epoch(np.arange(20), 2) == 10
    assert len(reader.cache) == 10
    assert reader.epoch(np.arange(20), 2) == 10
    assert [message for message in caplog.messages if "could not be written" in message] == caplog.messages[:1]
    assert "Prompts for adapt='answer' are no longer kept in files" in caplog.messages[0]
    assert not list(tmp_path.iterdir())
    reader.cache.clear()
    reader.epoch(np.arange(10), 2)
    assert len(reader.cache) == 10  # there may be room again


def test_a_folder_that_is_gone_is_named(monkeypatch, caplog, tmp_path):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    reader = Reader(monkeypatch, 0, 100)
    reader.epoch(np.arange(4), 2)
    assert len(reader.cache) == 0
    assert "gone" in caplog.messages[0]


@pytest.mark.slow
def test_training_goes_on_where_the_disk_is_full(monkeypatch, caplog):
    learner = tiny_learner(adapt="answer", prompt_template="Q {prompt}\nA:", epochs=2, batch_size=2)
    expected = fit(learner).adapter_
    monkeypatch.setenv("ENSEMW2S_PROMPT_CACHE", "0")
    learner._host().forget_prompts()
    with full_disk():
        fit(learner)
    for name, tensor in expected.items():
        assert_array_equal(learner.adapter_[name], tensor)
    assert "no longer kept in files" in caplog.messages[0]
    learner._host().forget_prompts()


# --- files that are damaged -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("damage", ["cut", "flipped", "emptied", "zeros"])
def test_a_damaged_file_is_noticed_and_what_was_in_it_is_made_again(monkeypatch, caplog, tmp_path, damage):
    """The file has no name, as long as it can be had without one: it is kept from losing it, to be damaged."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(pathlib.Path, "unlink", lambda path: None)
    reader = Reader(monkeypatch, 0, 100)
    reader.epoch(np.arange(20), 2)
    assert reader.epoch(np.arange(20), 2) == 0
    [path] = tmp_path.glob("*/*")
    content = bytearray(path.read_bytes())
    assert len(content) == 20 * SIZE
    if damage == "flipped":
        content[7 * SIZE + 3] ^= 1
        path.write_bytes(content)
    elif damage == "zeros":
        path.write_bytes(bytes(len(content)))
    else:
        os.truncate(path, len(content) // 2 if damage == "cut" else 0)
    n_damaged = {"cut": 10, "flipped": 1, "emptied": 20, "zeros": 20}[damage]
    assert reader.epoch(np.arange(20), 2) == n_damaged
    assert len([message for message in caplog.messages if "is damaged there" in message]) == n_damaged
    assert reader.epoch(np.arange(20), 2) == 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_tensors_come_back_from_a_file_to_the_bit(tmp_path, dtype):
    state = torch.randn(1, 2, 3, 4).to(dtype), torch.randn(1, 2, 0, 4).to(dtype)
    stored = PromptFile(tmp_path / "prompts").write(state)
    assert not list(tmp_path.iterdir())
    for tensor, read in zip(state, stored.read(), strict=True):
        assert read.dtype == dtype
        assert torch.equal(read, tensor)


def test_few_files_are_open_however_many_batches_are_kept(monkeypatch, tmp_path):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    before = len(os.listdir("/proc/self/fd"))
    reader = Reader(monkeypatch, 0, 2000)
    reader.epoch(np.arange(1000), 1)
    assert len(os.listdir("/proc/self/fd")) <= before + 2  # the file, and the lock on its folder
