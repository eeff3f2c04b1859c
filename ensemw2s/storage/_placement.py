"""Where what is read is to be computed, if not where it was before."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from ensemw2s.exceptions import CheckpointError

logger = logging.getLogger("ensemw2s")

_OF_TORCH = {"eager", "sdpa", "flex_attention"}
_FLASH = {"flash_attention_2": "flash_attn", "flash_attention_3": "flash_attn_interface"}

_WARNED: set[str] = set()  # what has been said


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
# Of the context, not an argument: `from_pretrained` reaches a model by way of every class that holds one, and two
# threads may read at a time.
_CURRENT: ContextVar[Placement] = ContextVar("placement", default=_NOTHING)


@contextmanager
def placed(device: object, attention: str | None) -> Iterator[None]:
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


def check_placement() -> None:
    """Refuse a device that was asked for and is not there, before anything is loaded.

    Raises
    ------
    PlacementError
        Names the device.
    """
    device = _CURRENT.get().device
    if device is not None and not _is_there(device):
        raise PlacementError(f"device must be a torch device of this machine, such as 'cpu'. Got {device!r} instead.")


def device_here(saved: str | None) -> str | None:
    """The device that was asked for, or the saved one; None, which is the best there is, where that is missing."""
    asked = _CURRENT.get().device
    if asked is not None or saved is None:
        return asked
    if _is_there(saved):
        return saved
    _warn_once(
        f"The device {saved!r} of a saved model is not here: it is put on the best one that is. Pass device= to choose."
    )
    return None


def set_attention(model: Any, saved: Any) -> None:
    """Let a model attend as was asked for, or as when it was saved; as it does where that cannot be had here.

    Another implementation computes the same up to rounding, which is not equal to the bit.

    Raises
    ------
    PlacementError
        If what was asked for cannot be had.
    """
    asked, before = _CURRENT.get().attention, model.config._attn_implementation
    name = saved if asked is None else asked
    if name == before or not (asked is not None or isinstance(saved, str)):
        return
    try:
        if asked is None and not _is_installed(saved):
            raise ImportError(f"{saved} is not installed")
        model.set_attn_implementation(name)
    except (ImportError, ValueError, RuntimeError, TypeError, AttributeError) as error:
        if asked is not None:
            raise PlacementError(
                f"attn_implementation must be an attention that can be had here, such as 'sdpa' or 'eager'. Got "
                f"{asked!r} instead ({error})."
            ) from error
        _warn_once(
            f"The attention {saved!r} of a saved model cannot be had here: {before!r} takes its place, equal up to "
            f"rounding. Pass attn_implementation= to choose."
        )


def _is_installed(attention: str) -> bool:
    """Whether a saved name stands for what is on this machine: of others, transformers may load code from the hub."""
    import torch

    package = _FLASH.get(attention)
    if package is None:
        return attention in _OF_TORCH
    return torch.cuda.is_available() and find_spec(package) is not None


def _is_there(device: str) -> bool:
    import torch

    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError, TypeError):  # torch built without it raises the second
        return False
    return torch.device(device).type != "meta"


def _warn_once(message: str) -> None:
    if message not in _WARNED:
        _WARNED.add(message)
        logger.warning("%s", message)
