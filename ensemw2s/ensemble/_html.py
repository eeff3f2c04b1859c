"""The members of a fitted ensemble as HTML."""

from __future__ import annotations

from typing import Any

import numpy as np

from ensemw2s._fitted_html import FittedHTML, learner_name, skipped
from ensemw2s._html import Markup, facts, panel, share_bar, table

__all__ = ["EnsembleHTML"]

_REASONS = {
    "n_estimators": "as many rounds as were asked for",
    "perfect_fit": "a member makes no error",
    "error_above_prior": "a learner was no better than the prior",
    "diverged": "the training of the next learner diverged",
    "interrupted": "Ctrl-C; the rounds before it are kept",
}


class EnsembleHTML(FittedHTML):
    """An ensemble that shows its rounds; a single model shows its training."""

    estimators_: list[Any]
    estimator_weights_: np.ndarray

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "estimators_")

    def _fitted_html(self) -> str:
        if not hasattr(self, "estimators_"):
            return ""
        errors = getattr(self, "estimator_errors_", None)
        if errors is None:
            (member,) = self.estimators_
            return member._fitted_html() if isinstance(member, FittedHTML) else ""
        reason, names = getattr(self, "stop_reason_", ""), [learner_name(member) for member in self.estimators_]
        alike = len(set(names)) == 1
        return panel(
            f"{len(names)} × {names[0]}" if alike else f"{len(names)} members",
            self._rounds(errors, None if alike else names),
            facts(
                [
                    ("ended by", f"{reason}: {_REASONS.get(reason, '')}" if reason else None),
                    ("error of the untrained model", _number(getattr(self, "pretrained_error_", None))),
                    ("rows left out", skipped(getattr(self, "skipped_rows_", ()))),
                ]
            ),
        )

    def _rounds(self, errors: np.ndarray, names: list[str] | None) -> Markup:
        votes = self.estimator_weights_
        classes = getattr(self, "classes_", None)
        chance = np.nan if classes is None else 1.0 - 1.0 / len(classes)
        priors = np.broadcast_to(getattr(self, "prior_errors_", chance), errors.shape)
        columns = ["round", "weighted error", "to stay below", "vote", "share of the votes"]
        # `with_votes` gives fewer votes than rounds, or others.
        rows = [
            [t, _number(error), _number(prior), _number(vote), share_bar(vote / votes.sum())]
            for t, (error, prior, vote) in enumerate(zip(errors, priors, votes, strict=False), start=1)
        ]
        if names is not None:
            columns.append("learner")
            rows = [[*row, name] for row, name in zip(rows, names, strict=True)]
        return table(columns, rows, numeric=columns[1:4])


def _number(value: Any) -> str | None:
    return None if value is None or np.isnan(value) else f"{value:.4f}"
