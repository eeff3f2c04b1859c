"""Single tokens as text that can be read, and weighted tokens as HTML with their colours."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from html import escape

import numpy as np

from ensemw2s.tokens import Tokenizer

_SHOWN = {" ": "␣", "\n": "↵", "\r": "␍", "\t": "⇥"}

# Light enough for dark text: its contrast with both ends is above 8 : 1.
_LIGHTER, _EVEN, _HEAVIER = (np.array(rgb) for rgb in ((143, 193, 232), (255, 255, 255), (240, 163, 94)))
_SMALLEST_SPAN = np.log2(1.1)  # weights this close to 1/n shall look alike

_BOX = (
    "color:#111;background:#fff;border:1px solid #ccc;padding:.6em .8em;max-width:60em;"
    "font-family:sans-serif;font-size:14px;line-height:1.9"
)
_TOKEN = "color:#111;font-family:monospace;padding:.1em .15em;margin:0 1px;border:1px solid #ddd;white-space:pre"

_LINE = "padding-left:2.6em;text-indent:-2.6em"  # what goes on in the next line stays under the tokens
_ROUND = "display:inline-block;width:2.6em;text-indent:0"


def readable_tokens(tokenizer: Tokenizer, ids: Iterable[int]) -> list[str]:
    """Text of each token on its own.

    A blank is shown as ␣, the end of a line as ↵, and a byte that is no character by itself as its two hexadecimal
    digits in ⟨⟩.
    """
    special = set(tokenizer.all_special_ids)
    return [_readable_token(tokenizer, int(one), special) for one in ids]


def _readable_token(tokenizer: Tokenizer, token_id: int, special: set[int]) -> str:
    """Text of one token; special tokens keep their name."""
    raw = tokenizer.convert_ids_to_tokens(token_id)
    if token_id in special:
        return show_blanks(raw)
    text = tokenizer.decode([token_id])
    if not text or "\N{REPLACEMENT CHARACTER}" in text:
        return _as_bytes(raw)
    # SentencePiece writes a leading blank as ▁, which decoding drops at the start of a text.
    return show_blanks(" " + text if raw.startswith("▁") and not text.startswith(" ") else text)


def show_blanks(text: str) -> str:
    """Replace blanks and what cannot be printed by signs that can be seen."""
    return "".join(
        _SHOWN.get(char) or (char if char.isprintable() else f"⟨{ord(char):X}⟩") for char in text
    )  # fmt: skip


def width(text: str) -> int:
    """Columns of a fixed-width font that a text takes; East Asian characters take two."""
    return sum(2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text)


def _as_bytes(raw: str) -> str:
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    fallback = re.fullmatch(r"<0x([0-9A-F]{2})>", raw)
    if fallback:
        return f"⟨{fallback[1]}⟩"
    byte_of = {char: byte for byte, char in bytes_to_unicode().items()}  # the byte-level alphabet of GPT-2
    if raw and all(char in byte_of for char in raw):
        return "".join(_as_byte(byte_of[char]) for char in raw)
    return show_blanks(raw)


def _as_byte(byte: int) -> str:
    return show_blanks(chr(byte)) if byte < 128 else f"⟨{byte:02X}⟩"


def weight_colors(weights: np.ndarray, scale: np.ndarray) -> list[str]:
    """Blue below 1, white at 1, orange above; both shades grow with the logarithm, up to the ends of `scale`."""
    with np.errstate(divide="ignore"):
        logs, ends = np.log2(weights), np.log2(scale[scale > 0])
    # Each side has its own end: a token that all members know would otherwise leave no colour for the heavy ones.
    down, up = max(-ends.min(initial=0.0), _SMALLEST_SPAN), max(ends.max(initial=0.0), _SMALLEST_SPAN)
    shade = np.clip(np.where(logs < 0, logs / down, logs / up), -1.0, 1.0)
    return [_hex(_EVEN + abs(one) * ((_HEAVIER if one > 0 else _LIGHTER) - _EVEN)) for one in shade]


def legend_weights(weights: np.ndarray) -> list[tuple[float, str]]:
    """Smallest weight, 1 and largest weight with their names, those that differ."""
    named = [("lowest ", float(weights.min())), ("", 1.0), ("highest ", float(weights.max()))]
    return [(value, name + _number(value)) for name, value in named if not name or _number(value) != "1"]


def _number(value: float) -> str:
    """Three digits are enough to compare weights."""
    return f"{value:.3g}"


def as_html(prompts: Sequence[str], rows: Sequence[Sequence[str]], weights: np.ndarray, rounds: Sequence[int]) -> str:
    """One block per question, one line of coloured tokens per round; every text is escaped."""
    swatches = legend_weights(weights)
    colors = weight_colors(np.array([value for value, _ in swatches]), weights)
    legend = " ".join(_token_html(text, color, "") for (_, text), color in zip(swatches, colors, strict=True))
    blocks, start = [], 0
    for prompt, tokens in zip(prompts, rows, strict=True):
        end = start + len(tokens)
        lines = []
        for t, weight in zip(rounds, weights[:, start:end], strict=True):
            cells = zip(tokens, weight_colors(weight, weights), weight, strict=True)
            spans = "".join(
                _token_html(text, color, f"{_number(float(one))} / n before round {t}") for text, color, one in cells
            )
            lines.append(f'<div style="{_LINE}"><span style="{_ROUND}">D<sub>{t}</sub></span>{spans}</div>')
        blocks.append(
            f'<div style="margin-top:.8em"><div style="white-space:pre-wrap;line-height:1.4">{escape(prompt)}</div>'
            f"{''.join(lines)}</div>"
        )
        start = end
    return (
        f'<div class="ensemw2s-token-weights" style="{_BOX}">'
        f"<div>weight of each answer token, in units of 1/n: {legend}</div>{''.join(blocks)}</div>"
    )


def _token_html(text: str, color: str, title: str) -> str:
    hint = f' title="{escape(title)}"' if title else ""
    # The break opportunity between tokens lets a long answer wrap.
    return f'<span style="{_TOKEN};background:{color}"{hint}>{escape(text)}</span><wbr>'


def _hex(rgb: np.ndarray) -> str:
    return "#" + "".join(f"{round(float(part)):02x}" for part in rgb)
