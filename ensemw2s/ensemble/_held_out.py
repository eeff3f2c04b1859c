"""What is held out, so that members are judged by rows that they were not trained on."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ensemw2s._validation import check_integer, check_open_unit, check_option

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

_N_FOLDS = 5  # of errors="held-out" where cv is None, as in scikit-learn
_LEAST_SHARE = 1e-9

Votes: TypeAlias = Literal["alpha", "even", "held-out"]
Errors: TypeAlias = Literal["train", "held-out"]

# By the name that the parameter `errors` has: whether each unit is judged by a learner that has not seen it.
ERRORS = {"train": False, "held-out": True}

# By the name that the parameter `votes` has: a booster's votes from alpha and from those that held-out rows suggest.
VOTES: dict[str, Callable[[Floats, Callable[[], Floats]], Floats]] = {
    "alpha": lambda alphas, fitted: alphas,
    "even": lambda alphas, fitted: np.ones_like(alphas),
    # Positive, as votes are: a member that gets nothing stays one, and stages that begin with it can be asked.
    "held-out": lambda alphas, fitted: np.maximum(weights := fitted(), _LEAST_SHARE * weights.max()),
}


def check_held_out(booster: Any) -> None:
    """Raise where the parameters ``votes``, ``errors``, ``cv`` and ``validation_fraction`` are out of order."""
    check_option(booster.votes, "votes", VOTES)
    check_option(booster.errors, "errors", ERRORS)
    if "held-out" in (booster.votes, booster.errors):  # else scikit-learn's tools may set a splitter, which is not used
        check_cv(booster.cv, booster.validation_fraction)


def check_cv(cv: Any, validation_fraction: Any) -> None:
    """Raise unless both are in range."""
    if cv is not None:
        check_integer(cv, "cv", minimum=2)
    check_open_unit(validation_fraction, "validation_fraction")


def equal_groups(keys: Iterable[Hashable]) -> Ints:
    """A number for each row, the same for rows with equal keys, which are never parted."""
    numbers: dict[Hashable, int] = {}
    return np.array([numbers.setdefault(key, len(numbers)) for key in keys], dtype=np.int64)


def check_groups(n_groups: int, cv: int | None, what: str, remedy: str) -> None:
    """Raise a ValueError where there are not enough different rows to train on some and hold out others."""
    n_folds = 2 if cv is None else cv
    if n_groups < n_folds:
        raise ValueError(
            f"X must hold at least {n_folds} different {what}, to train on some and hold out others. Got "
            f"{n_groups}; pass more, or {remedy}."
        )


def held_out_parts(
    group: Ints,
    random: np.random.RandomState,
    *,
    cv: int | None,
    validation_fraction: float,
    stratum: NDArray[Any] | None = None,
) -> list[Ints]:
    """Rows that are held out together: the folds, or without `cv` one part.

    Parameters
    ----------
    group : ndarray of shape (n,)
        From `equal_groups`.
    random : RandomState
        Source of the order in which groups are dealt.
    cv : int, optional
        Number of folds.
    validation_fraction : float in (0, 1)
        Share of the groups in the one part; there is a group in it, and one outside.
    stratum : ndarray of shape (n,), optional
        Classes, each of which is dealt over the parts, as `StratifiedKFold` does; a group has that of its first row.

    Returns
    -------
    list of ndarray of int
        In ascending order.
    """
    first, number = np.unique(group, return_index=True, return_inverse=True)[1:]
    order = random.permutation(len(first))
    if stratum is not None:
        order = order[np.argsort(stratum[first][order], kind="stable")]
    if cv is None:
        n_held_out = min(max(round(validation_fraction * len(order)), 1), len(order) - 1)
        if stratum is None:
            parts = [order[:n_held_out]]
        else:  # at even distances, so that each class gives its share
            parts = [order[((np.arange(n_held_out) + 0.5) * len(order) / n_held_out).astype(int)]]
    else:
        parts = np.array_split(order, cv) if stratum is None else [order[fold::cv] for fold in range(cv)]
    return [np.flatnonzero(np.isin(number, part)) for part in parts]


@dataclass(frozen=True)
class HeldOut:
    """Which rows of a fit are trained on, and which judge.

    Attributes
    ----------
    trained : ndarray of int
        Rows that the members are trained on.
    folds : list of ndarray of int
        Places in `trained` that are judged by a learner that was trained on the other folds; empty where all learners
        are trained on all of them.
    judges : ndarray of int
        Rows by which votes are fitted or errors measured: all with folds, else those beside `trained`.
    """

    trained: Ints
    folds: list[Ints] = field(default_factory=list)
    judges: Ints = field(default_factory=lambda: np.empty(0, dtype=np.int64))


class Rows:
    """The rows of a fit, to be parted by a booster's parameters.

    Parameters
    ----------
    booster : estimator
        With the parameters of `check_held_out`, in range.
    n_rows : int
    row_weight : ndarray of shape (n_rows,)
        The user's weights.
    keys : iterable
        What makes rows equal, one a row; read if something is held out.
    what : str
        What messages call rows.
    stratum : ndarray of shape (n_rows,), optional
        Their classes.

    Raises
    ------
    ValueError
        If there are too few different rows with a weight; nothing has been trained then.
    """

    def __init__(
        self,
        booster: Any,
        n_rows: int,
        row_weight: Floats,
        keys: Iterable[Hashable],
        what: str,
        stratum: NDArray[Any] | None = None,
    ) -> None:
        self._n_rows, self.weight, self._stratum = n_rows, row_weight, stratum
        self.fits_votes, self.fits_errors = booster.votes == "held-out", ERRORS[booster.errors]
        self._fraction, self._cv = booster.validation_fraction, booster.cv
        if self._cv is None and self.fits_errors:
            self._cv = _N_FOLDS
        if not (self.fits_votes or self.fits_errors):
            return
        self._group = equal_groups(keys)
        weighted = row_weight > 0
        check_groups(len(np.unique(self._group[weighted])), self._cv, what, "fewer folds (cv), or hold out nothing")
        if stratum is None:
            return
        classes = [np.unique(self._group[weighted & (stratum == each)]) for each in np.unique(stratum)]
        n_known = sum(len(groups) > 1 for groups in classes)
        if n_known < 2:
            raise ValueError(
                f"y must hold two classes in at least two different {what} each, or what is left to train on holds one "
                f"class. Got {n_known} such class(es); pass more {what}, or hold out nothing: votes='alpha' or 'even', "
                f"and errors='train'."
            )

    def part(self, random: np.random.RandomState) -> HeldOut:
        """Draw the parts.

        Raises
        ------
        ValueError
            If no weight is left in a part, or one class.
        """
        every = np.arange(self._n_rows)
        if not (self.fits_votes or self.fits_errors):
            return HeldOut(every)
        # From the state of the generator, of which nothing is taken: the seeds of the first round, and so its member,
        # are those of a fit that holds nothing out.
        state = random.get_state(legacy=False)["state"]["key"].tolist()
        own = np.random.RandomState(np.random.SeedSequence(state).generate_state(4))
        parts = held_out_parts(self._group, own, cv=self._cv, validation_fraction=self._fraction, stratum=self._stratum)
        for part in parts:
            self._check(np.setdiff1d(every, part), "to train on", "all others")
        if self._cv is not None:
            return HeldOut(every, parts, every)
        self._check(parts[0], "held out", "all of them", classes=1)
        return HeldOut(np.setdiff1d(every, parts[0]), [], parts[0])

    def _check(self, rows: Ints, purpose: str, which: str, classes: int = 2) -> None:
        weighted = rows[self.weight[rows] > 0]
        n_classes = classes if self._stratum is None else len(np.unique(self._stratum[weighted]))
        if len(weighted) == 0 or n_classes < classes:
            raise ValueError(
                f"sample_weight must be positive for some rows that are {purpose}"
                f"{'' if self._stratum is None or classes == 1 else ', of two classes'}. Got 0 for {which}; pass more "
                f"rows with a weight, another random_state, or hold out nothing."
            )
