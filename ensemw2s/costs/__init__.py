"""What an experiment will cost, before it is started: operations, bytes moved, bytes held."""

from __future__ import annotations

from ensemw2s.costs._memory import resident_bytes, scoring_bytes, token_bytes, training_bytes
from ensemw2s.costs._model import ModelCost
from ensemw2s.costs._passes import Pass, branches, decoding, rows
from ensemw2s.costs._speed import measure_bandwidth, measure_flops
from ensemw2s.costs._stages import StageCost, stage_costs
from ensemw2s.costs._workload import LearnerCost, Work, Workload
