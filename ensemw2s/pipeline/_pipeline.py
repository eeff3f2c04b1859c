"""Weak ensemble → pseudo-labels → strong student, with baseline and oracle."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, overload

import numpy as np
from sklearn.base import BaseEstimator, clone, is_classifier
from sklearn.frozen import FrozenEstimator
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, has_fit_parameter

from ensemw2s._html.stages import PipelineHTML
from ensemw2s._inputs.classifier_rows import checked_again, checked_for, input_tags, usable_examples
from ensemw2s._inputs.questions import require_answers, usable_questions
from ensemw2s._inputs.usable_rows import UsableRows, length_checks
from ensemw2s._launch.modes import own_modes
from ensemw2s._progress import progress_bar
from ensemw2s._validation import CheckedTexts, check_bool, check_weight, shorten
from ensemw2s.contracts import ChecksParameters, check_voting, has_members
from ensemw2s.datasets import QADataset
from ensemw2s.ensemble import as_booster, as_student, given_seed, leaves_seed_open, with_seed
from ensemw2s.metrics import Extract, MetricLike
from ensemw2s.pipeline._evaluation import check_drawing, checked_test, judged
from ensemw2s.pipeline._pseudo import PseudoLabeler
from ensemw2s.pipeline._pseudo_labels import PseudoLabels
from ensemw2s.pipeline._report import W2SReport
from ensemw2s.pipeline._saved import SavedPipeline, fitted_digest
from ensemw2s.pipeline._stages import Stages, check_folders, interrupted_with, open_stages
from ensemw2s.pipeline._test_sets import W2SReports
from ensemw2s.storage import row_digests
from ensemw2s.tokens import tokenized_once

logger = logging.getLogger("ensemw2s")

_FITTED = ("weak_", "pseudo_labels_", "student_", "baseline_labels_", "baseline_", "oracle_")


class W2SPipeline(PipelineHTML, SavedPipeline, BaseEstimator):
    """Let weak models trained on easy questions teach a strong student on hard ones.

    `fit` trains the weak ensemble on labelled easy questions, lets it answer the hard ones, and trains the student on
    these answers. For comparison it trains the baseline, the same student taught by the ensemble's first member
    alone, under the same settings and with the same kind of label; and, where true answers of the hard questions are
    given, the oracle. True answers reach nothing but the oracle.

    With different teachers, ``estimators`` of a `TokenAdaBoostGenerator`, the first member is made from the first of
    them (with ``pick="best"`` from the best), which is then the yardstick for weak model, baseline and PGR. Put the
    better one first, or compare with each alone.

    Classifiers and generators are served alike; weak model and student may have different tokenizers.

    Parameters
    ----------
    weak : estimator, TokenLearner or str
        Booster, or any estimator; a `TokenLearner` or model id is boosted by a `TokenAdaBoostGenerator`. One that is no
        `VotingEnsemble`, such as a random forest, has no first member: it is judged as a whole, and no baseline is
        trained. scikit-learn's ``FrozenEstimator(fitted)`` around a fitted estimator or pipeline teaches as it is, a
        pipeline by its student: such as the next link of a chain, weak → middle → strong.
    student : estimator, TokenLearner or str
        A `TokenLearner` or model id is fine-tuned by a `FineTunedGenerator`. Where it leaves its ``random_state``
        None, as a model id does, student, baseline and oracle share a seed: that of the other of student and `oracle`
        if it has one, else one that the fit draws.
    labeler : PseudoLabeler, optional
        How hard questions are answered; `PseudoLabeler()` if None. Any object will do whose ``label(teacher, X)``
        returns `PseudoLabels`, such as a subclass with a ``label`` of its own.
    oracle : estimator, TokenLearner or str, optional
        A copy of the student if None.
    baseline : bool, default=True
        Whether the baseline is trained, where `weak` has a first member. If no label of that can be used, a warning
        says so, and there is none.
    include_easy : bool, default=False
        Whether student, baseline and oracle learn the labelled easy questions, too, which come before the hard ones. A
        true answer has probability 1 among soft labels; a hard question weighs as much as an easy one does on average,
        or its confidence as much of that where the labeler has ``weights``. The paper leaves it at hard questions.
    on_bad_row : {"raise", "skip"}, default="raise"
        What `fit` does with rows that cannot be used, such as a blank answer or a question that is too long for a
        model: raise an error that names the first before any training starts, or leave them out. With ``"skip"`` the
        student leaves out pseudo-answers that it cannot be trained on, too.
    checkpoint_dir : path, optional
        Folder where every round of the weak ensemble, every batch of pseudo-labels and every student is committed as it
        ends. `fit` called again with the same data and parameters goes on after the last of them.
    on_locked : {"raise", "wait"}, default="raise"
        What to do while another process fits in `checkpoint_dir`.
    verbose : bool, default=False
        Show a progress bar over the stages; bars of the models and of the labeler, if they are verbose, are below it.

    Attributes
    ----------
    weak_, student_, baseline_, oracle_ : estimator
        Fitted; `baseline_` and `oracle_` are None if they were not trained. After Ctrl-C, which `fit` passes on, those
        that were finished, and `weak_` with the rounds before.
    pseudo_labels_, baseline_labels_ : PseudoLabels
        What `student_` and `baseline_` were trained on.
    skipped_rows_ : dict of str to list of (int, str)
        Number and reason of each row that was left out of ``"X"`` and ``"X_hard"``; under ``"y_hard"`` those that only
        the oracle was trained without.

    Examples
    --------
    >>> from ensemw2s import BigramLearner, TokenAdaBoostGenerator, W2SPipeline, make_qa
    >>> easy, hard, test = (make_qa(60, random_state=seed) for seed in range(3))
    >>> weak = TokenAdaBoostGenerator(BigramLearner(), n_estimators=2, prior="uniform", random_state=0)
    >>> pipeline = W2SPipeline(weak, BigramLearner()).fit(easy, None, hard.drop_answers(), hard.answers)
    >>> report = pipeline.evaluate(test)
    >>> sorted(report.correct)
    ['baseline', 'ensemble', 'oracle', 'student', 'uniform', 'weak']

    The student teaches the next one:

    >>> from sklearn.frozen import FrozenEstimator
    >>> chain = W2SPipeline(FrozenEstimator(pipeline), BigramLearner()).fit(X_hard=hard)
    >>> chain.weak_ is pipeline.student_
    True
    """

    def __init__(
        self,
        weak: Any,
        student: Any,
        *,
        labeler: PseudoLabeler | None = None,
        oracle: Any = None,
        baseline: bool = True,
        include_easy: bool = False,
        on_bad_row: str = "raise",
        checkpoint_dir: str | os.PathLike[str] | None = None,
        on_locked: str = "raise",
        verbose: bool = False,
    ) -> None:
        self.weak = weak
        self.student = student
        self.labeler = labeler
        self.oracle = oracle
        self.baseline = baseline
        self.include_easy = include_easy
        self.on_bad_row = on_bad_row
        self.checkpoint_dir = checkpoint_dir
        self.on_locked = on_locked
        self.verbose = verbose

    @tokenized_once()
    def fit(
        self,
        X: Any = None,
        y: Any = None,
        X_hard: Any = None,
        y_hard: Any = None,
        *,
        choices: Sequence | None = None,
        choices_hard: Sequence | None = None,
        sample_weight: Any = None,
    ) -> W2SPipeline:
        """Train weak ensemble, student, baseline and oracle.

        Parameters
        ----------
        X : sequence or QADataset, shape (n,)
            Easy questions. Not looked at, and may be None, where `weak` is a ``FrozenEstimator``; nor are `y`,
            `choices` and `sample_weight` then, unless `include_easy` needs them.
        y : sequence, optional
            Their answers or classes; those of the `QADataset` if None.
        X_hard : sequence or QADataset, shape (m,)
            Hard questions. Answers that a `QADataset` holds are not looked at: pass `y_hard` for an oracle.
        y_hard : sequence, optional
            True answers or classes of the hard questions, for the oracle alone.
        choices, choices_hard : sequence of sequences of str, optional
            Options of the questions.
        sample_weight : array-like of shape (n,), optional
            Weights of the easy questions.

        Returns
        -------
        W2SPipeline
            The fitted pipeline itself.

        Raises
        ------
        ValueError, TypeError
            If rows, weights or parameters cannot be used; such as, with `include_easy`, options of only some questions,
            or weights for a student that takes none.
        """
        if X_hard is None:
            raise ValueError("X_hard must hold the hard questions. Got None; pass them.")
        check_bool(self.baseline, "baseline")
        check_bool(self.include_easy, "include_easy")
        check_bool(self.verbose, "verbose")
        frozen, student = isinstance(self.weak, FrozenEstimator), as_student(self.student)
        weak = _fitted_teacher(self.weak) if frozen else as_booster(self.weak)
        oracle = student if self.oracle is None else as_student(self.oracle, "oracle")
        labeler = PseudoLabeler() if self.labeler is None else self.labeler
        _check_labeler(labeler)
        check_voting(weak, "weak")
        shares = self.baseline or (y_hard is not None and self.oracle is None)
        check_folders(self, {"weak": weak, "student": student, "oracle": oracle}, shares)
        classify, X_hard = is_classifier(weak), _without_answers(X_hard)
        # All columns are checked before the first model is loaded.
        reads_easy = self.include_easy or not frozen
        if self.include_easy and X is None:
            raise ValueError("X must hold the easy questions for include_easy=True. Got None; pass them.")
        if not reads_easy:  # nothing is trained on them
            easy, sample_weight = UsableRows([], None, np.empty(0, dtype=np.int64), []), None
        else:
            easy = self._usable(classify, X, y, choices)
            if not classify:
                require_answers(easy.X)
        hard = self._usable(classify, X_hard, None, choices_hard, "_hard")
        if self.include_easy:
            _check_together(easy, hard, classify, sample_weight, {"student": student, "oracle": oracle})
        if getattr(labeler.label, "__func__", None) is PseudoLabeler.label:  # no label of the labeler's own
            labeler.check_untrained(weak, has_choices=getattr(hard.X, "choices", None) is not None, student=student)
        # True answers decide nothing about the rows that are labelled.
        solved = None if y_hard is None else self._usable(classify, X_hard, y_hard, choices_hard, "_hard", known=hard)
        taught = [] if not self.include_easy else [student] if solved is None else [student, oracle]
        if reads_easy:
            easy = self._drop_long(easy, "X", *([] if frozen else [weak]), *taught, trained=True)
        hard = self._drop_long(hard, "X_hard", weak, student)
        solved = None if solved is None else self._drop_long(solved, "X_hard", oracle, trained=True)
        X, y, X_hard = easy.X, easy.y, hard.X
        unsolved = [] if solved is None else [row for row in solved.skipped if row[0] in hard.kept]
        self.skipped_rows_ = {"X": easy.skipped, "X_hard": hard.skipped, "y_hard": unsolved}
        if self.on_bad_row == "skip" and "on_bad_row" in student.get_params(deep=False):
            student = clone(student).set_params(on_bad_row="skip")

        sample_weight = easy.take(sample_weight, "sample_weight")
        weights = {} if sample_weight is None else {"sample_weight": sample_weight}
        include = partial(PseudoLabels._behind, X=X, y=easy.labels, sample_weight=sample_weight)
        students_labels: Callable[[PseudoLabels], PseudoLabels] = (
            include if self.include_easy else lambda labels: labels
        )
        for name in _FITTED:  # from here on it holds what this call has made
            self.__dict__.pop(name, None)
        n_stages = 3 + bool(self.baseline) + (solved is not None)
        bar = progress_bar(total=n_stages, desc="pipeline", unit="stage", visible=self.verbose)
        with (
            own_modes(),
            interrupted_with(self, _FITTED),
            open_stages(self.checkpoint_dir, self.on_locked) as stages,
            bar as stages.bar,
        ):
            drawn = None
            if leaves_seed_open(student) or leaves_seed_open(oracle):
                drawn = given_seed(student, oracle)
                drawn = int(check_random_state(None).randint(2**31 - 1)) if drawn is None else drawn
            fitted = None if not frozen or self.checkpoint_dir is None else fitted_digest(weak)
            drawn = stages.begin(
                {**({} if frozen else {"weak": weak}), "student": student, "oracle": oracle},
                {
                    "labeler": labeler,
                    "baseline": self.baseline,
                    # Left out at its default, so that a run begun without it goes on.
                    **({"include_easy": True} if self.include_easy else {}),
                    **({} if fitted is None else {"teacher": fitted}),
                },
                lambda: {
                    **({} if not reads_easy else easy.in_place(_row_digests(X=X, y=y, **weights))),
                    **hard.in_place(_row_digests(X_hard=X_hard)),
                    **({} if solved is None else solved.in_place(_row_digests(y_hard=solved.labels))),
                },
                drawn,
            )
            if drawn is not None:  # models with seeds of their own would differ by chance, too
                student, oracle = with_seed(student, drawn), with_seed(oracle, drawn)
            if frozen:
                self.weak_ = weak
                stages.bar.update()
            else:
                with stages.shown("training the weak ensemble"):
                    self._fit_weak(clone(weak), lambda model: model.fit(checked_for(model, X), y, **weights), stages)
            with stages.shown("labelling the hard questions"):
                self.pseudo_labels_: PseudoLabels = stages.labels("labels", labeler, self.weak_, X_hard)
            self.baseline_ = self.baseline_labels_ = self.oracle_ = None
            with stages.shown("training the student"):
                self.student_ = _train_student(stages, "student", students_labels(self.pseudo_labels_), student)
            if self.baseline:
                with stages.shown("training the baseline student"):
                    self._fit_baseline(student, labeler, X_hard, stages, students_labels)
            if solved is not None:
                X_solved = _without_answers(solved.X)
                y_solved = solved.labels if classify else CheckedTexts(solved.labels)

                def train_oracle(model: Any) -> Any:
                    if self.include_easy:  # in the way that a student sees them
                        kept = np.ones(len(y_solved), dtype=bool)
                        return include(PseudoLabels(X_solved, np.asarray(y_solved), None, None, kept, False)).fit(model)
                    return model.fit(checked_for(model, X_solved), y_solved)

                with stages.shown("training the oracle"):
                    self.oracle_ = stages.model("oracle", clone(oracle), train_oracle)
        return self

    def predict(self, X: Any, **kwargs: Any) -> np.ndarray:
        """The student's answers or classes.

        Parameters
        ----------
        X : sequence or QADataset, shape (n,)
            Questions.
        **kwargs
            Passed to the student's ``predict``, such as ``choices``.

        Returns
        -------
        ndarray of shape (n,)
        """
        check_is_fitted(self, "student_")
        if is_classifier(self.student_):
            usable_examples(X)
        return self.student_.predict(X, **kwargs)

    def generate(self, X: Any, **generation_kwargs: Any) -> list[Any]:
        """Answers that the student writes.

        Parameters
        ----------
        X : sequence of str or QADataset, shape (n,)
            Questions.
        **generation_kwargs
            Passed to the student's ``generate``.

        Returns
        -------
        list of str
        """
        check_is_fitted(self, "student_")
        return self.student_.generate(X, **generation_kwargs)

    def score(self, X: Any, y: Any = None, **kwargs: Any) -> float:
        """The student's score.

        Parameters
        ----------
        X : sequence or QADataset, shape (n,)
            Questions.
        y : sequence, optional
            Answers or classes.
        **kwargs
            Passed to the student's ``score``, such as ``choices``.

        Returns
        -------
        float in [0, 1]
        """
        check_is_fitted(self, "student_")
        if is_classifier(self.student_):
            usable_examples(X, y)
        return self.student_.score(X, y, **kwargs)

    @overload
    def evaluate(
        self,
        X: Mapping[str, Any],
        *,
        confidence_level: float = ...,
        metric: MetricLike = ...,
        extract: Extract = ...,
        details: bool = ...,
        n_samples: int | None = ...,
        generation_kwargs: Mapping[str, Any] | None = ...,
        random_state: int = ...,
    ) -> W2SReports: ...
    @overload
    def evaluate(
        self,
        X: Any,
        y: Any = ...,
        *,
        choices: Sequence | None = ...,
        confidence_level: float = ...,
        metric: MetricLike = ...,
        extract: Extract = ...,
        details: bool = ...,
        n_samples: int | None = ...,
        generation_kwargs: Mapping[str, Any] | None = ...,
        random_state: int = ...,
    ) -> W2SReport: ...
    def evaluate(
        self,
        X: Any,
        y: Any = None,
        *,
        choices: Sequence | None = None,
        confidence_level: float = 0.95,
        metric: MetricLike = None,
        extract: Extract = None,
        details: bool = False,
        n_samples: int | None = None,
        generation_kwargs: Mapping[str, Any] | None = None,
        random_state: int = 0,
    ) -> W2SReport | W2SReports:
        """Compare all models on one test set, or on several, such as one of another distribution.

        A question whose right answer is tied with others for the likeliest counts 1/m for m tied ones, for classifiers
        too, whose ``predict`` and ``score`` follow scikit-learn and take the first.

        Parameters
        ----------
        X : sequence or QADataset, shape (n,), or dict of str to test set
            Test questions; or test sets by name, each a `QADataset` or a tuple ``(X, y)`` or ``(X, y, choices)``.
        y : sequence, optional
            Their answers or classes; those of the `QADataset` if None.
        choices : sequence of sequences of str, optional
            Options of the questions.
        confidence_level : float in (0, 1), default=0.95
            Of the intervals.
        metric : {"accuracy", "exact_text", "exact_match", "f1", "number", "rouge"} or callable, optional
            What answers earn, as in `FineTunedGenerator.score`: by default "accuracy" of options and classes, and
            "exact_text" of written answers. Of a classifier "accuracy", or a function of classes.
        extract : callable, str or re.Pattern, optional
            Finds the answer in a written text, as there.
        details : bool, default=False
            Ask all models once more, for what `W2SReport.details` says of their answers and probabilities.
        n_samples : int, optional
            Also draw so many answers a question from the ensemble and each student, for pass@k and the majority's
            answer in `W2SReport.details`; of written answers alone.
        generation_kwargs : dict, optional
            Of `generate` for these draws, beside ``do_sample=True, top_k=0``, which is Eq. 1, such as ``temperature``.
        random_state : int, default=0
            Seed of the draws.

        Returns
        -------
        W2SReport, or W2SReports
            `W2SReports`, a dict of them with one table, where `X` is a dict.

        Raises
        ------
        TypeError, ValueError
            If a test set cannot be used; all of them are checked before a model is asked.

        Examples
        --------
        >>> from ensemw2s import BigramLearner, FineTunedGenerator, W2SPipeline, make_qa
        >>> easy, hard, near, far = (make_qa(40, random_state=seed) for seed in range(4))
        >>> pipeline = W2SPipeline(FineTunedGenerator(BigramLearner()), BigramLearner()).fit(easy, None, hard)
        >>> reports = pipeline.evaluate({"near": near, "far": far})
        >>> {name: report.n for name, report in reports.items()}
        {'near': 40, 'far': 40}
        """
        check_is_fitted(self, "student_")
        check_bool(details, "details")
        named = X if isinstance(X, Mapping) else {"": (X, y, choices)}
        if named is X:
            if y is not None or choices is not None:
                raise ValueError(
                    "y and choices must be None where X names test sets. Got one of them; pass X={name: (X, y)}, or "
                    "(X, y, choices)."
                )
            if not named or not all(isinstance(name, str) and name.strip() for name in named):
                raise ValueError(f"X must name each test set by a text. Got the names {shorten(list(named))} instead.")
        # All test sets are checked before a model is asked of the first.
        tests = {name: checked_test(self.weak_, name, columns, metric, extract) for name, columns in named.items()}
        drawing = [check_drawing(n_samples, generation_kwargs, random_state, test.kind) for test in tests.values()]
        students = {"baseline": self.baseline_, "student": self.student_, "oracle": self.oracle_}
        reports = {
            name: judged(
                self.weak_, students, test,
                confidence_level=confidence_level, details=details, drawing=drawn, seed=random_state,
            )
            for (name, test), drawn in zip(tests.items(), drawing, strict=True)
        }  # fmt: skip
        return W2SReports(reports) if named is X else reports[""]

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        weak = self.weak if isinstance(self.weak, FrozenEstimator) else as_booster(self.weak)
        if hasattr(weak, "__sklearn_tags__"):  # it is the weak side that reads X
            tags.input_tags = input_tags(weak)
        return tags

    def _usable(
        self,
        classify: bool,
        X: Any,
        y: Any,
        choices: Sequence | None,
        suffix: str = "",
        known: UsableRows | None = None,
    ) -> UsableRows:
        """The rows whose columns can be used; `suffix` is what the parameters' names end with."""
        names = (f"X{suffix}", f"y{suffix}", f"choices{suffix}")
        if classify:
            X = X if known is None or known.skipped else checked_again(X)
            return usable_examples(X, y, on_bad_row=self.on_bad_row, names=names[:2])
        return usable_questions(X, y, choices, on_bad_row=self.on_bad_row, names=names, known=known)

    def _drop_long(self, rows: UsableRows, name: str, *models: Any, trained: bool = False) -> UsableRows:
        """The rows that fit into models, which are not trained yet, and whose answers they can be trained to write."""
        lengths = length_checks(*map(clone, models), trained=trained)
        return rows.drop_long(lengths, self.on_bad_row, name)

    def _fit_weak(self, weak: Any, train: Callable[[Any], Any], stages: Stages) -> None:
        try:
            self.weak_ = stages.ensemble("weak", weak, train)
        except KeyboardInterrupt:
            if hasattr(weak, "estimators_"):  # a booster keeps the rounds before it
                self.weak_ = weak
            raise

    def _fit_baseline(
        self,
        student: Any,
        labeler: Any,
        X_hard: Any,
        stages: Stages,
        students_labels: Callable[[PseudoLabels], PseudoLabels],
    ) -> None:
        if not has_members(self.weak_):
            logger.info("no baseline is trained: a %s has no first member", type(self.weak_).__name__)
            return
        votes = self.weak_.estimator_weights_
        if len(votes) == 1:
            # One member teaches as the ensemble does: the baseline is the student.
            self.baseline_labels_, self.baseline_ = self.pseudo_labels_, self.student_
            return
        self.baseline_labels_ = stages.labels("baseline-labels", labeler, self.weak_.with_votes(votes[:1]), X_hard)
        labels = students_labels(self.baseline_labels_)
        fault = labels._fault(student)
        if fault:  # the student is there, and worth more than a comparison
            warnings.warn(
                f"No baseline is trained: the labels of the ensemble's first member teach nothing. {fault}",
                stacklevel=4,
            )
            return
        self.baseline_ = _train_student(stages, "baseline", labels, student)


def _fitted_teacher(frozen: FrozenEstimator) -> Any:
    """What a FrozenEstimator holds; of a pipeline its student."""
    teacher = frozen.estimator
    check_is_fitted(frozen)
    teacher = teacher.student_ if isinstance(teacher, W2SPipeline) else teacher
    if hasattr(teacher, "token_logits"):
        raise TypeError(
            f"weak must be a fitted estimator, where it is frozen, such as the student_ of a pipeline. Got a "
            f"{type(teacher).__name__}, a learner; fit FineTunedGenerator({type(teacher).__name__}(...)) and pass it."
        )
    return teacher


def _train_student(stages: Stages, name: str, labels: PseudoLabels, student: Any) -> Any:
    return stages.model(name, labels._with_classes(clone(student)), labels.fit)


def _check_together(
    easy: UsableRows, hard: UsableRows, classify: bool, sample_weight: Any, students: Mapping[str, Any]
) -> None:
    """Raise where a student cannot be trained on easy and hard questions at once."""
    if not classify and (easy.X.choices is None) != (hard.X.choices is None):
        without = "X_hard" if hard.X.choices is None else "X"
        raise ValueError(
            f"X and X_hard must both have options, or neither, for include_easy=True. Got none for {without}; pass "
            f"{'choices_hard' if without == 'X_hard' else 'choices'}, or leave out those of the other."
        )
    if sample_weight is None:
        return
    check_weight(sample_weight, "sample_weight", length=len(easy.kept) + len(easy.skipped), per="row")
    for name, student in students.items():
        if not has_fit_parameter(student, "sample_weight"):
            raise TypeError(
                f"{name} must have sample_weight in fit for sample_weight with include_easy=True. Got a "
                f"{type(student).__name__}, which has none; leave sample_weight out, or pass another."
            )


def _without_answers(X: Any) -> Any:
    return X.drop_answers() if isinstance(X, QADataset) else X


def _row_digests(**columns: Any) -> dict[str, np.ndarray]:
    """A hash for each row of each column that is given; of a `QADataset`, also of its answers and options."""
    found: dict[str, np.ndarray] = {}
    for name, column in columns.items():
        parts = {name: column}
        if isinstance(column, QADataset):
            parts = {name: column.prompts, f"{name}.answers": column.answers, f"{name}.choices": column.choices}
        found |= {part: row_digests(rows) for part, rows in parts.items() if rows is not None}
    return found


def _check_labeler(labeler: Any) -> None:
    """Raise where a labeler, of whatever class, cannot label, or is out of range; nothing is computed."""
    if not callable(getattr(labeler, "label", None)) or isinstance(labeler, type):
        raise TypeError(
            f"labeler must be a PseudoLabeler, or an object with label(teacher, X) that returns PseudoLabels. Got "
            f"{shorten(labeler)} instead."
        )
    if isinstance(labeler, ChecksParameters):
        labeler.check_parameters()
