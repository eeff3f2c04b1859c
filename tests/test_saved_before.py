"""Folders that earlier versions have saved give the same answers, the same training, and nothing is computed again."""

from __future__ import annotations

import json
import shutil
from contextlib import nullcontext
from typing import Any

import pytest
from saved_kinds import MODELS, RUNS, SAVED_BY, computer, plain

from ensemw2s import BigramLearner, CheckpointError
from ensemw2s.storage import versions

WRITTEN = {
    folder.name: json.loads((folder / "answers.json").read_text(encoding="utf-8")) for folder in SAVED_BY.iterdir()
}
CASES = [(version, name) for version, written in WRITTEN.items() for name in written["answers"]]

# What scikit-learn says of an estimator of another of its versions.
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.InconsistentVersionWarning")


def check(answers: dict[str, Any], version: str, name: str) -> None:
    """All bits on the kind of computer that has written, a few less elsewhere; texts, labels and keys anywhere."""
    expected = WRITTEN[version]["answers"][name]
    if WRITTEN[version]["computer"] == computer():
        assert json.dumps(plain(answers)) == json.dumps(expected)
    else:
        compare(plain(answers), expected, name)


def compare(found: Any, expected: Any, place: str) -> None:
    if isinstance(expected, dict):
        assert set(found) == set(expected), place
        for key, value in expected.items():
            compare(found[key], value, f"{place}/{key}")
    elif isinstance(expected, list):
        assert len(found) == len(expected), place
        for row, value in enumerate(expected):
            compare(found[row], value, f"{place}[{row}]")
    elif isinstance(expected, float):
        assert found == pytest.approx(expected, rel=1e-4, abs=1e-5, nan_ok=True), place
    else:
        assert found == expected, place


@pytest.mark.parametrize(("version", "name"), [case for case in CASES if case[1] in MODELS])
@pytest.mark.slow
def test_a_saved_folder_gives_the_same_answers(version, name):
    model = MODELS[name]
    check(model.answer(model.read(SAVED_BY / version / name)), version, name)


@pytest.mark.parametrize(("version", "name"), [case for case in CASES if case[1] in MODELS and MODELS[case[1]].fit])
@pytest.mark.slow
def test_what_was_saved_is_trained_again_to_the_bit(version, name):
    if WRITTEN[version]["computer"] != computer():
        pytest.skip("training on another computer rounds otherwise")
    model = MODELS[name]
    check(model.answer(model.fit(model.read(SAVED_BY / version / name))), version, name)


@pytest.mark.parametrize(("version", "name"), [case for case in CASES if case[1] in RUNS])
@pytest.mark.filterwarnings("ignore:.*was computed with")
def test_nothing_of_a_finished_run_is_computed_again(version, name, tmp_path, monkeypatch):
    monkeypatch.setattr(BigramLearner, "fit", None)
    shutil.copytree(SAVED_BY / version / name, tmp_path / name)
    kept = contents(tmp_path / name)
    # Of other versions of packages a sweep is shown with a warning, and a checkpoint is refused, for nothing else.
    refused = WRITTEN[version]["versions"] != versions() and name != "sweep"
    expected = (
        pytest.raises(CheckpointError, match=r"begun with .*:\n(- versions.*\n)+Pass") if refused else nullcontext()
    )
    with expected:
        check(RUNS[name].answer(RUNS[name].run(tmp_path / name)), version, name)
    assert contents(tmp_path / name) == kept


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and not path.name.endswith(".lock")}
