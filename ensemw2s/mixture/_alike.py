"""Whether learners read alike, judged by what their tokenizers hold, not by which objects they are."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeGuard, cast

from ensemw2s.contracts import Cued, TokenLearner, WeakLearner
from ensemw2s.tokens import DEFAULT_PROMPT_TEMPLATE, digest_tokenizer, is_chat

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# What is said of learners between which there is a `difference`.
_APART = {
    "kind": "are not both asked token by token: one scores options as a whole",
    "tokenizer": "have different tokenizers: they have no tokens in common",
    "prompt_template": "put questions into different templates (prompt_template): they are not asked the same",
    "chat template": "have tokenizers with different chat templates: they are not asked the same",
    "adapt": "differ in adapt: the cue before the answer is cut apart from the question for some, not for all",
}


def same_tokenizer(one: PreTrainedTokenizerBase, other: PreTrainedTokenizerBase) -> bool:
    """Whether two tokenizers give every text the same ids and all ids the same text, see `digest_tokenizer`.

    Padding is not compared: no token of it is ever read. Nor is the chat template, see `difference`.

    Examples
    --------
    >>> from ensemw2s import byte_tokenizer, word_tokenizer
    >>> same_tokenizer(byte_tokenizer(), byte_tokenizer())
    True
    >>> same_tokenizer(word_tokenizer(["red green"]), word_tokenizer(["red blue"]))  # five tokens each
    False
    """
    return one is other or digest_tokenizer(one).texts == digest_tokenizer(other).texts


def reads_tokens(learner: object) -> TypeGuard[TokenLearner]:
    """Whether it is a `TokenLearner`, and no `OptionLearner`, which scores options as a whole."""
    return hasattr(learner, "token_logits")


def difference(one: WeakLearner, other: WeakLearner) -> str:
    """What lets two initialised learners read a question and its answer differently; "" if nothing does.

    It is the kind of learner, where one has no tokens; the tokenizer, ``prompt_template``, the chat template where that
    is used, or ``adapt``. Not ``truncation``: it cuts no row that fits, and `narrowest` heeds the strictest where one
    does not.
    """
    if not (reads_tokens(one) and reads_tokens(other)):
        return "kind"
    if not same_tokenizer(one.tokenizer_, other.tokenizer_):
        return "tokenizer"
    templates = [getattr(each, "prompt_template", DEFAULT_PROMPT_TEMPLATE) for each in (one, other)]
    if templates[0] != templates[1]:
        return "prompt_template"
    if is_chat(templates[0]) and digest_tokenizer(one.tokenizer_).chats != digest_tokenizer(other.tokenizer_).chats:
        return "chat template"
    # Tokenised apart from the question by a learner that adapts itself to the answer alone.
    cues = [list(each.cue_ids_) if isinstance(each, Cued) else None for each in (one, other)]
    return "" if cues[0] == cues[1] else "adapt"


def group_alike(learners: Sequence[WeakLearner]) -> list[list[int]]:
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


def apart(learners: Sequence[WeakLearner], groups: Sequence[Sequence[int]]) -> str:
    """Why learners of several groups cannot be asked token by token, such as "Members 0 and 1 have …"."""
    if len(groups) == 1:
        return f"Member {groups[0][0]} scores options as a whole, and has no tokens"
    first, second = groups[0][0], groups[1][0]
    return f"Members {first} and {second} {_APART[difference(learners[first], learners[second])]}"


def narrowest(learners: Sequence[TokenLearner]) -> TokenLearner:
    """The learner that takes the shortest rows, by which those of all of them have to be read.

    Where any of them refuses longer rows, it is a copy that does: no learner is to read what it would not cut itself.
    """
    reader = min(learners, key=lambda learner: getattr(learner, "max_length_", None) or float("inf"))
    if len({getattr(learner, "truncation", "error") for learner in learners}) > 1:
        reader = copy.copy(reader)
        cast(Any, reader).truncation = "error"
    return reader
