"""Estimators of one's own that can be saved and loaded."""

from __future__ import annotations

from ensemw2s.storage._state import Checkpointed


class PretrainedMixin(Checkpointed):
    """Lets an estimator of one's own be saved, by itself, in an ensemble, in a `W2SPipeline` or in a checkpoint.

    Derive from it and from scikit-learn's ``BaseEstimator``. What is written are the constructor's parameters and the
    attributes that `fit` has set: numbers, texts, arrays, containers of these, tokenizers, and estimators that can be
    saved themselves. A class with other attributes says how they are written: it overrides ``_saved_state()``, which
    returns a dict of values of these kinds, and ``_restore_state(state)``, which takes it back.

    A class is found again by its module and name, and nothing is imported while a folder is read: import or define it
    before ``from_pretrained``.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> from sklearn.base import BaseEstimator, ClassifierMixin
    >>> from ensemw2s import PretrainedMixin
    >>> class Majority(PretrainedMixin, ClassifierMixin, BaseEstimator):
    ...     def __init__(self, *, tie=0):
    ...         self.tie = tie
    ...     def fit(self, X, y):
    ...         self.classes_, counts = np.unique(y, return_counts=True)
    ...         self.usual_ = self.classes_[counts.argmax()]
    ...         return self
    ...     def predict(self, X):
    ...         return np.full(len(X), self.usual_)
    >>> model = Majority().fit([[0], [1], [2]], ["no", "yes", "yes"])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     model.save_pretrained(f"{folder}/majority")
    ...     Majority.from_pretrained(f"{folder}/majority").predict([[3]])
    array(['yes'], dtype='<U3')
    """
