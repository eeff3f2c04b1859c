"""Splits into train-weak, train-strong and test, at random or by difficulty."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ensemw2s._validation import RandomState, as_generator, check_integer, check_same_length, check_vector, row_count
from ensemw2s._validation.method_names import methods_of
from ensemw2s.splits._near_duplicates import NEAR_DUPLICATES, fingerprints, question_groups
from ensemw2s.splits._packing import pack
from ensemw2s.splits._sizes import check_met, part_sizes


@methods_of()
class _ThreePartSplit:
    """Parameters and groups of both splitters."""

    def __init__(
        self,
        n_splits: int = 1,
        *,
        weak_size: float | int = 0.4,
        strong_size: float | int | None = 0.4,
        test_size: float | int = 0.2,
        near_duplicates: float | None = NEAR_DUPLICATES,
        random_state: RandomState = None,
    ) -> None:
        self.n_splits = n_splits
        self.weak_size = weak_size
        self.strong_size = strong_size
        self.test_size = test_size
        self.near_duplicates = near_duplicates
        self.random_state = random_state

    def get_n_splits(self, X: Any = None, y: Any = None, groups: Any = None) -> int:
        """Number of splits.

        Parameters
        ----------
        X, y, groups
            Not used.

        Returns
        -------
        int
        """
        return check_integer(self.n_splits, "n_splits", minimum=1)

    def __repr__(self) -> str:
        names = [name for name in inspect.signature(type(self).__init__).parameters if name != "self"]
        return f"{type(self).__name__}({', '.join(f'{name}={getattr(self, name)!r}' for name in names)})"

    def _prepare(self, X: Any, groups: Any) -> tuple[dict[str, int], NDArray[np.int64], NDArray[np.int64]]:
        """Sizes of the parts, the rows in an order that does not depend on the file, and their groups in this order."""
        self.get_n_splits()
        strong = {} if self.strong_size is None else {"strong_size": self.strong_size}
        sizes = part_sizes(row_count(X), weak_size=self.weak_size, **strong, test_size=self.test_size)
        labels = question_groups(X, groups, near_duplicates=self.near_duplicates)
        # By the hash of the text: a seed then gives the same parts for the same questions in any order.
        rows = np.argsort(fingerprints(X), kind="stable")
        # Groups are numbered by their first row in this order: of rows of numbers, the numbers so far follow the file.
        _, first, inverse = np.unique(labels[rows], return_index=True, return_inverse=True)
        return sizes, rows, np.argsort(np.argsort(first))[inverse]


class RandomSplit(_ThreePartSplit):
    """Split questions at random into train-weak, train-strong and test.

    Forms of one question, be they copies, near-duplicates or rows with one value in `groups`, are in one part.

    Parameters
    ----------
    n_splits : int, default=1
        Number of splits.
    weak_size, strong_size, test_size : float in (0, 1) or int >= 1, default=0.4, 0.4 and 0.2
        Size of each part: a fraction of the rows, or a number of rows. Rows beyond the sizes are left out.
        ``strong_size=None`` leaves a training and a test part, as `cv` of scikit-learn's searches needs them.
    near_duplicates : float in (0, 1] or None, default=0.6
        Questions are forms of one question from this Jaccard similarity of their sets of neighbouring word pairs on,
        or that of 0.7 of their sets of words, or where nine tenths of the pairs of one are found in the other; the
        last two bounds follow from the first. Case, punctuation, accents, unseen marks and look-alikes of letters do
        not count. None takes equal questions only.
    random_state : int, RandomState, Generator or None, default=None
        Seed; with an int the split depends on the questions, not on their order in the file.

    Notes
    -----
    Where groups would make a part too large, some of their rows are left out. An int is met exactly or an error; a
    fraction may be missed by less than a group.

    Examples
    --------
    >>> from ensemw2s import RandomSplit, make_qa
    >>> questions = make_qa(100, random_state=0)
    >>> (weak, strong, test), = RandomSplit(random_state=0).split(questions)
    >>> len(weak), len(strong), len(test)
    (40, 40, 20)
    >>> easy = questions[weak]
    """

    def split(self, X: Any, y: Any = None, groups: Any = None) -> Iterator[tuple[NDArray[np.int64], ...]]:
        """Rows of the parts, for each split.

        Parameters
        ----------
        X : QADataset, sequence of str, or array of numbers, length n
            Questions.
        y : object
            Not used.
        groups : array-like of length n, optional
            Rows with equal values stay in one part, such as the two forms of a question in `BinaryQA`.

        Yields
        ------
        train_weak, train_strong, test : ndarray of int64
            Row numbers, in random order; with ``strong_size=None`` the first and the last alone.

        Raises
        ------
        TypeError, ValueError
            If a parameter is out of range, a row is no text, a part would be empty, or groups are too large for the
            sizes.
        """
        sizes, rows, labels = self._prepare(X, groups)
        rng = as_generator(self.random_state)
        members = np.bincount(labels)
        for _ in range(self.n_splits):
            part, kept = pack(members, list(sizes.values()), rng)
            parts = tuple(rows[chosen] for chosen in _choose_rows(labels, part, kept, len(sizes), rng))
            check_met(self, sizes, parts, members.max())
            yield parts


class EasyHardSplit(_ThreePartSplit):
    """Split questions by difficulty: the easiest are train-weak, the hardest train-strong and test.

    The hard questions are dealt out to train-strong and test at random. Ties are broken at random, never by the order
    of the file. Forms of one question are in one part; their difficulty is the mean of its members.

    Parameters
    ----------
    n_splits : int, default=1
        Number of splits; they differ in how ties are broken and hard questions dealt out.
    weak_size, strong_size, test_size : float in (0, 1) or int >= 1, default=0.4, 0.4 and 0.2
        Size of each part: a fraction of the rows, or a number of rows. If they leave rows over, these are the ones
        between easy and hard. ``strong_size=None`` leaves an easy training part and a hard test part.
    near_duplicates : float in (0, 1] or None, default=0.6
        Questions are forms of one question from this Jaccard similarity of their sets of neighbouring word pairs on,
        or that of 0.7 of their sets of words, or where nine tenths of the pairs of one are found in the other; the
        last two bounds follow from the first. Case, punctuation, accents, unseen marks and look-alikes of letters do
        not count. None takes equal questions only.
    random_state : int, RandomState, Generator or None, default=None
        Seed; with an int the split depends on the questions, not on their order in the file.

    See Also
    --------
    cross_val_difficulty : Ratings to split by.

    Notes
    -----
    A group at the border of a part that is larger than what is left of it loses some rows if the sizes leave rows
    over, and is passed over otherwise. An int is met exactly or an error; a fraction may be missed by less than a
    group.

    Examples
    --------
    >>> from ensemw2s import EasyHardSplit, make_qa
    >>> questions = make_qa(100, difficulty=(3, 8), random_state=0)
    >>> (weak, strong, test), = EasyHardSplit(random_state=0).split(questions)  # by questions.difficulty
    >>> bool(questions[weak].difficulty.max() <= questions[test].difficulty.min())
    True
    """

    def split(self, X: Any, difficulty: Any = None, groups: Any = None) -> Iterator[tuple[NDArray[np.int64], ...]]:
        """Rows of the parts, for each split.

        Parameters
        ----------
        X : QADataset, sequence of str, or array of numbers, length n
            Questions.
        difficulty : array-like of shape (n,) or DifficultyRatings, optional
            Larger is harder; the `difficulty` column of a `QADataset` if None. Ratings are looked up by question, so
            they may have been made in another order, or for more questions.
        groups : array-like of length n, optional
            Rows with equal values stay in one part, such as the two forms of a question in `BinaryQA`.

        Yields
        ------
        train_weak, train_strong, test : ndarray of int64
            Row numbers, in random order; with ``strong_size=None`` the first and the last alone.

        Raises
        ------
        TypeError, ValueError
            If there is no difficulty, a rating is missing or not finite, a parameter is out of range, a row is no
            text, a part would be empty, or groups are too large for the sizes.
        """
        ratings = _difficulty_of(X, difficulty)
        sizes, rows, labels = self._prepare(X, groups)
        rng = as_generator(self.random_state)
        members = np.bincount(labels)
        means = _means(ratings[rows], labels, members)
        for _ in range(self.n_splits):
            part, kept = _easy_and_hard(members, means, list(sizes.values()), rng)
            parts = tuple(rows[chosen] for chosen in _choose_rows(labels, part, kept, len(sizes), rng))
            check_met(self, sizes, parts, members.max())
            yield parts


def _difficulty_of(X: Any, difficulty: Any) -> NDArray[np.float64]:
    if difficulty is None:
        difficulty = getattr(X, "difficulty", None)
        if difficulty is None:
            raise ValueError(
                "difficulty must be given: an array, the ratings of cross_val_difficulty, or the difficulty column of "
                "a QADataset. Got none."
            )
    elif hasattr(difficulty, "for_questions"):
        difficulty = difficulty.for_questions(X)
    check_same_length(X, difficulty, "X", "difficulty")
    return check_vector(difficulty, "difficulty", length=row_count(X), per="question")


def _means(ratings: NDArray[np.float64], labels: NDArray[np.int64], members: NDArray[np.int64]) -> NDArray[np.float64]:
    """Mean rating of each group."""
    low, high = np.full(len(members), np.inf), np.full(len(members), -np.inf)
    np.minimum.at(low, labels, ratings)
    np.maximum.at(high, labels, ratings)
    # Clipped: three times .1 divided by 3 is not .1, and would no longer tie with it.
    return np.clip(np.bincount(labels, weights=ratings) / members, low, high)


def _easy_and_hard(
    members: NDArray[np.int64], means: NDArray[np.float64], sizes: list[int], rng: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Part of each group and how many of its rows are used; the lowest means are part 0, the highest the others."""
    n_weak, *hard_sizes = sizes
    n_hard = sum(hard_sizes)
    spare = int(members.sum()) - sum(sizes)  # rows that may be lost, in all
    # Shuffled before the stable sort: groups with equal means come in random order.
    order = rng.permutation(len(members))
    order = order[np.argsort(means[order], kind="stable")]
    easy = _take(members, order, n_weak, spare)
    spare -= int((members[easy > 0] - easy[easy > 0]).sum())
    hardest_first = order[::-1][easy[order[::-1]] == 0]
    # Where groups do not go into strong and test without a rest, a few more hard ones give the slack.
    slack = min(spare, 2 * (int(members.max()) - 1))
    # From few to many, so that no more of the hardest groups are drawn from than are needed.
    for extra in (extra for extra in (0, 1, 2, slack // 2, slack) if extra <= slack):
        hard = _take(members, hardest_first, n_hard + extra, spare - extra, last=True)
        pool = np.flatnonzero(hard)
        dealt, used = pack(hard[pool], hard_sizes, rng)
        if used.sum() == n_hard:
            break
    part, kept = np.where(easy > 0, 0, -1), easy.copy()
    part[pool] = np.where(dealt >= 0, dealt + 1, -1)
    kept[pool] = used
    return part, kept


def _take(
    members: NDArray[np.int64], order: NDArray[np.int64], n_rows: int, spare: int, *, last: bool = False
) -> NDArray[np.int64]:
    """Rows used of each group to get `n_rows` in `order`.

    Groups that are too large, by more than `spare` rows, are passed over. What is left over belongs to no part if this
    is the `last` one to be filled, so that the first of them then gives what is still needed.
    """
    taken = np.zeros(len(members), dtype=np.int64)
    passed = []
    for group in order:
        if n_rows == 0:
            break
        if members[group] - n_rows <= spare:
            taken[group] = min(members[group], n_rows)
            n_rows -= taken[group]
        else:
            passed.append(group)
    if last and passed and n_rows:
        taken[passed[0]] = n_rows
    return taken


def _choose_rows(
    labels: NDArray[np.int64],
    part: NDArray[np.int64],
    kept: NDArray[np.int64],
    n_parts: int,
    rng: np.random.Generator,
) -> list[NDArray[np.int64]]:
    """Rows of the parts, in random order; of a group that is used in part, random rows."""
    # Rows by group, in random order within each: of a group the first `kept` ones are used.
    order = rng.permutation(len(labels))
    order = order[np.argsort(labels[order], kind="stable")]
    place_in_group = np.arange(len(labels)) - np.searchsorted(labels[order], labels[order])
    used = rng.permutation(order[place_in_group < kept[labels[order]]])
    return [used[part[labels[used]] == number] for number in range(n_parts)]
