"""How hard a question is, measured by models that have not seen it."""

from __future__ import annotations

from ensemw2s.difficulty._cross_val import cross_val_difficulty
from ensemw2s.difficulty._ratings import DifficultyRatings
