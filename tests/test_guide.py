"""The code of the guide and how-to pages runs and prints what the pages say; pictures are what their scripts draw."""

from __future__ import annotations

import logging
import re
import sys
from pathlib import Path

import numpy as np
import pytest

from ensemw2s.kernels import _registry

DOCS = Path(__file__).parents[1] / "docs"
PAGES = [
    "../README",
    "index",
    "guide/easy_to_hard",
    "guide/token_boosting",
    "guide/mixture",
    "guide/experts",
    "guide/pseudo_labels",
    "guide/pgr",
    "guide/metrics",
    "howto_own_data",
    "howto_student_loss",
    "howto_chains",
    "howto_notebook",
    "howto_rounds",
    "howto_integrations",
    "howto_gpus",
    "howto_kernels",
]
# Code to be run, and what it prints, if it does. Code that needs a download or a GPU is fenced as {code-block}.
EXAMPLE = re.compile(r"^```python\n(.*?)^```(?:\s*^```text\n(.*?)^```)?", re.DOTALL | re.MULTILINE)


def test_every_guide_page_is_run():
    with_code = {
        page.relative_to(DOCS).with_suffix("").as_posix()
        for page in DOCS.glob("guide/*.md")
        if EXAMPLE.search(page.read_text(encoding="utf-8"))
    }
    assert with_code == {page for page in PAGES if page.startswith("guide/")}


@pytest.fixture
def left_as_found(monkeypatch):
    """A page may register a backend and set up logging; the tests after it see nothing of either."""
    monkeypatch.setattr(_registry, "_LOADERS", dict(_registry._LOADERS))
    monkeypatch.setattr(logging.getLogger(), "handlers", list(logging.getLogger().handlers))
    ours = logging.getLogger("ensemw2s")
    level = ours.level
    yield
    ours.setLevel(level)


@pytest.mark.usefixtures("left_as_found")
@pytest.mark.parametrize("name", PAGES)
@pytest.mark.slow
def test_the_page_prints_what_it_says(name, capsys):
    page = DOCS / f"{name}.md"
    namespace = {"__name__": "example"}
    with np.printoptions():  # what a page sets stays on the page
        for code, output in EXAMPLE.findall(page.read_text(encoding="utf-8")):
            exec(compile(code, str(page), "exec"), namespace)
            assert capsys.readouterr().out == output


@pytest.fixture
def scripts(monkeypatch):
    monkeypatch.syspath_prepend(str(DOCS / "_scripts"))
    yield
    for name in ("idea_picture", "rooms_picture"):
        sys.modules.pop(name, None)


@pytest.mark.usefixtures("scripts")
def test_the_idea_is_drawn_by_its_script():
    from idea_picture import DARK, LIGHT, picture

    for name, palette in (("idea.svg", LIGHT), ("idea_dark.svg", DARK)):
        assert (DOCS / "figures" / name).read_text(encoding="utf-8") == picture(palette)


@pytest.mark.usefixtures("scripts")
def test_the_rooms_are_those_of_the_table(tmp_path):
    from rooms_picture import draw

    draw(tmp_path)
    table = (DOCS / "architecture.md").read_text(encoding="utf-8")
    drawn = re.findall(
        r"<text [^>]*monospace[^>]*>([^<]+)</text>", (tmp_path / "rooms.svg").read_text(encoding="utf-8")
    )
    assert sorted(drawn) == sorted(re.findall(r"^\| \d+ \| `([^`]+)`", table, re.MULTILINE))
