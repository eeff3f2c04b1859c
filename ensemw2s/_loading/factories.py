"""Functions that make models, known again when they come back from another process."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias
from uuid import uuid4
from weakref import WeakValueDictionary, ref

from ensemw2s._launch.locks import ThreadLock

if TYPE_CHECKING:
    from transformers import PreTrainedModel

# A lambda, or a function of a notebook, is a new object each time it is unpickled, and learners that travel separately
# would each load a base of their own: the token that travels with them says which function it is.
_LOCK = ThreadLock()
Factory: TypeAlias = "Callable[[], PreTrainedModel]"
_TOKENS: dict[int, tuple[ref[Factory], str]] = {}
_FACTORIES: WeakValueDictionary[str, Factory] = WeakValueDictionary()


def factory_token(factory: Factory) -> str | None:
    """A name for this very object, the same at each call; None where it cannot be referred to weakly."""
    with _LOCK:
        known = _TOKENS.get(id(factory))
        if known is not None and known[0]() is factory:
            return known[1]
        return _register(factory, uuid4().hex)


def known_factory(token: str, factory: Factory) -> Factory:
    """The function that this process knows by the token; `factory`, if it knows none.

    Parameters
    ----------
    token : str
        From `factory_token`, perhaps of another process.
    factory : callable
        What arrived with the token.
    """
    with _LOCK:
        known = _FACTORIES.get(token)
        if known is None:
            _register(factory, token)
        return factory if known is None else known


def _register(factory: Factory, token: str) -> str | None:
    number = id(factory)
    try:
        _TOKENS[number] = (ref(factory, lambda _: _TOKENS.pop(number, None)), token)
    except TypeError:  # an object with slots
        return None
    _FACTORIES[token] = factory
    return token
