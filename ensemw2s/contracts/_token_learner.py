"""What a weak learner has to offer, and a check that tells its author what is missing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np

from ensemw2s.contracts._completeness import missing_members, refuse_incomplete, seeded_clone
from ensemw2s.contracts._optional import Cached
from ensemw2s.exceptions import WeakLearnerError
from ensemw2s.tokens import TokenBatch, TokenDataset, n_ids, padding_id

if TYPE_CHECKING:
    import torch


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

    Examples
    --------
    >>> from ensemw2s import BigramLearner, TokenLearner
    >>> learner: TokenLearner = BigramLearner().initialize()
    >>> len(learner.tokenizer_)
    258
    """

    tokenizer_: Any

    def initialize(self) -> Any:
        """Become the untrained model :math:`h^0`, whose error is the prior, and return `self`.

        Returns
        -------
        TokenLearner
        """
        ...

    def fit(self, tokens: TokenDataset, *, token_weight: np.ndarray) -> Any:
        """Train on answer tokens weighted by `token_weight`, of shape (n_tokens,), and return `self`.

        Only the ratios of the weights matter; a token of weight 0 must have no influence. Training starts from the
        untrained model, whatever was fitted before.

        Parameters
        ----------
        tokens : TokenDataset
            Tokenised by `TokenDataset.for_learner`.
        token_weight : ndarray of shape (n_tokens,), float64
            Non-negative, with a positive sum.

        Returns
        -------
        TokenLearner
            This one.
        """
        ...

    def token_logits(self, input_ids: np.ndarray, attention_mask: np.ndarray) -> Any:
        """Logits of the next token at each position, (B, L) -> (B, L, V), as an array or a tensor.

        Rows are padded on the left; the values at padded positions do not matter.

        Parameters
        ----------
        input_ids : ndarray of shape (B, L), int64
            Prompts with their answers, all but the last token.
        attention_mask : ndarray of shape (B, L), int64
            0 where padded, else 1.

        Returns
        -------
        array-like or torch.Tensor of shape (B, L, V)
        """
        ...


class PrefixCache:
    """For what has no cache of its own: the tokens so far, which are read again at each step.

    Parameters
    ----------
    input_ids : torch.Tensor of shape (B, L)
        All tokens up to now.
    """

    def __init__(self, input_ids: torch.Tensor) -> None:
        self.input_ids = input_ids

    def reorder_cache(self, beam_idx: torch.Tensor) -> None:
        """Let each row continue from the row that it stems from."""
        self.input_ids = self.input_ids.index_select(0, beam_idx.to(self.input_ids.device))

    def crop(self, tokens_to_remove: int) -> None:
        """Forget the last tokens; their number is negative or 0."""
        self.input_ids = self.input_ids[:, : self.input_ids.shape[1] + tokens_to_remove]


def checked_logits(
    logits: object, learner: object, method: str, shape: tuple[int, ...], n_tokens: int = 1
) -> torch.Tensor:
    """What a learner's method has returned, as a tensor.

    Parameters
    ----------
    logits : array-like or torch.Tensor
        What it has returned.
    learner : TokenLearner
        Named in the error.
    method : str
        Its name.
    shape : tuple of int
        Of the logits, without their last axis.
    n_tokens : int, default=1
        Least length of that.

    Raises
    ------
    WeakLearnerError
        If it is of another shape, or holds no real numbers.
    """
    import torch

    expected = f"{type(learner).__name__}.{method} must return logits of shape ({', '.join(map(str, shape))}, V), V >= "
    try:
        tensor = torch.as_tensor(logits)
    except (TypeError, ValueError, RuntimeError) as error:
        raise WeakLearnerError(f"{expected}{n_tokens}. Got a {type(logits).__name__} instead ({error}).") from error
    if tuple(tensor.shape[:-1]) != shape or tensor.ndim != len(shape) + 1 or tensor.shape[-1] < n_tokens:
        raise WeakLearnerError(f"{expected}{n_tokens}. Got shape {tuple(tensor.shape)} instead.")
    if tensor.is_complex():
        raise WeakLearnerError(f"{expected}{n_tokens}. Got complex numbers instead.")
    return tensor if tensor.is_floating_point() else tensor.float()


def checked_step(step: object, learner: object, shape: tuple[int, ...], n_tokens: int = 1) -> tuple[torch.Tensor, Any]:
    """What ``decode_step`` of a learner has returned: logits as of `checked_logits`, and a cache."""
    if not isinstance(step, tuple) or len(step) != 2:
        raise WeakLearnerError(
            f"{type(learner).__name__}.decode_step must return a pair, logits and a cache. Got "
            f"{type(step).__name__} instead."
        )
    return checked_logits(step[0], learner, "decode_step", shape, n_tokens), step[1]


def answer_logits(learner: Any, batch: TokenBatch) -> torch.Tensor:
    """Logits that predict the answer tokens of a batch, row by row, float32 of shape (R, V).

    Uses the learner's own ``answer_logits`` where it has one, so that other positions skip the model's head.

    Raises
    ------
    WeakLearnerError
        If the learner returns something else.
    """
    import torch

    # The least that V may be: models have more embeddings than their tokenizer has tokens, or fewer.
    n_tokens = int(batch.labels.max()) + 1
    fast = getattr(learner, "answer_logits", None)
    if fast is not None:
        return checked_logits(fast(batch), learner, "answer_logits", (int(batch.is_answer.sum()),), n_tokens)
    found = learner.token_logits(batch.input_ids, batch.attention_mask)
    logits = checked_logits(found, learner, "token_logits", batch.input_ids.shape, n_tokens)
    return logits[:, -batch.n_last :][torch.from_numpy(batch.is_answer)].detach().float()


def check_weak_learner(learner: object) -> None:
    """Check that an object is a complete `TokenLearner`, by training it on a toy task.

    The task is three questions with answers, in the learner's own template: "a b" → "d", "c d e f" → "a b" and
    "a c" → "b". Its tokenizer must be able to write them, a vocabulary of words needs these six letters. Clones of the
    learner, whose open seeds become 0, are trained on all of them and on the first alone.

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
    refuse_incomplete(learner, "weak learner", missing_of_token_learner(learner) or _behaviour_problems(learner))


def missing_of_token_learner(learner: object) -> list[str]:
    """What an object lacks to be a `TokenLearner`, said in words; nothing is called."""
    methods = {
        "initialize": "initialize() is missing: it must load the untrained model and return self",
        "token_logits": "token_logits(input_ids, attention_mask) is missing: it must return logits of shape (B, L, V)",
    }
    return missing_members(
        learner, methods, fit="fit(tokens, *, token_weight)", weight="token_weight, an array of shape (n_tokens,)"
    )


# Prompts of several lengths, so that there is padding, and an answer of two words; the docstring above names them.
_TOY = (["a b", "c d e f", "a c"], ["d", "a b", "b"])


def _behaviour_problems(learner: object) -> list[str]:
    try:
        untrained = seeded_clone(learner)
    except (TypeError, RuntimeError) as error:
        return [f"sklearn.base.clone fails: {error}"]
    problems = []
    if untrained.initialize() is not untrained:
        problems.append("initialize() must return self")
    if getattr(untrained, "tokenizer_", None) is None:
        return [*problems, "initialize() must set tokenizer_"]
    tokens = TokenDataset.for_learner(untrained, *_TOY)
    batch = tokens.batch(np.arange(len(tokens)), pad_token_id=padding_id(untrained))
    before = _logits(untrained, batch)
    n_tokens = getattr(untrained, "n_embeddings_", None) or n_ids(untrained.tokenizer_)
    if before.ndim != 3 or before.shape[:2] != batch.input_ids.shape or before.shape[2] < n_tokens:
        expected = f"({', '.join(map(str, batch.input_ids.shape))}, V), V >= {n_tokens}"
        return [*problems, f"token_logits must return shape {expected}, got {before.shape}"]
    # What is wrong before training is so after it, too: it is said once.
    problems += _logits_problems(untrained, tokens, before)
    return list(dict.fromkeys([*problems, *_training_problems(learner, tokens, before)]))


def _logits_problems(learner: Any, tokens: TokenDataset, before: np.ndarray) -> list[str]:
    """What is wrong with the logits of an initialised or fitted learner."""
    problems = []
    pad = padding_id(learner)
    batch = tokens.batch(np.arange(len(tokens)), pad_token_id=pad)
    real = batch.attention_mask.astype(bool)
    if not np.isfinite(before[real]).all():
        return ["token_logits must be finite where the attention mask is 1"]
    # A learner that looks ahead reads the answer that it is asked for, and would be taken for a perfect one.
    changed = batch.input_ids.copy()
    changed[:, -1] = (changed[:, -1] + 1) % before.shape[-1]
    later = _as_array(learner.token_logits(changed, batch.attention_mask))
    earlier = real[:, :-1]
    if not np.allclose(later[:, :-1][earlier], before[:, :-1][earlier], atol=1e-4):
        problems.append("token_logits must be causal: a later token changed the logits of an earlier position")
    # The row with the most padding in the batch, which it has none of by itself.
    shortest = int(np.argmin(tokens.lengths))
    alone = _logits(learner, tokens.batch(np.array([shortest]), pad_token_id=pad))[0]
    if not _alike(alone, before[shortest, -len(alone) :]):
        problems.append("token_logits must not depend on left padding: count positions from the attention mask")
    if hasattr(learner, "answer_logits"):
        fast = _as_array(learner.answer_logits(batch))
        wanted = before[:, -batch.n_last :][batch.is_answer]  # (R, V)
        if fast.shape != wanted.shape or not _alike(fast, wanted):
            problems.append(
                "answer_logits(batch) must return what token_logits gives at the positions that predict an answer "
                "token, row by row, in an array of shape (batch.is_answer.sum(), V)"
            )
    if isinstance(learner, Cached) and not _decodes_alike(learner, batch, before):
        problems.append("decode_step must give the logits of token_logits, with its cache and after reorder_cache")
    return problems


def _decodes_alike(untrained: Cached, batch: TokenBatch, before: np.ndarray) -> bool:
    """Whether reading all but the last token, and then the last in another order of rows, gives the same logits."""
    import torch

    arrays = (batch.input_ids, batch.attention_mask, batch.position_ids)
    ids, mask, positions = (torch.from_numpy(array) for array in arrays)
    first, cache = untrained.decode_step(ids[:, :-1], mask[:, :-1], positions[:, :-1], n_last=1, use_cache=True)
    order = torch.arange(len(ids)).flip(0)
    cache.reorder_cache(order)
    last, _ = untrained.decode_step(
        ids[order][:, -1:], mask[order], positions[order][:, -1:], cache=cache, n_last=1, use_cache=True
    )
    return _alike(_as_array(first)[:, 0], before[:, -2]) and _alike(_as_array(last)[:, 0], before[order.numpy(), -1])


def _alike(logits: np.ndarray, wanted: np.ndarray) -> bool:
    # bfloat16 rounds differently in another shape, by a few per cent of the logits' spread.
    return bool(np.abs(logits - wanted).max() <= 0.05 * wanted.std() + 1e-6)


def _training_problems(learner: object, tokens: TokenDataset, before: np.ndarray) -> list[str]:
    """What is wrong with `fit`."""
    problems = []
    fitted = seeded_clone(learner)
    weight = np.ones(tokens.n_tokens)
    if fitted.fit(tokens, token_weight=weight) is not fitted:
        problems.append("fit must return self")
    batch = tokens.batch(np.arange(len(tokens)), pad_token_id=padding_id(fitted))
    real = batch.attention_mask.astype(bool)
    everywhere = _logits(fitted, batch)
    problems += _logits_problems(fitted, tokens, everywhere)
    after = everywhere[real]
    if np.allclose(after, before[real]):
        problems.append("fit changed no logits: it must train on the tokens")
    fitted.fit(tokens, token_weight=weight)
    if not np.allclose(_logits(fitted, batch)[real], after, atol=1e-3):
        problems.append("fit must start from the untrained model: a second fit with the same seed gave another model")
    # A round of boosting trains on the tokens that were drawn: the others are there, with weight 0.
    first_only = np.zeros(tokens.n_tokens)
    first_only[: tokens.indptr[1]] = 1.0
    weighted = seeded_clone(learner)
    weighted.fit(tokens, token_weight=first_only)
    alone = seeded_clone(learner)
    alone.fit(tokens.take(np.array([0])), token_weight=np.ones(int(tokens.indptr[1])))
    if not np.allclose(_logits(weighted, batch)[real], _logits(alone, batch)[real], atol=1e-3):
        problems.append("a token of weight 0 must have no influence: fitting without its row gave another model")
    return problems


def _logits(learner: Any, batch: TokenBatch) -> np.ndarray:
    return _as_array(learner.token_logits(batch.input_ids, batch.attention_mask))


def _as_array(logits: object) -> np.ndarray:
    import torch

    array: np.ndarray = torch.as_tensor(logits).detach().cpu().double().numpy()
    return array
