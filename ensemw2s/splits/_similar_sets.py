"""All pairs of sets that are alike, found exactly without looking at every pair."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from sklearn.feature_extraction.text import CountVectorizer

_AT_ONCE = 4_000_000  # entries of one block; bounds memory
# The slack: .7 * 10 may be a little more than 7 in binary.
_SLACK = 1e-9


class SetFamily:
    """Sets, with the rarest elements of each first.

    Two sets that share a large part of their elements share one of their few rarest ones: of a set of 10, all but
    ``10 - 7 + 1 = 4`` may be left out of an index by which partners that share 7 are found (prefix filtering, Chaudhuri
    et al., 2006). Since rare elements have short lists, this costs far less than to compare all pairs, and misses
    none.

    Parameters
    ----------
    sets : sequence of collections of hashable
        Not empty, each with at least one element.
    """

    def __init__(self, sets: Sequence[Collection[Hashable]]) -> None:
        vectorizer = CountVectorizer(analyzer=lambda row: row, binary=True, dtype=np.int32)
        self._counts: csr_matrix = vectorizer.fit_transform(sets).tocsr()  # (n_sets, n_elements)
        self.sizes: NDArray[np.int64] = np.diff(self._counts.indptr).astype(np.int64)
        n_sets, n_elements = self._counts.shape
        self._owner = np.repeat(np.arange(n_sets), self.sizes)
        # One order of all elements, from the rarest on; prefixes of two sets can be compared only if both follow it.
        frequency = np.bincount(self._counts.indices, minlength=n_elements)
        rank = np.argsort(np.argsort(frequency, kind="stable"), kind="stable")
        order = np.lexsort((rank[self._counts.indices], self._owner))
        self._rarest_first = self._counts.indices[order]
        # Place of each entry in its own set: 0 for its rarest element.
        self._place = np.arange(len(order)) - np.repeat(self._counts.indptr[:-1], self.sizes)

    def similar(self, threshold: float) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
        r"""Pairs whose Jaccard similarity :math:`|A \cap B| / |A \cup B|` reaches a threshold.

        Parameters
        ----------
        threshold : float in (0, 1]

        Returns
        -------
        first, second : ndarray of int64
            Numbers of the sets, ``first < second``.
        similarity : ndarray of float64
        """
        # Two sets of Jaccard similarity t share at least t of the elements of each, so each has one of the shared ones
        # in its prefix, and the rarest shared one is in both.
        prefixes = self._prefixes(threshold)
        blocks = []
        for first, second in self._candidates(prefixes, prefixes):
            small = np.minimum(self.sizes[first], self.sizes[second])
            large = np.maximum(self.sizes[first], self.sizes[second])
            # |A and B| <= |small| and |A or B| >= |large|: sizes that differ too much cannot reach it.
            possible = (first < second) & (small + _SLACK >= threshold * large)
            first, second, shared = self._shared(first[possible], second[possible])
            similarity = shared / (self.sizes[first] + self.sizes[second] - shared)
            near = similarity + _SLACK >= threshold
            blocks.append((first[near], second[near], similarity[near]))
        return _joined(blocks)

    def contained(
        self, threshold: float, minimum: int
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
        r"""Pairs in which the share :math:`|A \cap B| / |A|` of the smaller set :math:`A` reaches a threshold.

        Parameters
        ----------
        threshold : float in (0, 1]
        minimum : int
            Elements that the smaller set must have.

        Returns
        -------
        smaller, larger : ndarray of int64
            Numbers of the sets.
        share : ndarray of float64
        """
        # Only the smaller set must share t of its elements: its prefix is looked for in whole sets.
        blocks = []
        for small, large in self._candidates(self._prefixes(threshold, minimum), self._counts):
            possible = (small != large) & (self.sizes[small] <= self.sizes[large])
            small, large, shared = self._shared(small[possible], large[possible])
            share = shared / self.sizes[small]
            near = share + _SLACK >= threshold
            blocks.append((small[near], large[near], share[near]))
        return _joined(blocks)

    def _prefixes(self, threshold: float, minimum: int = 1) -> csr_matrix:
        """The rarest elements of each set, one of which a partner has; none of sets below `minimum`."""
        n_needed = np.ceil(threshold * self.sizes - _SLACK).astype(np.int64)
        length = np.where(self.sizes >= minimum, self.sizes - n_needed + 1, 0)
        kept = self._place < length[self._owner]
        entries = (np.ones(int(kept.sum()), dtype=np.int32), (self._owner[kept], self._rarest_first[kept]))
        return csr_matrix(entries, shape=self._counts.shape)

    def _candidates(self, prefixes: csr_matrix, others: csr_matrix) -> Iterator[tuple[Any, Any]]:
        """Pairs that share an element of the first's prefix, block by block."""
        list_length = np.bincount(others.indices, minlength=others.shape[1])
        # Entries that the product of each row would have, added up: blocks are cut where it passes `_AT_ONCE`.
        cost = np.concatenate([[0], np.cumsum(list_length[prefixes.indices])])[prefixes.indptr]  # (n_sets + 1,)
        others = others.T.tocsr()
        start, n_sets = 0, prefixes.shape[0]
        while start < n_sets:
            # At least one row, even if it alone costs more than a block may.
            stop = max(start + 1, int(np.searchsorted(cost, cost[start] + _AT_ONCE, side="right")) - 1)
            found = (prefixes[start:stop] @ others).tocoo()
            yield found.row.astype(np.int64) + start, found.col.astype(np.int64)
            start = stop

    def _shared(self, first: NDArray[np.int64], second: NDArray[np.int64]) -> tuple[Any, Any, NDArray[np.int64]]:
        """Number of elements that the pairs share, counted on whole sets."""
        step = max(1, _AT_ONCE // max(1, int(self.sizes.max())))
        shared = [
            np.asarray(self._counts[first[k : k + step]].multiply(self._counts[second[k : k + step]]).sum(axis=1))
            for k in range(0, len(first), step)
        ]
        return first, second, np.concatenate(shared).ravel() if shared else np.zeros(0, dtype=np.int64)


def _joined(blocks: list[tuple[Any, Any, Any]]) -> tuple[Any, Any, Any]:
    first, second, similarity = zip(*blocks, strict=True)
    return np.concatenate(first), np.concatenate(second), np.concatenate(similarity)
