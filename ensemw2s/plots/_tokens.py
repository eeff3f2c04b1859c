"""Single tokens as text that can be read: blanks, line ends and lone bytes included."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from typing import Any

__all__ = ["readable_token", "readable_tokens", "show_blanks", "width"]

_SHOWN = {" ": "␣", "\n": "↵", "\r": "␍", "\t": "⇥"}


def readable_tokens(tokenizer: Any, ids: Iterable[int]) -> list[str]:
    """Text of each token on its own.

    A blank is shown as ␣, the end of a line as ↵, and a byte that is no character by itself as its two hexadecimal
    digits in ⟨⟩.
    """
    special = set(tokenizer.all_special_ids)
    return [readable_token(tokenizer, int(one), special) for one in ids]


def readable_token(tokenizer: Any, token_id: int, special: set[int]) -> str:
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
