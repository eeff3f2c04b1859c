"""
A weak learner of your own
==========================

A weak learner is any object with three methods. This page boosts one that has no neural network in it: a scikit-learn
classifier that predicts the next word. The other pages of the gallery use it too.
"""

# %%
# The class
# ---------
#
# ``initialize`` becomes the model before any training, ``fit`` gets tokens with a weight each, and ``token_logits``
# scores the next token at every position. There is no base class of ours to derive from; scikit-learn's
# ``BaseEstimator`` adds ``get_params`` and with it ``clone``, which every round needs.
#
# .. literalinclude:: /../examples/next_word.py
#    :pyobject: NextWordLearner

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from next_word import NextWordLearner
from sklearn.ensemble import RandomForestClassifier
from sklearn.naive_bayes import MultinomialNB
from sklearn.tree import DecisionTreeClassifier

from ensemw2s import (
    RoundsDisplay,
    TokenAdaBoostGenerator,
    TokenDataset,
    WeakLearnerError,
    check_weak_learner,
    make_qa,
    word_tokenizer,
)

# %%
# Is it right?
# ------------
#
# ``check_weak_learner`` trains a learner on a toy task and names what is missing or wrong. It says nothing if all is
# well. Here is one with a mistake that is easily made: it does not look at the weights.

questions = make_qa(900, difficulty=(3, 5), random_state=0)
train, test = questions[:600], questions[600:]
tokenizer = word_tokenizer([*questions.prompts, "="])

check_weak_learner(NextWordLearner(DecisionTreeClassifier(max_depth=8), tokenizer))


class Unweighted(NextWordLearner):
    """Trains on all tokens alike."""

    def fit(self, tokens: TokenDataset, *, token_weight: np.ndarray) -> Unweighted:
        return super().fit(tokens, token_weight=np.ones_like(token_weight))


try:
    check_weak_learner(Unweighted(DecisionTreeClassifier(max_depth=8), tokenizer))
except WeakLearnerError as error:
    print(error)

# %%
# Which classifier is a good weak learner?
# ----------------------------------------
#
# Any that takes sample weights and gives probabilities can be tried. All are boosted on the same 600 questions for six
# rounds, and tested on 300 others; the standard error of an accuracy is below 3 points.

classifiers = {
    "naive Bayes": MultinomialNB(),
    "tree of depth 4": DecisionTreeClassifier(max_depth=4, random_state=0),
    "tree of depth 8": DecisionTreeClassifier(max_depth=8, random_state=0),
    "forest of 10 full trees": RandomForestClassifier(10, random_state=0),
}
frames = []
for name, classifier in classifiers.items():
    learner = NextWordLearner(classifier, tokenizer)
    booster = TokenAdaBoostGenerator(learner, n_estimators=6, prior="uniform", random_state=0).fit(train)
    frames.append(
        pd.DataFrame(
            {
                "learner": name,
                "seed": 0,
                "round": range(1, len(booster.estimators_) + 1),
                "error": booster.estimator_errors_,
                "token_error": list(booster.staged_token_error(test)),
                "accuracy": list(booster.staged_score(test)),
            }
        )
    )
    print(f"{name}: {len(booster.estimators_)} members, stopped with {booster.stop_reason_!r}")

RoundsDisplay.from_frame(pd.concat(frames), by="learner", chance=0.25, quantities=["error", "token_error", "accuracy"])
plt.show()

# %%
# A learner need not be weak to gain: forests, the best alone, gain as much as trees. What it needs is errors that
# change with the weights. Naive Bayes has one opinion of each word, whatever the weights: its weighted error rises to
# that of a learner that knows little, and its members predict fewer tokens right together than one alone.
