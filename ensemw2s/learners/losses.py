"""Losses for a student of weak labels (Burns et al., "Weak-to-strong generalization", 2023).

Each is passed as ``HFClassifier(loss=...)``. A loss of your own needs one method, ``start(n_steps)``, which returns a
function of logits (B, K), targets (B, K) and the number of finished steps, that gives one loss per row, (B,). What it
remembers from step to step belongs into that function, not into the object, which serves many fits.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeAlias

import numpy as np
from sklearn.base import BaseEstimator

from ensemw2s._validation import check_integer, check_positive, check_real, shorten
from ensemw2s.storage import Codec, Reader, Registered, Writer, decode, encode

if TYPE_CHECKING:
    import torch

RunningLoss: TypeAlias = "Callable[[torch.Tensor, torch.Tensor, int], torch.Tensor]"


class StudentLoss(Protocol):
    """What `HFClassifier` asks of a loss."""

    def start(self, n_steps: int) -> RunningLoss:
        """Begin a training of `n_steps` optimiser steps."""
        ...


class CrossEntropyLoss(Registered, BaseEstimator):
    r"""Cross-entropy with hard or soft labels, :math:`-\sum_k q_k \log p_k`.

    Examples
    --------
    >>> import torch
    >>> from ensemw2s import CrossEntropyLoss
    >>> loss = CrossEntropyLoss().start(n_steps=1)
    >>> loss(torch.zeros(1, 2), torch.tensor([[0.3, 0.7]]), 0)  # log 2
    tensor([0.6931])
    """

    def start(self, n_steps: int) -> RunningLoss:
        """Begin a training of `n_steps` steps; this loss is the same in each.

        Parameters
        ----------
        n_steps : int
            Optimiser steps of the training.

        Returns
        -------
        callable
            Gets logits, targets and the number of finished steps, and returns the loss of each row, of shape (B,).
        """
        return lambda logits, targets, step: _cross_entropy(logits, targets)

    def start_tokens(self, n_steps: int) -> RunningLoss:
        """Begin a training over answer tokens, see `LogConfLoss.start_tokens`.

        Parameters
        ----------
        n_steps : int
            Optimiser steps of the training.

        Returns
        -------
        callable
        """
        return lambda logits, ids, step: _cross_entropy(logits, ids)


class LogConfLoss(Registered, BaseEstimator):
    r"""Auxiliary-confidence loss (Burns et al., Section 4.3.2 and appendix A.4).

    .. math:: (1 - a)\, \mathrm{CE}(f, q) + a\, \mathrm{CE}(f, \hat f)

    with the student's prediction `f`, the weak label `q` and the student's own prediction hardened,
    :math:`\hat f`, which lets a strong student trust itself against its teacher. The coefficient `a` rises in a
    straight line from 0 at the first step to `alpha` when ``round(warmup * n_steps)`` steps are done.

    :math:`\hat f` is the most likely labelling in which the classes are as frequent as in the weak labels. For two
    classes that is a threshold on the prediction. It is found over the last `buffer_size` rows, the present batch among
    them, since a small batch rarely holds the classes in their proportions.

    Over the answer tokens of an `HFCausalLM` the student's own prediction is its most probable token, one by one: a
    balance over tens of thousands of tokens would need as many rows, so that `buffer_size` has no say there.

    Parameters
    ----------
    alpha : float in [0, 1], default=0.5
        Coefficient after the warm-up.
    warmup : float in [0, 1], default=0.2
        Length of the warm-up, as a fraction of all optimiser steps.
    buffer_size : int, default=256
        Rows over which the classes are balanced; a larger batch is taken whole.

    Examples
    --------
    >>> from ensemw2s import LogConfLoss
    >>> loss = LogConfLoss(alpha=0.5, warmup=0.2)
    >>> [loss.coefficient(step, n_steps=20) for step in (0, 1, 2, 3, 4, 19)]
    [0.0, 0.125, 0.25, 0.375, 0.5, 0.5]
    """

    def __init__(self, alpha: float = 0.5, *, warmup: float = 0.2, buffer_size: int = 256) -> None:
        self.alpha = alpha
        self.warmup = warmup
        self.buffer_size = buffer_size

    def coefficient(self, step: int, n_steps: int) -> float:
        """Coefficient `a` of the step after `step` finished ones out of `n_steps`.

        Parameters
        ----------
        step : int
            Finished steps.
        n_steps : int
            Steps of the whole training.

        Returns
        -------
        float
        """
        n_warmup = round(self.warmup * n_steps)
        return float(self.alpha if step >= n_warmup else self.alpha * step / n_warmup)

    def start(self, n_steps: int) -> RunningLoss:
        """Begin a training of `n_steps` steps, with an empty buffer.

        Parameters
        ----------
        n_steps : int
            Optimiser steps of the training.

        Returns
        -------
        callable
            Gets logits, targets and the number of finished steps, and returns the loss of each row, of shape (B,).

        Raises
        ------
        ValueError
            If a parameter is out of range.
        """
        self._check()
        return _LogConfRun(self, n_steps)

    def start_tokens(self, n_steps: int) -> RunningLoss:
        """Begin a training of `n_steps` steps over answer tokens.

        Parameters
        ----------
        n_steps : int
            Optimiser steps of the training.

        Returns
        -------
        callable
            Gets logits (R, V), the tokens' ids (R,) and the number of finished steps, and returns the loss of each
            token, of shape (R,).

        Raises
        ------
        ValueError
            If a parameter is out of range.
        """
        self._check()

        def loss(logits: torch.Tensor, ids: torch.Tensor, step: int) -> torch.Tensor:
            a = self.coefficient(step, n_steps)
            return (1.0 - a) * _cross_entropy(logits, ids) + a * _cross_entropy(logits, logits.argmax(dim=-1))

        return loss

    def _check(self) -> None:
        for name in ("alpha", "warmup"):
            if not 0.0 <= check_real(getattr(self, name), name) <= 1.0:
                raise ValueError(f"{name} must lie in [0, 1]. Got {getattr(self, name)!r} instead.")
        check_integer(self.buffer_size, "buffer_size", minimum=1)


class _LogConfRun:
    """One training with `LogConfLoss`: the buffer of recent predictions."""

    def __init__(self, settings: LogConfLoss, n_steps: int) -> None:
        self.settings, self.n_steps = settings, n_steps
        self.log_proba = self.weak = np.empty((0, 0))

    def __call__(self, logits: torch.Tensor, targets: torch.Tensor, step: int) -> torch.Tensor:
        import torch

        hardened = torch.from_numpy(np.eye(logits.shape[1])[self._harden(logits, targets)]).to(targets)  # (B, K)
        a = self.settings.coefficient(step, self.n_steps)
        return (1.0 - a) * _cross_entropy(logits, targets) + a * _cross_entropy(logits, hardened)

    def _harden(self, logits: torch.Tensor, targets: torch.Tensor) -> np.ndarray:
        log_proba = logits.detach().double().log_softmax(dim=-1).cpu().numpy()
        weak = targets.detach().double().cpu().numpy()
        if self.log_proba.size:
            log_proba, weak = np.concatenate([self.log_proba, log_proba]), np.concatenate([self.weak, weak])
        n_kept = max(self.settings.buffer_size, len(logits))
        self.log_proba, self.weak = log_proba[-n_kept:], weak[-n_kept:]
        if not np.isfinite(self.log_proba).all():
            return self.weak[-len(logits) :].argmax(axis=1)  # the loss is not finite either, and reported as such
        return balanced_labels(self.log_proba, self.weak.mean(axis=0))[-len(logits) :]


class ProductLoss(Registered, BaseEstimator):
    r"""Cross-entropy against the product of weak label and own prediction (from the code of Burns et al.).

    .. math:: -\sum_k t_k \log p_k, \qquad t_k \propto q_k^{\alpha}\, p_k^{\beta},

    where the target `t` carries no gradient. A weak label of 0 stays 0, so hard labels make it the cross-entropy.

    Parameters
    ----------
    alpha : float > 0, default=1.0
        Exponent of the weak label.
    beta : float >= 0, default=1.0
        Exponent of the student's own prediction; 0 leaves the weak label.

    Examples
    --------
    >>> import torch
    >>> from ensemw2s import ProductLoss
    >>> loss = ProductLoss().start(n_steps=1)
    >>> p, q = torch.tensor([[0.8, 0.2]]), torch.tensor([[0.4, 0.6]])
    >>> loss(p.log(), q, 0)  # t = (8, 3) / 11
    tensor([0.6012])
    """

    def __init__(self, alpha: float = 1.0, *, beta: float = 1.0) -> None:
        self.alpha = alpha
        self.beta = beta

    def start(self, n_steps: int) -> RunningLoss:
        """Begin a training of `n_steps` steps; this loss is the same in each.

        Parameters
        ----------
        n_steps : int
            Optimiser steps of the training.

        Returns
        -------
        callable
            Gets logits, targets and the number of finished steps, and returns the loss of each row, of shape (B,).

        Raises
        ------
        ValueError
            If a parameter is out of range.
        """
        alpha, beta = check_positive(self.alpha, "alpha"), check_real(self.beta, "beta")
        if beta < 0:
            raise ValueError(f"beta must be >= 0. Got {beta!r} instead.")
        if beta > 0:
            check_positive(beta, "beta")

        def loss(logits: torch.Tensor, targets: torch.Tensor, step: int) -> torch.Tensor:
            # In logarithms: a power of a small probability underflows.
            target = (alpha * targets.log() + beta * logits.detach().log_softmax(dim=-1)).softmax(dim=-1)
            return _cross_entropy(logits, target)

        return loss


class _LossCodec(Codec):
    """The losses of this module, by name; those that derive from them are stored as any object."""

    tag = "$loss"
    kinds: ClassVar[dict[str, Any]] = {kind.__name__: kind for kind in (CrossEntropyLoss, LogConfLoss, ProductLoss)}

    def knows(self, value: Any) -> bool:
        return type(value) in self.kinds.values()

    def write(self, value: Any, name: str, writer: Writer) -> Any:
        return {"class": type(value).__name__, "parameters": encode(value.get_params(), name)}

    def read(self, content: Any, reader: Reader) -> Any:
        if content["class"] not in self.kinds:
            raise ValueError(f"{shorten(content['class'])} is none of {', '.join(self.kinds)}")
        return self.kinds[content["class"]](**decode(content["parameters"]))


def balanced_labels(log_proba: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """The most likely labelling in which each class has its share of the rows.

    Parameters
    ----------
    log_proba : ndarray of shape (n, K)
        Log probabilities, finite.
    shares : ndarray of shape (K,)
        Share of each class, sum 1; ``n * shares`` is rounded to whole rows by largest remainders.

    Returns
    -------
    ndarray of int, shape (n,)
    """
    n_rows, n_classes = log_proba.shape
    counts = _whole_rows(n_rows, shares)
    if n_classes == 2:
        # Of two classes the rows with the largest odds: a threshold.
        order = np.argsort(log_proba[:, 0] - log_proba[:, 1], kind="stable")
        labels = np.zeros(n_rows, dtype=int)
        labels[order[: counts[1]]] = 1
        return labels
    from scipy.optimize import linear_sum_assignment

    seats = np.repeat(np.arange(n_classes), counts)  # (n,)
    rows, places = linear_sum_assignment(log_proba[:, seats], maximize=True)
    labels = np.empty(n_rows, dtype=int)
    labels[rows] = seats[places]
    return labels


def _whole_rows(n_rows: int, shares: np.ndarray) -> np.ndarray:
    exact = n_rows * shares / shares.sum()
    # An exact 3 may come out of the division as 2.9999999999999996.
    counts = np.floor(exact + 1e-9).astype(int)
    largest_remainders = np.argsort(counts - exact, kind="stable")
    counts[largest_remainders[: n_rows - counts.sum()]] += 1
    return counts


def _cross_entropy(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Cross-entropy of each row with probabilities or with class numbers, (B, K), (B, K) or (B,) -> (B,)."""
    from torch.nn.functional import cross_entropy

    return cross_entropy(logits, targets, reduction="none")
