"""Keys and values of prompts, kept in memory up to a limit and in memory-mapped safetensors files beyond it."""

from __future__ import annotations

import os
import random
import shutil
import tempfile
import weakref
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from ensemw2s.learners._memory_limit import memory_limit
from ensemw2s.storage import write_tensors

if TYPE_CHECKING:
    import torch

__all__ = ["PromptCache", "PromptState"]

# Keys and values of one prompt of P tokens, (n, H, P, D): n slots of one shape, see `PromptLayout`.
PromptState = tuple["torch.Tensor", ...]

MEMORY, DISK = "ENSEMW2S_PROMPT_CACHE", "ENSEMW2S_PROMPT_CACHE_DISK"


class PromptCache:
    """What a base model made of prompts, by the prompts' tokens.

    The environment variable ``ENSEMW2S_PROMPT_CACHE`` limits what is kept in memory, on the model's device, and
    ``ENSEMW2S_PROMPT_CACHE_DISK`` what is kept in files beside it. Where both are full, a random part makes room: the
    questions are gone through again and again in one order, for which the longest unused would be the worst choice.
    """

    def __init__(self) -> None:
        self._folder = ""
        self._remove_folder: Any = _nothing
        self.clear()

    def __len__(self) -> int:
        return len(self._states)

    def clear(self) -> None:
        """Forget all prompts, and free their memory and files."""
        self._states: dict[bytes, PromptState] = {}
        self._memory, self._disk = _Tier(), _Tier()
        self._random = random.Random(0)
        self._remove_folder()

    def get(self, key: bytes) -> PromptState | None:
        """What is known of a prompt."""
        return self._states.get(key)

    def add(self, states: dict[bytes, PromptState]) -> None:
        """Keep the prompts of a batch, or none of them where they are larger than the limits."""
        states = {key: state for key, state in states.items() if key not in self._states}
        if not states:
            return
        size = sum(tensor.nbytes for state in states.values() for tensor in state)
        memory, disk = memory_limit(MEMORY, "1GB"), memory_limit(DISK, "4GB")
        if self._memory.used + size <= memory:
            tier = self._memory
        elif size <= disk:
            tier = self._disk
            self._make_room(tier, disk - size)
            states = self._write(states)
        elif size <= memory:
            tier = self._memory
            self._make_room(tier, memory - size)
        else:
            return
        tier.keep(list(states), size)
        self._states.update(states)

    def _make_room(self, tier: _Tier, limit: int) -> None:
        while tier.used > limit:
            for key in tier.drop(self._random):
                del self._states[key]

    def _write(self, states: dict[bytes, PromptState]) -> dict[bytes, PromptState]:
        """The same tensors, memory-mapped."""
        from safetensors.torch import load_file

        if not os.path.isdir(self._folder):
            self._folder = tempfile.mkdtemp(prefix="ensemw2s-prompts-")
            self._remove_folder = weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)
        path = Path(self._folder) / f"{uuid4().hex}.safetensors"
        write_tensors(path, {
            f"{row}.{place}": tensor
            for row, state in enumerate(states.values())
            for place, tensor in enumerate(state)
        })  # fmt: skip
        mapped = load_file(path)
        if os.name == "posix":
            path.unlink()  # the mapping holds it: no file is left behind, however the process ends
        return {
            key: tuple(mapped[f"{row}.{place}"] for place in range(len(state)))
            for row, (key, state) in enumerate(states.items())
        }


def _nothing() -> None:
    """No folder has been made yet."""


class _Tier:
    """Sizes of what is kept in one place, batch by batch."""

    def __init__(self) -> None:
        self.used = 0
        self._batches: list[tuple[list[bytes], int]] = []

    def keep(self, keys: list[bytes], size: int) -> None:
        self._batches.append((keys, size))
        self.used += size

    def drop(self, rng: random.Random) -> list[bytes]:
        """Forget a random batch, and return its keys."""
        place = rng.randrange(len(self._batches))
        self._batches[place], self._batches[-1] = self._batches[-1], self._batches[place]
        keys, size = self._batches.pop()
        self.used -= size
        return keys
