"""How many bytes of logits are held at once."""

from __future__ import annotations

import weakref
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

__all__ = ["LogitsMemory"]


class LogitsMemory(TorchDispatchMode):
    """Context manager that follows every tensor that an operation makes with a last dimension of V.

    Parameters
    ----------
    n_vocabulary : int
        V. Weights made before, and views of them, do not count.

    Attributes
    ----------
    peak : int
        Most bytes that were alive at once.
    """

    def __init__(self, n_vocabulary: int) -> None:
        super().__init__()
        self.n_vocabulary, self.now, self.peak = n_vocabulary, 0, 0
        self._known: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        read = {leaf.untyped_storage()._cdata for leaf in tree_leaves((args, kwargs)) if torch.is_tensor(leaf)}
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if torch.is_tensor(leaf) and leaf.ndim and leaf.shape[-1] == self.n_vocabulary:
                storage = leaf.untyped_storage()
                if storage._cdata not in read | self._known:
                    self._known.add(storage._cdata)
                    self.now += storage.nbytes()
                    self.peak = max(self.peak, self.now)
                    weakref.finalize(storage, self._freed, storage._cdata, storage.nbytes())
        return result

    def _freed(self, key: int, n_bytes: int) -> None:
        self._known.discard(key)
        self.now -= n_bytes
