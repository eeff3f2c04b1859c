"""Arrays and pseudo-labels as JSON, and back."""

from __future__ import annotations

from typing import Any

import numpy as np

from ensemw2s.pseudo import PseudoLabels

__all__ = ["number_answers", "pack_bits", "pack_credit", "pack_labels", "unpack_bits", "unpack_credit", "unpack_labels"]


def pack_bits(values: np.ndarray) -> str:
    """Truth values as a text of 0 and 1."""
    return "".join("01"[bool(value)] for value in values)


def unpack_bits(text: str) -> np.ndarray:
    """Truth values from `pack_bits`."""
    return np.array([character == "1" for character in text], dtype=bool)


def pack_credit(values: np.ndarray) -> str | list[int]:
    """What items earn, 0 or 1/m each, as a text of 0 and m; as a list where one is tied with more than eight."""
    tied = [round(1.0 / value) if value else 0 for value in np.asarray(values, dtype=np.float64).tolist()]
    return "".join(map(str, tied)) if max(tied) < 10 else tied


def unpack_credit(packed: str | list[int]) -> np.ndarray:
    """What items earn, float64, from `pack_credit` or `pack_bits`."""
    return np.array([1.0 / int(tied) if int(tied) else 0.0 for tied in packed])


def number_answers(predicted: np.ndarray, gold: np.ndarray) -> list[list[int]]:
    """Answers as numbers, item by item: 0 is the right one, equal wrong ones are equal.

    Parameters
    ----------
    predicted : ndarray of shape (T, n)
        Answers of T models.
    gold : ndarray of shape (n,)
        Right answers.

    Returns
    -------
    list of T lists of n int
    """
    columns = []
    for answers, right in zip(predicted.T, gold, strict=True):
        numbers = {right: 0}
        columns.append([numbers.setdefault(answer, len(numbers)) for answer in answers])
    return [list(row) for row in zip(*columns, strict=True)]


def pack_labels(labels: PseudoLabels) -> dict[str, Any]:
    """Pseudo-labels without their questions; probabilities only where students learn from them."""
    return {
        "y": np.asarray(labels.y).tolist(),
        "kept": pack_bits(labels.kept),
        "soft": bool(labels.soft),
        "proba": labels.proba.tolist() if labels.soft and labels.proba is not None else None,
        "classes": None if labels.classes is None else np.asarray(labels.classes).tolist(),
    }


def unpack_labels(packed: dict[str, Any], X: Any) -> PseudoLabels:
    """Pseudo-labels from `pack_labels`, for the same questions."""
    texts = isinstance(packed["y"][0], str)
    written = texts and getattr(X, "choices", None) is None
    return PseudoLabels(
        X,
        np.array(packed["y"], dtype=object if texts else None),
        None if packed["proba"] is None else np.array(packed["proba"]),
        None,
        unpack_bits(packed["kept"]),
        packed["soft"],
        None if packed["classes"] is None else np.array(packed["classes"]),
        finished=np.ones(len(packed["y"]), dtype=bool) if written else None,  # as far as they are kept
    )
