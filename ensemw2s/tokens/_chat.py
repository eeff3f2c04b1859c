"""The chat template of a tokenizer, taken apart around question and answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ensemw2s._validation import of_kind, shorten
from ensemw2s.tokens._bounded_template import render_template
from ensemw2s.tokens._frame import Frame
from ensemw2s.tokens._ids import Tokenizer, encode
from ensemw2s.tokens._text import DEFAULT_PROMPT_TEMPLATE

Messages = Sequence[Mapping[str, str]]

# They stand for a question and an answer where the template is taken apart.
_QUESTION, _ANSWER = "ensemw2sQuestion", "ensemw2sAnswer"
# Some templates write today's date: the same rows would have other tokens tomorrow. Llama 3 falls back to this one.
_FIXED_DATE = "{% macro strftime_now(format) %}26 Jul 2024{% endmacro %}"


def check_messages(messages: object) -> None:
    """Refuse what is no list of chat messages with the question in the last one.

    Raises
    ------
    TypeError, ValueError
        Names the message.
    """
    if not isinstance(messages, Sequence):
        raise TypeError(f"prompt_template must be a text or a list of chat messages. Got {shorten(messages)} instead.")
    for row, message in enumerate(messages):
        is_message = isinstance(message, Mapping) and set(message) == {"role", "content"}
        if not is_message or not all(isinstance(value, str) for value in message.values()):
            raise TypeError(
                f"prompt_template must hold messages such as {{'role': 'user', 'content': '{{prompt}}'}}. Got "
                f"prompt_template[{row}] = {shorten(message)} instead."
            )
    places = [row for row, message in enumerate(messages) if "{prompt}" in message["content"]]
    last = len(messages) - 1
    if places != [last] or messages[last]["role"] != "user" or messages[last]["content"].count("{prompt}") > 1:
        raise ValueError(
            f"prompt_template must hold '{{prompt}}' once, in its last message, which is the user's. Got "
            f"{shorten(list(messages))} instead."
        )


@dataclass(frozen=True)
class ChatFrame(Frame):
    """A conversation in the words of the tokenizer's chat template.

    The template is rendered with marks in place of question and answer, and what stands before, between and behind
    them is kept. Each row is rendered too, and refused where the template has made something else of it: so the texts
    are exactly those of ``apply_chat_template`` on the whole conversation, up to the end-of-turn token.

    Attributes
    ----------
    tokenizer : transformers.PreTrainedTokenizerBase
        With a chat template.
    messages : sequence of dict
        The conversation up to the question.
    opening : str
        What the template puts before an answer but not behind ``add_generation_prompt``, such as an empty thought.
    tail : str
        All text behind an answer.
    """

    messages: Messages
    opening: str
    tail: str

    @classmethod
    def of(cls, messages: Messages, tokenizer: Tokenizer, apart: tuple[int, ...] | None) -> ChatFrame:
        """Take a tokenizer's template apart.

        Raises
        ------
        ValueError
            If there is none, or it cannot be taken apart.
        """
        if not getattr(tokenizer, "chat_template", None):
            raise ValueError(
                f"prompt_template must be a text, such as {DEFAULT_PROMPT_TEMPLATE!r}, where the tokenizer has no chat "
                f"template. Got {_name(messages)} instead; pass a text, take an instruction-tuned model, or set "
                f"tokenizer.chat_template."
            )
        prompt = _render(tokenizer, messages, _QUESTION)
        whole = _render(tokenizer, messages, _QUESTION, _ANSWER)
        before, _, tail = whole.partition(_ANSWER)
        # The text that generation starts from must be how the whole conversation goes on, or a model would be trained
        # on another text than it is asked with.
        if whole.count(_ANSWER) != 1 or prompt.count(_QUESTION) != 1 or not before.startswith(prompt):
            raise ValueError(
                f"prompt_template must be a text where the tokenizer's chat template does not go on from its own "
                f"generation prompt: that ends with {shorten(prompt[-40:])}, and what stands before an answer with "
                f"{shorten(before[-40:])}. Got {_name(messages)} instead; pass a text, or set tokenizer.chat_template."
            )
        between = before[len(prompt) :]
        # A blank is the model's to write; an empty thought or a header is there for it.
        separator, opening = (between, "") if not between.strip() else ("", between)
        head, _, cue = (prompt + opening).partition(_QUESTION)
        closing, end_id = _end_of_turn(tail, tokenizer)
        head_ids, cue_ids = encode([head, cue], tokenizer, add_special_tokens=False)
        return cls(
            cue=cue,
            separator=separator,
            closing=closing,
            end_id=end_id,
            head_ids=tuple(head_ids),
            cue_ids=tuple(cue_ids),
            keeps_head=True,
            adds_special_tokens=False,
            tokenizer=tokenizer,
            apart=apart,
            messages=messages,
            head=head,
            opening=opening,
            tail=tail,
        )

    def question(self, question: str, number: int) -> str:
        prompt = _render(self.tokenizer, self.messages, question) + self.opening
        _check_between(self.head, question, self.cue, prompt, f"The question of row {number}")
        return prompt[: len(prompt) - len(self.cue)]

    def answer(self, question: str, answer: str, prompt: str, number: int) -> str:
        whole = _render(self.tokenizer, self.messages, question, answer)
        _check_between(prompt + self.separator, answer, self.tail, whole, f"The answer of row {number}")
        return whole[len(prompt) : len(whole) - len(self.tail)]

    def wrap(self, answer: str) -> str:
        return self.separator + answer + self._last_blank

    def unwrap(self, text: str) -> str:
        return text.removeprefix(self.separator).removesuffix(self._last_blank)

    @property
    def _last_blank(self) -> str:
        """What stands between an answer and the token that ends the turn."""
        return self.closing[: len(self.closing) - len(self.closing.lstrip())]


def _end_of_turn(tail: str, tokenizer: Tokenizer) -> tuple[str, int | None]:
    """The text behind an answer up to the token that ends it, and this token; EOS where no text follows."""
    visible = tail.lstrip()
    if not visible:
        return "", tokenizer.eos_token_id
    # The first token of the tail must be the end of the turn as a whole, and special, so that no answer can contain it.
    end_id = encode([visible], tokenizer, add_special_tokens=False)[0][0]
    token = tokenizer.convert_ids_to_tokens(end_id)
    if not visible.startswith(token) or tokenizer.decode([end_id], skip_special_tokens=True):
        raise ValueError(
            f"prompt_template must be a text where the tokenizer's chat template does not end an answer by a special "
            f"token, at which generation could stop. Got one that goes on with {shorten(tail)}; set "
            f"tokenizer.chat_template."
        )
    return tail[: len(tail) - len(visible)] + token, end_id


def _render(tokenizer: Tokenizer, messages: Messages, question: str, answer: str | None = None) -> str:
    from jinja2 import TemplateError

    *earlier, last = messages
    user_turn = {**last, "content": last["content"].replace("{prompt}", question)}
    reply = [] if answer is None else [{"role": "assistant", "content": answer}]
    template = tokenizer.get_chat_template()
    if "strftime_now" in template:
        template = _FIXED_DATE + template
    try:
        return render_template(
            template, messages=[dict(message) for message in (*earlier, user_turn, *reply)], tools=None, documents=None,
            add_generation_prompt=answer is None, **tokenizer.special_tokens_map,
        )  # fmt: skip
    except TemplateError as error:
        raise ValueError(
            f"prompt_template must be a conversation that the tokenizer's chat template takes, which says: {error} Got "
            f"{_name(messages)} instead."
        ) from error


def _check_between(before: str, text: str, behind: str, whole: str, name: str) -> None:
    inner = whole[len(before) : len(whole) - len(behind)]
    # Templates may strip a text, which is all the same to the answer.
    if not (whole.startswith(before) and whole.endswith(behind) and inner.strip() == text.strip() and inner):
        error = ValueError(
            f"{name} must be a text that the tokenizer's chat template puts down as it is. Got {shorten(text)}, of "
            f"which it makes {shorten(inner)}; rephrase or drop the row."
        )
        raise of_kind(error, "a text that the chat template changes")


def _name(messages: Messages) -> str:
    return "'chat'" if len(messages) == 1 else shorten(list(messages))
