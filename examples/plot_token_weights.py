"""
Token weights moving to hard tokens
===================================

In token boosting every answer token is an example with a weight of its own. This page shows where the weights go: away
from the tokens that the members know, towards those that they keep missing.
"""

# %%
# The task is to put five animals in order. A decision tree that predicts the next word is boosted for six rounds.

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
from next_word import tree

from ensemw2s import TokenAdaBoostGenerator, TokenDataset, TokenWeightDisplay, make_qa, word_tokenizer

questions = make_qa(400, difficulty=(5, 5), random_state=0)
learner = tree(max_depth=8, tokenizer=word_tokenizer([*questions.prompts, "="]))
booster = TokenAdaBoostGenerator(learner, n_estimators=6, prior="uniform", random_state=0).fit(questions)

# %%
# A few answers
# -------------
#
# ``D1`` is the weight of each token before round 1, the same for all; ``D2`` is the weight after the tokens that member
# 1 missed were raised, and so on. Orange is heavier than at the start, blue is lighter. ``<eos>`` ends an answer.

TokenWeightDisplay.from_estimator(booster, questions, rows=[0, 1, 2], rounds=[1, 2, 4, 7]).plot()
plt.show()

# %%
# In a notebook the display needs no plot: it shows itself as HTML, and a token's weight when the mouse rests on it.

TokenWeightDisplay.from_estimator(booster, questions, rows=[3], rounds=[1, 2, 4, 7])

# %%
# All answers
# -----------
#
# The same over all 400 answers. ``staged_token_weight`` gives the weights round by round; they sum to 1. On the left
# they are summed by the place of a token in its answer, on the right the tokens are sorted by their weight: a line that
# rises steeply means that few tokens hold most of it. The dashed lines are those of a booster with
# ``learning_rate=0.3``, which shrinks the votes.

tokens = TokenDataset.for_learner(learner.initialize(), questions.prompts, questions.answers)
place = np.arange(tokens.n_tokens) - np.repeat(tokens.indptr[:-1], tokens.answer_lengths)
weights = np.stack(list(booster.staged_token_weight(questions)))  # (T + 1, n_tokens)
shares = np.stack([weights[:, place == k].sum(axis=1) for k in range(6)])  # (6, T + 1)

figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.6), layout="constrained")
shades = plt.get_cmap("viridis")(np.linspace(0, 0.95, 6))
left.stackplot(range(1, 8), shares, colors=shades, labels=["1st animal", "2nd", "3rd", "4th", "5th", "<eos>"])
left.set(xlabel="before round t (7: after the last)", ylabel="share of the weight", xlim=(1, 7), ylim=(0, 1))
left.legend(*(side[::-1] for side in left.get_legend_handles_labels()), loc="center left", bbox_to_anchor=(1, 0.5))

shrunk = TokenAdaBoostGenerator(learner, n_estimators=6, learning_rate=0.3, prior="uniform", random_state=0)
shrunk_weights = np.stack(list(shrunk.fit(questions).staged_token_weight(questions)))
share_of_tokens = np.arange(1, tokens.n_tokens + 1) / tokens.n_tokens
for t, color in zip((1, 2, 4, 7), ("0.6", "#56B4E9", "#0072B2", "#D55E00"), strict=True):
    for values, style, label in ((weights, "-", f"$D_{t}$"), (shrunk_weights, "--", None)):
        heaviest_first = np.sort(values[t - 1])[::-1].cumsum()
        right.plot(share_of_tokens, heaviest_first, style, color=color, linewidth=1.3, label=label)
right.set(xlabel="share of the tokens, heaviest first", ylabel="share of the weight")
right.legend()
plt.show()

for name, values in (("learning_rate=1.0", weights), ("learning_rate=0.3", shrunk_weights)):
    tenth = [np.sort(weight)[-tokens.n_tokens // 10 :].sum() for weight in values]
    print(f"{name}: share of the heaviest tenth of the tokens before each round:", np.round(tenth, 2))
for name, one in (("learning_rate=1.0", booster), ("learning_rate=0.3", shrunk)):
    print(f"{name}: votes", one.estimator_weights_.round(2), "token error", round(one.token_error(questions), 3))

# %%
# The end of an answer is learned at once and loses its weight. Among the animals it is not the place that makes a token
# hard; which of them are hard changes from round to round, as each member is trained on what the others miss.
#
# The weights also show why the votes matter. A learner that knows nothing to begin with is compared with a uniform
# guess among the words, so that votes are large: a missed token becomes some thirty times heavier in a single round,
# and before round 4 a tenth of the tokens holds four fifths of the weight. Members are then trained on little else.
# Shrunk votes keep more tokens in play, and on these questions, the training ones, six rounds get more of them right.
# This is one run with one seed, enough to see what the weights do, not to choose a learning rate by.
