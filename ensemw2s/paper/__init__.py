"""The paper's tables and figures, from sweeps over models of your own."""

from __future__ import annotations

from ensemw2s.paper._experiments import FIGURES, TABLES, figure, preset, table
from ensemw2s.paper._selection import at_round
from ensemw2s.paper._tables import PaperTable

__all__ = ["FIGURES", "TABLES", "PaperTable", "at_round", "figure", "preset", "table"]
