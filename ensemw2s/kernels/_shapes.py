"""Checks of the operations' inputs: a kernel would read past the end of what has another shape."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

__all__ = ["accumulator", "check_lora", "check_mixture", "check_nll", "check_uniform"]


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


def check_nll(
    hidden: torch.Tensor, lm_head: torch.Tensor, targets: torch.Tensor, bias: torch.Tensor | None, softcap: float | None
) -> None:
    """Refuse hidden states, a head and targets that do not belong together."""
    if hidden.ndim != 2:
        raise ValueError(f"hidden must have shape (N, H). Got shape {tuple(hidden.shape)} instead.")
    if lm_head.ndim != 2 or lm_head.shape[1] != hidden.shape[1]:
        raise ValueError(
            f"lm_head must have shape (V, {hidden.shape[1]}), as wide as hidden. "
            f"Got shape {tuple(lm_head.shape)} instead."
        )
    _check(targets, "targets", (hidden.shape[0],), "one per row of hidden")
    if bias is not None:
        _check(bias, "bias", (lm_head.shape[0],), "one per token of the vocabulary")
    if softcap is not None and not softcap > 0:
        raise ValueError(f"softcap must be > 0. Got {softcap!r} instead; pass None for no cap.")


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
