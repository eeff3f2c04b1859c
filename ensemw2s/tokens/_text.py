"""A text around the question."""

from __future__ import annotations

from dataclasses import dataclass

from ensemw2s.tokens._frame import Frame
from ensemw2s.tokens._ids import Tokenizer

DEFAULT_PROMPT_TEMPLATE = "Question: {prompt}\nAnswer:"


@dataclass(frozen=True)
class TextFrame(Frame):
    """A text with ``{prompt}``; the answer follows after a space, and the tokenizer's EOS ends it.

    Attributes
    ----------
    before : str
        The template up to its last ``{prompt}``.
    """

    before: str

    @classmethod
    def of(cls, template: str, tokenizer: Tokenizer, apart: tuple[int, ...] | None) -> TextFrame:
        """The frame of a template."""
        before, place, cue = template.rpartition("{prompt}")
        bos = tokenizer.bos_token_id
        return cls(
            head=(before + place).partition("{prompt}")[0],
            cue=cue,
            separator=_separator(cue),
            closing="",
            end_id=tokenizer.eos_token_id,
            head_ids=() if bos is None else (bos,),
            cue_ids=(),
            keeps_head=False,
            adds_special_tokens=True,
            tokenizer=tokenizer,
            apart=apart,
            before=before + place,
        )

    def question(self, question: str, number: int) -> str:
        # Not str.format: a question or a template may hold braces of its own.
        return self.before.replace("{prompt}", question)

    def answer(self, question: str, answer: str, prompt: str, number: int) -> str:
        return answer if answer[0].isspace() else _separator(prompt) + answer

    def wrap(self, answer: str) -> str:
        return answer if answer[:1].isspace() else self.separator + answer

    def unwrap(self, text: str) -> str:
        # Indentation stands without a separator before it.
        n_blank = len(self.separator)
        return text[n_blank:] if text.startswith(self.separator) and not text[n_blank : n_blank + 1].isspace() else text


def _separator(text: str) -> str:
    return "" if text[-1:].isspace() else " "
