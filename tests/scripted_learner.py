"""A token learner whose mistakes are written down beforehand, round by round."""

from __future__ import annotations

import numpy as np
from sklearn.base import BaseEstimator

from ensemw2s import TokenAdaBoostGenerator, word_tokenizer

WORDS = ["red", "green", "blue", "cat", "dog", "sun"]
TOKENIZER = word_tokenizer([*WORDS, "? Question: Answer:"])
FIVE = (["q"], ["red green blue cat"])  # four words and the end of the answer: five tokens


class Scripted(BaseEstimator):
    """A learner that is wrong on given answer tokens, round by round; it counts its fits in a shared list."""

    def __init__(self, mistakes=(), log=None, random_state=None):
        self.mistakes = mistakes
        self.log = log
        self.random_state = random_state

    def __deepcopy__(self, memo):
        return self

    def __sklearn_clone__(self):
        return Scripted(self.mistakes, self.log, self.random_state)

    def initialize(self):
        self.tokenizer_ = TOKENIZER
        self.round = 0
        return self

    def fit(self, tokens, *, token_weight):
        self.initialize()
        self.log.append({"token_weight": np.array(token_weight), "seed": self.random_state})
        self.round = len(self.log)
        return self

    def answer_logits(self, batch):
        import torch

        labels = batch.labels[batch.is_answer]
        is_wrong = np.isin(batch.token_index[batch.is_answer], list(self.mistakes[self.round]))
        guesses = np.where(is_wrong, (labels + 1) % len(TOKENIZER), labels)
        return torch.from_numpy(9.0 * np.eye(len(TOKENIZER), dtype=np.float32)[guesses])

    def token_logits(self, input_ids, attention_mask):
        return np.zeros((*np.shape(input_ids), len(TOKENIZER)))


def scripted(*mistakes, n_estimators=10, **kwargs):
    """A booster over a learner that is wrong on mistakes[0] untrained, then on mistakes[t] in round t."""
    learner = Scripted(mistakes, [])
    settings = {"sampling": "weight", "random_state": 0, **kwargs}
    return TokenAdaBoostGenerator(learner, n_estimators=n_estimators, **settings), learner.log
