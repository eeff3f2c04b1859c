"""Models as a command line or a YAML file says them: ids, lists of ids, and pools of experts."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ensemw2s._cli._yaml import load_yaml
from ensemw2s._validation import shorten
from ensemw2s.ensemble import FineTunedGenerator, OpinionPool
from ensemw2s.learners import HFCausalLM, HFVerifier


def read_model(given: Any, name: str, *, several: bool = False) -> Any:
    """A model of a sweep, as `run_sweep` takes it.

    Parameters
    ----------
    given : str, list or dict
        An id or folder, ``NAME=id``, or YAML of what follows; with `several` a list of ids, which are boosted together;
        or the parameters of an `OpinionPool`, with a "name" where it is to have one.
    name : str
        What to call it in an error.

    Raises
    ------
    ValueError
        If it is something else, or a parameter is unknown.
    """
    if isinstance(given, str) and given[:1] in ("{", "[") and not Path(given).exists():
        given = load_yaml(given, f"{name} = {shorten(given)}")
    if isinstance(given, str):
        title, equals, model = given.partition("=")
        # A folder's name may hold a "=".
        return (title, model) if equals and title and not Path(given).exists() else given
    if isinstance(given, dict):
        return _read_pool(given, name)
    if several and isinstance(given, list) and given and all(isinstance(each, str) for each in given):
        return given
    kinds = "a list of ids or {experts: [...]}" if several else "or {experts: [...]}"
    raise ValueError(f"{name} must be a model id, a folder, {kinds}. Got {shorten(given)} instead.")


def _read_pool(given: Mapping[Any, Any], name: str) -> tuple[str, OpinionPool]:
    parameters = {key: value for key, value in given.items() if key != "name"}
    experts = parameters.pop("experts", None)
    if not isinstance(experts, list) or not experts:
        raise ValueError(f"{name} must have experts, a list of models. Got {shorten(dict(given))} instead.")
    titles, built = zip(
        *(_read_expert(each, f"{name} experts[{row}]") for row, each in enumerate(experts)), strict=True
    )
    pool = _build(OpinionPool, list(built), parameters, name)
    return str(given.get("name", " + ".join(titles))), pool


def _read_expert(given: Any, name: str) -> tuple[str, Any]:
    """What it is called, and the expert."""
    if isinstance(given, str):
        return _short(given), given
    kinds = [kind for kind in _EXPERTS if isinstance(given, dict) and kind in given]
    if len(kinds) != 1 or not isinstance(given[kinds[0]], str):
        raise ValueError(
            f"{name} must be a model id, or one of {', '.join(f'{{{kind}: id}}' for kind in _EXPERTS)} with parameters "
            f"beside it. Got {shorten(given)} instead."
        )
    (kind,) = kinds
    parameters = {key: value for key, value in given.items() if key != kind}
    shown = f" ({', '.join(f'{key}={value}' for key, value in parameters.items())})" if parameters else ""
    return f"{kind} {_short(given[kind])}{shown}", _EXPERTS[kind](given[kind], parameters, name)


def _verifier(model: str, parameters: Mapping[str, Any], name: str) -> HFVerifier:
    return _build(HFVerifier, model, parameters, name)


def _generator(model: str, parameters: Mapping[str, Any], name: str, **own: Any) -> FineTunedGenerator:
    """Of parameters those that say how it answers are the generator's, all others the language model's."""
    known = inspect.signature(FineTunedGenerator).parameters
    answering = {key: value for key, value in parameters.items() if key in known and key != "estimator"}
    rest = {key: value for key, value in parameters.items() if key not in answering}
    return _build(FineTunedGenerator, _build(HFCausalLM, model, rest, name), {**answering, **own}, name)


def _zero_shot(model: str, parameters: Mapping[str, Any], name: str) -> FineTunedGenerator:
    return _generator(model, parameters, name, zero_shot=True)


# By the key that an expert has, whose value is its model.
_EXPERTS: dict[str, Callable[[str, Mapping[str, Any], str], Any]] = {
    "generator": _generator,
    "verifier": _verifier,
    "zero_shot": _zero_shot,
}


def _build(kind: Callable[..., Any], first: Any, parameters: Mapping[str, Any], name: str) -> Any:
    known = list(inspect.signature(kind).parameters)[1:]
    unknown = [key for key in parameters if key not in known]
    if unknown:
        raise ValueError(f"{name} must have parameters among {', '.join(known)}. Got {unknown[0]!r} instead.")
    return kind(first, **parameters)


def _short(model: str) -> str:
    return model.rstrip("/").split("/")[-1]
