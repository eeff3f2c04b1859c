"""Experts of different kinds, pooled by weights that fit questions none of them was trained on."""

from __future__ import annotations

import copy
import os
from collections.abc import Sequence
from itertools import count
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, MetaEstimatorMixin
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from ensemw2s._html.fitted import FittedHTML, skipped
from ensemw2s._html.pieces import facts, panel, share_bar, table
from ensemw2s._inputs.classifier_rows import text_tags
from ensemw2s._inputs.questions import (
    check_questions,
    check_sample_weight,
    require_answers,
    require_choices,
    usable_questions,
)
from ensemw2s._inputs.usable_rows import LengthCheck, UsableRows, Writer, length_checks
from ensemw2s._progress import progress_bar
from ensemw2s._validation import (
    check_bool,
    check_option,
    check_seed,
    check_weight,
    shorten,
)
from ensemw2s.contracts import ChecksParameters, only_texts
from ensemw2s.datasets import QADataset
from ensemw2s.ensemble._checkpoint import check_checkpoint
from ensemw2s.ensemble._ensemble import named_votes
from ensemw2s.ensemble._experts import as_expert, check_expert, committed_expert, expert_name, expert_scores, takes
from ensemw2s.ensemble._held_out import check_cv, check_groups, equal_groups, held_out_parts
from ensemw2s.ensemble._pool_weights import (
    centred,
    even_where_none,
    fit_linear,
    fit_logarithmic,
    pooled_log_proba,
    score_scales,
)
from ensemw2s.ensemble._saving import check_fitted_can_be_written
from ensemw2s.ensemble._settings import describe_estimator, seed_parameters
from ensemw2s.metrics import (
    Extract,
    MetricLike,
    as_metric,
    error_correlation,
    likeliest_texts,
    option_credit,
    option_proba,
)
from ensemw2s.storage import Journal, PretrainedMixin, class_name, describe, open_journal, row_digests, versions
from ensemw2s.tokens import tokenized_once

_POOLS, _WEIGHTS = ("logarithmic", "linear"), ("held-out", "even")
_NO_WEIGHT = (
    "sample_weight must be positive for some questions that are {}. Got 0 for {}; pass more questions with a weight, "
    "or another random_state."
)


class OpinionPool(PretrainedMixin, FittedHTML, MetaEstimatorMixin, BaseEstimator):
    r"""An ensemble of experts of different kinds that choose among options.

    Members of one base that are trained by one loss err alike, and an ensemble of them gains little. Experts of
    different kinds, such as a generator and a verifier of one base, or models of different bases, err more
    independently. The logarithmic pool (Genest and Zidek, 1986) is

    .. math:: \log p(o \mid x) = \sum_g w_g \, s_g(x, o) / c_g - \log Z(x), \qquad w_g \ge 0,

    with :math:`s_g` the score of expert `g`, its log-likelihood or a verifier's score, and :math:`c_g` its standard
    deviation over the options of a question. The linear pool is :math:`\sum_g w_g \operatorname{softmax}(s_g)` with
    weights that sum to 1.

    The weights minimise the log loss of held-out questions, which no expert was trained on, plus
    :math:`10^{-3} \lVert w \rVert^2` for the logarithmic pool: a convex problem of milliseconds. The training error
    would give all weight to whichever expert knows its training questions by heart.

    Parameters
    ----------
    experts : list of estimators, learners and model ids
        `FineTunedGenerator`, boosters, `HFVerifier`, any `OptionLearner`, or an estimator with ``fit(questions, None)``
        and ``predict_proba(questions)`` for a `QADataset`. A `TokenLearner` or model id is fine-tuned by a
        `FineTunedGenerator`; a `TextExpert` is asked as it is. Put first the one that the pool is to be compared
        with, see `W2SPipeline`. An expert in
        scikit-learn's ``FrozenEstimator`` is not trained; ``FineTunedGenerator(model, zero_shot=True)`` is a model as
        it comes.
    pool : {"logarithmic", "linear"}, default="logarithmic"
        Whether logarithms of probabilities are averaged, or probabilities.
    weights : {"held-out", "even"} or array-like of shape (n_experts,), default="held-out"
        Fitted on held-out questions; one weight for all experts, of which a logarithmic pool fits how large it is; or
        given ones, not negative.
    cv : int, optional
        Number of folds: each question is scored by experts that were trained on the other folds, and the experts
        that remain are trained on all questions. If None, `validation_fraction` of the questions is held out, and the
        experts are trained on the others alone.
    validation_fraction : float in (0, 1), default=0.2
        Share of the questions that is held out; equal questions go together. Without `cv` only.
    prefit : bool, default=False
        Whether the experts are fitted already. They are then used as they are, and the weights are fitted on all
        questions that `fit` is given, which must be none that an expert was trained on.
    on_bad_row : {"raise", "skip"}, default="raise"
        What `fit` does with rows that cannot be used, such as a question that is too long for an expert: raise an error
        that names the first, or leave them out.
    random_state : int, RandomState or None, default=None
        Seeds the choice of held-out questions, and the experts whose own ``random_state`` is None; and which of tied
        options is named, where it is an integer.
    checkpoint_dir : path, optional
        Folder where every training of an expert is committed as it ends. `fit` called again with the same data and
        parameters goes on after the last of them; `pool` and `weights` may be others.
    on_locked : {"raise", "wait"}, default="raise"
        What to do while another process fits in `checkpoint_dir`.
    verbose : bool, default=False
        Show a progress bar over the experts' trainings.

    Attributes
    ----------
    experts_ : list of estimators
        Fitted.
    weights_ : ndarray of shape (n_experts,)
        An expert whose weight is 0 is not asked.
    scales_ : ndarray of shape (n_experts,)
        :math:`c_g`, measured on the held-out questions.
    error_correlation_ : ndarray of shape (n_experts, n_experts)
        Correlation of the experts' mistakes on the held-out questions, see `error_correlation`.
    estimator_errors_ : ndarray of shape (n_experts,)
        Share of the held-out questions that each expert answers wrongly.
    held_out_log_loss_ : float
        Mean log loss of the pool on the held-out questions, in nats. With fitted weights it is a little too low, as
        these have been chosen for it.
    held_out_rows_ : ndarray of int
        Numbers of the held-out questions in what `fit` was given.
    skipped_rows_ : list of (int, str)
        Number and reason of each row that was left out.

    References
    ----------
    Genest, C. and Zidek, J. V. (1986). Combining probability distributions: a critique and an annotated bibliography.
    Statistical Science 1, 114-135.

    Examples
    --------
    >>> from sklearn.base import BaseEstimator
    >>> from ensemw2s import BigramLearner, OpinionPool, QADataset
    >>> class Longest(BaseEstimator):
    ...     def fit(self, questions, *, question_weight):
    ...         return self
    ...     def option_scores(self, prompts, choices):
    ...         return [[len(option) for option in options] for options in choices]
    >>> colours = QADataset([f"Colour {n}?" for n in range(40)], choices=[["azure", "red", "blue"]] * 40,
    ...                     labels=[0, 2, 0, 2, 0] * 8)
    >>> pool = OpinionPool([BigramLearner(), Longest()], random_state=0).fit(colours)
    >>> pool.predict(colours[:2])
    array(['azure', 'azure'], dtype=object)
    >>> pool.weights_.shape, pool.error_correlation_.shape
    ((2,), (2, 2))
    """

    def __init__(
        self,
        experts: Sequence[Any],
        *,
        pool: str = "logarithmic",
        weights: Any = "held-out",
        cv: int | None = None,
        validation_fraction: float = 0.2,
        prefit: bool = False,
        on_bad_row: str = "raise",
        random_state: Any = None,
        checkpoint_dir: str | os.PathLike[str] | None = None,
        on_locked: str = "raise",
        verbose: bool = False,
    ) -> None:
        self.experts = experts
        self.pool = pool
        self.weights = weights
        self.cv = cv
        self.validation_fraction = validation_fraction
        self.prefit = prefit
        self.on_bad_row = on_bad_row
        self.random_state = random_state
        self.checkpoint_dir = checkpoint_dir
        self.on_locked = on_locked
        self.verbose = verbose

    @tokenized_once()
    def fit(
        self, X: Any, y: Any = None, sample_weight: Any = None, *, choices: Sequence[Sequence[str]] | None = None
    ) -> OpinionPool:
        """Train the experts, and fit their weights on questions that they have not seen.

        Parameters
        ----------
        X : sequence of str or QADataset, shape (n,)
            Questions.
        y : sequence of str, optional
            Answers, each one of its question's options; those of the `QADataset` if None.
        sample_weight : array-like of shape (n,), optional
            Weight of each question, for experts and weights.
        choices : sequence of sequences of str, optional
            Options; those of the `QADataset` if None.

        Returns
        -------
        OpinionPool
            The fitted pool itself.

        Raises
        ------
        TypeError, ValueError
            If a parameter or a row is out of order; checked before anything is trained.
        WeakLearnerError
            If an expert's scores are no finite numbers, or as its training raises it.
        CheckpointError
            If `checkpoint_dir` holds another fit, or is damaged.
        """
        self.check_parameters()
        untrained = self._untrained()
        checks = [
            check
            for expert in untrained
            for check in length_checks(expert, trained=not (self.prefit or isinstance(expert, FrozenEstimator)))
        ]
        usable = usable_questions(X, y, choices, on_bad_row=self.on_bad_row, lengths=checks)
        questions: QADataset = usable.X
        require_answers(questions)
        require_choices(questions)
        weight = check_sample_weight(usable.take(sample_weight, "sample_weight"), len(questions))
        if sample_weight is not None:
            for place, expert in enumerate(untrained):
                if not (takes(expert, "sample_weight") or takes(expert, "question_weight")):
                    raise TypeError(
                        f"sample_weight must be None where an expert cannot be trained with weights. Got some, and "
                        f"experts[{place}], a {type(expert).__name__}, has no sample_weight in fit."
                    )
        # Of mean 1, so that a penalty keeps its meaning.
        given = None if sample_weight is None else weight * len(weight)
        with open_journal(None if self.prefit else self.checkpoint_dir, on_locked=self.on_locked) as steps:
            seed = self._begin(steps, untrained, usable, sample_weight)
            folds = self._folds(questions, weight, check_random_state(seed))
            self.experts_, scores = self._train_and_score(self._untrained(seed), questions, given, folds, steps)
        held_out = np.sort(np.concatenate(folds))
        self.skipped_rows_ = usable.skipped
        self.held_out_rows_ = usable.kept[held_out]
        self._weigh(scores[:, held_out], questions[held_out], weight[held_out])
        return self

    def _begin(self, steps: Journal | None, untrained: list[Any], usable: UsableRows, sample_weight: Any) -> Any:
        """What seeds this fit, which is compared with the one that the folder was begun with."""
        if steps is None:
            return self.random_state
        for place, expert in enumerate(untrained):
            check_fitted_can_be_written(expert, f"experts[{place}]")
        settings = {
            "class": class_name(type(self)),
            "experts": [describe_estimator(each, f"experts[{place}]") for place, each in enumerate(untrained)],
            "cv": self.cv,
            "validation_fraction": self.validation_fraction,
            "random_state": describe(self.random_state, "random_state"),
            "versions": versions(),
        }
        questions = usable.X
        columns: dict[str, Any] = {"X": questions.prompts, "y": questions.answers, "choices": questions.choices}
        weights = usable.take(sample_weight, "sample_weight")
        if weights is not None:
            columns["sample_weight"] = np.asarray(weights, dtype=np.float64)
        rows = usable.in_place({name: row_digests(column) for name, column in columns.items()})
        drawn = int(check_random_state(None).randint(2**31 - 1)) if self.random_state is None else None
        drawn = steps.begin(settings, rows, drawn)
        return drawn if self.random_state is None else self.random_state

    def _train_and_score(
        self,
        untrained: list[Any],
        questions: QADataset,
        given: np.ndarray | None,
        folds: list[np.ndarray],
        steps: Journal | None,
    ) -> tuple[list[Any], np.ndarray]:
        """The experts that remain, and the scores of held-out questions by experts that have not seen them."""
        refits = self.cv is not None
        numbers = count(1)
        n_trainings = 0 if self.prefit else len(untrained) * (len(folds) + refits)
        with progress_bar(
            total=n_trainings, desc="experts", unit="expert", visible=self.verbose and not self.prefit
        ) as bar:

            def trained(rows: np.ndarray) -> list[Any]:
                if self.prefit:
                    return untrained
                found = []
                for expert in untrained:
                    bar.set_postfix_str(type(expert).__name__)
                    weight = None if given is None else given[rows]
                    found.append(committed_expert(steps, next(numbers), expert, questions[rows], weight))
                    bar.update()
                return found

            scores = np.full((len(untrained), *_existing(questions).shape), -np.inf)
            for rows in folds:
                experts = trained(np.setdiff1d(np.arange(len(questions)), rows))
                part = questions[rows]
                for place, expert in enumerate(experts):
                    found = expert_scores(expert, part)
                    scores[place, rows, : found.shape[1]] = found
            experts = trained(np.arange(len(questions))) if refits else experts
        return experts, scores

    def predict(self, X: Any, choices: Sequence[Sequence[str]] | None = None) -> np.ndarray:
        """The option of each question that is most probable under the pool.

        Of options that the pool cannot tell apart one is drawn, by `random_state` where that is an integer and by the
        texts of question and options; their order has no say. `score` counts such a tie of m options as 1/m.

        Parameters
        ----------
        X : sequence of str or QADataset, shape (n,)
            Questions.
        choices : sequence of sequences of str, optional
            Options; required unless `X` is a `QADataset` that has them.

        Returns
        -------
        ndarray of shape (n,), object
            Texts.
        """
        return self.predict_under([self._own_weights()], X, choices)[0]

    def predict_proba(self, X: Any, choices: Sequence[Sequence[str]] | None = None) -> np.ndarray:
        """Probability of each option under the pool.

        Parameters
        ----------
        X, choices
            As in `predict`.

        Returns
        -------
        ndarray of shape (n, K)
            K is the largest number of options; 0 where a question has fewer.
        """
        questions, nll = self._nll([self._own_weights()], X, None, choices)
        return option_proba(nll[0], questions.n_choices)

    def score(
        self,
        X: Any,
        y: Any = None,
        sample_weight: Any = None,
        *,
        choices: Sequence[Sequence[str]] | None = None,
        metric: MetricLike = None,
        extract: Extract = None,
    ) -> float:
        """Share of questions whose most probable option is the right one; a tie of m options counts 1/m.

        Parameters
        ----------
        X : sequence of str or QADataset, shape (n,)
            Questions.
        y : sequence of str, optional
            Answers; those of the `QADataset` if None.
        sample_weight : array-like of shape (n,), optional
            Weight of each question.
        choices : sequence of sequences of str, optional
            Options.
        metric, extract
            As in `FineTunedGenerator.score`; by default "accuracy".

        Returns
        -------
        float in [0, 1]
        """
        credit = self.credit(X, y, choices=choices, metric=metric, extract=extract)
        return float(np.average(credit, weights=check_sample_weight(sample_weight, len(credit))))

    def credit(
        self,
        X: Any,
        y: Any = None,
        *,
        choices: Sequence[Sequence[str]] | None = None,
        metric: MetricLike = None,
        extract: Extract = None,
    ) -> np.ndarray:
        """What each question earns: 1 if it is answered right, 0 if not, 1/m for a right option tied with m - 1 others.

        Parameters
        ----------
        X, y, choices, metric, extract
            As in `score`.

        Returns
        -------
        ndarray of shape (n,)
            Its mean is the score.
        """
        earned = self.judge_under([self._own_weights()], X, y, choices, metric=metric, extract=extract)[1]
        own: np.ndarray = earned[0]
        return own

    def predict_under(self, votes: Any, X: Any, choices: Sequence[Sequence[str]] | None = None) -> list[np.ndarray]:
        """`predict` under several weight vectors, each expert being asked once.

        Parameters
        ----------
        votes : array-like of shape (S, n_experts)
            Weight vectors in place of ``weights_``, to whose sum they are scaled; 0 leaves an expert out.
        X, choices
            As in `predict`.

        Returns
        -------
        list of S ndarrays of shape (n,), object
        """
        questions, nll = self._nll(votes, X, None, choices)
        return [self._chosen(stage, questions) for stage in nll]

    def member_predictions(self, X: Any, choices: Sequence[Sequence[str]] | None = None) -> np.ndarray:
        """The option that each expert alone would choose, those included whose weight is 0.

        Parameters
        ----------
        X, choices
            As in `predict`.

        Returns
        -------
        ndarray of shape (n_experts, n), object
            One row of texts per expert, as `error_correlation` and `MarginDisplay` take them.
        """
        check_is_fitted(self, "experts_")
        return np.stack(self.predict_under(np.eye(len(self.experts_)), X, choices))

    def judge_under(
        self,
        votes: Any,
        X: Any,
        y: Any = None,
        choices: Sequence[Sequence[str]] | None = None,
        *,
        metric: MetricLike = None,
        extract: Extract = None,
    ) -> tuple[list[np.ndarray], np.ndarray]:
        """`predict_under` and what the answers earn, see `credit`.

        Parameters
        ----------
        votes : array-like of shape (S, n_experts)
            Weight vectors in place of ``weights_``, to whose sum they are scaled; 0 leaves an expert out.
        X, y, choices, metric, extract
            As in `credit`.

        Returns
        -------
        predicted : list of S ndarrays of shape (n,), object
        credit : ndarray of shape (S, n)
        """
        measured = as_metric(metric, extract, kind="options")
        questions, nll = self._nll(votes, X, y, choices)
        answers = require_answers(questions)
        chosen = [self._chosen(stage, questions) for stage in nll]
        if measured.compare is not None:
            return chosen, np.array([measured(row, answers) for row in chosen])
        return chosen, option_credit(nll, questions.labels, questions.n_choices)

    def with_votes(self, votes: Any) -> OpinionPool:
        """The first experts with other weights.

        Parameters
        ----------
        votes : array-like of shape (n_first,), n_first <= n_experts, or "even"
            Weights of the first experts, not negative, or one for all. Only their ratios matter: they are scaled to the
            sum of ``weights_``, which says how sure the pool is.

        Returns
        -------
        OpinionPool
            A fitted shallow copy; the experts are shared, and what is known of each goes with it.
        """
        check_is_fitted(self, "experts_")
        vector = np.atleast_1d(np.asarray(named_votes(votes, len(self.experts_)), dtype=np.float64))
        if len(vector) > len(self.experts_):
            raise ValueError(f"votes must have at most {len(self.experts_)} entries. Got {len(vector)} instead.")
        n_first, other = len(vector), copy.copy(self)
        other.experts_ = self.experts_[:n_first]
        other.weights_ = other._scaled_votes(vector)[0]
        for name in ("scales_", "estimator_errors_"):
            setattr(other, name, getattr(self, name)[:n_first])
        other.error_correlation_ = self.error_correlation_[:n_first, :n_first]
        other.__dict__.pop("held_out_log_loss_", None)  # of other weights
        return other

    @property
    def estimators_(self) -> list[Any]:
        """``experts_``, by the name that other ensembles have for their members."""
        check_is_fitted(self, "experts_")
        return self.experts_

    @property
    def estimator_weights_(self) -> np.ndarray:
        """``weights_`` as votes, which are positive: next to nothing in place of 0."""
        weights = self._own_weights()
        votes: np.ndarray = np.maximum(weights, 1e-9 * weights.max())
        return votes

    def _length_check(self) -> LengthCheck:
        """Whether questions fit into all experts."""
        return _all_of([make() for make in length_checks(*self._asked())])

    def _writing_check(self) -> LengthCheck:
        """Whether some expert would refuse an answer in `fit`."""
        return _all_of([expert._writing_check() for expert in self._asked() if isinstance(expert, Writer)])

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "weights_")

    def __sklearn_tags__(self) -> Any:
        return text_tags(super().__sklearn_tags__())

    def _scaled_votes(self, votes: Any) -> np.ndarray:
        """Weight vectors (S, n_experts) with the sum of the fitted weights, which says how sure the pool is."""
        rows, n_experts = np.atleast_2d(np.asarray(votes, dtype=np.float64)), len(self.experts_)
        sums = rows.sum(axis=-1, keepdims=True)
        if rows.shape[1:] != (n_experts,) or not np.isfinite(sums).all() or (rows < 0).any() or not (sums > 0).all():
            raise ValueError(
                f"votes must hold {n_experts} finite numbers in each vector, none negative and one positive. Got "
                f"{shorten(votes)} instead."
            )
        with np.errstate(over="ignore", invalid="ignore"):
            scaled: np.ndarray = rows * (self.weights_.sum() / sums)
        if not np.isfinite(scaled).all():
            raise ValueError(f"votes must not all be next to 0 in a vector. Got {shorten(votes)}; multiply them.")
        return scaled

    def _described_members(self) -> dict[str, Any]:
        """What a `W2SReport` says of the experts, beside their answers."""
        votes_by = self.weights if isinstance(self.weights, str) else "given"
        return {"member_names": [expert_name(expert) for expert in self.experts_], "votes_by": votes_by}

    def _fitted_html(self) -> str:
        if not hasattr(self, "weights_"):
            return ""
        columns = ["expert", "weight", "held-out error", "share of the weights"]
        measured = zip(self.experts_, self.weights_, self.estimator_errors_, strict=True)
        rows: list[list[str | None]] = [
            [expert_name(expert), f"{weight:.3f}", f"{error:.3f}", share_bar(weight / self.weights_.sum())]
            for expert, weight, error in measured
        ]
        loss = getattr(self, "held_out_log_loss_", None)
        return panel(
            f"{self.pool} pool of {len(rows)} experts",
            table(columns, rows, numeric={"weight", "held-out error"}),
            facts(
                [
                    ("held-out questions", str(len(self.held_out_rows_))),
                    ("log loss on them", None if loss is None else f"{loss:.4g}"),
                    ("rows left out", skipped(self.skipped_rows_)),
                ]
            ),
        )

    def _own_weights(self) -> np.ndarray:
        check_is_fitted(self, "weights_")
        return self.weights_

    def _asked(self) -> list[Any]:
        """The fitted experts, or those that `fit` would train."""
        return self.experts_ if hasattr(self, "experts_") else self._untrained()

    def check_parameters(self) -> None:
        """Raise unless all parameters are in range; `fit` does so first. Nothing is loaded or trained.

        Raises
        ------
        ValueError, TypeError
            With the parameter's name.
        """
        check_option(self.pool, "pool", _POOLS)
        if isinstance(self.weights, str) or not hasattr(self.weights, "__len__"):
            check_option(self.weights, "weights", _WEIGHTS)
        check_cv(self.cv, self.validation_fraction)
        check_bool(self.prefit, "prefit")
        if self.prefit and self.cv is not None:
            raise ValueError(f"cv must be None where prefit=True: nothing is trained. Got {self.cv!r} instead.")
        check_option(self.on_bad_row, "on_bad_row", ("raise", "skip"))
        check_seed(self.random_state, "random_state")
        check_checkpoint(self)
        check_bool(self.verbose, "verbose")
        if not isinstance(self.experts, list | tuple) or not self.experts:
            raise TypeError(f"experts must be a list of at least one expert. Got {shorten(self.experts)} instead.")
        for place, expert in enumerate(self.experts):
            check_expert(expert, f"experts[{place}]")
            if not self.prefit and isinstance(expert, ChecksParameters):
                try:
                    expert.check_parameters()
                except (TypeError, ValueError) as error:
                    raise type(error)(f"experts[{place}]: {error}") from error
            if (self.prefit or isinstance(expert, FrozenEstimator)) and not only_texts(expert):
                _check_fitted(expert, f"experts[{place}]")
        if not isinstance(self.weights, str):
            check_weight(self.weights, "weights", length=len(self.experts), per="expert")

    def _untrained(self, seed: Any = None) -> list[Any]:
        """Clones of the experts, seeded if `seed` is not None; or, if they are fitted, themselves."""
        if self.prefit:
            return [as_expert(expert) if only_texts(expert) else expert for expert in self.experts]
        experts = [as_expert(expert) for expert in self.experts]
        if seed is None:
            return experts
        seeds = check_random_state(seed).randint(2**31 - 1, size=len(experts))
        for expert, own in zip(experts, seeds.tolist(), strict=True):
            values = expert.get_params(deep=True)
            expert.set_params(**{name: own for name in seed_parameters(expert) if values[name] is None})
        return experts

    def _folds(self, questions: QADataset, weight: np.ndarray, random: np.random.RandomState) -> list[np.ndarray]:
        """Rows that are held out together; equal questions, such as those of soft labels, are never parted."""
        if self.prefit:
            return [np.arange(len(questions))]
        group = equal_groups(zip(questions.prompts, require_choices(questions), strict=True))
        check_groups(int(group.max()) + 1, self.cv, "questions", "fitted experts with prefit=True")
        parts = held_out_parts(group, random, cv=self.cv, validation_fraction=self.validation_fraction)
        if not weight[np.concatenate(parts)].any():
            raise ValueError(_NO_WEIGHT.format("held out", "all of them"))
        if not all(np.delete(weight, part).any() for part in parts):
            raise ValueError(_NO_WEIGHT.format("to train on", "all that are not held out"))
        return parts

    def _weigh(self, scores: np.ndarray, questions: QADataset, weight: np.ndarray) -> None:
        """Set weights and scales by the experts' scores (G, n, K) of the held-out questions."""
        exists, labels = _existing(questions), np.asarray(questions.labels)
        scores = centred(scores[..., : exists.shape[1]], exists)
        self.scales_ = score_scales(scores, exists, weight)
        scores = self._scaled(scores)
        n_experts, logarithmic = len(scores), self._is_logarithmic()
        even = np.full(n_experts, 1.0 / n_experts)
        if not isinstance(self.weights, str):
            fitted = np.array(self.weights, dtype=np.float64)
        elif not logarithmic:
            fitted = even if self.weights == "even" else fit_linear(scores, exists, labels, weight)
        elif self.weights == "even":
            fitted = even * fit_logarithmic(np.mean(scores, axis=0)[None], exists, labels, weight)
        else:
            fitted = fit_logarithmic(scores, exists, labels, weight)
        if isinstance(self.weights, str):  # given ones may be small: of a linear pool only their ratios matter
            # Behind `fit` is the block in which texts are tokenised once.
            fitted = even_where_none(fitted, "expert", "options of the held-out questions", stacklevel=5)
        self.weights_ = fitted
        nll = -pooled_log_proba(scores, exists, fitted[None], logarithmic=logarithmic)[0]
        self.held_out_log_loss_ = float(np.average(nll[np.arange(len(labels)), labels], weights=weight))
        said = np.where(exists, scores, -np.inf).argmax(axis=-1)
        self.error_correlation_ = error_correlation(said, labels)
        alone = -np.where(exists, scores, -np.inf)
        earned = option_credit(alone, labels, questions.n_choices)  # (G, n)
        self.estimator_errors_ = 1.0 - np.average(earned, axis=1, weights=weight)

    def _scaled(self, scores: np.ndarray) -> np.ndarray:
        """Scores as the pool joins them: probabilities are averaged as the experts give them."""
        return scores / self.scales_[:, None, None] if self._is_logarithmic() else scores

    def _is_logarithmic(self) -> bool:
        return check_option(self.pool, "pool", _POOLS) == "logarithmic"

    def _nll(self, votes: Any, X: Any, y: Any, choices: Sequence[Sequence[str]] | None) -> tuple[QADataset, np.ndarray]:
        """Questions, and minus the logarithm of each option's probability under each weight vector, (S, n, K)."""
        check_is_fitted(self, "weights_")
        questions = check_questions(X, y, choices)
        require_choices(questions)
        rows, exists = self._scaled_votes(votes), _existing(questions)
        scores = np.zeros((len(self.experts_), *exists.shape))
        for place in np.flatnonzero(rows.any(axis=0)).tolist():
            scores[place] = centred(expert_scores(self.experts_[place], questions), exists)
        return questions, -pooled_log_proba(self._scaled(scores), exists, rows, logarithmic=self._is_logarithmic())

    def _chosen(self, nll: np.ndarray, questions: QADataset) -> np.ndarray:
        return likeliest_texts(nll, questions.prompts, require_choices(questions), self.random_state)


def _existing(questions: QADataset) -> np.ndarray:
    n_choices = np.asarray(questions.n_choices)
    return np.arange(int(n_choices.max())) < n_choices[:, None]


def _check_fitted(expert: Any, name: str) -> None:
    try:
        check_is_fitted(expert)
    except (NotFittedError, TypeError) as error:
        raise type(error)(
            f"{name} must be fitted with prefit=True, or as a FrozenEstimator. Got {shorten(expert)}, which is not; "
            f"fit it, and where sklearn.base.clone would undo that, as in a pipeline, pass FrozenEstimator(expert)."
        ) from error


def _all_of(checks: Sequence[LengthCheck]) -> LengthCheck:
    def check(questions: QADataset, numbers: np.ndarray) -> None:
        for one in checks:
            one(questions, numbers)

    return check
