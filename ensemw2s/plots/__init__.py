"""Displays: what an experiment found, drawn with matplotlib in scikit-learn's manner."""

from __future__ import annotations

from ensemw2s.plots.bars import W2SBarDisplay
from ensemw2s.plots.difficulty import DifficultyDisplay
from ensemw2s.plots.error_correlation import ErrorCorrelationDisplay
from ensemw2s.plots.margins import MarginDisplay
from ensemw2s.plots.pgr import PGRDisplay
from ensemw2s.plots.rounds import RoundsDisplay
from ensemw2s.plots.token_weights import TokenWeightDisplay
