"""Folders that are there as a whole or not at all, and are verified before they are parsed."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from ensemw2s import CheckpointError
from ensemw2s.storage import commit_folder, commit_text, decode, encode, open_folder, write_arrays
from ensemw2s.storage._json import checksum, dump_json


@pytest.fixture
def stored(tmp_path):
    """A folder with one file of each kind."""
    with commit_folder(tmp_path / "thing", kind="Thing") as folder:
        (folder / "members" / "0").mkdir(parents=True)
        (folder / "settings.json").write_text('{"value": 12345}')
        (folder / "vocabulary.txt").write_text("a b c")
        write_arrays(folder / "members" / "0" / "numbers.safetensors", {"numbers": np.arange(5.0)})
    return tmp_path / "thing"


def relist(folder: Path, **changes: object) -> None:
    """Change the manifest as somebody would who knows how its checksum is made."""
    body = json.loads((folder / "manifest.json").read_text())["body"]
    body.update(changes)
    (folder / "manifest.json").write_text(dump_json({"body": body, "sha256": checksum(body)}))


def files_of(folder: Path) -> dict:
    return json.loads((folder / "manifest.json").read_text())["body"]["files"]


def test_a_committed_folder_holds_what_was_written(stored):
    folder = open_folder(stored, kind="Thing")
    assert folder.json("settings.json") == {"value": 12345}
    assert folder.arrays("members/0/numbers.safetensors")["numbers"].tolist() == [0, 1, 2, 3, 4]
    assert [path.name for path in stored.parent.iterdir()] == ["thing"]


def test_all_files_can_be_read_by_those_who_can_read_one(stored):
    assert len({path.stat().st_mode for path in stored.rglob("*.*")}) == 1


def test_a_block_that_fails_leaves_nothing(tmp_path):
    with pytest.raises(IsADirectoryError), commit_folder(tmp_path / "thing", kind="Thing") as folder:
        folder.write_text("{}")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_holds_something_is_left_alone(stored):
    with (
        pytest.raises(FileExistsError, match=r"thing must be a new or an empty folder\. Delete it"),
        commit_folder(stored, kind="Thing"),
    ):
        pass
    open_folder(stored, kind="Thing")


def write_two_at_once(path):
    with commit_folder(path, kind="Second") as second, commit_folder(path, kind="First") as first:
        (first / "settings.json").write_text("1")
        (second / "settings.json").write_text("2")


def test_of_two_writers_the_second_is_refused(tmp_path):
    with pytest.raises(FileExistsError, match="thing must be a new or an empty folder"):
        write_two_at_once(tmp_path / "thing")
    assert open_folder(tmp_path / "thing", kind="First").json("settings.json") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["thing"]


def test_an_empty_folder_is_filled(tmp_path):
    with commit_folder(tmp_path, kind="Thing") as folder:
        (folder / "settings.json").write_text("{}")
    assert open_folder(tmp_path, kind="Thing").files == {"settings.json"}


KILLED = """
import os, signal, sys
from ensemw2s.storage import commit_folder

def strike(*args):
    os.kill(os.getpid(), signal.SIGKILL)

if sys.argv[2] == "before rename":
    os.rename = strike
with commit_folder(sys.argv[1], kind="Thing") as folder:
    (folder / "settings.json").write_text("{}")
    if sys.argv[2] == "while writing":
        strike()
"""


@pytest.mark.parametrize("when", ["while writing", "before rename"])
@pytest.mark.slow
def test_a_killed_process_leaves_no_folder_under_the_final_name(tmp_path, when):
    done = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path / "thing"), when], timeout=120, check=False)
    assert done.returncode == -signal.SIGKILL
    assert not (tmp_path / "thing").exists()
    with commit_folder(tmp_path / "thing", kind="Thing") as folder:  # and is not in the way of the next
        (folder / "settings.json").write_text("{}")


def test_everything_is_synchronised_before_the_rename(tmp_path, monkeypatch):
    events = []
    sync, rename = os.fsync, os.rename
    monkeypatch.setattr(
        os, "fsync", lambda handle: events.append(os.readlink(f"/proc/self/fd/{handle}")) or sync(handle)
    )
    monkeypatch.setattr(os, "rename", lambda *paths: events.append("rename") or rename(*paths))
    with commit_folder(tmp_path / "thing", kind="Thing") as folder:
        (folder / "a").mkdir()
        (folder / "a" / "settings.json").write_text("{}")
    before = events[: events.index("rename")]
    assert {os.path.relpath(path, folder) for path in before} == {"a/settings.json", "a", "manifest.json", "."}
    assert events[events.index("rename") :] == ["rename", str(tmp_path)]


def test_a_full_disk_is_named_and_leaves_nothing(tmp_path, monkeypatch):
    def full(handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with (
        pytest.raises(OSError, match=r"thing could not be written: No space left on device"),
        commit_folder(tmp_path / "thing", kind="Thing") as folder,
    ):
        (folder / "settings.json").write_text("{}")
    assert list(tmp_path.iterdir()) == []


def test_a_text_that_cannot_be_written_leaves_the_old_one(tmp_path, monkeypatch):
    commit_text(tmp_path / "result.json", "old")

    def full(handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=r"result\.json could not be written: No space left on device"):
        commit_text(tmp_path / "result.json", "new")
    assert [path.read_text() for path in tmp_path.iterdir()] == ["old"]


def test_what_is_parsed_is_what_was_hashed(stored):
    """With a writer beside the reader: a file that is replaced after it was verified is not taken for it."""
    folder = open_folder(stored, kind="Thing")
    (stored / "settings.json").write_text('{"value": 54321}')
    write_arrays(stored / "members" / "0" / "numbers.safetensors", {"numbers": np.arange(5.0) + 1})
    for read in (
        lambda: folder.json("settings.json"),
        lambda: folder.arrays("members/0/numbers.safetensors"),
        lambda: folder.tensors("members/0/numbers.safetensors"),
        lambda: folder.part("members").part("0").arrays("numbers.safetensors"),
    ):
        with pytest.raises(CheckpointError, match=r"(settings\.json|numbers\.safetensors) is damaged"):
            read()


NAMES = ["manifest.json", "settings.json", "vocabulary.txt", "members/0/numbers.safetensors"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("damage", ["cut", "bit", "deleted", "emptied", "longer", "folder"])
def test_a_damaged_file_is_named(stored, name, damage):
    path = stored / name
    content = bytearray(path.read_bytes())
    path.unlink()
    if damage == "cut":
        path.write_bytes(content[:-1])
    elif damage == "bit":
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
    elif damage == "emptied":
        path.write_bytes(b"")
    elif damage == "longer":
        path.write_bytes(content + b" ")
    elif damage == "folder":
        path.mkdir()
    with pytest.raises(CheckpointError, match=rf"{path.name} (is damaged|is missing|is no plain file).*again"):
        open_folder(stored, kind="Thing")


def test_every_flipped_bit_of_the_manifest_is_noticed(stored):
    path = stored / "manifest.json"
    content = path.read_bytes()
    for place in range(len(content)):
        damaged = bytearray(content)
        damaged[place] ^= 1 << (place % 8)
        path.write_bytes(damaged)
        with pytest.raises(CheckpointError, match=r"manifest\.json"):
            open_folder(stored, kind="Thing")


def test_a_file_that_is_not_listed_is_refused(stored):
    (stored / "members" / "0" / "model.safetensors.index.json").write_text("{}")
    with pytest.raises(CheckpointError, match=r"index\.json is not listed in manifest\.json"):
        open_folder(stored, kind="Thing")


def test_the_readme_of_a_repository_is_not_in_the_way(stored):
    before = open_folder(stored, kind="Thing").files
    (stored / "README.md").write_text("# Mine")
    assert open_folder(stored, kind="Thing").files == before


def test_another_kind_is_refused(stored):
    with pytest.raises(CheckpointError, match=r"holds a Thing, not a Member; open it with Thing"):
        open_folder(stored, kind="Member")


def test_a_newer_format_is_refused(stored):
    relist(stored, format=2)
    with pytest.raises(CheckpointError, match=r"has format 2; this version of ensemw2s reads 1"):
        open_folder(stored, kind="Thing")


@pytest.mark.parametrize(
    "name",
    [
        "../outside.json", "members/../../outside.json", "/etc/passwd.json", "members//0.json", "./settings.json",
        "members\\..\\outside.json", "C:/outside.json", "", ".json", "~/outside.json", "a\0b.json",
        "weights.bin", "weights.pt", "weights.pkl", "code.py", "manifest.json", "members/0", "x" * 300 + ".json",
        "a/" * 12 + "b.json",
    ],
)  # fmt: skip
def test_a_name_that_leads_out_or_to_code_is_refused(stored, name):
    (stored.parent / "outside.json").write_text("{}")
    entry = {"size": 2, "sha256": checksum({})}
    relist(stored, files={**files_of(stored), name: entry})
    with pytest.raises(CheckpointError, match=r"manifest\.json lists .*Do not use it"):
        open_folder(stored, kind="Thing")


@pytest.mark.parametrize("size", [10**15, -1, "5", 1.0, True, None])
def test_a_declared_size_that_is_not_the_files_is_refused(stored, size):
    files = files_of(stored)
    files["settings.json"]["size"] = size
    relist(stored, files=files)
    with pytest.raises(CheckpointError, match=r"settings\.json is damaged: it has|manifest\.json is no list of files"):
        open_folder(stored, kind="Thing")


@pytest.mark.parametrize("name", ["settings.json", "members", "members/0", "manifest.json"])
def test_a_link_is_refused(stored, name):
    moved = stored.parent / "moved"
    (stored / name).rename(moved)
    (stored / name).symlink_to(moved)
    with pytest.raises(CheckpointError, match=rf"{Path(name).name} is a link"):
        open_folder(stored, kind="Thing")


@pytest.mark.timeout(60)
def test_a_pipe_is_refused_and_not_waited_for(stored):
    (stored / "settings.json").unlink()
    os.mkfifo(stored / "settings.json")
    with pytest.raises(CheckpointError, match=r"settings\.json is no plain file"):
        open_folder(stored, kind="Thing")


@pytest.mark.parametrize(
    "text",
    ['{"a": NaN}', '{"a": 1, "a": 2}', "[" * 100_000, "[" * 200 + "]" * 200, '{"a": 1' + "0" * 5000 + "}", "\ufeff{}"],
)
def test_odd_json_is_refused(tmp_path, text):
    with commit_folder(tmp_path / "thing", kind="Thing") as folder:
        (folder / "settings.json").write_text(text)
    with pytest.raises(CheckpointError, match=r"settings\.json is damaged: it is no JSON"):
        open_folder(tmp_path / "thing", kind="Thing").json("settings.json")


def test_a_huge_manifest_is_not_parsed(stored):
    os.truncate(stored / "manifest.json", 2**40)  # sparse: it takes no room on the disk
    with pytest.raises(CheckpointError, match=r"manifest\.json has 1,099,511,627,776 bytes, more than"):
        open_folder(stored, kind="Thing")


@pytest.mark.parametrize(
    "settings", [{"auto_map": {}}, {"text_config": [{"auto_map": 1}]}, {"attn_implementation": "someone/kernel"}]
)
def test_a_configuration_that_asks_for_code_is_not_saved(tmp_path, settings):
    with (
        pytest.raises(ValueError, match=r"config\.json cannot be saved: its '\w+' asks for code"),
        commit_folder(tmp_path / "thing", kind="Thing") as folder,
    ):
        (folder / "config.json").write_text(json.dumps(settings))
    assert list(tmp_path.iterdir()) == []


def equal(one, other):
    if isinstance(one, np.ndarray):
        return (
            type(other) is np.ndarray
            and one.dtype == other.dtype
            and np.array_equal(one, other, equal_nan=one.dtype.kind == "f")
        )
    if isinstance(one, dict):
        return list(one) == list(other) and all(equal(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and type(one) is type(other) and all(map(equal, one, other))
    if isinstance(one, float):
        return type(other) is float and (one.hex() == other.hex() or (math.isnan(one) and math.isnan(other)))
    return type(one) is type(other) and one == other


PLAIN = st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(exclude_categories=["Cs"]))
ARRAYS = hnp.arrays(
    st.sampled_from(["<f8", "<f4", "<i8", "|u1", "|b1", "<U3"]),
    hnp.array_shapes(min_dims=0, max_dims=2, min_side=0, max_side=3),
)
KEYS = st.text("$ab", max_size=3) | st.integers()
VALUES = st.recursive(
    PLAIN | ARRAYS | st.sets(st.integers()),
    lambda inner: st.lists(inner, max_size=3) | st.tuples(inner) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=8,
)


@given(VALUES)
def test_values_survive_json_to_the_bit(value):
    assert equal(value, decode(json.loads(json.dumps(encode(value, "value"), allow_nan=False))))


@pytest.mark.parametrize("value", [lambda: 1, object(), {"a": [print]}, np.array([object()]), np.array([1j])])
def test_a_value_that_cannot_be_written_is_named(value):
    with pytest.raises(TypeError, match=r"thing\S* cannot be saved"):
        encode(value, "thing")


@pytest.mark.parametrize(
    "encoded",
    [
        {"$code": "print()"}, {"$float": "1"}, {"$tuple": 1}, {"$set": [], "more": 1},
        {"$array": {"dtype": "O", "shape": [1], "values": [1]}},
        {"$array": {"dtype": "<U1", "shape": [1], "values": ["long"]}},
        {"$array": {"dtype": "<f8", "shape": [10**12], "values": [0.0]}},
        {"$array": {"dtype": "V8", "shape": [1], "values": [0]}},
    ],
)  # fmt: skip
def test_what_was_not_encoded_is_refused(encoded):
    with pytest.raises(ValueError, match=r"unknown|is no value|cannot have|values of another kind|longer texts"):
        decode(encoded)
