"""Which of several sampled answers stands for a question: by their number, or by a verifier."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax
from sklearn.exceptions import NotFittedError
from sklearn.utils.validation import check_is_fitted

from ensemw2s._validation import check_integer, check_option, shorten
from ensemw2s.contracts import OptionLearner, checked_scores
from ensemw2s.metrics import as_extract, tied_best

Answers = Sequence[Sequence[str | None]]


@dataclass(frozen=True)
class VoteRule:
    """How many answers are sampled, what is the answer within a text, and which one is chosen.

    Attributes
    ----------
    n_samples : int
    vote : str or None
        An entry of `VOTES`; None for that which the other parameters suggest.
    rerank : OptionLearner or None
        Fitted.
    extract : callable, str, re.Pattern or None
        See `as_extract`.
    """

    n_samples: int = 1
    vote: str | None = None
    rerank: OptionLearner | None = None
    extract: Any = None

    @property
    def name(self) -> str:
        """The entry of `VOTES`."""
        return self.vote or ("majority" if self.rerank is None else "best")

    def check(self) -> None:
        """Raise a ValueError or TypeError if a setting is out of range, or does not go with another."""
        as_extract(self.extract)
        several = check_integer(self.n_samples, "n_samples", minimum=1) > 1
        if self.vote is not None:
            check_option(self.vote, "vote", VOTES)
        for name, value in (("vote", self.vote), ("rerank", self.rerank)):
            if value is not None and not several:
                raise ValueError(
                    f"n_samples must be at least 2 with {name}, which chooses among sampled answers. Got n_samples=1; "
                    f"pass more, or leave {name} out."
                )
        if several and (self.name == "majority") != (self.rerank is None):
            remedy = "pass a fitted verifier" if self.rerank is None else "leave it out, or pass vote='weighted'"
            raise ValueError(
                f"rerank must be a verifier with vote='best' or 'weighted', and None with 'majority'. Got vote="
                f"{self.vote!r} and {shorten(self.rerank)}; {remedy}."
            )
        if self.rerank is None:
            return
        if isinstance(self.rerank, type) or not callable(getattr(self.rerank, "option_scores", None)):
            raise TypeError(
                f"rerank must be a verifier with option_scores(prompts, choices), see OptionLearner. Got "
                f"{shorten(self.rerank)} instead."
            )
        try:
            check_is_fitted(self.rerank)
        except NotFittedError as error:
            raise ValueError(
                f"rerank must be fitted: it ranks answers to questions that nobody has solved. Got an unfitted "
                f"{type(self.rerank).__name__}; fit it, and where sklearn.base.clone would undo that, pass "
                f"FrozenEstimator(verifier)."
            ) from error


def choose_samples(
    answers: Answers,
    texts: Sequence[Sequence[str]],
    vote: str,
    scores: NDArray[np.float64] | None,
    log_likelihood: Callable[[list[tuple[int, int]]], NDArray[np.float64]],
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Choose one of the samples of each question.

    Parameters
    ----------
    answers : n sequences of k str or None
        The answer that each sample gives; one that is None is not chosen.
    texts : n sequences of k str
        What was written.
    vote : str
        An entry of `VOTES`.
    scores : ndarray of shape (n, k) or None
        Of a verifier.
    log_likelihood : callable
        Gets pairs of a question and one of its samples, and says how likely the text is. It is asked only about
        texts between which nothing else decides.

    Returns
    -------
    chosen : ndarray of shape (n,)
        Number of the sample; 0 where none gives an answer.
    share : ndarray of shape (n,)
        Of the votes, that of its answer; samples without an answer are votes for nothing.
    """
    chosen, share = np.zeros(len(answers), dtype=np.int64), np.zeros((len(answers), len(answers[0])))
    open_rows: dict[int, list[int]] = {}
    for row, given in enumerate(answers):
        valid = np.array([place for place, answer in enumerate(given) if answer is not None], dtype=np.int64)
        if not len(valid):
            continue
        own = None if scores is None else scores[row, valid]
        _, code = np.unique([str(given[place]) for place in valid], return_inverse=True)
        best, weight = VOTES[vote](code, own)
        share[row, valid] = np.bincount(code, weights=weight)[code] * len(valid) / len(given)
        first_of: dict[str, int] = {}  # equal texts are equally good
        for place in valid[_best_scored(best, own)].tolist():
            first_of.setdefault(texts[row][place], place)
        chosen[row], *others = first_of.values()
        if others:
            open_rows[row] = list(first_of.values())
    if open_rows:
        pairs = [(row, place) for row, places in open_rows.items() for place in places]
        found = iter(log_likelihood(pairs))
        for row, places in open_rows.items():
            nll = -np.array([next(found) for _ in places])
            chosen[row] = places[int(tied_best(nll[None], len(places))[0].argmax())]
    return chosen, share[np.arange(len(chosen)), chosen]


def verifier_scores(
    verifier: OptionLearner, prompts: Sequence[str], answers: Answers, texts: Sequence[Sequence[str]]
) -> NDArray[np.float64]:
    """A verifier's scores of the texts that give an answer, (n, k), each different text being scored once.

    Where a question has one such text, there is nothing to rank, and its score is 0.
    """
    scores = np.zeros((len(texts), len(texts[0])))
    options = [
        list(dict.fromkeys(text.strip() for text, answer in zip(*pair, strict=True) if answer is not None))
        for pair in zip(texts, answers, strict=True)
    ]
    rows = [row for row, several in enumerate(options) if len(several) > 1]
    if rows:
        asked = [options[row] for row in rows]
        found = verifier.option_scores([prompts[row] for row in rows], asked)
        table = checked_scores(found, verifier, np.array([len(several) for several in asked]))
        for row, several, values in zip(rows, asked, table, strict=True):
            score_of = dict(zip(several, values.tolist(), strict=False))
            scores[row] = [score_of.get(text.strip(), 0.0) for text in texts[row]]
    return scores


def _best_scored(best: NDArray[np.bool_], scores: NDArray[np.float64] | None) -> NDArray[np.int64]:
    places = np.flatnonzero(best)
    return places if scores is None else places[tied_best(-scores[places][None], len(places))[0]]


def _by_count(code: NDArray[np.int64], scores: Any) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    return _by_total(code, np.full(len(code), 1.0 / len(code)))


def _by_weight(code: NDArray[np.int64], scores: Any) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    return _by_total(code, softmax(scores))


def _by_score(code: NDArray[np.int64], scores: Any) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    return np.ones(len(code), dtype=bool), softmax(scores)  # of all, the best scored is taken anyway


def _by_total(code: NDArray[np.int64], weight: NDArray[np.float64]) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    total = np.bincount(code, weights=weight)
    return np.isclose(total, total.max(), rtol=1e-9, atol=0.0)[code], weight


# By the name that the parameter `vote` has: from a question's answers, as numbers, and their scores to the samples that
# may be chosen, and the weight of each, which sum to 1.
VOTES: dict[str, Callable[[NDArray[np.int64], Any], tuple[NDArray[np.bool_], NDArray[np.float64]]]] = {
    "majority": _by_count,
    "best": _by_score,
    "weighted": _by_weight,
}
