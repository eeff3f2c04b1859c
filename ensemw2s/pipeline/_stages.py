"""The stages of a pipeline, each committed as it ends, and read by the next call."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ensemw2s._inputs.classifier_rows import checked_again
from ensemw2s._validation import shorten
from ensemw2s.exceptions import CheckpointError
from ensemw2s.pipeline._label_record import pack_labels, unpack_labels
from ensemw2s.storage import Journal, StoredFolder, describe, hash_file, open_journal, versions, write_json

if TYPE_CHECKING:
    import numpy as np

    from ensemw2s.pipeline._pseudo_labels import PseudoLabels

logger = logging.getLogger("ensemw2s")

_LABELS, _ROUNDS = "labels.json", "rounds.json"


def check_folders(pipeline: Any, models: Mapping[str, Any], shared: bool) -> None:
    """Raise where two fits of a pipeline would have one folder, which is found only when the second begins.

    Parameters
    ----------
    pipeline : W2SPipeline
    models : mapping of str to estimator
        Models by parameter, ``"student"`` among them.
    shared : bool
        Whether copies of the student are trained, too.
    """
    from ensemw2s.ensemble import check_checkpoint

    check_checkpoint(pipeline)
    folders = {name: getattr(model, "checkpoint_dir", None) for name, model in models.items()}
    if shared and folders["student"] is not None:
        raise ValueError(
            f"student.checkpoint_dir must be None where a baseline or an oracle is a copy of the student: one folder "
            f"holds one fit. Got {shorten(folders['student'])} instead; pass checkpoint_dir to the pipeline."
        )
    for name, folder in folders.items():
        if None not in (folder, pipeline.checkpoint_dir) and _is_in(folder, pipeline.checkpoint_dir):
            raise ValueError(
                f"{name}.checkpoint_dir must lie outside the pipeline's, {shorten(pipeline.checkpoint_dir)}, where the "
                f"pipeline keeps its own files. Got {shorten(folder)} instead; pass another folder, or None."
            )


def _is_in(folder: Any, other: Any) -> bool:
    return Path(os.path.abspath(folder)).is_relative_to(os.path.abspath(other))


@contextmanager
def interrupted_with(pipeline: Any, names: Sequence[str]) -> Iterator[None]:
    """Say in a KeyboardInterrupt which of a pipeline's fitted attributes are there; it is passed on."""
    try:
        yield
    except KeyboardInterrupt as interrupt:
        made = [name for name in names if getattr(pipeline, name, None) is not None]
        missing = "" if "student_" in made else "; student_ is missing"
        text = f"The pipeline holds {', '.join(made)}{missing}." if made else "No stage of the pipeline had ended."
        interrupt.args = (f"{interrupt} {text}".strip(),)
        raise


@contextmanager
def open_stages(checkpoint_dir: Any, on_locked: str) -> Iterator[Stages]:
    """The stages in a folder, locked; if it is None, stages that nothing keeps."""
    with open_journal(checkpoint_dir, on_locked=on_locked) as journal:
        yield Stages(journal)


class Stages:
    """Committed stages of one run of the pipeline.

    Parameters
    ----------
    journal : Journal or None
        Where they are; None keeps nothing.
    """

    def __init__(self, journal: Journal | None) -> None:
        self._journal = journal
        self.bar: Any = None
        """Their progress bar."""

    @contextmanager
    def shown(self, name: str) -> Iterator[None]:
        """Name a stage in the log and beside the progress bar, and count it."""
        logger.info(name)
        self.bar.set_postfix_str(name)
        yield
        self.bar.set_postfix_str("", refresh=False)
        self.bar.update()

    def begin(
        self,
        models: Mapping[str, Any],
        settings: Mapping[str, Any],
        rows: Callable[[], Mapping[str, np.ndarray]],
        drawn: int | None,
    ) -> int | None:
        """Compare models, settings and data with those that the folder was begun with.

        Returns
        -------
        int or None
            `drawn`, a seed, of the call that began the run.

        Raises
        ------
        CheckpointError
            Says what differs.
        TypeError
            If a model cannot be written.
        """
        if self._journal is None:
            return drawn
        from ensemw2s.ensemble import check_fitted_can_be_written, describe_estimator

        for name, model in models.items():
            check_fitted_can_be_written(model, name)
        described = {name: describe_estimator(model, name) for name, model in models.items()}
        others = {name: describe(value, name) for name, value in settings.items()}
        begun_with = self._journal.begin({**described, **others, "versions": versions()}, rows(), drawn)
        return drawn if begun_with is None else int(begun_with)

    def ensemble(self, name: str, estimator: Any, train: Callable[[Any], Any]) -> Any:
        """A weak ensemble: of a booster, each round is committed by itself."""
        if self._journal is None:
            return train(estimator)
        from ensemw2s.ensemble import commits_rounds, read_fitted, write_fitted

        if not commits_rounds(estimator):
            return self.model(name, estimator, train)
        stored = self._journal.read(name)
        if stored is not None and _ROUNDS not in stored.files:
            return read_fitted(estimator, stored)
        if estimator.checkpoint_dir is None:
            estimator.set_params(checkpoint_dir=self._journal.folder / f"{name}-rounds")
        estimator = train(estimator)
        # The rounds stay in their own folder. The stage holds hashes of their manifests, so that later stages are known
        # to belong to these rounds.
        rounds = _digest_of_rounds(Path(estimator.checkpoint_dir))
        if stored is None:
            with self._journal.commit(name) as folder:
                if rounds:
                    write_json(folder / _ROUNDS, rounds)
                else:  # a fit of a subclass's own
                    write_fitted(estimator, folder, name)
        elif stored.json(_ROUNDS) != rounds:
            raise CheckpointError(
                f"{estimator.checkpoint_dir} does not hold the rounds that {stored.path} was made from. Put them back, "
                f"or begin anew in another folder."
            )
        return estimator

    def model(self, name: str, estimator: Any, train: Callable[[Any], Any]) -> Any:
        """A fitted estimator, trained if it has not been committed."""
        if self._journal is None:
            return train(estimator)
        from ensemw2s.ensemble import OpinionPool, read_fitted, write_fitted

        stored = self._journal.read(name)
        if stored is not None:
            return read_fitted(estimator, stored)
        self._journal.require_writable()
        steps = self._journal.folder / f"{name}-experts"
        by_steps = isinstance(estimator, OpinionPool) and estimator.checkpoint_dir is None
        if by_steps:
            estimator.set_params(checkpoint_dir=steps)
        estimator = train(estimator)
        with self._journal.commit(name) as folder:
            write_fitted(estimator, folder, name)
        if by_steps:  # which the stage holds now
            estimator.set_params(checkpoint_dir=None)
            shutil.rmtree(steps, ignore_errors=True)
        return estimator

    def labels(self, name: str, labeler: Any, teacher: Any, X: Any) -> PseudoLabels:
        """Pseudo-labels.

        Of `PseudoLabeler.label` each batch is committed by itself; what another ``label`` gives, as a whole: only it
        knows what it asks the teacher, and how often.

        Raises
        ------
        TypeError
            If the labeler gives something else, or labels that cannot be kept.
        """
        from ensemw2s.pipeline._pseudo import PseudoLabeler
        from ensemw2s.pipeline._pseudo_labels import PseudoLabels

        asks_by_batch = getattr(labeler.label, "__func__", None) is PseudoLabeler.label
        X = checked_again(X) if asks_by_batch else X
        if self._journal is not None and asks_by_batch:
            return labeler._label(teacher, X, steps=self._journal.independent(name))
        stored = None if self._journal is None else self._journal.read(name)
        if stored is not None:
            return _read_labels(stored, X)
        if self._journal is not None:
            self._journal.require_writable()
        labels = labeler.label(teacher, X)
        if not isinstance(labels, PseudoLabels):
            raise TypeError(f"labeler.label must return PseudoLabels. Got {shorten(labels)} instead.")
        if self._journal is None:
            return labels
        if type(labels) is not PseudoLabels:
            raise TypeError(
                f"{type(labels).__name__} cannot be kept in checkpoint_dir, and would come back as PseudoLabels. "
                f"Return PseudoLabels from labeler.label, or leave checkpoint_dir out."
            )
        record = pack_labels(labels, X, "labels")
        with self._journal.commit(name) as folder:
            write_json(folder / _LABELS, record)
        return labels


def _read_labels(stored: StoredFolder, X: Any) -> PseudoLabels:
    from ensemw2s.pipeline._pseudo_labels import PseudoLabels

    try:
        return PseudoLabels(**unpack_labels(stored.json(_LABELS), X))
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{stored.file(_LABELS)} holds no labels ({error}). Delete {stored.path}.") from error


def _digest_of_rounds(folder: Path) -> dict[str, str]:
    """Hash of each round's manifest."""
    manifests = sorted(folder.glob("round-*/manifest.json"))
    return {path.parent.name: hash_file(path) for path in manifests}
