"""Members that are run together: one forward pass each, or one for all that share a base model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

from ensemw2s.contracts import Cached, PrefixCache, Stackable, TokenLearner, checked_logits, checked_step

if TYPE_CHECKING:
    import torch

    from ensemw2s.kernels import KernelBackend


class MemberGroup(Protocol):
    """Members whose next step is one forward pass.

    Attributes
    ----------
    places : tuple of int
        Of the G members among those that were grouped.
    """

    places: tuple[int, ...]

    def step(
        self, input_ids: Any, attention_mask: Any, position_ids: Any, cache: Any, *, n_last: int, use_cache: bool
    ) -> tuple[torch.Tensor, Any]:
        """Read tokens that are not in the cache yet.

        Parameters
        ----------
        input_ids, position_ids : torch.Tensor of shape (B, L)
            The same for all members.
        attention_mask : torch.Tensor of shape (B, cached + L)
            Over all tokens so far.
        cache : object with ``reorder_cache``, or None
            What the last step returned; None at the start.
        n_last : int
            Positions that go through the head.
        use_cache : bool
            Whether a cache is returned.

        Returns
        -------
        logits : torch.Tensor of shape (G, B, n_last, V)
        cache : object with ``reorder_cache``, or None
        """
        ...


def group_members(
    members: Sequence[TokenLearner], *, together: bool = True, backend: KernelBackend | None = None
) -> list[MemberGroup]:
    """Sort members into groups, in the order of their first places.

    Parameters
    ----------
    members : sequence of TokenLearner
        Fitted or initialised. Those that are `Stackable` may be run as one batch.
    together : bool, default=True
        False makes each member a group of its own.
    backend : KernelBackend, optional
        What computes the updates of adapters that run as one batch.

    Returns
    -------
    list of MemberGroup
        Every member is in exactly one.
    """
    places: dict[int, list[int]] = {}  # by base; a member that runs alone, by its own place
    stackable: dict[int, Stackable] = {}  # one member of each base
    for place, member in enumerate(members):
        base = member.stack_base() if together and isinstance(member, Stackable) else None
        places.setdefault(place if base is None else id(base), []).append(place)
        if isinstance(member, Stackable) and base is not None:
            stackable.setdefault(id(base), member)
    if len(stackable) > 1:
        several_bases = list(stackable.values())
        several_bases[0]._say_why_apart(several_bases)
    groups: list[MemberGroup] = []
    for base_id, several in places.items():
        stack = stackable[base_id].stack([members[place] for place in several], backend) if len(several) > 1 else None
        groups += [_Single(members[place], place) for place in several] if stack is None else [_Stack(stack, several)]
    return sorted(groups, key=lambda group: group.places)


class KeptGroups:
    """The groups that were made last, for members that may have changed since."""

    def __init__(self) -> None:
        self._kept: tuple[list[object], list[MemberGroup]] = ([], [])

    def __reduce__(self) -> tuple[type[KeptGroups], tuple[()]]:
        return KeptGroups, ()  # copies make their own, of their own members

    def of(self, members: Sequence[TokenLearner], backend: KernelBackend) -> list[MemberGroup]:
        """What `group_members` gives, made anew only where a member or what is copied of it is another one."""
        parts = (member._stack_key() if isinstance(member, Stackable) else None for member in members)
        key = [backend, *zip(members, parts, strict=True)]
        known, groups = self._kept  # as one, since another thread may put others in their place
        if key != known:
            del known, groups
            self._kept = ([], [])  # freed before the next ones are made
            groups = group_members(members, backend=backend)
            self._kept = (key, groups)
        return groups


class _Stack:
    """A group that shares a base model."""

    def __init__(self, stack: Any, places: Sequence[int]) -> None:
        self.places = tuple(places)
        self.step = stack.step


class _Single:
    """A group of one."""

    def __init__(self, member: TokenLearner, place: int) -> None:
        self.places: tuple[int, ...] = (place,)
        self._member = member

    def step(
        self, input_ids: Any, attention_mask: Any, position_ids: Any, cache: Any, *, n_last: int, use_cache: bool
    ) -> tuple[torch.Tensor, Any]:
        import torch

        if isinstance(self._member, Cached):
            step = self._member.decode_step(
                input_ids, attention_mask, position_ids, cache=cache, n_last=n_last, use_cache=use_cache
            )
            logits, cache = checked_step(step, self._member, (len(input_ids), n_last))
            return logits[None], cache
        ids = input_ids if cache is None else torch.cat([cache.input_ids, input_ids], dim=1)
        found = self._member.token_logits(ids.cpu().numpy(), attention_mask.cpu().numpy())
        logits = checked_logits(found, self._member, "token_logits", tuple(ids.shape))
        return logits[None, :, -n_last:], PrefixCache(ids) if use_cache else None
