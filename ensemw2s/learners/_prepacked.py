"""Second copies of a base's weights, laid out as oneDNN multiplies few rows fastest: memory for time, if asked for."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from ensemw2s.learners._memory_limit import memory_limit

if TYPE_CHECKING:
    import torch

__all__ = ["PACKED_ROWS", "PackedWeights"]

PREPACK = "ENSEMW2S_PREPACK"
# Where the layout wins: one row is read as fast without it, and for more the products themselves take the time.
PACKED_ROWS = range(2, 65)
_SMALL = 16 * 10**6  # bytes; a product with less loses as much to oneDNN's 25 microseconds a call as it gains


class PackedWeights:
    """The packed weights of one base, which its stacks share.

    The environment variable ``ENSEMW2S_PREPACK``, as it is when a stack is first used, limits them; where it is not
    set, nothing is packed. A base's weights do not change while its host lives, so that copies stay right.
    """

    def __init__(self) -> None:
        self._packed: dict[int, torch.Tensor] = {}  # by id: the host that holds this holds the weights, too

    @property
    def n_bytes(self) -> int:
        """Memory that the copies take."""
        return sum(packed.nbytes for packed in self._packed.values())

    def clear(self) -> None:
        """Free the copies; what is still in use is made anew."""
        self._packed = {}

    def choose(self, weights: Iterable[torch.Tensor]) -> set[int]:
        """Ids of the weights that may be packed within the limit, the largest first, which gain most.

        Parameters
        ----------
        weights : iterable of torch.Tensor
            Of the linear layers of one base, float32 on a CPU.

        Raises
        ------
        ValueError
            If the environment variable holds no size.
        """
        rest, chosen = memory_limit(PREPACK, "0"), set()
        if rest and _can_pack():
            for weight in sorted(weights, key=lambda weight: -weight.nbytes):
                if _SMALL <= weight.nbytes <= rest:
                    chosen.add(id(weight))
                    rest -= weight.nbytes
        return chosen

    def linear(self, rows: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
        """Linear layer of (n, in) rows, (n, out), with a weight that is packed when it is first used."""
        import torch

        packed = self._packed.get(id(weight))
        if packed is None:
            packed = torch.ops.mkldnn._reorder_linear_weight(weight.detach(), PACKED_ROWS[-1])
            self._packed[id(weight)] = packed
        return torch.ops.mkldnn._linear_pointwise(rows, packed, bias, "none", [], "")


def _can_pack() -> bool:
    """Whether torch was built with oneDNN, and has the operations that its compiler uses."""
    import torch

    names = ("_reorder_linear_weight", "_linear_pointwise")
    return torch.backends.mkldnn.is_available() and all(hasattr(torch.ops.mkldnn, name) for name in names)
