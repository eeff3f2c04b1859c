"""Questions and answers in a template or a chat, as token ids."""

from __future__ import annotations

from ensemw2s._encoding._frame import Frame
from ensemw2s._encoding._ids import encode, n_ids, padding_id, refuse_unknown, tokenize
from ensemw2s._encoding._rows import (
    cut_prompt,
    encode_cue,
    encode_cue_head,
    encode_for_learner,
    encode_questions,
    encode_rows,
)
from ensemw2s._encoding._template import (
    PromptTemplate,
    answer_ends,
    check_template,
    frame_of,
    frame_of_learner,
    is_chat,
)
from ensemw2s._encoding._text import DEFAULT_PROMPT_TEMPLATE
from ensemw2s._encoding._written import decode_answers, hold_end, refuse_ends, refuse_other_texts

__all__ = [
    "DEFAULT_PROMPT_TEMPLATE",
    "Frame",
    "PromptTemplate",
    "answer_ends",
    "check_template",
    "cut_prompt",
    "decode_answers",
    "encode",
    "encode_cue",
    "encode_cue_head",
    "encode_for_learner",
    "encode_questions",
    "encode_rows",
    "frame_of",
    "frame_of_learner",
    "hold_end",
    "is_chat",
    "n_ids",
    "padding_id",
    "refuse_ends",
    "refuse_other_texts",
    "refuse_unknown",
    "tokenize",
]
