"""What several samples a question are worth: pass@k and the majority's answer."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ensemw2s._validation import check_integer, check_same_length


def pass_at_k(n_samples: ArrayLike, n_correct: ArrayLike, k: int) -> NDArray[np.float64]:
    r"""Probability that one of k samples is right, estimated without bias from n samples (Chen et al., 2021).

    .. math:: 1 - \binom{n - c}{k} \Big/ \binom{n}{k},

    with c right ones among the n, computed as a product, which no binomial coefficient can make overflow.

    Parameters
    ----------
    n_samples : int or array-like of int of shape (n_questions,)
        Samples a question, at least k.
    n_correct : array-like of int of shape (n_questions,)
        How many of them are right.
    k : int
        At least 1.

    Returns
    -------
    ndarray of shape (n_questions,)
        In [0, 1]; the mean is pass@k.

    Raises
    ------
    ValueError
        If k is below 1 or above a number of samples, or there are more right samples than samples.

    References
    ----------
    .. [1] Chen et al., "Evaluating Large Language Models Trained on Code", 2021. arXiv:2107.03374.

    Examples
    --------
    >>> from ensemw2s import pass_at_k
    >>> pass_at_k(10, [0, 1, 5], k=1).round(3)
    array([0. , 0.1, 0.5])
    >>> pass_at_k(4, [1, 2], k=2).round(3)
    array([0.5  , 0.833])
    """
    k = check_integer(k, "k", minimum=1)
    correct = np.atleast_1d(np.asarray(n_correct))
    samples = np.broadcast_to(np.asarray(n_samples), correct.shape)
    for row, (n, c) in enumerate(zip(samples.tolist(), correct.tolist(), strict=True)):
        check_integer(n, f"n_samples[{row}]", minimum=k)
        if check_integer(c, f"n_correct[{row}]", minimum=0) > n:
            raise ValueError(f"n_correct must not exceed n_samples. Got {c} of {n} in row {row}.")
    # Of the k samples that are drawn, the i-th misses with the share of wrong ones among those that are left.
    drawn = np.arange(k)[:, None]
    missed = np.clip((samples - correct - drawn) / (samples - drawn), 0.0, None)
    chance: NDArray[np.float64] = 1.0 - missed.prod(axis=0)
    return chance


def majority_at_k(answers: Sequence[Sequence[Hashable]], earned: ArrayLike) -> NDArray[np.float64]:
    """What the most frequent answer of k samples a question earns.

    Parameters
    ----------
    answers : sequence of n sequences of k hashable
        The answers in the samples, such as extracted texts; None, where a sample holds none, has no vote.
    earned : array-like of shape (n, k), float in [0, 1]
        What each sample earns.

    Returns
    -------
    ndarray of shape (n,)
        Mean over the samples with the most frequent answer; of m answers that are equally frequent the mean, which is
        what a draw among them would bring; 0 where no sample holds an answer.

    Raises
    ------
    ValueError
        If the shapes differ.

    Examples
    --------
    >>> from ensemw2s import majority_at_k
    >>> majority_at_k([["3", "4", "4"], ["1", "2", None]], [[0, 1, 1], [1, 0, 0]])
    array([1. , 0.5])
    """
    credit = np.asarray(earned, dtype=np.float64)
    check_same_length(answers, credit, "answers", "earned")
    found = np.zeros(len(credit))
    for row, (said, values) in enumerate(zip(answers, credit, strict=True)):
        check_same_length(said, values, f"answers[{row}]", f"earned[{row}]")
        votes: dict[Any, list[float]] = {}
        for answer, value in zip(said, values.tolist(), strict=True):
            if answer is not None:
                votes.setdefault(answer, []).append(value)
        most = max(map(len, votes.values()), default=0)
        tied = [float(np.mean(each)) for each in votes.values() if len(each) == most]
        found[row] = np.mean(tied) if tied else 0.0
    return found
