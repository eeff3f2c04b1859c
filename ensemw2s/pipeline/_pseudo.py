"""A teacher answers questions that nobody has labelled."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, is_classifier
from sklearn.utils.validation import _num_samples, has_fit_parameter

from ensemw2s._inputs.classifier_rows import usable_examples
from ensemw2s._inputs.questions import usable_questions
from ensemw2s._inputs.usable_rows import UsableRows, length_checks
from ensemw2s._validation import check_integer, check_option, check_real, is_blank, shorten
from ensemw2s.contracts import OptionLearner
from ensemw2s.datasets import QADataset
from ensemw2s.ensemble import BaseTokenGenerator
from ensemw2s.pipeline._labelling import Labels, label_shard, members_with_a_vote
from ensemw2s.pipeline._pseudo_labels import NO_WEIGHTS, PseudoLabels, take_rows
from ensemw2s.pipeline._voting import VoteRule
from ensemw2s.pipeline._written_answers import NO_EXTRACT, NO_OPTION, writing_settings
from ensemw2s.storage import Registered, Steps
from ensemw2s.tokens import tokenized_once

logger = logging.getLogger("ensemw2s")


class PseudoLabeler(Registered, BaseEstimator):
    """Let a fitted teacher answer questions (EnsemW2S, Algorithm 1, lines 11-13).

    Parameters
    ----------
    method : {"auto", "options", "generate"}, default="auto"
        Choose among the options by likelihood, or write free text; "auto" chooses where there are options. A text that
        is written beside options stands for the option that it is, but for case, blanks and punctuation around it; if
        it is none of them, the row is not kept, and listed in ``skipped_rows``. A classifier always gives its classes.
    labels : {"hard", "soft"}, default="hard"
        Whether the student sees the teacher's choice or its probabilities; soft labels need options or classes.
    threshold : float in [0, 1], optional
        Rows with a lower confidence are left out.
    agreement : int or float in (0, 1], optional
        Rows are left out whose label is given by fewer of the teacher's members: an integer counts members, at most
        all of them, a float is their share, 1.0 for all. Members without a vote are not asked, the others once more.
        With options or classes, and for a teacher that is a `VotingEnsemble`.
    filter : callable, optional
        Gets the `PseudoLabels` as they are so far, and returns an (n,) bool array of the rows that may be kept.
    weights : {"confidence"}, optional
        What the rows weigh in the student's training: alike if None, or by the teacher's confidence.
    n_samples : int, default=1
        Answers of free text that are sampled for each question, from Eq. 1 unless `generation_kwargs` say otherwise.
        One of them is the label, its confidence the share of the votes for its answer.
    vote : {"majority", "best", "weighted"}, optional
        How it is chosen: the answer that most samples give (self-consistency), the text that `rerank` scores highest
        (best of n), or the answer with the largest sum of the softmax of these scores over the samples. "best" if
        None and there is a `rerank`, else "majority". Of the texts that give the answer, or of tied answers, that with
        the highest score is taken, then the likeliest by token, then the first. Texts that give no answer, or were cut
        off unless `keep_unfinished`, are votes for none.
    rerank : OptionLearner, optional
        A fitted verifier, such as `HFVerifier`, whose ``option_scores`` rank the sampled texts of a question.
    extract : callable, str or re.Pattern, optional
        Finds the answer within a text, which samples vote on: a function from the text to the answer, or None where
        there is none; or a regular expression, of which the last match counts, or group 1 of it. The student is trained
        on the whole text. A row without an answer is not kept, and listed in ``skipped_rows``. The whole text is the
        answer if None.
    generation_kwargs : dict, optional
        For free text, passed to ``generate``; greedy by default, ``{"do_sample": True, "top_k": 0}`` draws
        from Eq. 1.
    keep_unfinished : bool, default=False
        Whether free text that was cut off at ``max_new_tokens``, before the teacher ended it, is a label.
    on_bad_row : {"raise", "skip"}, default="raise"
        What to do with rows that the teacher cannot be asked, such as a blank question or one that is too long: raise
        an error that names the first before any row is labelled, or leave them out.
    batch_size : int, default=256
        Questions that the teacher is given at a time, the smallest part of the work. Sampled texts depend on it, since
        every batch is drawn with a seed of its own.
    random_state : int, default=0
        Seed of sampled free text, and of which is taken of options or classes that the teacher cannot tell apart, not
        negative. The draw does not depend on their order; a classifier's ``predict`` takes the first.
    n_jobs : int, optional
        Number of workers that label contiguous parts of the questions, whole batches each; all processors if -1. None
        means 1, unless within ``joblib.parallel_config``, where any backend can be chosen. The labels are the same
        for every number.
    verbose : bool, default=False
        Show a progress bar, one for each worker.

    Notes
    -----
    Workers are processes of joblib, which gives each its share of the processors: torch runs there with
    ``cpu_count() // n_jobs`` threads, or with ``inner_max_num_threads`` of ``joblib.parallel_config``. Where the
    environment sets ``MKL_NUM_THREADS`` (or ``OMP_NUM_THREADS``, for a torch without MKL), every worker takes that
    number, and several workers with all processors each are slower than one. With another number of threads than the
    sequential run, probabilities may differ in the last bits. The backend "threading" gains nothing with a shared base
    model, on which threads take turns. A teacher's adapters travel to each worker; its base model is loaded there once
    and kept (see `clear_model_cache`).

    Examples
    --------
    >>> from ensemw2s import BigramLearner, FineTunedGenerator, PseudoLabeler, QADataset
    >>> teacher = FineTunedGenerator(BigramLearner()).fit(["Sky?", "Sea?"], ["blue", "blue"])
    >>> hard = QADataset(["Ocean?"], choices=[["blue", "xyzzy"]])
    >>> PseudoLabeler().label(teacher, hard).y
    array(['blue'], dtype=object)
    """

    def __init__(
        self,
        *,
        method: str = "auto",
        labels: str = "hard",
        threshold: float | None = None,
        agreement: float | None = None,
        filter: Callable[[PseudoLabels], Any] | None = None,
        weights: str | None = None,
        n_samples: int = 1,
        vote: str | None = None,
        rerank: OptionLearner | None = None,
        extract: Any = None,
        generation_kwargs: dict[str, Any] | None = None,
        keep_unfinished: bool = False,
        on_bad_row: str = "raise",
        batch_size: int = 256,
        random_state: int = 0,
        n_jobs: int | None = None,
        verbose: bool = False,
    ) -> None:
        self.method = method
        self.labels = labels
        self.threshold = threshold
        self.agreement = agreement
        self.filter = filter
        self.weights = weights
        self.n_samples = n_samples
        self.vote = vote
        self.rerank = rerank
        self.extract = extract
        self.generation_kwargs = generation_kwargs
        self.keep_unfinished = keep_unfinished
        self.on_bad_row = on_bad_row
        self.batch_size = batch_size
        self.random_state = random_state
        self.n_jobs = n_jobs
        self.verbose = verbose

    def label(self, teacher: Any, X: Any, choices: Sequence | None = None) -> PseudoLabels:
        """Answer questions.

        Parameters
        ----------
        teacher : estimator
            Fitted generator or classifier.
        X : sequence or QADataset, shape (n,)
            Questions. Answers that a `QADataset` holds are removed before the teacher sees it.
        choices : sequence of sequences of str, optional
            Options of each question.

        Returns
        -------
        PseudoLabels

        Raises
        ------
        ValueError
            If a parameter is out of range or does not fit the questions.
        WeakLearnerError, TypeError, ValueError, RuntimeError
            What the teacher raised, or the nearest of these kinds; the message names the rows.
        """
        return self._label(teacher, X, choices)

    @tokenized_once()
    def _label(self, teacher: Any, X: Any, choices: Sequence | None = None, steps: Steps | None = None) -> PseudoLabels:
        """`label`, with finished batches read from and committed to `steps`."""
        self.check_parameters()
        if not is_classifier(teacher) and isinstance(X, QADataset):
            X = X.drop_answers()
            choices = X.choices if choices is None else choices
        kind = self._kind(teacher, choices is not None)
        self._require_methods(teacher, kind, "teacher")
        if kind == "classes":
            usable = usable_examples(X, on_bad_row=self.on_bad_row, lengths=length_checks(teacher))
            return self._finish(teacher, usable, self._answer(kind, teacher, usable.X, steps))
        if kind == "options":
            lengths = length_checks(teacher)
        else:
            settings = writing_settings(self.generation_kwargs, self._rule())
            lengths = [partial(teacher._room_check, **settings)] if isinstance(teacher, BaseTokenGenerator) else []
        usable = usable_questions(X, choices=choices, on_bad_row=self.on_bad_row, lengths=lengths)
        return self._finish(teacher, usable, self._answer(kind, teacher, usable.X, steps))

    def check_untrained(self, teacher: Any, *, has_choices: bool, student: Any = None) -> None:
        """Raise what `label` would raise of any questions, once the teacher was trained.

        Parameters
        ----------
        teacher : estimator
            Not fitted.
        has_choices : bool
            Whether the questions have options.
        student : estimator, optional
            That will be trained on the labels.

        Raises
        ------
        TypeError, ValueError
            If a parameter does not fit the teacher or the questions.
        """
        self._require_methods(teacher, self._kind(teacher, has_choices), "weak", trained=False)
        if self.weights is not None and student is not None and not has_fit_parameter(student, "sample_weight"):
            raise TypeError(NO_WEIGHTS.format(type(student).__name__))

    def _kind(self, teacher: Any, has_choices: bool) -> str:
        kind = self._kind_of(teacher, has_choices)
        several = {"n_samples": self.n_samples != 1, "extract": self.extract is not None}
        for name in (name for name, given in several.items() if given and kind != "texts"):
            raise ValueError(
                f"{name} must be left out where the teacher chooses among {kind}: it is about texts that are written. "
                f"Got {name}={shorten(getattr(self, name))}; leave it out"
                + (", or pass method='generate'." if kind == "options" else ".")
            )
        if kind == "texts" and self.agreement is not None:
            raise ValueError(
                f"agreement must be None for free text, of which members seldom write the same. Got "
                f"{self.agreement!r}; pass n_samples and a threshold, the share of the samples that give the answer."
            )
        return kind

    def _kind_of(self, teacher: Any, has_choices: bool) -> str:
        if is_classifier(teacher):
            return "classes"
        by_options = self.method == "options" or (self.method == "auto" and has_choices)
        if by_options and not has_choices:
            raise ValueError("method='options' needs choices for every question. Got None; pass choices.")
        if not by_options and self.labels == "soft":
            raise ValueError(
                "labels='soft' needs choices for every question; free text has no probabilities to learn. Pass "
                "choices, or labels='hard'."
            )
        return "options" if by_options else "texts"

    def _require_methods(self, teacher: Any, kind: str, name: str, *, trained: bool = True) -> None:
        """Refuse a teacher that lacks what it will be asked; some have a method only when they are trained."""
        reason = "labels='soft'" if self.labels == "soft" else f"threshold={self.threshold!r}"
        reason = reason if self.weights is None else f"weights={self.weights!r}"
        sure = self._needs_confidence()
        needed = {
            "classes": [("predict_proba", reason, "leave it out")] if sure else [],
            "options": [("predict_proba", "questions with options", "pass method='generate' to the labeler")],
            "texts": [("generate", "free text", "pass questions with options")]
            + ([("answer_nll", reason, "leave it out")] if sure and self.n_samples == 1 else []),
        }[kind]
        if self.agreement is not None:
            needed.append(("predict_under", f"agreement={self.agreement!r}", "leave it out"))
        for method, wanted, remedy in needed:
            if not hasattr(teacher, method) and (trained or not hasattr(type(teacher), method)):
                raise TypeError(
                    f"{name} must have {method} for {wanted}. Got a {type(teacher).__name__}, which has none; "
                    f"{remedy}, or pass another."
                )

    def check_parameters(self) -> None:
        """Raise a ValueError or TypeError if a parameter is out of range; nothing is computed."""
        check_option(self.method, "method", ("auto", "options", "generate"))
        check_option(self.labels, "labels", ("hard", "soft"))
        check_option(self.on_bad_row, "on_bad_row", ("raise", "skip"))
        if self.threshold is not None and not 0 <= check_real(self.threshold, "threshold") <= 1:
            raise ValueError(f"threshold must lie in [0, 1]. Got {self.threshold!r} instead.")
        self._check_agreement()
        if self.weights is not None:
            check_option(self.weights, "weights", ("confidence",))
        if self.filter is not None and not callable(self.filter):
            raise TypeError(f"filter must be a callable or None. Got {shorten(self.filter)} instead.")
        self._rule().check()
        writing_settings(self.generation_kwargs, self._rule())
        if not isinstance(self.keep_unfinished, bool | np.bool_):
            raise TypeError(f"keep_unfinished must be True or False. Got {shorten(self.keep_unfinished)} instead.")
        check_integer(self.batch_size, "batch_size", minimum=1)
        check_integer(self.random_state, "random_state", minimum=0)
        is_count = isinstance(self.n_jobs, int | np.integer) and not isinstance(self.n_jobs, bool)
        if self.n_jobs is not None and (not is_count or self.n_jobs == 0):
            raise ValueError(f"n_jobs must be None or an integer other than 0. Got {shorten(self.n_jobs)} instead.")

    def _check_agreement(self) -> None:
        if self.agreement is None:
            return
        counts = isinstance(self.agreement, int | np.integer) and not isinstance(self.agreement, bool)
        if not (self.agreement >= 1 if counts else 0 < check_real(self.agreement, "agreement") <= 1):
            raise ValueError(
                f"agreement must be a number of members, at least 1, or a share in (0, 1], 1.0 for all. Got "
                f"{self.agreement!r} instead."
            )

    def _rule(self) -> VoteRule:
        return VoteRule(self.n_samples, self.vote, self.rerank, self.extract)

    def _needs_confidence(self) -> bool:
        return self.labels == "soft" or self.threshold is not None or self.weights is not None

    def _answer(self, kind: str, teacher: Any, X: Any, steps: Steps | None) -> Labels:
        """The teacher's answers to all questions, from one worker or several."""
        from joblib import Parallel, delayed, effective_n_jobs

        n_rows = _num_samples(X)
        if n_rows == 0:
            raise ValueError("X must hold at least one row. Got none.")
        n_batches = -(-n_rows // self.batch_size)
        n_shards = min(effective_n_jobs(self.n_jobs), n_batches)
        settings = {
            "kind": kind,
            "teacher": teacher,
            "generation_kwargs": self.generation_kwargs or {},
            # Probabilities of classes and likelihoods of texts are computed only where they are used.
            "with_confidence": self._needs_confidence() or (self.filter is not None and kind == "classes"),
            "batch_size": self.batch_size,
            "random_state": self.random_state,
            "verbose": self.verbose,
            "steps": steps,
            "rule": self._rule(),
            "keep_unfinished": bool(self.keep_unfinished),
            "with_agreement": self.agreement is not None,
        }
        if n_shards == 1:
            return label_shard(X, 0, **settings)
        edges = self.batch_size * (np.arange(n_shards + 1) * n_batches // n_shards)
        shards = [np.arange(start, min(stop, n_rows)) for start, stop in pairwise(edges)]
        return Labels.concatenate(
            Parallel(n_jobs=n_shards)(
                delayed(label_shard)(take_rows(X, rows), int(rows[0]), **settings) for rows in shards
            )
        )

    def _finish(self, teacher: Any, usable: UsableRows, labels: Labels) -> PseudoLabels:
        kept = np.ones(len(labels.y), dtype=bool)
        skipped = list(usable.skipped)
        if labels.reasons is not None:
            kept = np.array([not reason for reason in labels.reasons], dtype=bool)
            skipped += [(int(usable.kept[row]), labels.reasons[row]) for row in np.flatnonzero(~kept).tolist()]
            n_blank = sum(is_blank(answer) for answer in labels.y)
            if n_blank:
                logger.warning("%d of %d pseudo-answers are blank and left out.", n_blank, len(kept))
            for reason, what in ((NO_OPTION, "are none of the options and"), (NO_EXTRACT, "hold no answer and are")):
                n_other = labels.reasons.count(reason)
                if n_other:
                    logger.warning("%d of %d pseudo-answers %s left out.", n_other, len(kept), what)
        if labels.finished is not None and not self.keep_unfinished:
            n_cut = int((kept & ~labels.finished).sum())
            if n_cut:
                logger.warning(
                    "%d of %d pseudo-answers are cut off at max_new_tokens and left out, see keep_unfinished.",
                    n_cut, len(kept),
                )  # fmt: skip
            kept &= labels.finished
        if usable.skipped:
            logger.warning("%d rows cannot be labelled and are left out, see skipped_rows.", len(usable.skipped))
        if self.threshold is not None and labels.confidence is not None:
            kept = kept & (labels.confidence >= self.threshold)
        if labels.agreement is not None and self.agreement is not None:
            n_members = len(members_with_a_vote(teacher))
            counts = isinstance(self.agreement, int | np.integer)
            least = min(self.agreement, n_members) if counts else self.agreement * n_members
            kept = kept & (labels.agreement * n_members >= least - 1e-9)
        found = PseudoLabels(
            usable.X, labels.y, labels.proba, labels.confidence, kept,
            soft=self.labels == "soft", skipped_rows=tuple(sorted(skipped)), finished=labels.finished,
            classes=teacher.classes_ if is_classifier(teacher) else None, agreement=labels.agreement,
            sample_weight=None if self.weights is None else labels.confidence,
        )  # fmt: skip
        return found if self.filter is None else _filtered(found, self.filter)


def _filtered(labels: PseudoLabels, choose: Callable[[PseudoLabels], Any]) -> PseudoLabels:
    """The labels, of which a function of the user's leaves out some."""
    chosen = np.asarray(choose(labels))
    if chosen.shape != labels.kept.shape or chosen.dtype != bool:
        raise ValueError(
            f"filter must return an array of {len(labels.kept)} truth values, one for each row. Got "
            f"{shorten(chosen)}, of shape {chosen.shape} and type {chosen.dtype}."
        )
    return dataclasses.replace(labels, kept=labels.kept & chosen)
