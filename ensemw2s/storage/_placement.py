"""Where what is read is to be computed, if not where it was before."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from ensemw2s.exceptions import CheckpointError

__all__ = ["Placement", "PlacementError", "current_placement", "placed"]


class PlacementError(ValueError):
    """What was asked for cannot be had: no fault of the files that are read."""


@dataclass(frozen=True)
class Placement:
    """What the caller of ``from_pretrained`` asks for; None leaves it as it was saved, where that can be had.

    Attributes
    ----------
    device : str or None
        torch device.
    attention : str or None
        Name of an attention implementation of transformers.
    """

    device: str | None = None
    attention: str | None = None


_NOTHING = Placement()
_CURRENT: ContextVar[Placement] = ContextVar("placement", default=_NOTHING)


def current_placement() -> Placement:
    """What the innermost `placed` asks for."""
    return _CURRENT.get()


@contextmanager
def placed(device: Any, attention: str | None) -> Iterator[None]:
    """Have models that are read within this context put on a device, with an attention implementation."""
    before = _CURRENT.set(Placement(None if device is None else str(device), attention))  # "cpu" or torch.device("cpu")
    try:
        yield
    except CheckpointError as error:
        if isinstance(error.__cause__, PlacementError):
            raise ValueError(str(error.__cause__)) from error.__cause__.__cause__
        raise
    finally:
        _CURRENT.reset(before)
