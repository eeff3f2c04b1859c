"""Modules that compute with other functions for a while, in one thread."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from threading import get_ident

import torch
from torch import nn

Forward = Callable[[torch.Tensor], torch.Tensor]


# What each thread has replaced, for a forked child: it has the modules as they are at that moment, and no other thread
# that would put them back.
_REPLACED: list[tuple[int, list[nn.Module]]] = []


def _put_back_in_child() -> None:
    """Of the threads that a forked child does not have; the next one may be given the number of one of them."""
    for owner, modules in [entry for entry in _REPLACED if entry[0] != get_ident()]:
        for module in modules:
            vars(module).pop("forward", None)
        _REPLACED.remove((owner, modules))


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_put_back_in_child)


@contextmanager
def replaced_forwards(forwards: Sequence[tuple[nn.Module, Forward]]) -> Iterator[None]:
    """Let modules compute with other functions within this context.

    Only in the thread that enters it: to others, who may have got hold of the model by another way than ``lend_model``,
    the modules are what they were. Two threads must not replace those of one model at a time.
    """
    owner = get_ident()
    replaced = (owner, [module for module, _ in forwards])
    _REPLACED.append(replaced)
    try:
        for module, forward in forwards:
            vars(module)["forward"] = _in_thread(owner, forward, module)  # past nn.Module.__setattr__, which is slow
        yield
    finally:
        for module, _ in forwards:
            vars(module).pop("forward", None)
        _REPLACED.remove(replaced)


def _in_thread(owner: int, forward: Forward, module: nn.Module) -> Callable[..., torch.Tensor]:
    def chosen(*args: torch.Tensor, **kwargs: torch.Tensor) -> torch.Tensor:
        if get_ident() == owner:
            return forward(*args, **kwargs)
        return type(module).forward(module, *args, **kwargs)

    return chosen
