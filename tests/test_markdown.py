"""Every table in Markdown: a name with a bar, a backslash or a line break stays in its cell."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pytest

from ensemw2s import BigramLearner, SweepResult, W2SReport, make_qa, paper, run_sweep
from ensemw2s._cli._estimate import RunCost, dry_run_table
from ensemw2s._markdown import table_lines

NAME = "a|b\\|c\nd"


def cells(line):
    """Cells of a row, by GitHub's rule: a backslash and what follows it do not end a cell."""
    assert line.startswith("| ")
    assert line.endswith(" |")
    return [re.sub(r"\\([\\|])", r"\1", cell.strip()) for cell in re.findall(r"((?:\\.|[^|\\])+)\|", line[1:])]


@pytest.mark.parametrize("text", ["a|b", "a\\|b", "a\\\\|b", "|", "||", "\\", "C:\\models\\weak", "a\nb", "a\r\nb|"])
def test_a_cell_stays_one_cell_and_reads_as_it_was(text):
    head, _, row = table_lines([text, "second"], [["x", text]])
    assert cells(head) == [" ".join(text.splitlines()), "second"]
    assert cells(row) == ["x", " ".join(text.splitlines())]


@pytest.fixture(scope="module")
def swept():
    learner = BigramLearner()
    return run_sweep(
        [((NAME, learner), ("strong|er", BigramLearner(smoothing=0.1)))], dataset=make_qa(60, random_state=0), seeds=1,
        splits=["random"], n_estimators=2, variants={"x|y": {"prior": "uniform"}},
    )  # fmt: skip


def tables(swept):
    report = W2SReport({"weak": np.ones(3)}, votes=np.ones(1), stop_reason="a|b")
    yield report.to_markdown()
    yield swept.to_markdown()
    both = SweepResult([*swept.records, *({**record, "dataset": "p|q"} for record in swept.records)])
    yield both.to_markdown()
    yield paper.table(3, swept).to_markdown()
    yield paper.PaperTable("t", pd.DataFrame({"u|v": ["w|x"]}, index=pd.Index([NAME], name="n|m"))).to_markdown()
    yield dry_run_table([RunCost(NAME, False, 1.0, 1.0, "")])


@pytest.mark.slow
def test_every_table_has_as_many_cells_in_each_row(swept):
    for text in tables(swept):
        head, _, *rows = (line for line in text.splitlines() if line.startswith("|"))
        assert len(rows) >= 1
        assert {len(cells(row)) for row in rows} == {len(cells(head))}
