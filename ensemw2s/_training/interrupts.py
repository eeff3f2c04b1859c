"""Ctrl-C in a training that has worker processes."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from threading import current_thread, main_thread
from types import FrameType
from typing import Any


class Interrupts:
    """Sees to it that one Ctrl-C ends a training, as a context manager around it.

    A KeyboardInterrupt that is raised while a process forks, or an object is deleted, is swallowed by Python. It is
    raised again at the next step. Worker processes, which a terminal sends the signal as well, do not get it: one that
    dies, or hangs, in the middle of a batch leaves this process waiting.
    """

    def __init__(self) -> None:
        self._before: Any = None
        self._is_postponed = False
        self._is_pending = False

    def __enter__(self) -> Interrupts:
        handler = signal.getsignal(signal.SIGINT)
        # Python runs handlers in the main thread only, and one that ignores the signal is left alone.
        if current_thread() is main_thread() and callable(handler):
            self._before = handler
            signal.signal(signal.SIGINT, self._receive)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)
        if kind is None or not issubclass(kind, KeyboardInterrupt):
            self.check()  # what it has led to, such as a queue without its workers, is no news

    def check(self) -> None:
        """Raise the KeyboardInterrupt that was swallowed, if one was."""
        if self._is_pending:
            self._pass_on(None)

    @contextmanager
    def postponed(self) -> Iterator[None]:
        """Raise it at the end of this block; processes that are started in it do not get the signal."""
        blocks = getattr(signal, "pthread_sigmask", None)  # not on Windows
        mask = None if blocks is None else blocks(signal.SIG_BLOCK, {signal.SIGINT})
        self._is_postponed = True
        try:
            yield
        finally:
            self._is_postponed = False
            if blocks is not None:
                blocks(signal.SIG_SETMASK, mask)
        self.check()

    def _receive(self, number: int, frame: FrameType | None) -> None:
        self._is_pending = True
        if not self._is_postponed:
            self._pass_on(frame)

    def _pass_on(self, frame: FrameType | None) -> None:
        self._before(signal.SIGINT, frame)
        self._is_pending = False  # a handler of the user's own, which raises nothing
