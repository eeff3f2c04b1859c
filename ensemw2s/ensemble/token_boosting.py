"""AdaBoost over answer tokens (EnsemW2S, Algorithm 1)."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import Any, Literal, TypeAlias

import numpy as np
from sklearn.utils.validation import check_is_fitted

from ensemw2s._inputs.questions import (
    as_pair,
    check_can_be_written,
    check_questions,
    check_sample_weight,
    require_answers,
    require_choices,
)
from ensemw2s._inputs.usable_rows import UsableRows
from ensemw2s._validation import check_option
from ensemw2s.boosting import SAMPLINGS
from ensemw2s.boosting import reweight as updated_weight  # `reweight` is a parameter here
from ensemw2s.contracts import WeakLearner
from ensemw2s.ensemble._boosting_loop import fit_rounds, no_better
from ensemw2s.ensemble._checkpoint import check_checkpoint
from ensemw2s.ensemble._generator import BaseTokenGenerator
from ensemw2s.ensemble._held_out import ERRORS, Errors, Rows, Votes
from ensemw2s.ensemble._length_checks import check_scorable, fit_check
from ensemw2s.ensemble._rounds import Rounds
from ensemw2s.ensemble._settings import check_loop_parameters, check_own_validation, check_takes_eval_set
from ensemw2s.ensemble._token_problem import PICKS, PRIORS, TokenProblem
from ensemw2s.ensemble._units import check_unit, make_units, needs_options, spread_together
from ensemw2s.ensemble._weak_learners import check_one_or_several
from ensemw2s.mixture import reads_tokens
from ensemw2s.tokens import tokenized_once

Sampling: TypeAlias = Literal["binary", "count", "weight"]
Pick: TypeAlias = Literal["cycle", "best"]


class TokenAdaBoostGenerator(BaseTokenGenerator):
    r"""Boost language models at the level of single answer tokens (EnsemW2S-AdaBoost, Algorithm 1).

    Every answer token is a sample with a weight :math:`D_t`. A round draws tokens from :math:`D_t`, trains a fresh
    learner on them, measures its error :math:`\epsilon_t` on all tokens under :math:`D_t`, gives it the vote

    .. math:: \alpha_t = \operatorname{logit}(\epsilon_{pre}) - \operatorname{logit}(\epsilon_t),

    and multiplies the weights of the tokens it missed by :math:`e^{\alpha_t}`. The loop ends when
    :math:`\epsilon_t \ge \epsilon_{pre}`, the error of the untrained model. The fitted members answer together by
    Eq. 1, :math:`\sum_t \bar\alpha_t p_t`.

    Parameters
    ----------
    estimator : TokenLearner, OptionLearner or str, optional
        Weak learner, cloned every round; a model id or folder stands for ``HFCausalLM(id)``. With ``unit="option"`` it
        may be an `OptionLearner`, such as `HFVerifier`.
    estimators : list of TokenLearner, OptionLearner or str, optional
        Different weak learners, in place of `estimator`. Those that read alike (tokenizer, template, adapt) mix by
        Eq. 1; others vote on whole answers, and need ``unit="sample"``, ``"sample-mean"`` or ``"option"``, see the
        notes. Beside an `OptionLearner` it is ``"option"``.
        `get_params` does not reach into the list, so that there is no ``estimators__0__lr``; a search takes whole
        lists, ``{"estimators": [[small, large], [small, other]]}``.
    pick : {"cycle", "best"}, default="cycle"
        Which of `estimators` a round keeps: one after the other, or the one with the least error under :math:`D_t`,
        for which all are trained on the same draw, ``len(estimators)`` trainings a round.
    n_estimators : int, default=5
        Largest number of rounds.
    learning_rate : float, default=1.0
        Shrinkage of the votes; the optimiser's rate is ``estimator__lr``.
    sampling : {"binary", "count", "weight"}, default="binary"
        What the learner is trained on: the tokens drawn at least once (the paper's label mask), every token as often
        as it was drawn, or all tokens by their weights, without a draw.
    unit : {"token", "sample", "sample-mean", "option"} or int, default="token"
        What has a weight of its own: each token; each answer, wrong if one of its tokens is (``"sample"``), or by the
        share of them that are (``"sample-mean"``); each question (wrong if the gold option is not the likeliest, and
        1 - 1/m wrong if m are; needs options); or each token with its error averaged over a window of this many
        tokens. The untrained model often has no answer right in all of its tokens: then ``"sample"`` needs
        ``prior="uniform"``.
    window : {"tiling", "sliding"}, default="tiling"
        Windows that lie one after the other in an answer, so that their tokens share one error, or for each token the
        window that ends with it, which slides along; the paper's appendix names the latter. See `window_error`.
    combine : {"probabilities", "logits"}, default="probabilities"
        What is averaged when members answer together.
    prior : {"pretrained", "reweighted", "uniform"}, default="pretrained"
        The error a round must stay below: the untrained model's under uniform weights (the paper's), the untrained
        model's under :math:`D_t`, or that of a uniform guess, :math:`1 - 1/K` (SAMME's). Of several weak learners the
        largest, so that the votes of different bases compare their errors alone.
    reweight : bool, default=True
        Boost. False is bagging, the control with the same learners, seeds and number of rounds: :math:`D_t` stays
        :math:`D_1`, every member is kept with vote 1, however large its error, and `learning_rate`, `prior` and
        `on_failure` decide nothing. What differs between members is the draw and their seed. Round 1 is boosting's.
    votes : {"alpha", "even", "held-out"}, default="alpha"
        What members vote with: :math:`\alpha_t`; 1 each; or shares that fit questions which no member was trained on,
        see the notes. The rounds follow :math:`\alpha_t` in any case.
    errors : {"train", "held-out"}, default="train"
        What :math:`\epsilon_t` is measured by, and with it :math:`\alpha_t`, the weights and the end of the rounds: by
        the member on what it was trained on, as in the paper, or by cross-fitting. Each round then trains `cv` more
        learners, each on the other folds under the same :math:`D_t`, and each unit is judged by the one that has not
        seen it; the member that is kept is trained on all.
    cv : int, optional
        Number of folds, where something is held out. If None, 5 for ``errors="held-out"``, whose learners then serve
        ``votes="held-out"`` too; for the votes alone `validation_fraction` is held out instead.
    validation_fraction : float in (0, 1), default=0.2
        Share of the questions by which ``votes="held-out"`` are fitted without folds, and that no member is trained on.
    choose : str, default="likelihood"
        How an option is chosen, see `FineTunedGenerator`.
    normalize : str, default="sum"
        What an option's negative log-likelihood is divided by, see `FineTunedGenerator`.
    on_failure : {"raise", "keep"}, default="raise"
        What to do when the first round is no better than the prior: raise, or keep that learner and warn.
    backend : str, default="auto"
        What mixes and draws when members answer together, see `get_backend`; checked before anything is trained.
    on_bad_row : {"raise", "skip"}, default="raise"
        What `fit` does with rows that cannot be used, such as a blank answer or a question longer than the model's
        limit: raise an error that names the first, or leave them out.
    random_state : int, RandomState or None, default=None
        Seeds the draws and the learners; round `t` depends on the seed and `t` alone. An integer also decides which of
        tied options `predict` names. With None and a
        `checkpoint_dir`, the seed that the first call has drawn is kept there and taken again.
    checkpoint_dir : path, optional
        Folder where each round is committed as it ends. `fit` called again with the same data and parameters goes on
        after the last of them, and gives the same ensemble to the bit; `n_estimators` may have grown.
    on_locked : {"raise", "wait"}, default="raise"
        What to do while another process fits in `checkpoint_dir`.
    verbose : bool, default=False
        Show a progress bar over rounds, with the last one's error and vote. The learner's own bars are below it.

    Attributes
    ----------
    estimators_ : list of TokenLearner
        The members kept.
    estimator_weights_ : ndarray of shape (T,)
        What members vote with, see `votes`; ones with ``reweight=False``.
    alphas_ : ndarray of shape (T,)
        :math:`\alpha_t`, in nats, whatever the votes are; ones with ``reweight=False``.
    estimator_errors_ : ndarray of shape (T,)
        :math:`\epsilon_t` under :math:`D_t`; with ``errors="held-out"`` by learners that had not seen what they judged.
    prior_errors_ : ndarray of shape (T,)
        The prior of each round.
    pretrained_error_ : float
        Error of the untrained model under the initial weights; of several the largest.
    pretrained_errors_ : ndarray of shape (K,)
        That of each of the K weak learners.
    picks_ : ndarray of shape (T,), int64
        Place among the weak learners of what each member was trained from.
    token_weight_ : ndarray of shape (n_tokens,)
        Weight of each answer token after the last round; where members read differently, of each answer. Of the answers
        that were trained on.
    stop_reason_ : {"n_estimators", "perfect_fit", "error_above_prior", "diverged", "interrupted"}
        Why boosting ended. "interrupted" by Ctrl-C: the members are those of the rounds before, and the
        KeyboardInterrupt has been passed on.
    held_out_rows_ : ndarray of int
        Numbers of the questions in what `fit` was given that votes were fitted or errors measured by: with folds all,
        else the share that no member was trained on; empty where nothing is held out.
    max_new_tokens_ : int
        Longest answer in `fit`, in tokens, by whichever tokenizer makes it longest.
    skipped_rows_ : list of (int, str)
        Number and reason of each row that was left out.

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
    Members with different tokenizers have no tokens in common whose probabilities could be added, and those with
    different templates are not asked the same. Members that read alike (tokenizer, ``prompt_template``, chat template,
    ``adapt``) are one voice, which answers by Eq. 1. From the options of a question, the voices choose by
    :math:`\sum_g \beta_g p_g(o)`, where :math:`\beta_g` sums their members' :math:`\bar\alpha_t`, and :math:`p_g` is
    the softmax over the options of a voice's log-likelihoods, divided by what `normalize` says. Without options each
    voice writes an answer, and these are the options; with ``do_sample=True`` a voice is drawn for each answer. What
    needs common tokens is not there then: ``mixture_``, token errors, and ``score`` without options.

    Votes that are fitted to held-out questions minimise the log loss of a linear pool, which is convex, see
    `OpinionPool`: :math:`-\sum_i q_i \log \sum_t w_t p_{ti}`, with :math:`w \ge 0` of sum 1 and :math:`q_i` the sample
    weights. Where there are options, :math:`p_{ti}` is the softmax of member `t`'s scores of the options of question
    `i`, at the right one. Else it is its probability of answer token `i`, and the sum is Eq. 1; where members read
    differently, that of the whole answer, normalised as `normalize` says. A member whose share is 0 keeps a billionth
    of the largest. Equal questions are never parted. With folds a member's part is played by the learners of its round
    that have not seen the question; :math:`D_t` stems from all questions then, unless errors are held out too.

    References
    ----------
    .. [1] Agrawal et al., "EnsemW2S: Can an Ensemble of LLMs be Leveraged to Obtain a Stronger LLM?", 2024.
    .. [2] Hastie, Rosset, Zhu, Zou, "Multi-class AdaBoost", Statistics and its Interface 2(3), 2009.

    Examples
    --------
    >>> from ensemw2s import BigramLearner, TokenAdaBoostGenerator
    >>> X, y = ["Sky?", "Sea?", "Grass?", "Leaf?"], ["blue", "blue", "green", "green"]
    >>> booster = TokenAdaBoostGenerator(BigramLearner(), n_estimators=3, prior="uniform", random_state=0)
    >>> booster = booster.fit(X, y)
    >>> bool((booster.estimator_weights_ > 0).all())
    True
    >>> booster.predict(["Sky?"], choices=[["blue", "xyzzy"]])
    array(['blue'], dtype=object)
    """

    def __init__(
        self,
        estimator: Any = None,
        *,
        estimators: Sequence[Any] | None = None,
        pick: Pick = "cycle",
        n_estimators: int = 5,
        learning_rate: float = 1.0,
        sampling: Sampling = "binary",
        unit: str | int = "token",
        window: str = "tiling",
        combine: str = "probabilities",
        prior: str = "pretrained",
        reweight: bool = True,
        votes: Votes = "alpha",
        errors: Errors = "train",
        cv: int | None = None,
        validation_fraction: float = 0.2,
        choose: str = "likelihood",
        normalize: str = "sum",
        on_failure: str = "raise",
        backend: str = "auto",
        on_bad_row: str = "raise",
        random_state: Any = None,
        checkpoint_dir: str | os.PathLike[str] | None = None,
        on_locked: str = "raise",
        verbose: bool = False,
    ) -> None:
        self.estimator = estimator
        self.estimators = estimators
        self.pick = pick
        self.n_estimators = n_estimators
        self.learning_rate = learning_rate
        self.sampling = sampling
        self.unit = unit
        self.window = window
        self.combine = combine
        self.prior = prior
        self.reweight = reweight
        self.votes = votes
        self.errors = errors
        self.cv = cv
        self.validation_fraction = validation_fraction
        self.choose = choose
        self.normalize = normalize
        self.on_failure = on_failure
        self.backend = backend
        self.on_bad_row = on_bad_row
        self.random_state = random_state
        self.checkpoint_dir = checkpoint_dir
        self.on_locked = on_locked
        self.verbose = verbose

    def fit(
        self,
        X: Any,
        y: Any = None,
        sample_weight: Any = None,
        *,
        choices: Sequence[Sequence[str]] | None = None,
        eval_set: Any = None,
    ) -> TokenAdaBoostGenerator:
        """Boost.

        Parameters
        ----------
        X : sequence of str or QADataset, shape (n,)
            Easy questions.
        y : sequence of str, optional
            Their answers; those of the `QADataset` if None.
        sample_weight : array-like of shape (n,), optional
            Initial weight of each answer, shared by its tokens.
        choices : sequence of sequences of str, optional
            Options; needed by ``unit="option"``.
        eval_set : QADataset or tuple (X, y), optional
            Other questions with answers, on which the learner of each round evaluates while it trains, without the
            weights of the round; see `HFCausalLM.fit`. No error of a round is counted on them.

        Returns
        -------
        TokenAdaBoostGenerator
            The fitted booster itself.
        """
        self.check_parameters()
        with tokenized_once():
            usable, row_weight = self._check_input(X, y, sample_weight, choices)
            untrained = self._untrained()
            self._check_eval_set(untrained, eval_set, usable.X.prompts)
            units = make_units(self.unit, untrained, usable.X, normalize=self.normalize, window=self.window)
            pairs = list(zip(units, untrained, strict=True))
            for learner in {id(unit): learner for unit, learner in pairs if reads_tokens(learner)}.values():
                check_can_be_written(learner, usable.X)
            for scorer in untrained:
                if not reads_tokens(scorer):  # those that do have been asked by the making of units
                    check_scorable(scorer, usable.X, usable.kept)
            if self.votes == "held-out" and usable.X.choices is not None:  # these will be scored when all is trained
                fit_check(untrained)(usable.X, usable.kept)
            keys = zip(usable.X.prompts, usable.X.choices or usable.X.prompts, strict=True)
            rows = Rows(self, len(usable.X), row_weight, keys, "questions")
            given = usable.take(sample_weight, "sample_weight")
            problem = TokenProblem(self, untrained, units, usable, given, rows, eval_set)
            rounds = Rounds(units[0].initial_weight(row_weight))

            def finish() -> None:
                self.pretrained_errors_ = problem.pretrained_errors
                self.pretrained_error_ = float(problem.pretrained_errors.max())
                self.picks_ = np.array([each.pick for each in rounds.kept])
                trained = [problem.units[pick] for pick in self.picks_]
                self.token_weight_ = spread_together(trained, rounds.weight)
                lengths = [int(unit.tokens.answer_lengths.max()) for unit in units if unit.tokens is not None]
                self.max_new_tokens_ = max(lengths, default=1)
                self.skipped_rows_ = usable.skipped

            fit_rounds(self, problem, rounds, finish)
        return self

    def _check_eval_set(self, untrained: Sequence[Any], eval_set: Any, prompts: Sequence[str]) -> None:
        if eval_set is None:
            return
        check_takes_eval_set(untrained, eval_set)
        if self.checkpoint_dir is not None:  # which does not say by what questions the rounds were evaluated
            raise ValueError("checkpoint_dir must be None where eval_set is given. Got both; pass one of them.")
        evaluated = check_questions(*as_pair(eval_set))
        require_answers(evaluated)
        known = set(prompts)
        for row, prompt in enumerate(evaluated.prompts):
            if prompt in known:
                raise ValueError(
                    f"eval_set must hold other questions than X, on which errors are counted. Got question {row} in "
                    f"both; drop it from one of them."
                )

    def staged_token_weight(
        self, X: Any, y: Any = None, sample_weight: Any = None, *, choices: Sequence[Sequence[str]] | None = None
    ) -> Iterator[np.ndarray]:
        r"""Weight of each answer token before round 1, 2, ..., T, and after the last.

        The updates are made once more, with the members' :math:`\alpha_t` and their own errors on these answers. On
        what `fit` has trained on (all it was given, or what is not in ``held_out_rows_``) they are the weights of the
        rounds, ending with ``token_weight_``; no round's are stored.

        Parameters
        ----------
        X, y, sample_weight, choices
            As in `fit`.

        Yields
        ------
        ndarray of shape (n_tokens,)
            :math:`D_1, D_2, \dots, D_{T+1}`, one entry per answer token; with a larger unit its tokens have the
            unit's weight; where members read differently, one per answer. With ``reweight=False`` always
            :math:`D_1`.

        Raises
        ------
        ValueError
            With ``errors="held-out"``, where errors were those of learners that have not been kept.

        Examples
        --------
        The tokens are those of `TokenDataset.for_learner`, answer by answer.

        >>> from ensemw2s import BigramLearner, TokenAdaBoostGenerator, TokenDataset
        >>> X, y = ["Sky?", "Sea?", "Leaf?"], ["blue", "blue", "green"]
        >>> booster = TokenAdaBoostGenerator(BigramLearner(), n_estimators=1, prior="uniform", sampling="weight")
        >>> first, second = booster.fit(X, y).staged_token_weight(X, y)
        >>> learner = booster.estimators_[0]
        >>> tokens = TokenDataset.for_learner(learner, X, y)
        >>> learner.tokenizer_.decode(tokens.labels[second.argmax()])  # after a space it expects the b of blue
        'g'
        """
        check_is_fitted(self, "estimators_")
        if self.reweight and ERRORS[self.errors]:
            raise ValueError(
                "errors must be 'train' for the weights to be computed again by the members' own errors. Got "
                "errors='held-out', and the learners that have measured them are not kept; see token_weight_ for the "
                "last ones."
            )
        usable, row_weight = self._check_input(X, y, sample_weight, choices)
        units = make_units(self.unit, self.estimators_, usable.X, normalize=self.normalize, window=self.window)
        weight = units[0].initial_weight(row_weight)
        yield spread_together(units, weight).copy()  # a copy: what the caller does to it must not reach the next round
        members = zip(units, self.estimators_, self.alphas_, strict=True)
        rounds = zip(self.estimator_errors_, self.prior_errors_, strict=True)
        for (unit, member, vote), (error, prior) in zip(members, rounds, strict=True):
            if self.reweight and not no_better(error, prior, TokenProblem.tolerance):
                weight = updated_weight(weight, unit.errors(member), vote)
            yield spread_together(units, weight).copy()

    def _check_input(
        self, X: Any, y: Any, sample_weight: Any, choices: Sequence[Sequence[str]] | None
    ) -> tuple[UsableRows, np.ndarray]:
        scores_options = needs_options(self.unit) or self.votes == "held-out"
        usable = self._usable(X, y, choices, with_options=scores_options)
        require_answers(usable.X)
        if needs_options(self.unit):
            require_choices(usable.X)
        return usable, check_sample_weight(usable.take(sample_weight, "sample_weight"), len(usable.X))

    def _given(self) -> list[WeakLearner | str]:
        return [self.estimator] if self.estimators is None else list(self.estimators)

    def _combine(self) -> str:
        return self.combine

    def _check_given(self) -> None:
        check_one_or_several(self.estimator, self.estimators)

    def check_parameters(self) -> None:
        """Raise unless all parameters are in range; `fit` does so first. Nothing is loaded or trained.

        Raises
        ------
        ValueError, TypeError
            With the parameter's name.
        """
        self._check_given()
        check_option(self.pick, "pick", PICKS)
        check_loop_parameters(self)
        check_checkpoint(self)
        check_option(self.sampling, "sampling", SAMPLINGS)
        check_option(self.prior, "prior", PRIORS)
        check_unit(self.unit, self.window)
        check_own_validation(self)
        self._check_answering()
        if self.votes == "held-out" and self.combine != "probabilities":
            raise ValueError(
                f"combine must be 'probabilities' for votes='held-out', which are fitted to mixtures of these. Got "
                f"{self.combine!r} instead; pass votes='even' or 'alpha'."
            )
