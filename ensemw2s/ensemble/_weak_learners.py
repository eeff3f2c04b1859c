"""The weak learners that a generator was given: checked, and as clones that can be trained."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from sklearn.base import clone

from ensemw2s._validation import as_id, shorten
from ensemw2s.contracts import OptionLearner, TextExpert, WeakLearner, missing_of_token_learner, only_texts
from ensemw2s.kernels import get_backend

_OF_A_LEARNER = ("initialize", "token_logits")
_GUIDE = "The guide 'Bring your own weak learner', docs/howto_weak_learner.md, has one that runs as it stands"


def as_token_learner(given: WeakLearner | str) -> WeakLearner:
    """A clone of a weak learner, of either kind; a model id becomes an `HFCausalLM`."""
    if isinstance(as_id(given), str):
        from ensemw2s.learners import HFCausalLM

        return HFCausalLM(cast(str, given))
    if only_texts(given):
        return as_option_learner(given)
    learner: WeakLearner = clone(given)
    return learner


def as_option_learner(expert: TextExpert) -> OptionLearner:
    """A clone of an expert that only returns texts, choosing among options."""
    from ensemw2s.learners import TextOptionLearner

    return TextOptionLearner(clone(expert))


def check_one(estimator: Any, *, or_several: bool = False) -> None:
    """Raise a TypeError unless `estimator` is a weak learner.

    `or_several` if ``estimators`` is a parameter too: of a booster, whose learners may score options as a whole.
    """
    if not (_is_learner(estimator) or (or_several and _is_scorer(estimator))):
        raise TypeError(
            f"estimator must be a token learner or a model id. Got {shorten(estimator)} instead"
            f"{_remedy(estimator, or_several)}."
        )


def check_one_or_several(estimator: Any, estimators: Any) -> None:
    """Raise unless there is either a weak learner or a list of them."""
    if (estimator is None) == (estimators is None):
        got = "neither" if estimators is None else "both"
        raise ValueError(
            f"estimator must be a weak learner, or estimators a list of them. Got {got}; pass exactly one of the two."
        )
    if estimators is None:
        check_one(estimator, or_several=True)
        return
    if not isinstance(estimators, list | tuple) or not estimators:
        raise ValueError(
            f"estimators must be a list of at least one weak learner. Got {shorten(estimators)} instead; pass a "
            f"single learner as estimator."
        )
    for place, given in enumerate(estimators):
        if not (_is_learner(given) or _is_scorer(given)):
            raise TypeError(
                f"estimators must hold token learners or model ids. Got estimators[{place}] = {shorten(given)} instead"
                f"{_what_is_missing(given)}."
            )


def check_backend(backend: str, given: Sequence[WeakLearner | str]) -> None:
    """Refuse a kernel backend that could not serve the members, before there are any.

    Parameters
    ----------
    backend : str
        As `get_backend` takes it.
    given : sequence of TokenLearner or str
        What the members will be made from, for its devices.

    Raises
    ------
    ValueError, BackendUnavailableError
        As `get_backend` raises them.
    """
    if isinstance(backend, str) and backend == "auto":
        return
    import torch

    for each in given:
        # None is an HFCausalLM's choice, and that of one which is still an id; a learner without a device is on the
        # CPU.
        device = None if isinstance(as_id(each), str) else getattr(each, "device", "cpu")
        get_backend(backend, device=device or ("cuda" if torch.cuda.is_available() else "cpu"))


def _is_learner(given: Any) -> bool:
    return isinstance(as_id(given), str) or (hasattr(given, "token_logits") and not isinstance(given, type))


def _is_scorer(given: Any) -> bool:
    return (hasattr(given, "option_scores") and not isinstance(given, type)) or only_texts(given)


def _remedy(given: Any, or_several: bool) -> str:
    if isinstance(given, list | tuple):
        if or_several:
            return "; pass a list as estimators="
        return "; boost a list with TokenAdaBoostGenerator(estimators=...)"
    if _is_scorer(given):
        return "; an OptionLearner is fitted by itself, or joined with others by OpinionPool"
    if hasattr(given, "predict_proba") and not hasattr(given, "generate"):
        return "; boost a classifier with LLMAdaBoostClassifier"
    return _what_is_missing(given)


def _what_is_missing(given: Any) -> str:
    """What an object that was meant as a learner lacks, and where it is told how to write one."""
    if isinstance(given, type):
        return f", which is a class; pass an instance, {given.__name__}()"
    if not any(callable(getattr(given, name, None)) for name in ("fit", *_OF_A_LEARNER)):
        return ""  # it was meant as something else
    missing = "; ".join(missing_of_token_learner(given))
    return f". {missing}. {_GUIDE}"
