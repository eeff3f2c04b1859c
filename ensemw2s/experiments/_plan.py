"""The runs of a sweep, which users know as its units, and how they are worked off."""

from __future__ import annotations

import uuid
import warnings
from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ensemw2s._progress import progress_bar
from ensemw2s.exceptions import CheckpointError, SweepError
from ensemw2s.experiments._parts import difficulty_ratings
from ensemw2s.experiments._result import SweepResult
from ensemw2s.experiments._run import RunFailure, describe_run, run_record, try_run
from ensemw2s.experiments._spec import Run, Settings
from ensemw2s.experiments._store import OTHER_VERSIONS, ResultStore, other_versions
from ensemw2s.storage import digest, temporary_folder

if TYPE_CHECKING:
    import pandas

_ATTEMPTS = 2


@dataclass(frozen=True)
class SweepPlan:
    """The units of a sweep, checked and not yet run.

    Attributes
    ----------
    settings : Settings
        What all units share.
    units : list of Run
        In the order of their results.
    out_dir : str or None
        Where results are kept.

    Examples
    --------
    >>> from ensemw2s import BigramLearner, make_qa, plan_sweep
    >>> models = ("weak", BigramLearner()), ("strong", BigramLearner(smoothing=0.1))
    >>> plan = plan_sweep([models], dataset=make_qa(60, random_state=0), splits=["random"], seeds=[3, 5])
    >>> plan.to_frame()[["weak", "strong", "seed", "finished"]].values.tolist()
    [['weak', 'strong', 3, False], ['weak', 'strong', 5, False]]
    """

    settings: Settings
    units: list[Run]
    out_dir: str | None = None

    def paths(self) -> list[Path]:
        """Where each unit's result is, or will be; empty without an `out_dir`.

        Returns
        -------
        list of Path
        """
        if self.out_dir is None:
            return []
        store = ResultStore(self.out_dir)
        return [store.path("unit", describe_run(self.settings, run)) for run in self.units]

    def finished(self) -> list[bool]:
        """Whether each unit's result is there.

        Returns
        -------
        list of bool
        """
        return [path.exists() for path in self.paths()] or [False] * len(self.units)

    def to_frame(self) -> pandas.DataFrame:
        """One row per unit: models, split, variant, seed, and whether it is finished.

        Returns
        -------
        pandas.DataFrame
        """
        import pandas as pd

        finished = self.finished()
        rows = [{**run.columns, "finished": done} for run, done in zip(self.units, finished, strict=True)]
        return pd.DataFrame(rows)

    def difficulty_ratings(self, *, n_jobs: int | None = None, verbose: bool = False) -> np.ndarray:
        """Rate the pool as the easy-hard split does (EnsemW2S, Appendix E); read from `out_dir` where it has been done.

        Parameters
        ----------
        n_jobs : int, optional
            Folds at a time.
        verbose : bool, default=False
            Show a progress bar of the folds.

        Returns
        -------
        ndarray of shape (n_questions,)
            In [0, 1]; larger is harder.

        Raises
        ------
        CheckpointError
            If the stored ratings are damaged.
        """
        with self._folder() as folder:
            store = ResultStore(folder, for_more=False)
            return difficulty_ratings(self.settings, store, n_jobs=n_jobs, verbose=verbose)

    def run(self, *, n_jobs: int | None = None, verbose: bool = False) -> SweepResult:
        """Run what is not finished, and gather the results.

        Parameters
        ----------
        n_jobs : int, optional
            Units at a time.
        verbose : bool, default=False
            Show a progress bar.

        Returns
        -------
        SweepResult

        Raises
        ------
        SweepError
            If units failed, after all others have finished, or if a worker died.
        CheckpointError
            If a stored result is damaged, or units are missing and those that are there were computed with other
            versions of packages; nothing has been trained then.

        Warns
        -----
        UserWarning
            If no unit is missing, and some were computed with other versions than this process has.
        """
        with self._folder() as folder:
            return self._run(folder, n_jobs, verbose)

    def _folder(self) -> AbstractContextManager[str]:
        if self.out_dir is None:
            return temporary_folder("sweep")
        return nullcontext(self.out_dir)

    def _run(self, folder: str, n_jobs: int | None, verbose: bool) -> SweepResult:
        store = ResultStore(folder, for_more=False)
        missing = [run for run, finished in zip(self.units, self.finished(), strict=True) if not finished]
        self._check_versions(store, bool(missing))
        # Neighbours differ in split or seed, and share neither a weak ensemble nor an oracle that one would wait for.
        missing.sort(key=lambda run: (run.variant.name, run.weak.name, run.strong.name))
        call = uuid.uuid4().hex
        try:
            outcomes = list(self._outcomes(missing, folder, call, n_jobs, verbose))
        except Exception as error:
            # Runs return their errors: this one is joblib's or the cluster's, such as a worker that was killed.
            raise SweepError(
                f"The sweep was cut off: {sum(self.finished())} of {len(self.units)} units are finished and kept in "
                f"out_dir; call again with the same arguments to go on. {type(error).__name__}: {error}"
            ) from error
        finally:
            _forget_attempts(folder, call)
        failures = [outcome for outcome in outcomes if outcome is not None]
        failed = {failure.name for failure in failures}
        done = [run for run in self.units if run.name not in failed]
        result = SweepResult([run_record(self.settings, run, store) for run in done])
        if failures:
            reasons = "\n".join(str(failure) for failure in failures)
            raise SweepError(f"{len(failures)} of {len(self.units)} units failed:\n{reasons}", failures, result)
        return result

    def _check_versions(self, store: ResultStore, goes_on: bool) -> None:
        for path in self.paths():
            difference = other_versions(store.read_record(path)) if path.exists() else ""
            if difference and goes_on:
                raise CheckpointError(f"{path} was computed with {difference}. {OTHER_VERSIONS}")
            if difference:
                warnings.warn(f"{path} was computed with {difference}; it is shown as it is.", stacklevel=4)
                return

    def _outcomes(
        self, runs: list[Run], folder: str, call: str, n_jobs: int | None, verbose: bool
    ) -> Iterable[RunFailure | None]:
        from joblib import Parallel, delayed
        from joblib.parallel import get_active_backend

        # Ray's backend hands results over at the end only.
        lazy = get_active_backend()[0].supports_return_generator
        # One run a batch: a worker that dies takes no finished run with it.
        parallel = Parallel(n_jobs=n_jobs, batch_size=1, return_as="generator_unordered" if lazy else "list")
        with progress_bar(total=len(runs), desc="sweep", unit="unit", visible=verbose) as bar:
            for outcome in parallel(delayed(_attempt_run)(self.settings, run, folder, call) for run in runs):
                bar.update()
                yield outcome


def _attempt_run(settings: Settings, run: Run, folder: str, call: str) -> RunFailure | None:
    """Try a run, unless it has been begun twice in this call and never ended.

    Dask, and Ray where it is told to, give a run whose worker died to another worker. One that kills every worker,
    such as by taking more memory than there is, would go round for ever, or be dropped by the cluster without a word
    to joblib, which then waits for ever.

    Parameters
    ----------
    call : str
        Of the sweep, different in each call, so that a new call tries again.
    """
    from joblib import parallel_config

    description = describe_run(settings, run)
    begun = _attempts(folder) / f"{call}-{digest(description)}"
    begun.parent.mkdir(parents=True, exist_ok=True)
    with open(begun, "a", encoding="utf-8") as file:  # the file's size counts: a worker that dies can write no number
        file.write("|")
    if begun.stat().st_size > _ATTEMPTS and not ResultStore(folder).path("unit", description).exists():
        return RunFailure(
            run.name,
            f"its worker died, {_ATTEMPTS} times: it was out of memory, crashed, or was killed. See the worker's log; "
            f"fewer workers on a machine leave each more memory.",
            "",
        )
    # Parallel calls within a run stay in its process. Dask would send them to the cluster, where they wait for workers
    # that wait for this run's ratings.
    with parallel_config(backend="sequential"):
        outcome = try_run(settings, run, folder)
    begun.unlink(missing_ok=True)
    return outcome


def _forget_attempts(folder: str, call: str) -> None:
    """Remove the notes of a call that is over."""
    for begun in _attempts(folder).glob(f"{call}-*"):
        begun.unlink(missing_ok=True)


def _attempts(folder: str) -> Path:
    return Path(folder) / "attempt"
