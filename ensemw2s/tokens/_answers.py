"""The texts that answer tokens say, and the answers whose tokens say something else."""

from __future__ import annotations

from collections.abc import Sequence

from ensemw2s._validation import of_kind, shorten
from ensemw2s.tokens._frame import Frame
from ensemw2s.tokens._ids import ANY_TEXT, ReadsTexts, Tokenizer, TokenRows, encode
from ensemw2s.tokens._prompts import encode_alone, encode_behind
from ensemw2s.tokens._template import answer_ends, frame_of_learner


def decode_answers(rows: TokenRows, frame: Frame) -> list[str]:
    """Texts of answers: the inverse of what `encode_rows` does to an answer.

    No token is left out and no blank is tidied up: ``"<pad>"``, indented code and a blank before a full stop are parts
    of an answer. A tokenizer may write a token in another way at the start of a text, so the answer is decoded behind
    the cue.

    Parameters
    ----------
    rows : sequence of sequences of int
        Tokens behind the prompt, without the end-of-answer token.
    frame : Frame
        Of the prompt.

    Returns
    -------
    list of str
    """
    # Token by token a text is not the concatenation of its parts: blanks and bytes of one character are shared out
    # among tokens. So whole rows are decoded, and the known beginning is taken off.
    before, tokenizer = ANY_TEXT + frame.cue, frame.tokenizer
    ids = encode([before], tokenizer, add_special_tokens=frame.adds_special_tokens)[0]
    start = _decode([ids], tokenizer)[0]
    texts = []
    for row, whole in zip(rows, _decode([[*ids, *row] for row in rows], tokenizer), strict=True):
        texts.append(frame.unwrap(whole[len(start) :] if whole.startswith(start) else _decode([row], tokenizer)[0]))
    # A first blank may be the tokenizer's, which puts one before a word or between two. Then the answer without it has
    # these tokens, too.
    doubtful = [place for place, text in enumerate(texts) if text.startswith(" ")]
    without = [frame.wrap(texts[place][1:]) for place in doubtful]
    again = encode_behind([before] * len(doubtful), [ids] * len(doubtful), without, frame)
    for place, spelled in zip(doubtful, again, strict=True):
        if spelled == list(rows[place]):
            texts[place] = texts[place][1:]
    return texts


def hold_end(texts: Sequence[str], learner: ReadsTexts) -> list[bool]:
    """Which texts hold, spelled out, a token that ends what a learner writes; none of them is an answer for it."""
    frame, ends = frame_of_learner(learner), set(answer_ends(learner))
    return [not ends.isdisjoint(row) for row in encode_alone(texts, frame)]


def refuse_ends(
    answer_rows: TokenRows, texts: Sequence[str], numbers: Sequence[int], ends: set[int], tokenizer: Tokenizer
) -> None:
    """Refuse gold answers, options and distractors that hold a token at which generation stops.

    Parameters
    ----------
    answer_rows : sequence of sequences of int
        Their tokens, without the end-of-answer token that closes them.
    texts : sequence of str
        The texts themselves.
    numbers : sequence of int
        What to call the rows.
    ends : set of int
        Tokens that end an answer.
    tokenizer : transformers.PreTrainedTokenizerBase
        For their names.

    Raises
    ------
    ValueError
        Names the row.
    """
    for ids, text, number in zip(answer_rows, texts, numbers, strict=True):
        found = ends.intersection(ids)
        if found:
            error = ValueError(
                f"The answer of row {number} must not hold the end-of-answer token "
                f"{tokenizer.convert_ids_to_tokens(min(found))!r}, at which generation stops. Got {shorten(text)}; "
                f"remove it, or drop the row."
            )
            raise of_kind(error, "an answer that holds the end-of-answer token")


def refuse_other_texts(answer_rows: TokenRows, texts: Sequence[str], numbers: Sequence[int], frame: Frame) -> None:
    """Refuse answers that a model which had learned their tokens would not write.

    Parameters are those of `refuse_ends`; `frame` is that of the prompts.

    Raises
    ------
    ValueError
        Names the row.
    """
    for text, written, number in zip(texts, decode_answers(answer_rows, frame), numbers, strict=True):
        if written != text:
            error = ValueError(
                f"The answer of row {number} must be a text that comes back from its tokens, since these are what a "
                f"model writes. Got {shorten(text)}, which the tokenizer gives back as {shorten(written)}; write it "
                f"so, drop the row, or take another tokenizer or prompt_template."
            )
            raise of_kind(error, "an answer that does not come back from its tokens")


def _decode(rows: TokenRows, tokenizer: Tokenizer) -> list[str]:
    return tokenizer.batch_decode(
        [list(row) for row in rows], skip_special_tokens=False, clean_up_tokenization_spaces=False
    )
