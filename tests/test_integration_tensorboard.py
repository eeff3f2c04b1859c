"""``report_to="tensorboard"``, read back with TensorBoard's own reader."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tiny_classifiers import OPINIONS, SENTENCES, bert_classifier
from tiny_models import ANSWERS, PROMPTS, tiny_learner

from ensemw2s import HFClassifier, TokenAdaBoostGenerator
from ensemw2s.storage import describe


def reporting_to(folder: Path | None, **others: Any) -> dict[str, Any]:
    return {"report_to": "tensorboard", **({} if folder is None else {"output_dir": str(folder)}), **others}


def losses(run: Path) -> list[float]:
    events = EventAccumulator(str(run)).Reload()
    return [event.value for event in events.Scalars("train/loss")]


def history(learner: Any) -> list[float]:
    return [entry["loss"] for entry in learner.history_ if "loss" in entry]


def test_each_round_is_a_run_in_the_folder(tmp_path):
    learner = tiny_learner(epochs=2, training_args=reporting_to(tmp_path / "runs"))
    booster = TokenAdaBoostGenerator(learner, n_estimators=2, reweight=False, random_state=0).fit(PROMPTS, ANSWERS)
    runs = sorted((tmp_path / "runs").iterdir())
    assert [run.name for run in runs] == ["fit-000", "fit-001"]
    for run, member in zip(runs, booster.estimators_, strict=True):
        assert losses(run) == pytest.approx(history(member), rel=1e-6)
        assert len(losses(run)) == 2
    assert losses(runs[0]) != losses(runs[1])


def test_a_classifier_goes_on_behind_the_runs_that_are_there(tmp_path, monkeypatch):
    (tmp_path / "fit-000").mkdir()
    monkeypatch.setenv("TENSORBOARD_LOGGING_DIR", str(tmp_path))
    classifier = bert_classifier(epochs=1, training_args=reporting_to(None))
    classifier.fit(SENTENCES[:4] + SENTENCES[-4:], OPINIONS[:4] + OPINIONS[-4:])
    assert losses(tmp_path / "fit-001") == pytest.approx(history(classifier), rel=1e-6)


def test_nothing_is_reported_by_default(tmp_path, monkeypatch):
    monkeypatch.setenv("TENSORBOARD_LOGGING_DIR", str(tmp_path))
    assert HFClassifier("some/model").training_args is None
    bert_classifier(epochs=1).fit(SENTENCES[:2] + SENTENCES[-2:], OPINIONS[:2] + OPINIONS[-2:])
    assert list(tmp_path.iterdir()) == []


def never() -> Any:
    raise AssertionError("the model was loaded")


@pytest.mark.parametrize("report_to", ["tensorboard", ["tensorboard"], "all"])
def test_a_missing_folder_is_named_before_anything_is_loaded(report_to, monkeypatch):
    monkeypatch.delenv("TENSORBOARD_LOGGING_DIR", raising=False)
    learner = tiny_learner(never, training_args={"report_to": report_to})
    with pytest.raises(ValueError, match=r"training_args must name 'output_dir', the folder for TensorBoard's events"):
        learner.initialize()


def test_a_missing_package_is_named_before_anything_is_loaded(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    with pytest.raises(
        ValueError, match=r"package tensorboard is not installed. Got 'tensorboard'.*pip install tensor"
    ):
        tiny_learner(never, training_args=reporting_to(tmp_path)).initialize()


def test_reports_do_not_make_another_experiment(tmp_path):
    plain, other = tiny_learner(), tiny_learner(training_args={"weight_decay": 0.1})
    quiet = describe(plain, "learner")
    assert describe(tiny_learner(training_args=reporting_to(tmp_path)), "learner") == quiet
    both = tiny_learner(training_args=reporting_to(tmp_path, weight_decay=0.1))
    assert describe(both, "learner") == describe(other, "learner") != quiet
