"""Questions with answers and options as one immutable, sliceable object."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from ensemw2s._ties import text_hash
from ensemw2s._validation import RandomState, as_generator, as_texts, check_integer
from ensemw2s.datasets._columns import (
    check_choices,
    check_difficulty,
    check_ids,
    check_labels,
    check_texts,
    frozen,
    labels_from_answers,
)
from ensemw2s.datasets._example import QAExample
from ensemw2s.datasets._forms import OtherForms
from ensemw2s.datasets._repr import as_html, as_text


class QADataset(OtherForms):
    """Questions, optionally with gold answers, options and difficulties.

    The columns are checked once, when the object is made, and cannot be changed afterwards. Indexing with an int gives
    a `QAExample`; with a slice, an integer array or a boolean mask, a `QADataset`. So scikit-learn's `cross_val_score`,
    `GridSearchCV` and `train_test_split` take it as X.

    Parameters
    ----------
    prompts : sequence of str, length n
        The questions, none blank.
    answers : sequence of str, length n, or None, default=None
        The gold answers, none blank. Taken from `choices` and `labels` when those are given.
    choices : sequence of sequences of str, length n, or None, default=None
        Two or more different options for each question; questions may have different numbers of options.
    labels : sequence of int, length n, or None, default=None
        Index of the gold option, from 0. Looked up in `choices` when `answers` are given.
    ids : sequence of str or int, length n, or None, default=None
        Identifiers, kept as str.
    difficulty : sequence of float, length n, or None, default=None
        Finite ratings; larger is harder.
    name : str or None, default=None
        Shown in `repr` and reports.

    Attributes
    ----------
    prompts, answers, ids : tuple of str, length n
        `answers` and `ids` are None where they were not given.
    choices : tuple of tuples of str, or None
    labels : read-only int64 array of shape (n,), or None
    n_choices : read-only int64 array of shape (n,), or None
        Number of options of each question.
    difficulty : read-only float64 array of shape (n,), or None
    name : str or None
    shape : tuple
        ``(n,)``.

    Raises
    ------
    TypeError
        If a column or an entry has the wrong type (None, NaN, int or bytes instead of str).
    ValueError
        If there is no question, lengths differ, a text is blank, options repeat, a question has a single option, the
        gold answer is not among the options, a label is out of range, or answers and labels contradict each other.

    Examples
    --------
    >>> qa = QADataset(
    ...     ["Which metal is liquid at 20 degrees?", "Which gas do plants take in?"],
    ...     choices=[["mercury", "tin", "lead"], ["oxygen", "carbon dioxide"]],
    ...     labels=[0, 1],
    ... )
    >>> qa.answers
    ('mercury', 'carbon dioxide')
    >>> qa
    QADataset(n=2, options: 2 x1, 3 x1, chance .417, answers: yes)
      first: 'Which metal is liquid at 20 degrees?' -> 'mercury' of ['mercury', 'tin', 'lead']
    >>> qa[1].answer
    'carbon dioxide'
    >>> len(qa[qa.n_choices > 2])
    1
    """

    __hash__ = None  # type: ignore[assignment]  # compared by content, as arrays are

    def __init__(
        self,
        prompts: Sequence[str],
        answers: Sequence[str] | None = None,
        choices: Sequence[Sequence[str]] | None = None,
        labels: Sequence[int] | NDArray[np.integer[Any]] | None = None,
        *,
        ids: Sequence[Any] | None = None,
        difficulty: Sequence[float] | NDArray[np.floating[Any]] | None = None,
        name: str | None = None,
    ) -> None:
        self._prompts = tuple(as_texts(prompts, "prompts", what="question"))
        self._answers = None if answers is None else check_texts(answers, "answers", self._prompts, what="answer")
        self._choices = None if choices is None else check_choices(choices, self._prompts)
        self._labels: NDArray[np.int64] | None = None
        if labels is not None:
            if self._choices is None:
                raise ValueError("labels must come with choices, which they index. Got choices=None; pass choices too.")
            self._labels = check_labels(labels, self._choices, self._prompts)
        if self._choices is not None and self._labels is not None:
            gold = tuple(options[k] for options, k in zip(self._choices, self._labels, strict=True))
            if self._answers is not None and self._answers != gold:
                row = next(row for row, answer in enumerate(self._answers) if answer != gold[row])
                raise ValueError(
                    f"answers[{row}] must be the option that labels[{row}]={self._labels[row]} names, {gold[row]!r}. "
                    f"Got {self._answers[row]!r} instead; pass answers or labels, not both."
                )
            self._answers = gold
        elif self._choices is not None and self._answers is not None:
            self._labels = labels_from_answers(self._answers, self._choices)
        self._ids = None if ids is None else check_ids(ids, self._prompts)
        self._difficulty = None if difficulty is None else check_difficulty(difficulty, self._prompts)
        if name is not None and not isinstance(name, str):
            raise TypeError(f"name must be a str or None. Got {name!r} instead.")
        self._name = name

    @property
    def prompts(self) -> tuple[str, ...]:
        """The questions."""
        return self._prompts

    @property
    def answers(self) -> tuple[str, ...] | None:
        """The gold answers, or None."""
        return self._answers

    @property
    def choices(self) -> tuple[tuple[str, ...], ...] | None:
        """The options of each question, or None."""
        return self._choices

    @property
    def labels(self) -> NDArray[np.int64] | None:
        """Indices of the gold options, shape (n,), or None."""
        return self._labels

    @property
    def ids(self) -> tuple[str, ...] | None:
        """Identifiers, or None."""
        return self._ids

    @property
    def difficulty(self) -> NDArray[np.float64] | None:
        """Ratings, shape (n,), larger is harder; or None."""
        return self._difficulty

    @property
    def name(self) -> str | None:
        """Name of the data set, or None."""
        return self._name

    @property
    def n_choices(self) -> NDArray[np.int64] | None:
        """Number of options of each question, shape (n,), or None."""
        if self._choices is None:
            return None
        return frozen(np.array([len(options) for options in self._choices], dtype=np.int64))

    @property
    def shape(self) -> tuple[int]:
        """``(n,)``: with it scikit-learn indexes the data set as it does an array."""
        return (len(self._prompts),)

    def __len__(self) -> int:
        return len(self._prompts)

    def __iter__(self) -> Iterator[QAExample]:
        return (self._example(row) for row in range(len(self)))

    @overload
    def __getitem__(self, key: int) -> QAExample: ...
    @overload
    def __getitem__(self, key: Any) -> QADataset: ...
    def __getitem__(self, key: Any) -> QAExample | QADataset:
        if isinstance(key, tuple) and len(key) == 2 and key[1] is Ellipsis:  # scikit-learn writes X[rows, ...]
            key = key[0]
        if isinstance(key, (int, np.integer)) and not isinstance(key, bool):
            if not -len(self) <= key < len(self):
                raise IndexError(f"index must lie in [{-len(self)}, {len(self)}). Got {key} instead.")
            return self._example(int(key) % len(self))
        if isinstance(key, slice):
            return self._take(np.arange(len(self))[key])
        rows = np.asarray(key)
        if rows.ndim != 1 or (rows.dtype.kind not in "biu" and rows.size):
            raise TypeError(
                "index must be an int, a slice, a 1-d array of ints or a boolean mask. "
                f"Got {key!r} instead; columns are attributes: prompts, answers, choices, labels, ids, difficulty."
            )
        if rows.dtype.kind == "b":
            if rows.shape != self.shape:
                raise IndexError(f"a boolean mask must have shape {self.shape}. Got {rows.shape} instead.")
            rows = np.flatnonzero(rows)
        elif rows.size and (rows.min() < -len(self) or rows.max() >= len(self)):
            raise IndexError(f"indices must lie in [{-len(self)}, {len(self)}). Got {rows.min()} to {rows.max()}.")
        return self._take(rows)

    def __eq__(self, other: object) -> bool:
        """Whether all columns are equal; the name does not count."""
        if not isinstance(other, QADataset):
            return NotImplemented
        if (self._prompts, self._answers, self._choices, self._ids) != (
            other._prompts,
            other._answers,
            other._choices,
            other._ids,
        ):
            return False  # labels follow from answers and choices
        if self._difficulty is None or other._difficulty is None:
            return self._difficulty is other._difficulty
        return bool(np.array_equal(self._difficulty, other._difficulty))

    def __repr__(self) -> str:
        return as_text(self)

    def _repr_html_(self) -> str:
        return as_html(self)

    def concat(self, *others: QADataset, name: str | None = None) -> QADataset:
        """Return the rows of this data set followed by those of `others`.

        Parameters
        ----------
        *others : QADataset
            Data sets with the same columns.
        name : str or None, default=None
            Name of the result; None keeps this one's.

        Returns
        -------
        QADataset

        Raises
        ------
        TypeError
            If one of them is not a `QADataset`.
        ValueError
            If one of them lacks a column that another has.

        Examples
        --------
        >>> metals = QADataset(["Liquid metal?"], ["mercury"])
        >>> gases = QADataset(["Gas that plants take in?"], ["carbon dioxide"])
        >>> metals.concat(gases).answers
        ('mercury', 'carbon dioxide')
        """
        parts = (self, *others)
        for part in parts:
            if not isinstance(part, QADataset):
                raise TypeError(f"concat takes QADataset objects. Got {type(part).__name__} instead.")
        columns: dict[str, Any] = {}
        for column in ("prompts", "answers", "choices", "ids", "difficulty"):
            values = [getattr(part, column) for part in parts]
            have = [value is not None for value in values]
            if any(have) and not all(have):
                raise ValueError(
                    f"concat needs the same columns in every data set; number {have.index(False)} has no {column}. "
                    "Add the column there, or remove it elsewhere, for instance with drop_answers()."
                )
            columns[column] = [entry for value in values for entry in value] if all(have) else None
        return QADataset(**columns, name=self._name if name is None else name)

    def shuffle(self, random_state: RandomState = None) -> QADataset:
        """Return the rows in random order.

        Parameters
        ----------
        random_state : int, RandomState, Generator or None, default=None
            Seed of the order.

        Returns
        -------
        QADataset

        Examples
        --------
        >>> QADataset(["one", "two", "three"]).shuffle(random_state=0).prompts
        ('three', 'one', 'two')
        """
        return self._take(as_generator(random_state).permutation(len(self)))

    def shuffle_options(self, random_state: int = 0) -> QADataset:
        """Return the rows with the options of each in a random order.

        It depends on `random_state`, the question and the texts of its options, and not on the order that they have:
        what a table tells by its order is gone, and a question has the same options in the same places in any subset.

        Parameters
        ----------
        random_state : int, default=0
            Seed of the order, >= 0.

        Returns
        -------
        QADataset

        Raises
        ------
        ValueError
            If there are no options.

        Examples
        --------
        >>> qa = QADataset(["Liquid metal?"], choices=[["mercury", "tin", "lead"]], labels=[0])
        >>> qa.shuffle_options(random_state=1)[0].choices
        ('mercury', 'lead', 'tin')
        >>> qa[0].answer == qa.shuffle_options(random_state=1)[0].answer
        True
        """
        seed = check_integer(random_state, "random_state", minimum=0)
        if self._choices is None:
            raise ValueError("shuffle_options needs options. Got a data set without choices.")
        choices = tuple(
            tuple(sorted(options, key=lambda text: text_hash(seed, prompt, text)))
            for prompt, options in zip(self._prompts, self._choices, strict=True)
        )
        labels = None
        if self._answers is not None:
            places = zip(self._answers, choices, strict=True)
            labels = frozen(np.array([options.index(answer) for answer, options in places], dtype=np.int64))
        return QADataset._build(self._prompts, self._answers, choices, labels, self._ids, self._difficulty, self._name)

    def drop_answers(self) -> QADataset:
        """Return prompts, options and ids alone: what may be seen of questions that have no label.

        Difficulties go too, since ratings may have been made with the answers.

        Returns
        -------
        QADataset

        Examples
        --------
        >>> QADataset(["Liquid metal?"], choices=[["mercury", "tin"]], labels=[0]).drop_answers().answers is None
        True
        """
        return QADataset._build(self._prompts, None, self._choices, None, self._ids, None, self._name)

    def _example(self, row: int) -> QAExample:
        return QAExample(
            prompt=self._prompts[row],
            answer=None if self._answers is None else self._answers[row],
            choices=None if self._choices is None else self._choices[row],
            label=None if self._labels is None else int(self._labels[row]),
            id=None if self._ids is None else self._ids[row],
            difficulty=None if self._difficulty is None else float(self._difficulty[row]),
        )

    def _take(self, rows: NDArray[Any]) -> QADataset:
        if not rows.size:
            raise ValueError(
                f"a QADataset must hold at least one question; the selection keeps none of {len(self)}. "
                "Check the slice, mask or number of folds."
            )
        rows = rows % len(self)

        def pick(column: tuple[Any, ...] | None) -> Any:
            return None if column is None else tuple(column[row] for row in rows)

        labels = None if self._labels is None else frozen(self._labels[rows])
        difficulty = None if self._difficulty is None else frozen(self._difficulty[rows])
        columns = (pick(self._prompts), pick(self._answers), pick(self._choices))
        return QADataset._build(*columns, labels, pick(self._ids), difficulty, self._name)

    @staticmethod
    def _build(
        prompts: tuple[str, ...],
        answers: tuple[str, ...] | None,
        choices: tuple[tuple[str, ...], ...] | None,
        labels: NDArray[np.int64] | None,
        ids: tuple[str, ...] | None,
        difficulty: NDArray[np.float64] | None,
        name: str | None,
    ) -> QADataset:
        # Rows of a checked data set need no second check: a 5-fold search would repeat it for every fold.
        made = object.__new__(QADataset)
        made._prompts, made._answers, made._choices, made._labels = prompts, answers, choices, labels
        made._ids, made._difficulty, made._name = ids, difficulty, name
        return made
