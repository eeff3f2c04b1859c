"""What a written answer earns beside the right one: exact match, token F1, ROUGE."""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ensemw2s._validation import check_same_length

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)


def squad_normalize(text: str) -> str:
    """A text as SQuAD's script compares it: lower case, without ASCII punctuation, articles and superfluous blanks."""
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_NO_PUNCTUATION)).split())


def exact_match(predictions: Sequence[str], references: Sequence[str]) -> NDArray[np.float64]:
    """Whether two texts are equal after SQuAD's normalisation (Rajpurkar et al., 2016).

    Case, ASCII punctuation, the articles a, an and the, and blanks do not count. So a sign or a decimal point does not
    count either: `number_match` compares numbers.

    Parameters
    ----------
    predictions : sequence of str, length n
        Written answers.
    references : sequence of str, length n
        Right answers.

    Returns
    -------
    ndarray of shape (n,)
        0 or 1.

    Raises
    ------
    ValueError
        If the lengths differ.

    Examples
    --------
    >>> from ensemw2s import exact_match
    >>> exact_match(["The Eiffel Tower.", "Paris"], ["eiffel tower", "Lyon"])
    array([1., 0.])
    """
    check_same_length(predictions, references, "predictions", "references")
    return np.array([
        squad_normalize(said) == squad_normalize(right) for said, right in zip(predictions, references, strict=True)
    ], dtype=np.float64)  # fmt: skip


def token_f1(predictions: Sequence[str], references: Sequence[str]) -> NDArray[np.float64]:
    r"""Harmonic mean of precision and recall of words, after SQuAD's normalisation (Rajpurkar et al., 2016).

    .. math:: F_1 = \frac{2 |P \cap R|}{|P| + |R|},

    with the bags of words of prediction and reference; as in SQuAD 2.0, two texts of which one has no word left earn 1
    if the other has none either.

    Parameters
    ----------
    predictions : sequence of str, length n
        Written answers.
    references : sequence of str, length n
        Right answers.

    Returns
    -------
    ndarray of shape (n,)
        In [0, 1].

    Raises
    ------
    ValueError
        If the lengths differ.

    Examples
    --------
    >>> from ensemw2s import token_f1
    >>> token_f1(["the tall iron tower", "a tower"], ["iron tower", "The tower!"])
    array([0.8, 1. ])
    """
    check_same_length(predictions, references, "predictions", "references")
    scores = []
    for said, right in zip(predictions, references, strict=True):
        words, wanted = Counter(squad_normalize(said).split()), Counter(squad_normalize(right).split())
        shared, total = (words & wanted).total(), words.total() + wanted.total()
        scores.append(2.0 * shared / total if total else 1.0)
    return np.array(scores)


def same_text(predictions: Sequence[str], references: Sequence[str]) -> NDArray[np.float64]:
    """Whether two texts are equal, blanks around them aside."""
    check_same_length(predictions, references, "predictions", "references")
    return np.array([
        said.strip() == right.strip() for said, right in zip(predictions, references, strict=True)
    ], dtype=np.float64)  # fmt: skip


def rouge_l(predictions: Sequence[str], references: Sequence[str]) -> NDArray[np.float64]:
    """F-measure of the longest common subsequence of words (ROUGE-L), as Google's rouge-score computes it, stemmed."""
    check_same_length(predictions, references, "predictions", "references")
    try:
        from rouge_score.rouge_scorer import RougeScorer
    except ImportError as error:
        raise ImportError("metric='rouge' needs rouge-score. Install it with `pip install ensemw2s[rouge]`.") from error
    scorer = RougeScorer(["rougeL"], use_stemmer=True)
    pairs = zip(predictions, references, strict=True)
    return np.array([scorer.score(right, said)["rougeL"].fmeasure for said, right in pairs])
