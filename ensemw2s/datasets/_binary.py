"""Multiple choice as binary classification: is this option the right one?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ensemw2s._validation import RandomState, as_generator
from ensemw2s.datasets._columns import frozen
from ensemw2s.datasets._qa import QADataset


@dataclass(frozen=True, eq=False)
class BinaryQA:
    """Statements to be classified as right (1) or wrong (0).

    Attributes
    ----------
    texts : tuple of str, length n
        ``"Q: {question} A: {option}"``.
    labels : read-only int64 array of shape (n,)
        1 where the option is the gold answer, else 0.
    groups : read-only int64 array of shape (n,)
        Equal for all rows of one question text. Give it to `GroupKFold` or `GroupShuffleSplit`, so that the forms of
        a question stay on one side of a split.

    Examples
    --------
    >>> qa = QADataset(["Liquid metal?"], choices=[["tin", "mercury"]], labels=[1])
    >>> to_binary(qa, both=True, random_state=0).labels
    array([1, 0])
    """

    texts: tuple[str, ...]
    labels: NDArray[np.int64]
    groups: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.texts)

    def __repr__(self) -> str:
        return (
            f"BinaryQA(n={len(self)}, right: {int(self.labels.sum())}, questions: {len(np.unique(self.groups))})\n"
            f"  first: {self.texts[0]!r} -> {self.labels[0]}"
        )


def to_binary(dataset: QADataset, *, both: bool = False, random_state: RandomState = None) -> BinaryQA:
    """Turn multiple choice into balanced binary classification (Burns et al., 2023; EnsemW2S, Section 3.1).

    Each question gives one row: half of the questions, drawn at random, with the gold answer (label 1), the others
    with one of their wrong options, drawn uniformly (label 0). Of an odd number one more is wrong.

    Parameters
    ----------
    dataset : QADataset of length n
        Questions with options and gold answers.
    both : bool, default=False
        Give both forms of every question, 2n rows: row 2i right, row 2i + 1 wrong.
    random_state : int, RandomState, Generator or None, default=None
        Seed of the draws.

    Returns
    -------
    BinaryQA
        In the order of `dataset`.

    Raises
    ------
    TypeError
        If `dataset` is not a `QADataset`.
    ValueError
        If it has no options or no gold answers.

    Examples
    --------
    >>> qa = QADataset(["Liquid metal?", "Red gem?"], choices=[["tin", "mercury"], ["ruby", "opal"]], labels=[1, 0])
    >>> binary = to_binary(qa, random_state=0)
    >>> binary.texts
    ('Q: Liquid metal? A: mercury', 'Q: Red gem? A: opal')
    >>> binary.labels
    array([1, 0])
    """
    if not isinstance(dataset, QADataset):
        raise TypeError(
            f"dataset must be a QADataset. Got {type(dataset).__name__} instead; build one with QADataset.from_list."
        )
    if dataset.choices is None or dataset.labels is None:
        missing = "choices" if dataset.choices is None else "answers"
        raise ValueError(f"dataset must have choices and answers. Got no {missing} instead; build it with both.")
    rng = as_generator(random_state)
    n = len(dataset)
    right = np.zeros(n, dtype=bool)
    right[rng.permutation(n)[: n // 2]] = True
    group_of: dict[str, int] = {}
    texts: list[str] = []
    labels: list[int] = []
    groups: list[int] = []
    for row, (prompt, options, gold) in enumerate(zip(dataset.prompts, dataset.choices, dataset.labels, strict=True)):
        wrong = [option for k, option in enumerate(options) if k != gold]
        distractor = wrong[rng.integers(len(wrong))]
        forms = [(options[gold], 1), (distractor, 0)]
        for option, label in forms if both else [forms[0 if right[row] else 1]]:
            texts.append(f"Q: {prompt} A: {option}")
            labels.append(label)
            groups.append(group_of.setdefault(prompt, len(group_of)))
    return BinaryQA(tuple(texts), frozen(np.array(labels)), frozen(np.array(groups)))
