"""What a teacher makes of some rows, as a pure function that any worker can run."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ensemw2s._inputs.classifier_rows import checked_for
from ensemw2s._progress import progress_bar
from ensemw2s._validation import is_overridden, shorten
from ensemw2s.exceptions import CheckpointError, WeakLearnerError
from ensemw2s.metrics import draw_option, likeliest_texts, tied_best
from ensemw2s.pipeline._voting import VoteRule
from ensemw2s.pipeline._written_answers import (
    NO_EXTRACT,
    NO_OPTION,
    Written,
    batch_seed,
    write_answers,
    writing_settings,
)
from ensemw2s.storage import MALFORMED, Steps, decode, encode, row_digests, write_json


@dataclass(frozen=True)
class Labels:
    """Answers to n rows, in their order.

    Attributes
    ----------
    y : ndarray of shape (n,)
        Answers or classes.
    proba : ndarray of shape (n, K) or None
        Probabilities of the options or classes; K is the largest number of options.
    confidence : ndarray of shape (n,) or None
        Probability of the answer.
    finished : ndarray of shape (n,), bool, or None
        For free text, whether it was ended, and not cut off.
    reasons : list of n str, or None
        For free text, why no student can be trained on it, such as a blank one; "" where it can.
    agreement : ndarray of shape (n,) or None
        Share of the teacher's members that give the answer.
    """

    y: np.ndarray
    proba: np.ndarray | None = None
    confidence: np.ndarray | None = None
    finished: np.ndarray | None = None
    reasons: list[str] | None = None
    agreement: np.ndarray | None = None

    @classmethod
    def concatenate(cls, parts: Sequence[Labels]) -> Labels:
        """The rows of all parts, one part after the other."""
        if len(parts) == 1:
            return parts[0]
        proba = None
        tables = [part.proba for part in parts if part.proba is not None]
        if tables:
            width = max(table.shape[1] for table in tables)
            proba = np.concatenate([np.pad(table, ((0, 0), (0, width - table.shape[1]))) for table in tables])
        return cls(
            np.concatenate([part.y for part in parts]),
            proba,
            _joined([part.confidence for part in parts]),
            _joined([part.finished for part in parts]),
            None if parts[0].reasons is None else [reason for part in parts for reason in part.reasons or ()],
            _joined([part.agreement for part in parts]),
        )


ONE_TEXT = VoteRule()


def label_shard(
    X: Any,
    first_row: int,
    *,
    kind: str,
    teacher: Any,
    generation_kwargs: dict[str, Any],
    with_confidence: bool,
    batch_size: int,
    random_state: int,
    verbose: bool,
    steps: Steps | None = None,
    rule: VoteRule = ONE_TEXT,
    keep_unfinished: bool = False,
    with_agreement: bool = False,
) -> Labels:
    """Label contiguous rows, batch by batch.

    Every batch is computed by itself, with a seed that `random_state` and its number give, so that the labels do not
    depend on how the batches are shared out.

    Parameters
    ----------
    X : sequence or QADataset, shape (n,)
        The rows.
    first_row : int
        Number of the first of them among all rows, a multiple of `batch_size`.
    kind : {"classes", "options", "texts"}
        What the teacher is asked for.
    teacher : estimator
        Fitted.
    generation_kwargs : dict
        Passed to ``generate``.
    with_confidence : bool
        Whether the probabilities of classes, or the likelihood of texts, are computed; those of options always are.
    batch_size : int
        Rows that the teacher is given at a time.
    random_state : int
        Seed of sampled texts, and of which of tied options or classes is taken.
    verbose : bool
        Show a progress bar.
    steps : Steps, optional
        Where each batch is committed, or read if it has been.
    rule : VoteRule
        How many texts are written, and which is the answer.
    keep_unfinished : bool
        Whether texts that were cut off have a vote.
    with_agreement : bool
        Whether each member of the teacher is asked, too.

    Raises
    ------
    WeakLearnerError, TypeError, ValueError, RuntimeError
        What the teacher raised, or the nearest of these kinds; the message names the rows of the batch.
    """
    from sklearn.utils import _safe_indexing
    from sklearn.utils.validation import _num_samples

    from ensemw2s._launch.rng import isolated_rng

    def answer(rows: Any, number: int) -> Labels:
        if kind != "texts":
            return _CHOSEN[kind](teacher, rows, with_confidence, random_state)
        settings = writing_settings(generation_kwargs, rule)
        with isolated_rng(batch_seed(random_state, number)):
            written = write_answers(teacher, rows, rule, settings, keep_unfinished=keep_unfinished)
        return _texts(teacher, rows, written, with_confidence)

    n_rows = _num_samples(X)
    parts = []
    name, starts = f"pseudo-labels from row {first_row}" if first_row else "pseudo-labels", range(0, n_rows, batch_size)
    with progress_bar(total=len(starts), desc=name, unit="batch", visible=verbose) as bar:
        for start in starts:
            stop = min(start + batch_size, n_rows)
            number = (first_row + start) // batch_size
            known = None if steps is None else _read_batch(steps, number, stop - start)
            if known is None:
                rows = X if stop - start == n_rows else _safe_indexing(X, np.arange(start, stop))
                try:
                    known = answer(rows, number)
                    if with_agreement:
                        known = dataclasses.replace(known, agreement=_agreement(teacher, rows, known.y))
                except Exception as error:
                    raise _located(error, first_row + start, first_row + stop) from error
                if steps is not None:
                    known = _commit_batch(steps, number, known)
            parts.append(known)
            bar.update()
    return Labels.concatenate(parts)


_BATCH, _LABELS = "batch-{:06d}", "labels.json"


def _read_batch(steps: Steps, number: int, n_rows: int) -> Labels | None:
    stored = steps.read(_BATCH.format(number))
    if stored is None:
        return None
    try:
        labels = Labels(**decode(stored.json(_LABELS)))
        fits = len(labels.y) == n_rows
    except MALFORMED as error:
        raise CheckpointError(f"{stored.file(_LABELS)} holds no labels ({error}). Delete {stored.path}.") from error
    if not fits:
        raise CheckpointError(f"{stored.file(_LABELS)} must hold {n_rows} labels. Delete {stored.path}.")
    return labels


def _commit_batch(steps: Steps, number: int, labels: Labels) -> Labels:
    try:
        with steps.commit(_BATCH.format(number)) as folder:
            write_json(folder / _LABELS, encode(vars(labels), "labels"))
    except FileExistsError:  # by a worker that has outlived its killed parent
        known = _read_batch(steps, number, len(labels.y))
        if known is None:
            raise
        return known
    return labels


def _options(teacher: Any, questions: Any, with_confidence: bool, random_state: int) -> Labels:
    proba = np.asarray(teacher.predict_proba(questions), dtype=np.float64)
    if np.isnan(proba).any():
        row = int(np.argmax(np.isnan(proba).any(axis=1)))
        raise WeakLearnerError(f"The teacher's predict_proba is NaN for {shorten(questions.prompts[row])}.")
    if is_overridden(teacher, "predict", since="predict_proba"):  # a teacher's own rule, which its labels follow
        answers = np.asarray(teacher.predict(questions), dtype=object)
        pairs = zip(answers, questions.choices, strict=True)
        chosen = np.array([options.index(text) if text in options else -1 for text, options in pairs])
        confidence = np.where(chosen < 0, 0.0, proba[np.arange(len(answers)), chosen])
        return Labels(answers, proba, confidence)
    with np.errstate(divide="ignore"):
        y = likeliest_texts(-np.log(proba), questions.prompts, questions.choices, random_state)
    return Labels(y, proba, proba.max(axis=1))


def _classes(teacher: Any, X: Any, with_confidence: bool, random_state: int) -> Labels:
    from sklearn.utils import _safe_indexing

    X = checked_for(teacher, X)
    # Ours predict the class of the highest probability: they are asked once.
    y = None if hasattr(teacher, "credit") else teacher.predict(X)
    if y is not None and not (hasattr(teacher, "predict_proba") and hasattr(teacher, "classes_")):
        return Labels(y)
    proba = np.asarray(teacher.predict_proba(X))
    y = teacher.classes_[proba.argmax(axis=1)] if y is None else np.array(y)
    with np.errstate(divide="ignore"):
        best = tied_best(-np.log(proba), proba.shape[1])
    chosen = y[:, None] == np.asarray(teacher.classes_)[None]
    # A class is drawn only where the teacher's choice is one of the tied ones: a rule of its own is left alone.
    rows = np.flatnonzero((best.sum(axis=1) > 1) & (best & chosen).any(axis=1))
    if len(rows):
        keys = [str(key) for key in row_digests(_safe_indexing(X, rows))]
        classes = [[str(label) for label in teacher.classes_]] * len(rows)
        y[rows] = teacher.classes_[draw_option(best[rows], keys, classes, random_state)]
    return Labels(y, proba, proba.max(axis=1)) if with_confidence else Labels(y)


def _texts(teacher: Any, questions: Any, written: Written, with_confidence: bool) -> Labels:
    texts, options, reasons = (written.of_chosen(name) for name in ("texts", "answers", "reasons"))
    y = texts.copy()
    if questions.choices is not None:  # a text stands for the option that it means
        meant = np.array([option is not None for option in options], dtype=bool)
        y[meant] = options[meant]
    confidence = written.share if written.texts.shape[1] > 1 else None
    if confidence is None and with_confidence:
        confidence = np.zeros(len(y))
        rows = [row for row, reason in enumerate(reasons) if reason in ("", NO_OPTION, NO_EXTRACT)]
        if rows:
            nll = teacher.answer_nll([questions.prompts[row] for row in rows], y[rows], normalize="token")
            confidence[rows] = np.exp(-nll)
    return Labels(y, None, confidence, written.of_chosen("finished"), reasons.tolist())


def _agreement(teacher: Any, X: Any, y: np.ndarray) -> np.ndarray:
    """Share of the members with a vote that give the answer."""
    said = teacher.predict_under(np.eye(len(teacher.estimator_weights_))[members_with_a_vote(teacher)], X)
    share: np.ndarray = np.mean([np.asarray(row) == y for row in said], axis=0)
    return share


def members_with_a_vote(teacher: Any) -> np.ndarray:
    """Places of the members of a fitted `VotingEnsemble` that decide with others, (T',)."""
    votes = np.asarray(teacher.estimator_weights_)
    # The votes of an ensemble are positive: a pool has next to nothing for an expert that it does not ask.
    return np.flatnonzero(votes > 1e-6 * votes.max())


_CHOSEN: dict[str, Callable[[Any, Any, bool, int], Labels]] = {"classes": _classes, "options": _options}


def _located(error: Exception, start: int, stop: int) -> Exception:
    kinds = (WeakLearnerError, ValueError, TypeError)
    kind = next((kind for kind in kinds if isinstance(error, kind)), RuntimeError)
    message = str(error) if type(error) is kind else f"{type(error).__name__}: {error}"
    counted = f" (Row numbers in this message count from row {start}.)" if start else ""
    return kind(f"Rows {start} to {stop - 1} could not be labelled: {message}{counted}")


def _joined(parts: Sequence[np.ndarray | None]) -> np.ndarray | None:
    present = [part for part in parts if part is not None]
    return np.concatenate(present) if present else None
