"""Texts as token ids, open at the end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from ensemw2s._launch.locks import ThreadLock
from ensemw2s._validation import of_kind

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Tokenizer: TypeAlias = "PreTrainedTokenizerBase"
TokenRows: TypeAlias = Sequence[Sequence[int]]
ANY_TEXT = "a"  # stands before a cue, since many tokenizers treat the start of a text in a way of its own

# A fast tokenizer keeps the truncation and padding of its last call: a call in one thread would be cut, or not cut, by
# the settings of another.
_LOCK = ThreadLock()


def tokenize(texts: Sequence[str], tokenizer: Tokenizer, **settings: Any) -> list[list[int]]:
    """``tokenizer(texts, **settings)["input_ids"]``, in one thread at a time.

    Without the warning of long rows: they are reported by us, with their row number.
    """
    with _LOCK:
        return tokenizer(list(texts), verbose=False, **settings)["input_ids"]


def encode(texts: Sequence[str], tokenizer: Tokenizer, *, add_special_tokens: bool = True) -> list[list[int]]:
    """Tokens of texts.

    Parameters
    ----------
    texts : sequence of str
        Such as questions in their template.
    tokenizer : transformers.PreTrainedTokenizerBase
        The model's tokenizer.
    add_special_tokens : bool, default=True
        Whether the tokenizer may add its own, such as BOS, where a text does not begin with them already; an EOS at the
        end of every text is taken off again, since a prompt must stay open, and answers get theirs from us.

    Returns
    -------
    list of list of int
    """
    rows = tokenize(texts, tokenizer, add_special_tokens=add_special_tokens)
    if not add_special_tokens:
        return [list(row) for row in rows]
    opening, closes = _added(tokenizer)
    rows = [list(row[:-1] if closes else row) for row in rows]
    n = len(opening)  # a template may write them out, as chat templates do
    return [row[n:] if n and row[n : 2 * n] == opening else row for row in rows]


def _added(tokenizer: Tokenizer) -> tuple[list[int], bool]:
    """Tokens that every text begins with, and whether each ends with an EOS."""
    # Seen in what it does, since settings such as `add_bos_token` are the names of some tokenizers only.
    whole, bare = (list(tokenize(["a"], tokenizer, add_special_tokens=special)[0]) for special in (True, False))
    begin = next((n for n in range(len(whole)) if bare and whole[n : n + len(bare)] == bare), 0)
    eos = tokenizer.eos_token_id
    return whole[:begin], eos is not None and whole[-1:] == [eos] and bare[-1:] != [eos]


def n_ids(tokenizer: Tokenizer) -> int:
    """One more than the largest id of a tokenizer, whose ids may have holes."""
    return max(len(tokenizer), 1 + max(tokenizer.get_vocab().values(), default=0))


class ReadsTexts(Protocol):
    """A `TokenLearner` that is initialised, as far as it reads texts; what else it says of that is optional."""

    tokenizer_: Tokenizer


def padding_id(learner: Any) -> int:
    """What fills rows up for an initialised `TokenLearner`: its padding token, or another that the model has."""
    pad, known = getattr(learner.tokenizer_, "pad_token_id", None), getattr(learner, "n_embeddings_", None)
    return 0 if pad is None or (known is not None and pad >= known) else int(pad)


def refuse_unknown(
    rows: TokenRows, numbers: Sequence[int] | None, n_embeddings: int | None, tokenizer: Tokenizer
) -> None:
    """Refuse rows with a token that a model has no embedding for; a tokenizer may have such tokens that never occur.

    Parameters
    ----------
    rows : sequence of sequences of int
        Tokens.
    numbers : sequence of int, optional
        What to call the rows.
    n_embeddings : int or None
        None if it is not known.
    tokenizer : transformers.PreTrainedTokenizerBase
        For the token's name.

    Raises
    ------
    ValueError
        Names the row.
    """
    if n_embeddings is None:
        return
    for place, row in enumerate(rows):
        largest = max(row, default=0)
        if largest >= n_embeddings:
            error = ValueError(
                f"Row {place if numbers is None else numbers[place]} holds the token "
                f"{tokenizer.convert_ids_to_tokens(int(largest))!r}, number {largest}, and the model has only "
                f"{n_embeddings} embeddings; pass the tokenizer that belongs to the model, resize its embeddings, or "
                f"drop the row."
            )
            raise of_kind(error, "a token without an embedding")
