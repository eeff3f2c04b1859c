"""Backends by name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from ensemw2s._validation import shorten
from ensemw2s.exceptions import BackendUnavailableError
from ensemw2s.kernels._base import OPERATIONS, KernelBackend

if TYPE_CHECKING:
    import torch


def _load_torch() -> KernelBackend:
    from ensemw2s.kernels._torch import TorchBackend

    return TorchBackend()


def _load_triton() -> KernelBackend:
    from ensemw2s.kernels._triton import TritonBackend

    return TritonBackend()


# Loaders, as the packages behind them are heavy. One that fails is tried again when it is asked for again.
_LOADERS: dict[str, Callable[[], KernelBackend]] = {"torch": _load_torch, "triton": _load_triton}
_BUILT_IN = tuple(_LOADERS)


def get_backend(
    name: str = "auto", *, device: str | torch.device = "cpu", dtype: str | torch.dtype = "float32"
) -> KernelBackend:
    """The backend that serves a device and dtype.

    Parameters
    ----------
    name : str, default="auto"
        "auto" falls back to "torch" where nothing faster can serve; a backend asked for by name is given or refused.
    device : torch.device or str, default="cpu"
        Where the tensors will be.
    dtype : torch.dtype or str, default="float32"
        Of the logits or adapters.

    Returns
    -------
    KernelBackend

    Raises
    ------
    ValueError
        If `name` is no text.
    BackendUnavailableError
        If the backend is unknown, its package is not installed, or it does not serve this device and dtype.

    See Also
    --------
    register_backend : Add one of your own.

    Examples
    --------
    >>> from ensemw2s import get_backend
    >>> get_backend().name
    'torch'
    >>> get_backend("cuda-magic")
    Traceback (most recent call last):
        ...
    ensemw2s.exceptions.BackendUnavailableError: backend 'cuda-magic' is unknown. Known backends: ...
    """
    place = _place(device, dtype)
    if name == "auto":
        # On a CPU Triton would interpret its kernels, if anything.
        name = "triton" if place[0].type == "cuda" and _refusal("triton", *place) is None else "torch"
    if not isinstance(name, str):
        raise ValueError(f"backend must be 'auto' or the name of a backend. Got {shorten(name)} instead.")
    reason = _refusal(name, *place)
    if reason is not None:
        known = ", ".join(map(repr, _LOADERS))
        raise BackendUnavailableError(
            f"backend {name!r} {reason}. Known backends: {known}; 'auto' takes one that serves."
        )
    return _LOADERS[name]()


def available_backends(*, device: str | torch.device = "cpu", dtype: str | torch.dtype = "float32") -> tuple[str, ...]:
    """Names of the backends that serve a device and dtype.

    Parameters
    ----------
    device : torch.device or str, default="cpu"
        Where the tensors will be.
    dtype : torch.dtype or str, default="float32"
        Of the logits or adapters.

    Returns
    -------
    tuple of str

    Examples
    --------
    >>> from ensemw2s import available_backends
    >>> "torch" in available_backends(device="cpu", dtype="bfloat16")
    True
    """
    place = _place(device, dtype)
    return tuple(name for name in list(_LOADERS) if _refusal(name, *place) is None)


def register_backend(backend: KernelBackend) -> None:
    """Make a backend known by its name; "auto" leaves it alone.

    Parameters
    ----------
    backend : KernelBackend
        Its ``name``, ``requires``, ``supports`` and at least one operation; those that it lacks are torch's reference.
        One that was registered under the same name is replaced.

    Raises
    ------
    TypeError
        If something else is missing.
    ValueError
        If the name is "auto" or that of a backend of the library.

    Examples
    --------
    A backend with one operation of its own:

    >>> from ensemw2s import KernelBackend, get_backend, register_backend
    >>> class Greedy(KernelBackend):
    ...     name, requires = "greedy", "anything that torch runs on"
    ...
    ...     def supports(self, device, dtype):
    ...         return dtype.is_floating_point
    ...
    ...     def mixture_sample(self, logits, log_weights, uniform):
    ...         return self.mixture_log_proba(logits, log_weights).argmax(dim=-1)
    >>> register_backend(Greedy())
    >>> get_backend("greedy").name
    'greedy'
    """
    name = getattr(backend, "name", None)
    missing = [member for member in ("requires", "supports") if not hasattr(backend, member)]
    offered = [operation for operation in OPERATIONS if hasattr(backend, operation)]
    if not offered:
        missing.append(f"one of {', '.join(OPERATIONS)}")
    if not isinstance(name, str) or missing:
        missing = missing if isinstance(name, str) else ["name", *missing]
        raise TypeError(f"backend must be a KernelBackend. Got {type(backend).__name__} without {', '.join(missing)}.")
    if name == "auto" or name in _BUILT_IN:
        raise ValueError(f"backend must have a name of its own. Got {name!r}, which the library uses itself.")
    complete = backend if len(offered) == len(OPERATIONS) else _Completed(backend, offered)
    _LOADERS[name] = lambda: complete


class _Completed(KernelBackend):
    """A backend of the user's with some operations, and the reference's others."""

    def __init__(self, backend: KernelBackend, offered: Sequence[str]) -> None:
        self.name, self.requires, self._backend = backend.name, backend.requires, backend
        for operation in offered:
            setattr(self, operation, getattr(backend, operation))

    def supports(self, device: torch.device, dtype: torch.dtype) -> bool:
        return self._backend.supports(device, dtype)


def _place(device: str | torch.device, dtype: str | torch.dtype) -> tuple[torch.device, torch.dtype]:
    import torch

    return torch.device(device), getattr(torch, dtype) if isinstance(dtype, str) else dtype


def _refusal(name: str, device: torch.device, dtype: torch.dtype) -> str | None:
    """Why a backend cannot serve, as the end of a sentence; None where it can."""
    if name not in _LOADERS:
        return "is unknown"
    try:
        backend = _LOADERS[name]()
    except ImportError as error:
        return f"cannot be imported ({error})"
    if not backend.supports(device, dtype):
        return f"does not serve {dtype} on {device}: it needs {backend.requires}"
    return None
