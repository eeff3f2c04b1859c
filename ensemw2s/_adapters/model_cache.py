"""Base models that stay in memory: a few per process, so that one task after another finds its base loaded."""

from __future__ import annotations

import gc
import os
import sys
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

from ensemw2s._adapters.config import config_key
from ensemw2s._forward.feature_cache import KEPT
from ensemw2s._launch.locks import ThreadLock
from ensemw2s._launch.rng import isolated_rng
from ensemw2s._loading.models import forget_tokenizers
from ensemw2s.storage import MALFORMED

if TYPE_CHECKING:
    from peft import PeftConfig

    from ensemw2s._adapters.host import AdapterHost

_LIMIT = "ENSEMW2S_MODEL_CACHE"
_DEFAULT_LIMIT = 2  # a weak and a strong model

_LOCK = ThreadLock()
# All hosts that anybody holds, by base and by the `config_key` of each configuration.
_HOSTS: WeakValueDictionary[tuple, AdapterHost] = WeakValueDictionary()
# Those that nobody else needs to hold, the least recently asked for first.
_KEPT: OrderedDict[AdapterHost, None] = OrderedDict()


def shared_host(base: tuple, build: Callable[[], AdapterHost], peft_config: PeftConfig | None = None) -> AdapterHost:
    """The host for a base and an adapter's shape; the base is loaded if nobody holds it, and it was not used last.

    Parameters
    ----------
    base : tuple
        All that tells two bases apart: model, revision, dtype, device.
    build : callable
        Loads the base and makes the host.
    peft_config : peft.PeftConfig, optional
        Of the adapters. Another one with the same slot has the same host; for one with another slot a host is made that
        shares the base's weights.

    Raises
    ------
    ValueError
        If the environment variable ENSEMW2S_MODEL_CACHE is no number of models.
    """
    import torch

    # A factory may be an unhashable object; it is then a key by its identity.
    base = tuple(part if _is_hashable(part) else _SameObject(part) for part in base)
    key = (base, "" if peft_config is None else config_key(peft_config))
    limit = _limit()
    host = _find(key, limit)
    if host is not None:
        return host
    # Loading draws from the global generators, one thread at a time; whoever waited finds the host.
    with isolated_rng(0), torch.inference_mode(mode=False):  # a base loaded while scoring can be trained on later
        host = _find(key, limit)
        if host is None:
            host = None if peft_config is None else _sharing_host(base, peft_config)
        if host is None:
            with _LOCK:
                _shrink(limit - 1)  # before the next one is loaded: memory never holds one more than the limit
            # `isolated_rng` keeps two threads from loading it twice. `_LOCK` is free meanwhile, for those whose base is
            # there.
            host = build()
        with _LOCK:
            _HOSTS[key] = host
            _keep(host, limit)
    return host


def clear_model_cache() -> None:
    """Let go of the base models and tokenizers that are kept for the next learner, and free their memory.

    A process keeps the two base models that were asked for last (those with adapters on them; a model whose weights
    are all trained belongs to its learner). The environment variable ``ENSEMW2S_MODEL_CACHE``, which worker processes
    inherit, sets another number; 0 keeps none longer than a learner needs it. Learners that have been used hold their
    base, and go on working: delete them too where the memory is needed.

    What ``HFCausalLM(adapt="answer")`` keeps of prompts is freed as well: up to 1 GB a base in memory, on the model's
    device, and 4 GB in unnamed files of the folder for temporary files. The environment variables
    ``ENSEMW2S_PROMPT_CACHE`` and ``ENSEMW2S_PROMPT_CACHE_DISK`` set other sizes, such as ``500MB``; 0 keeps none. So
    are the features of `HFVerifier`, up to 1 GB in memory, or ``ENSEMW2S_FEATURE_CACHE``; files in the folder
    ``ENSEMW2S_FEATURE_CACHE_DIR`` stay.

    Examples
    --------
    >>> from ensemw2s import clear_model_cache
    >>> clear_model_cache()
    """
    with _LOCK:
        hosts = set(_HOSTS.values())
        _KEPT.clear()
    for host in hosts:
        host.forget_prompts()
    del hosts
    KEPT.clear()
    forget_tokenizers()
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.empty_cache()


def _find(key: tuple, limit: int) -> AdapterHost | None:
    with _LOCK:
        host = _HOSTS.get(key)
        if host is None or host.shared_base.is_changed:
            return None
        _keep(host, limit)
        return host


def _sharing_host(base: tuple, peft_config: PeftConfig) -> AdapterHost | None:
    """A host that shares the weights of one that is there; None if there is none that can be shared."""
    with _LOCK:
        found = [host for (other, _), host in list(_HOSTS.items()) if other == base and not host.shared_base.is_changed]
        hosts = list({id(host): host for host in found}.values())
    # The parts of a sharded base are gathered by hooks of its own modules.
    if not hosts or hosts[0].is_sharded():
        return None
    new = None
    for host in hosts:
        # PEFT cannot take every adapter off again, and what it leaves is not for others. If it is the new configuration
        # that is at fault, a base of its own says so.
        with suppress(RuntimeError, *MALFORMED):
            new = host.beside(peft_config)
            break
    if new is None:
        return None
    for host in hosts:
        if host.slot.difference(new.slot) is None:
            host.adopt(new)
            return host
    return new


def _keep(host: AdapterHost, limit: int) -> None:
    for other in [other for other in _KEPT if other.shared_base.is_changed]:
        del _KEPT[other]
    _KEPT[host] = None
    _KEPT.move_to_end(host)
    _shrink(limit)


def _shrink(n_hosts: int) -> None:
    while len(_KEPT) > max(n_hosts, 0):
        _KEPT.popitem(last=False)


def _limit() -> int:
    text = os.environ.get(_LIMIT, "").strip() or str(_DEFAULT_LIMIT)
    if not text.isdecimal():
        raise ValueError(f"The environment variable {_LIMIT} must be a number of models, such as 2. Got {text!r}.")
    return int(text)


class _SameObject:
    """Stands in a key for an object without a hash, such as a dataclass that makes models."""

    def __init__(self, value: object) -> None:
        self.value = value  # kept alive, so that its id is not given to another object

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _SameObject) and self.value is other.value

    def __hash__(self) -> int:
        return id(self.value)


def _is_hashable(value: object) -> bool:
    try:
        hash(value)
    except TypeError:
        return False
    return True
