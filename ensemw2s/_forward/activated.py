"""Forward passes of an adapter that acts from the answer cue on (activated LoRA): the prompt is the bare base's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from peft import PeftModel
from transformers import Cache

from ensemw2s._forward.output_head import logits_at
from ensemw2s._forward.prompts import PromptReader
from ensemw2s._forward.trees import TreeRows, read_trees
from ensemw2s._forward.ways_to_read import read_batch
from ensemw2s.contracts import PrefixCache
from ensemw2s.tokens import TokenBatch, pad_right


class Cue(tuple[int, ...]):
    """Tokens from which on an adapter acts: from their first place behind what a template puts before a question.

    A question, or an answer, may hold the same tokens. Where a prompt ends is not to be seen in a row of tokens, and
    what a cache holds cannot be read anew; the first place is the one that no later token moves.

    Attributes
    ----------
    head : tuple of int
        Tokens that a template puts before every question, up to the last of the cues in them: those of its examples.
    """

    head: tuple[int, ...] = ()

    @classmethod
    def of(cls, ids: Sequence[int], head: Sequence[int] = ()) -> Cue:
        """The cue with these tokens."""
        cue = cls(ids)
        cue.head = tuple(head)
        return cue


@dataclass(frozen=True, eq=False)
class CuedBatch:
    """Rows in two parts: what the base reads, and what is read with an adapter.

    Attributes
    ----------
    prompts : list of B ndarrays of int
        Tokens before the cue.
    input_ids, attention_mask : ndarray of shape (B, S), int64
        The cue and what follows it, padded on the right: a sliding window counts columns, and must find none between
        a prompt and its cue.
    """

    prompts: list[np.ndarray]
    input_ids: np.ndarray
    attention_mask: np.ndarray

    @classmethod
    def from_rows(cls, rows: Sequence[np.ndarray], starts: Sequence[int]) -> CuedBatch:
        """Cut unpadded rows where their cues start."""
        pairs = list(zip(rows, starts, strict=True))
        return cls([row[:start] for row, start in pairs], *pad_right([row[start:] for row, start in pairs], 0))

    def predicts(self, n_answer: np.ndarray) -> np.ndarray:
        """Which columns predict the answer tokens, of which each row has `n_answer`: bool of shape (B, S)."""
        columns, ends = np.arange(self.input_ids.shape[1]), self.attention_mask.sum(axis=1)[:, None]
        return (columns >= ends - n_answer[:, None]) & (columns < ends)


class KeptPrompts:
    """Stands for a cache in which nothing has been read: the prompts to come will be asked about again."""


class CuedPrefixCache(PrefixCache):
    """A `PrefixCache` that knows where the cues are: an answer may hold the same tokens.

    Parameters
    ----------
    input_ids : torch.Tensor of shape (B, L)
        All tokens up to now.
    starts : ndarray of shape (B,)
        Column of the first token of each row's cue.
    """

    def __init__(self, input_ids: torch.Tensor, starts: np.ndarray) -> None:
        super().__init__(input_ids)
        self.starts = starts

    def reorder_cache(self, beam_idx: torch.Tensor) -> None:
        """Let each row continue from the row that it stems from."""
        super().reorder_cache(beam_idx)
        self.starts = self.starts[beam_idx.cpu().numpy()]


def start_of_cue(row: np.ndarray, cue_ids: Sequence[int]) -> int:
    """Place of the first token of the cue from which on the adapter acts on an unpadded row; -1 if it has none."""
    n_cue, head = len(cue_ids), np.asarray(cue_ids.head if isinstance(cue_ids, Cue) else (), dtype=np.int64)
    if len(row) < n_cue:
        return -1
    found = (np.lib.stride_tricks.sliding_window_view(row, n_cue) == np.asarray(cue_ids)).all(axis=1)  # (L - C + 1,)
    places = np.flatnonzero(found)
    if len(head) and np.array_equal(row[: len(head)], head):
        behind = places[places >= len(head)]
        places = behind if len(behind) else places
    return int(places[0]) if len(places) else -1


def cut_at_cue(batch: TokenBatch, cue_ids: Sequence[int]) -> CuedBatch:
    """Cut the rows of a batch before their cues, see `Cue`.

    Raises
    ------
    ValueError
        If a prompt does not end with the cue.
    """
    rows, starts = [], []
    n_answer = batch.is_answer.sum(axis=1)
    for ids, mask, length, row in zip(batch.input_ids, batch.attention_mask, n_answer, batch.rows, strict=True):
        ids = ids[len(ids) - int(mask.sum()) :]
        end = len(ids) - (int(length) - 1)  # the last answer token is not fed
        _require_cue(ids[:end], cue_ids, f"The prompt of row {row}")
        rows.append(ids)
        starts.append(start_of_cue(ids, cue_ids))
    return CuedBatch.from_rows(rows, starts)


def _require_cue(prompt: np.ndarray, cue_ids: Sequence[int], name: str) -> None:
    if prompt[-len(cue_ids) :].tolist() != list(cue_ids):
        raise ValueError(
            f"{name} must end with the answer cue, the tokens {list(cue_ids)}, from which on adapt='answer' acts; use "
            f"TokenDataset.for_learner."
        )


def find_cues(input_ids: np.ndarray, attention_mask: np.ndarray, cue_ids: Sequence[int]) -> np.ndarray:
    """Column where the cue of each left-padded row starts, of shape (B,), see `Cue`.

    Raises
    ------
    ValueError
        If a row has none.
    """
    n_padding = input_ids.shape[1] - attention_mask.sum(axis=1)
    starts = np.array([start_of_cue(ids[n:], cue_ids) for ids, n in zip(input_ids, n_padding, strict=True)])
    if (starts < 0).any():
        raise ValueError(
            f"Row {int(np.argmax(starts < 0))} of input_ids must hold the answer cue, the tokens {list(cue_ids)}, from "
            f"which on adapt='answer' acts. Put the question into the learner's prompt_template, as generate(X) does."
        )
    return starts + n_padding


def cut_alike(
    input_ids: torch.Tensor,
    attention_mask: torch.Tensor,
    cue_ids: Sequence[int],
    n_last: int,
    *,
    starts: np.ndarray | None = None,
) -> tuple[list[np.ndarray], int] | None:
    """Prompts of left-padded rows and the column where all cues start, or None where they differ in that.

    None, too, where the last `n_last` columns begin before the cue, or nothing stands before it.
    """
    ids, mask = input_ids.cpu().numpy(), attention_mask.cpu().numpy()
    starts = find_cues(ids, mask, cue_ids) if starts is None else starts
    begin, n_padding = int(starts[0]), ids.shape[1] - mask.sum(axis=1)
    if (starts != begin).any() or n_last > ids.shape[1] - begin or (n_padding >= begin).all():
        return None
    return [row[padding:begin] for row, padding in zip(ids, n_padding, strict=True)], begin


def activated_answers(
    model: PeftModel, prompts: PromptReader, batch: CuedBatch, cells: torch.Tensor, n_last: int, *, keep: bool = True
) -> torch.Tensor:
    """Logits at some of the last columns behind the cue, float32 of shape (C, V).

    Parameters
    ----------
    model : peft.PeftModel
        With the adapter in place.
    prompts : PromptReader
        Of the model's base.
    batch : CuedBatch
        Rows.
    cells : torch.Tensor of int, shape (C,)
        Numbers ``row * n_last + column`` of those that go through the head.
    n_last : int
        Columns that are looked at.
    keep : bool, default=True
        Whether the prompts will be asked for again.
    """
    past = prompts.read(model, batch.prompts, keep=keep)
    ids, mask = (torch.from_numpy(array).to(model.device) for array in (batch.input_ids, batch.attention_mask))
    return logits_at(
        model,
        cells,
        n_last,
        input_ids=ids,
        attention_mask=torch.cat([past.mask, mask], dim=1),
        position_ids=past.lengths[:, None] + torch.arange(ids.shape[1], device=ids.device),
        past_key_values=past.cache(),
        use_cache=True,
    ).float()


def answers_of_batch(
    model: PeftModel, prompts: PromptReader, batch: TokenBatch, cue_ids: Sequence[int]
) -> torch.Tensor:
    """Logits that predict a batch's answer tokens, row by row: float32 of shape (R, V)."""
    cued = cut_at_cue(batch, cue_ids)
    cells = torch.from_numpy(np.flatnonzero(cued.predicts(batch.is_answer.sum(axis=1))))
    return activated_answers(model, prompts, cued, cells, cued.input_ids.shape[1])


def activated_step(
    model: PeftModel,
    prompts: PromptReader,
    cue_ids: Sequence[int],
    input_ids: torch.Tensor,
    attention_mask: torch.Tensor,
    position_ids: torch.Tensor,
    *,
    starts: np.ndarray | None = None,
    keep: bool = False,
    n_last: int,
    use_cache: bool,
) -> tuple[torch.Tensor, Cache | PrefixCache | None]:
    """`HFCausalLM.decode_step` without a cache: whole rows, padded on the left.

    Rows in which as many tokens follow the prompt, such as prompts alone, get the model's own cache. Others, and whole
    rows through the head, take a second pass of the base and are read again at each step.

    Parameters
    ----------
    starts : ndarray of shape (B,), optional
        Columns of the cues, searched for if None.
    keep : bool, default=False
        Whether the prompts will be asked for again.
    """
    # Left-padded rows whose cues start in one column can share a cache, since all prompts end in the column before: so
    # do prompts alone, the first step of every decoding.
    alike = cut_alike(input_ids, attention_mask, cue_ids, n_last, starts=starts)
    if alike is not None:
        rows, begin = alike
        cache = prompts.read(model, rows, width=begin, keep=keep).cache()
        rest = input_ids[:, begin:], attention_mask, position_ids[:, begin:]
        logits = read_batch(model, *rest, past_key_values=cache, n_last=n_last, use_cache=True).logits[:, -n_last:]
        return logits, cache if use_cache else None
    ids, mask = input_ids.cpu().numpy(), attention_mask.cpu().numpy()
    starts = find_cues(ids, mask, cue_ids) if starts is None else starts
    n_padding = ids.shape[1] - mask.sum(axis=1)
    rows = [row[padding:] for row, padding in zip(ids, n_padding, strict=True)]
    batch = CuedBatch.from_rows(rows, (starts - n_padding).tolist())
    every = torch.arange(batch.input_ids.size)
    behind = activated_answers(model, prompts, batch, every, batch.input_ids.shape[1], keep=keep)
    behind = behind.unflatten(0, batch.input_ids.shape)  # (B, S, V)
    with model.disable_adapter():
        whole = read_batch(model, input_ids, attention_mask, position_ids, n_last=n_last)
        logits = whole.logits[:, -n_last:].to(behind.dtype)
    for row, count in enumerate((ids.shape[1] - starts).tolist()):
        kept = min(count, n_last)
        logits[row, n_last - kept :] = behind[row, count - kept : count]
    return logits, CuedPrefixCache(input_ids, starts) if use_cache else None


def activated_trees(
    model: PeftModel,
    reader: PromptReader,
    cue_ids: Sequence[int],
    prompts: Sequence[np.ndarray],
    branches: Sequence[Sequence[np.ndarray]],
    rows: Sequence[Sequence[int]],
) -> torch.Tensor:
    """Logits behind some prompts and along their branches, of shape (C, V), see `HFCausalLM.branch_logits`.

    Parameters
    ----------
    rows : sequence of lists of one int
        Numbers of the prompts.

    Raises
    ------
    ValueError
        If a prompt does not end with the cue.
    """
    numbers = [number for [number] in rows]
    for number in numbers:
        _require_cue(prompts[number], cue_ids, f"prompts[{number}]")
    starts = {number: start_of_cue(prompts[number], cue_ids) for number in numbers}
    past = reader.read(model, [prompts[number][: starts[number]] for number in numbers], keep=True)
    trees = TreeRows.pack([prompt[starts.get(number, 0) :] for number, prompt in enumerate(prompts)], branches, rows)
    return read_trees(model, trees, past.cache(), past.mask)
