"""Texts as token ids, open at the end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

__all__ = ["encode"]


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
    # verbose=False: over-long rows are reported by us, with their row number.
    rows = tokenizer(list(texts), add_special_tokens=add_special_tokens, verbose=False)["input_ids"]
    if not add_special_tokens or not _closes_texts(tokenizer):
        return [list(row) for row in rows]
    return [list(row[:-1]) for row in rows]


def _closes_texts(tokenizer: Any) -> bool:
    """Whether every text gets an EOS."""
    eos = tokenizer.eos_token_id
    closed, bare = (tokenizer("a", add_special_tokens=special, verbose=False)["input_ids"] for special in (True, False))
    return eos is not None and closed[-1:] == [eos] and bare[-1:] != [eos]
