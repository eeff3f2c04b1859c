"""Tensors that are still what they were."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


class UnchangedTensors:
    """Equal to another one of the same tensors, unless one was changed in place between the two.

    Parameters
    ----------
    tensors : iterable of torch.Tensor
        They are held, so that no other tensor gets the address of one of them. Changes of an inference tensor are not
        noticed: torch does not count them.
    """

    def __init__(self, tensors: Iterable[torch.Tensor]) -> None:
        self._tensors = list(tensors)
        self._versions = [0 if tensor.is_inference() else tensor._version for tensor in self._tensors]

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, UnchangedTensors)
            and self._versions == other._versions
            and all(mine is theirs for mine, theirs in zip(self._tensors, other._tensors, strict=True))
        )

    __hash__ = None  # type: ignore[assignment]
