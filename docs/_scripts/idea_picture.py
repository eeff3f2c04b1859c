"""Draw the idea of the package as an SVG, once for light pages and once for dark ones.

    python docs/_scripts/idea_picture.py    # writes docs/figures/idea.svg and idea_dark.svg

Plain text in, plain text out, without a plotting package: the same bytes on every machine.
"""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import NamedTuple

FIGURES = Path(__file__).parents[1] / "figures"
WIDTH, HEIGHT = 880, 424
FONT = "-apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"


class Palette(NamedTuple):
    """Colours of one theme: text, quiet text and lines, and fill and edge of the three kinds of boxes."""

    text: str
    quiet: str
    data: tuple[str, str]
    weak: tuple[str, str]
    strong: tuple[str, str]
    bar: str


LIGHT = Palette("#1f2933", "#5b6875", ("#f3f5f7", "#b4bec8"), ("#e3effb", "#3b82c4"), ("#fdeedd", "#d9822b"), "#3b82c4")
DARK = Palette("#e6ebf0", "#a3b0bc", ("#222a32", "#5b6875"), ("#17324a", "#5aa2e0"), ("#45301a", "#e39a4b"), "#5aa2e0")

# Weights of five answer tokens before each round, from the worked example of the guide.
WEIGHTS = ((0.2, 0.2, 0.2, 0.2, 0.2), (0.6, 0.1, 0.1, 0.1, 0.1), (0.3, 0.05, 0.3, 0.3, 0.05))


def picture(colours: Palette) -> str:
    """The whole SVG."""
    parts = [
        *_box(12, 86, 156, 84, colours.data, colours, "easy questions", "answers from people"),
        *_box(12, 204, 156, 84, colours.data, colours, "hard questions", "without answers"),
        *_text(287, 24, "token boosting", colours.text, bold=True),
        *(part for row, weights in enumerate(WEIGHTS) for part in _round(212, 40 + 62 * row, row, weights, colours)),
        *_box(410, 86, 176, 84, colours.weak, colours, "ensemble", "votes α₁, α₂, α₃"),
        *_box(410, 204, 176, 84, colours.weak, colours, "pseudo-answers", "Σ α·p, token by token"),
        *_box(656, 36, 212, 60, colours.strong, colours, "baseline", "taught by one weak model"),
        *_box(656, 204, 212, 84, colours.strong, colours, "strong student", "taught by the ensemble"),
        *_box(656, 318, 212, 60, colours.strong, colours, "oracle", "taught by the true answers"),
        *_arrow("M168 128 H206", colours),
        *(part for row in range(3) for part in _arrow(f"M362 {66 + 62 * row} L404 {104 + 24 * row}", colours)),
        *_arrow("M498 170 V198", colours),
        *_arrow("M168 246 H404", colours),
        *_arrow("M586 246 H650", colours),
        *_arrow("M362 56 H650", colours, dashed=True),
        *_arrow("M90 288 V348 H650", colours, dashed=True),
        *_text(370, 340, "true answers, for comparison only", colours.quiet, size=12.5),
        *_text(440, 408, "How much of the gap between weak model and oracle does the student recover?", colours.quiet),
    ]
    return "\n".join([
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="{FONT}" role="img">',
        "<title>Weak models are boosted on easy questions, token by token; their ensemble writes answers to hard"
        " questions, from which a strong student learns; it is compared with a baseline and an oracle.</title>",
        f'<marker id="tip" viewBox="0 0 10 10" refX="8" refY="5" markerWidth="7" markerHeight="7" orient="auto">'
        f'<path d="M0 0.8 L9 5 L0 9.2 Z" fill="{colours.quiet}"/></marker>',
        *parts,
        "</svg>",
        "",
    ])  # fmt: skip


def _text(x: float, y: float, words: str, fill: str, *, size: float = 15, bold: bool = False) -> list[str]:
    weight = ' font-weight="600"' if bold else ""
    return [
        f'<text x="{x}" y="{y}" text-anchor="middle" font-size="{size}"{weight} fill="{fill}">{escape(words)}</text>'
    ]


def _box(
    x: float, y: float, width: float, height: float, paint: tuple[str, str], colours: Palette, title: str, line: str
) -> list[str]:
    middle = y + height / 2
    return [
        f'<rect x="{x}" y="{y}" width="{width}" height="{height}" rx="9" fill="{paint[0]}" stroke="{paint[1]}"'
        ' stroke-width="1.5"/>',
        *_text(x + width / 2, middle - 4, title, colours.text, bold=True),
        *_text(x + width / 2, middle + 16, line, colours.quiet, size=12.5),
    ]


def _round(x: float, y: float, number: int, weights: tuple[float, ...], colours: Palette) -> list[str]:
    """One weak model, with the weights of the tokens that it was trained on."""
    fill, edge = colours.weak
    return [
        f'<rect x="{x}" y="{y}" width="150" height="52" rx="9" fill="{fill}" stroke="{edge}" stroke-width="1.5"/>',
        *_text(x + 47, y + 31, f"weak {number + 1}", colours.text, bold=True),
        *(
            f'<rect x="{x + 90 + 10 * token}" y="{y + 43 - 54 * w:.1f}" width="7" height="{54 * w:.1f}" rx="1"'
            f' fill="{colours.bar}"/>'
            for token, w in enumerate(weights)
        ),
    ]


def _arrow(path: str, colours: Palette, *, dashed: bool = False) -> list[str]:
    dash = ' stroke-dasharray="5 4"' if dashed else ""
    return [f'<path d="{path}" fill="none" stroke="{colours.quiet}" stroke-width="1.6"{dash} marker-end="url(#tip)"/>']


if __name__ == "__main__":
    FIGURES.mkdir(exist_ok=True)
    for name, palette in (("idea.svg", LIGHT), ("idea_dark.svg", DARK)):
        (FIGURES / name).write_text(picture(palette), encoding="utf-8")
