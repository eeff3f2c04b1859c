"""The hot operations of an ensemble behind a small interface: a torch reference, Triton kernels, and yours."""

from __future__ import annotations

from ensemw2s.kernels._base import KernelBackend, has_own
from ensemw2s.kernels._registry import available_backends, get_backend, register_backend
