"""Pieces of HTML that a notebook shows: escaped, without anything from elsewhere, in the colours of the page."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

# Colours follow the page, light or dark: its text, and a blue and a grey that can be seen on both. Two names in each
# selector, so that the styles of a notebook's own tables do not win.
_STYLE = """
.ensemw2s.panel{color:inherit;font:13px/1.45 system-ui,sans-serif;margin:.6em 0;max-width:100%;overflow-x:auto}
.ensemw2s.panel table{background:none;border:0;border-collapse:collapse;color:inherit;
font-size:inherit;margin:.2em 0 .4em;table-layout:auto}
.ensemw2s.panel tr{background:none}
.ensemw2s.panel :is(th,td){background:none;border:0;border-bottom:1px solid rgba(128,128,128,.4);color:inherit;
max-width:36em;overflow-wrap:break-word;padding:.25em 1em .25em 0;text-align:left;vertical-align:top;
white-space:pre-line}
.ensemw2s.panel th{font-weight:600}
.ensemw2s.panel .num{font-variant-numeric:tabular-nums;text-align:right;white-space:nowrap}
.ensemw2s.panel p{margin:.2em 0}
.ensemw2s.panel .strip{background:rgba(128,128,128,.2);display:inline-block;height:.7em;position:relative;width:8em}
.ensemw2s.panel .strip i{background:#3b82c4;height:100%;position:absolute}
.ensemw2s.panel .strip i.value{margin-left:-1px;width:3px;background:currentColor}
.ensemw2s.panel .strip i.mark{background:none;border-left:1px dashed currentColor;width:0}
"""


class Markup(str):
    """Text that is HTML already."""

    __slots__ = ()


def shortened(text: str, width: int) -> str:
    """At most `width` characters, the last of them an ellipsis where some are missing."""
    return text if len(text) <= width else text[: width - 1] + "…"


def count(number: int) -> str:
    """A number of many digits, as people write it: 987, 12.3k, 134.5M, 1.24B."""
    for unit, size in (("B", 1e9), ("M", 1e6), ("k", 1e4)):
        if number >= size:
            return f"{number / (1e3 if unit == 'k' else size):.3g}{unit}"
    return str(number)


def table(columns: Sequence[str], rows: Iterable[Sequence[Any]], *, numeric: Iterable[str] = ()) -> Markup:
    """A table; cells are escaped unless they are `Markup`, and None is an empty one.

    Parameters
    ----------
    columns : sequence of str
        Titles.
    rows : iterable of sequences
        Cells, as many as titles. The first of a row is its head.
    numeric : iterable of str
        Titles of the columns that are set flush right.
    """
    flush = [' class="num"' if name in set(numeric) else "" for name in columns]
    head = "".join(f"<th{kind}>{escape(name)}</th>" for name, kind in zip(columns, flush, strict=True))
    body = []
    for row in rows:
        names = ["th", *["td"] * (len(columns) - 1)]
        cells = zip(names, row, flush, strict=True)
        body.append("<tr>" + "".join(f"<{name}{kind}>{_text(cell)}</{name}>" for name, cell, kind in cells) + "</tr>")
    return Markup(f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(body)}</tbody></table>")


def facts(pairs: Iterable[tuple[str, Any]]) -> Markup:
    """A table of names and values, without those that are None."""
    rows = [f"<tr><th>{escape(name)}</th><td>{_text(value)}</td></tr>" for name, value in pairs if value is not None]
    return Markup(f"<table><tbody>{''.join(rows)}</tbody></table>")


def lines(texts: Iterable[Any]) -> Markup:
    """A paragraph for each text."""
    return Markup("".join(f"<p>{_text(text)}</p>" for text in texts))


def share_bar(share: float) -> Markup:
    """A bar as long as a share of one."""
    return _strip(f"{share:.0%}", f'<i style="left:0;width:{100 * share:.1f}%"></i>')


def strip(low: float, value: float, high: float, mark: float | None = None) -> Markup:
    """An interval with its middle on the way from 0 to 1, and a dashed line at `mark`."""
    dashes = "" if mark is None else f'<i class="mark" style="left:{100 * mark:.1f}%"></i>'
    return _strip(
        f"{value:.3f}, {low:.3f} to {high:.3f}",
        f'<i style="left:{100 * low:.1f}%;width:{100 * (high - low):.1f}%"></i>{dashes}'
        f'<i class="value" style="left:{100 * value:.1f}%"></i>',
    )


def panel(title: str, *parts: Markup) -> str:
    """The pieces as one block with its own style."""
    head = f'<div class="ensemw2s panel"><style>{_STYLE}</style><p><strong>{escape(title)}</strong></p>'
    return f"{head}{''.join(parts)}</div>"


def _strip(label: str, inner: str) -> Markup:
    return Markup(f'<span class="strip" role="img" aria-label="{escape(label)}" title="{escape(label)}">{inner}</span>')


def _text(value: object) -> str:
    if value is None:
        return ""
    return value if isinstance(value, Markup) else escape(str(value))
