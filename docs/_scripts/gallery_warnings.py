"""Warnings of the gallery's examples end the build, as those of the tests do."""

from __future__ import annotations

import warnings
from contextlib import ExitStack
from typing import Any

_filters = ExitStack()


def as_errors(gallery_conf: dict[str, Any], fname: str | None, when: str) -> None:
    """Make errors of warnings before an example, and no longer after it: Sphinx has warnings of its own."""
    _filters.close()
    if when == "before" and fname is not None:
        _filters.enter_context(warnings.catch_warnings())
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", message="FigureCanvasAgg is non-interactive")
