"""What a weak learner has to offer, and a check that tells its author what is missing."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np

from ensemw2s.exceptions import WeakLearnerError
from ensemw2s.tokens import TokenBatch, TokenDataset

if TYPE_CHECKING:
    import torch

__all__ = ["TokenLearner", "answer_logits", "check_weak_learner"]


@runtime_checkable
class TokenLearner(Protocol):
    """A weak learner for generation: an estimator that gives next-token logits.

    It follows scikit-learn's conventions (parameters stored untouched by ``__init__``, so that ``clone`` works) and
    offers the members below. Two members are optional and make it fast: ``answer_logits(batch)`` for scoring and
    ``decode_step(...)`` for cached generation, see `HFCausalLM`. ``prompt_template``, ``max_length_`` and
    ``truncation`` are used for tokenisation where they exist.

    Attributes
    ----------
    tokenizer_ : transformers.PreTrainedTokenizerBase
        Set by ``initialize``. (``tokenizer`` without the underscore is free for a constructor parameter.)
    """

    tokenizer_: Any

    def initialize(self) -> Any:
        """Become the untrained model :math:`h^0`, whose error is the prior, and return `self`."""
        ...

    def fit(self, tokens: TokenDataset, *, token_weight: np.ndarray) -> Any:
        """Train on answer tokens weighted by `token_weight`, of shape (n_tokens,), and return `self`.

        Only the ratios of the weights matter; a token of weight 0 must have no influence. Training starts from the
        untrained model, whatever was fitted before.
        """
        ...

    def token_logits(self, input_ids: np.ndarray, attention_mask: np.ndarray) -> Any:
        """Logits of the next token at each position, (B, L) -> (B, L, V), as an array or a tensor.

        Rows are padded on the left; the values at padded positions do not matter.
        """
        ...


def answer_logits(learner: Any, batch: TokenBatch) -> torch.Tensor:
    """Logits that predict the answer tokens of a batch, float32 of shape (B, K, V).

    Uses the learner's own ``answer_logits`` where it has one, so that prompt positions skip the model's head.
    """
    import torch

    fast = getattr(learner, "answer_logits", None)
    if fast is not None:
        return fast(batch)
    logits = torch.as_tensor(learner.token_logits(batch.input_ids, batch.attention_mask))
    return logits[:, -batch.n_last :].float()


def check_weak_learner(learner: Any) -> None:
    """Check that an object is a complete `TokenLearner`, by training it on a toy task.

    Parameters
    ----------
    learner : TokenLearner
        Unfitted; it is cloned and left as it is.

    Raises
    ------
    WeakLearnerError
        Lists everything that is missing or wrong.

    Examples
    --------
    >>> from ensemw2s import BigramLearner, check_weak_learner
    >>> check_weak_learner(BigramLearner())
    >>> class Incomplete:
    ...     def fit(self, tokens): ...
    >>> check_weak_learner(Incomplete())
    Traceback (most recent call last):
        ...
    ensemw2s.exceptions.WeakLearnerError: Incomplete is not a complete weak learner:
    - initialize() is missing: it must load the untrained model and return self
    - token_logits(input_ids, attention_mask) is missing: it must return logits of shape (B, L, V)
    - fit must take the keyword token_weight, an array of shape (n_tokens,)
    - get_params() is missing: derive from sklearn.base.BaseEstimator, so that clone works
    """
    problems = _missing_members(learner)
    if not problems:
        problems = _behaviour_problems(learner)
    if problems:
        raise WeakLearnerError(
            f"{type(learner).__name__} is not a complete weak learner:\n" + "\n".join(f"- {text}" for text in problems)
        )


def _missing_members(learner: Any) -> list[str]:
    problems = []
    if not callable(getattr(learner, "initialize", None)):
        problems.append("initialize() is missing: it must load the untrained model and return self")
    if not callable(getattr(learner, "token_logits", None)):
        problems.append("token_logits(input_ids, attention_mask) is missing: it must return logits of shape (B, L, V)")
    fit = getattr(learner, "fit", None)
    if not callable(fit):
        problems.append("fit(tokens, *, token_weight) is missing")
    elif "token_weight" not in inspect.signature(fit).parameters:
        problems.append("fit must take the keyword token_weight, an array of shape (n_tokens,)")
    if not callable(getattr(learner, "get_params", None)):
        problems.append("get_params() is missing: derive from sklearn.base.BaseEstimator, so that clone works")
    return problems


def _behaviour_problems(learner: Any) -> list[str]:
    from sklearn.base import clone

    try:
        untrained = clone(learner)
    except (TypeError, RuntimeError) as error:
        return [f"sklearn.base.clone fails: {error}"]
    problems = []
    if untrained.initialize() is not untrained:
        problems.append("initialize() must return self")
    if getattr(untrained, "tokenizer_", None) is None:
        return [*problems, "initialize() must set tokenizer_"]
    tokens = TokenDataset.for_learner(untrained, ["a b", "c d", "a c"], ["d", "a b", "b"])
    batch = tokens.batch(np.arange(len(tokens)), pad_token_id=untrained.tokenizer_.pad_token_id or 0)
    before = _logits(untrained, batch)
    if before.ndim != 3 or before.shape[:2] != batch.input_ids.shape:
        return [*problems, f"token_logits must return shape {(*batch.input_ids.shape, 'V')}, got {before.shape}"]
    real = batch.attention_mask.astype(bool)
    if not np.isfinite(before[real]).all():
        problems.append("token_logits must be finite where the attention mask is 1")
    changed = batch.input_ids.copy()
    changed[:, -1] = (changed[:, -1] + 1) % before.shape[-1]
    later = np.asarray(untrained.token_logits(changed, batch.attention_mask), dtype=np.float64)
    earlier = real[:, :-1]
    if not np.allclose(later[:, :-1][earlier], before[:, :-1][earlier], atol=1e-4):
        problems.append("token_logits must be causal: a later token changed the logits of an earlier position")

    fitted = clone(learner)
    if fitted.fit(tokens, token_weight=np.ones(tokens.n_tokens)) is not fitted:
        problems.append("fit must return self")
    if np.allclose(_logits(fitted, batch)[real], before[real]):
        problems.append("fit changed no logits: it must train on the tokens")
    first_only = np.zeros(tokens.n_tokens)
    first_only[: tokens.indptr[1]] = 1.0
    weighted = clone(learner).fit(tokens, token_weight=first_only)
    alone = clone(learner).fit(tokens.take(np.array([0])), token_weight=np.ones(int(tokens.indptr[1])))
    if not np.allclose(_logits(weighted, batch)[real], _logits(alone, batch)[real], atol=1e-3):
        problems.append("a token of weight 0 must have no influence: fitting without its row gave another model")
    return problems


def _logits(learner: Any, batch: TokenBatch) -> np.ndarray:
    return np.asarray(learner.token_logits(batch.input_ids, batch.attention_mask), dtype=np.float64)
