"""What stands around a question and its answer."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field

from ensemw2s.tokens._ids import Tokenizer


@dataclass(frozen=True)
class Frame(ABC):
    """Texts and tokens around a question and its answer.

    Attributes
    ----------
    head : str
        Text before the question.
    cue : str
        Text between question and answer.
    separator : str
        Blank that the model writes before an answer, as far as `cue` says.
    closing : str
        Text behind an answer, with the end-of-answer token at its end; "" where that token follows by itself.
    end_id : int or None
        The end-of-answer token.
    head_ids, cue_ids : tuple of int
        Tokens before and behind the question that a cut leaves in place where they are there.
    keeps_head : bool
        Whether a row without its head is of no use.
    adds_special_tokens : bool
        Whether the tokenizer puts special tokens of its own around a text.
    tokenizer : transformers.PreTrainedTokenizerBase
        The model's; two frames differ by their texts and tokens.
    apart : tuple of int or None
        Tokens of the cue where question and cue are tokenised apart, so that every prompt ends with them, whatever the
        question is; None where they are one text.
    """

    head: str
    cue: str
    separator: str
    closing: str
    end_id: int | None
    head_ids: tuple[int, ...]
    cue_ids: tuple[int, ...]
    keeps_head: bool
    adds_special_tokens: bool
    tokenizer: Tokenizer = field(repr=False, compare=False)
    apart: tuple[int, ...] | None

    @abstractmethod
    def question(self, question: str, number: int) -> str:
        """The text up to the cue; messages call the row by its number."""

    @abstractmethod
    def answer(self, question: str, answer: str, prompt: str, number: int) -> str:
        """The text between `closing` and the prompt, which is question and cue."""

    @abstractmethod
    def wrap(self, answer: str) -> str:
        """The text that a model writes to say an answer, up to the end-of-answer token."""

    @abstractmethod
    def unwrap(self, text: str) -> str:
        """The answer that a model says by a text: `wrap` backwards."""
