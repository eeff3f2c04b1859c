"""Keys and values of prompts, kept in memory up to a limit and in files beyond it."""

from __future__ import annotations

import logging
import os
import weakref
from collections import OrderedDict
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

from ensemw2s._forward.memory_limit import memory_limit
from ensemw2s._forward.prompt_file import PromptFile, StoredPrompt
from ensemw2s.storage import temporary_folder

if TYPE_CHECKING:
    import torch

# Keys and values of one prompt of P tokens, (n, H, P, D): n slots of one shape, keys or values of a layer each.
PromptState = tuple["torch.Tensor", ...]

logger = logging.getLogger("ensemw2s")

MEMORY, DISK = "ENSEMW2S_PROMPT_CACHE", "ENSEMW2S_PROMPT_CACHE_DISK"

# A prompt takes the place of others that were not asked for while it was asked for as often as this. In epochs, in any
# order, a prompt comes twice at most between two times of another.
_TIMES = 3
_TOKEN = 8  # bytes of a token in a key
_MOST_FILES, _SMALLEST_FILE = 128, 2**24
_REMEMBERED = 10**5  # prompts that are not kept, of which the last times are known


class PromptCache:
    """What a base model made of prompts, by the prompts' tokens.

    The environment variable ``ENSEMW2S_PROMPT_CACHE`` limits what is kept in memory, on the model's device, and
    ``ENSEMW2S_PROMPT_CACHE_DISK`` what is kept in files beside it. Where both are full, what is there stays as long as
    it is asked for: the questions are gone through again and again, so that one that is thrown out is missed as much as
    the one that took its place. Questions of the past make room.
    """

    def __init__(self) -> None:
        self._folder = ""
        self._remove_folder: Callable[[], object] = lambda: None
        self._told = False
        self.clear()

    def __len__(self) -> int:
        return len(self._places)

    def clear(self) -> None:
        """Forget all prompts, and free their memory and files."""
        self._places: dict[bytes, tuple[_Tier, _Batch]] = {}
        self._memory, self._disk = _Tier(), _Tier()
        self._can_write = True
        self._file: PromptFile | None = None
        self._n_reads = 0
        # The last reads of prompts that are not kept, by a hash of their tokens.
        self._asked: dict[int, tuple[int, ...]] = {}
        self._remove_folder()

    def find(self, keys: Iterable[bytes]) -> dict[bytes, PromptState | None]:
        """What is known of the prompts of a batch; None where nothing is."""
        self._n_reads += 1
        found: dict[bytes, PromptState | None] = dict.fromkeys(keys)
        for key in found:
            if key in self._places:
                tier, batch = self._places[key]
                tier.use(batch, self._n_reads)
                found[key] = self._state(batch, key)
            else:
                times = self._asked.pop(hash(key), ())  # put back as the last
                self._asked[hash(key)] = (*times, self._n_reads)[-_TIMES:]
        while len(self._asked) > _REMEMBERED:
            del self._asked[next(iter(self._asked))]
        return found

    def _state(self, batch: _Batch, key: bytes) -> PromptState | None:
        state = batch.states[key]
        if not isinstance(state, StoredPrompt):
            return state
        read = state.read()
        if read is None:  # so that it is made again
            del self._places[key], batch.states[key]
            logger.warning(
                "A prompt that was kept for adapt='answer' in a file of %s is damaged there; it is read again by the "
                "model.", self._folder,
            )  # fmt: skip
        return read

    def add(self, states: dict[bytes, PromptState]) -> None:
        """Keep the prompts of a batch, or none of them where there is no room."""
        states = {key: state for key, state in states.items() if key not in self._places}
        if not states:
            return
        size = sum(tensor.nbytes for state in states.values() for tensor in state)
        limits = {
            self._memory: memory_limit(MEMORY, "1GB"),
            self._disk: memory_limit(DISK, "4GB") if self._can_write else 0,
        }
        since = min(self._asked_since(key) for key in states)
        tier = next((tier for tier, limit in limits.items() if tier.size + size <= limit), None)
        if tier is None:
            tier = next((tier for tier, limit in limits.items() if self._make_room(tier, limit - size, since)), None)
        if tier is None:
            if any(limits.values()):
                self._say_full(states, size)
            return
        kept: dict[bytes, PromptState | StoredPrompt] = {**states}
        if tier is self._disk:
            try:
                kept = {**self._write(states, limits[tier])}
            except OSError as error:
                self._stop_writing(error)
                return
        batch = _Batch(kept, size)
        tier.add(batch, self._n_reads)
        for key in states:
            self._places[key] = tier, batch
            self._asked.pop(hash(key), None)

    # With room for fewer than the n questions that come in turn, dropping the least recently used would drop each just
    # before it is asked for again. So a newcomer replaces only what was not used since it was itself asked for `_TIMES`
    # times.
    def _asked_since(self, key: bytes) -> int:
        """The read from which on a prompt was asked for `_TIMES` times; 0 if it was not."""
        times = self._asked.get(hash(key), ())
        return times[0] if len(times) == _TIMES else 0

    def _make_room(self, tier: _Tier, limit: int, since: int) -> bool:
        """Drop what was not used since some read, until no more than `limit` bytes are left, if that is enough."""
        while limit >= 0 and tier.size > limit and tier.last_use() < since:
            for key in tier.drop():
                del self._places[key]
        return 0 <= limit >= tier.size

    def _say_full(self, states: dict[bytes, PromptState], size: int) -> None:
        if not self._told:
            self._told = True
            logger.warning(
                "%d prompts are kept for adapt='answer', and there is no room for more: the others are read each time. "
                "A token takes %d bytes; the environment variables %s (memory) and %s (files) raise the limits.",
                len(self), size // (sum(map(len, states)) // _TOKEN), MEMORY, DISK,
            )  # fmt: skip

    def _stop_writing(self, error: OSError) -> None:
        self._can_write, self._file = False, None
        self._remove_folder()  # with what was written of the file
        logger.warning(
            "Prompts for adapt='answer' are no longer kept in files (%s). Let TMPDIR be a folder with room, or the "
            "environment variable %s more memory.",
            error, MEMORY,
        )  # fmt: skip

    def _write(self, states: dict[bytes, PromptState], limit: int) -> dict[bytes, StoredPrompt]:
        """The same tensors, in a file."""
        if not os.path.isdir(self._folder):
            held = ExitStack()
            self._folder = held.enter_context(temporary_folder("prompts"))
            self._remove_folder = weakref.finalize(self, held.close)
        # Several batches share a file, since each that is open counts for the system.
        if self._file is None or self._file.size > max(_SMALLEST_FILE, limit // _MOST_FILES):
            self._file = PromptFile(Path(self._folder) / uuid4().hex)
        return {key: self._file.write(state) for key, state in states.items()}


@dataclass(eq=False)
class _Batch:
    """Prompts that were read together, and go together."""

    states: dict[bytes, PromptState | StoredPrompt]
    size: int
    last_use: int = 0


class _Tier:
    """Batches that are kept in one place, the least recently used first."""

    def __init__(self) -> None:
        self.size = 0  # bytes
        self._batches: OrderedDict[_Batch, None] = OrderedDict()

    def add(self, batch: _Batch, time: int) -> None:
        self.size += batch.size
        self.use(batch, time)

    def use(self, batch: _Batch, time: int) -> None:
        batch.last_use = time
        self._batches[batch] = None
        self._batches.move_to_end(batch)

    def last_use(self) -> int:
        """Of the batch that was not used for the longest time."""
        return next(iter(self._batches)).last_use

    def drop(self) -> Iterable[bytes]:
        """Forget that batch, and return its keys."""
        batch, _ = self._batches.popitem(last=False)
        self.size -= batch.size
        return batch.states
