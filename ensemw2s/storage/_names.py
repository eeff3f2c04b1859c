"""Which names a stored folder may list: of files inside it, of kinds that hold no code."""

from __future__ import annotations

import re
from typing import Any

__all__ = ["complaint_about_name"]

# JSON, safetensors, the text and sentencepiece files of tokenizers, chat templates (which transformers runs in a
# sandbox), and skops, whose types are checked. Pickles and Python files have no place here.
_SUFFIXES = {".bpe", ".jinja", ".json", ".model", ".safetensors", ".skops", ".spm", ".txt"}
_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
_DEEPEST = 12  # ensembles may be parts of others


def complaint_about_name(name: Any) -> str:
    """What is wrong with the name of a listed file, relative to its folder; "" if nothing is."""
    if not isinstance(name, str):
        return "is no text"
    parts = name.split("/")
    if len(parts) > _DEEPEST or len(name) > 255 or not all(_PART.fullmatch(part) for part in parts) or ".." in name:
        return "does not name a file inside the folder"
    if "." + parts[-1].rpartition(".")[2] not in _SUFFIXES:
        return f"is of no kind that is read; only {', '.join(sorted(_SUFFIXES))} are"
    return ""
