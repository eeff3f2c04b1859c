"""AdaBoost over classifiers (EnsemW2S, Algorithm 2)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any, Literal, TypeAlias

import numpy as np
from sklearn.base import is_regressor

from ensemw2s._inputs.classifier_rows import check_labels, check_row_weight, check_rows, checked_for, usable_rows
from ensemw2s._validation import check_option, shorten
from ensemw2s.ensemble._boosting_loop import fit_rounds
from ensemw2s.ensemble._checkpoint import check_checkpoint
from ensemw2s.ensemble._held_out import Errors, Rows, Votes
from ensemw2s.ensemble._rounds import Rounds
from ensemw2s.ensemble._row_problem import ROW_SAMPLINGS, RowProblem, weight_keyword
from ensemw2s.ensemble._settings import check_loop_parameters, check_own_validation
from ensemw2s.ensemble._votes import VOTINGS
from ensemw2s.ensemble._voting import BaseVotingClassifier
from ensemw2s.storage import row_digests

ClassifierSampling: TypeAlias = Literal["weight", "resample"]
Voting: TypeAlias = Literal["hard", "soft"]


def _digests(rows: Any) -> Iterator[int]:
    """A hash of each row, computed if it is asked for."""
    yield from row_digests(rows).tolist()


class LLMAdaBoostClassifier(BaseVotingClassifier):
    r"""Boost classifiers, language models or any other (EnsemW2S, Algorithm 2; SAMME for more than two classes).

    Every row has a weight :math:`D_t`. A round trains a fresh learner on the weighted rows, measures its error
    :math:`\epsilon_t` on all of them under :math:`D_t`, gives it the vote

    .. math:: \alpha_t = \log\frac{1-\epsilon_t}{\epsilon_t} + \log(K-1)
        = \operatorname{logit}(1 - 1/K) - \operatorname{logit}(\epsilon_t),

    and multiplies the weights of the rows it missed by :math:`e^{\alpha_t}`. The loop ends when
    :math:`\epsilon_t \ge 1 - 1/K`, the error of guessing.

    With a decision stump inside it is scikit-learn's `AdaBoostClassifier`, round for round. Algorithm 2's vote,
    :math:`\frac12\log\frac{1-\epsilon}{\epsilon}`, is half of ours at K = 2, with the same :math:`D_t` in every round
    and the same decisions; halve the votes to compare them with Tables 1 and 2.

    Parameters
    ----------
    estimator : classifier or str
        Weak learner, cloned every round: any scikit-learn classifier, a pipeline over texts, an `HFClassifier`. A
        model id or folder stands for ``HFClassifier(id)``.
    n_estimators : int, default=10
        Largest number of rounds.
    learning_rate : float, default=1.0
        Shrinkage of the votes; the optimiser's rate is ``estimator__lr``.
    sampling : {"weight", "resample"}, default="weight"
        How a learner comes to know the weights: ``fit(..., sample_weight=...)``, or as many rows as there are, drawn
        by their weights with replacement, plus one of each class that the draw has missed. Weights for a `Pipeline`
        go to its last step.
    voting : {"hard", "soft"}, default="hard"
        Whether a member votes for one class (Algorithm 2), or spreads its vote by its probabilities. Training is the
        same.
    reweight : bool, default=True
        Boost. False is the control with the same learners, seeds and number of rounds: :math:`D_t` stays
        :math:`D_1`, every member is kept with vote 1, however large its error, and `learning_rate` and `on_failure`
        decide nothing. That is bagging of bootstrap samples with ``sampling="resample"``, and with
        ``sampling="weight"`` an ensemble of seeds: members are equal where the learner has none. Round 1 is
        boosting's.
    votes : {"alpha", "even", "held-out"}, default="alpha"
        What members vote with: :math:`\alpha_t`; 1 each; or shares that fit rows which no member was trained on,
        see the notes. The rounds follow :math:`\alpha_t` in any case.
    errors : {"train", "held-out"}, default="train"
        What :math:`\epsilon_t` is measured by, and with it :math:`\alpha_t`, the weights and the end of the rounds: by
        the member on what it was trained on, as in the paper, or by cross-fitting. Each round then trains `cv` more
        learners, each on the other folds under the same :math:`D_t`, and each row is judged by the one that has not
        seen it; the member that is kept is trained on all.
    cv : int, optional
        Number of folds, where something is held out. If None, 5 for ``errors="held-out"``, whose learners then serve
        ``votes="held-out"`` too; for the votes alone `validation_fraction` is held out instead.
    validation_fraction : float in (0, 1), default=0.2
        Share of the rows by which ``votes="held-out"`` are fitted without folds, and that no member is trained on.
    on_failure : {"raise", "keep"}, default="raise"
        What to do when the first round is no better than guessing: raise, or keep that learner and warn.
    on_bad_row : {"raise", "skip"}, default="raise"
        What `fit` does with rows that cannot be used, such as a blank text or a missing label: raise an error that
        names the first, or leave them out.
    random_state : int, RandomState or None, default=None
        Seeds the learners, round by round, as scikit-learn does, and the draws. With a `checkpoint_dir`, the state
        after each round is kept there; with None, also a seed that the first call draws and the others take again.
    checkpoint_dir : path, optional
        Folder where each round is committed as it ends. `fit` called again with the same data and parameters goes on
        after the last of them, and gives the same ensemble to the bit; `n_estimators` may have grown.
    on_locked : {"raise", "wait"}, default="raise"
        What to do while another process fits in `checkpoint_dir`.
    verbose : bool, default=False
        Show a progress bar over rounds, with the last one's error and vote. The learner's own bars are below it.

    Attributes
    ----------
    estimators_ : list of classifiers
        The members kept.
    estimator_weights_ : ndarray of shape (T,)
        What members vote with, see `votes`; ones with ``reweight=False``. Only
        fitted rounds; scikit-learn pads with zeros.
    alphas_ : ndarray of shape (T,)
        :math:`\alpha_t`, in nats, whatever the votes are; ones with ``reweight=False``.
    estimator_errors_ : ndarray of shape (T,)
        :math:`\epsilon_t` under :math:`D_t`; with ``errors="held-out"`` by learners that had not seen what they judged.
    prior_errors_ : ndarray of shape (T,)
        The error of guessing, :math:`1 - 1/K`, in each round.
    classes_ : ndarray of shape (K,)
        Sorted classes.
    stop_reason_ : {"n_estimators", "perfect_fit", "error_above_prior", "diverged", "interrupted"}
        Why boosting ended. "interrupted" by Ctrl-C: the members are those of the rounds before, and the
        KeyboardInterrupt has been passed on.
    held_out_rows_ : ndarray of int
        Numbers of the rows in what `fit` was given that votes were fitted or errors measured by: with folds all, else
        the share that no member was trained on; empty where nothing is held out.
    skipped_rows_ : list of (int, str)
        Number and reason of each row that was left out.
    n_features_in_ : int
        Only where rows have features.
    feature_names_in_ : ndarray of shape (n_features,)
        Only where `X` is a DataFrame.

    Raises
    ------
    WeakLearnerError
        If the first round fails, see `on_failure`.
    CheckpointError
        If `checkpoint_dir` was begun with other data or parameters, is damaged, or is in use; says what, or which file.
    OSError
        If a round cannot be written; names the file. The rounds before it stay.

    Notes
    -----
    The weights that a learner gets sum to the sum of `sample_weight`, or to n without it. So the first member is the
    learner as it would be alone, and a parameter that weighs the data against something else, such as ``C`` of
    `LogisticRegression`, means the same with and without boosting. scikit-learn passes weights that sum to 1; for its
    results with such a learner pass a `sample_weight` that sums to 1.

    A learner without any error gets, as in scikit-learn, the vote 1 if it is the first, whose vote has nothing to
    outweigh. Later ones get the vote of an error of 1/(2n), for n rows with a positive weight, instead of
    scikit-learn's 1, which would let worse members outvote a perfect one.

    Votes that are fitted to held-out rows are those of least log loss, a convex problem, see `OpinionPool`. With
    ``voting="hard"`` it is a logistic regression on the codes that SAMME's scores add up, 1 for the class that a member
    predicts and :math:`-1/(K-1)` for the others, with coefficients that are not negative and the penalty
    :math:`10^{-3} \lVert w \rVert^2`; with ``voting="soft"`` the linear pool
    :math:`-\sum_i q_i \log \sum_t w_t p_t(y_i \mid x_i)`, with :math:`w \ge 0` of sum 1. A member whose vote is 0 keeps
    a billionth of the largest. Equal rows are never parted, and each class is dealt over the parts.

    References
    ----------
    .. [1] Agrawal et al., "EnsemW2S: Can an Ensemble of LLMs be Leveraged to Obtain a Stronger LLM?", 2024.
    .. [2] Zhu, Zou, Rosset, Hastie, "Multi-class AdaBoost", Statistics and its Interface 2(3), 2009.

    Examples
    --------
    >>> from sklearn.feature_extraction.text import TfidfVectorizer
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.pipeline import make_pipeline
    >>> from ensemw2s import LLMAdaBoostClassifier
    >>> X = ["sweet apple", "apple pie", "red apple", "fast car", "old car", "red car", "apple car"]
    >>> y = ["fruit", "fruit", "fruit", "vehicle", "vehicle", "vehicle", "fruit"]
    >>> booster = LLMAdaBoostClassifier(make_pipeline(TfidfVectorizer(), LogisticRegression()), n_estimators=5)
    >>> booster.fit(X, y).predict(["apple tart", "blue car"])
    array(['fruit', 'vehicle'], dtype='<U7')
    """

    def __init__(
        self,
        estimator: Any,
        *,
        n_estimators: int = 10,
        learning_rate: float = 1.0,
        sampling: ClassifierSampling = "weight",
        voting: Voting = "hard",
        reweight: bool = True,
        votes: Votes = "alpha",
        errors: Errors = "train",
        cv: int | None = None,
        validation_fraction: float = 0.2,
        on_failure: str = "raise",
        on_bad_row: str = "raise",
        random_state: Any = None,
        checkpoint_dir: str | os.PathLike[str] | None = None,
        on_locked: str = "raise",
        verbose: bool = False,
    ) -> None:
        self.estimator = estimator
        self.n_estimators = n_estimators
        self.learning_rate = learning_rate
        self.sampling = sampling
        self.voting = voting
        self.reweight = reweight
        self.votes = votes
        self.errors = errors
        self.cv = cv
        self.validation_fraction = validation_fraction
        self.on_failure = on_failure
        self.on_bad_row = on_bad_row
        self.random_state = random_state
        self.checkpoint_dir = checkpoint_dir
        self.on_locked = on_locked
        self.verbose = verbose

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> LLMAdaBoostClassifier:
        """Boost.

        Parameters
        ----------
        X : sequence of str, array-like or sparse matrix, n rows
            What the weak learner reads.
        y : array-like of shape (n,)
            Classes, at least two.
        sample_weight : array-like of shape (n,), optional
            Initial weights of the rows, positive in at least two classes.

        Returns
        -------
        LLMAdaBoostClassifier
            The fitted booster itself.

        Raises
        ------
        TypeError, ValueError
            If a parameter, a row, a label or a weight is out of order; nothing has been trained then.
        WeakLearnerError
            If the first learner is no better than guessing, or diverges.
        """
        self.check_parameters()
        learner = self._weak_learner()
        usable = usable_rows(learner, X, y, on_bad_row=self.on_bad_row)
        rows = check_rows(self, learner, checked_for(self, usable.X), fitting=True)
        labels = check_labels(usable.y, rows.shape[0])
        row_weight = check_row_weight(usable.take(sample_weight, "sample_weight"), labels)
        held_out = Rows(self, len(labels), row_weight, _digests(rows), "rows", stratum=labels)
        problem = RowProblem(
            learner, rows, labels, row_weight, usable,
            sampling=ROW_SAMPLINGS[self.sampling], voting=VOTINGS[self.voting], rows=held_out,
        )  # fmt: skip
        rounds = Rounds(row_weight / row_weight.sum())

        def finish() -> None:
            self.classes_ = problem.classes
            self.skipped_rows_ = usable.skipped

        fit_rounds(self, problem, rounds, finish)
        return self

    def _restore_state(self, state: dict[str, Any]) -> None:
        super()._restore_state(state)
        if "estimator_errors_" in state and "prior_errors_" not in state:  # saved by a version that did not keep it
            self.prior_errors_ = np.full(len(self.estimator_errors_), 1.0 - 1.0 / len(self.classes_))

    def check_parameters(self) -> None:
        """Raise unless all parameters are in range; `fit` does so first. Nothing is loaded or trained.

        Raises
        ------
        ValueError, TypeError
            With the parameter's name.
        """
        check_loop_parameters(self)
        check_checkpoint(self)
        check_option(self.sampling, "sampling", ROW_SAMPLINGS)
        check_option(self.voting, "voting", VOTINGS)
        learner = self._weak_learner()
        missing = [name for name in ("fit", "predict", "set_params", "__sklearn_tags__") if not hasattr(learner, name)]
        if isinstance(learner, type) or missing or is_regressor(learner):
            raise TypeError(
                f"estimator must be a scikit-learn classifier or a model id. Got {shorten(learner)} instead; derive a "
                f"learner of your own from ClassifierMixin and BaseEstimator."
            )
        check_own_validation(self)
        if VOTINGS[self.voting].needs_proba and not hasattr(learner, "predict_proba"):
            raise ValueError(
                f"estimator must have predict_proba for voting={self.voting!r}. {type(learner).__name__} has none; "
                f"pass voting='hard'."
            )
        if ROW_SAMPLINGS[self.sampling].needs_weights and weight_keyword(learner) is None:
            raise ValueError(
                f"estimator must take sample_weight in fit for sampling={self.sampling!r}. {type(learner).__name__} "
                f"does not; pass sampling='resample', which draws rows by their weights."
            )
