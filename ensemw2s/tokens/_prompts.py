"""Questions and answers in their frame, as token ids."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import compress
from typing import Any

from ensemw2s._validation import of_kind
from ensemw2s.tokens._frame import Frame
from ensemw2s.tokens._ids import ANY_TEXT, ReadsTexts, Tokenizer, encode, refuse_unknown, tokenize
from ensemw2s.tokens._known import KnownTexts, known_texts
from ensemw2s.tokens._template import frame_of_learner


def encode_rows(
    prompts: Sequence[str],
    answers: Sequence[str],
    frame: Frame,
    *,
    max_length: int | None,
    truncation: str,
    end_of_answer: bool,
    row_numbers: Sequence[int] | None,
) -> tuple[list[list[int]], list[list[int]]]:
    """Tokens of prompts and of their answers, see `TokenDataset.from_text`."""
    numbers = range(len(prompts)) if row_numbers is None else row_numbers
    closing = frame.closing if end_of_answer else ""
    known = known_texts(frame.tokenizer, frame)
    keys = [(prompt, answer, closing) for prompt, answer in zip(prompts, answers, strict=True)]
    # An answer is tokenised behind its question, which has to be put in its frame for it, be it known or not.
    new = [(prompt,) not in known or key not in known for prompt, key in zip(prompts, keys, strict=True)]
    questions = _in_frame(frame, list(compress(prompts, new)), list(compress(numbers, new)))
    texts: dict[tuple[str, str, str], str] = {}
    for key, number in zip(compress(keys, new), compress(numbers, new), strict=True):
        if key not in known and key not in texts:
            texts[key] = frame.answer(key[0], key[1], questions[key[0]] + frame.cue, int(number)) + closing
    prompt_rows = _question_rows(prompts, questions, frame, known)
    if frame.apart is None:
        # A row that stands here already is not tokenised again for its answer, which has to begin where it ends.
        row_of = dict(zip(prompts, prompt_rows, strict=True))
        contexts = [questions[prompt] + frame.cue for prompt, *_ in texts]
        context_rows = [row_of[prompt] for prompt, *_ in texts]
    else:  # nor may the tokens behind the cue depend on the question
        contexts = [ANY_TEXT + frame.cue] * len(texts)
        context_rows = _encode(contexts[:1], frame) * len(texts)
    made = encode_behind(contexts, context_rows, list(texts.values()), frame)
    answer_rows = known.rows(keys, dict(zip(texts, made, strict=True)))
    if end_of_answer and not closing and frame.end_id is not None:
        answer_rows = [[*row, frame.end_id] for row in answer_rows]
    if max_length is not None:
        prompt_rows = [
            _fit_length(prompt, answer, max_length, truncation, number, frame)
            for number, prompt, answer in zip(numbers, prompt_rows, answer_rows, strict=True)
        ]
    return prompt_rows, answer_rows


def encode_questions(prompts: Sequence[str], frame: Frame, *, numbers: Sequence[int] | None = None) -> list[list[int]]:
    """Tokens that answers start from, special tokens included."""
    numbers = range(len(prompts)) if numbers is None else numbers
    known = known_texts(frame.tokenizer, frame)
    new = [(prompt,) not in known for prompt in prompts]
    questions = _in_frame(frame, list(compress(prompts, new)), list(compress(numbers, new)))
    return _question_rows(prompts, questions, frame, known)


def encode_cue(frame: Frame) -> list[int]:
    """Tokens of the answer cue, the text behind ``{prompt}``, as they stand behind a question.

    Parameters
    ----------
    frame : Frame
        From `frame_of`.

    Returns
    -------
    list of int
        Empty where no text follows the question.
    """
    # Behind any text: many tokenizers encode the start of a text in another way.
    before, both = _encode([ANY_TEXT, ANY_TEXT + frame.cue], frame)
    if both[: len(before)] == before:
        return both[len(before) :]
    return encode([frame.cue], frame.tokenizer, add_special_tokens=False)[0]


def encode_cue_head(frame: Frame, cue_ids: Sequence[int]) -> list[int]:
    """Tokens that a frame puts before every question, up to the last cue in them: that of an example.

    Parameters
    ----------
    frame : Frame
        From `frame_of`.
    cue_ids : sequence of int
        From `encode_cue`.

    Returns
    -------
    list of int
        Empty where no cue stands before the question.
    """
    ids = _encode([frame.head], frame)[0] if frame.head else []
    ends = range(len(ids), len(cue_ids) - 1, -1)
    return next((ids[:end] for end in ends if ids[end - len(cue_ids) : end] == list(cue_ids)), [])


def encode_for_learner(
    learner: ReadsTexts, prompts: Sequence[str], *, room: int | None = None, numbers: Any = None
) -> list[list[int]]:
    """Tokens from which a learner starts to answer: its tokenizer, template, cue and truncation.

    Parameters
    ----------
    learner : TokenLearner
        After ``initialize()`` or ``fit``.
    prompts : sequence of str
        Questions.
    room : int, optional
        Tokens that a prompt may have; a longer one is cut where the learner's ``truncation`` is "prompt".
    numbers : sequence or ndarray of int, optional
        What messages call each row; 0, 1, ... if None.

    Returns
    -------
    list of list of int
    """
    frame = frame_of_learner(learner)
    rows = encode_questions(prompts, frame, numbers=numbers)
    refuse_unknown(rows, numbers, getattr(learner, "n_embeddings_", None), learner.tokenizer_)
    if room is None or room < 1 or getattr(learner, "truncation", "error") != "prompt":
        return rows
    return [cut_prompt(ids, room, frame) for ids in rows]


def encode_behind(
    contexts: Sequence[str], context_rows: Sequence[list[int]], texts: Sequence[str], frame: Frame
) -> list[list[int]]:
    """Tokens of texts behind their contexts; `context_rows` are the contexts' own."""
    if not texts:
        return []
    full_rows = _encode([context + text for context, text in zip(contexts, texts, strict=True)], frame)
    rows = []
    for context, full, text in zip(context_rows, full_rows, texts, strict=True):
        ids = full[len(context) :]
        if full[: len(context)] != context or not ids:
            # The tokenizer merged over the boundary: generation could never produce those ids.
            ids = encode([text], frame.tokenizer, add_special_tokens=False)[0]
        rows.append(ids)
    return rows


def cut_prompt(prompt: list[int], length: int, frame: Frame, cue_ids: Sequence[int] | None = None) -> list[int]:
    """Cut a question on the left; its cue stays, and a BOS token if there is room for another token beside it.

    Parameters
    ----------
    prompt : list of int
        Tokens.
    length : int
        Tokens to keep, at least 1; more are kept where the frame has more that must stay.
    frame : Frame
        Of the prompt.
    cue_ids : sequence of int, optional
        Tokens at the prompt's end that stay; those of the frame if None.

    Returns
    -------
    list of int
    """
    n_head, n_cue = _n_kept(prompt, frame, cue_ids)
    length = max(length, n_cue + n_head if frame.keeps_head else n_cue)
    if len(prompt) <= length:
        return prompt
    # No room for a token of the question beside BOS and cue: BOS goes first.
    if not frame.keeps_head and length <= n_head + n_cue:
        n_head = 0
    return prompt[:n_head] + prompt[len(prompt) - length + n_head :]


def _n_kept(prompt: list[int], frame: Frame, cue_ids: Sequence[int] | None = None) -> tuple[int, int]:
    """Tokens of a prompt's head and of its cue; a tokenizer may have merged the question with some of them."""
    n_head = _n_common(prompt, frame.head_ids)
    cue_ids = frame.apart if cue_ids is None else cue_ids
    n_cue = _n_common(prompt[::-1], frame.cue_ids[::-1]) if cue_ids is None else len(cue_ids)
    return min(n_head, len(prompt) - n_cue), n_cue


def _n_common(ids: Sequence[int], others: Sequence[int]) -> int:
    return next(
        (place for place, (one, other) in enumerate(zip(ids, others, strict=False)) if one != other),
        min(len(ids), len(others)),
    )


def encode_alone(texts: Sequence[str], frame: Frame) -> list[list[int]]:
    """Tokens of what a model writes to say each of some texts, without the end-of-answer token."""
    return tokenize_known([frame.wrap(text) for text in texts], frame.tokenizer, add_special_tokens=False)


def tokenize_known(texts: Sequence[str], tokenizer: Tokenizer, **settings: Any) -> list[list[int]]:
    """`tokenize`, of each text once; within `tokenized_once`, those that are known are not tokenised again."""
    known = known_texts(tokenizer, settings)
    keys = [(text,) for text in texts]
    new = list(dict.fromkeys(key for key in keys if key not in known))
    made = tokenize([text for (text,) in new], tokenizer, **settings) if new else []
    return known.rows(keys, dict(zip(new, made, strict=True)))


def _in_frame(frame: Frame, prompts: Sequence[str], numbers: Sequence[int]) -> dict[str, str]:
    texts: dict[str, str] = {}  # a question stands in one row for each of its options
    for prompt, number in zip(prompts, numbers, strict=True):
        if prompt not in texts:
            texts[prompt] = frame.question(prompt, int(number))
    return texts


def _question_rows(
    prompts: Sequence[str], questions: Mapping[str, str], frame: Frame, known: KnownTexts
) -> list[list[int]]:
    """Tokens of prompts, of which those that are not known stand in their frame among the `questions`."""
    keys = [(prompt,) for prompt in prompts]
    new = {(prompt,): question for prompt, question in questions.items() if (prompt,) not in known}
    if frame.apart is None:
        made = _encode([question + frame.cue for question in new.values()], frame)
    else:
        made = [[*row, *frame.apart] for row in _encode(list(new.values()), frame)]
    return known.rows(keys, dict(zip(new, made, strict=True)))


def _encode(texts: Sequence[str], frame: Frame) -> list[list[int]]:
    return encode(texts, frame.tokenizer, add_special_tokens=frame.adds_special_tokens) if texts else []


def _fit_length(
    prompt: list[int], answer: list[int], max_length: int, truncation: str, number: int, frame: Frame
) -> list[int]:
    # The answer is what is learned: of a row that is too long, only the question may give way.
    excess = len(prompt) + len(answer) - max_length
    if excess <= 0:
        return prompt
    n_head, n_cue = _n_kept(prompt, frame)
    if len(answer) + n_cue + (n_head if frame.keeps_head else 0) >= max_length:
        error = ValueError(
            f"The answer of row {number} is {len(answer)} tokens long, which leaves no room for its prompt in "
            f"max_length={max_length}; raise max_length or drop the row. An answer is never cut."
        )
        raise of_kind(error, "too long")
    if truncation == "error":
        error = ValueError(
            f"Row {number} is {len(prompt) + len(answer)} tokens long, question and answer, more than "
            f"max_length={max_length}; raise max_length, pass truncation='prompt' to cut the prompt on the left, "
            f"or drop the row."
        )
        raise of_kind(error, "too long")
    return cut_prompt(prompt, len(prompt) - excess, frame)
