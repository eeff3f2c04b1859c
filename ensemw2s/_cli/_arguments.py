"""From flags, a YAML file and a preset to the arguments of `run_sweep`."""

from __future__ import annotations

import inspect
import os
from argparse import Namespace
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ensemw2s._cli._models import read_model
from ensemw2s._cli._yaml import LARGEST_YAML, load_yaml
from ensemw2s._validation import check_integer, check_option, shorten
from ensemw2s.datasets import load_file
from ensemw2s.exceptions import CheckpointError
from ensemw2s.experiments import ablations, run_sweep
from ensemw2s.pipeline import PseudoLabeler
from ensemw2s.storage import read_file

BACKENDS = ("loky", "threading", "ray", "dask")
_PARAMS = ("weak_params", "student_params", "booster_params")
_SWEEP = tuple(name for name in inspect.signature(run_sweep).parameters if name != "verbose")
_COLUMNS = ("prompt", "answer", "choices", "label")  # of the file that is named by "data"
_OWN = ("ablations", "labels", "data", *_COLUMNS, "backend", "threads")  # what the command line adds to them


@dataclass
class Request:
    """What is asked for: the experiment, and how to run it.

    Attributes
    ----------
    arguments : dict
        Of `plan_sweep`.
    n_jobs, threads : int or None
    backend : str or None
    """

    arguments: dict[str, Any]
    n_jobs: int | None
    backend: str | None
    threads: int | None


def make_request(options: Namespace, preset: Mapping[str, Any]) -> Request:
    """Preset, file and flags, each overriding the one before.

    Parameters
    ----------
    options : Namespace
        Parsed flags; None where one was not given.
    preset : dict
        Arguments of `run_sweep`.

    Raises
    ------
    ValueError, TypeError
        If the file or a flag is wrong; the message names it.
    OSError
        If the file cannot be read.
    """
    from_file = {} if options.config is None else _read_config(options.config)
    from_flags = {name: getattr(options, name) for name in (*_SWEEP, *_OWN) if getattr(options, name, None) is not None}
    for name in _PARAMS:
        if name in from_flags:
            from_flags[name] = dict(_key_and_value(text, name) for text in from_flags[name])
    if "sizes" in from_flags:
        from_flags["sizes"] = [_value(text) for text in from_flags["sizes"]]
    if "near_duplicates" in from_flags:
        text = from_flags["near_duplicates"]
        from_flags["near_duplicates"] = None if text.lower() == "none" else _value(text)
    if len(from_flags.get("seeds", ())) == 1:  # one number says how many, several say which
        from_flags["seeds"] = from_flags["seeds"][0]
    merged = dict(preset)
    for layer in (from_file, from_flags):
        merged = _merged(merged, layer)
    return _finished(merged)


def _read_config(path: str) -> dict[str, Any]:
    found = load_yaml(_text(path), f"--config {path}", "a YAML file")
    if not isinstance(found, dict):
        raise ValueError(f"--config {path} must hold keys and values. Got {shorten(found)} instead.")
    known = (*_SWEEP, *_OWN)
    unknown = [key for key in found if key not in known]
    if unknown:
        raise ValueError(f"--config {path} must have keys among {', '.join(known)}. Got {unknown[0]!r} instead.")
    for name in _PARAMS:
        if not isinstance(found.get(name, {}), dict):
            raise ValueError(f"{name} in {path} must hold keys and values. Got {shorten(found[name])} instead.")
    for name in (*_PARAMS, "labeler"):
        for key in found[name] if isinstance(found.get(name), dict) else ():
            if not isinstance(key, str):
                raise ValueError(f"{name} in {path} must have texts as keys. Got {shorten(key)} instead.")
    for name in ("pairs", "ablations"):
        if not isinstance(found.get(name, []), list):
            raise ValueError(f"{name} in {path} must be a list. Got {shorten(found[name])} instead.")
    return found


def _merged(below: dict[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    merged = {**below, **above}
    for name in _PARAMS:
        if name in below and name in above:
            merged[name] = {**(below[name] or {}), **(above[name] or {})}
    for one, other in (("variants", "ablations"), ("labeler", "labels"), ("dataset", "data")):
        # Two ways to say one thing: the later word counts.
        for mine, theirs in ((one, other), (other, one)):
            if mine in above and theirs not in above:
                merged.pop(theirs, None)
    return merged


def _finished(merged: dict[str, Any]) -> Request:
    if not merged.get("pairs"):
        raise ValueError("--pair WEAK STRONG must be given, or pairs in --config.")
    _take_file(merged)
    if "dataset" not in merged:
        raise ValueError("--dataset NAME or --data FILE must be given, or one of them in --config.")
    merged["pairs"] = [_pair(pair, row) for row, pair in enumerate(merged["pairs"])]
    if merged.get("rater") is not None:
        merged["rater"] = read_model(merged["rater"], "rater")
    if "labels" in merged:
        merged["labeler"] = {"labels": merged.pop("labels")}
    if "labeler" in merged:
        if not isinstance(merged["labeler"], dict):
            raise ValueError(
                f"labeler must hold parameters of PseudoLabeler. Got {shorten(merged['labeler'])} instead."
            )
        merged["labeler"] = PseudoLabeler(**merged["labeler"])
    if "ablations" in merged:
        merged["variants"] = _ablations(merged)
    merged.pop("ablations", None)
    backend, threads = merged.pop("backend", None), merged.pop("threads", None)
    if backend is not None:
        check_option(backend, "backend", BACKENDS)
    if threads is not None:
        check_integer(threads, "threads", minimum=1)
    n_jobs = merged.pop("n_jobs", None)
    if n_jobs is not None and check_integer(n_jobs, "n_jobs", minimum=-(10**6)) == 0:
        raise ValueError("n_jobs must be a number of processes, or -1 for all cores. Got 0 instead.")
    return Request(merged, n_jobs, backend, threads)


def _take_file(merged: dict[str, Any]) -> None:
    """Put the questions of a file in the place of a data set's name; results are then known by the questions."""
    columns = {name: merged.pop(name) for name in _COLUMNS if merged.get(name) is not None}
    if "data" not in merged:
        if columns:
            raise ValueError(f"--{next(iter(columns))} names a column of --data FILE. Got no file.")
        return
    path = merged.pop("data")
    if "dataset" in merged:
        raise ValueError(f"--data FILE and --dataset NAME must not be given together. Got {path} and another.")
    if not isinstance(path, str):
        raise ValueError(f"data must be the name of a file. Got {shorten(path)} instead.")
    if isinstance(columns.get("choices"), str):
        columns["choices"] = [columns["choices"]]
    merged["dataset"] = load_file(path, **columns)


def _pair(pair: object, row: int) -> tuple[Any, Any]:
    if not isinstance(pair, list | tuple) or len(pair) != 2:
        raise ValueError(f"pairs[{row}] must be two models, [weak, strong]. Got {shorten(pair)} instead.")
    return read_model(pair[0], f"pairs[{row}][0]", several=True), read_model(pair[1], f"pairs[{row}][1]")


def _ablations(merged: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    names = merged["ablations"]
    task = merged.get("task", "generation")
    epochs = (merged.get("weak_params") or {}).get("epochs")
    if epochs is None and "controls" in names:  # a control is trained several times as long as the others
        from ensemw2s.learners import HFCausalLM, HFClassifier

        learner = HFClassifier if task == "classification" else HFCausalLM
        epochs = inspect.signature(learner).parameters["epochs"].default
    n_estimators = merged.get("n_estimators", inspect.signature(run_sweep).parameters["n_estimators"].default)
    return ablations(*names, task=task, n_estimators=n_estimators, epochs=epochs)


def _key_and_value(text: str, name: str) -> tuple[str, Any]:
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise ValueError(f"--{name.replace('_', '-')} must be given as KEY=VALUE. Got {text!r} instead.")
    return key, _value(value)


def _value(text: str) -> Any:
    return load_yaml(text, repr(text) if len(text) < 100 else "a value")


def _text(path: str) -> str:
    try:
        # Who names a file may name a link to it.
        content = read_file(Path(path), LARGEST_YAML, links_into=Path(os.path.realpath(path)).parent)
        return content.decode("utf-8")
    except CheckpointError as error:
        raise ValueError(f"--config {error}") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"--config {path} must be a YAML file. {error}") from error
