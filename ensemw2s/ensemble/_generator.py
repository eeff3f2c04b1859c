"""What every fitted generator can do: generate, choose options, and be scored."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.special import softmax
from sklearn.base import BaseEstimator, MetaEstimatorMixin, clone
from sklearn.utils.validation import check_is_fitted

from ensemw2s._inputs import (
    check_questions,
    check_sample_weight,
    require_answers,
    require_choices,
    tokenize_answers,
    usable_questions,
)
from ensemw2s._usable import LengthCheck, UsableRows
from ensemw2s._validation import check_option
from ensemw2s.datasets import QADataset
from ensemw2s.ensemble._decoding import encode_with_room, generate_texts, match_nll, n_new_tokens
from ensemw2s.ensemble._kernel_choice import check_backend
from ensemw2s.ensemble._saving import SavedEnsemble
from ensemw2s.scoring import NORMALIZATIONS, option_nll, score_answers
from ensemw2s.tokens import TokenDataset

if TYPE_CHECKING:
    from ensemw2s.mixture import MixtureForCausalLM

__all__ = ["BaseTokenGenerator"]


class BaseTokenGenerator(SavedEnsemble, MetaEstimatorMixin, BaseEstimator):
    """Prediction half of the generators; `fit` sets ``estimators_`` and ``estimator_weights_``.

    Subclasses have the parameters ``estimator``, ``choose``, ``normalize``, ``backend`` and ``on_bad_row``, and may
    have ``combine``.
    """

    backend: str
    estimators_: list[Any]
    estimator_weights_: np.ndarray
    max_new_tokens_: int
    on_bad_row: str

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
        """
        check_is_fitted(self, "estimators_")
        questions = check_questions(X)
        settings = self._generation_settings(generation_kwargs)
        return generate_texts(self.mixture_, self.estimators_[0], questions.prompts, settings)

    @property
    def mixture_(self) -> MixtureForCausalLM:
        """The ensemble as a Hugging Face model, sharing the members' weights."""
        from ensemw2s.mixture import MixtureForCausalLM

        check_is_fitted(self, "estimators_")
        return MixtureForCausalLM.from_members(
            self.estimators_, self.estimator_weights_, combine=self._combine(), backend=self.backend
        )

    def predict(self, X: Any, choices: Sequence | None = None) -> np.ndarray:
        """Choose an option for each question, or write an answer where there are no options.

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
        return _chosen(self._option_nll(questions)[-1], questions.choices)

    def predict_proba(self, X: Any, choices: Sequence | None = None) -> np.ndarray:
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
            K is the largest number of options; 0 where a question has fewer.
        """
        check_is_fitted(self, "estimators_")
        return softmax(-self._option_nll(check_questions(X, choices=choices))[-1], axis=1)

    def score(self, X: Any, y: Any = None, sample_weight: Any = None, *, choices: Sequence | None = None) -> float:
        """Option accuracy where there are options, else the share of answer tokens predicted right.

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

        Returns
        -------
        float in [0, 1]
        """
        return self._staged_score(X, y, sample_weight, choices, None)[0]

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
                yield self._voters(row).predict(questions)
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
            return [self._voters(row).predict(questions) for row in np.atleast_2d(votes)]
        return [_chosen(nll, questions.choices) for nll in self._option_nll(questions, votes)]

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
        for nll in self._option_nll(check_questions(X, choices=choices), self._stages()):
            yield softmax(-nll, axis=1)

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
        yield from self._staged_score(X, y, sample_weight, choices, self._stages())

    def answer_nll(self, X: Any, y: Any = None, *, normalize: str = "sum") -> np.ndarray:
        r"""Negative log-likelihood of each answer under the mixture, end-of-answer token included.

        Parameters
        ----------
        X : sequence of str or QADataset, shape (n,)
            Questions.
        y : sequence of str, optional
            Answers; those of the `QADataset` if None.
        normalize : {"sum", "token", "char"}, default="sum"
            What the sum over tokens is divided by.

        Returns
        -------
        ndarray of shape (n,)
            In nats (per token or character, if so normalised).
        """
        check_is_fitted(self, "estimators_")
        questions = check_questions(X, y)
        answers = [[answer] for answer in require_answers(questions)]
        return self._nll(questions.prompts, answers, self.estimator_weights_, normalize)[0, :, 0]

    def token_error(self, X: Any, y: Any = None) -> float:
        """Share of answer tokens predicted wrongly, each given the true tokens before it.

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
        return float(self._token_errors(check_questions(X, y)).mean())

    def answer_error(self, X: Any, y: Any = None) -> np.ndarray:
        """Share of each answer's tokens predicted wrongly, each given the true tokens before it.

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
        return tokens.sum_rows(mistakes[0].astype(np.float64)) / tokens.answer_lengths

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

    def check_lengths(self, questions: QADataset) -> None:
        """Raise a ValueError that names the row where a question does not fit into the model.

        Every option is looked at, or the answer where there are no options. Nothing is trained, and no weights of a
        hub id or folder are loaded.

        Parameters
        ----------
        questions : QADataset
            Questions to train on, to label or to test on.
        """
        _check_fit(self._base_estimator().initialize())(questions, np.arange(len(questions)))

    def length_check(self) -> LengthCheck:
        """`check_lengths` as a function of questions and the numbers by which messages call them.

        It is that of the fitted model, or of the model that `fit` would train.

        Returns
        -------
        callable
        """
        return _check_fit(self.estimators_[0] if hasattr(self, "estimators_") else self._base_estimator().initialize())

    def room_check(self, **generation_kwargs: Any) -> LengthCheck:
        """A function of questions and their numbers that raises a ValueError where `generate` would have no room.

        Parameters
        ----------
        **generation_kwargs : object
            As in `generate`.

        Returns
        -------
        callable
        """
        check_is_fitted(self, "estimators_")
        n_new = n_new_tokens(self._generation_settings(generation_kwargs))
        return lambda questions, numbers: encode_with_room(self.estimators_[0], questions.prompts, n_new, numbers)

    def with_votes(self, votes: Any) -> Any:
        """The same members with other votes: fewer of them, or all alike.

        Parameters
        ----------
        votes : array-like of shape (n_members,), n_members <= T
            Votes of the first members, > 0.

        Returns
        -------
        BaseTokenGenerator
            A fitted shallow copy; the members are shared.

        Examples
        --------
        >>> from ensemw2s import BigramLearner, TokenAdaBoostGenerator, make_qa
        >>> easy = make_qa(40, random_state=0)
        >>> booster = TokenAdaBoostGenerator(
        ...     BigramLearner(), n_estimators=2, prior="uniform", random_state=0).fit(easy)
        >>> len(booster.with_votes(booster.estimator_weights_[:1]).estimators_)
        1
        """
        from ensemw2s.mixing import normalized_votes

        check_is_fitted(self, "estimators_")
        n_members = len(np.atleast_1d(votes))
        if n_members > len(self.estimators_):
            raise ValueError(f"votes must have at most {len(self.estimators_)} entries. Got {n_members} instead.")
        other = copy.copy(self)
        other.estimators_ = self.estimators_[:n_members]
        normalized_votes(votes, n_members)
        other.estimator_weights_ = np.array(votes, dtype=np.float64)
        return other

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.string = True
        tags.input_tags.two_d_array = False
        return tags

    def _combine(self) -> str:
        return getattr(self, "combine", "probabilities")

    def _check_choosing(self) -> None:
        check_option(self.choose, "choose", ("likelihood", "match"))
        check_option(self.normalize, "normalize", NORMALIZATIONS)
        check_option(self._combine(), "combine", ("probabilities", "logits"))
        check_backend(self.backend, self.estimator)

    def _generation_settings(self, generation_kwargs: dict[str, Any]) -> dict[str, Any]:
        config = generation_kwargs.get("generation_config")
        lengths = ("max_new_tokens", "max_length")
        if any(generation_kwargs.get(name) or getattr(config, name, None) for name in lengths):
            return generation_kwargs
        return {**generation_kwargs, "max_new_tokens": self.max_new_tokens_}

    def _usable(self, X: Any, y: Any, choices: Sequence | None, *, with_options: bool = False) -> UsableRows:
        """The rows to train on, with parameter ``on_bad_row``; where options are scored too, they have to fit."""
        if self.on_bad_row != "skip":
            return usable_questions(X, y, choices, on_bad_row=self.on_bad_row)  # lengths show when it is tokenised
        lengths = [self._training_check, *([self.length_check] if with_options else [])]
        return usable_questions(X, y, choices, on_bad_row=self.on_bad_row, lengths=lengths)

    def _training_check(self) -> LengthCheck:
        learner = self._base_estimator().initialize()
        return lambda questions, numbers: tokenize_answers(learner, questions, numbers)

    def _base_estimator(self) -> Any:
        """The weak learner to clone; a model id becomes an `HFCausalLM`."""
        if isinstance(self.estimator, str):
            from ensemw2s.learners import HFCausalLM

            return HFCausalLM(self.estimator)
        return clone(self.estimator)

    def _voters(self, votes: np.ndarray) -> Any:
        """The members that have a vote."""
        other = copy.copy(self)
        other.estimators_ = [member for member, vote in zip(self.estimators_, votes, strict=True) if vote > 0]
        other.estimator_weights_ = votes[votes > 0]
        return other

    def _batch_size(self) -> int:
        return int(getattr(self.estimators_[0], "eval_batch_size", 64))

    def _stages(self) -> np.ndarray:
        """Vote vectors of the first 1, 2, ..., T members, (T, T)."""
        return np.tril(np.ones((len(self.estimators_), 1)) * self.estimator_weights_)

    def _option_nll(self, questions: QADataset, votes: Any = None) -> np.ndarray:
        """NLL of the options under each vote vector, (S, n, K)."""
        choices = require_choices(questions)
        self._check_choosing()
        votes = self.estimator_weights_ if votes is None else votes
        if self.choose == "likelihood":
            return self._nll(questions.prompts, choices, votes, self.normalize)
        from ensemw2s.mixture import MixtureForCausalLM

        mixtures = [
            MixtureForCausalLM.from_members(self.estimators_, row, combine=self._combine(), backend=self.backend)
            for row in np.atleast_2d(votes)
        ]
        return np.stack(
            [
                match_nll(mixture, self.estimators_[0], questions.prompts, choices, normalize=self.normalize)
                for mixture in mixtures
            ]
        )

    def _nll(self, prompts: Sequence[str], choices: Sequence[Sequence[str]], votes: Any, normalize: str) -> np.ndarray:
        return option_nll(
            self.estimators_,
            votes,
            prompts,
            choices,
            combine=self._combine(),
            normalize=normalize,
            batch_size=self._batch_size(),
        )

    def _token_errors(self, questions: QADataset, votes: Any = None) -> np.ndarray:
        """0/1 errors of the answer tokens under each vote vector, (S, n_tokens)."""
        return self._token_mistakes(questions, votes)[1]

    def _token_mistakes(self, questions: QADataset, votes: Any = None) -> tuple[TokenDataset, np.ndarray]:
        check_is_fitted(self, "estimators_")
        tokens = TokenDataset.for_learner(self.estimators_[0], questions.prompts, require_answers(questions))
        scores = score_answers(
            self.estimators_,
            self.estimator_weights_ if votes is None else votes,
            tokens,
            combine=self._combine(),
            batch_size=self._batch_size(),
        )
        return tokens, scores.predicted != tokens.labels

    def _staged_score(self, X: Any, y: Any, sample_weight: Any, choices: Sequence | None, votes: Any) -> list[float]:
        check_is_fitted(self, "estimators_")
        questions = check_questions(X, y, choices)
        row_weight = check_sample_weight(sample_weight, len(questions))
        if questions.choices is not None:
            require_answers(questions)
            right = self._option_nll(questions, votes).argmin(axis=2) == questions.labels  # (S, n)
            return [float(np.average(stage, weights=row_weight)) for stage in right]
        tokens, mistakes = self._token_mistakes(questions, votes)
        weight = tokens.spread(row_weight)
        return [1.0 - float(np.average(stage, weights=weight)) for stage in mistakes]


def _texts(values: Sequence[str]) -> np.ndarray:
    # object, as scikit-learn's labels: a fixed-width string array would cut longer texts on assignment.
    result = np.empty(len(values), dtype=object)
    result[:] = list(values)
    return result


def _chosen(nll: np.ndarray, choices: Sequence[Sequence[str]]) -> np.ndarray:
    return _texts([options[best] for options, best in zip(choices, nll.argmin(axis=1), strict=True)])


def _check_fit(learner: Any) -> LengthCheck:
    """Whether questions fit into a model, with each of their options and with their answers, where there are any."""

    def check(questions: QADataset, numbers: np.ndarray) -> None:
        if questions.answers is not None:
            tokenize_answers(learner, questions, numbers)
        answers: Sequence[Sequence[str]] = [["."]] * len(questions)  # free text: room for a token, at the least
        if questions.choices is not None:
            answers = questions.choices
        elif questions.answers is not None:
            return
        rows = [row for row, several in enumerate(answers) for _ in several]
        TokenDataset.for_learner(
            learner,
            [questions.prompts[row] for row in rows],
            [answer for several in answers for answer in several],
            row_numbers=[int(numbers[row]) for row in rows],
        )

    return check
