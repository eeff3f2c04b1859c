"""Pseudo-answers for questions that nobody has labelled."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, is_classifier
from sklearn.utils.validation import _num_samples, has_fit_parameter

from ensemw2s._html.fitted import skipped
from ensemw2s._html.pieces import facts, lines, panel, shortened, table
from ensemw2s._inputs.classifier_rows import checked_for, usable_examples
from ensemw2s._inputs.questions import usable_questions
from ensemw2s._inputs.usable_rows import UsableRows, Writer, length_checks
from ensemw2s._validation import CheckedTexts, as_texts, check_integer, check_option, check_real, is_blank, shorten
from ensemw2s._validation.row_filter import RowFilter, without_texts
from ensemw2s.contracts import OptionLearner
from ensemw2s.datasets import QADataset, of_checked_columns
from ensemw2s.ensemble import BaseTokenGenerator
from ensemw2s.pipeline._labelling import Labels, label_shard, members_with_a_vote
from ensemw2s.pipeline._voting import VoteRule
from ensemw2s.pipeline._written_answers import NO_EXTRACT, NO_OPTION, writing_settings
from ensemw2s.storage import Registered, Steps
from ensemw2s.tokens import tokenized_once

logger = logging.getLogger("ensemw2s")

_NO_WEIGHTS = (
    "student must have sample_weight in fit for weights='confidence'. Got a {}, which has none; leave weights out, or "
    "pass another student."
)
_N_HTML_ROWS = 5


@dataclass(frozen=True, repr=False)
class PseudoLabels:
    """What a teacher makes of unlabelled questions.

    Attributes
    ----------
    X : object
        The questions as they were given, without answers and without the rows in `skipped_rows`.
    y : ndarray of shape (n,)
        The teacher's answer or class for each question.
    proba : ndarray of shape (n, K) or None
        Probabilities of the options or classes, where there are any.
    confidence : ndarray of shape (n,) or None
        Probability of the chosen option or class. For free text the share of the votes, where several answers are
        sampled; of one, and only where a threshold or weights ask for it, the geometric mean of its tokens'
        probabilities, of teachers with several tokenizers the mean of these under their votes.
    kept : ndarray of shape (n,), bool
        Rows that go to the student.
    soft : bool
        Whether the student is trained on `proba` instead of `y`.
    classes : ndarray of shape (K,) or None
        A classifier's classes, in the order of the columns of `proba`.
    skipped_rows : tuple of (int, str)
        Number and reason of each row of what was given that the teacher could not be asked, for which none of the
        arrays has an entry; and of those to which it wrote no answer, such as a blank one, which are not kept.
    finished : ndarray of shape (n,), bool, or None
        Of free text, whether the teacher ended its answer. The others were cut off at ``max_new_tokens``.
    agreement : ndarray of shape (n,) or None
        Share of the teacher's members that give the label, where it was asked for.
    sample_weight : ndarray of shape (n,) or None
        Weight of each row in the student's training; all alike if None.

    Examples
    --------
    >>> from sklearn.tree import DecisionTreeClassifier
    >>> from ensemw2s import LLMAdaBoostClassifier, PseudoLabeler
    >>> teacher = LLMAdaBoostClassifier(DecisionTreeClassifier(max_depth=1)).fit([[0], [1], [2], [3]], [0, 0, 1, 1])
    >>> labels = PseudoLabeler().label(teacher, [[0.5], [2.5]])
    >>> labels
    PseudoLabels(n=2, kept 2, hard, 2 classes)
    >>> labels.y
    array([0, 1])
    >>> labels.fit(DecisionTreeClassifier()).predict([[9]])
    array([1])
    """

    X: Any
    y: np.ndarray
    proba: np.ndarray | None
    confidence: np.ndarray | None
    kept: np.ndarray
    soft: bool
    classes: np.ndarray | None = None
    skipped_rows: tuple[tuple[int, str], ...] = ()
    finished: np.ndarray | None = None
    agreement: np.ndarray | None = None
    sample_weight: np.ndarray | None = None

    def __repr__(self) -> str:
        return f"PseudoLabels({self._summary()})"

    def _summary(self) -> str:
        parts = [f"n={len(self.y)}", f"kept {int(self.kept.sum())}"]
        parts.append("soft" if self.soft and self.proba is not None else "hard")
        if self.classes is not None:
            parts.append(f"{len(self.classes)} classes")
        if self.confidence is not None and len(self.confidence):
            parts.append(f"confidence {self.confidence.min():.3f} to {self.confidence.max():.3f}")
        if self.agreement is not None and len(self.agreement):
            parts.append(f"agreement {self.agreement.min():.3f} to {self.agreement.max():.3f}")
        if self.sample_weight is not None:
            parts.append("weighted")
        if self.finished is not None and not self.finished.all():
            parts.append(f"{int((~self.finished).sum())} unfinished")
        if self.skipped_rows:
            parts.append(f"{len(self.skipped_rows)} skipped")
        return ", ".join(parts)

    def _repr_html_(self) -> str:
        columns = ["row", "question", "label", "confidence", "kept"]
        if self.confidence is None:
            columns.remove("confidence")
        n_shown = min(len(self.y), _N_HTML_ROWS)
        questions = _take(self.X, np.arange(n_shown)) if n_shown else []
        rows = []
        for row, question in enumerate(questions.prompts if isinstance(questions, QADataset) else questions):
            cells = [row, shortened(str(question), 200), shortened(str(self.y[row]), 80)]
            cells += [] if self.confidence is None else [f"{self.confidence[row]:.3f}"]
            rows.append([*cells, "yes" if self.kept[row] else "no"])
        parts = [lines([self._summary()]), table(columns, rows, numeric=["confidence"])]
        if len(self.y) > n_shown:
            parts.append(lines([f"… and {len(self.y) - n_shown} more"]))
        return panel("PseudoLabels", *parts, facts([("rows left out", skipped(self.skipped_rows))]))

    def fit(self, student: Any) -> Any:
        r"""Train a student on the kept rows.

        Soft labels reach a classifier as an (n, K) array; its parameter ``classes``, where it has one that is None, is
        set to the teacher's classes. A generator is trained on every option, weighted by its
        probability: :math:`\sum_k p_k \ell_k`, the cross-entropy on the options' probabilities; an `HFVerifier` makes
        one question of these rows again. Free text that the student's own tokenizer cannot write is left out, which the
        log says.

        Parameters
        ----------
        student : estimator
            Unfitted.

        Returns
        -------
        estimator
            The student, fitted.

        Raises
        ------
        ValueError
            If no row was kept, or if all hard labels are the same class.
        """
        fault = self._fault(student)
        if fault:
            raise ValueError(fault)
        rows = np.flatnonzero(self.kept)
        X = _take(self.X, rows)
        weight = None if self.sample_weight is None else self.sample_weight[rows] / self.sample_weight[rows].mean()
        weights = {} if weight is None else {"sample_weight": weight}
        if self.finished is not None:
            return _fit_on_texts(student, X, self.y[rows], weight)
        if not self.soft or self.proba is None:
            return student.fit(checked_for(student, X), self.y[rows], **weights)
        proba = self.proba[rows]
        if is_classifier(student):
            return self._with_classes(student).fit(checked_for(student, X), proba, **weights)
        question, option = np.nonzero(proba > 0)
        answers = [X.choices[q][k] for q, k in zip(question, option, strict=True)]
        # With its options, for a student that uses them: what is chosen from them need not be written.
        asked = X[question] if isinstance(student, Writer) else [X.prompts[q] for q in question]
        proba = proba if weight is None else proba * weight[:, None]
        return student.fit(asked, answers, sample_weight=proba[question, option])

    def _behind(self, X: Any, y: Any, sample_weight: Any = None) -> PseudoLabels:
        """These labels behind rows whose true labels are known; without a label that is kept, none of them either."""
        if not self.kept.any():
            return self
        n = _num_samples(X)
        answers = np.array(y, dtype=object) if isinstance(X, QADataset) else np.asarray(y)
        proba = None
        if self.soft and self.proba is not None:
            tables = [self._certain(X, answers), self.proba]
            width = max(table.shape[1] for table in tables)  # of the question with most options
            proba = np.concatenate([np.pad(table, ((0, 0), (0, width - table.shape[1]))) for table in tables])
        weight = None
        if sample_weight is not None or self.sample_weight is not None:
            ours = np.ones(len(self.y)) if self.sample_weight is None else self.sample_weight
            theirs = np.ones(n) if sample_weight is None else np.asarray(sample_weight, dtype=np.float64)
            weight = np.concatenate([theirs / theirs.mean(), ours])
        known = np.ones(n, dtype=bool)
        return dataclasses.replace(
            self, X=_joined(X, self.X), y=np.concatenate([answers, self.y]), proba=proba, confidence=None,
            kept=np.concatenate([known, self.kept]), agreement=None, sample_weight=weight,
            finished=None if self.finished is None else np.concatenate([known, self.finished]),
        )  # fmt: skip

    def _certain(self, X: Any, y: np.ndarray) -> np.ndarray:
        """Probabilities that are 1 for the true option or class of each row."""
        if self.classes is None:
            return np.eye(int(X.labels.max()) + 1)[X.labels]
        columns, classes = self.classes.tolist(), y.tolist()
        unknown = sorted(set(classes) - set(columns))
        if unknown:  # a teacher that was fitted before has not seen all
            raise ValueError(
                f"y must hold the teacher's classes, {shorten(columns)}, for include_easy=True with soft labels, which "
                f"have a column for each. Got {shorten(unknown)} too; leave these rows out, or pass labels='hard'."
            )
        return np.eye(len(columns))[[columns.index(one) for one in classes]]

    def _fault(self, student: Any) -> str:
        """Why a student cannot be trained on these labels; "" if it can."""
        if not self.kept.any():
            return self._why_none_is_kept()
        if self.sample_weight is not None and not has_fit_parameter(student, "sample_weight"):
            return _NO_WEIGHTS.format(type(student).__name__)
        if self.sample_weight is not None and not self.sample_weight[self.kept].sum() > 0:
            return "sample_weight must be positive for some pseudo-label that is kept. Got 0 for all of them."
        y = self.y[self.kept]
        if (not self.soft or self.proba is None) and is_classifier(student) and len(np.unique(y)) == 1:
            return (
                f"Every pseudo-label is the class {y[0]!s}: the teacher has collapsed, and a student cannot learn "
                f"from it. Train the teacher longer, or pass PseudoLabeler(labels='soft')."
            )
        return ""

    def _why_none_is_kept(self) -> str:
        blank = np.array([isinstance(answer, str) and is_blank(answer) for answer in self.y], dtype=bool)
        cut = ~blank & ~(np.ones(len(self.y), dtype=bool) if self.finished is None else self.finished)
        n_other = sum(reason == NO_OPTION for _, reason in self.skipped_rows)
        n_without = sum(reason == NO_EXTRACT for _, reason in self.skipped_rows)
        n_blank, n_cut = int(blank.sum()), int(cut.sum())
        n_unsure = max(
            len(self.y) - n_blank - n_cut - n_other - n_without, 0
        )  # what is cut off may be none of the options, too
        found = [f"{n_blank} answers are blank"] if n_blank else []
        found += [f"{n_cut} are cut off at max_new_tokens"] if n_cut else []
        found += [f"{n_other} are none of the options"] if n_other else []
        found += [f"{n_without} hold no answer that extract finds"] if n_without else []
        remedies = ["train the teacher longer, or pass choices"] if n_blank or n_cut else []
        remedies += ["let it choose, with method='options'"] if n_other else []
        remedies += ["raise max_new_tokens in generation_kwargs, or pass keep_unfinished=True"] if n_cut else []
        remedies += ["pass an extract that finds the answers"] if n_without else []
        if n_unsure and self.agreement is not None:
            found.append(f"{n_unsure} are left out for want of agreement or confidence")
            remedies.append("lower agreement or threshold of PseudoLabeler")
        elif n_unsure and self.confidence is not None:
            found.append(f"the confidence of {n_unsure} is below the threshold")
            remedies.append("lower the threshold of PseudoLabeler")
        elif n_unsure:
            found.append(f"the labeler left out {n_unsure}")
            remedies.append("let it keep some")
        reasons = f": of {len(self.y)}, {' and '.join(found)}" if found else ": there are none"
        remedy = "; ".join(remedies) or "pass questions that the teacher can be asked"
        return f"No pseudo-label was kept{reasons}. {remedy[0].upper()}{remedy[1:]}."

    def _with_classes(self, student: Any) -> Any:
        """The student, told the classes if it is trained on probabilities, whose columns have no names of their own."""
        soft = self.soft and self.proba is not None and is_classifier(student)
        if soft and self.classes is not None and student.get_params().get("classes", ()) is None:
            student.set_params(classes=list(self.classes))
        return student


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
            raise TypeError(_NO_WEIGHTS.format(type(student).__name__))

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
            Parallel(n_jobs=n_shards)(delayed(label_shard)(_take(X, rows), int(rows[0]), **settings) for rows in shards)
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


def _fit_on_texts(student: Any, X: Any, y: Any, weight: np.ndarray | None) -> Any:
    """Train on what a teacher wrote; what only another tokenizer can write is nothing that the user could mend."""
    if isinstance(student, Writer):
        check, rows = student._writing_check(), RowFilter(len(y), "skip")
        rows.apply(lambda places: as_texts(y[places], "answers", what="answer"))
        rows.apply(lambda places: check(of_checked_columns(_take(X.prompts, places), y[places], None), places))
        if rows.skipped:
            logger.warning(
                "%d of %d pseudo-answers cannot be written by the student and are left out; the first: %s",
                len(rows.skipped), len(y), without_texts(rows.skipped)[0][1],
            )  # fmt: skip
        X, y = _take(X, rows.kept), CheckedTexts(y[rows.kept])
        weight = None if weight is None else weight[rows.kept]
    return student.fit(X, y) if weight is None else student.fit(X, y, sample_weight=weight)


def _joined(first: Any, second: Any) -> Any:
    """The rows of one after those of the other, in the type of the second."""
    import pandas as pd
    from scipy import sparse

    if isinstance(first, QADataset) and isinstance(second, QADataset):
        choices = None if first.choices is None or second.choices is None else [*first.choices, *second.choices]
        return of_checked_columns([*first.prompts, *second.prompts], None, choices)
    if isinstance(second, list):
        return [*(first.prompts if isinstance(first, QADataset) else first), *second]
    if sparse.issparse(second):
        return sparse.vstack([first, second], format="csr")
    if isinstance(second, pd.DataFrame | pd.Series):
        return pd.concat([first, second], ignore_index=True)
    return np.concatenate([np.asarray(first), np.asarray(second)])


def _take(X: Any, rows: np.ndarray) -> Any:
    from sklearn.utils import _safe_indexing

    return X if len(rows) == _num_samples(X) else _safe_indexing(X, rows)
