"""What a backend may offer, and what stands in for the rest."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Protocol

from ensemw2s.kernels._mixture_log_proba import mixture_log_proba
from ensemw2s.kernels._mixture_sample import mixture_sample
from ensemw2s.kernels._stacked_lora import stacked_lora

if TYPE_CHECKING:
    import torch

OPERATIONS = ("mixture_log_proba", "mixture_sample", "stacked_lora")


class KernelBackend(Protocol):
    """Operations on tensors of one device; `get_backend` gives a backend, `register_backend` adds one.

    A backend has `name`, `requires`, `supports`, and at least one of the operations. Those that it lacks are torch's
    reference: of a class derived from this one by inheritance, of any other object once it is registered.

    T is the number of members, B of rows, V of vocabulary entries. Inputs may be of any dtype that `supports` accepts;
    sums are accumulated in float32 or wider, and what is returned as a logarithm is float32, or float64 for float64
    input. A logit may be -inf, except that each row of a member with a vote holds a finite one. A member without a
    vote (log weight -inf) has no influence, whatever it holds.

    Attributes
    ----------
    name : str
        What ``backend=`` calls it.
    requires : str
        What `supports` asks for, in words, for the message of `BackendUnavailableError`.

    Examples
    --------
    >>> import torch
    >>> from ensemw2s import get_backend
    >>> backend = get_backend("torch")
    >>> logits = torch.zeros(2, 1, 4)  # two members, one row, four tokens
    >>> votes = torch.tensor([0.25, 0.75])
    >>> backend.mixture_log_proba(logits, votes.log()).exp()
    tensor([[0.2500, 0.2500, 0.2500, 0.2500]])
    """

    name: str
    requires: str

    @abstractmethod
    def supports(self, device: torch.device, dtype: torch.dtype) -> bool:
        """Whether tensors of this dtype on this device can be served, by the operations of its own.

        Parameters
        ----------
        device : torch.device
            Where the tensors lie.
        dtype : torch.dtype
            Of the logits or adapters.

        Returns
        -------
        bool
        """
        ...

    def mixture_log_proba(self, logits: torch.Tensor, log_weights: torch.Tensor) -> torch.Tensor:
        r"""Eq. 1 in logarithms, :math:`\log \sum_t w_t \operatorname{softmax}(z_t)`.

        Parameters
        ----------
        logits : torch.Tensor of shape (T, B, V)
            Logits of the members.
        log_weights : torch.Tensor of shape (T,)
            Logarithms of votes that sum to 1.

        Returns
        -------
        torch.Tensor of shape (B, V)
        """
        return mixture_log_proba(logits, log_weights)

    def mixture_sample(self, logits: torch.Tensor, log_weights: torch.Tensor, uniform: torch.Tensor) -> torch.Tensor:
        """Draw one token per row from the mixture: pick a member by its vote, then invert that member's CDF.

        The law is that of the mixture, which is never formed.

        Parameters
        ----------
        logits : torch.Tensor of shape (T, B, V)
            Logits of the members.
        log_weights : torch.Tensor of shape (T,)
            Logarithms of votes; only their ratios matter.
        uniform : torch.Tensor of shape (B,) or (B, 2)
            Uniform numbers in [0, 1). With one per row, what picking the member leaves of it picks the token, so that
            it should be float64; with two, the first picks the member.

        Returns
        -------
        torch.Tensor of shape (B,), int64
        """
        return mixture_sample(logits, log_weights, uniform)

    def stacked_lora(
        self, x: torch.Tensor, a: torch.Tensor, b: torch.Tensor, scaling: float | torch.Tensor
    ) -> torch.Tensor:
        r"""Low-rank updates of T members at once, :math:`s_t \, x_t A_t^\top B_t^\top`.

        Parameters
        ----------
        x : torch.Tensor of shape (T, R, in)
            Inputs of the adapted layer, R rows for each member.
        a : torch.Tensor of shape (T, r, in)
            Weights of PEFT's ``lora_A``.
        b : torch.Tensor of shape (T, out, r)
            Weights of PEFT's ``lora_B``.
        scaling : float or torch.Tensor of shape (T,)
            PEFT's ``lora_alpha / r``.

        Returns
        -------
        torch.Tensor of shape (T, R, out), of the dtype of `x`
        """
        return stacked_lora(x, a, b, scaling)


def has_own(backend: object, operation: str) -> bool:
    """Whether a backend has an operation of its own, and does not leave it to the reference."""
    given = getattr(type(backend), operation, None)
    return operation in getattr(backend, "__dict__", ()) or given is not getattr(KernelBackend, operation)
