"""Which questions are forms of one question, and a fingerprint of each."""

from __future__ import annotations

import hashlib
import itertools
import unicodedata
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from ensemw2s._validation import as_texts, check_real, shorten
from ensemw2s._validation.groups import first_of_group
from ensemw2s.datasets import QADataset
from ensemw2s.splits._similar_sets import SetFamily
from ensemw2s.splits._words import words

# Jaccard similarity of two questions' word pairs from which they count as one question. Chosen on SciQ, ARC, QuaRTz
# (train) and make_qa. At .6 all that is linked in QuaRTz is pairs, 918 of 1,763 questions, nearly all of them a
# question and its flipped twin; .5 would find 13 % more of these, but there many links in SciQ and ARC join questions
# that only begin alike ("What is another word for ..."), and two thirds of 10,000 questions of make_qa chain into one
# group (at .6 the largest has 15). Triples find a quarter fewer twins at the same threshold.
NEAR_DUPLICATES = 0.6

_FEWEST_PAIRS = 2  # of a question that is found within a longer one
# Groups up to this size, or this share of all questions, are never taken for a chain. The largest of 11,609 questions
# of SciQ has 18, of 4,609 of ARC 33 ("Which of these is a ...?"), of 7,473 of GSM8K 2.
_CHAIN_SIZE, _CHAIN_SHARE = 40, 0.01


def question_groups(
    X: Any, groups: Any = None, *, near_duplicates: float | None = NEAR_DUPLICATES
) -> NDArray[np.int64]:
    r"""Group questions that must not be torn apart by a split.

    With :math:`t` for `near_duplicates`, two questions are in one group if

    - their words are the same, or they have the same value in `groups`;
    - the Jaccard similarity :math:`|A \cap B| / |A \cup B|` of their sets of neighbouring word pairs reaches :math:`t`;
    - that of their sets of words reaches :math:`1 - \frac34 (1 - t)`, by default .7: the same words in another order,
      as in "Using a truck instead of carrying things" and "Carrying things instead of using a truck";
    - a share of :math:`1 - \frac14 (1 - t)`, by default .9, of the word pairs of one, if these are at least two, is
      found in the other: a passage or options were added;

    and so are all that such links connect. Every such pair is found, at 100,000 questions as well. Case, punctuation,
    blanks, accents, unseen marks and look-alikes of letters do not count; characters of scripts without blanks are
    words.

    Where questions are made of few words, as those of `make_qa` are, similar sets of words chain a large part of them.
    Groups of more than 40 questions and a hundredth of all therefore lose links by sets of words, the weakest first,
    until they fall apart or all that is linked has the same words.

    Parameters
    ----------
    X : QADataset, sequence of str, or array of numbers, length n
        Questions, without a template around them. Rows of numbers have no words: only `groups` links them.
    groups : array-like of length n, optional
        Rows with equal values stay together.
    near_duplicates : float in (0, 1] or None, default=0.6
        :math:`t`; None links equal questions only.

    Returns
    -------
    ndarray of shape (n,), int64
        Group of each question, 0, 1, ...; the numbers depend on the texts, not on their order in the file.

    Raises
    ------
    TypeError, ValueError
        If a row is no text, `near_duplicates` is out of range, or `groups` are not one per row.

    See Also
    --------
    RandomSplit : Keeps such groups in one part.
    bootstrap_interval : Draws them as a whole.

    Examples
    --------
    >>> from ensemw2s import question_groups
    >>> question_groups(["Do heavy things fall faster?", "Is ice cold?", "Do heavy things fall slower?", "is ice cold"])
    array([0, 1, 0, 1])
    """
    threshold = None if near_duplicates is None else check_real(near_duplicates, "near_duplicates")
    if threshold is not None and not 0.0 < threshold <= 1.0:
        raise ValueError(f"near_duplicates must lie in (0, 1] or be None. Got {near_duplicates!r} instead.")
    texts = _texts(X)
    if texts is None:
        labels = np.arange(len(X))
    else:
        rows = [words(text) for text in texts]
        # Sorted by text, so that components are numbered in this order whatever the order of the rows.
        keys = [" ".join(row) or _normalized(text) for row, text in zip(rows, texts, strict=True)]
        _, first, labels = np.unique(keys, return_index=True, return_inverse=True)
        if threshold is not None:
            labels = _link_similar([rows[row] for row in first], threshold)[labels]
    if groups is not None:
        labels = _link(labels, np.arange(len(labels)), first_of_group(groups, len(labels)))
    return labels.astype(np.int64)


def fingerprints(X: Any) -> tuple[str, ...]:
    """SHA-256 of each question, by which it is found again in another order or subset.

    Parameters
    ----------
    X : QADataset, sequence of str, or array of numbers, length n
        Questions. Case and blanks of a text do not count.

    Returns
    -------
    tuple of str, length n
        Hexadecimal.
    """
    texts = _texts(X)
    if texts is None:
        return tuple(hashlib.sha256(row.tobytes()).hexdigest() for row in np.ascontiguousarray(_numbers(X)))
    return tuple(hashlib.sha256(_normalized(text).encode()).hexdigest() for text in texts)


def _texts(X: Any) -> list[str] | None:
    """The questions as texts; None if they are rows of numbers."""
    if isinstance(X, QADataset):
        return list(X.prompts)
    if len(getattr(X, "shape", ())) == 2:
        _numbers(X)
        return None
    return as_texts(X, "X", what="question")


def _numbers(X: Any) -> NDArray[np.float64]:
    if hasattr(X, "toarray"):
        raise TypeError(
            f"X must hold texts or a dense array of numbers. Got {type(X).__name__} instead; put vectorizer and "
            f"classifier into one Pipeline and pass the texts, so that nothing is learned from rows that are rated."
        )
    try:
        return np.asarray(X, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise TypeError(
            f"X must hold texts, one per row, or rows of numbers. Got {shorten(X)} instead; "
            f"pass a single column of texts."
        ) from error


def _normalized(text: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def _pairs(row: list[str]) -> set[tuple[str, ...]]:
    """Neighbouring words, or the only word."""
    return set(itertools.pairwise(row)) or {tuple(row)}


def _link_similar(rows: list[list[str]], threshold: float) -> NDArray[np.int64]:
    """Components of different questions, given as their words, under the relation of `question_groups`."""
    # A question of punctuation alone has no words, and is a form of no other.
    worded_rows = np.flatnonzero([bool(row) for row in rows])
    labels = np.arange(len(rows))
    if len(worded_rows) < 2:
        return labels
    worded = [rows[row] for row in worded_rows]
    # Links by word pairs respect the order of words, and are never undone: near-duplicates, and those with an addition.
    pairs = SetFamily([_pairs(row) for row in worded])
    for first, second, _ in (
        pairs.similar(threshold), pairs.contained(1.0 - (1.0 - threshold) / 4, _FEWEST_PAIRS)
    ):  # fmt: skip
        labels = _link(labels, worded_rows[first], worded_rows[second])
    # Links by sets of words find reordered questions, and chains: a ~ b ~ c ~ ... whose ends have little in common.
    # While a group is larger than forms of one question ever are, its links of this kind are cut by a rising bound;
    # other groups keep theirs. At the last bound, 1, only equal sets are linked.
    floor = 1.0 - 0.75 * (1.0 - threshold)
    first, second, similarity = SetFamily([set(row) for row in worded]).similar(floor)
    first, second = worded_rows[first], worded_rows[second]
    longest = max(_CHAIN_SIZE, _CHAIN_SHARE * len(rows))
    for bound in np.linspace(floor, 1.0, 7)[1:]:
        linked = _link(labels, first, second)
        in_chain = np.bincount(linked)[linked[first]] > longest
        if not in_chain.any():
            break
        kept = ~in_chain | (similarity + 1e-9 >= bound)
        first, second, similarity = first[kept], second[kept], similarity[kept]
    return _link(labels, first, second)


def _link(labels: NDArray[np.int64], rows: NDArray[Any], columns: NDArray[Any]) -> NDArray[np.int64]:
    """Merge the components of linked rows; components stay in the order of their first members."""
    # Nodes are the components so far, not the rows: links of several kinds are added one kind after the other.
    n = int(labels.max()) + 1
    graph = coo_matrix((np.ones(len(rows), dtype=bool), (labels[rows], labels[columns])), shape=(n, n))
    return connected_components(graph, directed=False)[1][labels]
