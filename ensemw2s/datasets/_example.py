"""One question, as a `QADataset` hands it out."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class QAExample:
    """One question of a `QADataset`.

    Attributes
    ----------
    prompt : str
        The question.
    answer : str or None
        The gold answer.
    choices : tuple of str or None
        The options.
    label : int or None
        Index of the gold option.
    id : str or None
        Identifier of the question.
    difficulty : float or None
        Larger is harder.

    Examples
    --------
    >>> QAExample("Which metal is liquid?", answer="mercury").answer
    'mercury'
    """

    prompt: str
    answer: str | None = None
    choices: tuple[str, ...] | None = None
    label: int | None = None
    id: str | None = None
    difficulty: float | None = None
