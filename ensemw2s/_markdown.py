"""Tables as Markdown, whatever the texts in their cells."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence


def table_lines(head: Sequence[object], rows: Iterable[Sequence[object]]) -> list[str]:
    """Lines of a table in GitHub's Markdown; a cell stays one cell.

    Parameters
    ----------
    head : sequence
        Names of the columns.
    rows : iterable of sequences
        Cells, each as many as `head`.
    """
    return [_line(head), "|" + " --- |" * len(head), *map(_line, rows)]


def _line(cells: Sequence[object]) -> str:
    return "| " + " | ".join(_cell(str(cell)) for cell in cells) + " |"


def _cell(text: str) -> str:
    # A backslash in front of a bar would escape the one that escapes it.
    return re.sub(r"(\\*)\|", r"\1\1\\|", " ".join(text.splitlines()))
