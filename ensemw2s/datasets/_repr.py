"""How a `QADataset` shows itself, as text and as HTML."""

from __future__ import annotations

from collections import Counter
from html import escape
from typing import TYPE_CHECKING, Any

from ensemw2s._html.pieces import Markup, lines, panel, shortened, table
from ensemw2s.metrics import chance_level

if TYPE_CHECKING:
    from ensemw2s.datasets._columns import Columns
    from ensemw2s.datasets._example import QAExample

_N_HTML_ROWS, _N_HTML_OPTIONS = 5, 8


def as_text(qa: Columns, name: str | None) -> str:
    """Return two lines: size, options, chance level, whether answers are there; then the first question."""
    return f"QADataset({_summary(qa, name)})\n  first: {_line(qa.example(0))}"


def as_html(qa: Columns, name: str | None) -> str:
    """Return a table of the first questions, gold options marked, with every text escaped."""
    columns = ["row", "question"]
    columns += ["options"] if qa.choices is not None else []
    columns += ["answer"] if qa.answers is not None and qa.choices is None else []
    columns += ["difficulty"] if qa.difficulty is not None else []
    n_rows = len(qa.prompts)
    rows = [[_cell(qa.example(row), row, column) for column in columns] for row in range(min(_N_HTML_ROWS, n_rows))]
    n_more = n_rows - len(rows)
    parts = [lines([_summary(qa, name)]), table(columns, rows, numeric=["difficulty"])]
    if n_more:
        parts.append(lines([f"… and {n_more} more row{'s' if n_more > 1 else ''}"]))
    return panel("QADataset", *parts)


def _cell(example: QAExample, row: int, column: str) -> Any:
    if column == "row":
        return row if example.id is None else f"{row} ({shortened(example.id, 20)})"
    if column == "question":
        return shortened(example.prompt, 200)
    if column == "options":
        return _options(example)
    return shortened(str(example.answer), 80) if column == "answer" else f"{example.difficulty:.3g}"


def _options(example: QAExample) -> Markup:
    options = list(enumerate(example.choices or ()))
    first = options[:_N_HTML_OPTIONS]
    if example.label is not None and example.label >= _N_HTML_OPTIONS:
        first[-1] = options[example.label]
    texts = [
        f"<strong>✓ {escape(shortened(option, 60))}</strong>" if k == example.label else escape(shortened(option, 60))
        for k, option in first
    ]
    if len(options) > len(first):
        texts.append(f"… {len(options) - len(first)} more")
    return Markup("<br>".join(texts))


def _summary(qa: Columns, name: str | None) -> str:
    parts = [] if name is None else [repr(name)]
    parts.append(f"n={len(qa.prompts)}")
    if qa.n_choices is None:
        parts.append("no options")
    else:
        counts = ", ".join(f"{k} x{count}" for k, count in sorted(Counter(qa.n_choices.tolist()).items()))
        parts.append(f"options: {counts}")
        parts.append(f"chance {chance_level(qa.n_choices):.3f}".replace("0.", "."))
    parts.append(f"answers: {'no' if qa.answers is None else 'yes'}")
    if qa.difficulty is not None:
        parts.append(f"difficulty {qa.difficulty.min():g} to {qa.difficulty.max():g}")
    return ", ".join(parts)


def _line(example: QAExample) -> str:
    line = repr(shortened(example.prompt, 90))
    if example.answer is not None:
        line += f" -> {shortened(example.answer, 60)!r}"
    if example.choices is not None:
        line += f" of {[shortened(option, 30) for option in example.choices]}"
    return line
