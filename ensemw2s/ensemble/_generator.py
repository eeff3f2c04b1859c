"""What every fitted generator can do: generate, choose options, and be scored."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted

from ensemw2s._inputs.classifier_rows import text_tags
from ensemw2s._inputs.questions import (
    check_questions,
    check_sample_weight,
    require_answers,
    require_choices,
    usable_questions,
)
from ensemw2s._inputs.usable_rows import LengthCheck, UsableRows
from ensemw2s._validation import CheckedTexts, check_option
from ensemw2s._validation.method_names import methods_of
from ensemw2s.contracts import WeakLearner
from ensemw2s.datasets import QADataset
from ensemw2s.ensemble._ensemble import BaseEnsemble
from ensemw2s.ensemble._length_checks import fit_check, room_check, training_check, writing_check
from ensemw2s.ensemble._weak_learners import as_token_learner, check_backend, check_one
from ensemw2s.metrics import Extract, MetricLike, as_metric, likeliest_texts, option_credit, option_proba
from ensemw2s.mixture import (
    CHOOSINGS,
    COMBINATIONS,
    NORMALIZATIONS,
    AnswerVote,
    TokenMixture,
    Written,
    apart,
    group_alike,
    join_members,
    n_new_tokens,
    normalized_votes,
    reads_tokens,
    staged_votes,
    texts_of,
    with_length,
)
from ensemw2s.tokens import TokenDataset, hold_end

if TYPE_CHECKING:
    from ensemw2s.mixture import MixtureForCausalLM


def has_common_tokens(generator: BaseTokenGenerator) -> bool:
    """Whether a token is right or wrong for all members; an AttributeError says why not.

    Before `fit` nobody knows without loading every tokenizer, see `BaseTokenGenerator._check_common_tokens`.
    """
    if hasattr(generator, "estimators_"):
        joined = generator._join()
        if isinstance(joined, AnswerVote):
            raise AttributeError(f"{joined.reason}.")
    return True


@methods_of()
class BaseTokenGenerator(BaseEnsemble):
    """Fitted language models that answer together; `fit` makes them, and is all that a subclass adds.

    Subclasses have the parameters ``estimator``, ``choose``, ``normalize``, ``backend`` and ``on_bad_row``, and set
    ``estimators_``, ``estimator_weights_`` and ``max_new_tokens_``.
    """

    estimator: WeakLearner | str
    choose: str
    normalize: str
    backend: str
    on_bad_row: str
    estimators_: list[WeakLearner]
    max_new_tokens_: int

    def generate(self, X: Any, **generation_kwargs: Any) -> list[Any]:
        """Write answers.

        Greedy unless the keywords say otherwise. ``do_sample=True`` draws each token from the mixture, of which
        transformers keeps the 50 most probable tokens unless told otherwise; with ``top_k=0`` that is Eq. 1 of the
        paper, and members that are not picked for a token need not run, see `MixtureForCausalLM`.

        Parameters
        ----------
        X : sequence of str or QADataset, shape (n,)
            Questions.
        **generation_kwargs
            Passed to `transformers.GenerationMixin.generate`: ``max_new_tokens`` (default: the longest answer seen
            in `fit`), ``do_sample``, ``temperature``, ``top_p``, ``num_beams``, ``num_return_sequences``, …; and
            ``share_picks=True``, with which the questions of a batch draw one member per step together.

        Returns
        -------
        list of str, or list of list of str with ``num_return_sequences > 1``
            What the tokens say up to the one that ends the answer, special tokens and all blanks included.
        """
        return texts_of(self._write(X, generation_kwargs))

    @property
    def mixture_(self) -> MixtureForCausalLM:
        """The ensemble as a Hugging Face model, sharing the members' weights; its members must read alike.

        A new one each time: keep it in a variable to set its ``generation_config``, which `generate` does not see.
        """
        check_is_fitted(self, "estimators_")
        mixture = self._join().model(self.estimator_weights_)
        mixture._ensemble = copy.copy(self)  # as it is now, to be saved; a later fit makes another one
        return mixture

    def predict(self, X: Any, choices: Sequence[Sequence[str]] | None = None) -> np.ndarray:
        """Choose an option for each question, or write an answer where there are no options.

        Of options that the ensemble cannot tell apart, one is drawn, by `random_state` where that is an integer and by
        the texts of question and options; their order has no say. `score` counts such a tie of m options as 1/m.

        Parameters
        ----------
        X : sequence of str or QADataset, shape (n,)
            Questions; the options of a `QADataset` are used.
        choices : sequence of sequences of str, optional
            Options of each question.

        Returns
        -------
        ndarray of shape (n,), object
            Texts.
        """
        check_is_fitted(self, "estimators_")
        questions = check_questions(X, choices=choices)
        if questions.choices is None:
            return _texts(self.generate(questions.prompts))
        return self._chosen(self._option_nll(questions)[-1], questions)

    def predict_proba(self, X: Any, choices: Sequence[Sequence[str]] | None = None) -> np.ndarray:
        """Probability of each option: the likelihoods of the options, normalised over the question.

        Parameters
        ----------
        X : sequence of str or QADataset, shape (n,)
            Questions.
        choices : sequence of sequences of str, optional
            Options; required unless `X` is a `QADataset` that has them.

        Returns
        -------
        ndarray of shape (n, K)
            K is the largest number of options; 0 where a question has fewer. Options that the ensemble cannot tell
            apart have equal probabilities, also where it gives all options probability 0.
        """
        check_is_fitted(self, "estimators_")
        questions = check_questions(X, choices=choices)
        return option_proba(self._option_nll(questions)[-1], questions.n_choices)

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
        """What the answers earn on average, by default option accuracy, or without options the share of right texts.

        A question whose gold option is tied with others for the likeliest counts 1/m for m tied options, which is what
        guessing among them would bring; scores within 1e-5, absolutely plus relatively, are a tie. Without options the
        answers are written, as `generate` does, and compared as texts; the share of answer tokens that are predicted
        right is ``1 - token_error(X, y)``.

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
        metric : {"accuracy", "exact_text", "exact_match", "f1", "number", "rouge"} or callable, optional
            What answers earn: a name, or a function ``(predictions, references) -> (n,)`` in [0, 1]. "accuracy" (the
            default with options) is about the likeliest option; the others compare texts: "exact_text" (the default
            without) the texts themselves, "exact_match" and "f1" as SQuAD does, "number" the numbers that they end
            with, "rouge" by ROUGE-L.
        extract : callable, str or re.Pattern, optional
            Finds the answer in a text: a function that returns it or None, or a regular expression of which the last
            match counts, or its group 1. A prediction without an answer is wrong.

        Returns
        -------
        float in [0, 1]

        Examples
        --------
        >>> from ensemw2s import BigramLearner, FineTunedGenerator
        >>> generator = FineTunedGenerator(BigramLearner()).fit(["3 + 4?"], ["7"])
        >>> generator.score(["3 + 4?"], ["7.0"]), generator.score(["3 + 4?"], ["7.0"], metric="number")
        (0.0, 1.0)
        """
        check_is_fitted(self, "estimators_")
        return self._scores([self.estimator_weights_], X, y, sample_weight, choices, metric, extract)[0]

    def credit(
        self,
        X: Any,
        y: Any = None,
        *,
        choices: Sequence[Sequence[str]] | None = None,
        metric: MetricLike = None,
        extract: Extract = None,
    ) -> np.ndarray:
        """What each question earns: 1 if it is answered right, 0 if not, 1/m for a gold option tied with m - 1 others.

        Parameters
        ----------
        X : sequence of str or QADataset, shape (n,)
            Questions.
        y : sequence of str, optional
            Answers; those of the `QADataset` if None.
        choices : sequence of sequences of str, optional
            Options.
        metric, extract
            As in `score`.

        Returns
        -------
        ndarray of shape (n,)
            Its mean is the score.

        Examples
        --------
        Nothing that this model has seen speaks for one of the words:

        >>> from ensemw2s import BigramLearner, FineTunedGenerator
        >>> generator = FineTunedGenerator(BigramLearner()).fit(["Sky?"], ["blue"])
        >>> generator.credit(["Sky?", "Sky?"], ["blue", "xyz"], choices=[["blue", "vwx"], ["xyz", "vwx"]])
        array([1. , 0.5])
        """
        check_is_fitted(self, "estimators_")
        earned = self.judge_under([self.estimator_weights_], X, y, choices, metric=metric, extract=extract)[1]
        own: np.ndarray = earned[0]
        return own

    def answer_nll(self, X: Any, y: Any = None, *, normalize: str = "sum") -> np.ndarray:
        r"""Negative log-likelihood of each answer under the mixture, end-of-answer token included.

        Parameters
        ----------
        X : sequence of str or QADataset, shape (n,)
            Questions.
        y : sequence of str, optional
            Answers; those of the `QADataset` if None.
        normalize : str, default="sum"
            What the sum over tokens is divided by, see `FineTunedGenerator`.

        Returns
        -------
        ndarray of shape (n,)
            In nats (per token or character, if so normalised).
        """
        check_is_fitted(self, "estimators_")
        questions = check_questions(X, y)
        votes, answers = self.estimator_weights_, require_answers(questions)
        nll: np.ndarray = self._join().answer_nll(votes, questions.prompts, answers, normalize)[0]
        return nll

    @available_if(has_common_tokens)
    def token_error(self, X: Any, y: Any = None) -> float:
        """Share of answer tokens predicted wrongly, each given the true tokens before it.

        A token that is one of m tied for the most probable counts 1 - 1/m.

        Parameters
        ----------
        X : sequence of str or QADataset, shape (n,)
            Questions.
        y : sequence of str, optional
            Answers; those of the `QADataset` if None.

        Returns
        -------
        float in [0, 1]
        """
        return float(self._token_mistakes(check_questions(X, y))[1].mean())

    @available_if(has_common_tokens)
    def answer_error(self, X: Any, y: Any = None) -> np.ndarray:
        """Share of each answer's tokens predicted wrongly, each given the true tokens before it.

        A token that is one of m tied for the most probable counts 1 - 1/m, so that no rating depends on token ids.

        Parameters
        ----------
        X : sequence of str or QADataset, shape (n,)
            Questions.
        y : sequence of str, optional
            Answers; those of the `QADataset` if None.

        Returns
        -------
        ndarray of shape (n,)
            In [0, 1]; the end-of-answer token counts as a token.
        """
        tokens, mistakes = self._token_mistakes(check_questions(X, y))
        share: np.ndarray = tokens.sum_rows(mistakes[0].astype(np.float64)) / tokens.answer_lengths
        return share

    def staged_predict(self, X: Any, choices: Sequence[Sequence[str]] | None = None) -> Iterator[np.ndarray]:
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
            for row in staged_votes(self.estimator_weights_):
                yield self.with_votes(row).predict(questions)
            return
        yield from self.predict_under(staged_votes(self.estimator_weights_), questions)

    def predict_under(self, votes: Any, X: Any, choices: Sequence[Sequence[str]] | None = None) -> list[np.ndarray]:
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

    def member_predictions(self, X: Any, choices: Sequence[Sequence[str]] | None = None) -> np.ndarray:
        """`predict` of each member alone: where they agree, and what another vote could gain.

        Parameters
        ----------
        X : sequence of str or QADataset, shape (n,)
            Questions; the options of a `QADataset` are used.
        choices : sequence of sequences of str, optional
            Options of each question. Without options each member writes its own answer.

        Returns
        -------
        ndarray of shape (T, n), object
            One row of texts per member, as `error_correlation` and `MarginDisplay` take them.

        Examples
        --------
        >>> from ensemw2s import BigramLearner, TokenAdaBoostGenerator, error_correlation, make_qa
        >>> easy, test = make_qa(60, random_state=0), make_qa(40, random_state=1)
        >>> booster = TokenAdaBoostGenerator(
        ...     BigramLearner(), n_estimators=3, prior="uniform", random_state=0).fit(easy)
        >>> members = booster.member_predictions(test)
        >>> members.shape, error_correlation(members, test.answers).shape
        ((3, 40), (3, 3))
        """
        check_is_fitted(self, "estimators_")
        return np.stack(self.predict_under(np.eye(len(self.estimators_)), X, choices))

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
        """`predict_under` and what the answers earn, see `credit`; for options at the price of one pass per member.

        Parameters
        ----------
        votes : array-like of shape (S, T)
            Vote vectors; 0 leaves a member out.
        X, y, choices, metric, extract
            As in `credit`.

        Returns
        -------
        predicted : list of S ndarrays of shape (n,), object
        credit : ndarray of shape (S, n)
        """
        check_is_fitted(self, "estimators_")
        questions = check_questions(X, y, choices)
        answers = require_answers(questions)
        measured = as_metric(metric, extract, kind="texts" if questions.choices is None else "options")
        if measured.compare is not None:
            measured.check(answers)
            said = self.predict_under(votes, questions)
            return said, np.array([measured(row, answers) for row in said])
        nll = self._option_nll(questions, votes)
        predicted = [self._chosen(stage, questions) for stage in nll]
        return predicted, option_credit(nll, questions.labels, questions.n_choices)

    def staged_predict_proba(self, X: Any, choices: Sequence[Sequence[str]] | None = None) -> Iterator[np.ndarray]:
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
        for nll in self._option_nll(questions, staged_votes(self.estimator_weights_)):
            yield option_proba(nll, questions.n_choices)

    def staged_score(
        self,
        X: Any,
        y: Any = None,
        sample_weight: Any = None,
        *,
        choices: Sequence[Sequence[str]] | None = None,
        metric: MetricLike = None,
        extract: Extract = None,
    ) -> Iterator[float]:
        """`score` of the first 1, 2, ..., T members.

        Parameters
        ----------
        X, y, sample_weight, choices, metric, extract
            As in `score`.

        Yields
        ------
        float in [0, 1]
        """
        check_is_fitted(self, "estimators_")
        yield from self._scores(staged_votes(self.estimator_weights_), X, y, sample_weight, choices, metric, extract)

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
        error: np.ndarray = self._token_mistakes(check_questions(X, y), votes)[1].mean(axis=1)
        return error

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
        yield from self.token_error_under(staged_votes(self.estimator_weights_), X, y).tolist()

    def __sklearn_tags__(self) -> Any:
        return text_tags(super().__sklearn_tags__())

    def _given(self) -> list[WeakLearner | str]:
        """The weak learners as they were passed."""
        return [self.estimator]

    def _combine(self) -> str:
        """How members that read alike are mixed, see `COMBINATIONS`."""
        return "probabilities"

    def _check_given(self) -> None:
        """Raise unless the weak learners are some."""
        check_one(self.estimator)

    def _check_answering(self) -> None:
        """Raise unless the parameters by which members answer are in range."""
        check_option(self.choose, "choose", CHOOSINGS)
        check_option(self.normalize, "normalize", NORMALIZATIONS)
        check_option(self._combine(), "combine", COMBINATIONS)
        check_backend(self.backend, self._given())

    def _base_estimators(self) -> list[WeakLearner]:
        """Clones of the weak learners; a model id becomes an `HFCausalLM`."""
        self._check_given()
        return [as_token_learner(given) for given in self._given()]

    def _untrained(self) -> list[WeakLearner]:
        """The weak learners before training, with their tokenizers."""
        learners = self._base_estimators()
        return [learner.initialize() if reads_tokens(learner) else learner for learner in learners]

    def _join(self, members: list[WeakLearner] | None = None) -> TokenMixture | AnswerVote:
        """What lets the fitted members answer together, or the given ones."""
        members = self.estimators_ if members is None else members
        return join_members(
            members, combine=self._combine(), backend=self.backend, choose=self.choose,
            normalize=self.normalize,
        )  # fmt: skip

    def _usable(
        self, X: Any, y: Any, choices: Sequence[Sequence[str]] | None, *, with_options: bool = False
    ) -> UsableRows:
        """The rows to train on, with parameter ``on_bad_row``; where options are scored too, they have to fit."""
        if self.on_bad_row != "skip":
            return usable_questions(X, y, choices, on_bad_row=self.on_bad_row)  # lengths show when it is tokenised
        lengths = [lambda: training_check(self._untrained()), *([self._length_check] if with_options else [])]
        return usable_questions(X, y, choices, on_bad_row=self.on_bad_row, lengths=lengths)

    def _check_lengths(self, questions: QADataset) -> None:
        """Raise a ValueError that names the row where a question does not fit into the model that `fit` would train.

        Every option is looked at, or the answer where there are no options. Nothing is trained, and no weights of a
        hub id or folder are loaded.
        """
        fit_check(self._untrained())(questions, np.arange(len(questions)))

    def _length_check(self) -> LengthCheck:
        """The same as a function of questions and the numbers by which messages call them; of the fitted model."""
        if not hasattr(self, "estimators_"):
            return fit_check(self._untrained())
        joined = self._join()
        return fit_check([*joined.readers, *(joined.scorers if isinstance(joined, AnswerVote) else ())])

    def _writing_check(self) -> LengthCheck:
        """Whether `fit` would refuse an answer, which comes back as another text from its tokens or ends within."""
        return writing_check(self._untrained())

    def _room_check(self, **generation_kwargs: Any) -> LengthCheck:
        """Whether `generate` would have no room, with these keywords."""
        check_is_fitted(self, "estimators_")
        n_new = n_new_tokens(with_length(generation_kwargs, self.max_new_tokens_))
        return room_check(self._join().readers, n_new)

    def _check_common_tokens(self) -> None:
        """Raise a ValueError that says why, where no token is right or wrong for all members.

        Nothing is trained, and no weights of a hub id or folder are loaded.
        """
        learners = self.estimators_ if hasattr(self, "estimators_") else self._untrained()
        groups = group_alike(learners)
        if len(groups) > 1 or not reads_tokens(learners[0]):
            raise ValueError(f"{apart(learners, groups)}. So no token is right or wrong for all.")

    def _write(self, X: Any, generation_kwargs: dict[str, Any]) -> list[list[Written]]:
        """What `generate` writes, and whether it was ended; see `PseudoLabeler`."""
        check_is_fitted(self, "estimators_")
        questions = check_questions(X)
        settings = with_length(generation_kwargs, self.max_new_tokens_)
        return self._join().write(self.estimator_weights_, questions.prompts, settings)

    def _hold_end(self, texts: Sequence[str]) -> list[bool]:
        """Which texts hold, spelled out, a token that ends an answer for one of the members."""
        held = [hold_end(texts, reader) for reader in self._join().readers]
        return [any(bad) for bad in zip(*held, strict=True)]

    def _option_nll(self, questions: QADataset, votes: Any = None) -> np.ndarray:
        """NLL of the options under each vote vector, (S, n, K)."""
        choices = [CheckedTexts(options) for options in require_choices(questions)]
        self._check_answering()
        votes = self.estimator_weights_ if votes is None else votes
        return self._join().option_nll(votes, CheckedTexts(questions.prompts), choices)

    def _chosen(self, nll: np.ndarray, questions: QADataset) -> np.ndarray:
        """The text of the option that is named for each question, by scores of shape (n, K)."""
        return likeliest_texts(nll, questions.prompts, require_choices(questions), getattr(self, "random_state", None))

    def _token_mistakes(self, questions: QADataset, votes: Any = None) -> tuple[TokenDataset, np.ndarray]:
        """The answers' tokens, and the error of each under each vote vector, (S, n_tokens)."""
        check_is_fitted(self, "estimators_")
        return self._join().token_mistakes(self.estimator_weights_ if votes is None else votes, questions)

    def _scores(
        self,
        votes: Any,
        X: Any,
        y: Any,
        sample_weight: Any,
        choices: Sequence[Sequence[str]] | None,
        metric: MetricLike,
        extract: Extract,
    ) -> list[float]:
        questions = check_questions(X, y, choices)
        weight = check_sample_weight(sample_weight, len(questions))
        _, earned = self.judge_under(votes, questions, metric=metric, extract=extract)
        return [float(np.average(stage, weights=weight)) for stage in earned]


def _texts(values: Sequence[str]) -> np.ndarray:
    # object, as scikit-learn's labels: a fixed-width string array would cut longer texts on assignment.
    result = np.empty(len(values), dtype=object)
    result[:] = list(values)
    return result
