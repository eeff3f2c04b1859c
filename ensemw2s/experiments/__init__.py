"""The paper's experiments: many runs of the pipeline, their results, and what they show."""

from __future__ import annotations

from ensemw2s.experiments._ablations import ablations
from ensemw2s.experiments._grouping import Record, refuse_mixed_runs
from ensemw2s.experiments._parts import random_parts
from ensemw2s.experiments._plan import SweepPlan
from ensemw2s.experiments._record import accuracy
from ensemw2s.experiments._result import SweepResult
from ensemw2s.experiments._spec import Model, Run
from ensemw2s.experiments._sweep import plan_sweep, run_sweep
from ensemw2s.experiments._tables import PGR_REMARK, collapse_remark, difference, gap_recovered, interval_remark
