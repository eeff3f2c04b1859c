"""Answers written by a mixture: batches of prompts in, texts or step distributions out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ensemw2s._validation import check_integer, of_kind
from ensemw2s.contracts import TokenLearner, eval_batch_size
from ensemw2s.mixture._scoring import option_table
from ensemw2s.tokens import (
    decode_answers,
    encode_for_learner,
    frame_of_learner,
    pad_left,
    padding_id,
    tokenize_options,
)


@dataclass(frozen=True)
class Written:
    """An answer that was written.

    Attributes
    ----------
    text : str
        Exactly what its tokens say.
    finished : bool
        Whether it was ended, by an end-of-answer token or another rule of the caller's, and not for want of room.
    """

    text: str
    finished: bool


def write_answers(
    mixture: Any, learner: TokenLearner, prompts: Sequence[str], settings: dict[str, Any]
) -> list[list[Written]]:
    """Answers of a mixture to questions, in the questions' order.

    Parameters
    ----------
    mixture : MixtureForCausalLM
        The ensemble.
    learner : TokenLearner
        A member, for its tokenizer, template and limits.
    prompts : sequence of str
        Questions.
    settings : dict
        Keywords of ``generate``.

    Returns
    -------
    list of list of Written
        As many for each question as sequences were asked for.
    """
    if "generation_config" not in settings:
        settings = {"do_sample": False, **settings}
    frame = frame_of_learner(learner)
    answers: list[list[Written]] = [[] for _ in prompts]
    for rows, ids, mask in _prompt_batches(learner, prompts, n_new_tokens(settings)):
        output = mixture.generate(input_ids=ids.to(mixture.device), attention_mask=mask.to(mixture.device), **settings)
        sequences = output if not hasattr(output, "sequences") else output.sequences
        parts = [_up_to_end(row, mixture, settings) for row in sequences[:, ids.shape[1] :].tolist()]
        texts = decode_answers([part for part, _ in parts], frame)
        written = [Written(text, finished) for text, (_, finished) in zip(texts, parts, strict=True)]
        n_sequences = len(written) // len(rows)  # asked for by a keyword or by a GenerationConfig
        for place, row in enumerate(rows):
            answers[row] = written[place * n_sequences : (place + 1) * n_sequences]
    return answers


def texts_of(written: Sequence[Sequence[Written]]) -> list[Any]:
    """Texts as ``generate`` returns them: one for each question, or a list where there are several."""
    texts = [[answer.text for answer in answers] for answers in written]
    return [answers[0] if len(answers) == 1 else answers for answers in texts]


def _up_to_end(ids: list[int], mixture: Any, settings: dict[str, Any]) -> tuple[list[int], bool]:
    """Written tokens without the one that ends them and the padding behind, and whether they were ended."""
    ends = setting(settings, "eos_token_id", mixture)
    ends = set() if ends is None else {int(end) for end in np.atleast_1d(np.asarray(ends, dtype=np.int64))}
    for place, token in enumerate(ids):
        if token in ends:
            return ids[:place], True
    if setting(settings, "stop_strings", mixture) is None and settings.get("stopping_criteria") is None:
        return ids, False
    pad, length = setting(settings, "pad_token_id", mixture), len(ids)
    while length and ids[length - 1] == pad:
        length -= 1
    return ids[:length], length < len(ids) or length < n_new_tokens(settings)


def setting(settings: dict[str, Any], name: str, model: Any = None) -> Any:
    """What a keyword of ``generate`` says, or else its ``generation_config``, or else that of the model; or None."""
    configs = (settings.get("generation_config"), getattr(model, "generation_config", None))
    said = (settings.get(name), *(getattr(config, name, None) for config in configs))
    return next((value for value in said if value is not None), None)


def n_new_tokens(settings: dict[str, Any]) -> int:
    """Largest number of tokens that ``generate`` may write, as far as its keywords say."""
    return int(setting(settings, "max_new_tokens") or 0)


def with_length(settings: dict[str, Any], max_new_tokens: int) -> dict[str, Any]:
    """Keywords of ``generate``, with the largest number of tokens where they do not say how many.

    Raises
    ------
    ValueError
        If they say that less than one token, or part of one, is to be written.
    """
    lengths = {name: setting(settings, name) for name in ("max_new_tokens", "max_length")}
    given = [check_integer(value, name, minimum=1) for name, value in lengths.items() if value is not None]
    return settings if given else {**settings, "max_new_tokens": max_new_tokens}


def match_nll(
    mixture: Any, learner: TokenLearner, prompts: Sequence[str], choices: Sequence[Sequence[str]], *, normalize: str
) -> np.ndarray:
    r"""Negative log-likelihood of each option under the steps of the greedy answer (the paper's second reading).

    The ensemble first decodes :math:`\hat y`; an option's token `j` is then scored by the distribution of decoding
    step `j`, whatever the option's earlier tokens are. Decoding goes on after an end-of-answer token until there is
    a step for every token of the longest option.

    Returns
    -------
    ndarray of shape (n, K)
        ``inf`` where a question has fewer options.
    """
    tokens = tokenize_options(learner, prompts, choices)
    ends = np.cumsum([len(options) for options in choices])
    nll, n_steps = np.empty(len(tokens)), int(tokens.answer_lengths.max())
    for rows, ids, mask in _prompt_batches(learner, prompts, n_steps):
        output = mixture.generate(
            input_ids=ids.to(mixture.device),
            attention_mask=mask.to(mixture.device),
            max_new_tokens=n_steps,
            eos_token_id=[],
            do_sample=False,
            return_dict_in_generate=True,
            output_logits=True,
        )
        steps = np.stack([step.log_softmax(dim=-1).cpu().numpy() for step in output.logits], axis=1)  # (B, steps, V)
        for place, row in enumerate(rows):
            for option in range(ends[row] - len(choices[row]), ends[row]):
                answer = tokens.row_ids(option)[1]
                nll[option] = -float(steps[place, np.arange(len(answer)), answer].sum(dtype=np.float64))
    return option_table(nll, tokens, choices, normalize)


def encode_with_room(
    learner: TokenLearner, prompts: Sequence[str], n_new: int, numbers: Sequence[int] | np.ndarray | None = None
) -> list[list[int]]:
    """Tokens of prompts that leave room for `n_new` more.

    Raises
    ------
    ValueError
        If one leaves none; the message calls it by its number, or its place if `numbers` is None.
    """
    limit = getattr(learner, "max_length_", None)
    encoded = encode_for_learner(learner, prompts, room=None if limit is None else limit - n_new, numbers=numbers)
    for row, ids in enumerate(encoded):
        if limit is not None and len(ids) + n_new > limit:
            error = ValueError(
                f"X[{row if numbers is None else numbers[row]}] is {len(ids)} tokens long and leaves no room for "
                f"max_new_tokens={n_new} in the model's {limit} tokens; shorten the question, drop the row, or pass a "
                f"smaller max_new_tokens."
            )
            raise of_kind(error, "too long")
    return encoded


def _prompt_batches(learner: TokenLearner, prompts: Sequence[str], n_new: int) -> Iterator[tuple[np.ndarray, Any, Any]]:
    """Rows, token ids and masks, left-padded, in batches of prompts of like length."""
    import torch

    encoded = encode_with_room(learner, prompts, n_new)
    lengths = np.array([len(ids) for ids in encoded])
    pad = padding_id(learner)
    order = np.argsort(-lengths, kind="stable")
    batch_size = eval_batch_size(learner)
    for start in range(0, len(order), batch_size):
        rows = order[start : start + batch_size]
        ids, mask = pad_left([encoded[row] for row in rows], pad)  # (B, L)
        yield rows, torch.from_numpy(ids), torch.from_numpy(mask)
