"""Difficulty ratings: saved, loaded, and found again by question."""

from __future__ import annotations

import os
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import _safe_indexing

from ensemw2s._html.pieces import lines, panel, share_bar, table
from ensemw2s._validation import check_in_unit_interval, check_same_length, check_vector, shorten
from ensemw2s.datasets import QADataset
from ensemw2s.exceptions import CheckpointError
from ensemw2s.splits import fingerprints
from ensemw2s.storage import MALFORMED, check_record, commit_record, read_json

METRICS = ("token_error", "one_minus_proba")
_KIND, _VERSION = "DifficultyRatings", 2
_OLD_FORMAT = "ensemw2s.DifficultyRatings"  # version 1, without a checksum
_N_BINS = 10  # of the ratings, as a notebook shows them
_FIELDS = ("ratings", "folds", "n_scores", "metric", "fingerprints")


@dataclass(frozen=True, eq=False)
class DifficultyRatings:
    """How hard each question is, and for which text the number stands.

    Attributes
    ----------
    ratings : read-only float64 ndarray of shape (n,)
        In [0, 1]; larger is harder.
    folds : read-only int64 ndarray of shape (n,)
        Fold in which the question was scored; the last one, if there were several.
    n_scores : read-only int64 ndarray of shape (n,)
        Number of models that scored the question; the rating is the mean of their scores.
    metric : str
        What was measured: "token_error", the share of an answer's tokens that a generator predicts wrongly,
        "one_minus_proba", one minus the probability of the true class or option, or one minus what answers earned by
        another metric, such as "one_minus_f1".
    fingerprints : tuple of str, length n
        SHA-256 of each question.

    Raises
    ------
    ValueError
        If lengths differ or an entry is out of range.

    See Also
    --------
    cross_val_difficulty : Makes them.

    Examples
    --------
    >>> from ensemw2s import BigramLearner, cross_val_difficulty, make_qa
    >>> questions = make_qa(60, random_state=0)
    >>> rated = cross_val_difficulty(BigramLearner(), questions, random_state=0)
    >>> rated
    DifficultyRatings(n=60, metric='token_error', mean .632, range .423 to .765, folds: 5, scores a question: 1)
    >>> some = questions[[7, 3]]
    >>> bool((rated.for_questions(some) == rated.ratings[[7, 3]]).all())
    True
    """

    ratings: NDArray[np.float64]
    folds: NDArray[np.int64]
    n_scores: NDArray[np.int64]
    metric: str
    fingerprints: tuple[str, ...]

    def __post_init__(self) -> None:
        ratings = check_vector(self.ratings, "ratings").copy()
        check_in_unit_interval(ratings, "ratings")
        if not isinstance(self.metric, str) or not (self.metric in METRICS or self.metric.startswith("one_minus_")):
            raise ValueError(
                f"metric must be one of {', '.join(map(repr, METRICS))}, or 'one_minus_' and the name of a metric. Got "
                f"{shorten(self.metric)} instead."
            )
        columns: dict[str, Any] = {
            "ratings": ratings,
            "folds": _integers(self.folds, "folds", minimum=0),
            "n_scores": _integers(self.n_scores, "n_scores", minimum=1),
            "fingerprints": tuple(self.fingerprints),
        }
        for name, column in columns.items():
            check_same_length(ratings, column, "ratings", name)
            if isinstance(column, np.ndarray):
                column.flags.writeable = False
            object.__setattr__(self, name, column)
        for row, mark in enumerate(columns["fingerprints"]):
            if not isinstance(mark, str) or len(mark) != 64 or set(mark) - set("0123456789abcdef"):
                raise ValueError(f"fingerprints[{row}] must be a SHA-256 in hexadecimal. Got {shorten(mark)} instead.")

    def __len__(self) -> int:
        return len(self.ratings)

    def __repr__(self) -> str:
        low, high = self.ratings.min(), self.ratings.max()
        fewest, most = self.n_scores.min(), self.n_scores.max()
        scores = f"{fewest}" if fewest == most else f"{fewest} to {most}"
        mean, low, high = (f"{number:.3f}".removeprefix("0") for number in (self.ratings.mean(), low, high))
        return (
            f"DifficultyRatings(n={len(self)}, metric={self.metric!r}, mean {mean}, range {low} to {high}, "
            f"folds: {len(np.unique(self.folds))}, scores a question: {scores})"
        )

    def _repr_html_(self) -> str:
        edges = np.linspace(0.0, 1.0, _N_BINS + 1)
        counts, _ = np.histogram(self.ratings, edges)
        rows = [
            (f"{low:.1f} to {high:.1f}", int(number), share_bar(number / len(self)))
            for low, high, number in zip(edges, edges[1:], counts, strict=False)
        ]
        shown = table(("rating, larger is harder", "questions", "share"), rows, numeric=["questions"])
        return panel("DifficultyRatings", lines([repr(self).removeprefix("DifficultyRatings(")[:-1]]), shown)

    def for_questions(self, X: object) -> NDArray[np.float64]:
        """Ratings of questions in any order, be they some of those rated.

        Parameters
        ----------
        X : QADataset, sequence of str, or array of numbers, length n
            Questions. They are looked up by text; case and blanks do not count.

        Returns
        -------
        ndarray of shape (n,), float64
            Where a text was rated several times, as with a repeated question, the mean.

        Raises
        ------
        ValueError
            If a question has no rating; the message names the first.
        """
        marks = fingerprints(X)
        _, first, inverse = np.unique(self.fingerprints, return_index=True, return_inverse=True)
        means = np.bincount(inverse, weights=self.ratings) / np.bincount(inverse)
        rating_of = {self.fingerprints[row]: mean for row, mean in zip(first, means, strict=True)}
        missing = [row for row, mark in enumerate(marks) if mark not in rating_of]
        if missing:
            first = _safe_indexing(X.prompts if isinstance(X, QADataset) else X, missing[0])
            raise ValueError(
                f"Every question must have a rating; {len(missing)} of {len(marks)} have none, the first is "
                f"X[{missing[0]}] = {shorten(first)}. Rate them with cross_val_difficulty, or drop "
                f"them."
            )
        return np.array([rating_of[mark] for mark in marks])

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the ratings as JSON with a checksum.

        Parameters
        ----------
        path : path
            File to write; an existing one is replaced, and stays whole if writing fails.

        Raises
        ------
        OSError
            If the file cannot be written; it names the file.
        """
        content = {}
        for name in _FIELDS:
            value = getattr(self, name)
            content[name] = value.tolist() if isinstance(value, np.ndarray) else value
        commit_record(path, content, kind=_KIND, version=_VERSION)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> DifficultyRatings:
        """Read what `save` wrote.

        Files of earlier versions, without a checksum, are read with a warning: damage to them may go unnoticed.

        Parameters
        ----------
        path : path
            File to read.

        Returns
        -------
        DifficultyRatings

        Raises
        ------
        CheckpointError
            If the file is damaged, no plain file, of another kind or version, incomplete, or holds entries out of
            range; it is a ValueError, too.
        FileNotFoundError
            If there is no such file.
        """
        try:
            stored, read = read_json(path)
            if isinstance(stored, dict) and stored.get("format") == _OLD_FORMAT:
                content = _old_content(stored, path)
            else:
                content = check_record(stored, read, path, kind=_KIND, version=_VERSION)
        except CheckpointError as error:
            raise _DamagedRatings(str(error)) from error
        missing = [name for name in _FIELDS if not isinstance(content, dict) or name not in content]
        if missing:
            raise _DamagedRatings(f"{path} must hold {', '.join(_FIELDS)}. It lacks {', '.join(missing)}.")
        try:
            return cls(**{name: content[name] for name in _FIELDS})
        except MALFORMED as error:
            raise _DamagedRatings(f"{path} is damaged: {error}") from error


class _DamagedRatings(CheckpointError, ValueError):
    """A file that is no file of ratings; a ValueError, as it was before there were checksums."""


def _old_content(stored: dict[str, Any], path: object) -> dict[str, Any]:
    if stored.get("version") != 1:
        raise CheckpointError(
            f"{path} must have version {_VERSION}. Got {stored.get('version')!r}; rate the questions again, or update "
            f"ensemw2s."
        )
    warnings.warn(
        f"{path} was written without a checksum, so that damage to it may go unnoticed; save the ratings again.",
        UserWarning,
        stacklevel=3,
    )
    return stored


def _integers(values: Any, name: str, *, minimum: int) -> NDArray[np.int64]:
    column = check_vector(values, name)
    bad = (column != np.floor(column)) | (column < minimum)
    if bad.any():
        row = int(np.argmax(bad))
        raise ValueError(f"{name}[{row}] must be an integer of at least {minimum}. Got {column[row]:g} instead.")
    return column.astype(np.int64)
