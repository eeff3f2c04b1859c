"""What the members of a mixture have read so far."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    import torch

    from ensemw2s.mixture._groups import MemberGroup


@runtime_checkable
class Recording(Protocol):
    """A cache, or a layer of one, that drops what it does not need unless it is told to keep it."""

    def activate_past_recording(self) -> None:
        """Keep it, until ``crop``."""
        ...


class MixtureCache:
    """The caches of all groups of members, side by side: what a mixture takes and returns as ``past_key_values``.

    An empty one, ``MixtureCache()``, is filled by the first pass that it is handed to. Copies and pickles hold keys and
    values only, and go on with the mixture that they are handed to.

    Attributes
    ----------
    caches : list
        What each group has returned; None before the first step.
    groups : list of MemberGroup
        The groups of members whose caches these are, see `group_members`.
    n_rows : int
        Rows that were read; 0 before the first step.
    records_past : bool
        Whether the last tokens may be taken back.
    """

    is_compileable = False
    is_croppable = False  # as long as it does not record its past

    def __init__(self) -> None:
        self.caches: list[Any] = []
        self.records_past = False
        self._length = self.n_rows = 0
        self._places: list[tuple[int, ...]] = []  # of the members of each group
        self.groups: list[MemberGroup] = []
        self._owner: object = None

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "groups": [], "_owner": None}  # the models stay where they are

    def bind(self, owner: object, offers: Sequence[Callable[[], list[MemberGroup]]]) -> None:
        """Take the groups of a mixture, unless they are these already.

        Parameters
        ----------
        owner : object
            Of the groups.
        offers : sequence of callable
            Ways to group its members; the first is taken where nothing has been read, else the one that fits.

        Raises
        ------
        ValueError
            If the tokens were read by members that were grouped in another way.
        """
        if self._owner is owner:
            return
        for offer in offers:
            groups = offer()
            places = [group.places for group in groups]
            if not self._length or places == self._places:
                self._owner, self.groups, self._places = owner, groups, places
                if not self._length:
                    self.caches = [None] * len(groups)
                return
        raise ValueError(
            f"past_key_values must be a cache of this mixture. Got one of members that run together as {self._places} "
            f"instead; begin with past_key_values=None."
        )

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Tokens in the cache."""
        return self._length

    def get_max_length(self) -> int:
        """-1: there is no limit."""
        return -1

    def begins_record(self, number: int) -> bool:
        """Whether the past is recorded and a group has read nothing of it."""
        return self.records_past and self.caches[number] is None

    def put(self, number: int, cache: Any) -> None:
        """Keep what a group has returned."""
        is_first, self.caches[number] = self.caches[number] is None, cache
        if is_first and self.records_past:
            _record_past(cache)

    def advance(self, n_tokens: int, n_rows: int) -> None:
        """Note that every member has read `n_tokens` more of `n_rows` rows."""
        self._length += n_tokens
        self.n_rows = n_rows

    def reorder_cache(self, beam_idx: torch.Tensor) -> None:
        """Let each row continue from the beam that it stems from."""
        for cache in self.caches:
            if cache is not None:
                cache.reorder_cache(beam_idx)
        if self._length:
            self.n_rows = len(beam_idx)

    def batch_select_indices(self, indices: torch.Tensor) -> None:
        """Keep some rows, by their numbers or a mask over them."""
        import torch

        self.reorder_cache(torch.arange(self.n_rows, device=indices.device)[indices])

    def batch_repeat_interleave(self, repeats: int) -> None:
        """Take each row several times."""
        import torch

        self.reorder_cache(torch.arange(self.n_rows).repeat_interleave(repeats))

    def reset(self) -> None:
        """Forget all tokens."""
        self.caches = [None] * len(self.caches)
        self._length = self.n_rows = 0

    def activate_past_recording(self) -> None:
        """Keep more than the members need to go on, until `crop`: asked for by assisted generation."""
        self.records_past = True
        for cache in self.caches:
            _record_past(cache)

    def crop(self, tokens_to_remove: int) -> None:
        """Forget the last tokens, which assisted generation has not accepted.

        Parameters
        ----------
        tokens_to_remove : int
            Their number, negative or 0.
        """
        if tokens_to_remove > 0:
            raise ValueError(
                f"tokens_to_remove must be negative, the number of tokens to forget. Got {tokens_to_remove} instead."
            )
        for cache in self.caches:
            if cache is not None:
                cache.crop(tokens_to_remove)
        self._length = max(0, self._length + tokens_to_remove)


def _record_past(cache: Any) -> None:
    if isinstance(cache, Recording):  # a PrefixCache has nothing to record
        cache.activate_past_recording()
