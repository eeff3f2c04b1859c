"""What a weak learner may offer beyond `TokenLearner`, each for one thing that is then faster.

A class need not derive from these: ``isinstance(learner, Cached)`` looks at its methods. `HFCausalLM` has them all, and
documents them; what lacks one is run by `TokenLearner.token_logits`, with the same results.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np

if TYPE_CHECKING:
    import torch

    from ensemw2s.kernels import KernelBackend


@runtime_checkable
class Cached(Protocol):
    """Reads on from what it has read before, so that a step of decoding costs one token."""

    def decode_step(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        position_ids: torch.Tensor,
        *,
        cache: Any = None,
        n_last: int = 1,
        use_cache: bool = False,
    ) -> tuple[torch.Tensor, Any]:
        """Logits of the last positions, (B, n_last, V), and a cache with ``reorder_cache``."""
        ...


@runtime_checkable
class KeepsPrompts(Protocol):
    """Keeps what it has made of prompts, for other steps that begin with the same ones."""

    def _kept_prompts(self) -> Any:
        """What to begin `Cached.decode_step` with, as its cache; None where nothing is kept."""
        ...


@runtime_checkable
class Branching(Protocol):
    """Reads a prompt once, with all its continuations behind it in one row."""

    def longest_tree(self) -> int:
        """Tokens of the longest prompt with one of its branches; 0 where it reads none."""
        ...

    def branch_logits(
        self, prompts: Sequence[np.ndarray], branches: Sequence[Sequence[np.ndarray]], *, batch_size: int
    ) -> Iterator[tuple[list[int], torch.Tensor]]:
        """Places of some prompts, and logits behind each and along its branches."""
        ...


@runtime_checkable
class Stackable(Protocol):
    """Runs as one batch with others of its base."""

    def stack_base(self) -> object:
        """What members of one batch have in common; None if this one runs alone."""
        ...

    def stack(self, members: Sequence[Any], backend: KernelBackend | None = None) -> Any:
        """An object with ``step``, for members with one `stack_base`; None if they cannot be one batch after all."""
        ...

    def _stack_key(self) -> object:
        """What is equal as long as a stack with this member can be used."""
        ...

    def _say_why_apart(self, members: Sequence[Any]) -> None:
        """Log, once, why members of one base with different `stack_base` are several batches."""
        ...


@runtime_checkable
class Cued(Protocol):
    """Adapts itself to what follows a cue alone: what it makes of a prompt before the cue is its base's."""

    cue_ids_: Sequence[int]


@runtime_checkable
class LendsModel(Protocol):
    """Is a Hugging Face model."""

    def lend_model(self) -> AbstractContextManager[Any]:
        """The model, with the learner's weights in place."""
        ...


def eval_batch_size(learner: object) -> int:
    """Rows in a pass of a learner that is not trained; 64 where it has no such parameter."""
    return int(getattr(learner, "eval_batch_size", 64))


@runtime_checkable
class ChecksParameters(Protocol):
    """Says, before anything is trained, whether its parameters are in range."""

    def check_parameters(self) -> None:
        """Raise a TypeError or ValueError that names a parameter which is not."""
        ...
