"""Train-weak, train-strong and test parts that share no question."""

from __future__ import annotations

from ensemw2s.splits._near_duplicates import NEAR_DUPLICATES, fingerprints, question_groups
from ensemw2s.splits._splitters import EasyHardSplit, RandomSplit
