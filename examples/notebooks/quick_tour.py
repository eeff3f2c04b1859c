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

Weak models are boosted on questions with answers, their ensemble answers others, a student learns from these. All of
it in a few cells, offline, with decision trees that predict the next word. In their place goes any language model:
``HFCausalLM("HuggingFaceTB/SmolLM2-135M")`` has the same methods.
"""

# %%
from __future__ import annotations

import sys

sys.path.append("..")  # next_word.py lies beside this folder

from next_word import NextWordLearner, tree
from sklearn.ensemble import RandomForestClassifier
from transformers import PreTrainedModel

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
# Each names a rule and three animals; the answer puts them in order. Four options, so that a guess is right in one of
# four. Of 1,000 questions 500 come with their answers, 300 are for the student, and 200 are the test. (They are dealt
# out at random here; the gallery has a page on easy and hard ones.)

# %%
questions = make_qa(1000, difficulty=(3, 3), random_state=0)
answered, unanswered, test = questions[:500], questions[500:800], questions[800:]
answered

# %% [markdown]
# Boosting
# --------
#
# A booster is a scikit-learn estimator: ``fit``, ``predict``, ``score``, parameters that ``get_params`` lists. The tree
# knows nothing before it is trained, so its rounds are compared with a uniform guess among the words.

# %%
tokenizer = word_tokenizer([*questions.prompts, "="])
learner = tree(max_depth=12, tokenizer=tokenizer)
booster = TokenAdaBoostGenerator(learner, n_estimators=4, prior="uniform", random_state=0)
booster.fit(answered)

# %%
display = RoundsDisplay.from_estimator(booster, test, quantities=["vote", "error", "token_error"])

# %% [markdown]
# Which tokens have the rounds been about? Orange ones are heavier than at the start, blue ones lighter.

# %%
TokenWeightDisplay.from_estimator(booster, answered, rounds=[1, 3, 5])

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
isinstance(booster.mixture_, PreTrainedModel)

# %% [markdown]
# From weak to strong
# -------------------
#
# The pipeline does it all: boost on the answered questions, label the others, teach the student, and for comparison a
# baseline (taught by one weak model) and an oracle (taught by the true answers, which reach nobody else). The student
# is a forest.

# %%
student = NextWordLearner(RandomForestClassifier(20, random_state=0), tokenizer)
pipeline = W2SPipeline(booster, student)
pipeline.fit(answered, None, unanswered.drop_answers(), unanswered.answers)
report = pipeline.evaluate(test)
report

# %%
display = W2SBarDisplay.from_report(report, label="tree → forest")

# %% [markdown]
# The forest is the stronger model: taught by the true answers it is the best of all. Taught by the ensemble it is no
# better than the ensemble's first member, and PGR, the part of the gap that was recovered, is negative. It knows
# nothing but what it is told, and learns the mistakes with the rest. A pretrained language model knows more than its
# teacher before it is taught; the gallery's page on weak model, student and oracle has two small ones. (One seed and
# 200 test questions: the intervals are wide. The notebook ``research_workflow`` runs several seeds.)
