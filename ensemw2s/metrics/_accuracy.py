"""Shares of answers that are right or wrong, and what guessing would earn."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ensemw2s._validation import check_vector


def token_error(predicted: ArrayLike, labels: ArrayLike) -> float:
    """Share of answer tokens that are predicted wrongly, teacher forced (EnsemW2S, section 3.2, token-wise).

    The average is taken over tokens (micro-average): long answers count more.

    Parameters
    ----------
    predicted : array-like of int of shape (n_tokens,)
        Predicted token ids of all answers, one after the other.
    labels : array-like of int of shape (n_tokens,)
        Token ids of the gold answers.

    Returns
    -------
    float
        The error, in [0, 1].

    Raises
    ------
    ValueError
        If an array is empty or not one-dimensional, or if the lengths differ.

    Examples
    --------
    >>> from ensemw2s import token_error
    >>> token_error([5, 7, 7, 2], [5, 7, 8, 2])
    0.25
    """
    return float(np.mean(~_equal("predicted", predicted, "labels", labels, per="answer token")))


def option_accuracy(chosen: ArrayLike, gold: ArrayLike) -> float:
    """Share of questions whose gold option was chosen (EnsemW2S, section 3.2, option-wise).

    Each question has one chosen option here. `score` of the generators, and their ``credit`` by question, count a gold
    option that is tied with others as 1/m, so that nothing depends on which of them is chosen.

    Parameters
    ----------
    chosen : array-like of int or str of shape (n_questions,)
        Option chosen for each question, as an index, a label or a text.
    gold : array-like of int or str of shape (n_questions,)
        The right option, written the same way.

    Returns
    -------
    float
        The accuracy, in [0, 1]. `chance_level` gives the accuracy of guessing, to be printed beside it.

    Raises
    ------
    ValueError
        If an array is empty or not one-dimensional, if the lengths differ, or if one holds texts and the other numbers.

    Examples
    --------
    >>> from ensemw2s import option_accuracy
    >>> option_accuracy(["A", "C", "D"], ["A", "B", "D"])
    0.6666666666666666
    """
    return float(np.mean(_equal("chosen", chosen, "gold", gold, per="question")))


def chance_level(n_choices: ArrayLike) -> float:
    """Accuracy of guessing uniformly among the choices, averaged over the questions.

    Parameters
    ----------
    n_choices : int or array-like of int of shape (n_questions,)
        Number of choices, of all questions or of each.

    Returns
    -------
    float
        Mean of 1 / n_choices, in (0, 1].

    Raises
    ------
    ValueError
        If there is no question, or a number of choices is not an integer of at least 1.

    Examples
    --------
    >>> from ensemw2s import chance_level
    >>> chance_level(4)
    0.25
    >>> chance_level([4, 4, 2])
    0.3333333333333333
    """
    counts = check_vector(np.atleast_1d(np.asarray(n_choices)), "n_choices", per="question")
    bad = (counts < 1) | (counts != np.floor(counts))
    if bad.any():
        row = int(np.argmax(bad))
        raise ValueError(f"n_choices must hold integers of at least 1. Got {counts[row]:g} in row {row} instead.")
    return float(np.mean(1.0 / counts))


def _equal(first_name: str, first: ArrayLike, second_name: str, second: ArrayLike, *, per: str) -> NDArray[np.bool_]:
    left, right = np.asarray(first), np.asarray(second)
    for name, array in ((first_name, left), (second_name, right)):
        if array.ndim != 1:
            raise ValueError(f"{name} must have one dimension. Got shape {array.shape} instead.")
    if left.shape != right.shape:
        raise ValueError(
            f"{first_name} and {second_name} must have the same length, one entry per {per}. "
            f"Got {left.size} and {right.size} instead."
        )
    if left.size == 0:
        raise ValueError(f"{first_name} and {second_name} must not be empty; pass at least one {per}.")
    if _kind(left) != _kind(right):
        raise ValueError(
            f"{first_name} and {second_name} must be written the same way. "
            f"Got dtypes {left.dtype} and {right.dtype}, which are never equal."
        )
    return np.asarray(left == right, dtype=bool)


def _kind(array: NDArray[np.generic]) -> str:
    """Return "text" or "number"; an object array is what its first entry is."""
    if array.dtype.kind == "O":
        return "text" if isinstance(array[0], str) else "number"
    return "text" if array.dtype.kind in "UT" else "number"
