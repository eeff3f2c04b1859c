"""Groups of rows into parts of given sizes, so that no group is in two parts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

_ATTEMPTS = 20  # random packings before giving up on exact sizes


def pack(
    sizes: NDArray[np.int64], capacities: Sequence[int], rng: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Deal groups out at random to parts of fixed sizes.

    Groups of several rows go first, the largest before the others, each to a part drawn by the room that is left
    there; single rows fill up the rest. A group that is larger than its part loses rows rather than being torn apart,
    which is allowed as long as some rows are left over. Draws are repeated until every part is full; the
    fullest is returned if that does not happen.

    Parameters
    ----------
    sizes : ndarray of shape (n_groups,)
        Rows in each group.
    capacities : sequence of P ints
        Rows in each part; at most ``sizes.sum()`` in all.
    rng : numpy.random.Generator
        Source of the draws.

    Returns
    -------
    part : ndarray of shape (n_groups,)
        Part of each group; -1 for none.
    kept : ndarray of shape (n_groups,)
        Rows of the group that are used.
    """
    best = _deal(sizes, capacities, rng)
    for _ in range(_ATTEMPTS - 1):
        if best[1].sum() == sum(capacities):
            break
        best = max(best, _deal(sizes, capacities, rng), key=lambda dealt: dealt[1].sum())
    return best


def _deal(
    sizes: NDArray[np.int64], capacities: Sequence[int], rng: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    n_parts = len(capacities)
    room = np.array([*capacities, sizes.sum() - sum(capacities)], dtype=np.int64)  # the last is for rows left out
    part, kept = np.full(len(sizes), -1), np.zeros(len(sizes), dtype=np.int64)
    # The largest first, while there is room for them; those of one size in random order.
    order = rng.permutation(len(sizes))
    order = order[np.argsort(-sizes[order], kind="stable")]
    several = order[sizes[order] > 1]
    for group in several:
        size = sizes[group]
        surplus = np.maximum(size - room, 0)  # what the group would lose in each part
        # A group may lose rows only as far as rows are left over; as a whole it may be left out.
        allowed = surplus <= max(room[-1], 0)
        allowed[-1] = room[-1] >= size
        # By the room that is left: on average the parts then fill up at the same rate. If nothing is allowed, the group
        # loses more rows in the roomiest part than are left over: some part will not be full, and `pack` draws again.
        chance = np.where(allowed, room, 0)
        choice = int(rng.choice(n_parts + 1, p=chance / chance.sum()) if chance.any() else room[:-1].argmax())
        room[-1] -= surplus[choice]
        size -= surplus[choice]
        room[choice] -= size
        if choice < n_parts and size:
            part[group], kept[group] = choice, size
    # A single row fits everywhere: these are dealt onto the places that are left, one each.
    singles = order[sizes[order] == 1]
    places = np.repeat(np.arange(n_parts + 1), np.maximum(room, 0))
    places = rng.permutation(places)[: len(singles)]
    used = places < n_parts
    part[singles[used]], kept[singles[used]] = places[used], 1
    return part, kept
