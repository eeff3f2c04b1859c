"""A language model made of a scikit-learn classifier, for the examples: it trains in a fraction of a second."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, clone
from sklearn.tree import DecisionTreeClassifier


class NextWordLearner(BaseEstimator):
    """Next word from which words have come so far, how often, and which was the last.

    Parameters
    ----------
    classifier : scikit-learn classifier
        With ``predict_proba`` and sample weights, such as a decision tree or a forest.
    tokenizer : transformers.PreTrainedTokenizerBase
        `word_tokenizer` of the texts.
    smoothing : float in (0, 1)
        Share of a uniform guess in each prediction: no word is impossible.
    prompt_template : str
        Text around a question.
    """

    def __init__(
        self, classifier: Any, tokenizer: Any, *, smoothing: float = 0.01, prompt_template: str = "{prompt} ="
    ) -> None:
        self.classifier = classifier
        self.tokenizer = tokenizer
        self.smoothing = smoothing
        self.prompt_template = prompt_template

    def initialize(self) -> NextWordLearner:
        """Become the untrained model, which guesses."""
        self.tokenizer_ = self.tokenizer
        self.classifier_ = None
        return self

    def fit(self, tokens: Any, *, token_weight: np.ndarray) -> NextWordLearner:
        """Train the classifier on the answer tokens that have a weight."""
        self.initialize()
        features = []
        for row in range(len(tokens)):
            prompt, answer = tokens.row_ids(row)
            seen = self._features(np.concatenate([prompt, answer])[None])[0]  # (L, 2V)
            features.append(seen[len(prompt) - 1 : -1])  # what has come before each answer token
        used = token_weight > 0
        self.classifier_ = clone(self.classifier).fit(
            np.concatenate(features)[used], tokens.labels[used], sample_weight=token_weight[used]
        )
        return self

    def token_logits(self, input_ids: Any, attention_mask: Any) -> np.ndarray:
        """Log probabilities of the next word at each position, (B, L, V); rows are padded on the left."""
        n_words = len(self.tokenizer_)
        seen = self._features(np.asarray(input_ids), np.asarray(attention_mask))
        proba = np.full((*seen.shape[:2], n_words), 1 / n_words)
        if self.classifier_ is not None:
            predicted = self.classifier_.predict_proba(seen.reshape(-1, seen.shape[-1]))
            proba *= self.smoothing
            proba[..., self.classifier_.classes_] += (1 - self.smoothing) * predicted.reshape(*seen.shape[:2], -1)
        return np.log(proba)

    def _features(self, ids: np.ndarray, mask: Any = 1) -> np.ndarray:
        """Counts of all words so far, and the last one, (B, L, 2V)."""
        last = np.eye(len(self.tokenizer_), dtype=np.float32)[ids] * np.broadcast_to(mask, ids.shape)[..., None]
        return np.concatenate([last.cumsum(axis=1), last], axis=-1)


def tree(max_depth: int, tokenizer: Any) -> NextWordLearner:
    """A decision tree as a language model."""
    return NextWordLearner(DecisionTreeClassifier(max_depth=max_depth, random_state=0), tokenizer)
