"""What each test item earns a model, whatever kind of model it is."""

from __future__ import annotations

from typing import Any

import numpy as np

from ensemw2s._validation import is_overridden
from ensemw2s.metrics._metric import Metric
from ensemw2s.metrics._ties import class_credit


def credit(model: Any, X: Any, gold: np.ndarray, metric: Metric | None = None) -> np.ndarray:
    """1 where a model answers right, 0 where it does not, 1/m where the right answer is one of m tied ones.

    Parameters
    ----------
    model : estimator
        Fitted. Its own ``credit(X, y)`` counts, if it has one and no later ``predict`` of its own; a classifier's ties
        show in its ``predict_proba``.
    X : object
        n rows.
    gold : ndarray of shape (n,)
        True answers or classes.
    metric : Metric, optional
        One that compares answers is applied to what the model predicts.

    Returns
    -------
    ndarray of shape (n,), float64
    """
    from sklearn.base import is_classifier

    if metric is not None and metric.compare is not None:
        return metric(model.predict(X), gold)
    if hasattr(model, "credit") and not is_overridden(model, "predict", since="credit"):
        return np.asarray(model.credit(X, gold), dtype=np.float64)
    said = np.asarray(model.predict(X))
    if is_classifier(model) and hasattr(model, "predict_proba") and hasattr(model, "classes_"):
        return class_credit(model.predict_proba(X), model.classes_, gold, said)
    return np.asarray(said == gold, dtype=np.float64)
