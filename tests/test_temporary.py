"""Temporary folders: which are removed, and which are left alone."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

from ensemw2s.storage import _temporary
from ensemw2s.storage._temporary import hold_folder, temporary_folder

pytest.importorskip("fcntl")


@pytest.fixture
def place(tmp_path, monkeypatch) -> Path:
    """The folder for temporary files, of a process that has not looked into it yet."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    _temporary._remove_abandoned.cache_clear()
    yield tmp_path
    _temporary._remove_abandoned.cache_clear()


def test_a_folder_is_there_for_the_length_of_its_block(place):
    with temporary_folder("kind") as folder:
        assert Path(folder).parent == place
        assert Path(folder).name.startswith("ensemw2s-tmp-kind-")
    assert not list(place.iterdir())


def test_folders_of_killed_processes_are_removed_and_no_others(place):
    for name in ("ensemw2s-tmp-dead", "ensemw2s-tmp-alive", "ensemw2s-tmp-new", "other"):
        (place / name).mkdir()
        (place / name / "file").touch()
        if name != "ensemw2s-tmp-new":
            os.utime(place / name, (0, 0))
    elsewhere = place / "ensemw2s-tmp-link"
    elsewhere.symlink_to(place / "other")
    held = hold_folder(str(place / "ensemw2s-tmp-alive"))
    with temporary_folder("kind"):
        left = {path.name for path in place.iterdir() if not path.name.startswith("ensemw2s-tmp-kind")}
    os.close(held)
    assert left == {"ensemw2s-tmp-alive", "ensemw2s-tmp-new", "ensemw2s-tmp-link", "other"}
    assert (place / "other" / "file").exists()


def test_a_running_block_holds_its_folder(place):
    with temporary_folder("kind") as folder:
        os.utime(folder, (0, 0))
        _temporary._remove_abandoned.cache_clear()
        with temporary_folder("kind"):
            assert Path(folder).exists()
