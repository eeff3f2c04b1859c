"""Checks of the operations' inputs: a kernel would read past the end of what has another shape."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def accumulator(dtype: torch.dtype) -> torch.dtype:
    """In what sums over numbers of this dtype are accumulated."""
    import torch

    return torch.float64 if dtype == torch.float64 else torch.float32


def check_mixture(logits: torch.Tensor, log_weights: torch.Tensor) -> None:
    """Refuse members and votes that do not belong together."""
    if logits.ndim != 3:
        raise ValueError(f"logits must have shape (T, B, V). Got shape {tuple(logits.shape)} instead.")
    _check(log_weights, "log_weights", (logits.shape[0],), "one per member")


def check_uniform(uniform: torch.Tensor, n_rows: int) -> None:
    """Refuse uniform numbers that are neither one nor two a row."""
    if tuple(uniform.shape) not in {(n_rows,), (n_rows, 2)}:
        raise ValueError(
            f"uniform must have shape ({n_rows},) or ({n_rows}, 2), one or two numbers per row. "
            f"Got shape {tuple(uniform.shape)} instead."
        )


def check_lora(x: torch.Tensor, a: torch.Tensor, b: torch.Tensor) -> None:
    """Refuse adapters that do not fit the inputs or each other."""
    if x.ndim != 3:
        raise ValueError(f"x must have shape (T, R, in). Got shape {tuple(x.shape)} instead.")
    if a.ndim != 3 or a.shape[0] != x.shape[0] or a.shape[2] != x.shape[2]:
        raise ValueError(
            f"a must have shape ({x.shape[0]}, r, {x.shape[2]}), one adapter per member. "
            f"Got shape {tuple(a.shape)} instead."
        )
    if b.ndim != 3 or b.shape[0] != a.shape[0] or b.shape[2] != a.shape[1]:
        raise ValueError(
            f"b must have shape ({a.shape[0]}, out, {a.shape[1]}), of the rank of a. "
            f"Got shape {tuple(b.shape)} instead."
        )


def _check(tensor: torch.Tensor, name: str, shape: tuple[int, ...], per: str) -> None:
    if tuple(tensor.shape) != shape:
        raise ValueError(f"{name} must have shape {shape}, {per}. Got shape {tuple(tensor.shape)} instead.")
