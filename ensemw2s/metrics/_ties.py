"""Options that a model cannot tell apart: what they earn, and which one is named."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ensemw2s._validation import check_same_length

TOLERANCE = 1e-5
"""Scores that differ by less, absolutely plus relatively to the best of them, are a tie.

In float32 the score of one text moves by some 1e-6 with what else is in the batch, with padding, and with the way in
which options are packed, and a sum over n tokens by up to n times that. Options that differ in meaning differ by tenths
of a nat: among scores of 10 nats some 1 in 10,000 pairs is this close by chance.
"""


def tied_best(nll: NDArray[np.float64], n_choices: Any) -> NDArray[np.bool_]:
    """Which options have the lowest score, those that cannot be told from it included.

    Parameters
    ----------
    nll : ndarray of shape (..., n, K)
        Negative log-likelihoods, or other scores of which the lowest is best. ``inf`` where a question has fewer
        options, or for an option that the model excludes; where it excludes all, all are tied.
    n_choices : int or array-like of shape (n,)
        Number of options.

    Returns
    -------
    ndarray of shape (..., n, K), bool
        At least one option of each question.
    """
    nll = np.asarray(nll, dtype=np.float64)
    exists = np.arange(nll.shape[-1]) < np.reshape(n_choices, (-1, 1))  # (n, K)
    best = np.where(exists, nll, np.inf).min(axis=-1, keepdims=True)
    with np.errstate(invalid="ignore"):  # inf - inf, where all are excluded
        close = nll - best <= TOLERANCE * (1.0 + np.abs(best))
    # Columns beyond a question's options are inf as well: `exists` tells them from options that the model excludes.
    return exists & (close | np.isposinf(best))


def option_credit(nll: NDArray[np.float64], labels: Any, n_choices: Any) -> NDArray[np.float64]:
    """What each question earns: 1 where the gold option alone is best, 1/m where m are tied with it, else 0.

    Parameters
    ----------
    nll, n_choices
        As in `tied_best`.
    labels : array-like of int of shape (n,)
        Places of the gold options.

    Returns
    -------
    ndarray of shape (..., n)
    """
    return _shares(tied_best(nll, n_choices), np.asarray(labels))


def option_proba(nll: NDArray[np.float64], n_choices: Any) -> NDArray[np.float64]:
    """Likelihoods normalised over the options of a question; those of tied options are equal to the last bit.

    Parameters
    ----------
    nll, n_choices
        As in `tied_best`.

    Returns
    -------
    ndarray of shape (..., n, K)
        0 where a question has fewer options; uniform where the model excludes all of them.
    """
    from scipy.special import softmax

    return softmax(-_settled(nll, n_choices), axis=-1)


def option_log_proba(nll: NDArray[np.float64], n_choices: Any) -> NDArray[np.float64]:
    """Logarithm of `option_proba`, which does not underflow."""
    from scipy.special import log_softmax

    return log_softmax(-_settled(nll, n_choices), axis=-1)


def draw_option(
    best: NDArray[np.bool_], prompts: Sequence[str], choices: Sequence[Sequence[str]], seed: int
) -> NDArray[np.int64]:
    """The place of the one option that is named where several are tied.

    It is the one with the least hash of seed, question and its own text: a draw that does not depend on the order of
    the options, and comes out the same wherever and whenever the question is asked.

    Parameters
    ----------
    best : ndarray of shape (n, K), bool
        From `tied_best`.
    prompts : sequence of str, length n
        Questions.
    choices : sequence of sequences of str, length n
        Their options.
    seed : int
        Another seed gives other draws.

    Returns
    -------
    ndarray of shape (n,), int64
    """
    places = best.argmax(axis=1)
    for row in np.flatnonzero(best.sum(axis=1) > 1).tolist():
        tied = np.flatnonzero(best[row]).tolist()
        places[row] = min(tied, key=lambda place: text_hash(seed, prompts[row], choices[row][place]))
    return places


def likeliest_texts(
    nll: NDArray[np.float64], prompts: Sequence[str], choices: Sequence[Sequence[str]], random_state: Any
) -> NDArray[Any]:
    """The option of each question with the lowest NLL, (n, K); of tied ones that of `draw_option`."""
    # A generator would draw anew in each call.
    seed = int(random_state) if isinstance(random_state, int | np.integer) else 0
    best = tied_best(nll, np.array([len(options) for options in choices]))
    texts = np.empty(len(choices), dtype=object)
    texts[:] = [
        options[place] for options, place in zip(choices, draw_option(best, prompts, choices, seed), strict=True)
    ]
    return texts


def text_hash(seed: int, *texts: str) -> bytes:
    """A hash of texts that another seed changes."""
    lengths = "".join(f"{len(text)}:" for text in texts)  # or ("a", "bc") and ("ab", "c") would be one
    return blake2b(f"{seed} {lengths}{''.join(texts)}".encode("utf-8", "surrogatepass"), digest_size=8).digest()


def class_credit(
    scores: NDArray[np.float64], classes: NDArray[Any], gold: Any, said: NDArray[Any] | None = None
) -> NDArray[np.float64]:
    """`option_credit` for classes.

    Parameters
    ----------
    scores : ndarray of shape (..., n, K)
        Of which the highest is best, such as probabilities.
    classes : ndarray of shape (K,)
        What the columns stand for.
    gold : array-like of shape (n,)
        True classes; one that is none of `classes` is missed.
    said : ndarray of shape (n,), optional
        What the classifier predicts, where that need not be the class with the highest score: only a prediction that is
        one of tied classes shares with them.

    Returns
    -------
    ndarray of shape (..., n)
    """
    place = {label: column for column, label in enumerate(np.asarray(classes).tolist())}
    columns = np.array([place.get(label, -1) for label in np.asarray(gold).tolist()], dtype=np.int64)
    check_same_length(np.moveaxis(scores, -2, 0), columns, "X", "y")
    best = tied_best(-np.asarray(scores, dtype=np.float64), len(place))
    if said is not None:
        # A prediction outside the tied ones stands alone: it was made by something else than these scores.
        named = np.array([place.get(label, -1) for label in np.asarray(said).tolist()])[:, None] == np.arange(
            len(place)
        )
        best = np.where((best & named).any(axis=-1, keepdims=True), best, named)
    return np.where(columns < 0, 0.0, _shares(best, np.maximum(columns, 0)))


def _settled(nll: NDArray[np.float64], n_choices: Any) -> NDArray[np.float64]:
    """Scores in which tied options are equal, and finite."""
    # All tied options get the best one's score, so that their probabilities are equal to the last bit; where all are
    # excluded that score is inf, and 0 in its place makes them uniform.
    lowest = np.min(nll, axis=-1, keepdims=True)
    return np.where(tied_best(nll, n_choices), np.where(np.isinf(lowest), 0.0, lowest), nll)


def _shares(best: NDArray[np.bool_], labels: NDArray[np.int64]) -> NDArray[np.float64]:
    right = best[..., np.arange(best.shape[-2]), labels]
    return right / np.maximum(best.sum(axis=-1), 1)
