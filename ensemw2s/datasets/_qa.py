"""Questions with answers and options as one immutable, sliceable object."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from ensemw2s._validation import RandomState, as_generator, as_texts, check_integer
from ensemw2s.datasets._columns import (
    Columns,
    check_choices,
    check_difficulty,
    check_ids,
    check_labels,
    check_texts,
    frozen,
    labels_from_answers,
)
from ensemw2s.datasets._conversions import TableConversions
from ensemw2s.datasets._example import QAExample
from ensemw2s.datasets._repr import as_html, as_text
from ensemw2s.metrics import text_hash
from ensemw2s.storage import digest


class QADataset(TableConversions):
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
        questions = tuple(as_texts(prompts, "prompts", what="question"))
        given = None if answers is None else check_texts(answers, "answers", questions, what="answer")
        options = None if choices is None else check_choices(choices, questions)
        places: NDArray[np.int64] | None = None
        if labels is not None:
            if options is None:
                raise ValueError("labels must come with choices, which they index. Got choices=None; pass choices too.")
            places = check_labels(labels, options, questions)
            gold = tuple(texts[place] for texts, place in zip(options, places, strict=True))
            if given is not None and given != gold:
                row = next(row for row, answer in enumerate(given) if answer != gold[row])
                raise ValueError(
                    f"answers[{row}] must be the option that labels[{row}]={places[row]} names, {gold[row]!r}. "
                    f"Got {given[row]!r} instead; pass answers or labels, not both."
                )
            given = gold
        elif options is not None and given is not None:
            places = labels_from_answers(given, options)
        names = None if ids is None else check_ids(ids, questions)
        ratings = None if difficulty is None else check_difficulty(difficulty, questions)
        if name is not None and not isinstance(name, str):
            raise TypeError(f"name must be a str or None. Got {name!r} instead.")
        self._columns, self._name = Columns(questions, given, options, places, names, ratings), name

    @property
    def prompts(self) -> tuple[str, ...]:
        """The questions."""
        return self._columns.prompts

    @property
    def answers(self) -> tuple[str, ...] | None:
        """The gold answers, or None."""
        return self._columns.answers

    @property
    def choices(self) -> tuple[tuple[str, ...], ...] | None:
        """The options of each question, or None."""
        return self._columns.choices

    @property
    def labels(self) -> NDArray[np.int64] | None:
        """Indices of the gold options, shape (n,), or None."""
        return self._columns.labels

    @property
    def ids(self) -> tuple[str, ...] | None:
        """Identifiers, or None."""
        return self._columns.ids

    @property
    def difficulty(self) -> NDArray[np.float64] | None:
        """Ratings, shape (n,), larger is harder; or None."""
        return self._columns.difficulty

    @property
    def name(self) -> str | None:
        """Name of the data set, or None."""
        return self._name

    @property
    def n_choices(self) -> NDArray[np.int64] | None:
        """Number of options of each question, shape (n,), or None."""
        return self._columns.n_choices

    @property
    def shape(self) -> tuple[int]:
        """``(n,)``: with it scikit-learn indexes the data set as it does an array."""
        return (len(self),)

    def __len__(self) -> int:
        return len(self._columns.prompts)

    def __iter__(self) -> Iterator[QAExample]:
        return map(self._columns.example, range(len(self)))

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
            return self._columns.example(int(key) % len(self))
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
        ours, theirs = self._columns, other._columns
        if (ours.prompts, ours.answers, ours.choices, ours.ids) != (
            theirs.prompts,
            theirs.answers,
            theirs.choices,
            theirs.ids,
        ):
            return False  # labels follow from answers and choices
        if ours.difficulty is None or theirs.difficulty is None:
            return ours.difficulty is theirs.difficulty
        return bool(np.array_equal(ours.difficulty, theirs.difficulty))

    def _ensemw2s_fingerprint(self) -> dict[str, str]:
        """Hash of prompts, options and answers, in their order, which tells data sets apart."""
        return {"questions": digest([self.prompts, self.choices, self.answers])}

    def __repr__(self) -> str:
        return as_text(self._columns, self._name)

    def _repr_html_(self) -> str:
        return as_html(self._columns, self._name)

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
        prompts, answers, options, *_ = self._columns
        if options is None:
            raise ValueError("shuffle_options needs options. Got a data set without choices.")
        choices = tuple(
            tuple(sorted(texts, key=lambda text: text_hash(seed, prompt, text)))
            for prompt, texts in zip(prompts, options, strict=True)
        )
        labels = None
        if answers is not None:
            places = zip(answers, choices, strict=True)
            labels = frozen(np.array([texts.index(answer) for answer, texts in places], dtype=np.int64))
        return self._made(self._columns._replace(choices=choices, labels=labels))

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
        return self._made(self._columns._replace(answers=None, labels=None, difficulty=None))

    def _take(self, rows: NDArray[Any]) -> QADataset:
        if not rows.size:
            raise ValueError(
                f"a QADataset must hold at least one question; the selection keeps none of {len(self)}. "
                "Check the slice, mask or number of folds."
            )
        return self._made(self._columns.take(rows % len(self)))

    def _made(self, columns: Columns) -> QADataset:
        return _made(columns, self._name)


def of_checked_columns(
    prompts: Sequence[str], answers: Sequence[str] | None, choices: Sequence[Sequence[str]] | None
) -> QADataset:
    """A data set of texts that have been checked; of the options of each question, the answer has to be one."""
    questions = tuple(map(str, prompts))  # numpy.str_ becomes a plain str
    given = None if answers is None else tuple(map(str, answers))
    options = None if choices is None else tuple(tuple(map(str, texts)) for texts in choices)
    labels = None if given is None or options is None else labels_from_answers(given, options)
    return _made(Columns(questions, given, options, labels, None, None), None)


def _made(columns: Columns, name: str | None) -> QADataset:
    # Rows of a checked data set need no second check: a 5-fold search would repeat it for every fold.
    made = object.__new__(QADataset)
    made._columns, made._name = columns, name
    return made
