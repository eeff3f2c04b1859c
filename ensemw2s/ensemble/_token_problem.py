"""What token boosting boosts: answer tokens, or larger units of them, under one or several language models."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, cast

import numpy as np
from scipy.special import log_softmax
from sklearn.base import clone

from ensemw2s._inputs.questions import require_answers
from ensemw2s._inputs.usable_rows import UsableRows
from ensemw2s._validation import CheckedTexts
from ensemw2s.boosting import draw_tokens, weighted_error
from ensemw2s.contracts import TokenLearner, WeakLearner, eval_batch_size
from ensemw2s.ensemble._boosting_loop import Trained
from ensemw2s.ensemble._checkpoint import Checkpoint
from ensemw2s.ensemble._held_out import Rows
from ensemw2s.ensemble._pool_weights import fit_shares
from ensemw2s.ensemble._settings import given_eval_set, set_seeds
from ensemw2s.ensemble._units import BoostingUnit
from ensemw2s.ensemble._weak_learners import as_token_learner
from ensemw2s.exceptions import WeakLearnerError
from ensemw2s.learners import base_digest
from ensemw2s.mixture import score_answers
from ensemw2s.storage import row_digests
from ensemw2s.tokens import TokenDataset

logger = logging.getLogger("ensemw2s")


class TokenProblem:
    """The weak learners of one fit, and what each makes of the data, see `BoostingProblem`.

    Parameters
    ----------
    booster : TokenAdaBoostGenerator
        Its weak learners count, and the parameters ``pick``, ``prior`` and ``sampling``.
    untrained : list of TokenLearner
        Initialised, K of them.
    units : list of BoostingUnit
        From `make_units`.
    usable : UsableRows
        The questions with their answers.
    sample_weight : array-like of shape (n,), optional
        Weights of the usable rows, as they were given.
    rows : Rows
        What is held out.
    eval_set : object, optional
        What each learner evaluates on while it trains.

    Attributes
    ----------
    units : list of BoostingUnit
        One for each weak learner; once it has been started, of what is trained on.
    held_out_rows : ndarray of int
        Numbers of the held-out rows in what `fit` was given, likewise.
    untrained_errors : ndarray of shape (K, n_units)
        Error of each unit under each untrained learner, once it has been started.
    pretrained_errors : ndarray of shape (K,)
        Errors of the untrained learners under the initial weights, likewise.
    """

    first_perfect_vote = None
    # A learner that repeats the last round's mistakes has e = p exactly, up to rounding: it has no vote.
    tolerance = 1e-12
    rng = None

    def __init__(
        self,
        booster: Any,
        untrained: list[WeakLearner],
        units: list[BoostingUnit],
        usable: UsableRows,
        sample_weight: Any,
        rows: Rows,
        eval_set: Any = None,
    ) -> None:
        self._evaluation = given_eval_set(eval_set)
        self._booster, self._untrained, self.units, self._all_units = booster, untrained, units, units
        self._usable, self._sample_weight, self._rows = usable, sample_weight, rows

    @property
    def n_units(self) -> int:
        return self.units[0].n_units

    def learners(self) -> list[WeakLearner]:
        return list(self._booster._base_estimators())

    def start(self, random_state: np.random.RandomState, checkpoint: Checkpoint, weight: np.ndarray) -> np.ndarray:
        self._seed = int(random_state.randint(2**31 - 1))
        self._held_out = self._rows.part(random_state)
        self.held_out_rows = self._usable.kept[self._held_out.judges]
        if len(self._held_out.trained) < len(self._usable.X):
            self.units = _each_once(self._all_units, lambda unit: unit.take(self._held_out.trained))
            weight = weight[self._all_units[0].places(self._held_out.trained)]
            weight = weight / weight.sum()
        self.untrained_errors = np.atleast_2d(checkpoint.once("untrained_errors", self._untrained_errors))
        self.pretrained_errors = np.array([weighted_error(row, weight) for row in self.untrained_errors])
        if self._booster.reweight and PRIORS[self._booster.prior].is_measured:
            self._check_prior(float(self.pretrained_errors.max()))
        return weight

    def weight_of_round(self, weight: np.ndarray) -> np.ndarray:
        return weight

    def prior(self, weight: np.ndarray) -> float:
        # That of the weakest of the untrained learners. One for all, or the vote of a member would depend on which base
        # it comes from: the base that knows less before training would have more of a vote for the same error after it.
        return PRIORS[self._booster.prior].error(self, weight)

    def train(self, weight: np.ndarray, t: int) -> Trained:
        draw: np.ndarray | None = None
        best: tuple[float, Trained] | None = None
        failures = []
        for pick in PICKS[self._booster.pick](t, len(self.units)):
            # A round depends on the seed and its number alone: those before it may have been read from a checkpoint.
            rng = np.random.RandomState(np.random.SeedSequence([self._seed, t]).generate_state(4))
            unit, learner = self.units[pick], as_token_learner(self._booster._given()[pick])
            set_seeds(learner, rng)
            if draw is None:  # one for all: they are to differ in what they are
                draw = draw_tokens(weight, sampling=self._booster.sampling, random_state=rng)
            try:
                learner = unit.fit(learner, draw, **self._evaluation)
                trained = self._judged(learner, draw, pick)
            except WeakLearnerError as failure:
                failures.append(failure)
                continue
            error = weighted_error(trained.errors, weight)
            if best is None or error < best[0]:
                best = error, trained
        if best is None:  # of several, all have diverged
            raise failures[0]
        for each in failures:
            logger.warning("round %d goes on without a weak learner that failed: %s", t + 1, each)
        return best[1]

    def _judged(self, learner: WeakLearner, draw: np.ndarray, pick: int) -> Trained:
        """A trained learner with its errors and its opinion on held-out rows, by learners that have not seen them."""
        unit, folds = self.units[pick], self._held_out.folds
        if not folds:
            opinion = self._opinion(learner, self._held_out.judges) if self._rows.fits_votes else None
            return Trained(learner, unit.errors(learner), pick, opinion=opinion)
        errors = np.empty(unit.n_units) if self._rows.fits_errors else unit.errors(learner)
        opinions: list[np.ndarray] = []
        every = np.arange(len(self._held_out.trained))
        for number, fold in enumerate(folds, start=1):
            others = np.setdiff1d(every, fold)
            drawn = draw[unit.places(others)]
            if not drawn.any():
                raise WeakLearnerError(
                    f"Of what was drawn nothing is left outside of fold {number} of {len(folds)}: a few questions have "
                    f"all of the weight."
                )
            # Of the same seed as the member; it is dropped when it has judged what it has not seen.
            other = unit.take(others).fit(clone(learner), drawn, **self._evaluation)
            if self._rows.fits_errors:
                errors[unit.places(fold)] = unit.take(fold).errors(other)
            if self._rows.fits_votes:
                opinions.append(self._opinion(other, fold))
        if not opinions:
            return Trained(learner, errors, pick)
        # Folds hold the rows in another order than `fit` was given them.
        order = np.argsort(np.concatenate([self._opinion_places(fold) for fold in folds]))
        return Trained(learner, errors, pick, opinion=np.concatenate(opinions)[order])

    def _opinion(self, learner: WeakLearner, rows: np.ndarray) -> np.ndarray:
        """Log-likelihood of what is right in some rows: of options, of tokens, or of answers.

        It is that of `predict` where there are options, and Eq. 1's of each token where all learners read alike.
        Others have no tokens in common, and vote on whole answers.
        """
        questions = self._usable.X[rows]
        alone = self._booster._join([learner])
        if questions.choices is not None:
            nll = alone.option_nll([1.0], CheckedTexts(questions.prompts), list(map(CheckedTexts, questions.choices)))
            gold: np.ndarray = log_softmax(-nll[0], axis=1)[np.arange(len(questions)), questions.labels]
            return gold
        tokens = self._opinion_tokens()
        if tokens is not None:
            reader = cast(TokenLearner, learner)
            nll = score_answers([reader], [1.0], tokens.take(rows), batch_size=eval_batch_size(reader)).nll
            found: np.ndarray = -nll[0]
            return found
        answers = CheckedTexts(require_answers(questions))
        log_likelihood: np.ndarray = -alone.answer_nll(
            [1.0], CheckedTexts(questions.prompts), answers, self._booster.normalize
        )[0]
        return log_likelihood

    def _opinion_places(self, rows: np.ndarray) -> np.ndarray:
        """Places of what an opinion on some rows is about, among that of all rows."""
        tokens = self._opinion_tokens()
        return rows if tokens is None else np.flatnonzero(tokens.spread(np.isin(np.arange(len(tokens)), rows)))

    def _opinion_tokens(self) -> TokenDataset | None:
        """The answers' tokens where opinions are about these, which needs no options and a common tokenizer."""
        alike = all(unit is self._all_units[0] for unit in self._all_units)
        return self._all_units[0].tokens if alike and self._usable.X.choices is None else None

    def fitted_votes(self, opinions: np.ndarray) -> np.ndarray:
        weight = self._rows.weight
        tokens = self._opinion_tokens()
        if tokens is not None:
            weight = tokens.spread(weight)
        return fit_shares(opinions, weight[self._opinion_places(self._held_out.judges)])

    def first_failure(self, trained: Trained, error: float, prior: float) -> str:
        return (
            f"The first weak learner's weighted {'held-out ' if self._rows.fits_errors else ''}error, {error:.4f}, is "
            f"not below the prior error, {prior:.4f} "
            f"(prior={self._booster.prior!r}). Train it longer (epochs), raise its lr, or try another sampling or "
            f"prior."
        )

    def later_failure(self, trained: Trained, error: float, prior: float) -> str:
        return ""  # the ordinary end of token boosting: learners are trained on what the last ones have missed

    def row_digests(self) -> Mapping[str, np.ndarray]:
        # Also of what the tokenizers made of the rows.
        questions = self._usable.X
        columns: dict[str, Any] = {"X": questions.prompts, "y": require_answers(questions)}
        if questions.choices is not None:
            columns["choices"] = questions.choices
        if self._sample_weight is not None:
            columns["sample_weight"] = np.asarray(self._sample_weight, dtype=np.float64)
        for place, unit in enumerate(self.units):
            if unit.tokens is not None and not any(unit is other for other in self.units[:place]):
                name = f"tokens of estimators[{place}]" if place else "tokens"
                columns[name] = [[ids.tolist() for ids in unit.tokens.row_ids(row)] for row in range(len(unit.tokens))]
        return self._usable.in_place({name: row_digests(column) for name, column in columns.items()})

    def base_digests(self) -> Any:
        digests = [base_digest(learner) for learner in self._untrained]
        return digests[0] if len(digests) == 1 else digests

    def _untrained_errors(self) -> np.ndarray:
        return np.stack(
            [unit.untrained_errors(learner) for unit, learner in zip(self.units, self._untrained, strict=True)]
        )

    def _check_prior(self, prior: float) -> None:
        """Raise a WeakLearnerError where no vote can be measured against the untrained model's error."""
        if prior <= 0:
            raise WeakLearnerError("The untrained model makes no error on these answers: there is nothing to boost.")
        if prior >= 1:
            raise WeakLearnerError(self.units[0].all_wrong)


def _each_once(units: list[BoostingUnit], make: Callable[[BoostingUnit], BoostingUnit]) -> list[BoostingUnit]:
    """What is made of each unit, one object for those that are one."""
    made = {id(unit): make(unit) for unit in {id(unit): unit for unit in units}.values()}
    return [made[id(unit)] for unit in units]


class Prior(NamedTuple):
    """The error that a round must stay below."""

    error: Callable[[TokenProblem, np.ndarray], float]
    """Of a problem under the weights of the round."""
    is_measured: bool = True
    """Whether it is the untrained model's, which then must leave something to boost."""


def _reweighted_error(problem: TokenProblem, weight: np.ndarray) -> float:
    # Rounding can make this 0 or 1 in a late round, where the vote would be infinite.
    edge = np.finfo(np.float64).eps
    return float(np.clip(max(weighted_error(row, weight) for row in problem.untrained_errors), edge, 1.0 - edge))


# By the name that the parameter `prior` has.
PRIORS = {
    "pretrained": Prior(lambda problem, _: float(problem.pretrained_errors.max())),
    "reweighted": Prior(_reweighted_error),
    "uniform": Prior(lambda problem, _: max(unit.chance_error for unit in problem.units), is_measured=False),
}

# By the name that the parameter `pick` has: places of the weak learners that round t, counted from 0, trains.
PICKS: dict[str, Callable[[int, int], Sequence[int]]] = {
    "cycle": lambda t, n_learners: [t % n_learners],
    "best": lambda t, n_learners: range(n_learners),
}
