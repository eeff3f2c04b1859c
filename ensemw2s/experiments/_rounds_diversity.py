"""How diverse the first members of an ensemble are, and how surely they vote, round by round."""

from __future__ import annotations

from typing import Any

import numpy as np

from ensemw2s.diversity import error_correlation, pairwise_disagreement, q_statistic, staged_margins

__all__ = ["diversity_by_round"]

_LOW = 10  # percentile: the margins of the hard tail, which boosting is meant to raise


def diversity_by_round(record: dict[str, Any]) -> list[dict[str, float]]:
    """For the first 1, 2, ..., T members of a unit's ensemble.

    Parameters
    ----------
    record : dict
        A unit's result; ``members`` holds answers as numbers, 0 the right one.

    Returns
    -------
    list of T dict
        "margin" and "margin_low", mean and tenth percentile over test items; "disagreement", "error_correlation" and
        "q_statistic", means over pairs of members, nan for one member or where no pair has a value.
    """
    members = np.array(record["members"])
    gold = np.zeros(members.shape[1], dtype=members.dtype)
    votes = np.ones(len(members)) if record["readout"]["votes"] == "uniform" else np.array(record["votes"])
    matrices = {
        "disagreement": pairwise_disagreement(members),
        "error_correlation": error_correlation(members, gold),
        "q_statistic": q_statistic(members, gold),
    }
    rounds = []
    for t, margin in enumerate(staged_margins(members, gold, votes), start=1):
        means = {name: _mean_over_pairs(matrix[:t, :t]) for name, matrix in matrices.items()}
        rounds.append({"margin": float(margin.mean()), "margin_low": float(np.percentile(margin, _LOW)), **means})
    return rounds


def _mean_over_pairs(matrix: np.ndarray) -> float:
    pairs = matrix[np.triu_indices(len(matrix), k=1)]
    known = pairs[~np.isnan(pairs)]
    return float(known.mean()) if len(known) else float("nan")
