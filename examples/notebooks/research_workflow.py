# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
"""
Research workflow
=================

A question, a plan, a sweep over seeds that can be interrupted, figures, and an answer with its interval. The models are
decision trees that predict the next word, so that it takes seconds; with model ids in their place the cells stay the
same.
"""

# %%
from __future__ import annotations

import sys
import tempfile

sys.path.append("..")  # next_word.py lies beside this folder

from next_word import tree

from ensemw2s import RoundsDisplay, SweepResult, W2SBarDisplay, make_qa, plan_sweep, run_sweep, word_tokenizer

# %% [markdown]
# The question
# ------------
#
# Does a student of a boosted ensemble do better than the student of one weak model? And is it the boosting, or would
# any ensemble of the same size do? The second needs a control: bagging, the same members without reweighting.

# %%
questions = make_qa(600, difficulty=(3, 4), random_state=0)
tokenizer = word_tokenizer([*questions.prompts, "="])
pair = (
    ("small tree", tree(max_depth=8, tokenizer=tokenizer)),
    ("full tree", tree(max_depth=None, tokenizer=tokenizer)),
)
settings = {
    "dataset": questions,
    "sizes": (200, 200, 200),  # train-weak, train-strong, test
    "splits": ["random"],
    "seeds": 3,
    "n_estimators": 3,
    "booster_params": {"prior": "uniform"},
    "variants": {"boosting": {}, "bagging": {"reweight": False}},
}

# %% [markdown]
# The plan
# --------
#
# Nothing is trained yet. What is wrong with the arguments is said here, and not after an hour.

# %%
plan = plan_sweep([pair], **settings)
for unit in plan.units:
    print(unit.name)

# %% [markdown]
# The sweep
# ---------
#
# Every weak ensemble and every student is committed to the folder when it is there. After a crash, or with more seeds,
# the same call computes what is missing. ``n_jobs=`` runs units side by side.

# %%
folder = tempfile.mkdtemp()
result = run_sweep([pair], out_dir=folder, **settings)
result.frame.head()

# %% [markdown]
# The folder is all that is needed to go on another day.

# %%
result = SweepResult.load(folder)
print(len(result), "units")

# %% [markdown]
# Figures
# -------
#
# Bars are means over three seeds with their standard errors. Look at them before the table: a seed that went wrong
# shows.

# %%
display = W2SBarDisplay.from_frame(result.frame, variant="boosting")

# %%
display = RoundsDisplay.from_frame(result.rounds, quantities=["error", "token_error", "accuracy"])

# %% [markdown]
# The answer
# ----------
#
# Differences are paired, and their intervals are over seeds. An interval that holds 0 is no answer, however pleasant
# its middle. PGR is left out where the gap between oracle and weak model is inside its own interval.

# %%
columns = ["student_minus_baseline", "low", "high", "pgr", "n_seeds", "n_test"]
result.comparison()[columns].droplevel(["weak", "strong", "split"]).round(3)

# %% [markdown]
# So the answer is that this sweep cannot tell. The weak trees have seen 200 questions and are hardly better than a
# guess; a student can learn nothing from them that three seeds would show. The next sweep needs more questions, not
# another test. The whole table, ready for a draft:

# %%
print(result.to_markdown())
