"""The members of a fitted ensemble as HTML."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.utils.metaestimators import available_if

from ensemw2s._html.fitted import FittedHTML, learner_name, skipped
from ensemw2s._html.pieces import Markup, facts, panel, share_bar, table
from ensemw2s._html.rounds_table import four_digits, member_names, rounds_table
from ensemw2s._validation import as_id

_N_FIRST, _N_LAST = 10, 5  # members that are shown of many

_REASONS = {
    "n_estimators": "as many rounds as were asked for",
    "perfect_fit": "a member makes no error",
    "error_above_prior": "a learner was no better than the prior",
    "diverged": "the training of the next learner diverged",
    "interrupted": "Ctrl-C; the rounds before it are kept",
}


class EnsembleHTML(FittedHTML):
    """An ensemble that shows its rounds; a single model shows its training."""

    estimators: Any
    estimators_: list[Any]
    estimator_weights_: np.ndarray

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "estimators_")

    @available_if(lambda ensemble: getattr(ensemble, "estimators", None))
    def _sk_visual_block_(self) -> Any:
        """The weak learners side by side, drawn by `VotingClassifier`, whose block is private to scikit-learn."""
        from sklearn.ensemble import VotingClassifier

        names = [as_id(each) if isinstance(as_id(each), str) else learner_name(each) for each in self.estimators]
        named = [
            (f"estimators[{k}]: {name}", each)
            for k, (name, each) in enumerate(zip(names, self.estimators, strict=True))
        ]
        return VotingClassifier(named)._sk_visual_block_()

    def _fitted_html(self) -> str:
        if not hasattr(self, "estimators_"):
            return ""
        if not hasattr(self, "estimator_errors_"):
            (member,) = self.estimators_
            return member._fitted_html() if isinstance(member, FittedHTML) else ""
        reason, names = getattr(self, "stop_reason_", ""), member_names(self)
        several = ", the largest of several" if len(getattr(self, "pretrained_errors_", ())) > 1 else ""
        error = getattr(self, "pretrained_error_", None)
        return panel(
            f"{len(names)} × {names[0]}" if len(set(names)) == 1 else f"{len(names)} members",
            self._rounds(),
            facts(
                [
                    ("ended by", f"{reason}: {_REASONS.get(reason, '')}" if reason else None),
                    (f"error of the untrained model{several}", None if error is None else four_digits(error)),
                    ("rows left out", skipped(getattr(self, "skipped_rows_", ()))),
                ]
            ),
        )

    def _rounds(self) -> Markup:
        votes = self.estimator_weights_
        columns, texts = rounds_table(self)
        rows: list[list[str | None]] = [
            [*row, share_bar(share)] for row, share in zip(texts, votes / votes.sum(), strict=True)
        ]
        n_more = len(rows) - _N_FIRST - _N_LAST
        if n_more > 1:  # a line in the place of one would save none
            rows[_N_FIRST:-_N_LAST] = [[f"… {n_more} more", *[None] * len(columns)]]
        return table([*columns, "share of the votes"], rows, numeric={*columns} - {"member", "learner"})
