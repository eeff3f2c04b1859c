"""The paper's experiments: many runs of the pipeline, their results, and what they show."""

from __future__ import annotations

from ensemw2s.experiments._ablations import ablations
from ensemw2s.experiments._plan import SweepPlan
from ensemw2s.experiments._result import SweepResult
from ensemw2s.experiments._sweep import plan_sweep, run_sweep

__all__ = ["SweepPlan", "SweepResult", "ablations", "plan_sweep", "run_sweep"]
