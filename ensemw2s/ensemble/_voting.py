"""What every fitted ensemble of classifiers can do: vote, and be scored."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Any

import numpy as np
from sklearn.base import ClassifierMixin
from sklearn.metrics import accuracy_score
from sklearn.utils import get_tags
from sklearn.utils.validation import _num_samples, check_is_fitted

from ensemw2s._inputs.classifier_rows import check_rows, input_tags
from ensemw2s._inputs.usable_rows import LengthCheck, LengthLimited
from ensemw2s._validation import as_id, check_option
from ensemw2s._validation.class_labels import label_check, label_column
from ensemw2s._validation.method_names import methods_of
from ensemw2s.ensemble._ensemble import BaseEnsemble
from ensemw2s.ensemble._votes import VOTINGS, Voting, running_mean
from ensemw2s.metrics import class_credit
from ensemw2s.mixture import normalized_votes


@methods_of("LLMAdaBoostClassifier")
class BaseVotingClassifier(ClassifierMixin, BaseEnsemble):
    """Prediction half of a classifier ensemble; `fit` sets ``estimators_``, ``estimator_weights_``, ``classes_``.

    Subclasses have the parameters ``estimator`` and ``voting``.
    """

    estimator: Any
    voting: str
    classes_: np.ndarray

    @property
    def n_classes_(self) -> int:
        """Number of classes."""
        check_is_fitted(self, "estimators_")
        return len(self.classes_)

    @property
    def feature_importances_(self) -> np.ndarray:
        """Importances of the features, averaged over the members under their votes; where the members have them.

        Returns
        -------
        ndarray of shape (n_features,)

        Raises
        ------
        AttributeError
            If a member has none.
        """
        check_is_fitted(self, "estimators_")
        for place, member in enumerate(self.estimators_):
            if not hasattr(member, "feature_importances_"):
                raise AttributeError(
                    f"feature_importances_ is there where the members have it. Member {place}, a "
                    f"{type(member).__name__}, has none."
                )
        importances = [member.feature_importances_ for member in self.estimators_]
        return np.average(importances, axis=0, weights=self.estimator_weights_)

    def predict(self, X: Any) -> np.ndarray:
        """Class with the largest share of the votes; of a tie, the first.

        Parameters
        ----------
        X : sequence of str, array-like or sparse matrix, n rows
            What the weak learner reads.

        Returns
        -------
        ndarray of shape (n,)
        """
        return self._labels(self._mean(X))

    def predict_proba(self, X: Any) -> np.ndarray:
        """Probability of each class.

        With ``voting="hard"`` the softmax of SAMME's scores over K - 1, as in scikit-learn: it grows with a class's
        share of the votes, but even a unanimous vote of two classes gives no more than 1 / (1 + exp(-2)) = 0.88. With
        ``voting="soft"`` the members' probabilities, averaged under their votes.

        Parameters
        ----------
        X : sequence of str, array-like or sparse matrix, n rows
            What the weak learner reads.

        Returns
        -------
        ndarray of shape (n, K)
            Columns as in ``classes_``.
        """
        return self._proba(self._mean(X))

    def predict_log_proba(self, X: Any) -> np.ndarray:
        """Logarithm of `predict_proba`.

        Parameters
        ----------
        X : sequence of str, array-like or sparse matrix, n rows
            What the weak learner reads.

        Returns
        -------
        ndarray of shape (n, K)
        """
        with np.errstate(divide="ignore"):  # a class that no member has seen has probability 0
            log_proba: np.ndarray = np.log(self.predict_proba(X))
        return log_proba

    def decision_function(self, X: Any) -> np.ndarray:
        r"""SAMME's scores, :math:`\sum_t \bar\alpha_t (p_{tk} - (1 - p_{tk}) / (K - 1))`.

        :math:`p_{tk}` is 0 or 1 with ``voting="hard"``, which makes it scikit-learn's decision function.

        Parameters
        ----------
        X : sequence of str, array-like or sparse matrix, n rows
            What the weak learner reads.

        Returns
        -------
        ndarray of shape (n,) for two classes, else (n, K)
            For two classes the difference of their scores, in [-2, 2], positive for ``classes_[1]``.
        """
        return self._decision(self._mean(X))

    def staged_predict(self, X: Any) -> Iterator[np.ndarray]:
        """`predict` of the first 1, 2, ..., T members.

        Parameters
        ----------
        X : sequence of str, array-like or sparse matrix, n rows
            What the weak learner reads.

        Yields
        ------
        ndarray of shape (n,)
        """
        return map(self._labels, self._staged_mean(X))

    def staged_predict_proba(self, X: Any) -> Iterator[np.ndarray]:
        """`predict_proba` of the first 1, 2, ..., T members.

        Parameters
        ----------
        X : sequence of str, array-like or sparse matrix, n rows
            What the weak learner reads.

        Yields
        ------
        ndarray of shape (n, K)
        """
        return map(self._proba, self._staged_mean(X))

    def staged_decision_function(self, X: Any) -> Iterator[np.ndarray]:
        """`decision_function` of the first 1, 2, ..., T members.

        Parameters
        ----------
        X : sequence of str, array-like or sparse matrix, n rows
            What the weak learner reads.

        Yields
        ------
        ndarray of shape (n,) for two classes, else (n, K)
        """
        return map(self._decision, self._staged_mean(X))

    def staged_score(self, X: Any, y: Any, sample_weight: Any = None) -> Iterator[float]:
        """Accuracy of the first 1, 2, ..., T members.

        Parameters
        ----------
        X : sequence of str, array-like or sparse matrix, n rows
            What the weak learner reads.
        y : array-like of shape (n,)
            True classes.
        sample_weight : array-like of shape (n,), optional
            Weights of the rows.

        Yields
        ------
        float in [0, 1]
        """
        y = label_column(y)
        label_check(y)(np.arange(_num_samples(y)))
        return (float(accuracy_score(y, labels, sample_weight=sample_weight)) for labels in self.staged_predict(X))

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Accuracy of `predict`, as in scikit-learn; `credit` counts a tie of m classes as 1/m.

        Parameters
        ----------
        X : sequence of str, array-like or sparse matrix, n rows
            What the weak learner reads.
        y : array-like of shape (n,)
            True classes; one that `fit` has not seen counts as missed.
        sample_weight : array-like of shape (n,), optional
            Weights of the rows.

        Returns
        -------
        float in [0, 1]
        """
        y = label_column(y)
        label_check(y)(np.arange(_num_samples(y)))
        return float(super().score(X, y, sample_weight))

    def credit(self, X: Any, y: Any) -> np.ndarray:
        """What each row earns: 1 for the true class, 0 for another, 1/m where the true one is one of m tied.

        Parameters
        ----------
        X : sequence of str, array-like or sparse matrix, n rows
            What the weak learner reads.
        y : array-like of shape (n,)
            True classes; one that `fit` has not seen counts as missed.

        Returns
        -------
        ndarray of shape (n,)
            Its mean is the accuracy that drawing among tied classes would have.
        """
        return class_credit(self._mean(X), self.classes_, y)

    def _length_check(self) -> LengthCheck:
        """What raises a ValueError where a text does not fit into the model, by texts and their numbers.

        It is that of the fitted members, or of the model that `fit` would train; other learners take all texts.
        """
        learner = self.estimators_[0] if hasattr(self, "estimators_") else self._weak_learner()
        return learner._length_check() if isinstance(learner, LengthLimited) else lambda texts, numbers: None

    def predict_under(self, votes: Any, X: Any) -> list[np.ndarray]:
        """`predict` under several vote vectors, for the price of one pass per member.

        Parameters
        ----------
        votes : array-like of shape (S, T)
            Vote vectors; 0 leaves a member out.
        X : sequence of str, array-like or sparse matrix, n rows
            What the weak learner reads.

        Returns
        -------
        list of S ndarrays of shape (n,)
        """
        return [self._labels(mean) for mean in self._means_under(votes, X)]

    def member_predictions(self, X: Any) -> np.ndarray:
        """`predict` of each member alone: where they agree, and what another vote could gain.

        Parameters
        ----------
        X : sequence of str, array-like or sparse matrix, n rows
            What the weak learner reads.

        Returns
        -------
        ndarray of shape (T, n)
            One row of classes per member, as `error_correlation` and `MarginDisplay` take them.
        """
        check_is_fitted(self, "estimators_")
        return np.stack(self.predict_under(np.eye(len(self.estimators_)), X))

    def judge_under(self, votes: Any, X: Any, y: Any) -> tuple[list[np.ndarray], np.ndarray]:
        """`predict_under` and what the classes earn, see `credit`, for the price of one pass per member.

        Parameters
        ----------
        votes : array-like of shape (S, T)
            Vote vectors; 0 leaves a member out.
        X, y
            As in `credit`.

        Returns
        -------
        predicted : list of S ndarrays of shape (n,)
        credit : ndarray of shape (S, n)
        """
        means = self._means_under(votes, X)
        return [self._labels(mean) for mean in means], class_credit(np.stack(means), self.classes_, y)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        learner = self._weak_learner()
        tags.input_tags = input_tags(learner)
        # Rows are drawn and weighted one by one; a kernel matrix would have to be drawn on both sides.
        tags.input_tags.pairwise = False
        tags.classifier_tags = get_tags(learner).classifier_tags or tags.classifier_tags
        tags.classifier_tags.multi_label = False
        return tags

    def _weak_learner(self) -> Any:
        """The weak learner, not cloned; a model id becomes an `HFClassifier`."""
        if isinstance(as_id(self.estimator), str):
            from ensemw2s.learners import HFClassifier

            return HFClassifier(self.estimator)
        return self.estimator

    @property
    def _rule(self) -> Voting:
        return VOTINGS[check_option(self.voting, "voting", VOTINGS)]

    def _opinions(self, X: Any) -> Iterator[np.ndarray]:
        rows, rule = check_rows(self, self._weak_learner(), X), self._rule
        return (rule.opinion(member, rows, self.classes_) for member in self.estimators_)

    def _staged_mean(self, X: Any) -> Iterator[np.ndarray]:
        check_is_fitted(self, "estimators_")
        return running_mean(self._opinions(X), self.estimator_weights_)

    def _mean(self, X: Any) -> np.ndarray:
        return _last(self._staged_mean(X))

    def _means_under(self, votes: Any, X: Any) -> list[np.ndarray]:
        check_is_fitted(self, "estimators_")
        normalized_votes(votes, len(self.estimators_))
        opinions = np.stack(list(self._opinions(X)))  # (T, n, K)
        means = []
        for row in np.atleast_2d(np.asarray(votes, dtype=np.float64)):
            voting = row > 0
            means.append(_last(running_mean(opinions[voting], row[voting])))
        return means

    def _labels(self, mean: np.ndarray) -> np.ndarray:
        labels: np.ndarray = self.classes_[mean.argmax(axis=1)]
        return labels

    def _proba(self, mean: np.ndarray) -> np.ndarray:
        return self._rule.proba(mean)

    def _decision(self, mean: np.ndarray) -> np.ndarray:
        scores = self._rule.scores(mean)
        return scores[:, 1] - scores[:, 0] if scores.shape[1] == 2 else scores


def _last(means: Iterator[np.ndarray]) -> np.ndarray:
    return deque(means, maxlen=1)[0]
