"""Texts in a template or a chat, as token ids and flat answer tokens; and whether two tokenizers are the same."""

from __future__ import annotations

from ensemw2s.tokens._answers import decode_answers, hold_end, refuse_ends, refuse_other_texts
from ensemw2s.tokens._dataset import (
    DEFAULT_PROMPT_TEMPLATE,
    TokenBatch,
    TokenDataset,
    pad_left,
    pad_right,
    positions_of,
    tokenize_options,
)
from ensemw2s.tokens._digest import describe_tokenizer, digest_tokenizer
from ensemw2s.tokens._frame import Frame
from ensemw2s.tokens._ids import ReadsTexts, Tokenizer, n_ids, padding_id, refuse_unknown, tokenize
from ensemw2s.tokens._known import tokenized_once
from ensemw2s.tokens._prompts import (
    cut_prompt,
    encode_alone,
    encode_cue,
    encode_cue_head,
    encode_for_learner,
    encode_questions,
    tokenize_known,
)
from ensemw2s.tokens._template import PromptTemplate, answer_ends, check_template, frame_of, frame_of_learner, is_chat
from ensemw2s.tokens._tokenizers import byte_tokenizer, word_tokenizer
