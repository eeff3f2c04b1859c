"""TensorBoard's events of trainings, a run for each."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any


def check_reports(training_args: Mapping[str, Any]) -> None:
    """Refuse TensorBoard without its package or a folder, before anything is loaded.

    Raises
    ------
    ValueError
        Says what is missing.
    """
    if "tensorboard" not in _names(training_args):
        return
    if find_spec("tensorboard") is None:
        raise ValueError(
            "training_args['report_to'] must be 'none' where the package tensorboard is not installed. Got "
            f"{training_args['report_to']!r} instead; pip install tensorboard."
        )
    if _folder(training_args) is None:
        raise ValueError(
            "training_args must name 'output_dir', the folder for TensorBoard's events, with report_to="
            f"{training_args['report_to']!r}. Got none, and TENSORBOARD_LOGGING_DIR is not set."
        )


@contextmanager
def reporting(training_args: Mapping[str, Any], *, writes: bool) -> Iterator[tuple[dict[str, Any], list[Any]]]:
    """Settings and callbacks of one training, whose events go to a folder of their own.

    Trainer itself names a run by the second in which it starts, and by `output_dir`, which all rounds share.

    Parameters
    ----------
    training_args : dict
        With ``report_to``, and the folder as ``output_dir``.
    writes : bool
        Whether this process is the one that reports.

    Yields
    ------
    settings : dict
        Of `transformers.TrainingArguments`, in place of those given.
    callbacks : list of transformers.TrainerCallback
    """
    names, folder = _names(training_args), _folder(training_args)
    if "tensorboard" not in names or folder is None:
        yield {}, []
        return
    settings: dict[str, Any] = {"report_to": [name for name in names if name != "tensorboard"] or "none"}
    if not writes:
        yield settings, []
        return
    from torch.utils.tensorboard import SummaryWriter
    from transformers.integrations import TensorBoardCallback

    with SummaryWriter(str(_new_run(folder))) as writer:
        yield settings, [TensorBoardCallback(writer)]


def _names(training_args: Mapping[str, Any]) -> list[str]:
    from transformers.integrations import get_available_reporting_integrations

    report_to = training_args.get("report_to") or "none"
    if report_to == "all":
        return get_available_reporting_integrations()
    return [report_to] if isinstance(report_to, str) else list(report_to)


def _folder(training_args: Mapping[str, Any]) -> Path | None:
    folder = training_args.get("output_dir") or os.environ.get("TENSORBOARD_LOGGING_DIR")
    return None if folder is None else Path(folder).expanduser()


def _new_run(folder: Path) -> Path:
    """The next of ``fit-000``, ``fit-001``, ... in the folder, made by this call alone."""
    folder.mkdir(parents=True, exist_ok=True)
    number = len(list(folder.glob("fit-*")))
    while True:
        run = folder / f"fit-{number:03d}"
        try:
            run.mkdir()
        except FileExistsError:  # another process was quicker
            number += 1
        else:
            return run
