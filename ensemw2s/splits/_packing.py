"""Groups of rows into parts of given sizes, so that no group is in two parts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

_ATTEMPTS = 50  # random packings before giving up on exact sizes


def pack(
    sizes: NDArray[np.int64], capacities: Sequence[int], rng: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Deal groups out at random to parts of fixed sizes.

    Groups of several rows go first, each to a part that has room for it, drawn by the room that is left; single rows
    fill up the rest. A group that fits nowhere loses rows rather than being torn apart. Rows that no part asks for stay
    out. Draws are repeated until every part is full, and the fullest is returned if that does not happen.

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
    best: tuple[NDArray[np.int64], NDArray[np.int64]] | None = None
    wanted = sum(capacities)
    for _ in range(_ATTEMPTS):
        part, kept = _deal(sizes, capacities, rng)
        if best is None or kept.sum() > best[1].sum():
            best = part, kept
        if kept.sum() == wanted:
            break
    assert best is not None  # noqa: S101 (for the type checker; _ATTEMPTS > 0)
    return best


def _deal(
    sizes: NDArray[np.int64], capacities: Sequence[int], rng: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    n_parts = len(capacities)
    room = np.array([*capacities, sizes.sum() - sum(capacities)], dtype=np.int64)  # the last is for rows left out
    part, kept = np.full(len(sizes), -1), np.zeros(len(sizes), dtype=np.int64)
    order = rng.permutation(len(sizes))
    order = order[np.argsort(-sizes[order], kind="stable")]
    several = order[sizes[order] > 1]
    for group in several:
        size = sizes[group]
        chance = np.where(room >= size, room, 0)
        if chance.any():
            choice = int(rng.choice(n_parts + 1, p=chance / chance.sum()))
        else:
            choice = int(room[:-1].argmax())
            room[-1] -= size - room[choice]
            size = room[choice]
        room[choice] -= size
        if choice < n_parts and size:
            part[group], kept[group] = choice, size
    singles = order[sizes[order] == 1]
    places = np.repeat(np.arange(n_parts + 1), np.maximum(room, 0))
    places = rng.permutation(places)[: len(singles)]
    used = places < n_parts
    part[singles[used]], kept[singles[used]] = places[used], 1
    return part, kept
