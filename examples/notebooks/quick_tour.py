# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
"""
Quick tour
==========

Weak models are boosted on easy questions, their ensemble answers hard ones, a student learns from the answers. All of
it in a few cells, offline, with decision trees that predict the next word. In their place goes any language model:
``HFCausalLM("HuggingFaceTB/SmolLM2-135M")`` has the same methods.
"""

# %%
from __future__ import annotations

import sys

sys.path.append("..")  # next_word.py lies beside this folder

from next_word import tree

from ensemw2s import (
    RoundsDisplay,
    TokenAdaBoostGenerator,
    TokenWeightDisplay,
    W2SBarDisplay,
    W2SPipeline,
    make_qa,
    word_tokenizer,
)

# %% [markdown]
# Questions
# ---------
#
# Each names a rule and some animals; the answer puts them in order. Four options, so that a guess is right in one of
# four. Easy questions have three animals, hard ones four.

# %%
easy = make_qa(300, difficulty=(3, 3), random_state=0)
hard_and_test = make_qa(400, difficulty=(4, 4), random_state=1)
hard, test = hard_and_test[:200], hard_and_test[200:]
easy

# %% [markdown]
# Boosting
# --------
#
# A booster is a scikit-learn estimator: ``fit``, ``predict``, ``score``, parameters that ``get_params`` lists. The tree
# knows nothing before it is trained, so its rounds are compared with a uniform guess among the words.

# %%
tokenizer = word_tokenizer([*easy.prompts, *hard_and_test.prompts, "="])
learner = tree(max_depth=8, tokenizer=tokenizer)
booster = TokenAdaBoostGenerator(learner, n_estimators=4, prior="uniform", random_state=0)
booster.fit(easy)

# %%
display = RoundsDisplay.from_estimator(booster, test, quantities=["vote", "error", "token_error"])

# %% [markdown]
# Which tokens have the rounds been about? Orange ones are heavier than at the start, blue ones lighter.

# %%
TokenWeightDisplay.from_estimator(booster, easy, rows=[0, 1], rounds=[1, 3, 5])

# %% [markdown]
# The ensemble writes, chooses and scores
# ---------------------------------------

# %%
for prompt, written, right in zip(test.prompts, booster.generate(test.prompts[:3]), test.answers, strict=False):
    print(f"{prompt}\n  written: {written}\n  right:   {right}")
print(f"accuracy among the options: {booster.score(test):.3f} (a guess: {1 / 4:.3f})")

# %% [markdown]
# It is a Hugging Face model as well: ``booster.mixture_`` generates, streams and goes into a pipeline.

# %%
type(booster.mixture_).__mro__[1:3]

# %% [markdown]
# From weak to strong
# -------------------
#
# The pipeline does it all: boost on easy questions, label hard ones, teach the student, and for comparison a baseline
# (taught by one weak model) and an oracle (taught by the true answers, which reach nobody else). The student is a tree
# of any depth.

# %%
pipeline = W2SPipeline(booster, tree(max_depth=None, tokenizer=tokenizer))
pipeline.fit(easy, None, hard.drop_answers(), hard.answers)
report = pipeline.evaluate(test)
report

# %%
display = W2SBarDisplay.from_report(report, label="small tree → full tree")

# %% [markdown]
# 200 test questions and one seed: the intervals are wide, and the report says whether there is a gap to recover at all.
# Trees are no language models. The notebook ``research_workflow`` runs several seeds, and the results page says what
# came out with language models.
