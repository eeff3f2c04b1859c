"""Algorithm 1 written down once more, in twenty lines and with none of the library's equations."""

from __future__ import annotations

import math

import numpy as np


def boost(train, predict, labels, n_rounds, prior):
    """Boost on weights without a draw, and return votes, errors and the weights after each round."""
    weight = [1.0 / len(labels)] * len(labels)
    votes, errors, weights = [], [], []
    for _ in range(n_rounds):
        learner = train(np.array(weight))
        wrong = [int(guess != label) for guess, label in zip(predict(learner), labels, strict=True)]
        error = math.fsum(w * miss for w, miss in zip(weight, wrong, strict=True))
        if error >= prior or error == 0:
            break
        vote = math.log((1 - error) / error) + math.log(1 / (1 - prior) - 1)
        weight = [w * math.exp(vote * miss) for w, miss in zip(weight, wrong, strict=True)]
        total = math.fsum(weight)
        weight = [w / total for w in weight]
        votes.append(vote)
        errors.append(error)
        weights.append(np.array(weight))
    return votes, errors, weights
