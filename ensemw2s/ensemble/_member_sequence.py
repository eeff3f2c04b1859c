"""A fitted ensemble as the sequence of its members, as scikit-learn's ensembles are."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from sklearn.utils.validation import check_is_fitted

__all__ = ["MemberSequence", "mean_importances"]


class MemberSequence:
    """``len(ensemble)``, ``ensemble[0]`` and ``for member in ensemble``; `fit` sets ``estimators_``."""

    estimators_: list[Any]

    def __len__(self) -> int:
        check_is_fitted(self, "estimators_")
        return len(self.estimators_)

    def __getitem__(self, index: int | slice) -> Any:
        check_is_fitted(self, "estimators_")
        return self.estimators_[index]

    def __iter__(self) -> Iterator[Any]:
        check_is_fitted(self, "estimators_")
        return iter(self.estimators_)

    def __bool__(self) -> bool:
        return True  # also before `fit`, when there is no length


def mean_importances(members: list[Any], votes: np.ndarray) -> np.ndarray:
    """Importance of each feature, averaged over members under their votes, of shape (n_features,).

    Raises
    ------
    AttributeError
        If a member has none.
    """
    for place, member in enumerate(members):
        if not hasattr(member, "feature_importances_"):
            raise AttributeError(
                f"feature_importances_ is there where the members have it. Member {place}, a "
                f"{type(member).__name__}, has none."
            )
    importances: np.ndarray = np.average([member.feature_importances_ for member in members], axis=0, weights=votes)
    return importances
