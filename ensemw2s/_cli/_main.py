"""Read the command line, run what is missing, print, and say by the exit code how it went."""

from __future__ import annotations

import logging
import sys
from argparse import Namespace
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ensemw2s._cli._parser import build_parser
from ensemw2s.exceptions import CheckpointError, SweepError
from ensemw2s.storage import temporary_folder

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from ensemw2s._cli._arguments import Request
    from ensemw2s.experiments import SweepPlan, SweepResult

DONE, FAILED, BAD_ARGUMENTS, INTERRUPTED = 0, 1, 2, 130
_PICTURES = (".png", ".pdf", ".svg")

logger = logging.getLogger("ensemw2s")


class _BadArgumentsError(Exception):
    """Carries the message of an error that the user's arguments have caused."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``python -m ensemw2s`` and return its exit code.

    Parameters
    ----------
    argv : sequence of str, optional
        Arguments; those of the process if None.

    Returns
    -------
    int
        0 done, 1 units failed, 2 bad arguments, 130 interrupted.
    """
    options = build_parser().parse_args(argv)
    level = {0: logging.WARNING, 1: logging.INFO}.get(options.verbose, logging.DEBUG)
    logging.basicConfig(format="%(asctime)s %(message)s", stream=sys.stderr)
    logger.setLevel(level)
    try:
        return _run(options)
    except _BadArgumentsError as error:
        logger.debug("bad arguments", exc_info=True)
        sys.stderr.write(f"error: {error}\n")
        return BAD_ARGUMENTS
    except CheckpointError as error:
        sys.stderr.write(f"error: {error}\n")
        return FAILED
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        return INTERRUPTED


def _run(options: Namespace) -> int:
    with _explained():
        number, preset, needs = _wanted(options)
        from ensemw2s._cli._arguments import make_request  # not above: --help shall not wait for what it imports

        request = make_request(options, preset)
        _check_before_training(options, preset, request)
        with temporary_folder("sweep") as folder:
            kept = request.arguments.get("out_dir") is not None
            if not kept:
                request.arguments["out_dir"] = folder
            from ensemw2s.experiments import plan_sweep

            plan = plan_sweep(**request.arguments)
            if options.dry_run:
                return _dry_run(plan)
            if needs == "ratings":
                return _rate(options, number, plan, request)
            result, code = _sweep(plan, request, kept)
    if result is not None and len(result):
        with _explained():
            _show(options, number, result)
    return code


@contextmanager
def _explained() -> Iterator[None]:
    """What arguments can cause becomes a line without a traceback; SweepError and bugs of other kinds do not."""
    try:
        yield
    except (ValueError, TypeError, OSError, ImportError) as error:
        raise _BadArgumentsError(str(error)) from error


def _wanted(options: Namespace) -> tuple[int | str, dict[str, Any], str]:
    """Number, arguments of the paper's experiment, and what it is made from."""
    if options.command == "sweep":
        return "", {}, "runs"
    from ensemw2s import paper

    number = int(options.number) if options.number.isdigit() else options.number
    preset = paper.preset(number, options.command)
    known = paper.TABLES if options.command == "table" else paper.FIGURES
    return number, preset, known[number].needs


def _check_before_training(options: Namespace, preset: dict[str, Any], request: Request) -> None:
    """Find out before the training that its results could not be shown or written."""
    # A table of one split is made from a sweep over both as well, but not from one over the other.
    wanted, chosen = preset.get("splits", []), request.arguments.get("splits", [])
    if len(wanted) == 1 and wanted[0] not in chosen:
        raise ValueError(f"{options.command} {options.number} needs --splits {wanted[0]}. Got {', '.join(chosen)}.")
    for flag in ("csv", "save"):
        path = getattr(options, flag, None)
        if path is not None and not Path(path).absolute().parent.is_dir():
            raise ValueError(f"--{flag} must lie in a folder that exists. Got {path}.")
    if options.command == "figure":
        if options.save is not None and Path(options.save).suffix not in _PICTURES:
            raise ValueError(f"--save must end in {', '.join(_PICTURES)}. Got {options.save} instead.")
        if options.choice == "validation" and not request.arguments.get("validation_size"):
            raise ValueError("--choice validation needs --validation-size SHARE. Got none.")


def _dry_run(plan: SweepPlan) -> int:
    from ensemw2s._cli._estimate import dry_run_table, estimate_runs

    sys.stdout.write(f"{dry_run_table(estimate_runs(plan))}\n")
    return DONE


def _rate(options: Namespace, number: int | str, plan: SweepPlan, request: Request) -> int:
    from ensemw2s import paper
    from ensemw2s._cli._backends import parallel_backend

    with parallel_backend(request.backend, request.n_jobs, request.threads) as n_jobs:
        ratings = plan.difficulty_ratings(n_jobs=n_jobs, verbose=True)
    name = plan.settings.task.questions.name or "own questions"
    low, median, high = (f"{value:.3f}" for value in (ratings.min(), sorted(ratings)[len(ratings) // 2], ratings.max()))
    sys.stdout.write(
        f"{name}: {len(ratings)} questions, rated by {plan.settings.rater.name} in {plan.settings.cv} folds, "
        f"difficulty {low} to {high}, median {median}\n"
    )
    _save(paper.figure(number, plan), options)
    return DONE


def _sweep(plan: SweepPlan, request: Request, kept: bool) -> tuple[SweepResult | None, int]:
    """Run what is missing; the result of what has finished, and the exit code."""
    from ensemw2s._cli._backends import parallel_backend
    from ensemw2s._cli._progress import RunProgress

    try:
        backend = parallel_backend(request.backend, request.n_jobs, request.threads)
        with backend as n_jobs, RunProgress(plan, sys.stderr):
            return plan.run(n_jobs=n_jobs), DONE
    except SweepError as error:
        for failure in error.failures:
            sys.stderr.write(f"failed: {failure}\n")
            logger.info("%s", failure.traceback)
        if not error.failures:
            sys.stderr.write(f"failed: {error}\n")
        return error.result, FAILED
    except KeyboardInterrupt:
        n_finished = sum(plan.finished())
        where = (
            f"kept in {plan.out_dir}; the same command again goes on" if kept else "lost, since --out-dir was not given"
        )
        sys.stderr.write(f"interrupted: {n_finished} of {len(plan.units)} units are finished and {where}\n")
        return None, INTERRUPTED


def _show(options: Namespace, number: int | str, result: SweepResult) -> None:
    if options.command == "sweep":
        _show_sweep(options, result)
    elif options.command == "table":
        _show_table(options, number, result)
    else:
        _show_figure(options, number, result)


def _show_sweep(options: Namespace, result: SweepResult) -> None:
    sys.stdout.write(f"{result.to_markdown()}\n")
    if options.csv is not None:
        result.frame.to_csv(options.csv, index=False)
        sys.stderr.write(f"saved: {options.csv}\n")


def _show_table(options: Namespace, number: int | str, result: SweepResult) -> None:
    from ensemw2s import paper

    found = paper.table(number, result)
    if options.csv is None:
        sys.stdout.write(f"{found.to_markdown()}\n")
        return
    found.to_csv(options.csv)
    sys.stderr.write(f"saved: {options.csv}\n")


def _show_figure(options: Namespace, number: int | str, result: SweepResult) -> None:
    from ensemw2s import paper

    drawn = paper.figure(number, result, choice=options.choice)
    result = paper.FIGURES[number].select(result)  # the table is that of what is drawn
    if number == 5:
        text = paper.table("figure-5", result).to_markdown()
    elif paper.FIGURES[number].rounds:
        text = paper.at_round(result, options.choice).to_markdown()
    else:
        text = result.to_markdown()
    title = drawn.get_suptitle().replace("\n", " ")
    _save(drawn, options)
    sys.stdout.write(f"{text}\n\n{title}\n")


def _save(drawn: Figure, options: Namespace) -> None:
    import matplotlib.pyplot as plt

    path = options.save or f"figure-{options.number}.png"
    try:
        drawn.savefig(path, dpi=150)
    finally:
        plt.close(drawn)
    sys.stderr.write(f"saved: {path}\n")
