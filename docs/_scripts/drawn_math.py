"""A Sphinx extension that draws formulas as SVG when the pages are built.

The pages then need neither a script from elsewhere nor a font, and show the same offline. The formula is in the colour
and size of the text around it; its TeX source is what a screen reader gets.
"""

from __future__ import annotations

import re
from functools import cache
from html import escape
from typing import Any

import ziamath
from docutils import nodes
from latex2mathml.converter import convert
from sphinx.util.logging import getLogger

SIZE = 16.0  # pixels of an em while drawing; pages scale it
SCALE = 1.08  # a serif letter looks smaller than its neighbours without

logger = getLogger(__name__)

ziamath.config.svg2 = False  # outlines in place: identifiers would clash on a page
ziamath.config.precision = 2


class MathError(ValueError):
    """TeX that cannot be drawn."""


@cache
def draw(tex: str, inline: bool) -> str:
    """The formula as an SVG element, its sizes in em."""
    try:
        unknown = re.search(r"\\\w+", re.sub("<[^>]*>", " ", convert(tex)))
        if unknown:
            raise MathError(f"{unknown.group()} is unknown")
        formula = ziamath.Latex(tex, size=SIZE, inline=inline, color="currentColor")
    except MathError:
        raise
    except Exception as error:  # of either parser, which have no class of their own for all that is wrong
        raise MathError(repr(error)) from error
    svg = re.sub(
        r'(?<=^<svg )(.*?)width="([\d.]+)" height="([\d.]+)"',
        lambda found: f'{found[1]}width="{_em(found[2])}" height="{_em(found[3])}"',
        formula.svg(),
        count=1,
    )
    depth = f' style="vertical-align:{_em(formula.getyofst())}"' if inline else ""
    return svg.replace("<svg ", f'<svg role="img" aria-label="{escape(tex)}"{depth} ', 1)


def _em(pixels: Any) -> str:
    return f"{float(pixels) / SIZE * SCALE:.3f}em"


def visit_inline(self: Any, node: nodes.math) -> None:
    """Write a formula within text."""
    self.body.append(self.starttag(node, "span", "", CLASS="drawn-math"))
    self.body.append(_drawn_or_warn(node, inline=True) + "</span>")
    raise nodes.SkipNode


def visit_block(self: Any, node: nodes.math_block) -> None:
    """Write a formula on lines of its own."""
    self.body.append(self.starttag(node, "div", CLASS="drawn-math"))
    self.body.append(_drawn_or_warn(node, inline=False) + "</div>\n")
    raise nodes.SkipNode


def _drawn_or_warn(node: Any, *, inline: bool) -> str:
    tex = " ".join(node.astext().split())
    try:
        return draw(tex, inline)
    except MathError as error:
        logger.warning("formula %r cannot be drawn: %s", tex, error, location=node)
        return f"<code>{escape(tex)}</code>"


def setup(app: Any) -> dict[str, bool]:
    """Offer the renderer as ``html_math_renderer = "drawn"``."""
    app.add_html_math_renderer("drawn", (visit_inline, None), (visit_block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
