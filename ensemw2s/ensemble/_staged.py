"""Predictions under several vote vectors at once: of the first 1, 2, ..., T members, or any others."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted

from ensemw2s._inputs import check_questions, require_answers
from ensemw2s._ties import option_credit, option_proba
from ensemw2s.ensemble._generator import BaseTokenGenerator, has_common_tokens
from ensemw2s.mixing import normalized_votes, staged_votes

__all__ = ["StagedTokenGenerator"]


class StagedTokenGenerator(BaseTokenGenerator):
    """A generator that shows how it became what it is, for the price of one pass per member."""

    def staged_predict(self, X: Any, choices: Sequence | None = None) -> Iterator[np.ndarray]:
        """`predict` of the first 1, 2, ..., T members.

        Parameters
        ----------
        X, choices
            As in `predict`.

        Yields
        ------
        ndarray of shape (n,), object
        """
        check_is_fitted(self, "estimators_")
        questions = check_questions(X, choices=choices)
        if questions.choices is None:
            for row in self._stages():
                yield self.with_votes(row).predict(questions)
            return
        yield from self.predict_under(self._stages(), questions)

    def predict_under(self, votes: Any, X: Any, choices: Sequence | None = None) -> list[np.ndarray]:
        """`predict` under several vote vectors; for options at the price of one pass per member.

        Parameters
        ----------
        votes : array-like of shape (S, T)
            Vote vectors; 0 leaves a member out.
        X, choices
            As in `predict`.

        Returns
        -------
        list of S ndarrays of shape (n,), object
        """
        check_is_fitted(self, "estimators_")
        questions = check_questions(X, choices=choices)
        if questions.choices is None:
            normalized_votes(votes, len(self.estimators_))
            return [self.with_votes(row).predict(questions) for row in np.atleast_2d(votes)]
        return [self._chosen(nll, questions) for nll in self._option_nll(questions, votes)]

    def judge_under(
        self, votes: Any, X: Any, y: Any = None, choices: Sequence | None = None
    ) -> tuple[list[np.ndarray], np.ndarray]:
        """`predict_under` and what the answers earn, see `credit`; for options at the price of one pass per member.

        Parameters
        ----------
        votes : array-like of shape (S, T)
            Vote vectors; 0 leaves a member out.
        X, y, choices
            As in `credit`.

        Returns
        -------
        predicted : list of S ndarrays of shape (n,), object
        credit : ndarray of shape (S, n)
        """
        check_is_fitted(self, "estimators_")
        questions = check_questions(X, y, choices)
        answers = np.asarray(require_answers(questions), dtype=object)
        if questions.choices is None:
            written = self.predict_under(votes, questions)
            return written, np.array([np.equal(row, answers) for row in written], dtype=np.float64)
        nll = self._option_nll(questions, votes)
        predicted = [self._chosen(stage, questions) for stage in nll]
        return predicted, option_credit(nll, questions.labels, questions.n_choices)

    def staged_predict_proba(self, X: Any, choices: Sequence | None = None) -> Iterator[np.ndarray]:
        """`predict_proba` of the first 1, 2, ..., T members.

        Parameters
        ----------
        X, choices
            As in `predict_proba`.

        Yields
        ------
        ndarray of shape (n, K)
        """
        check_is_fitted(self, "estimators_")
        questions = check_questions(X, choices=choices)
        for nll in self._option_nll(questions, self._stages()):
            yield option_proba(nll, questions.n_choices)

    def staged_score(
        self, X: Any, y: Any = None, sample_weight: Any = None, *, choices: Sequence | None = None
    ) -> Iterator[float]:
        """`score` of the first 1, 2, ..., T members.

        Parameters
        ----------
        X, y, sample_weight, choices
            As in `score`.

        Yields
        ------
        float in [0, 1]
        """
        check_is_fitted(self, "estimators_")
        yield from self._scores(X, y, sample_weight, choices, self._stages())

    @available_if(has_common_tokens)
    def token_error_under(self, votes: Any, X: Any, y: Any = None) -> np.ndarray:
        """`token_error` under several vote vectors, for the price of one pass per member.

        Parameters
        ----------
        votes : array-like of shape (S, T)
            Vote vectors; 0 leaves a member out.
        X, y
            As in `token_error`.

        Returns
        -------
        ndarray of shape (S,)
        """
        return self._token_errors(check_questions(X, y), votes).mean(axis=1)

    @available_if(has_common_tokens)
    def staged_token_error(self, X: Any, y: Any = None) -> Iterator[float]:
        """`token_error` of the first 1, 2, ..., T members.

        Parameters
        ----------
        X, y
            As in `token_error`.

        Yields
        ------
        float in [0, 1]
        """
        check_is_fitted(self, "estimators_")
        yield from self.token_error_under(self._stages(), X, y).tolist()

    def _stages(self) -> np.ndarray:
        return staged_votes(self.estimator_weights_)
