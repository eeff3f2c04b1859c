"""Progress bars that nest, and can be read in a terminal, in a notebook and in a log."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from threading import get_ident
from typing import Any

_OPEN: list[tuple[int, Any]] = []  # of each bar that is shown, its thread and, in a notebook, its box
_LOG_INTERVAL = 10.0  # seconds


@contextmanager
def progress_bar(*, total: int, desc: str, unit: str, visible: bool, initial: int = 0) -> Iterator[Any]:
    """A `tqdm.auto` bar on standard error, closed whatever happens.

    A bar inside another is below it, and disappears when it has ended. Where bars are not `redrawn`, each
    ``set_postfix_str`` writes a line, as does ``update`` every ten seconds, and there are no bars inside others.

    Parameters
    ----------
    total : int
        Largest number of units. With fewer, the bar ends at those that were done.
    desc, unit : str
        What is done, and the name of one unit.
    visible : bool
        False shows nothing.
    initial : int, default=0
        Units that were done before.

    Yields
    ------
    tqdm.tqdm
        With ``update(n)`` and ``set_postfix_str(text)``.
    """
    from tqdm.auto import tqdm

    settings: dict[str, Any] = {"total": total, "desc": desc, "unit": unit, "initial": initial}
    if not visible:
        yield tqdm(**settings, disable=True)
        return
    box, here = None, get_ident()
    nested = any(thread == here for thread, _ in _OPEN)  # those of other threads go on beside it
    if _in_widgets():
        bar = tqdm(**settings, leave=not nested, dynamic_ncols=True, display=False)
        box = _box_with(bar.container)
    elif redrawn():
        bar = tqdm(**settings, leave=None, dynamic_ncols=True)  # left unless it is below a bar, the user's included
    else:
        bar = _log_lines()(**settings, leave=False, miniters=1, mininterval=_LOG_INTERVAL, disable=nested)
    _OPEN.append(mark := (here, box))
    try:
        yield bar
        bar.total = bar.n  # or a notebook would show what has ended early as failed
    finally:
        _OPEN.remove(mark)
        bar.close()
    if box is not None and not bar.leave:
        box.children = [each for each in box.children if each is not bar.container]


def redrawn() -> bool:
    """Whether bars are drawn in place: in a terminal, or by the widgets of a notebook; else they are a log."""
    return _in_widgets() or (sys.stderr is not None and sys.stderr.isatty())


def _in_widgets() -> bool:
    from tqdm.auto import tqdm

    return any(base.__module__ == "tqdm.notebook" for base in tqdm.__mro__)


def _box_with(container: object) -> Any:
    """The box of a notebook's outermost bar, with one more in it.

    Were each bar an output of its own, as tqdm's are, the gone ones would leave blank lines.
    """
    boxes = [box for _, box in _OPEN if box is not None]
    if boxes:
        boxes[0].children = [*boxes[0].children, container]
        return boxes[0]
    from IPython.display import display
    from ipywidgets import VBox

    class Bars(VBox):
        """Bars below each other; without widgets, the text of the outermost."""

        def __repr__(self, *_: object) -> str:
            return repr(self.children[0])

    box = Bars([container])
    display(box)
    return box


@lru_cache(maxsize=1)
def _log_lines() -> Any:
    from tqdm.std import tqdm

    class LogLines(tqdm):
        """A bar that writes lines."""

        _shown: Any = None

        def display(self, msg: str | None = None, pos: int | None = None) -> None:
            state = (self.n, self.postfix or "")
            if state != self._shown:  # closing shows what is there once more
                self._shown = state
                self.fp.write(f"{self}\n")
                self.fp.flush()

        def clear(self, nolock: bool = False) -> None:
            """Leave lines where they are."""

        def __str__(self) -> str:
            count = {**self.format_dict, "bar_format": "{desc}: {unit} {n_fmt}/{total_fmt} [{elapsed}<{remaining}]"}
            return self.format_meter(**count) + (f" {self.postfix}" if self.postfix else "")

    return LogLines
