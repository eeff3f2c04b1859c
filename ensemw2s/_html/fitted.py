"""What `fit` has found, below scikit-learn's diagram of an estimator."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

from sklearn.base import BaseEstimator

from ensemw2s._html.pieces import shortened
from ensemw2s._validation import as_id


class FittedHTML(ABC):
    """An estimator that shows its results in a notebook; to be named before `BaseEstimator` among the bases."""

    @abstractmethod
    def _fitted_html(self) -> str:
        """HTML of what `fit` has found; empty where nothing is fitted."""

    # A notebook asks for the one or the other.

    def _repr_html_inner(self) -> str:
        return str(super()._repr_html_inner()) + self._fitted_html()  # type: ignore[misc]

    def _repr_mimebundle_(self, **kwargs: Any) -> dict[str, str]:
        bundle: dict[str, str] = super()._repr_mimebundle_(**kwargs)  # type: ignore[misc]
        if "text/html" in bundle:
            bundle["text/html"] += self._fitted_html()
        return bundle

    def _get_fitted_attr_html(self, doc_link: str = "") -> Any:
        # Rows of the table of fitted attributes that scikit-learn shows since 1.9. Its own way of finding them reads
        # properties, and so would build a mixture.
        fitted = {name: value for name, value in vars(self).items() if name.endswith("_") and name[0] != "_"}
        found = BaseEstimator._get_fitted_attr_html(SimpleNamespace(**fitted), doc_link)
        found.estimator_class = type(self)
        return found


def learner_name(learner: object) -> str:
    """The class of a learner, and the model that it starts from, where it has one."""
    model = as_id(getattr(learner, "model", None))
    if callable(model):
        model = getattr(model, "__name__", type(model).__name__)
    name = type(learner).__name__
    return f"{name}({shortened(model.rstrip('/').rpartition('/')[2], 40)})" if isinstance(model, str) else name


def skipped(rows: Sequence[tuple[int, str]]) -> str | None:
    """How many rows were left out, and why the first was; None if none was."""
    if not rows:
        return None
    return f"{len(rows)}, the first is row {rows[0][0]}: {shortened(rows[0][1], 120)}"
