"""
Difficulty, and from easy to hard
=================================

Weak-to-strong experiments need to know which questions are hard. Models that were trained on other questions rate them
by their errors. This page rates questions whose true difficulty is known, splits them, and shows what a weak model
loses if it has seen easy questions only.
"""

# %%
# Ratings
# -------
#
# The questions ask to put 3 to 6 animals in order: their number is their difficulty. The ratings know nothing of it.
# For each of five folds a model is trained on the others, and an answer is rated by the share of its words that this
# model gets wrong. Two raters: a bigram model, which looks at the last word alone, and a decision tree, which looks at
# all.

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
from next_word import tree
from scipy.stats import spearmanr, t

from ensemw2s import (
    BigramLearner,
    DifficultyDisplay,
    EasyHardSplit,
    FineTunedGenerator,
    cross_val_difficulty,
    make_qa,
    word_tokenizer,
)

questions = make_qa(1000, difficulty=(3, 6), random_state=0)
tokenizer = word_tokenizer([*questions.prompts, "="])
raters = {
    "bigram model": BigramLearner(tokenizer, prompt_template="{prompt} ="),
    "decision tree": tree(max_depth=8, tokenizer=tokenizer),
}
sizes = {f"{n} animals": questions.difficulty == n for n in range(3, 7)}

figure, axes = plt.subplots(2, 1, figsize=(8, 6), sharex=True, layout="constrained")
ratings = {}
for panel, (name, rater) in zip(axes, raters.items(), strict=True):
    ratings[name] = cross_val_difficulty(rater, questions, cv=5, random_state=0)
    DifficultyDisplay(ratings[name].ratings, sizes).plot(panel)
    correlation = spearmanr(ratings[name].ratings, questions.difficulty).statistic
    panel.set_title(f"{name}: rank correlation with the number of animals {correlation:.2f}", fontsize=10)
axes[0].set_xlabel("")
plt.show()

# %%
# Both ratings are right in their own terms, but what is hard for the one is not so hard for the other. The bigram model
# cannot sort at all, and gets the more wrong the more there is to sort. The tree can, a little, whatever the length. So
# "hard" always means hard for the rater, and a rating should be compared with what else is known before questions are
# split by it. A rater at chance gives noise.
#
# Easy and hard parts
# -------------------
#
# :class:`~ensemw2s.EasyHardSplit` gives the easiest questions to the weak models, and deals the hardest out to students
# and test. Here by the bigram model's ratings:

rated = ratings["bigram model"]
weak, strong, test = next(EasyHardSplit(random_state=0).split(questions, rated))
parts = {"easy, train-weak": weak, "hard, train-strong": strong, "hard, test": test}
DifficultyDisplay.from_ratings(rated, parts=parts)
plt.show()
for name, rows in parts.items():
    print(f"{name}: {questions.difficulty[rows].mean():.1f} animals on average")

# %%
# What a weak model loses
# -----------------------
#
# A tree trained on the easy part, and one trained on as many questions of the hard part, both tested on the hard test
# questions. Five seeds draw questions, folds and parts.


def accuracies(seed: int) -> tuple[float, float]:
    """Of the tree that has seen easy questions, and of the one that has seen hard ones."""
    questions = make_qa(1000, difficulty=(3, 6), random_state=seed)
    rated = cross_val_difficulty(raters["bigram model"], questions, cv=5, random_state=seed)
    easy, hard, test = (questions[rows] for rows in next(EasyHardSplit(random_state=seed).split(questions, rated)))
    models = [FineTunedGenerator(raters["decision tree"]).fit(part) for part in (easy, hard)]
    return tuple(1 - model.token_error(test) for model in models)


by_seed = np.array([accuracies(seed) for seed in range(5)])  # (5, 2)
for name, values in zip(("easy", "hard"), by_seed.T, strict=True):
    sem = values.std(ddof=1) / np.sqrt(len(values))
    print(f"trained on {name} questions: {values.mean():.3f} ± {sem:.3f} of the tokens right (SEM, 5 seeds)")

difference = by_seed[:, 1] - by_seed[:, 0]
half_width = t.ppf(0.975, len(difference) - 1) * difference.std(ddof=1) / np.sqrt(len(difference))
print(f"difference {difference.mean():+.4f} ± {half_width:.4f} (95 % t interval over seeds, paired)")

# %%
# The tree of easy questions does a little worse on hard ones, by an amount that five seeds cannot tell from zero: the
# hard part has longer answers, hence also more tokens to learn from, but what there is to know about the animals is
# the same in both. Splits by a rating make a gap only where the easy questions lack something that the hard ones need.
# How much they lack with language models is shown in the results.
