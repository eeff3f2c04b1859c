"""What a generator is made of: the weak learners that it was given, and the fitted members that answer together."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import clone

from ensemw2s._validation import as_id, check_option, shorten
from ensemw2s.ensemble._answer_vote import AnswerVote, join_members
from ensemw2s.ensemble._kernel_choice import check_backend
from ensemw2s.ensemble._token_mixture import TokenMixture
from ensemw2s.mixing import COMBINATIONS
from ensemw2s.scoring import NORMALIZATIONS

__all__ = ["Members"]


class Members:
    """The parameters ``estimator``, ``choose``, ``normalize``, ``backend``; some have ``estimators`` or ``combine``."""

    estimator: Any
    estimators: Any  # of those that have it
    choose: str
    normalize: str
    backend: str
    estimators_: list[Any]
    estimator_weights_: np.ndarray

    def _given(self) -> list[Any]:
        """The weak learners as they were passed."""
        several = getattr(self, "estimators", None)
        return [self.estimator] if several is None else list(several)

    def _base_estimators(self) -> list[Any]:
        """Clones of the weak learners; a model id becomes an `HFCausalLM`."""
        self._check_given()
        return [_learner(given) for given in self._given()]

    def _base_estimator(self, place: int = 0) -> Any:
        """A clone of one weak learner."""
        return _learner(self._given()[place])

    def _untrained(self) -> list[Any]:
        """The weak learners before training, with their tokenizers."""
        return [learner.initialize() for learner in self._base_estimators()]

    def _join(self) -> TokenMixture | AnswerVote:
        """What lets the fitted members answer together."""
        return join_members(
            self.estimators_, combine=self._combine(), backend=self.backend, choose=self.choose,
            normalize=self.normalize,
        )  # fmt: skip

    def _combine(self) -> str:
        return getattr(self, "combine", "probabilities")

    def _check_answering(self) -> None:
        """Raise unless the parameters by which members answer are in range."""
        check_option(self.choose, "choose", ("likelihood", "match"))
        check_option(self.normalize, "normalize", NORMALIZATIONS)
        check_option(self._combine(), "combine", COMBINATIONS)
        for given in self._given():
            check_backend(self.backend, given)

    def _check_given(self) -> None:
        """Raise unless there is one weak learner, or, where `estimators` is a parameter, a list of them."""
        takes_several = hasattr(self, "estimators")
        several = self.estimators if takes_several else None
        if takes_several and (self.estimator is None) == (several is None):
            got = "neither" if several is None else "both"
            raise ValueError(
                f"estimator must be a weak learner, or estimators a list of them. Got {got}; pass exactly one of the "
                f"two."
            )
        if several is None:
            if not _is_learner(self.estimator):
                raise TypeError(
                    f"estimator must be a token learner or a model id. Got {shorten(self.estimator)} instead"
                    f"{_remedy(self.estimator, takes_several)}."
                )
            return
        if not isinstance(several, list | tuple) or not several:
            raise ValueError(
                f"estimators must be a list of at least one weak learner. Got {shorten(several)} instead; pass a "
                f"single learner as estimator."
            )
        for place, given in enumerate(several):
            if not _is_learner(given):
                raise TypeError(
                    f"estimators must hold token learners or model ids. Got estimators[{place}] = {shorten(given)} "
                    f"instead."
                )


def _is_learner(given: Any) -> bool:
    return isinstance(as_id(given), str) or (hasattr(given, "token_logits") and not isinstance(given, type))


def _remedy(given: Any, takes_several: bool) -> str:
    if isinstance(given, list | tuple):
        if takes_several:
            return "; pass a list as estimators="
        return "; boost a list with TokenAdaBoostGenerator(estimators=...)"
    if hasattr(given, "predict_proba") and not hasattr(given, "generate"):
        return "; boost a classifier with LLMAdaBoostClassifier"
    return ""


def _learner(given: Any) -> Any:
    if isinstance(as_id(given), str):
        from ensemw2s.learners import HFCausalLM

        return HFCausalLM(given)
    return clone(given)
