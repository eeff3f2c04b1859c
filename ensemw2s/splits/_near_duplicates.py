"""Which questions are forms of one question, and a fingerprint of each."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from sklearn.feature_extraction.text import CountVectorizer

from ensemw2s._rows import is_missing
from ensemw2s._validation import as_texts, check_real, check_same_length, shorten
from ensemw2s.datasets import QADataset

# Jaccard similarity of two questions' word pairs from which they count as one question. Chosen on SciQ, ARC, QuaRTz
# (train) and make_qa. At .6 all that is linked in QuaRTz is pairs, 918 of 1,763 questions, nearly all of them a
# question and its flipped twin; .5 would find 13 % more of these, but there many links in SciQ and ARC join questions
# that only begin alike ("What is another word for ..."), and two thirds of 10,000 questions of make_qa chain into one
# group (at .6 the largest has 15). Single words instead of pairs chain all of make_qa, whose questions are the same
# words in other orders; triples find a quarter fewer twins at the same threshold.
NEAR_DUPLICATES = 0.6

_SHINGLE = 2  # words
_PAIRS_AT_ONCE = 4_000_000  # bounds memory: a block of rows times all columns of the similarity matrix


def question_groups(
    X: Any, groups: Any = None, *, near_duplicates: float | None = NEAR_DUPLICATES
) -> NDArray[np.int64]:
    r"""Group questions that must not be torn apart by a split.

    Two questions are in one group if their words are the same, if the Jaccard similarity
    :math:`|A \cap B| / |A \cup B|` of their sets of neighbouring word pairs reaches `near_duplicates`, or if they have
    the same value in `groups`; and so are all that such links connect. Every pair of questions is compared, so nothing
    is missed. Case, punctuation and blanks do not count.

    Parameters
    ----------
    X : QADataset, sequence of str, or array of numbers, length n
        Questions, without a template around them. Rows of numbers have no words: only `groups` links them.
    groups : array-like of length n, optional
        Rows with equal values stay together.
    near_duplicates : float in (0, 1] or None, default=0.6
        Threshold; None links equal questions only.

    Returns
    -------
    ndarray of shape (n,), int64
        Group of each question, 0, 1, ...; the numbers depend on the texts, not on their order in the file.

    Examples
    --------
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
        words = [_words(text) for text in texts]
        # Sorted by text, so that components are numbered in this order whatever the order of the rows.
        keys = [" ".join(row) or _normalized(text) for row, text in zip(words, texts, strict=True)]
        _, first, labels = np.unique(keys, return_index=True, return_inverse=True)
        if threshold is not None:
            labels = _link_similar([words[row] for row in first], threshold)[labels]
    if groups is not None:
        labels = _link(labels, np.arange(len(labels)), _first_of_group(groups, len(labels)))
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


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", _normalized(text))


def _shingles(words: list[str]) -> set[str]:
    if 0 < len(words) < _SHINGLE:
        return {words[0]}
    return {" ".join(words[k : k + _SHINGLE]) for k in range(len(words) - _SHINGLE + 1)}


def _link_similar(rows: list[list[str]], threshold: float) -> NDArray[np.int64]:
    """Components of different questions under Jaccard similarity."""
    labels = np.arange(len(rows))
    if len(rows) == 1 or not any(rows):
        return labels
    counts = CountVectorizer(analyzer=_shingles, binary=True, dtype=np.int32).fit_transform(rows).tocsr()
    size = np.diff(counts.indptr)
    shared = counts[:, np.bincount(counts.indices) > 1]  # what occurs once is in no intersection
    step = max(1, _PAIRS_AT_ONCE // len(rows))
    for start in range(0, len(rows), step):
        overlap = (shared[start : start + step] @ shared.T).tocoo()
        row, column, both = overlap.row + start, overlap.col, overlap.data
        # The slack: .7 * 10 may be a little more than 7 in binary.
        near = (row < column) & (both + 1e-9 >= threshold * (size[row] + size[column] - both))
        labels = _link(labels, row[near], column[near])
    return labels


def _link(labels: NDArray[np.int64], rows: NDArray[Any], columns: NDArray[Any]) -> NDArray[np.int64]:
    """Merge the components of linked rows; components stay in the order of their first members."""
    n = int(labels.max()) + 1
    graph = coo_matrix((np.ones(len(rows), dtype=bool), (labels[rows], labels[columns])), shape=(n, n))
    return connected_components(graph, directed=False)[1][labels]


def _first_of_group(groups: Any, n_rows: int) -> NDArray[np.int64]:
    values = np.asarray(groups)
    if values.ndim != 1:
        raise ValueError(f"groups must have one dimension, one value per question. Got shape {values.shape} instead.")
    check_same_length(range(n_rows), values, "X", "groups")
    first: dict[Any, int] = {}
    for row, value in enumerate(groups):
        if is_missing(value):
            raise ValueError(f"groups must name a group for each row. Got groups[{row}] = {value!r}; give it a group.")
    return np.array([first.setdefault(value, row) for row, value in enumerate(values.tolist())])
