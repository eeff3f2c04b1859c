"""What answers are compared by: a name or a function of one's own, and what finds the answer in a text."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from functools import partial
from types import BuiltinFunctionType, FunctionType, MethodType
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ensemw2s._validation import check_in_unit_interval, check_option, check_vector, shorten
from ensemw2s.metrics._extract import Extract, as_extract
from ensemw2s.metrics._numbers import last_number, number_match
from ensemw2s.metrics._texts import exact_match, rouge_l, same_text, squad_normalize, token_f1

Compare: TypeAlias = "Callable[[Sequence[str], Sequence[str]], Any]"
MetricLike: TypeAlias = "str | Compare | None"
Answers: TypeAlias = "Sequence[Any] | NDArray[Any]"

ACCURACY = "accuracy"
"""The metric of options and classes: the likeliest one is right or wrong, and a tie of m is 1/m."""


class _Comparison(NamedTuple):
    of_texts: Compare
    """What each answer earns."""
    key: Callable[[str], Hashable]
    """Equal for two answers that are one to a majority vote."""


def _itself(answer: str) -> Hashable:
    return answer


# By the name that the parameter `metric` has.
COMPARISONS: dict[str, _Comparison] = {
    "exact_text": _Comparison(same_text, _itself),
    "exact_match": _Comparison(exact_match, squad_normalize),
    "f1": _Comparison(token_f1, squad_normalize),
    "number": _Comparison(number_match, last_number),
    "rouge": _Comparison(rouge_l, _itself),
}
METRICS = (ACCURACY, *COMPARISONS)


@dataclass(frozen=True)
class Metric:
    """What answers earn.

    Attributes
    ----------
    name : str
        As reports call it.
    compare : callable or None
        ``(predictions, references) -> (n,)``; None where models say themselves what they earn, see `credit`.
    extract : callable or None
        From `as_extract`; None where answers are no texts.
    key : callable
        Equal for two answers that are one to a majority vote.
    """

    name: str
    compare: Compare | None = None
    extract: Callable[[str], str | None] | None = None
    key: Callable[[str], Hashable] = _itself

    def answers(self, texts: Answers) -> list[Any]:
        """What is compared of each text: the answer in it, None where there is none."""
        return list(texts) if self.extract is None else [self.extract(text) for text in texts]

    def answers_of_references(self, references: Answers) -> list[Any]:
        """What predictions are compared with: the answer in a reference, or the reference where it is one itself."""
        found = zip(references, self.answers(references), strict=True)
        return [reference if answer is None else answer for reference, answer in found]

    def keys(self, texts: Answers, *, references: bool = False) -> list[Any]:
        """Equal for texts whose answers are one; None where there is none."""
        found = self.answers_of_references(texts) if references else self.answers(texts)
        return [None if answer is None else self.key(answer) for answer in found]

    def __call__(self, predictions: Answers, references: Answers) -> NDArray[np.float64]:
        """What each prediction earns, in [0, 1]; 0 where it holds no answer. A reference without one is the answer.

        Raises
        ------
        ValueError
            If the metric, a function of the user's, returns anything but one number in [0, 1] per prediction.
        """
        if self.compare is None:
            raise ValueError(f"{self.name} is what a model's own credit says, and compares no texts.")
        said, right = self.answers(predictions), self.answers_of_references(references)
        found = [row for row, answer in enumerate(said) if answer is not None]
        if not found:
            return np.zeros(len(said))
        name, n = f"what metric {self.name!r} returns", len(found)
        returned = np.asarray(self.compare([said[row] for row in found], [right[row] for row in found]))
        if returned.shape == (n,):  # put in their places first, so that an error names the user's row
            earned, n = np.zeros(len(said), dtype=object), len(said)
            earned[found] = returned
            returned = earned
        vector = check_vector(returned, name, length=n, per="prediction")
        check_in_unit_interval(vector, name)
        return vector

    def check(self, references: Answers) -> None:
        """Raise what can be known to be wrong before a model is asked: no package, a reference that is no number."""
        if self.compare is not None:
            # A function of the user's may be slow: one row shows what it returns.
            references = references if self.name in COMPARISONS else references[:1]
            self(references, references)


def as_metric(metric: MetricLike, extract: Extract = None, *, kind: str) -> Metric:
    """What a user's `metric` and `extract` stand for.

    Parameters
    ----------
    metric : str, callable or None
        One of `METRICS`, or ``(predictions, references) -> (n,)``. None stands for "accuracy" of options and classes,
        and for "exact_text" of written answers.
    extract : callable, str, re.Pattern or None
        See `as_extract`.
    kind : {"options", "texts", "classes"}
        What is predicted.

    Raises
    ------
    TypeError, ValueError
        If one is nothing of the kind, or does not fit what is predicted.
    """
    if metric is None:
        metric = "exact_text" if kind == "texts" else ACCURACY
    if metric == ACCURACY:
        if kind == "texts":
            raise ValueError(
                f"metric={ACCURACY!r} needs options. Got questions without; give choices, or compare the written "
                f"answers by one of {', '.join(map(repr, COMPARISONS))}."
            )
        if extract is not None:
            raise ValueError(
                f"extract finds the answer in a text, and metric={ACCURACY!r} compares no texts. Leave extract out, or "
                f"name a metric of texts."
            )
        return Metric(ACCURACY)
    if kind == "classes":
        if not callable(metric) or extract is not None:
            raise ValueError(
                f"metric of a classifier must be {ACCURACY!r} or a function of classes, without extract. Got "
                f"metric={shorten(metric)}, extract={shorten(extract)} instead."
            )
        return Metric(_name_of(metric), metric)
    answer = as_extract(extract)
    if isinstance(metric, str):
        comparison = COMPARISONS[check_option(metric, "metric", METRICS)]
        return Metric(metric, comparison.of_texts, answer, comparison.key)
    if not callable(metric) or isinstance(metric, type):
        raise TypeError(
            f"metric must be one of {', '.join(map(repr, METRICS))}, or a function (predictions, references) that "
            f"returns one number in [0, 1] per prediction. Got {shorten(metric)} instead."
        )
    return Metric(_name_of(metric), metric, answer)


def _name_of(metric: Any) -> str:
    """What a function is called in tables."""
    if isinstance(metric, partial):
        return _name_of(metric.func)
    if isinstance(metric, FunctionType | BuiltinFunctionType | MethodType):
        return "score" if metric.__name__ == "<lambda>" else metric.__name__
    return type(metric).__name__
