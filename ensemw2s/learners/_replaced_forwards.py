"""Modules that compute with other functions for a while."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import nn

__all__ = ["Forward", "replaced_forwards"]

Forward = Callable[[torch.Tensor], torch.Tensor]


@contextmanager
def replaced_forwards(forwards: Sequence[tuple[nn.Module, Forward]]) -> Iterator[None]:
    """Let modules compute with other functions within this context."""
    try:
        for module, forward in forwards:
            vars(module)["forward"] = forward  # past nn.Module.__setattr__, which is slow
        yield
    finally:
        for module, _ in forwards:
            vars(module).pop("forward", None)
