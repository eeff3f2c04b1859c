"""What Python calls a method when its arguments are wrong."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from types import FunctionType
from typing import TypeVar

Kind = TypeVar("Kind", bound=type)


def methods_of(public: str = "") -> Callable[[Kind], Kind]:
    """Decorate a private base class, so that errors about arguments do not name it.

    "missing 1 required positional argument" and its kin begin with the ``__qualname__`` of a method, the name of the
    class that defines it: one that nobody has typed.

    Parameters
    ----------
    public : str, default=""
        The only public class that has these methods; where there are several, methods go by their own name alone.
    """

    def rename(kind: Kind) -> Kind:
        for name, value in vars(kind).items():
            method = inspect.unwrap(value)  # the function in a classmethod, or in what `available_if` makes
            if isinstance(method, FunctionType):
                method.__qualname__ = f"{public}.{name}" if public else name
        return kind

    return rename
