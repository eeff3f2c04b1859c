"""The paper's ablations and the controls of boosting, as variants of a sweep."""

from __future__ import annotations

from typing import Any, TypeAlias

from ensemw2s._validation import check_integer, check_real, shorten

Variants: TypeAlias = dict[str, dict[str, Any]]
_BOOSTING: Variants = {"boosting": {}}

# Each adds to the paper's own way, "boosting", which is in all of them.
_ABLATIONS: dict[str, Variants] = {
    "combine": {"mix logits": {"combine": "logits"}},
    "window": {f"window {length}": {"unit": length} for length in (2, 4, 8)},
    "sliding_window": {f"sliding window {length}": {"unit": length, "window": "sliding"} for length in (2, 4, 8)},
    "unit": {"unit sample-mean": {"unit": "sample-mean"}, "unit option": {"unit": "option"}},
    "sampling": {"sampling count": {"sampling": "count"}, "sampling weight": {"sampling": "weight"}},
    "prior": {"prior reweighted": {"prior": "reweighted"}, "prior uniform": {"prior": "uniform"}},
    "learning_rate": {f"learning rate {rate}": {"learning_rate": rate} for rate in (0.1, 0.3)},
}


def ablations(*names: str, task: str = "generation", n_estimators: int = 5, epochs: float | None = None) -> Variants:
    """Variants for `run_sweep`: one thing changed at a time, and what boosting has to beat.

    Parameters
    ----------
    *names : str
        "combine" (probabilities or logits, the paper's Figure 10), "window" (tiling windows of 2, 4 and 8 tokens),
        "sliding_window" (the kind that the paper names, Figures 11 and 12), "unit" (answers, by the share of their
        tokens that are wrong, and options), "sampling", "prior", "learning_rate", and "controls": the same members
        with uniform votes; as many members without boosting (bagging); and one weak model trained `n_estimators` times
        as long. For classification "controls" and "learning_rate" only.
    task : {"generation", "classification"}, default="generation"
        Task of the sweep.
    n_estimators : int, default=5
        That of the sweep.
    epochs : float, optional
        That of the weak learner; needed by "controls".

    Returns
    -------
    dict of str to dict
        Variant by name, "boosting" first.

    Raises
    ------
    ValueError
        If a name is unknown, or `epochs` is missing.

    Examples
    --------
    >>> from ensemw2s import ablations
    >>> list(ablations("window"))
    ['boosting', 'window 2', 'window 4', 'window 8']
    >>> ablations("controls", n_estimators=5, epochs=3)["longer training"]
    {'n_estimators': 1, 'weak_params': {'epochs': 15.0}}
    """
    known = ("controls", "learning_rate") if task == "classification" else (*_ABLATIONS, "controls")
    variants = dict(_BOOSTING)
    for name in names:
        if name not in known:
            raise ValueError(
                f"names must be among {', '.join(map(repr, known))} for task={task!r}. Got {shorten(name)} instead."
            )
        variants |= _controls(task, n_estimators, epochs) if name == "controls" else _ABLATIONS[name]
    return {name: dict(settings) for name, settings in variants.items()}


def _controls(task: str, n_estimators: int, epochs: float | None) -> Variants:
    check_integer(n_estimators, "n_estimators", minimum=1)
    if epochs is None:
        raise ValueError("epochs must be that of the weak learner for 'controls': one control trains it longer.")
    bagging: dict[str, Any] = {"reweight": False}
    if task == "classification":
        bagging["sampling"] = "resample"  # with weights, nothing is drawn and members differ by their seeds alone
    return {
        "uniform votes": {"votes": "uniform"},
        "bagging": bagging,
        "longer training": {"n_estimators": 1, "weak_params": {"epochs": check_real(epochs, "epochs") * n_estimators}},
    }
