"""A kernel backend asked for by name, checked before there are members to serve."""

from __future__ import annotations

from typing import Any

from ensemw2s._validation import as_id
from ensemw2s.kernels import get_backend

__all__ = ["check_backend"]


def check_backend(backend: str, estimator: Any) -> None:
    """Refuse a backend that could not serve the members.

    Parameters
    ----------
    backend : str
        As `get_backend` takes it.
    estimator : TokenLearner or str
        What the members will be made from, for its device.

    Raises
    ------
    ValueError, BackendUnavailableError
        As `get_backend` raises them.
    """
    if isinstance(backend, str) and backend == "auto":
        return
    import torch

    # None is an HFCausalLM's choice, and that of one which is still an id; a learner without a device is on the CPU.
    device = None if isinstance(as_id(estimator), str) else getattr(estimator, "device", "cpu")
    get_backend(backend, device=device or ("cuda" if torch.cuda.is_available() else "cpu"))
