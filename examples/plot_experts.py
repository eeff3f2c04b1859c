"""
Where an ensemble gains
=======================

An ensemble is better than its members only where these are wrong on different questions. This page looks at three
ensembles: how the mistakes of their members correlate, how sure the votes are, and what any vote could gain at most.
"""

# %%
# A question names a rule and some animals; the right option has the animals in that order. One expert is a decision
# tree that predicts the next word. Boosted and bagged, it makes two ensembles of one kind of member.

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
from next_word import tree
from sklearn.base import BaseEstimator
from sklearn.feature_extraction import DictVectorizer
from sklearn.linear_model import LogisticRegression

from ensemw2s import (
    ErrorCorrelationDisplay,
    MarginDisplay,
    OpinionPool,
    TokenAdaBoostGenerator,
    error_correlation,
    make_qa,
    word_tokenizer,
)

questions = make_qa(1200, difficulty=(3, 5), random_state=0)
train, test = questions[:800], questions[800:]
print(train.prompts[0], train.choices[0], sep="\n")

learner = tree(max_depth=12, tokenizer=word_tokenizer([*questions.prompts, "="]))
settings = {"n_estimators": 3, "prior": "uniform", "random_state": 0}
boosted = TokenAdaBoostGenerator(learner, **settings).fit(train)
bagged = TokenAdaBoostGenerator(learner, reweight=False, **settings).fit(train)

# %%
# The other kind is no language model. It looks at an option as a whole, which animal it has first and which last, and
# judges whether it is right: a verifier. Two methods make it one of a pool's experts.


class EndsVerifier(BaseEstimator):
    """Scores options by their first and last word, given the rule."""

    def fit(self, questions, *, question_weight):
        rows = zip(questions.answers, questions.choices, strict=True)
        right = [option == answer for answer, options in rows for option in options]
        self.vectorizer_ = DictVectorizer()
        features = self.vectorizer_.fit_transform(self._ends(questions.prompts, questions.choices))
        weight = np.repeat(question_weight, questions.n_choices)
        self.classifier_ = LogisticRegression().fit(features, right, sample_weight=weight)
        return self

    def option_scores(self, prompts, choices):
        scores = self.classifier_.decision_function(self.vectorizer_.transform(self._ends(prompts, choices)))
        return np.split(scores, np.cumsum([len(options) for options in choices])[:-1])

    def _ends(self, prompts, choices):
        rows = zip(prompts, choices, strict=True)
        pairs = [(prompt.partition(":")[0], option.split()) for prompt, options in rows for option in options]
        return [{f"{rule} {words[0]} ...": 1, f"{rule} ... {words[-1]}": 1} for rule, words in pairs]


pool = OpinionPool([learner, EndsVerifier()], random_state=0).fit(train)

# %%
# How the mistakes correlate
# --------------------------
#
# Each row of a table names the accuracy of its member, without which the correlation says little: the later members of
# the boosted ensemble, trained on what the first could not know, are hardly better than a guess, and a guess errs
# independently of everything. The bagged members are as good as each other and err on the same questions more often.
# Tree and verifier are the better members, and err on other questions all the same.

figure, axes = plt.subplots(1, 3, figsize=(15, 4), layout="constrained")
ensembles = {"boosted": boosted, "bagged": bagged, "pool": pool}
for ax, (name, ensemble) in zip(axes, ensembles.items(), strict=True):
    ErrorCorrelationDisplay.from_estimator(ensemble, test, ax=ax)
    ax.set_title(f"{name}\n{ax.get_title()}", fontsize=10)
plt.show()

# %%
# What could be gained, and what is
# ---------------------------------
#
# The oracle of members is right where at least one of them is. It is a bound, and a loose one: three that guess among
# four options have it at .58.

for name, ensemble in ensembles.items():
    members = ensemble.member_predictions(test)
    right = members == np.asarray(test.answers, dtype=object)
    correlation = error_correlation(members, test.answers)[np.triu_indices(len(members), 1)].mean()
    alone = ", ".join(f"{share:.3f}" for share in right.mean(axis=1))
    print(f"{name:8} members {alone}; correlation {correlation:+.2f}; ", end="")
    print(f"oracle of members {right.any(axis=0).mean():.3f}; together {ensemble.score(test):.3f}")

# %%
# Boosting gains nothing here. Bagging does, since trees that see other draws differ. Members that start from one
# pre-trained model differ less, with correlations of .6 and more, and there only another kind of expert helped.

# %%
# How sure the votes are
# ----------------------
#
# The margin of a question is the share of the votes for its right answer less that of the strongest wrong one; left of
# the dashed line the vote is wrong. It is the hard vote, each member for one answer. What all of these ensembles do is
# more: they join probabilities, so that a member that is sure counts more than one that is not.

figure, axes = plt.subplots(1, 2, figsize=(12, 3.6), layout="constrained")
for ax, name in zip(axes, ("boosted", "bagged"), strict=True):
    MarginDisplay.from_estimator(ensembles[name], test, n_members=[1, 2, 3], ax=ax)
    ax.set_title(f"{name}\n{ax.get_title()}", fontsize=10)
plt.show()

# %%
# Which ensemble to build, and what it is good for with language models, is in the guide: see :doc:`/guide/experts`.
