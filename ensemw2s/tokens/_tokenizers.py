"""Tokenizers that need no download: one over bytes, one over the words of given texts."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

_EOS, _PAD, _UNK = "<eos>", "<pad>", "<unk>"


def byte_tokenizer() -> PreTrainedTokenizerFast:
    """Return a tokenizer with one token for each byte of UTF-8.

    Ids 0 to 255 are the bytes; 256 is ``<eos>``, 257 is ``<pad>``. Every text can be encoded and decodes to itself.

    Returns
    -------
    transformers.PreTrainedTokenizerFast
        258 tokens; pads on the left; adds no special token by itself.

    Examples
    --------
    >>> tokenizer = byte_tokenizer()
    >>> tokenizer.encode("a b")
    [97, 32, 98]
    >>> tokenizer.decode([195, 169])
    'é'
    """
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

    vocab = {symbol: byte for byte, symbol in enumerate(_symbol_of_byte())}
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=[]))
    # use_regex=False: without merges a split into words changes nothing and costs time
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(token, special=True) for token in (_EOS, _PAD)])
    return _wrap(tokenizer, unk_token=None)


def word_tokenizer(texts: Iterable[str]) -> PreTrainedTokenizerFast:
    """Return a tokenizer with one token for each whitespace-separated word of `texts`.

    Ids 0, 1, 2 are ``<unk>``, ``<eos>``, ``<pad>``; the words follow in sorted order, so equal sets of words give equal
    tokenizers. Blanks carry no token: the encoding of ``"a b"`` followed by that of ``" c"`` is that of ``"a b c"``.
    Texts whose words are separated by single spaces decode to themselves.

    Parameters
    ----------
    texts : iterable of str
        Texts that hold the vocabulary.

    Returns
    -------
    transformers.PreTrainedTokenizerFast
        Pads on the left; adds no special token by itself.

    Raises
    ------
    TypeError
        If `texts` is one str, or an entry is not a str.
    ValueError
        If the texts hold no word.

    Examples
    --------
    >>> tokenizer = word_tokenizer(["red green", "green blue"])
    >>> tokenizer.encode("blue red")
    [3, 5]
    >>> tokenizer.decode([3, 5])
    'blue red'
    """
    from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers

    if isinstance(texts, str):
        raise TypeError("texts must be an iterable of str. Got one str instead; wrap it in a list.")
    words: set[str] = set()
    for row, text in enumerate(texts):
        if not isinstance(text, str):
            raise TypeError(f"texts[{row}] must be a str. Got {text!r} ({type(text).__name__}); drop that entry.")
        words.update(text.split())
    words -= {_UNK, _EOS, _PAD}  # they have their ids already
    if not words:
        raise ValueError("texts must hold at least one word. Got none instead; pass the prompts, answers and options.")
    vocab = {word: index for index, word in enumerate([_UNK, _EOS, _PAD, *sorted(words)])}
    tokenizer = Tokenizer(models.WordLevel(vocab=vocab, unk_token=_UNK))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.add_special_tokens([AddedToken(token, special=True) for token in (_UNK, _EOS, _PAD)])
    return _wrap(tokenizer, unk_token=_UNK)


def _wrap(tokenizer: object, unk_token: str | None) -> PreTrainedTokenizerFast:
    from transformers import PreTrainedTokenizerFast

    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token=_EOS,
        pad_token=_PAD,
        unk_token=unk_token,
        padding_side="left",
        clean_up_tokenization_spaces=False,  # cleaning would turn "a ." into "a."
    )


def _symbol_of_byte() -> list[str]:
    # The byte-level alphabet of GPT-2: printable bytes stand for themselves, the others for 256, 257, ... in order.
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    symbols, spare = [], 256
    for byte in range(256):
        if byte in printable:
            symbols.append(chr(byte))
        else:
            symbols.append(chr(spare))
            spare += 1
    return symbols
