"""What ``prompt_template`` may be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

from ensemw2s.tokens._chat import ChatFrame, check_messages
from ensemw2s.tokens._frame import Frame
from ensemw2s.tokens._ids import ReadsTexts, Tokenizer
from ensemw2s.tokens._text import DEFAULT_PROMPT_TEMPLATE, TextFrame

PromptTemplate: TypeAlias = "str | Sequence[Mapping[str, str]]"

_CHAT = ({"role": "user", "content": "{prompt}"},)


def is_chat(prompt_template: object) -> bool:
    """Whether a template is the tokenizer's chat template."""
    return not isinstance(prompt_template, str) or prompt_template == "chat"


def check_template(prompt_template: object) -> None:
    """Refuse what is no template; whether a tokenizer has a chat template shows in `frame_of`.

    Raises
    ------
    TypeError, ValueError
        If it is neither a text nor a list of messages, or has no place for the question.
    """
    if not isinstance(prompt_template, str):
        check_messages(prompt_template)
    elif prompt_template != "chat" and "{prompt}" not in prompt_template:
        raise ValueError(f"prompt_template must contain '{{prompt}}', or be 'chat'. Got {prompt_template!r} instead.")


def frame_of(prompt_template: PromptTemplate, tokenizer: Tokenizer, cue_ids: Sequence[int] | None = None) -> Frame:
    """What a template puts around questions and answers.

    Parameters
    ----------
    prompt_template : str or list of dict
        A text with ``{prompt}``, "chat", or chat messages of which the last holds ``{prompt}``.
    tokenizer : transformers.PreTrainedTokenizerBase
        The model's tokenizer.
    cue_ids : sequence of int, optional
        From `encode_cue`: question and cue are then tokenised apart.

    Raises
    ------
    TypeError, ValueError
        If it is no template, or the tokenizer has no chat template, or one that cannot be taken apart.
    """
    check_template(prompt_template)
    apart = None if cue_ids is None else tuple(cue_ids)
    if isinstance(prompt_template, str) and prompt_template != "chat":
        return TextFrame.of(prompt_template, tokenizer, apart)
    return ChatFrame.of(_CHAT if isinstance(prompt_template, str) else prompt_template, tokenizer, apart)


def frame_of_learner(learner: ReadsTexts) -> Frame:
    """What an initialised `TokenLearner` puts around questions and answers."""
    template = getattr(learner, "prompt_template", DEFAULT_PROMPT_TEMPLATE)
    return frame_of(template, learner.tokenizer_, getattr(learner, "cue_ids_", None))


def answer_ends(learner: ReadsTexts) -> list[int]:
    """Tokens that end what a learner writes: the end-of-answer token, the tokenizer's end of a text, the model's own.

    Parameters
    ----------
    learner : TokenLearner
        After ``initialize()`` or ``fit``.

    Returns
    -------
    list of int
        The end-of-answer token first; empty where there is none.
    """
    ends = dict.fromkeys(
        [frame_of_learner(learner).end_id, learner.tokenizer_.eos_token_id, *(getattr(learner, "end_ids_", None) or ())]
    )
    return [int(token) for token in ends if token is not None]
