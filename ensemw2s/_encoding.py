"""Questions and answers in a template, as token ids."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ensemw2s._validation import shorten

__all__ = [
    "DEFAULT_PROMPT_TEMPLATE",
    "cut_prompt",
    "encode_cue",
    "encode_for_learner",
    "encode_prompts",
    "encode_rows",
    "fill_template",
]

DEFAULT_PROMPT_TEMPLATE = "Question: {prompt}\nAnswer:"
_ANY_TEXT = "a"  # stands before a cue, since many tokenizers treat the start of a text in a way of its own


def fill_template(prompt_template: str, prompt: str) -> str:
    """Put a question into its template.

    Raises
    ------
    TypeError, ValueError
        If the template is no text, or has no place for the question.
    """
    if not isinstance(prompt_template, str):
        raise TypeError(f"prompt_template must be a text. Got {shorten(prompt_template)} instead.")
    if "{prompt}" not in prompt_template:
        raise ValueError(f"prompt_template must contain '{{prompt}}'. Got {prompt_template!r} instead.")
    # Not str.format: a question or a template may hold braces of its own.
    return prompt_template.replace("{prompt}", prompt)


def encode_prompts(contexts: Sequence[str], tokenizer: Any) -> list[list[int]]:
    """Tokens that generation starts from, special tokens such as BOS included.

    Parameters
    ----------
    contexts : sequence of str
        Questions in their template.
    tokenizer : transformers.PreTrainedTokenizerBase
        The model's tokenizer.

    Returns
    -------
    list of list of int
    """
    return _encode(contexts, tokenizer, add_special_tokens=True)


def encode_rows(
    prompts: Sequence[str],
    answers: Sequence[str],
    tokenizer: Any,
    *,
    prompt_template: str,
    max_length: int | None,
    truncation: str,
    eos: list[int],
    row_numbers: Sequence[int] | None,
    cue_ids: Sequence[int] | None,
) -> tuple[list[list[int]], list[list[int]]]:
    """Tokens of prompts and of their answers, see `TokenDataset.from_text`; `eos` is appended to each answer."""
    prompt_rows = _encode_questions(prompts, prompt_template, tokenizer, cue_ids)
    if cue_ids is None:
        contexts, context_rows = [fill_template(prompt_template, prompt) for prompt in prompts], prompt_rows
    else:  # the question must have no say in the tokens behind the cue either
        contexts = [_ANY_TEXT + _split_template(prompt_template)[1]] * len(prompts)
        context_rows = encode_prompts(contexts[:1], tokenizer) * len(prompts)
    answer_rows = [[*ids, *eos] for ids in _encode_answers(contexts, context_rows, answers, tokenizer)]
    if max_length is not None:
        numbers = range(len(prompt_rows)) if row_numbers is None else row_numbers
        n_cue = 0 if cue_ids is None else len(cue_ids)
        prompt_rows = [
            _fit_length(prompt, answer, max_length, truncation, row, tokenizer.bos_token_id, n_cue)
            for row, prompt, answer in zip(numbers, prompt_rows, answer_rows, strict=True)
        ]
    return prompt_rows, answer_rows


def encode_cue(prompt_template: str, tokenizer: Any) -> list[int]:
    """Tokens of the answer cue, the text behind ``{prompt}``, as they stand behind a question.

    Parameters
    ----------
    prompt_template : str
        Text around a question.
    tokenizer : transformers.PreTrainedTokenizerBase
        The model's tokenizer.

    Returns
    -------
    list of int
        Empty where no text follows the question.
    """
    cue = _split_template(prompt_template)[1]
    before, both = encode_prompts([_ANY_TEXT, _ANY_TEXT + cue], tokenizer)
    if both[: len(before)] == before:
        return both[len(before) :]
    return _encode([cue], tokenizer, add_special_tokens=False)[0]


def encode_for_learner(learner: Any, prompts: Sequence[str], *, room: int | None = None) -> list[list[int]]:
    """Tokens from which a learner starts to answer: its tokenizer, template, cue and truncation.

    Parameters
    ----------
    learner : TokenLearner
        After ``initialize()`` or ``fit``.
    prompts : sequence of str
        Questions.
    room : int, optional
        Tokens that a prompt may have; a longer one is cut where the learner's ``truncation`` is "prompt".

    Returns
    -------
    list of list of int
    """
    template = getattr(learner, "prompt_template", DEFAULT_PROMPT_TEMPLATE)
    cue_ids = getattr(learner, "cue_ids_", None)
    rows = _encode_questions(prompts, template, learner.tokenizer_, cue_ids)
    if room is None or room < 1 or getattr(learner, "truncation", "error") != "prompt":
        return rows
    bos, n_cue = learner.tokenizer_.bos_token_id, 0 if cue_ids is None else len(cue_ids)
    return [cut_prompt(ids, room, bos, n_cue=n_cue) for ids in rows]


def cut_prompt(prompt: list[int], length: int, bos: int | None, *, n_cue: int = 0) -> list[int]:
    """Cut a prompt on the left; a BOS token at its start stays, if there is room for another token.

    Parameters
    ----------
    prompt : list of int
        Tokens.
    length : int
        Tokens to keep, at least 1.
    bos : int or None
        The tokenizer's BOS token.
    n_cue : int, default=0
        Tokens at the prompt's end that are kept in any case.

    Returns
    -------
    list of int
    """
    if len(prompt) <= length:
        return prompt
    length = max(length, n_cue)
    keep_bos = prompt[0] == bos and length > n_cue + 1
    return [prompt[0], *prompt[len(prompt) - length + 1 :]] if keep_bos else prompt[len(prompt) - length :]


def _split_template(prompt_template: str) -> tuple[str, str]:
    """A template up to its last ``{prompt}``, and the text behind it."""
    before, place, cue = prompt_template.rpartition("{prompt}")
    return before + place, cue


def _encode_questions(
    prompts: Sequence[str], prompt_template: str, tokenizer: Any, cue_ids: Sequence[int] | None
) -> list[list[int]]:
    template = prompt_template if cue_ids is None else _split_template(prompt_template)[0]
    rows = encode_prompts([fill_template(template, prompt) for prompt in prompts], tokenizer)
    return rows if cue_ids is None else [[*row, *cue_ids] for row in rows]


def _encode_answers(
    contexts: Sequence[str], context_rows: Sequence[list[int]], answers: Sequence[str], tokenizer: Any
) -> list[list[int]]:
    joined = [_join(context, answer) for context, answer in zip(contexts, answers, strict=True)]
    full_rows = _encode(joined, tokenizer, add_special_tokens=True)
    answer_rows = []
    for row, (prompt, full) in enumerate(zip(context_rows, full_rows, strict=True)):
        ids = full[len(prompt) :]
        if full[: len(prompt)] != prompt or not ids:
            # The tokenizer merged over the boundary: generation could never produce those ids.
            ids = _encode([joined[row][len(contexts[row]) :]], tokenizer, add_special_tokens=False)[0]
        answer_rows.append(ids)
    return answer_rows


def _encode(texts: Sequence[str], tokenizer: Any, *, add_special_tokens: bool) -> list[list[int]]:
    # verbose=False: over-long rows are reported by us, with their row number.
    rows = tokenizer(list(texts), add_special_tokens=add_special_tokens, verbose=False)["input_ids"]
    if not add_special_tokens or not _closes_texts(tokenizer):
        return [list(row) for row in rows]
    return [list(row[:-1]) for row in rows]


def _closes_texts(tokenizer: Any) -> bool:
    """Whether every text gets an EOS: a prompt must stay open, and answers get theirs from us."""
    eos = tokenizer.eos_token_id
    closed, bare = (tokenizer("a", add_special_tokens=special, verbose=False)["input_ids"] for special in (True, False))
    return eos is not None and closed[-1:] == [eos] and bare[-1:] != [eos]


def _join(context: str, answer: str) -> str:
    separator = "" if context[-1].isspace() or answer[0].isspace() else " "
    return context + separator + answer


def _fit_length(
    prompt: list[int], answer: list[int], max_length: int, truncation: str, row: int, bos: int | None, n_cue: int
) -> list[int]:
    excess = len(prompt) + len(answer) - max_length
    if excess <= 0:
        return prompt
    if len(answer) + n_cue >= max_length:
        raise ValueError(
            f"answers[{row}] is {len(answer)} tokens long, which leaves no room for its prompt in "
            f"max_length={max_length}; raise max_length or drop the row. An answer is never cut."
        )
    if truncation == "error":
        raise ValueError(
            f"prompts[{row}] and its answer are {len(prompt) + len(answer)} tokens long, more than "
            f"max_length={max_length}; raise max_length, pass truncation='prompt' to cut the prompt on the left, "
            f"or drop the row."
        )
    return cut_prompt(prompt, len(prompt) - excess, bos, n_cue=n_cue)
