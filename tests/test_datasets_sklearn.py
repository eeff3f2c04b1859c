"""A `QADataset` as X of scikit-learn's model selection."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.base import BaseEstimator
from sklearn.model_selection import GridSearchCV, cross_val_predict, cross_val_score, train_test_split
from sklearn.utils import resample, shuffle
from sklearn.utils._indexing import _safe_indexing

from ensemw2s.datasets import QADataset

QA = QADataset(
    [f"question {k}" for k in range(12)],
    choices=[[f"a{k}", f"b{k}", f"c{k}"] for k in range(12)],
    labels=[0, 1, 1] * 4,
)


class Picker(BaseEstimator):
    """Always picks one position; records what it was given."""

    def __init__(self, position: int = 0) -> None:
        self.position = position

    def fit(self, X, y=None):
        self.fitted_on_ = X
        return self

    def predict(self, X):
        return np.array([options[self.position] for options in X.choices])

    def score(self, X, y=None):
        return float(np.mean(self.predict(X) == np.array(X.answers)))


@pytest.mark.parametrize("rows", [[1, 3], np.array([1, 3]), np.arange(12) % 12 == 1, slice(1, 4)])
def test_safe_indexing_selects_rows(rows: object) -> None:
    assert _safe_indexing(QA, rows) == QA[rows]


@pytest.mark.parametrize("y", [None, QA.answers, QA.labels])
def test_cross_val_score_hands_datasets_to_the_estimator(y: object) -> None:
    np.testing.assert_allclose(cross_val_score(Picker(1), QA, y, cv=4), [2 / 3] * 4)


def test_cross_val_predict_puts_the_rows_back_in_order() -> None:
    assert cross_val_predict(Picker(2), QA, cv=3).tolist() == [f"c{k}" for k in range(12)]


def test_grid_search_finds_the_better_position() -> None:
    search = GridSearchCV(Picker(), {"position": [0, 1, 2]}, cv=3).fit(QA, QA.answers)
    assert search.best_params_ == {"position": 1}


def test_grid_search_refits_on_the_whole_dataset() -> None:
    search = GridSearchCV(Picker(), {"position": [0, 1]}, cv=3).fit(QA)
    assert search.best_estimator_.fitted_on_ == QA


def test_train_test_split_keeps_prompts_and_answers_together() -> None:
    train, test, y_train, y_test = train_test_split(QA, QA.answers, test_size=1 / 3, random_state=0)
    assert (len(train), len(test)) == (8, 4)
    assert train.answers == tuple(y_train)
    assert test.answers == tuple(y_test)


def test_train_test_split_can_stratify_by_label() -> None:
    _, test = train_test_split(QA, test_size=3, stratify=QA.labels, random_state=0)
    assert sorted(test.labels) == [0, 1, 1]


def test_shuffle_and_resample_give_datasets() -> None:
    assert isinstance(shuffle(QA, random_state=0), QADataset)
    assert len(resample(QA, n_samples=5, random_state=0)) == 5
