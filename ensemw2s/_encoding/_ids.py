"""Texts as token ids, open at the end."""

from __future__ import annotations

from collections.abc import Sequence
from threading import RLock
from typing import Any

__all__ = ["ANY_TEXT", "encode", "tokenize"]

ANY_TEXT = "a"  # stands before a cue, since many tokenizers treat the start of a text in a way of its own

# A fast tokenizer keeps what it was last told about truncation and padding, so that a call in one thread would be cut,
# or not cut, as another one asks for.
_LOCK = RLock()


def tokenize(texts: Sequence[str], tokenizer: Any, **settings: Any) -> list[list[int]]:
    """``tokenizer(texts, **settings)["input_ids"]``, in one thread at a time.

    Without the warning of long rows: they are reported by us, with their row number.
    """
    with _LOCK:
        return tokenizer(list(texts), verbose=False, **settings)["input_ids"]


def encode(texts: Sequence[str], tokenizer: Any, *, add_special_tokens: bool = True) -> list[list[int]]:
    """Tokens of texts.

    Parameters
    ----------
    texts : sequence of str
        Such as questions in their template.
    tokenizer : transformers.PreTrainedTokenizerBase
        The model's tokenizer.
    add_special_tokens : bool, default=True
        Whether the tokenizer may add its own, such as BOS; an EOS at the end of every text is taken off again, since
        a prompt must stay open, and answers get theirs from us.

    Returns
    -------
    list of list of int
    """
    rows = tokenize(texts, tokenizer, add_special_tokens=add_special_tokens)
    if not add_special_tokens or not _closes_texts(tokenizer):
        return [list(row) for row in rows]
    return [list(row[:-1]) for row in rows]


def _closes_texts(tokenizer: Any) -> bool:
    """Whether every text gets an EOS."""
    eos = tokenizer.eos_token_id
    closed, bare = (tokenize(["a"], tokenizer, add_special_tokens=special)[0] for special in (True, False))
    return eos is not None and closed[-1:] == [eos] and bare[-1:] != [eos]
