"""The gallery of the documentation: which scripts are in it, and what they share. The build of the pages runs them."""

from __future__ import annotations

import ast
import json
import re
import runpy
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

import ensemw2s
from ensemw2s import TokenAdaBoostGenerator, check_weak_learner, make_qa, word_tokenizer

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "examples"
PAGES = sorted([*EXAMPLES.glob("plot_*.py"), *EXAMPLES.glob("notebooks/*.py")])


@pytest.fixture
def settings(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")  # what the settings change is undone after the test
    monkeypatch.setattr(sys, "path", list(sys.path))
    return runpy.run_path(str(ROOT / "docs" / "conf.py"))["sphinx_gallery_conf"]


@pytest.fixture
def next_word(monkeypatch):
    monkeypatch.syspath_prepend(str(EXAMPLES))
    import next_word

    yield next_word
    sys.modules.pop("next_word", None)


def test_the_gallery_takes_its_pages_and_no_other_script(settings):
    taken = [path for path in EXAMPLES.rglob("*.py") if not re.search(settings["ignore_pattern"], path.name)]
    assert sorted(taken) == PAGES
    assert all(re.search(settings["filename_pattern"], str(path)) for path in taken)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_has_a_title_a_story_and_a_figure(page):
    source = page.read_text(encoding="utf-8")
    title, line, blank, *story = ast.get_docstring(ast.parse(source)).splitlines()
    assert set(line) == {"="}
    assert len(line) == len(title)
    assert blank == ""
    assert len(" ".join(story)) > 100
    assert re.search(r"Display\W|plt\.subplots", source)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_imports_public_names_and_seeds_what_it_draws(page):
    tree = ast.parse(page.read_text(encoding="utf-8"))
    names = {
        alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module == "ensemw2s"
        for alias in node.names
    }
    assert names <= set(ensemw2s.__all__)
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") in {"make_qa", "make_corpus", "EasyHardSplit"}:
            assert "random_state" in {keyword.arg for keyword in node.keywords}, ast.unparse(node)


@pytest.fixture
def standalone(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "docs" / "_scripts"))
    import standalone_downloads

    yield standalone_downloads
    sys.modules.pop("standalone_downloads", None)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_download_needs_no_file_beside_it(page, standalone):
    source = standalone.standalone(page.read_text(encoding="utf-8"), ROOT)
    beside = {path.stem for path in EXAMPLES.glob("*.py")}
    imported = {
        name
        for node in ast.walk(ast.parse(source))
        for name in (
            [node.module] if isinstance(node, ast.ImportFrom) else [a.name for a in getattr(node, "names", [])]
        )
    }
    assert not imported & beside
    assert '"../' not in source


def test_a_downloaded_archive_runs_in_an_empty_folder(standalone, tmp_path, monkeypatch):
    """A script that shares a learner, one that reads a table, and a notebook of which the cells are run one by one."""
    shared = "from __future__ import annotations\n\nfrom next_word import tree\n\nfrom ensemw2s import word_tokenizer\n"
    script = f"{shared}learner = tree(3, word_tokenizer(['a b']))\n"
    table = (
        'import pandas as pd\nfrom pathlib import Path\nframe = pd.read_csv(Path("../docs/tables/offline_sweep.csv"))\n'
    )
    cells = [{"cell_type": "markdown", "source": [shared]}, {"cell_type": "code", "source": script.splitlines(True)}]
    files = {"a.py": script, "b.py": table, "c.ipynb": json.dumps({"cells": cells})}
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    standalone.rewrite(tmp_path, ROOT)
    standalone.rewrite(tmp_path, ROOT)  # as a second build does
    monkeypatch.chdir(tmp_path)
    zipfile.ZipFile("all.zip").extractall()
    assert len(runpy.run_path("a.py")["learner"].tokenizer) > 2
    assert runpy.run_path("b.py")["frame"].shape == (84, 12)
    markdown, code = json.loads(Path("c.ipynb").read_text())["cells"]
    assert markdown["source"] == [shared]
    found: dict = {}
    exec(code["source"], found)
    assert found["learner"].smoothing == 0.01


def test_the_learner_of_the_pages_is_complete(next_word):
    check_weak_learner(next_word.tree(4, word_tokenizer(["a b c d e f ="])))


def test_the_learner_of_the_pages_sees_what_has_come_and_nothing_later(next_word):
    questions = make_qa(40, difficulty=(3, 3), random_state=0)
    learner = next_word.tree(8, word_tokenizer([*questions.prompts, "="]))
    booster = TokenAdaBoostGenerator(learner, n_estimators=1, prior="uniform", random_state=0).fit(questions)
    ids = np.array([learner.tokenizer.encode(f"{questions.prompts[0]} = {questions.answers[0]}")])
    logits = booster.estimators_[0].token_logits(ids, np.ones_like(ids))
    for length in range(1, ids.shape[1]):
        alone = booster.estimators_[0].token_logits(ids[:, :length], np.ones((1, length)))
        np.testing.assert_allclose(alone[0, -1], logits[0, length - 1], rtol=1e-6)


@pytest.mark.usefixtures("next_word")
def test_the_chains_of_the_example_run(capsys):
    scores = runpy.run_path(str(EXAMPLES / "chains.py"))["main"](60)
    printed = capsys.readouterr().out.splitlines()
    assert [line[:35].rstrip() for line in printed] == list(scores)
    assert [float(line[35:]) for line in printed] == [round(score, 3) for score in scores.values()]
    assert len(scores) == 5
