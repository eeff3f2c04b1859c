"""How a `QADataset` shows itself, as text and as HTML."""

from __future__ import annotations

from collections import Counter
from html import escape
from typing import TYPE_CHECKING

from ensemw2s.metrics import chance_level

if TYPE_CHECKING:
    from ensemw2s.datasets._example import QAExample
    from ensemw2s.datasets._qa import QADataset

_N_HTML_ROWS = 5


def as_text(qa: QADataset) -> str:
    """Return two lines: size, options, chance level, whether answers are there; then the first question."""
    return f"QADataset({_summary(qa)})\n  first: {_line(qa[0])}"


def as_html(qa: QADataset) -> str:
    """Return a table of the first questions, with every text escaped."""
    head = "".join(f"<th>{title}</th>" for title in ("", "prompt", "answer", "choices"))
    body = []
    for row in range(min(_N_HTML_ROWS, len(qa))):
        example = qa[row]
        options = "" if example.choices is None else " | ".join(example.choices)
        cells = (example.prompt, example.answer or "", options)
        body.append(
            f"<tr><th>{row}</th>" + "".join(f"<td>{escape(_short(cell, 200))}</td>" for cell in cells) + "</tr>"
        )
    more = f"<p>… {len(qa) - _N_HTML_ROWS} more</p>" if len(qa) > _N_HTML_ROWS else ""
    return (
        f"<div><strong>QADataset</strong> {escape(_summary(qa))}"
        f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(body)}</tbody></table>{more}</div>"
    )


def _summary(qa: QADataset) -> str:
    parts = [] if qa.name is None else [repr(qa.name)]
    parts.append(f"n={len(qa)}")
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
    line = repr(_short(example.prompt, 90))
    if example.answer is not None:
        line += f" -> {_short(example.answer, 60)!r}"
    if example.choices is not None:
        line += f" of {[_short(option, 30) for option in example.choices]}"
    return line


def _short(value: str, width: int) -> str:
    return value if len(value) <= width else value[: width - 1] + "…"
