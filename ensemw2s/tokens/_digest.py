"""What a tokenizer is: hashes of all that makes it read and write texts as it does, blind to how it was used."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

from ensemw2s.storage import describe_by, temporary_folder
from ensemw2s.tokens._ids import Tokenizer
from ensemw2s.tokens._template import is_chat


class TokenizerDigest(NamedTuple):
    """Hashes of the three things that a tokenizer does, equal in every process and after saving and loading.

    What a call of the tokenizer leaves behind, how it padded and cut, is in none of them.

    Attributes
    ----------
    texts : str
        How texts become ids and ids texts: vocabulary, rules, special tokens, what begins and ends a text, clean-up.
    chats : str
        The chat template.
    rows : str
        How a row is filled up and cut by the tokenizer itself: padding token, the side that is cut, the longest row.
    """

    texts: str
    chats: str
    rows: str


_KNOWN: WeakKeyDictionary[Any, tuple[tuple, str]] = WeakKeyDictionary()

# Settings of a tokenizer that change what it makes of a text.
_SETTINGS = (
    "clean_up_tokenization_spaces", "clean_up_tokenization_spaces_for_bpe_even_though_it_will_corrupt_output",
    "split_special_tokens",
)  # fmt: skip
_PARTS = ("normalizer", "pre_tokenizer", "post_processor", "decoder")
# Attributes of a tokenizer in Python that say how rows are filled and cut, or where the tokenizer comes from.
_ELSEWHERE = ("padding_side", "truncation_side", "model_max_length", "verbose", "name_or_path", "chat_template")


def digest_tokenizer(tokenizer: Tokenizer) -> TokenizerDigest:
    """What a tokenizer is.

    Parameters
    ----------
    tokenizer : transformers.PreTrainedTokenizerBase
        Fast or slow.

    Returns
    -------
    TokenizerDigest

    Examples
    --------
    >>> from ensemw2s import byte_tokenizer, word_tokenizer
    >>> used = byte_tokenizer()
    >>> _ = used(["a", "b c d"], padding=True)
    >>> digest_tokenizer(used) == digest_tokenizer(byte_tokenizer())
    True
    >>> digest_tokenizer(used) == digest_tokenizer(word_tokenizer(["a b c d"]))
    False
    """
    chats = _hash(getattr(tokenizer, "chat_template", None))
    rows = [getattr(tokenizer, name, None) for name in ("pad_token", "truncation_side", "model_max_length")]
    return TokenizerDigest(_digest_texts(tokenizer), chats, _hash(rows))


def _digest_texts(tokenizer: Tokenizer) -> str:
    state = _state(tokenizer)
    try:
        known = _KNOWN.get(tokenizer)
    except TypeError:  # not hashable, or not to be referred to weakly
        return _hash([repr(state), _rules(tokenizer)])
    if known is None or known[0] != state:  # a vocabulary of 262,144 tokens takes a second
        known = _KNOWN[tokenizer] = state, _hash([repr(state), _rules(tokenizer)])
    return known[1]


def _state(tokenizer: Tokenizer) -> tuple:
    """All that can be changed in a tokenizer that has been looked at, but for what is too long to be compared often."""
    specials = dict(getattr(tokenizer, "special_tokens_map", None) or {"eos_token": tokenizer.eos_token_id})
    specials.pop("pad_token", None)  # in no text, and not read
    extra = [str(token) for token in getattr(tokenizer, "extra_special_tokens", None) or ()]
    settings = [bool(getattr(tokenizer, name, False)) for name in _SETTINGS]
    # Its parts by their own pickles, which are short; the vocabulary is in `_rules`, once for each state.
    backend = getattr(tokenizer, "backend_tokenizer", None)
    common = (len(tokenizer), sorted(specials.items()), sorted(extra), settings)
    if backend is None:
        added = getattr(tokenizer, "added_tokens_decoder", None) or {}
        return (*common, sorted((number, repr(token)) for number, token in added.items()), _scalars(tokenizer))
    parts = [part and part.__getstate__() for part in (getattr(backend, name) for name in _PARTS)]
    added = backend.get_added_tokens_decoder()
    return (*common, sorted((number, repr(token)) for number, token in added.items()), parts, _scalars(backend.model))


def _scalars(value: object) -> list[tuple[str, Any]]:
    """Public attributes that are numbers, texts or None, but for the names of files."""
    names = vars(value) if hasattr(value, "__dict__") and vars(value) else dir(value)
    kept = [
        name for name in names if not name.startswith("_") and name not in _ELSEWHERE and not name.endswith("_file")
    ]
    scalars = [(name, getattr(value, name, None)) for name in sorted(kept)]
    return [
        (name, scalar) for name, scalar in scalars if scalar is None or isinstance(scalar, bool | int | float | str)
    ]


def _rules(tokenizer: Tokenizer) -> Any:
    """Vocabulary and rules, as JSON."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is not None:
        rules = json.loads(backend.to_str())
        rules.update(padding=None, truncation=None)  # of the last call
        return rules
    kind = f"{type(tokenizer).__module__}.{type(tokenizer).__qualname__}"
    return [kind, sorted(tokenizer.get_vocab().items()), _vocabulary_files(tokenizer)]


def _vocabulary_files(tokenizer: Tokenizer) -> list[str]:
    """Hashes of the files of a tokenizer without a backend, whose rules are nowhere else: merges, a unigram model."""
    if not hasattr(tokenizer, "save_vocabulary"):
        return []
    with temporary_folder("vocabulary") as folder:
        tokenizer.save_vocabulary(folder)
        files = sorted(path for path in Path(folder).rglob("*") if path.is_file())
        return [hashlib.sha256(path.read_bytes()).hexdigest() for path in files]


def _hash(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()[:16]


def describe_tokenizer(tokenizer: Tokenizer, learner: object = None) -> dict[str, str]:
    """What a tokenizer is, as far as a learner that has it makes use of it.

    Parameters
    ----------
    tokenizer : transformers.PreTrainedTokenizerBase
        Its hashes, see `digest_tokenizer`, are what is described.
    learner : estimator, optional
        The chat template counts where its ``prompt_template`` is one; how rows are filled and cut counts for a
        classifier.
    """
    found = digest_tokenizer(tokenizer)
    described = {"tokenizer": found.texts}
    if is_chat(getattr(learner, "prompt_template", "")):
        described["chat template"] = found.chats
    if hasattr(learner, "predict_proba"):
        described["padding and truncation"] = found.rows
    return described


describe_by(lambda value: hasattr(value, "get_vocab") and hasattr(value, "eos_token_id"), describe_tokenizer)
