"""What a backend must offer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import torch

__all__ = ["KernelBackend"]


class KernelBackend(Protocol):
    """Four operations on tensors of one device; `get_backend` gives one, `register_backend` adds one.

    T is the number of members, B of rows, V of vocabulary entries, N of tokens, H the width of the hidden states.
    Inputs may be of any dtype that `supports` accepts; sums are accumulated in float32 or wider, and what is returned
    as a logarithm is float32, or float64 for float64 input. A logit may be -inf, except that each row of a member
    with a vote holds a finite one. A member without a vote (log weight -inf) has no influence, whatever it holds.

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

    def supports(self, device: torch.device, dtype: torch.dtype) -> bool:
        """Whether tensors of this dtype on this device can be served.

        Parameters
        ----------
        device : torch.device
            Where the tensors lie.
        dtype : torch.dtype
            Of the logits and hidden states.

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
        ...

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
        ...

    def token_nll(
        self,
        hidden: torch.Tensor,
        lm_head: torch.Tensor,
        targets: torch.Tensor,
        *,
        bias: torch.Tensor | None = None,
        scale: float = 1.0,
        softcap: float | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        r"""Score known tokens from hidden states, without the (N, V) logits in memory.

        With :math:`z = s \, (h W^\top + b)`, and :math:`c \tanh(z / c)` in its place where there is a soft cap.

        Parameters
        ----------
        hidden : torch.Tensor of shape (N, H)
            Last hidden states.
        lm_head : torch.Tensor of shape (V, H)
            Weight of the head.
        targets : torch.Tensor of shape (N,), int64
            True tokens, in [0, V).
        bias : torch.Tensor of shape (V,), optional
            Bias of the head.
        scale : float, default=1.0
            Factor of the logits (Cohere's ``logit_scale``, the reciprocal of Granite's ``logits_scaling``).
        softcap : float, optional
            Bound of the logits (Gemma 2's ``final_logit_softcapping``), > 0.

        Returns
        -------
        nll : torch.Tensor of shape (N,)
            Negative log-likelihood of each target, in nats.
        argmax : torch.Tensor of shape (N,), int64
            Most probable token; the smallest id of several.
        """
        ...

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
        ...
