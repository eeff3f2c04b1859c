"""Locks between the threads of a process, which a forked child finds free."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from threading import RLock
from weakref import WeakSet

__all__ = ["ThreadLock"]


class ThreadLock:
    """A lock that its thread may take again, as a context manager.

    A child that is forked while another thread holds it has only the thread that forked: nobody would ever release the
    lock, and what it guards was left in the middle of a change.

    Parameters
    ----------
    lost : callable, optional
        Called in such a child, in place of the release.
    """

    def __init__(self, lost: Callable[[], None] | None = None) -> None:
        self._lock, self._lost = RLock(), lost
        _LOCKS.add(self)

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()

    def _go_on_in_child(self) -> None:
        if self._lock.acquire(blocking=False):  # it was free, or is held by the thread that forked
            self._lock.release()
            return
        self._lock = RLock()
        if self._lost is not None:
            self._lost()


_LOCKS: WeakSet[ThreadLock] = WeakSet()


def _go_on_in_child() -> None:
    for lock in list(_LOCKS):
        lock._go_on_in_child()
    torch = sys.modules.get("torch")
    if torch is not None and torch.get_num_threads() > 1:
        # GNU's OpenMP waits for threads that the child does not have; torch's own worker processes do the same.
        torch.set_num_threads(1)


if hasattr(os, "register_at_fork"):  # not on Windows, which cannot fork
    os.register_at_fork(after_in_child=_go_on_in_child)
