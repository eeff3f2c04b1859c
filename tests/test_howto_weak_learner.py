"""The examples of docs/howto_weak_learner.md run and print what the page says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[1] / "docs" / "howto_weak_learner.md"
EXAMPLES = re.findall(r"```python\n(.*?)```\s*```text\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)


def test_the_page_has_an_example_of_either_kind():
    assert ["LLMAdaBoostClassifier(" in code for code, _ in EXAMPLES] == [True, False]
    assert ["TokenAdaBoostGenerator(" in code for code, _ in EXAMPLES] == [False, True]


@pytest.mark.parametrize(("code", "output"), EXAMPLES, ids=["classification", "generation"])
def test_the_example_prints_what_the_page_says(code, output, capsys):
    exec(compile(code, str(PAGE), "exec"), {"__name__": "example"})
    assert capsys.readouterr().out == output
