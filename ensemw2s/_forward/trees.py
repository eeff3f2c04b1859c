"""Rows in which tokens see what a mask of our own lets them see: prompts with several continuations behind them."""

from __future__ import annotations

import sys
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from transformers import Cache, DynamicCache, PreTrainedModel

from ensemw2s._forward.output_head import logits_at
from ensemw2s._forward.ways_to_read import architecture_of

_PADDING = -1
_LAYERS = {"full_attention", "sliding_attention", "chunked_attention", "attention"}
_VERDICTS: dict[tuple[object, ...], bool] = {}


@dataclass(frozen=True, eq=False)
class TreeRows:
    """Prompts and their branches, several in a row.

    Attributes
    ----------
    ids, positions : ndarray of shape (R, L), int64
        Tokens, and their places if the branch stood alone behind its prompt.
    owner, root : ndarray of shape (R, L), int64
        Number of each token's prompt or branch, and of its prompt; -1 at padding.
    cells : ndarray of shape (C,), int64
        ``row * L + column`` of each prompt's last token and all tokens of its branches, in the order of `questions`.
    questions : list of int
        The prompts' numbers.
    """

    ids: np.ndarray
    positions: np.ndarray
    owner: np.ndarray
    root: np.ndarray
    cells: np.ndarray
    questions: list[int]

    @classmethod
    def pack(
        cls, prompts: Sequence[np.ndarray], branches: Sequence[Sequence[np.ndarray]], rows: Sequence[Sequence[int]]
    ) -> TreeRows:
        """Lay out questions, given by their numbers, in rows."""
        # A piece is (tokens, place of its first token if the branch stood alone): the prompt, then its branches, which
        # all begin at the place behind it. `owner` is a piece's number in its row, `root` that of its prompt.
        pieces = [
            [(prompts[q], 0), *((branch, len(prompts[q])) for branch in branches[q])] for row in rows for q in row
        ]
        sizes = iter([sum(len(tokens) for tokens, _ in question) for question in pieces])
        lengths = [sum(next(sizes) for _ in row) for row in rows]
        ids, positions = np.zeros((2, len(rows), max(lengths)), dtype=np.int64)
        owner, root = np.full((2, *ids.shape), _PADDING, dtype=np.int64)
        cells, left = [], iter(pieces)
        for number, row in enumerate(rows):
            column = n_owners = 0
            for question in (next(left) for _ in row):
                start, first_owner = column, n_owners
                for tokens, first in question:
                    span = number, slice(column, column + len(tokens))
                    ids[span], owner[span], root[span] = tokens, n_owners, first_owner
                    positions[span] = first + np.arange(len(tokens))
                    column, n_owners = column + len(tokens), n_owners + 1
                # From the prompt's last token, which predicts the first of every branch, to the end of the question.
                cells.append(number * ids.shape[1] + np.arange(start + len(question[0][0]) - 1, column))
        return cls(ids, positions, owner, root, np.concatenate(cells), [q for row in rows for q in row])

    def mask(self) -> np.ndarray:
        """Which tokens each token sees, bool of shape (R, L, L): its own before it, and those of its prompt."""
        # Branches of one prompt stand behind each other, and the triangle alone would let the second see the first. By
        # owner and root a key is either of the token's own branch or of its prompt; the triangle then keeps it causal.
        keys = self.owner[:, None, :]
        # A padded position sees padding: a row of the softmax must not be empty.
        return np.tril((keys == self.owner[:, :, None]) | (keys == self.root[:, :, None]))


def fill_passes(sizes: Sequence[int], n_questions: int, *, alone: bool = False) -> Iterator[list[list[int]]]:
    """Share questions out to rows of like length, for one pass after the other.

    A row takes the largest question that is left and fits, until none does. It is as long as the largest of its pass,
    which ends where what is left is half of that: attention grows with the rows' length.

    Parameters
    ----------
    sizes : sequence of int
        Tokens of each question.
    n_questions : int
        Largest number in one pass.
    alone : bool, default=False
        Whether each has a row of its own.

    Yields
    ------
    list of list of int
        Numbers of the questions in each row.
    """
    # Questions by size, the last first, so that `pop` takes those of one size in their order; `ascending` has the sizes
    # that are left, and a bisection finds the largest that fits: O(n log n) in all.
    left: dict[int, list[int]] = {}
    for question in reversed(range(len(sizes))):
        left.setdefault(int(sizes[question]), []).append(question)
    ascending = sorted(left)
    while ascending:
        width, rows, free = ascending[-1], [], n_questions
        while free and ascending and 2 * ascending[-1] > width:
            row: list[int] = []
            room = width
            while free and not (alone and row) and (place := bisect_right(ascending, room)):
                size = ascending[place - 1]
                row.append(left[size].pop())
                room, free = room - size, free - 1
                if not left[size]:
                    del ascending[place - 1]
            rows.append(row)
        yield rows


def read_trees(
    model: PreTrainedModel, trees: TreeRows, cache: Cache | None = None, before: torch.Tensor | None = None
) -> torch.Tensor:
    """Logits of the token after each of the cells.

    Parameters
    ----------
    model : transformers.PreTrainedModel or peft.PeftModel
        See `longest_tree`.
    trees : TreeRows
        What is read.
    cache : transformers.Cache, optional
        What has been read before each row, which then holds one question; it grows.
    before : torch.Tensor of shape (R, P), optional
        Mask over the cache.

    Returns
    -------
    torch.Tensor of shape (C, V)
    """
    visible, positions = (torch.from_numpy(array).to(model.device) for array in (trees.mask(), trees.positions))
    if before is not None:
        visible = torch.cat([before.bool()[:, None].expand(-1, visible.shape[1], -1), visible], dim=2)
        positions = positions + before.sum(dim=1)[:, None]
    # As numbers to add, which all of PyTorch's attention takes.
    mask = torch.zeros(visible.shape, dtype=model.dtype, device=model.device)
    mask.masked_fill_(~visible, torch.finfo(model.dtype).min)
    return logits_at(
        model,
        torch.from_numpy(trees.cells),
        trees.ids.shape[1],
        input_ids=torch.from_numpy(trees.ids).to(model.device),
        attention_mask=mask[:, None],
        position_ids=positions,
        past_key_values=cache,
        use_cache=cache is not None,
    )


def longest_tree(model: PreTrainedModel) -> int:
    """Tokens of the longest row whose tokens get the logits that they have in rows of their own.

    Parameters
    ----------
    model : transformers.PreTrainedModel or peft.PeftModel
        Where it looks back over a window only, it sees less than the mask allows in longer rows. Anything else is tried
        once for each class and configuration, on rows of a few tokens: it may take other positions than those it is
        given, or add to attention what only a plain mask gives away.

    Returns
    -------
    int
        0 where no row is read so.
    """
    if not _reads_trees(model):
        return 0
    config = model.config.get_text_config()
    windows = [getattr(config, name, None) for name in ("sliding_window", "attention_chunk_size")]
    return min((int(window) for window in windows if window is not None), default=sys.maxsize)


def _reads_trees(model: PreTrainedModel) -> bool:
    config = model.config.get_text_config()
    attention = getattr(config, "_attn_implementation", None)
    if attention not in ("sdpa", "eager") or not _LAYERS.issuperset(getattr(config, "layer_types", None) or ()):
        return False
    # Without the first, four-dimensional masks of a caller's own are not understood.
    if not getattr(model, "_supports_attention_backend", False) or model.get_output_embeddings() is None:
        return False
    key = (*architecture_of(model), repr(getattr(model, "peft_config", None)))
    if key not in _VERDICTS:
        difference = _difference_to_plain_rows(model)
        if np.isnan(difference):  # a training has diverged, which says nothing about the architecture
            return False
        tolerance = 1e-3 if model.dtype in (torch.float32, torch.float64) else 0.05
        _VERDICTS[key] = difference <= tolerance
    return _VERDICTS[key]


def _difference_to_plain_rows(model: PreTrainedModel) -> float:
    """Of two questions in one row, and one behind a cache, as a share of the logits' spread."""
    # The ids 0, 1, 2 are in every vocabulary. Branches of lengths 2 and 1 show positions that go on from a neighbour
    # instead of the prompt; the second question shows tokens that see another question of their row.
    prompts, branches = [np.array([0, 1, 2, 1]), np.array([2, 0])], [[np.array([2, 0]), np.array([1])], []]
    plain = [0, 1, 2, 1], [0, 1, 2, 1, 2], [0, 1, 2, 1, 2, 0], [0, 1, 2, 1, 1], [2, 0]

    def row(ids: Sequence[int]) -> torch.Tensor:
        return torch.tensor([ids], device=model.device)

    with torch.no_grad():
        wanted = torch.cat([model(input_ids=row(ids), use_cache=False).logits[:, -1] for ids in plain]).float()
        together = read_trees(model, TreeRows.pack(prompts, branches, [[0, 1]]))
        cache, begun = DynamicCache(), row([0, 1])  # a cache without the configuration, so that no layer forgets
        model(input_ids=begun, past_key_values=cache, use_cache=True)
        behind = read_trees(model, TreeRows.pack([prompts[0][2:]], branches[:1], [[0]]), cache, torch.ones_like(begun))
    error = (torch.cat([together, behind]).float() - torch.cat([wanted, wanted[:4]])).abs().max()
    return float(error / (wanted.std() + 1e-3))
