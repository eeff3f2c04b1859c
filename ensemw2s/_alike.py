"""Whether learners cut texts alike, judged by what their tokenizers hold, not by which objects they are."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any
from weakref import WeakKeyDictionary

from ensemw2s._encoding import DEFAULT_PROMPT_TEMPLATE, is_chat

__all__ = ["difference", "group_alike", "narrowest", "same_tokenizer"]

_DIGESTS: WeakKeyDictionary[Any, tuple[tuple, str]] = WeakKeyDictionary()


def same_tokenizer(one: Any, other: Any) -> bool:
    """Whether two tokenizers give every text the same ids, and end answers with the same one.

    Compared are the vocabulary, the rules by which a text is cut, and the ids that begin and end a text. Padding is
    not: no token of it is ever read.

    Examples
    --------
    >>> from ensemw2s import byte_tokenizer, word_tokenizer
    >>> same_tokenizer(byte_tokenizer(), byte_tokenizer())
    True
    >>> same_tokenizer(word_tokenizer(["red green"]), word_tokenizer(["red blue"]))  # five tokens each
    False
    """
    if one is other:
        return True
    return _marks(one) == _marks(other) and _digest(one) == _digest(other)


def difference(one: Any, other: Any) -> str:
    """What lets two initialised learners read a question and its answer differently; "" if nothing does."""
    if not same_tokenizer(one.tokenizer_, other.tokenizer_):
        return "tokenizer"
    for name, default in (("prompt_template", DEFAULT_PROMPT_TEMPLATE), ("truncation", "error")):
        if getattr(one, name, default) != getattr(other, name, default):
            return name
    chats = [getattr(each.tokenizer_, "chat_template", None) for each in (one, other)]
    if is_chat(getattr(one, "prompt_template", DEFAULT_PROMPT_TEMPLATE)) and chats[0] != chats[1]:
        return "chat template"
    # Tokenised apart from the question by a learner that adapts itself to the answer alone.
    cues = [None if cue is None else list(cue) for cue in (getattr(each, "cue_ids_", None) for each in (one, other))]
    return "" if cues[0] == cues[1] else "adapt"


def group_alike(learners: Sequence[Any]) -> list[list[int]]:
    """Places of learners that read alike, by group, in the order of the first of each.

    Parameters
    ----------
    learners : sequence of TokenLearner
        Initialised or fitted.
    """
    groups: list[list[int]] = []
    for place, learner in enumerate(learners):
        for group in groups:
            if not difference(learners[group[0]], learner):
                group.append(place)
                break
        else:
            groups.append([place])
    return groups


def narrowest(learners: Sequence[Any]) -> Any:
    """The learner that takes the shortest rows, by which those of all of them have to be cut."""
    return min(learners, key=lambda learner: getattr(learner, "max_length_", None) or float("inf"))


def _marks(tokenizer: Any) -> tuple:
    """What may be changed in a tokenizer that has been looked at."""
    return len(tokenizer), tokenizer.eos_token_id, getattr(tokenizer, "bos_token_id", None)


def _digest(tokenizer: Any) -> str:
    marks = _marks(tokenizer)
    known = _DIGESTS.get(tokenizer)
    if known is None or known[0] != marks:  # a vocabulary of 262,144 tokens takes a second
        backend = getattr(tokenizer, "backend_tokenizer", None)
        if backend is None:
            rules: Any = [type(tokenizer).__qualname__, sorted(tokenizer.get_vocab().items())]
        else:
            rules = json.loads(backend.to_str())
            rules.update(padding=None, truncation=None)  # of the last call
        known = marks, hashlib.sha256(json.dumps(rules, sort_keys=True).encode()).hexdigest()
        _DIGESTS[tokenizer] = known
    return known[1]
