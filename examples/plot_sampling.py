"""
What the sampling modes do
==========================

A round trains its learner on answer tokens that were drawn by their weights. ``sampling=`` says what the learner gets
to see of the draw: ``"binary"`` (the paper's, which tokens were drawn at all), ``"count"`` (how often each was drawn),
or ``"weight"`` (no draw: the weights themselves).
"""

# %%
# The draw alone
# --------------
#
# 2,000 tokens with made-up weights, most of them light, some heavy.
# :func:`~ensemw2s.draw_tokens` returns the weight that each token has in training.

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from next_word import tree

from ensemw2s import RoundsDisplay, TokenAdaBoostGenerator, draw_tokens, make_qa, word_tokenizer

rng = np.random.default_rng(0)
weight = rng.lognormal(sigma=0.8, size=2000)
weight /= weight.sum()
n_times = weight * len(weight)  # in units of 1/n

figure, axes = plt.subplots(1, 3, figsize=(10, 3.4), sharex=True, sharey=True, layout="constrained")
grid = np.linspace(0, n_times.max(), 200)
for panel, sampling in zip(axes, ("binary", "count", "weight"), strict=True):
    drawn = draw_tokens(weight, sampling=sampling, random_state=0)
    panel.plot(n_times, drawn, ".", color="0.6", markersize=4, label="one draw")
    expected = 1 - np.exp(-grid) if sampling == "binary" else grid  # (1 - D)^n is close to exp(-nD)
    panel.plot(grid, expected, color="#0072B2", label="mean over draws")
    panel.set(title=f'sampling="{sampling}"', xlabel="weight $D$, in units of 1/n")
    kept = np.count_nonzero(drawn) / len(drawn)
    panel.text(0.03, 0.75, f"{kept:.0%} of the tokens\nare seen", transform=panel.transAxes, va="top")
axes[0].set_ylabel("weight in training")
axes[0].legend(loc="upper left")
plt.show()

# %%
# With ``"binary"`` a token counts once, however heavy it is: the heavy ones are seen more surely, not more strongly.
# ``"count"`` keeps how often a token was drawn, and has the weights as its mean. ``"weight"`` is that mean without the
# noise of the draw; every token is seen in every round.
#
# In boosting
# -----------
#
# Three seeds of each mode, which draw the questions and the rounds. Bars are standard errors over seeds.


learner = tree(max_depth=8, tokenizer=word_tokenizer([*make_qa(900, random_state=0).prompts, "="]))


def rounds_of(sampling: str, seed: int) -> pd.DataFrame:
    """One row per round of a booster."""
    questions = make_qa(900, difficulty=(3, 5), random_state=seed)
    train, test = questions[:600], questions[600:]
    booster = TokenAdaBoostGenerator(
        learner, n_estimators=6, prior="uniform", sampling=sampling, random_state=seed
    ).fit(train)
    columns = {
        "vote": booster.estimator_weights_,
        "error": booster.estimator_errors_,
        "token_error": list(booster.staged_token_error(test)),
    }
    return pd.DataFrame(
        {"sampling": sampling, "seed": seed, "round": range(1, len(booster.estimators_) + 1), **columns}
    )


frame = pd.concat(rounds_of(sampling, seed) for sampling in ("binary", "count", "weight") for seed in range(3))
RoundsDisplay.from_frame(frame, by="sampling", quantities=["error", "token_error"])
plt.show()

last = frame[frame["round"] == 6].groupby("sampling")["token_error"]
print(last.agg(["mean", "sem"]).round(3).to_string())

# %%
# Trees trained on all tokens by their weights do best here: nothing is lost to the draw. The default stays the
# paper's. In the ablations of the results, with small language models in the place of trees, ``"weight"`` was the best
# as well; a trained language model sees all answers in every epoch then, so that its rounds also take longer.
