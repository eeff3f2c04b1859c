"""Questions and answers in a template or a chat, as token ids."""

from __future__ import annotations

from ensemw2s._encoding._frame import Frame
from ensemw2s._encoding._ids import encode, tokenize
from ensemw2s._encoding._rows import cut_prompt, encode_cue, encode_for_learner, encode_questions, encode_rows
from ensemw2s._encoding._template import PromptTemplate, answer_ends, check_template, frame_of, is_chat
from ensemw2s._encoding._text import DEFAULT_PROMPT_TEMPLATE

__all__ = [
    "DEFAULT_PROMPT_TEMPLATE",
    "Frame",
    "PromptTemplate",
    "answer_ends",
    "check_template",
    "cut_prompt",
    "encode",
    "encode_cue",
    "encode_for_learner",
    "encode_questions",
    "encode_rows",
    "frame_of",
    "is_chat",
    "tokenize",
]
