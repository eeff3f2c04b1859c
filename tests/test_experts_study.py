"""``examples/experts_study.py`` from one end to the other, on models that have learnt next to nothing."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import pytest

from ensemw2s import make_corpus, make_qa, word_tokenizer

PATH = Path(__file__).parents[1] / "examples" / "experts_study.py"


@pytest.fixture
def study(monkeypatch):
    monkeypatch.syspath_prepend(str(PATH.parent))
    spec = importlib.util.spec_from_file_location("experts_study", PATH)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "experts_study", module)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def model(study, tmp_path):
    """A folder with a model that knows little more than which words there are."""
    from _small_models import pretrain
    from transformers.utils import logging

    corpus = make_corpus(300, random_state=0)
    tokenizer = word_tokenizer([*corpus, *make_qa(300, random_state=0).prompts, "="])
    folder = pretrain(tmp_path / "model", corpus, tokenizer, layers=2, width=16, heads=2, steps=30, lr=1e-2)
    logging.enable_progress_bar()  # the script, alone in its process, has switched them off
    return folder


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::ensemw2s.EarlyStopWarning", "ignore:No expert tells:UserWarning")
def test_a_second_run_reads_what_the_first_has_computed(study, model, tmp_path, capsys, monkeypatch):
    out = tmp_path / "out"
    options = ["--out", str(out), "--seeds", "0", "1", "--weak", model, "--student", model, "--limit", "8"]
    study.main(options)
    printed = capsys.readouterr().out
    files = sorted(out.rglob("*.json"))
    assert f"{len(files)} computed" in printed
    units = {path.stem for path in files if path.parent.name == "seed0"}
    students = {f"student-{labels}-{form}" for labels in study.STUDENTS for form in study.FORMS}
    assert {"longer", "lora", "boosted", "bagged", "all-held-out", "kinds-boosted", *students} <= units
    written = {path: path.stat().st_mtime_ns for path in files}

    lost = out / "offline" / "seed1" / "all-even.json"
    before = json.loads(lost.read_text())
    lost.unlink()
    for learner in ("HFCausalLM", "HFVerifier"):
        monkeypatch.delattr(study, learner)  # so that whatever would be trained again is an error
    study.main(options)
    assert "units of work: 1 computed" in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in files if path != lost} == {
        path: time for path, time in written.items() if path != lost
    }
    assert {**json.loads(lost.read_text()), "cpu_seconds": 0} == {**before, "cpu_seconds": 0}

    study.main(["--report", "--out", str(out)])
    tables = capsys.readouterr().out
    for row in ("generator", "equal compute", "bagged", "all, held-out", "kinds boosted", "soft pool"):
        assert f"\n| {row} | " in tables
    with pytest.raises(SystemExit, match="begun with other settings"):
        study.main([*options[:-1], "7"])


def test_credit_and_the_order_of_near_duplicates(study):
    assert study.credit([[1.0, 0.0, 1.0], [0.0, 2.0], [3.0, 1.0]], [0, 1, 1]) == [0.5, 1.0, 0.0]
    prompts = [
        "A heavy ball rolls how much more slowly",
        "Why?",
        "A heavy ball rolls how much less slowly",
        "When is it?",
    ]
    assert study.together(prompts).tolist() == [0, 2, 1, 3]


def test_what_data_sets_differ_by_is_no_error_of_their_mean(study):
    """Two data sets of two seeds: .3 and .5, and .0 and .2; a seed deviates by .1, t of 2 degrees is 4.303."""
    differences = [np.full(1000, mean) for mean in (0.3, 0.5, 0.0, 0.2)]
    items = [number * 10**8 + np.arange(1000) + 1000 * seed for number in (0, 1) for seed in (0, 1)]
    low, high = study.interval_over_datasets(differences, items)
    # Within data sets the variance is (4 * .1 ** 2) / 2, and that of the mean of four seeds a quarter of it.
    assert (low, high) == pytest.approx((0.25 - 4.302653 * 0.005**0.5, 0.25 + 4.302653 * 0.005**0.5))

    one_seed = [np.array([1.0, 0.0] * 50), np.array([1.0, -1.0] * 50)]
    low, high = study.interval_over_datasets(one_seed, [np.arange(100), 10**8 + np.arange(100)])
    # No spread of seeds is known; over items the means' variances are .25 / 100 and 1 / 100.
    assert (low, high) == pytest.approx((0.25 - 1.96 * 0.0125**0.5 / 2, 0.25 + 1.96 * 0.0125**0.5 / 2))
