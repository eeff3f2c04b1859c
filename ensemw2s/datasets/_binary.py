"""Multiple choice as binary classification: is this option the right one?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ensemw2s._validation import RandomState, as_generator, check_in_unit_interval, check_vector
from ensemw2s.datasets._columns import frozen
from ensemw2s.datasets._qa import QADataset
from ensemw2s.metrics import likeliest_texts


@dataclass(frozen=True, eq=False)
class BinaryQA:
    """Statements to be classified as right (1) or wrong (0).

    Attributes
    ----------
    texts : tuple of str, length n
        ``"Q: {question} A: {option}"``.
    labels : read-only int64 array of shape (n,)
        1 where the option is the gold answer, else 0; -1 where no answers are known, as scikit-learn marks it.
    groups : read-only int64 array of shape (n,)
        Equal for all rows of one question text. Give it to `RandomSplit`, `GroupKFold` or `GroupShuffleSplit`, so that
        the forms of a question stay on one side of a split, and to `bootstrap_interval`, since they are no independent
        evidence.

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
        right = int((self.labels == 1).sum())
        return (
            f"BinaryQA(n={len(self)}, right: {right}, questions: {len(np.unique(self.groups))})\n"
            f"  first: {self.texts[0]!r} -> {self.labels[0]}"
        )


def to_binary(
    dataset: QADataset, *, both: bool = False, every_option: bool = False, random_state: RandomState = None
) -> BinaryQA:
    """Turn multiple choice into balanced binary classification (Burns et al., 2023; EnsemW2S, Section 3.1).

    Each question gives one row: half of the questions, drawn at random, with the gold answer (label 1), the others
    with one of their wrong options, drawn uniformly (label 0). Of an odd number one more is wrong.

    Parameters
    ----------
    dataset : QADataset of length n
        Questions with options and gold answers.
    both : bool, default=False
        Give both forms of every question, 2n rows: row 2i right, row 2i + 1 wrong.
    every_option : bool, default=False
        Give a row to every option of every question, in their order, for `from_binary`. Nothing is drawn, and answers
        need not be known.
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
        If it has no options or no gold answers, or if `both` and `every_option` are asked for.

    See Also
    --------
    from_binary : The way back, from probabilities of statements to options.

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
    if both and every_option:
        raise ValueError("both and every_option must not be given together; every option has a row, or two have one.")
    if every_option and dataset.choices is not None:
        return _every_option(dataset)
    if dataset.choices is None or dataset.labels is None:
        missing = "choices" if dataset.choices is None else "answers"
        raise ValueError(f"dataset must have choices and answers. Got no {missing} instead; build it with both.")
    rng = as_generator(random_state)
    n = len(dataset)
    right = np.zeros(n, dtype=bool)
    right[rng.permutation(n)[: n // 2]] = True
    group_of = _numbered(dataset.prompts)
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
            groups.append(group_of[prompt])
    return BinaryQA(tuple(texts), frozen(np.array(labels)), frozen(np.array(groups)))


def _every_option(dataset: QADataset) -> BinaryQA:
    choices = dataset.choices or ()
    pairs = zip(dataset.prompts, choices, strict=True)
    texts = tuple(f"Q: {prompt} A: {option}" for prompt, options in pairs for option in options)
    labels = np.full(len(texts), -1)
    if dataset.labels is not None:
        labels = np.concatenate(
            [np.arange(len(row)) == gold for row, gold in zip(choices, dataset.labels, strict=True)]
        )
    group_of = _numbered(dataset.prompts)
    groups = np.repeat([group_of[prompt] for prompt in dataset.prompts], [len(options) for options in choices])
    return BinaryQA(texts, frozen(labels.astype(np.int64)), frozen(groups))


def _numbered(prompts: Sequence[str]) -> dict[str, int]:
    """A number for each question text, from 0 in the order of the rows."""
    return {prompt: number for number, prompt in enumerate(dict.fromkeys(prompts))}


def from_binary(dataset: QADataset, proba: ArrayLike, *, random_state: int = 0) -> NDArray[np.object_]:
    """Turn probabilities of statements back into answers: the option whose statement is most probably right.

    Parameters
    ----------
    dataset : QADataset of length n
        Questions with options.
    proba : array-like of shape (m,) or (m, 2)
        How probably each of the m statements of ``to_binary(dataset, every_option=True)`` is right, in [0, 1]; of two
        columns, as `predict_proba` gives them, the second.
    random_state : int, default=0
        Seed of the draw among options that are equally probable. It does not depend on their order.

    Returns
    -------
    ndarray of shape (n,), str objects
        One option of each question.

    Raises
    ------
    TypeError
        If `dataset` is not a `QADataset`.
    ValueError
        If it has no options, or `proba` is not one probability for each of its options.

    Examples
    --------
    >>> qa = QADataset(["Liquid metal?", "Red gem?"], choices=[["tin", "mercury"], ["ruby", "opal", "jade"]])
    >>> to_binary(qa, every_option=True).texts[:2]
    ('Q: Liquid metal? A: tin', 'Q: Liquid metal? A: mercury')
    >>> from_binary(qa, [0.4, 0.7, 0.6, 0.2, 0.1]).tolist()
    ['mercury', 'ruby']
    """
    if not isinstance(dataset, QADataset):
        raise TypeError(
            f"dataset must be a QADataset. Got {type(dataset).__name__} instead; build one with QADataset.from_list."
        )
    if dataset.choices is None or dataset.n_choices is None:
        raise ValueError("dataset must have choices. Got none; statements of free text lead back to no option.")
    scores = np.asarray(proba)
    if scores.ndim == 2 and scores.shape[1] == 2:
        scores = scores[:, 1]
    right = check_vector(scores, "proba", length=int(dataset.n_choices.sum()), per="option of each question")
    check_in_unit_interval(right, "proba")
    exists = np.arange(dataset.n_choices.max()) < dataset.n_choices[:, None]
    nll = np.full(exists.shape, np.inf)
    with np.errstate(divide="ignore"):
        nll[exists] = -np.log(right)
    return likeliest_texts(nll, dataset.prompts, dataset.choices, random_state)
