"""Draw the rooms of docs/architecture.md as an SVG, floor above floor, from the table on that page.

`docs/conf.py` does so in every build, so that picture and table cannot differ.
"""

from __future__ import annotations

import re
from html import escape
from pathlib import Path

from idea_picture import DARK, FONT, LIGHT, Palette

PAGE = Path(__file__).parents[1] / "architecture.md"
ROW = re.compile(r"^\| (\d+) \| `([^`]+)` \| (.+) \|$", re.MULTILINE)
WIDTH, LEFT, GAP, HEIGHT = 720, 56, 8, 30
MONOSPACE = "ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', monospace"


def draw(folder: Path) -> None:
    """Write rooms.svg and rooms_dark.svg into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    table = PAGE.read_text(encoding="utf-8")
    for name, palette in (("rooms.svg", LIGHT), ("rooms_dark.svg", DARK)):
        (folder / name).write_text(picture(table, palette), encoding="utf-8")


def floors(table: str) -> dict[int, dict[str, str]]:
    """Modules of each floor with their responsibilities, in the order of the table."""
    found: dict[int, dict[str, str]] = {}
    for floor, module, responsibility in ROW.findall(table):
        found.setdefault(int(floor), {})[module] = responsibility
    return found


def picture(table: str, colours: Palette) -> str:
    """The whole SVG: the top floor first."""
    parts: list[str] = []
    y = 8
    for floor, modules in sorted(floors(table).items(), reverse=True):
        parts.append(
            f'<text x="28" y="{y + 20}" text-anchor="middle" font-size="13" fill="{colours.quiet}">{floor}</text>'
        )
        x = LEFT
        for module in modules:
            width = round(8 * len(module) + 22)
            if x + width > WIDTH - 8:
                x, y = LEFT, y + HEIGHT + GAP
            parts += _room(x, y, width, module, colours)
            x += width + GAP
        if len(modules) == 1:  # there is room for it
            (responsibility,) = modules.values()
            words = escape(responsibility.replace("`", ""))
            parts.append(f'<text x="{x + 10}" y="{y + 20}" font-size="13" fill="{colours.quiet}">{words}</text>')
        y += HEIGHT + GAP
        parts.append(f'<path d="M12 {y} H{WIDTH - 12}" stroke="{colours.data[1]}" stroke-width="0.8"/>')
        y += GAP
    parts.pop()  # no line below the ground floor
    return "\n".join([
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {y}" font-family="{FONT}" role="img">',
        "<title>The modules by floor; a module imports from lower floors only.</title>",
        *parts,
        "</svg>",
        "",
    ])  # fmt: skip


def _room(x: int, y: int, width: int, module: str, colours: Palette) -> list[str]:
    """A public module in the colour of the weak models, a private one in grey."""
    fill, edge = colours.data if module.startswith("_") else colours.weak
    return [
        f'<rect x="{x}" y="{y}" width="{width}" height="{HEIGHT}" rx="6" fill="{fill}" stroke="{edge}"/>',
        f'<text x="{x + width / 2}" y="{y + 20}" text-anchor="middle" font-size="13" font-family="{MONOSPACE}"'
        f' fill="{colours.text}">{escape(module)}</text>',
    ]
