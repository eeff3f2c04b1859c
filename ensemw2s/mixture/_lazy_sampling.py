"""Members that run only where they are picked: rows advance by themselves and meet at the member they wait for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import torch

from ensemw2s.contracts import Cached, LendsModel, TokenLearner
from ensemw2s.kernels import KernelBackend
from ensemw2s.mixture._draws import draw
from ensemw2s.mixture._groups import MemberGroup
from ensemw2s.mixture._readers import PackedReader, PrefixReader, reads_packed

N_ROWS = 32  # in one pass: the attention within a packed row grows with their square


class Reader(Protocol):
    """One member and how much of each row it has read."""

    def is_fresh(self, row: int) -> bool:
        """Whether the row's prompt has still to be read."""
        ...

    def read(self, rows: Sequence[int], texts: Sequence[list[int]]) -> torch.Tensor:
        """Read what is new in some rows, all fresh or none; logits of the token after each, (k, V)."""
        ...


def lazy_readers(
    mixture: Any, groups: Sequence[MemberGroup], mask: torch.Tensor, max_length: int
) -> list[Reader] | None:
    """A reader for every member that has a vote, or None where all have to read all.

    Parameters
    ----------
    mixture : MixtureForCausalLM
        The ensemble.
    groups : sequence of MemberGroup
        A group of several runs as one batch and has nothing to leave out.
    mask : torch.Tensor of shape (B, L)
        Of the prompts.
    max_length : int
        Of a row, prompt and answer.
    """
    if len(groups) == 1 or any(len(group.places) > 1 for group in groups):
        return None
    left_padded = bool((mask.diff(dim=1) >= 0).all()) and bool(mask[:, -1].all())
    # Processes that hold parts of one model must run the same passes in the same order.
    if not left_padded or _several_processes():
        return None
    members: list[TokenLearner] = [mixture.members[place] for place in mixture.voters]
    readers: list[Reader] = []
    for member in members:
        if not isinstance(member, Cached):
            readers.append(PrefixReader(member))
        elif isinstance(member, LendsModel) and reads_packed(member, max_length):
            readers.append(PackedReader(member))
        else:
            return None
    return readers


class LazyMembers:
    """Tokens drawn from the member that was picked for them, which reads what it has missed just then.

    The picks are known beforehand. A pass serves all rows that wait for one member; the member with the longest queue
    is next, where a row counts by the steps that it has still to do.

    Parameters
    ----------
    readers : sequence of Reader
        One per member.
    weights : sequence of float
        Votes that sum to 1.
    ids : torch.Tensor of shape (B, L + n)
        Prompts, and room for the answers, which is filled.
    mask : torch.Tensor of shape (B, L)
        Of the prompts, padded on the left.
    uniform : torch.Tensor of shape (n, B, 2), float64
        Picks a member and a token for each step and row.
    ends : sequence of torch.Tensor of int
        Ids of tokens after which a row does not go on.
    backend : KernelBackend
        What draws.
    n_readable : int, optional
        Number of ids that all members can read, where that is not all of them. A draw beyond it is made again, member
        and token: the mixture's law, given that all can read the token.
    """

    cache = None  # no member has read everything

    def __init__(
        self,
        readers: Sequence[Reader],
        weights: Sequence[float],
        ids: torch.Tensor,
        mask: torch.Tensor,
        uniform: torch.Tensor,
        ends: Sequence[torch.Tensor],
        backend: KernelBackend,
        n_readable: int | None = None,
    ) -> None:
        self._cdf = torch.tensor(weights, dtype=torch.float64, device=uniform.device).cumsum(dim=0)
        self._readers, self._ids, self._uniform, self._backend = readers, ids, uniform, backend
        self._picks: list[list[int]] = self._pick(uniform[..., 0]).tolist()  # (n, B)
        self._n_readable = n_readable
        # By row and member: logits whose token was refused. Drawn from that member again, there is nothing new to read.
        self._refused: dict[int, dict[int, torch.Tensor]] = {}
        self._n_prompt, self._n_steps = mask.shape[1], len(uniform)
        self._texts = [row[real.bool()].tolist() for row, real in zip(ids[:, : self._n_prompt], mask, strict=True)]
        self._n_drawn = [0] * len(ids)
        self._ended = [False] * len(ids)
        self._ends = {int(token) for end in ends for token in end.flatten().tolist()}

    def fill(self, column: int, active: torch.Tensor) -> None:
        """Serve members until every active row, bool of shape (B,), has its token of this column."""
        rows, step = active.nonzero()[:, 0].tolist(), column - self._n_prompt
        while any(self._n_drawn[row] <= step for row in rows):
            self._serve(rows)

    def _serve(self, active: Sequence[int]) -> None:
        # A row waits for one member alone, that of its next step. Rows are served out of step with each other, which
        # changes no draw: pick and token of a step and row have their own uniform numbers.
        queues: dict[tuple[int, bool], list[int]] = {}
        for row in active:
            if not self._ended[row] and self._n_drawn[row] < self._n_steps:
                member = self._picks[self._n_drawn[row]][row]
                # A prompt beside a few tokens would be read with as much padding.
                queues.setdefault((member, self._readers[member].is_fresh(row)), []).append(row)
        (member, _), rows = max(
            queues.items(), key=lambda queue: sum(self._n_steps - self._n_drawn[r] for r in queue[1])
        )
        # By steps that are left and not by rows: the last rows to end decide how many passes there are.
        rows = rows[:N_ROWS]
        logits = self._readers[member].read(rows, [self._texts[row] for row in rows])  # (k, V)
        steps = [self._n_drawn[row] for row in rows]
        tokens = draw(self._backend, logits.to(self._uniform.device), self._uniform[steps, rows, 1]).tolist()
        for place, (row, step, token) in enumerate(zip(rows, steps, tokens, strict=True)):
            if self._n_readable is not None and token >= self._n_readable:
                token = self._draw_again(row, step, member, logits[place], self._n_readable)
                if token is None:
                    continue
            self._refused.pop(row, None)
            self._ids[row, self._n_prompt + step] = token
            self._texts[row].append(token)
            self._n_drawn[row] += 1
            self._ended[row] = token in self._ends

    def _draw_again(self, row: int, step: int, member: int, logits: torch.Tensor, n_readable: int) -> int | None:
        """A token in place of one that was refused; None if it is to be drawn from a member that has still to read."""
        # Rejection: member and token are drawn anew until the token can be read. Another token of the same member would
        # give a member more weight, the more of its probability lies on ids that are refused.
        known = self._refused.setdefault(row, {})
        known[member] = logits.to(self._uniform.device)
        while True:
            uniform = torch.rand(2, dtype=torch.float64, device=self._uniform.device)
            self._picks[step][row] = picked = int(self._pick(uniform[0]))
            if picked not in known:
                self._uniform[step, row] = uniform
                return None
            token = int(draw(self._backend, known[picked][None], uniform[1:]))
            if token < n_readable:
                return token

    def _pick(self, uniform: torch.Tensor) -> torch.Tensor:
        """Members by inverse CDF, as many as there are uniform numbers."""
        # Times its last entry, which rounding may leave beside 1, so that no pick lies beyond the members.
        picks = torch.searchsorted(self._cdf, uniform * self._cdf[-1], right=True)
        return picks.clamp(max=len(self._readers) - 1)


def _several_processes() -> bool:
    distributed = torch.distributed
    several: bool = distributed.is_available() and distributed.is_initialized() and distributed.get_world_size() > 1
    return several
