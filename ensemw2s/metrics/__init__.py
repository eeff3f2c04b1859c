"""What answers are worth: errors, accuracies, texts, numbers, samples, ties, PGR, intervals, diversity."""

from __future__ import annotations

from ensemw2s.metrics._accuracy import chance_level, option_accuracy, token_error
from ensemw2s.metrics._calibration import (
    brier_scores,
    expected_calibration_error,
    resampled_interval,
)
from ensemw2s.metrics._credit import credit
from ensemw2s.metrics._diversity import (
    error_correlation,
    margins,
    mean_over_pairs,
    number_answers,
    pairwise_disagreement,
    q_statistic,
    staged_margins,
)
from ensemw2s.metrics._extract import Extract, as_extract
from ensemw2s.metrics._intervals import bootstrap_interval, interval_over_seeds, paired_bootstrap_interval
from ensemw2s.metrics._metric import ACCURACY, Metric, MetricLike, as_metric
from ensemw2s.metrics._numbers import number_match
from ensemw2s.metrics._pgr import gap_over_seeds, performance_gap_recovered, recovered_gap
from ensemw2s.metrics._samples import majority_at_k, pass_at_k
from ensemw2s.metrics._texts import exact_match, token_f1
from ensemw2s.metrics._ties import (
    TOLERANCE,
    class_credit,
    draw_option,
    likeliest_texts,
    option_credit,
    option_log_proba,
    option_proba,
    text_hash,
    tied_best,
)
