"""Locks between the threads of a process, which a forked child finds free."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from threading import Lock, RLock, get_ident
from weakref import WeakSet


class ThreadLock:
    """A lock that its thread may take again, as a context manager.

    Threads that hold one lock each and ask for another's, as two that have each borrowed a model and then run the
    other's, would wait for each other for ever: whoever is the last to ask gets an error, and the others go on.

    A child that is forked while another thread holds it has only the thread that forked: nobody would ever release the
    lock, and what it guards was left in the middle of a change.

    Parameters
    ----------
    lost : callable, optional
        Called in such a child, in place of the release.

    Raises
    ------
    RuntimeError
        On entering, if the threads that must release the lock first wait for this one.
    """

    def __init__(self, lost: Callable[[], None] | None = None) -> None:
        self._lock, self._lost = RLock(), lost
        self._owner: int | None = None
        self._depth = 0
        _LOCKS.add(self)

    def __enter__(self) -> None:
        if not self._lock.acquire(blocking=False):
            self._wait()
        # A thread that looks between these two lines finds no owner, and waits. No circle is missed: whichever thread
        # asks last finds all the others in place.
        self._owner = get_ident()
        self._depth += 1

    def __exit__(self, *_: object) -> None:
        self._depth -= 1
        if self._depth == 0:
            self._owner = None
        self._lock.release()

    def _wait(self) -> None:
        own = get_ident()
        with _GRAPH:
            # Check and entry are one step under _GRAPH: of two threads that close a circle at once, one comes second
            # and sees the other's entry.
            if self._waits_for(own):
                raise RuntimeError(
                    "Two threads would wait for each other for ever: each holds a model that the other one asks for, "
                    "such as by lend_model() around a call that runs other models, or with an assistant_model of its "
                    "own. Let one thread at a time do so, or let all of them take the models in one order."
                )
            _WAITING[own] = self
        try:
            self._lock.acquire()
        finally:
            _WAITING.pop(own, None)

    def _waits_for(self, thread: int) -> bool:
        """Whether a thread must go on before this lock is released. Nobody can begin to wait meanwhile."""
        lock, seen = self, {self}
        while True:
            owner = lock._owner
            if owner == thread:
                return True
            following = None if owner is None else _WAITING.get(owner)
            # Seen before: a circle of other threads, of which one gets the error.
            if following is None or following in seen:
                return False
            lock = following
            seen.add(lock)

    def _go_on_in_child(self) -> None:
        if self._lock.acquire(blocking=False):  # it was free, or is held by the thread that forked
            self._lock.release()
            return
        self._lock, self._owner, self._depth = RLock(), None, 0
        if self._lost is not None:
            self._lost()


_LOCKS: WeakSet[ThreadLock] = WeakSet()
_GRAPH = Lock()
_WAITING: dict[int, ThreadLock] = {}  # what each thread waits for


def _go_on_in_child() -> None:
    global _GRAPH
    _GRAPH = Lock()
    _WAITING.clear()
    for lock in list(_LOCKS):
        lock._go_on_in_child()
    torch = sys.modules.get("torch")
    if torch is not None and torch.get_num_threads() > 1:
        # GNU's OpenMP waits for threads that the child does not have; torch's own worker processes do the same.
        torch.set_num_threads(1)


if hasattr(os, "register_at_fork"):  # not on Windows, which cannot fork
    os.register_at_fork(after_in_child=_go_on_in_child)
