"""The weak learners that a round of token boosting may take, and what each makes of the data."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np

from ensemw2s._fingerprint import row_digests
from ensemw2s._inputs import require_answers
from ensemw2s.boosting import draw_tokens, weighted_error
from ensemw2s.datasets import QADataset
from ensemw2s.ensemble._rounds import seed_parameters
from ensemw2s.ensemble._units import BoostingUnit
from ensemw2s.exceptions import WeakLearnerError
from ensemw2s.learners import base_digest

__all__ = ["Candidates"]

logger = logging.getLogger("ensemw2s")


class Candidates:
    """The weak learners of one fit.

    Parameters
    ----------
    booster : TokenAdaBoostGenerator
        Its ``pick``, ``prior`` and ``sampling`` count.
    untrained : list of TokenLearner
        Initialised, K of them.
    units : list of BoostingUnit
        From `make_units`.

    Attributes
    ----------
    pretrained_errors : ndarray of shape (K,)
        Errors of the untrained learners under the initial weights, once `measure` has been called.
    """

    def __init__(self, booster: Any, untrained: list[Any], units: list[BoostingUnit]) -> None:
        self._booster, self._untrained, self.units = booster, untrained, units

    def errors(self) -> np.ndarray:
        """Error of each unit under each untrained learner, (K, n_units)."""
        return np.stack([unit.errors(learner) for unit, learner in zip(self.units, self._untrained, strict=True)])

    def measure(self, errors: np.ndarray, weight: np.ndarray) -> None:
        """Take what `errors` gave, now or in an earlier run, under the initial weights."""
        self._errors = np.atleast_2d(errors)
        self.pretrained_errors = np.array([weighted_error(row, weight) for row in self._errors])

    def prior(self, weight: np.ndarray) -> float:
        """The error that a round must stay below: that of the weakest of the untrained learners.

        One for all, or the vote of a member would depend on which base it comes from: the base that knows less before
        training would have more of a vote for the same error after it.
        """
        if self._booster.prior == "pretrained":
            return float(self.pretrained_errors.max())
        if self._booster.prior == "uniform":
            return max(unit.chance_error for unit in self.units)
        # Rounding can make this 0 or 1 in a late round, where the vote would be infinite.
        edge = np.finfo(np.float64).eps
        return float(np.clip(max(weighted_error(row, weight) for row in self._errors), edge, 1.0 - edge))

    def train(self, weight: np.ndarray, seed: int, t: int) -> tuple[int, Any, np.ndarray]:
        """The place of the weak learner that round `t` takes, what was trained from it, and the errors of that.

        Raises
        ------
        WeakLearnerError
            If the training diverges; of several, if all of them do.
        """
        draw: np.ndarray | None = None
        best: tuple[float, int, Any, np.ndarray] | None = None
        failures = []
        for pick in range(len(self.units)) if self._booster.pick == "best" else [t % len(self.units)]:
            unit, rng = self.units[pick], np.random.RandomState(np.random.SeedSequence([seed, t]).generate_state(4))
            learner = self._booster._base_estimator(pick)
            learner.set_params(**{name: int(rng.randint(2**31 - 1)) for name in seed_parameters(learner)})
            if draw is None:  # one for all: they are to differ in what they are
                draw = draw_tokens(weight, sampling=self._booster.sampling, random_state=rng)
            try:
                learner = learner.fit(unit.tokens, token_weight=unit.spread(draw))
                errors = unit.errors(learner)
            except WeakLearnerError as failure:
                failures.append(failure)
                continue
            error = weighted_error(errors, weight)
            if best is None or error < best[0]:
                best = error, pick, learner, errors
        if best is None:
            raise failures[0]
        for each in failures:
            logger.warning("round %d goes on without a weak learner that failed: %s", t + 1, each)
        return best[1:]

    def row_digests(self, questions: QADataset, sample_weight: Any) -> dict[str, np.ndarray]:
        """A hash for each row of what `fit` was given, and of what the tokenizers made of it."""
        columns: dict[str, Any] = {"X": questions.prompts, "y": require_answers(questions)}
        if questions.choices is not None:
            columns["choices"] = questions.choices
        if sample_weight is not None:
            columns["sample_weight"] = np.asarray(sample_weight, dtype=np.float64)
        for place, unit in enumerate(self.units):
            if not any(unit is other for other in self.units[:place]):
                name = f"tokens of estimators[{place}]" if place else "tokens"
                columns[name] = [[ids.tolist() for ids in unit.tokens.row_ids(row)] for row in range(len(unit.tokens))]
        return {name: row_digests(column) for name, column in columns.items()}

    def base_digests(self) -> Any:
        """Hash of the weights that the learner starts from; of several a list."""
        digests = [base_digest(learner) for learner in self._untrained]
        return digests[0] if len(digests) == 1 else digests
