"""Ragged answers, flat answer tokens and padded batches: the bookkeeping of token boosting."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np

from ensemw2s._validation import CheckedTexts, as_texts, check_integer, check_option, check_same_length, shorten
from ensemw2s.tokens._answers import refuse_ends
from ensemw2s.tokens._frame import Frame
from ensemw2s.tokens._ids import ReadsTexts, Tokenizer, refuse_unknown
from ensemw2s.tokens._prompts import encode_rows
from ensemw2s.tokens._template import PromptTemplate, answer_ends, frame_of, frame_of_learner
from ensemw2s.tokens._text import DEFAULT_PROMPT_TEMPLATE


@dataclass(frozen=True, eq=False)
class TokenBatch:
    """Some rows of a `TokenDataset`, padded on the left so that all answers end together.

    The last token of a row is never fed: nothing is predicted from it. The logits at the last ``K`` positions
    predict the last ``K`` tokens, and only those that predict an answer token have to go through a language-model head.

    Attributes
    ----------
    rows : ndarray of shape (B,)
        Row of the data set behind each row of the batch.
    input_ids, attention_mask, position_ids : ndarray of shape (B, L), int64
        What the model reads; positions count from the first real token.
    labels : ndarray of shape (B, K), int64
        Answer tokens, right-aligned; -100 where a shorter answer has none.
    token_index : ndarray of shape (B, K), int64
        Place of each label among the flat answer tokens; -1 where there is none.
    """

    rows: np.ndarray
    input_ids: np.ndarray
    attention_mask: np.ndarray
    position_ids: np.ndarray
    labels: np.ndarray
    token_index: np.ndarray

    @property
    def n_last(self) -> int:
        """Number of last positions whose logits predict answer tokens (``K``)."""
        return self.labels.shape[1]

    @property
    def is_answer(self) -> np.ndarray:
        """Which of these positions do, bool of shape (B, K); before a shorter answer they do not."""
        return self.labels >= 0


@dataclass(frozen=True, eq=False)  # eq would compare arrays, which have no truth value
class TokenDataset:
    r"""Tokenised questions and answers, with the answer tokens also as one flat array.

    EnsemW2S treats every answer token as a sample of its own: the boosting weights :math:`D_t(i, j)` are a flat
    array in which the tokens of answer `i` lie at ``indptr[i]:indptr[i + 1]``. The end-of-answer token counts as
    an answer token, since the model has to learn to stop.

    Parameters
    ----------
    prompt_ids : ndarray of shape (n_prompt_tokens,), int64
        Prompt tokens of all rows, one row after the other.
    prompt_indptr : ndarray of shape (n_rows + 1,), int64
        Row `i`'s prompt is ``prompt_ids[prompt_indptr[i]:prompt_indptr[i + 1]]``.
    labels : ndarray of shape (n_tokens,), int64
        Answer tokens of all rows, the end-of-answer token included.
    indptr : ndarray of shape (n_rows + 1,), int64
        Row `i`'s answer is ``labels[indptr[i]:indptr[i + 1]]``.

    Examples
    --------
    >>> from ensemw2s import TokenDataset, byte_tokenizer
    >>> tokens = TokenDataset.from_text(["1+1?", "2+3?"], ["2", "five"], tokenizer=byte_tokenizer())
    >>> len(tokens), tokens.n_tokens  # " 2" and " five", each with its end-of-answer token
    (2, 9)
    >>> tokens.indptr
    array([0, 3, 9])
    """

    prompt_ids: np.ndarray
    prompt_indptr: np.ndarray
    labels: np.ndarray
    indptr: np.ndarray

    def __post_init__(self) -> None:
        for name in ("prompt_ids", "prompt_indptr", "labels", "indptr"):
            object.__setattr__(self, name, np.ascontiguousarray(getattr(self, name), dtype=np.int64))
        if len(self.indptr) != len(self.prompt_indptr):
            raise ValueError(
                f"indptr and prompt_indptr must have the same length, one more than there are rows. "
                f"Got {len(self.indptr)} and {len(self.prompt_indptr)} instead."
            )
        for name, flat, ptr in (
            ("prompt", self.prompt_ids, self.prompt_indptr),
            ("answer", self.labels, self.indptr),
        ):
            if len(ptr) < 2:
                raise ValueError("A TokenDataset must have at least one row. Got none.")
            lengths = np.diff(ptr)
            if ptr[0] != 0 or ptr[-1] != len(flat) or (lengths < 0).any():
                raise ValueError(f"The {name} offsets must rise from 0 to {len(flat)}. Got {ptr!r:.80} instead.")
            if (lengths == 0).any():
                row = int(np.flatnonzero(lengths == 0)[0])
                raise ValueError(f"Row {row} has no {name} token; drop the row or check the tokenizer.")

    @classmethod
    def from_text(
        cls,
        prompts: Sequence[str],
        answers: Sequence[str],
        *,
        tokenizer: Tokenizer,
        prompt_template: PromptTemplate = DEFAULT_PROMPT_TEMPLATE,
        max_length: int | None = None,
        truncation: str = "error",
        end_of_answer: bool = True,
        row_numbers: Sequence[int] | None = None,
        cue_ids: Sequence[int] | None = None,
        end_ids: Sequence[int] = (),
        n_embeddings: int | None = None,
    ) -> TokenDataset:
        """Tokenise questions and answers with the boundary at which they will be scored.

        The prompt's tokens are exactly those that generation starts from; the answer's tokens follow them. Where a
        tokenizer would merge across the boundary, the answer is tokenised on its own.

        Parameters
        ----------
        prompts, answers : sequence of str, shape (n_rows,)
            Questions and their answers, none of them blank.
        tokenizer : transformers.PreTrainedTokenizerBase
            Its ``eos_token_id`` ends an answer, or in a chat the token that ends a turn.
        prompt_template : str or list of dict
            Text around the question, with ``{prompt}`` in its place; "chat" for the tokenizer's chat template, or
            chat messages, see `HFCausalLM`. The texts are then those of ``apply_chat_template``.
        max_length : int, optional
            Longest row, prompt and answer together, in tokens.
        truncation : {"error", "prompt"}, default="error"
            What to do with a longer row: refuse it, or cut its prompt on the left, of a chat the question. An answer is
            never cut.
        end_of_answer : bool, default=True
            Whether the end-of-answer token is appended.
        row_numbers : sequence of int, optional
            What messages call each row, where a row of the caller's became several; 0, 1, ... if None.
        cue_ids : sequence of int, optional
            From `encode_cue`: what every prompt ends with, whatever the question is. It is not cut. If None, the
            question and the text behind it are tokenised as one.
        end_ids : sequence of int, default=()
            Tokens at which generation stops, beside those of tokenizer and template.
        n_embeddings : int, optional
            Tokens that the model knows; a row with another is refused.

        Returns
        -------
        TokenDataset

        Raises
        ------
        TypeError, ValueError
            If a row is no text, blank, or too long, or holds a token that the model does not know; if an answer holds
            a token that ends one; the message names the row. Or if there is no such template.
        """
        return cls._in_frame(
            frame_of(prompt_template, tokenizer, cue_ids), prompts, answers, max_length=max_length,
            truncation=truncation, end_of_answer=end_of_answer, row_numbers=row_numbers, end_ids=end_ids,
            n_embeddings=n_embeddings,
        )  # fmt: skip

    @classmethod
    def _in_frame(
        cls,
        frame: Frame,
        prompts: Sequence[str],
        answers: Sequence[str],
        *,
        max_length: int | None = None,
        truncation: str = "error",
        end_of_answer: bool = True,
        row_numbers: Sequence[int] | None = None,
        end_ids: Sequence[int] = (),
        n_embeddings: int | None = None,
    ) -> TokenDataset:
        """`from_text` with a frame, which knows template, tokenizer and cue."""
        prompts, answers = as_texts(prompts, "prompts", what="prompt"), as_texts(answers, "answers", what="answer")
        check_same_length(prompts, answers, "prompts", "answers")
        check_option(truncation, "truncation", ("error", "prompt"))
        if max_length is not None:
            check_integer(max_length, "max_length", minimum=2)
        if end_of_answer and frame.end_id is None:
            raise ValueError(
                "tokenizer must have an end-of-sequence token, which ends an answer. "
                "Set tokenizer.eos_token, or pass end_of_answer=False."
            )
        rows = encode_rows(
            prompts, answers, frame, max_length=max_length, truncation=truncation, end_of_answer=end_of_answer,
            row_numbers=row_numbers,
        )  # fmt: skip
        tokenizer = frame.tokenizer
        ends = {end for end in (frame.end_id, tokenizer.eos_token_id, *end_ids) if end is not None}
        # Without the end that was appended just now: inside an answer there must be no other.
        said = [row[:-1] for row in rows[1]] if end_of_answer else rows[1]
        refuse_ends(said, answers, range(len(said)) if row_numbers is None else row_numbers, ends, tokenizer)
        for part in rows:
            refuse_unknown(part, row_numbers, n_embeddings, tokenizer)
        return cls(*_flatten(rows[0]), *_flatten(rows[1]))

    @classmethod
    def for_learner(
        cls,
        learner: ReadsTexts,
        prompts: Sequence[str],
        answers: Sequence[str],
        *,
        end_of_answer: bool = True,
        row_numbers: Sequence[int] | None = None,
    ) -> TokenDataset:
        """Tokenise for an initialised `TokenLearner`: its tokenizer, template and length limit.

        Parameters
        ----------
        learner : TokenLearner
            After ``initialize()`` or ``fit``.
        prompts, answers : sequence of str, shape (n_rows,)
            Questions and answers.
        end_of_answer : bool, default=True
            Whether the end-of-answer token is appended.
        row_numbers : sequence of int, optional
            What messages call each row, as in `from_text`.

        Returns
        -------
        TokenDataset
        """
        return cls._in_frame(
            frame_of_learner(learner), prompts, answers,
            max_length=getattr(learner, "max_length_", None), truncation=getattr(learner, "truncation", "error"),
            end_of_answer=end_of_answer, row_numbers=row_numbers, end_ids=answer_ends(learner),
            n_embeddings=getattr(learner, "n_embeddings_", None),
        )  # fmt: skip

    def __len__(self) -> int:
        return len(self.indptr) - 1

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(n_rows={len(self)}, n_tokens={self.n_tokens}, "
            f"n_prompt_tokens={len(self.prompt_ids)})"
        )

    @property
    def n_tokens(self) -> int:
        """Number of answer tokens, :math:`n = \\sum_i k_i`."""
        return len(self.labels)

    @property
    def answer_lengths(self) -> np.ndarray:
        """Answer tokens per row, :math:`k_i`, of shape (n_rows,)."""
        return np.diff(self.indptr)

    @property
    def lengths(self) -> np.ndarray:
        """Prompt and answer tokens per row, of shape (n_rows,)."""
        return np.diff(self.prompt_indptr) + self.answer_lengths

    @property
    def row_of_token(self) -> np.ndarray:
        """Row of each answer token, of shape (n_tokens,)."""
        return np.repeat(np.arange(len(self)), self.answer_lengths)

    def row_ids(self, row: int) -> tuple[np.ndarray, np.ndarray]:
        """Prompt and answer tokens of one row.

        Parameters
        ----------
        row : int
            Its number; negative ones count from the end.

        Returns
        -------
        prompt, answer : ndarray of int64
        """
        row = range(len(self))[row]  # counts from the end below 0, and raises an IndexError out of range
        prompt = self.prompt_ids[self.prompt_indptr[row] : self.prompt_indptr[row + 1]]
        return prompt, self.labels[self.indptr[row] : self.indptr[row + 1]]

    def spread(self, values: np.ndarray) -> np.ndarray:
        """Repeat one value per row for each of the row's answer tokens, (n_rows,) -> (n_tokens,).

        Parameters
        ----------
        values : ndarray of shape (n_rows,)
            One value per row.

        Returns
        -------
        ndarray of shape (n_tokens,)
        """
        self._check_length(values, len(self), "row")
        return np.repeat(values, self.answer_lengths)

    def sum_rows(self, values: np.ndarray) -> np.ndarray:
        """Sum one value per answer token over each row's answer, (n_tokens,) -> (n_rows,).

        Parameters
        ----------
        values : ndarray of shape (n_tokens,)
            One value per answer token.

        Returns
        -------
        ndarray of shape (n_rows,)
        """
        self._check_length(values, self.n_tokens, "answer token")
        # No row is empty (`__post_init__`): for an empty one reduceat would give the first value of the next row, not
        # 0.
        return np.add.reduceat(np.asarray(values), self.indptr[:-1])

    def _check_length(self, values: Any, length: int, per: str) -> None:
        if np.shape(values) != (length,):  # reduceat would add what is too much to the last row
            raise ValueError(f"values must have shape ({length},), one per {per}. Got {np.shape(values)} instead.")

    def take(self, rows: np.ndarray) -> TokenDataset:
        """Pick rows, in the order given.

        Parameters
        ----------
        rows : array-like of int or bool
            Row numbers, or a mask over the rows.

        Returns
        -------
        TokenDataset
        """
        index = self._row_numbers(rows)
        pairs = [self.row_ids(row) for row in index]
        return TokenDataset(*_flatten([prompt for prompt, _ in pairs]), *_flatten([answer for _, answer in pairs]))

    def _row_numbers(self, rows: object) -> np.ndarray:
        index = np.arange(len(self))[np.asarray(rows)]
        if index.ndim != 1 or len(index) == 0:
            raise ValueError(f"rows must pick at least one row. Got {shorten(rows)} instead.")
        return index

    def iter_batches(self, batch_size: int) -> Iterator[np.ndarray]:
        """Row numbers in batches of rows of like length, so that little is padded.

        Parameters
        ----------
        batch_size : int
            Rows of a batch, at most.

        Yields
        ------
        ndarray of shape (<= batch_size,)
        """
        # Longest first: a batch that does not fit in memory shows at once.
        order = np.argsort(-self.lengths, kind="stable")
        for start in range(0, len(order), batch_size):
            yield order[start : start + batch_size]

    def batch(self, rows: np.ndarray, *, pad_token_id: int = 0) -> TokenBatch:
        """Pad some rows on the left.

        Parameters
        ----------
        rows : ndarray of int, shape (B,)
            Row numbers.
        pad_token_id : int, default=0
            What fills the padding; the attention mask hides it.

        Returns
        -------
        TokenBatch
        """
        rows = self._row_numbers(rows)
        pairs = [self.row_ids(row) for row in rows]
        input_ids, mask = pad_left([np.concatenate([prompt, answer[:-1]]) for prompt, answer in pairs], pad_token_id)
        n_last = int(self.answer_lengths[rows].max())
        # Right-aligned, like the K last positions: the last position predicts the last token of every row's answer.
        labels = np.full((len(pairs), n_last), -100, dtype=np.int64)  # (B, K)
        token_index = np.full((len(pairs), n_last), -1, dtype=np.int64)
        for place, (row, (_, answer)) in enumerate(zip(rows, pairs, strict=True)):
            labels[place, n_last - len(answer) :] = answer
            token_index[place, n_last - len(answer) :] = np.arange(self.indptr[row], self.indptr[row + 1])
        return TokenBatch(rows, input_ids, mask, positions_of(mask), labels, token_index)


def tokenize_options(
    learner: ReadsTexts,
    prompts: Sequence[str],
    choices: Sequence[Sequence[str]],
    row_numbers: Sequence[int] | np.ndarray | None = None,
) -> TokenDataset:
    """Checked questions with each of their options, one row an option, those of a question one after the other."""
    rows = [row for row, options in enumerate(choices) for _ in options]
    asked, said = (CheckedTexts(texts) for texts in ((prompts[row] for row in rows), chain.from_iterable(choices)))
    numbers = rows if row_numbers is None else [int(row_numbers[row]) for row in rows]
    return TokenDataset.for_learner(learner, asked, said, row_numbers=numbers)


def pad_left(rows: Sequence[np.ndarray | Sequence[int]], pad_token_id: int) -> tuple[np.ndarray, np.ndarray]:
    """Pad ragged rows on the left.

    Parameters
    ----------
    rows : sequence of B sequences of int
        Token ids.
    pad_token_id : int
        What fills the padding.

    Returns
    -------
    input_ids, attention_mask : ndarray of shape (B, L), int64
    """
    # On the right where the rows are reversed, and reversed again: the slice of an empty row is then no special case.
    input_ids, mask = pad_right([row[::-1] for row in rows], pad_token_id)
    return input_ids[:, ::-1].copy(), mask[:, ::-1].copy()


def pad_right(rows: Sequence[np.ndarray | Sequence[int]], pad_token_id: int) -> tuple[np.ndarray, np.ndarray]:
    """As `pad_left`, on the right."""
    input_ids = np.full((len(rows), max(map(len, rows))), pad_token_id, dtype=np.int64)
    mask = np.zeros_like(input_ids)
    for place, row in enumerate(rows):
        input_ids[place, : len(row)] = row
        mask[place, : len(row)] = 1
    return input_ids, mask


def positions_of(mask: Any) -> Any:
    """Places of the tokens in left-padded rows, 0 at padding.

    Parameters
    ----------
    mask : ndarray or torch.Tensor of int, shape (B, L)
        0 at padding.

    Returns
    -------
    ndarray or torch.Tensor of shape (B, L), int64
    """
    return (mask.cumsum(1) - 1).clip(min=0)


def _flatten(rows: Sequence[Sequence[int] | np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    indptr = np.zeros(len(rows) + 1, dtype=np.int64)
    np.cumsum([len(row) for row in rows], out=indptr[1:])
    return np.concatenate([np.asarray(row, dtype=np.int64) for row in rows]), indptr
