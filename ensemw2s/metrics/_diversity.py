"""How far the members of an ensemble err together, and how surely their vote is right.

All functions read the members' own predictions, one row per member, and the right answers. A fitted booster gives the
former for one pass per member::

    members = booster.member_predictions(X)   # (T, n)
    error_correlation(members, y)
    margins(members, y, booster.estimator_weights_)

The items may be questions with their options' texts, rows with their classes, or answer tokens with their ids. Where
only right and wrong are known, pass these as predictions, and ones as the right answers.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ensemw2s._validation import check_weight, shorten


def pairwise_disagreement(predictions: ArrayLike | Sequence[ArrayLike]) -> NDArray[np.float64]:
    """Share of items on which two members give different answers.

    Parameters
    ----------
    predictions : array-like of shape (T, n)
        Each member's labels, texts or token ids.

    Returns
    -------
    ndarray of shape (T, T)
        In [0, 1], symmetric, 0 on the diagonal.

    Raises
    ------
    ValueError
        If `predictions` is empty, has another number of dimensions, or holds a NaN.

    Notes
    -----
    A hard vote agrees with a member wherever all members agree with it, so its accuracy differs from that of member t
    by no more than the sum of row t.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.tree import DecisionTreeClassifier
    >>> from ensemw2s import LLMAdaBoostClassifier, pairwise_disagreement
    >>> X, y = np.arange(8.0)[:, None], [0, 0, 1, 1, 0, 0, 1, 1]
    >>> booster = LLMAdaBoostClassifier(DecisionTreeClassifier(max_depth=1), n_estimators=3, random_state=0).fit(X, y)
    >>> pairwise_disagreement(booster.member_predictions(X)).shape
    (3, 3)
    >>> pairwise_disagreement([["A", "B", "A", "C"], ["A", "B", "B", "B"]])
    array([[0. , 0.5],
           [0.5, 0. ]])
    """
    (members,) = _as_codes({"predictions": _as_rows(predictions)})
    return _over_pairs(len(members), lambda i, j: members[i] != members[j]) / members.shape[1]


def error_correlation(predictions: ArrayLike | Sequence[ArrayLike], gold: ArrayLike) -> NDArray[np.float64]:
    r"""Correlation of the mistakes of two members.

    Pearson's correlation of the 0/1 errors, which is the phi coefficient of their 2 by 2 table,

    .. math:: \phi_{ij} = \frac{N^{11} N^{00} - N^{10} N^{01}}{\sqrt{(N^{11}+N^{10})(N^{01}+N^{00})
              (N^{11}+N^{01})(N^{10}+N^{00})}},

    with :math:`N^{11}` items that both have right, :math:`N^{10}` that only i has, and so on.

    Parameters
    ----------
    predictions : array-like of shape (T, n)
        Each member's labels, texts or token ids.
    gold : array-like of shape (n,)
        The right ones, written the same way.

    Returns
    -------
    ndarray of shape (T, T)
        In [-1, 1], symmetric, 1 on the diagonal, 0 for independent errors; nan in the row and column of a member that
        is right everywhere or wrong everywhere, whose errors vary with nothing.

    Raises
    ------
    ValueError
        If an argument is empty, has another number of dimensions, or holds a NaN, if the lengths differ, or if one
        holds texts and the other numbers.

    Examples
    --------
    >>> from ensemw2s import error_correlation
    >>> error_correlation([["A", "B", "C", "D"], ["A", "B", "A", "D"]], ["A", "B", "C", "A"])
    array([[1.        , 0.57735027],
           [0.57735027, 1.        ]])
    """
    both, only_row, only_column, neither = _two_by_two(predictions, gold)
    spread = ((both + only_row) * (only_column + neither)).diagonal().astype(np.float64)  # n^2 times the variances
    numerator = (both * neither - only_row * only_column).astype(np.float64)
    # sqrt(x * x) is x to the last bit: equal members get exactly 1.
    return _quotient(numerator, np.sqrt(np.outer(spread, spread)))


def q_statistic(predictions: ArrayLike | Sequence[ArrayLike], gold: ArrayLike) -> NDArray[np.float64]:
    r"""Yule's Q of two members' mistakes (Kuncheva and Whitaker, 2003).

    .. math:: Q_{ij} = \frac{N^{11} N^{00} - N^{10} N^{01}}{N^{11} N^{00} + N^{10} N^{01}},

    with the counts of `error_correlation`.

    Parameters
    ----------
    predictions : array-like of shape (T, n)
        Each member's labels, texts or token ids.
    gold : array-like of shape (n,)
        The right ones, written the same way.

    Returns
    -------
    ndarray of shape (T, T)
        In [-1, 1], symmetric, 1 on the diagonal, 0 for independent errors; nan in the row and column of a member that
        is right everywhere or wrong everywhere. It has the sign of the correlation and is never closer to 0. It is 1
        as soon as one member errs only where the other does.

    Raises
    ------
    ValueError
        As `error_correlation`.

    References
    ----------
    .. [1] Kuncheva, Whitaker, "Measures of Diversity in Classifier Ensembles and Their Relationship with the Ensemble
       Accuracy", Machine Learning 51, 2003.

    Examples
    --------
    >>> from ensemw2s import q_statistic
    >>> right = [[1, 1, 1, 1, 0, 0], [1, 1, 0, 0, 1, 0]]
    >>> q_statistic(right, [1, 1, 1, 1, 1, 1])
    array([[1., 0.],
           [0., 1.]])
    """
    both, only_row, only_column, neither = _two_by_two(predictions, gold)
    alike = (both * neither).astype(np.float64)
    unlike = (only_row * only_column).astype(np.float64)
    # The sum is 0 only where a row or a column of the table is empty: where a member is always right, or always wrong.
    return _quotient(alike - unlike, alike + unlike)


def margins(
    predictions: ArrayLike | Sequence[ArrayLike], gold: ArrayLike, votes: ArrayLike | None = None
) -> NDArray[np.float64]:
    r"""Margin of each item under the members' weighted hard vote (Schapire et al., 1998).

    .. math:: m_i = \sum_t \bar\alpha_t 1[h_t(x_i) = y_i]
              - \max_{k \neq y_i} \sum_t \bar\alpha_t 1[h_t(x_i) = k], \qquad \bar\alpha = \alpha / \sum_t \alpha_t.

    Parameters
    ----------
    predictions : array-like of shape (T, n)
        Each member's labels, texts or token ids.
    gold : array-like of shape (n,)
        The right ones, written the same way.
    votes : array-like of shape (T,), optional
        Votes :math:`\alpha_t \ge 0` with a positive sum; equal ones if None.

    Returns
    -------
    ndarray of shape (n,)
        In [-1, 1]: 1 where all members are right, -1 where all give the same wrong answer. Positive exactly where the
        right answer has more of the votes than any other; 0 for a tie.

    Raises
    ------
    ValueError
        As `error_correlation`, or if `votes` has another length, is negative or sums to 0.

    Notes
    -----
    For two classes it is :math:`y \sum_t \bar\alpha_t h_t(x)` with labels of ±1, and half of `decision_function` of an
    `LLMAdaBoostClassifier` with ``voting="hard"``, up to the sign of the class. It says nothing of the soft vote of
    Eq. 1, under which a lukewarm member counts less.

    References
    ----------
    .. [1] Schapire, Freund, Bartlett, Lee, "Boosting the Margin: A New Explanation for the Effectiveness of Voting
       Methods", Annals of Statistics 26(5), 1998.

    Examples
    --------
    >>> from ensemw2s import margins
    >>> members = [["A", "B", "A"], ["A", "B", "C"], ["A", "A", "D"]]
    >>> margins(members, ["A", "A", "D"], votes=[2, 1, 1])
    array([ 1.  , -0.5 , -0.25])
    """
    lead, cast = deque(_running_lead(*_check_voting(predictions, gold, votes)), maxlen=1)[0]
    return lead / cast


def staged_margins(
    predictions: ArrayLike | Sequence[ArrayLike], gold: ArrayLike, votes: ArrayLike | None = None
) -> Iterator[NDArray[np.float64]]:
    """`margins` of the first 1, 2, ..., T members: how their distribution moves from round to round.

    Parameters
    ----------
    predictions, gold, votes
        As in `margins`; the first vote must be positive.

    Yields
    ------
    ndarray of shape (n,)

    Raises
    ------
    ValueError
        As `margins`, or if the first vote is 0; at once, not when the first stage is asked for.

    Examples
    --------
    >>> from ensemw2s import staged_margins
    >>> members = [["A", "B"], ["B", "B"], ["A", "A"]]
    >>> [stage.tolist() for stage in staged_margins(members, ["A", "A"])]
    [[1.0, -1.0], [0.0, -1.0], [0.3333333333333333, -0.3333333333333333]]
    """
    members, answers, weights = _check_voting(predictions, gold, votes)
    if weights[0] == 0:
        raise ValueError("votes[0] must be positive: the first member alone is the first stage. Got 0.0 instead.")
    return (lead / cast for lead, cast in _running_lead(members, answers, weights))


def mean_over_pairs(matrix: NDArray[np.float64]) -> float:
    """Mean over pairs of different members, those without a value left out; nan where none has one."""
    pairs = matrix[np.triu_indices(len(matrix), k=1)]
    known = pairs[~np.isnan(pairs)]
    return float(known.mean()) if len(known) else float("nan")


def number_answers(predicted: Sequence[ArrayLike], gold: ArrayLike) -> NDArray[np.int64]:
    """Answers of T models as numbers, item by item, (T, n): 0 is the right one, equal wrong ones are equal."""
    columns = []
    for answers, right in zip(zip(*predicted, strict=True), np.asarray(gold), strict=True):
        numbers = {right: 0}
        columns.append([numbers.setdefault(answer, len(numbers)) for answer in answers])
    return np.array(columns, dtype=np.int64).reshape(len(columns), -1).T


def _running_lead(
    members: NDArray[Any], answers: NDArray[Any], votes: NDArray[np.float64]
) -> Iterator[tuple[NDArray[np.float64], float]]:
    """Lead of the right answer over the best wrong one, (n,), and the votes cast, after 1, 2, ..., T members."""
    wrong = members != answers  # (T, n)
    right_votes = np.zeros(len(answers))
    # Votes for a member's answer, its own and later ones: the first member to give an answer holds all of its votes.
    backing = np.zeros(members.shape)
    cast = 0.0
    for t, vote in enumerate(votes, start=1):
        backing[:t] += vote * (members[:t] == members[t - 1])
        right_votes += vote * ~wrong[t - 1]
        cast += float(vote)
        yield right_votes - np.where(wrong[:t], backing[:t], 0.0).max(axis=0), cast


def _two_by_two(predictions: Any, gold: Any) -> tuple[NDArray[np.int64], ...]:
    """Items that two members have both right, only the first, only the second, and neither: four times (T, T)."""
    members, answers = _check_answers(predictions, gold)
    wrong = members != answers
    neither = _over_pairs(len(wrong), lambda i, j: wrong[i] & wrong[j])
    n_wrong = neither.diagonal()
    only_row = n_wrong[np.newaxis, :] - neither
    both = wrong.shape[1] - n_wrong[:, np.newaxis] - only_row
    return both, only_row, only_row.T, neither


def _over_pairs(n_members: int, which: Callable[[int, int], NDArray[np.bool_]]) -> NDArray[np.int64]:
    """Number of items in question for each pair of members, (T, T)."""
    counts = np.zeros((n_members, n_members), dtype=np.int64)
    for i in range(n_members):
        for j in range(i + 1):
            counts[i, j] = counts[j, i] = np.count_nonzero(which(i, j))
    return counts


def _quotient(numerator: NDArray[np.float64], denominator: NDArray[np.float64]) -> NDArray[np.float64]:
    result = np.full(numerator.shape, np.nan)
    np.divide(numerator, denominator, out=result, where=denominator > 0)
    return np.clip(result, -1.0, 1.0)


def _check_voting(predictions: Any, gold: Any, votes: Any) -> tuple[NDArray[Any], NDArray[Any], NDArray[np.float64]]:
    members, answers = _check_answers(predictions, gold)
    if votes is None:
        return members, answers, np.ones(len(members))
    return members, answers, check_weight(votes, "votes", length=len(members), per="member")


def _check_answers(predictions: Any, gold: Any) -> tuple[NDArray[Any], NDArray[Any]]:
    rows, column = _as_rows(predictions), np.asarray(gold)
    if column.shape != rows.shape[1:]:
        raise ValueError(
            f"gold must have shape {rows.shape[1:]}, one entry per item of predictions. "
            f"Got shape {column.shape} instead."
        )
    if _holds_texts(rows) != _holds_texts(column):
        raise ValueError(
            f"predictions and gold must be written the same way. Got {shorten(rows.flat[:1].tolist()[0])} "
            f"and {shorten(column.flat[:1].tolist()[0])}, which are never equal."
        )
    members, answers = _as_codes({"predictions": rows, "gold": column})
    return members, answers


def _as_rows(predictions: Any) -> NDArray[Any]:
    try:
        rows = np.asarray(predictions)
    except ValueError as error:
        raise ValueError(
            f"predictions must hold as many entries for one member as for another. Got {shorten(predictions)} instead; "
            f"predict the same items with each."
        ) from error
    if rows.ndim != 2:
        raise ValueError(
            f"predictions must have shape (T, n), one row per member. Got shape {rows.shape} instead; "
            f"put the predictions of a single member in a list."
        )
    if rows.size == 0:
        raise ValueError(f"predictions must not be empty. Got shape {rows.shape} instead; pass one item at least.")
    return rows


def _as_codes(arrays: dict[str, NDArray[Any]]) -> list[NDArray[Any]]:
    """The arrays themselves where they hold numbers; else integers that are equal where the entries are."""
    if all(array.dtype.kind in "biuf" for array in arrays.values()):
        for name, array in arrays.items():
            if array.dtype.kind == "f" and np.isnan(array).any():
                place = tuple(np.argwhere(np.isnan(array))[0].tolist())
                raise ValueError(f"{name} must not hold a NaN, which equals nothing. Got one at {place}.")
        return list(arrays.values())
    code_of: dict[Any, int] = {}  # comparing integers T^2 times is faster than comparing texts
    return [
        np.array([code_of.setdefault(entry, len(code_of)) for entry in array.ravel().tolist()]).reshape(array.shape)
        for array in arrays.values()
    ]


def _holds_texts(array: NDArray[Any]) -> bool:
    return array.dtype.kind == "U" or (array.dtype.kind == "O" and isinstance(array.flat[0], str))
