"""The notebooks, converted from their scripts as `make notebooks` does, run to the end without a word on stderr."""

from __future__ import annotations

from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / "examples" / "notebooks"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["quick_tour", "research_workflow"])
def test_the_notebook_runs(name, monkeypatch):
    import jupytext
    from nbclient import NotebookClient

    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # the kernel shares the cores with other tests
    monkeypatch.delenv("MPLBACKEND", raising=False)  # a kernel shows figures in the notebook
    notebook = jupytext.read(FOLDER / f"{name}.py")
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(FOLDER)}}).execute()

    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    outputs = [output for cell in code for output in cell.outputs]
    assert [output.text for output in outputs if output.get("name") == "stderr"] == []
    assert sum("image/png" in output.get("data", {}) for output in outputs) >= 1
    assert notebook.cells[0].cell_type == "markdown"
    assert notebook.cells[0].source.startswith(f"{name.replace('_', ' ').capitalize()}\n===")


def test_every_notebook_is_run():
    assert sorted(path.stem for path in FOLDER.glob("*.py")) == ["quick_tour", "research_workflow"]
