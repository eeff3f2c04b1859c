"""A weak learner small enough to work out by hand."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.base import BaseEstimator

from ensemw2s._html.fitted import FittedHTML
from ensemw2s._html.pieces import facts, panel
from ensemw2s._validation import as_texts, check_positive, check_weight
from ensemw2s.exceptions import CheckpointError
from ensemw2s.learners._saved_learner import SavedLearner
from ensemw2s.storage import StoredFolder, write_arrays
from ensemw2s.tokens import DEFAULT_PROMPT_TEMPLATE, PromptTemplate, TokenDataset, byte_tokenizer, frame_of, n_ids

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_LOG_PROBA = "log_proba.safetensors"


class BigramLearner(FittedHTML, SavedLearner, BaseEstimator):
    r"""Next token from the last one alone, by weighted counting.

    :math:`p(y \mid x) = (c_{xy} + \lambda q(y \mid x)) / (c_x + \lambda)`, where :math:`c_{xy}` is the weighted
    count of `y` after `x` among the answer tokens, scaled so that the weights have mean 1, and `q` the untrained
    model: counts over `corpus` with add-one smoothing, or uniform.

    Exact, deterministic and without torch, it serves as reference in tests and as an example of a learner of one's
    own. It is not a good language model.

    Parameters
    ----------
    tokenizer : transformers.PreTrainedTokenizerBase, optional
        Byte level (`byte_tokenizer`) if None.
    corpus : sequence of str, optional
        Texts that the untrained model is counted from. Without them it knows nothing and is wrong nearly
        everywhere: boost with ``prior="uniform"`` then.
    smoothing : float, default=1.0
        Weight :math:`\lambda > 0` of the untrained model, in tokens.
    prompt_template : str or list of dict
        Text around a question, or a chat, see `HFCausalLM`.

    Attributes
    ----------
    tokenizer_ : transformers.PreTrainedTokenizerBase
        Set by `initialize`.
    log_proba_ : ndarray of shape (V, V)
        Log probability of the next token (column) after a token (row).

    Examples
    --------
    >>> import numpy as np
    >>> from ensemw2s import BigramLearner, TokenDataset
    >>> learner = BigramLearner().initialize()
    >>> tokens = TokenDataset.for_learner(learner, ["2 + 2 ="], ["4"])
    >>> learner = learner.fit(tokens, token_weight=np.ones(tokens.n_tokens))
    >>> four, space = (learner.tokenizer_(text)["input_ids"][0] for text in "4 ")
    >>> round(float(np.exp(learner.log_proba_[space, four])), 3)  # (1 + 1/258) / (1 + 1)
    0.502
    """

    _derived = ("tokenizer_", "log_proba_")

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase | None = None,
        *,
        corpus: Sequence[str] | None = None,
        smoothing: float = 1.0,
        prompt_template: PromptTemplate = DEFAULT_PROMPT_TEMPLATE,
    ) -> None:
        self.tokenizer = tokenizer
        self.corpus = corpus
        self.smoothing = smoothing
        self.prompt_template = prompt_template

    def initialize(self) -> BigramLearner:
        """Become the untrained model and return `self`.

        Returns
        -------
        BigramLearner
        """
        check_positive(self.smoothing, "smoothing", most=1e100)
        self.tokenizer_ = self._given_tokenizer()
        frame_of(self.prompt_template, self.tokenizer_)  # which a tokenizer without a chat template refuses
        n_vocabulary = n_ids(self.tokenizer_)
        counts = np.ones((n_vocabulary, n_vocabulary))  # (V, V)
        if self.corpus is not None:
            for ids in self.tokenizer_(as_texts(self.corpus, "corpus"), verbose=False)["input_ids"]:
                np.add.at(counts, (np.array(ids[:-1], dtype=int), np.array(ids[1:], dtype=int)), 1.0)
        self.log_proba_ = np.log(counts / counts.sum(axis=1, keepdims=True))
        return self

    def fit(self, tokens: TokenDataset, *, token_weight: np.ndarray) -> BigramLearner:
        """Count the answer tokens.

        Parameters
        ----------
        tokens : TokenDataset
            Tokenised by this learner's tokenizer.
        token_weight : ndarray of shape (n_tokens,)
            Weight of each answer token, not negative; only ratios matter.

        Returns
        -------
        BigramLearner
            The learner itself.

        Raises
        ------
        ValueError
            If the weights have another shape, are negative or not finite, or are all 0.
        """
        if not isinstance(tokens, TokenDataset):
            raise TypeError(f"tokens must be a TokenDataset. Got {type(tokens).__name__} instead.")
        weight = check_weight(token_weight, "token_weight", length=tokens.n_tokens, per="answer token")
        self.initialize()
        n_vocabulary = n_ids(self.tokenizer_)
        if max(tokens.labels.max(), tokens.prompt_ids.max()) >= n_vocabulary:
            raise ValueError(
                f"tokens must come from this learner's tokenizer, of {n_vocabulary} tokens. Got a larger token id; use "
                f"TokenDataset.for_learner."
            )
        # Scaled to mean 1 over the tokens that count, so that smoothing means the same in every round.
        weight = weight * (np.count_nonzero(weight) / weight.sum())
        previous = np.concatenate([[0], tokens.labels[:-1]])
        previous[tokens.indptr[:-1]] = tokens.prompt_ids[tokens.prompt_indptr[1:] - 1]
        counts = self.smoothing * np.exp(self.log_proba_)
        np.add.at(counts, (previous, tokens.labels), weight)
        self.log_proba_ = np.log(counts / counts.sum(axis=1, keepdims=True))
        return self

    def token_logits(self, input_ids: np.ndarray, attention_mask: np.ndarray) -> np.ndarray:
        """Log probabilities of the next token at each position.

        Parameters
        ----------
        input_ids, attention_mask : array-like of shape (B, L)
            Token ids; the mask plays no role, since only the last token is read.

        Returns
        -------
        ndarray of shape (B, L, V)
        """
        return self.log_proba_[np.asarray(input_ids)]

    def _given_tokenizer(self) -> PreTrainedTokenizerBase:
        return byte_tokenizer() if self.tokenizer is None else self.tokenizer

    def _write_weights(self, folder: Path) -> dict[str, Any]:
        write_arrays(folder / _LOG_PROBA, {"log_proba": self.log_proba_})
        return {}

    def _read_weights(
        self, record: dict[str, Any], stored: StoredFolder, place: str, check_base: Callable[[], None]
    ) -> None:
        file, shape = f"{place}/{_LOG_PROBA}", (n_ids(self.tokenizer_),) * 2
        self.log_proba_ = stored.arrays(file).get("log_proba")
        if self.log_proba_ is None or self.log_proba_.shape != shape:
            raise CheckpointError(f"{stored.path / file} must hold log_proba of shape {shape}. Save it again.")

    def _fitted_html(self) -> str:
        if not hasattr(self, "log_proba_"):
            return ""
        n = len(self.log_proba_)
        return panel(type(self).__name__, facts([("vocabulary", f"{n} tokens"), ("parameters", f"{n} × {n}")]))
