"""Two weak learners with different tokenizers, and what they say, written down with NumPy alone."""

from __future__ import annotations

import numpy as np
from sklearn.base import BaseEstimator, clone

from ensemw2s import BigramLearner, TokenDataset, byte_tokenizer, word_tokenizer

X = ["sky ?", "sea ?", "leaf ?", "night ?", "snow ?", "grass ?"]
Y = ["blue", "deep blue", "green", "black", "white", "green"]
CHOICES = [["blue", "red hot"], ["deep blue", "grey", "red"], ["green", "black"], ["black", "deep blue"],
           ["white", "red", "grey"], ["green", "red"]]  # fmt: skip
TEMPLATE = "{prompt} :"
WORDS = word_tokenizer([*X, *(option for options in CHOICES for option in options), ":"])
BYTES = byte_tokenizer()


def by_words(**kwargs):
    return BigramLearner(WORDS, prompt_template=TEMPLATE, **kwargs)


def by_bytes(**kwargs):
    return BigramLearner(BYTES, prompt_template=TEMPLATE, **kwargs)


def taught(learner, questions, answers, weight=None):
    """A learner fitted on answers."""
    tokens = TokenDataset.for_learner(learner.initialize(), questions, answers)
    return clone(learner).fit(tokens, token_weight=np.ones(tokens.n_tokens) if weight is None else weight)


def ids_of(member, text):
    return member.tokenizer_(text)["input_ids"]


def token_log_proba(members, shares, question, answer):
    """Log of the mixed probability of each token of an answer, its end included: Eq. 1 for bigram models."""
    prompt = ids_of(members[0], TEMPLATE.replace("{prompt}", question))
    answer = [*ids_of(members[0], f" {answer}"), members[0].tokenizer_.eos_token_id]
    return [
        np.log(sum(share * np.exp(member.log_proba_[pair]) for member, share in zip(members, shares, strict=True)))
        for pair in zip([prompt[-1], *answer[:-1]], answer, strict=True)
    ]


def text_nll(members, shares, question, answer, normalize="sum"):
    found = token_log_proba(members, shares, question, answer)
    return -sum(found) / {"sum": 1, "token": len(found), "char": len(answer)}[normalize]


def greedy_text(members, shares, question, n_new):
    """What a voice writes: at each step the token that is likeliest under Eq. 1."""
    last, written = ids_of(members[0], TEMPLATE.replace("{prompt}", question))[-1], []
    for _ in range(n_new):
        last = int(np.argmax(sum(s * np.exp(m.log_proba_[last]) for m, s in zip(members, shares, strict=True))))
        if last == members[0].tokenizer_.eos_token_id:
            break
        written.append(last)
    return members[0].tokenizer_.decode(written, skip_special_tokens=True).strip()


def vote_on(voices, question, texts, normalize="sum"):
    """Probabilities of texts under a vote; `voices` holds the members of each voice, and their votes."""
    total = sum(sum(votes) for _, votes in voices)
    proba = np.zeros(len(texts))
    for members, votes in voices:
        shares = np.array(votes) / sum(votes)
        likelihood = np.exp([-text_nll(members, shares, question, text, normalize) for text in texts])
        proba += sum(votes) / total * likelihood / likelihood.sum()
    return proba


class ScriptedAnswers(BaseEstimator):
    """A learner that misses the answers ``mistakes[t]`` when it is trained the t-th time; it notes that in ``log``."""

    def __init__(self, name="", tokenizer=None, mistakes=(), log=None, random_state=None):
        self.name = name
        self.tokenizer = tokenizer
        self.mistakes = mistakes
        self.log = log
        self.random_state = random_state

    def __sklearn_clone__(self):
        return type(self)(self.name, self.tokenizer, self.mistakes, self.log, self.random_state)

    def initialize(self):
        self.tokenizer_, self.round = self.tokenizer, 0
        return self

    def fit(self, tokens, *, token_weight):
        self.initialize()
        per_answer = tokens.sum_rows(token_weight) / tokens.answer_lengths
        self.log.append((self.name, per_answer, self.random_state))
        self.round = sum(name == self.name for name, *_ in self.log)
        return self

    def answer_logits(self, batch):
        import torch

        labels = batch.labels[batch.is_answer]
        rows = np.repeat(batch.rows, batch.is_answer.sum(axis=1))
        guesses = np.where(np.isin(rows, list(self.mistakes[self.round])), (labels + 1) % len(self.tokenizer), labels)
        return torch.from_numpy(9.0 * np.eye(len(self.tokenizer), dtype=np.float32)[guesses])

    def token_logits(self, input_ids, attention_mask):
        return np.zeros((*np.shape(input_ids), len(self.tokenizer)))
