"""Switches of the whole process that `transformers.Trainer` turns, put back after a training."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

# What `transformers.enable_full_determinism` sets.
_VARIABLES = (
    "CUDA_LAUNCH_BLOCKING", "CUBLAS_WORKSPACE_CONFIG", "ASCEND_LAUNCH_BLOCKING", "HCCL_DETERMINISTIC",
    "FLASH_ATTENTION_DETERMINISTIC",
)  # fmt: skip


@contextmanager
def own_switches() -> Iterator[None]:
    """Put back torch's flags of determinism and of float32 products, and how much transformers logs."""
    import torch
    from transformers.utils import logging

    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    variables = {name: os.environ.get(name) for name in _VARIABLES}
    is_deterministic = torch.are_deterministic_algorithms_enabled()
    warns_only = torch.is_deterministic_algorithms_warn_only_enabled()
    of_cudnn = (cudnn.deterministic, cudnn.benchmark)
    precision = getattr(torch.backends, "fp32_precision", None)  # torch 2.9 and later
    tf32 = None if precision is not None else (matmul.allow_tf32, cudnn.allow_tf32)
    verbosity = logging.get_verbosity()
    try:
        yield
    finally:
        for name, value in variables.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        torch.use_deterministic_algorithms(is_deterministic, warn_only=warns_only)
        cudnn.deterministic, cudnn.benchmark = of_cudnn
        if precision is not None:
            torch.backends.fp32_precision = precision
        if tf32 is not None:
            matmul.allow_tf32, cudnn.allow_tf32 = tf32
        logging.set_verbosity(verbosity)
