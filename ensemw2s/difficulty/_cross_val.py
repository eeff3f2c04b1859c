"""Cross-validated difficulty."""

from __future__ import annotations

import logging
import numbers
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone, is_classifier
from sklearn.model_selection import GroupKFold, StratifiedGroupKFold
from sklearn.utils import _safe_indexing

from ensemw2s._inputs.classifier_rows import usable_examples
from ensemw2s._inputs.questions import check_questions, require_answers, require_choices, usable_questions
from ensemw2s._inputs.usable_rows import length_checks
from ensemw2s._progress import progress_bar
from ensemw2s._validation import RandomState, as_generator, check_integer, check_same_length
from ensemw2s.difficulty._ratings import DifficultyRatings
from ensemw2s.ensemble import BaseTokenGenerator, as_student
from ensemw2s.metrics import Extract, Metric, MetricLike, as_metric, credit
from ensemw2s.splits import NEAR_DUPLICATES, fingerprints, question_groups
from ensemw2s.tokens import tokenized_once

logger = logging.getLogger("ensemw2s")


@tokenized_once()
def cross_val_difficulty(
    estimator: object,
    X: Any,
    y: object = None,
    *,
    cv: object = 5,
    groups: object = None,
    choices: Sequence | None = None,
    near_duplicates: float | None = NEAR_DUPLICATES,
    n_jobs: int | None = None,
    random_state: RandomState = None,
    verbose: bool = False,
    metric: MetricLike = None,
    extract: Extract = None,
) -> DifficultyRatings:
    r"""Rate questions by the mistakes of models that were trained on the others (EnsemW2S, Appendix E).

    A copy of `estimator` is trained for each fold and scores the questions left out. A classifier's score is
    :math:`1 - p(\text{gold})`; a generator's is the share of the answer's tokens that it predicts wrongly, each given
    the true tokens before it; that of an `OpinionPool` or `HFVerifier`, which choose among options, :math:`1 -
    p(\text{gold})` again. All are continuous: right or wrong alone would tie most questions. With `metric` it is one
    minus what the answer earns.

    No question is scored by a model that saw a form of it: copies, near-duplicates and rows with one value in `groups`
    are in one fold. With a splitter of your own, which may know nothing of them, such rows are left out of that fold's
    training set.

    Parameters
    ----------
    estimator : classifier, generator, TokenLearner or str
        A scikit-learn classifier with ``predict_proba``, such as `HFClassifier` or a pipeline; or a generator, such as
        `FineTunedGenerator` or `TokenAdaBoostGenerator`. A `TokenLearner` or model id is fine-tuned by a
        `FineTunedGenerator`. An `OpinionPool` or `HFVerifier` rates questions with options. It is cloned, never
        fitted itself.
    X : QADataset, sequence of str, or array of numbers, length n
        Questions, or what a classifier takes.
    y : sequence of length n, optional
        Answers or classes; the answers of the `QADataset` if None.
    cv : int or splitter, default=5
        Number of folds, >= 2, or an object with ``split(X, y, groups)`` that yields training and scored rows, such as
        `sklearn.model_selection.RepeatedKFold`. A question that is scored several times gets the mean.
    groups : array-like of length n, optional
        Rows with equal values stay in one fold, such as `BinaryQA.groups`.
    choices : sequence of sequences of str, optional
        Options of the questions, for a generator that is trained with them.
    near_duplicates : float in (0, 1] or None, default=0.6
        Questions are forms of one question from this Jaccard similarity of their sets of neighbouring word pairs on;
        None takes equal questions only.
    n_jobs : int, optional
        Folds at a time, in joblib's count. `joblib.parallel_config` may name another backend.
    random_state : int, RandomState, Generator or None, default=None
        Seed of the folds. Models are seeded by parameters of their own.
    verbose : bool, default=False
        Show a progress bar of the folds begun.
    metric : {"accuracy", "exact_text", "exact_match", "f1", "number", "rouge"} or callable, optional
        What the answers to questions earn, as in `FineTunedGenerator.score`; a classifier has none.
    extract : callable, str or re.Pattern, optional
        Finds the answer in a written text, as there.

    Returns
    -------
    DifficultyRatings

    Raises
    ------
    TypeError, ValueError
        Before any training: if a parameter is out of range, a booster's learners read differently, there are fewer
        questions than folds, a splitter trains on a row that it scores, or a row is never scored. After it: if a score
        is not finite.

    See Also
    --------
    EasyHardSplit : Splits by these ratings.

    Examples
    --------
    >>> from ensemw2s import BigramLearner, EasyHardSplit, cross_val_difficulty, make_qa
    >>> questions = make_qa(60, random_state=0)
    >>> rated = cross_val_difficulty(BigramLearner(), questions, cv=3, random_state=0)
    >>> weak, strong, test = next(EasyHardSplit(random_state=0).split(questions, rated))
    >>> bool(rated.ratings[weak].max() <= rated.ratings[strong].min())
    True

    A classifier, here of the binary form of the questions:

    >>> from sklearn.feature_extraction.text import CountVectorizer
    >>> from sklearn.naive_bayes import MultinomialNB
    >>> from sklearn.pipeline import make_pipeline
    >>> from ensemw2s import to_binary
    >>> binary = to_binary(questions, both=True, random_state=0)
    >>> classifier = make_pipeline(CountVectorizer(), MultinomialNB())
    >>> cross_val_difficulty(classifier, binary.texts, binary.labels, groups=binary.groups).metric
    'one_minus_proba'
    """
    from joblib import Parallel, delayed

    estimator = as_student(estimator, "estimator")
    classify = is_classifier(estimator)
    measured = None
    if classify:
        if metric is not None or extract is not None:
            raise ValueError("metric and extract are of answers to questions. Got a classifier, rated by 1 - p(gold).")
        y = _check_classes(estimator, X, y)
    else:
        X, y = check_questions(X, y, choices), None
        answers = require_answers(X)
        if metric is not None or extract is not None:
            measured = as_metric(metric, extract, kind="texts" if X.choices is None else "options")
            measured.check(answers)
        if not (_rates_tokens(estimator) or hasattr(estimator, "predict_proba")):
            raise TypeError(
                f"estimator must be a classifier, a generator with answer_error, a TokenLearner, a model id, or a pool "
                f"or verifier with predict_proba for questions. Got {type(estimator).__name__} instead."
            )
        if not _rates_tokens(estimator):
            require_choices(X)
            X = usable_questions(X, lengths=length_checks(clone(estimator), trained=True)).X
        if isinstance(estimator, BaseTokenGenerator):
            if measured is None:
                _check_common_tokens(estimator)
            estimator._check_lengths(X)
    labels = question_groups(X, groups, near_duplicates=near_duplicates)
    folds = _folds(cv, X, y, labels, random_state)

    def tasks() -> Any:
        for train, scored in folds:
            parts = [
                None if rows is None else _safe_indexing(rows, part) for part in (train, scored) for rows in (X, y)
            ]
            yield delayed(_score_fold)(clone(estimator), *parts, measured)
            bar.update()  # joblib asks for a fold when a worker is free, so this one has begun

    with progress_bar(total=len(folds), desc="difficulty", unit="fold", visible=verbose) as bar:
        scores = Parallel(n_jobs=n_jobs)(tasks())
    total, n_scores, last = np.zeros(len(X)), np.zeros(len(X), dtype=np.int64), np.zeros(len(X), dtype=np.int64)
    for number, ((_, scored), score) in enumerate(zip(folds, scores, strict=True)):
        if not np.isfinite(score).all():
            row = int(scored[np.argmax(~np.isfinite(score))])
            raise ValueError(
                f"Fold {number} gave row {row} a score that is not finite: its model has diverged. Lower the learning "
                f"rate of the estimator."
            )
        total[scored] += score
        n_scores[scored] += 1
        last[scored] = number
    name = "token_error" if not classify and _rates_tokens(estimator) else "one_minus_proba"
    if measured is not None:
        name = f"one_minus_{measured.name}"
    return DifficultyRatings(total / n_scores, last, n_scores, name, fingerprints(X))


def _score_fold(
    estimator: Any, X: Any, y: Any, X_scored: Any, y_scored: Any, metric: Metric | None = None
) -> NDArray[np.float64]:
    """Train on one part and score each row of another; pure, so that any joblib backend can run it."""
    if metric is not None:
        return 1.0 - credit(estimator.fit(X), X_scored, np.asarray(X_scored.answers, dtype=object), metric)
    if y is None and _rates_tokens(estimator):
        return np.asarray(estimator.fit(X).answer_error(X_scored), dtype=np.float64)
    if y is None:
        proba = np.asarray(estimator.fit(X).predict_proba(X_scored), dtype=np.float64)
        return np.clip(1.0 - proba[np.arange(len(X_scored)), X_scored.labels], 0.0, 1.0)
    # By the probability of the right class, not by right or wrong: few folds would leave hardly any steps to rank by.
    estimator.fit(X, y)
    proba = np.asarray(estimator.predict_proba(X_scored), dtype=np.float64)  # (n, K)
    column = {label: number for number, label in enumerate(estimator.classes_)}
    # A class that this fold's training set lacks has no column, hence no probability.
    gold = np.array([proba[row, column[label]] if label in column else 0.0 for row, label in enumerate(y_scored)])
    return np.clip(1.0 - gold, 0.0, 1.0)  # a float32 softmax may exceed 1 in its last bit


def _rates_tokens(estimator: Any) -> bool:
    """Whether questions are rated by the tokens of their answers; a pool and a verifier know of options alone."""
    return hasattr(estimator, "answer_error")


def _check_common_tokens(estimator: BaseTokenGenerator) -> None:
    try:
        estimator._check_common_tokens()
    except ValueError as error:
        raise ValueError(
            f"estimator must have token errors, by which questions are rated. {error} Rate them by a single learner, "
            f"or by estimators that read alike."
        ) from error


def _check_classes(estimator: object, X: Any, y: Any) -> NDArray[Any]:
    if not hasattr(estimator, "predict_proba"):
        raise TypeError(
            f"A classifier must have predict_proba, by which questions are rated. Got {type(estimator).__name__}; wrap "
            f"it in CalibratedClassifierCV, or turn its probabilities on."
        )
    if y is None:
        raise ValueError("y must hold the classes. Got None.")
    usable_examples(X, y, lengths=length_checks(estimator))
    classes = np.asarray(y)
    if classes.ndim != 1:
        raise ValueError(f"y must have one dimension, one class per row. Got shape {classes.shape} instead.")
    check_same_length(X, classes, "X", "y")
    if len(set(classes.tolist())) < 2:
        raise ValueError(
            f"y must hold at least two classes. Got one class in all {len(classes)} rows, {classes.tolist()[0]!r}; add "
            f"rows of another class."
        )
    return classes


def _folds(
    cv: Any, X: Any, y: Any, labels: NDArray[np.int64], random_state: RandomState
) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Training and scored rows of each fold, checked."""
    if isinstance(cv, numbers.Integral):
        n_folds, n_groups = check_integer(cv, "cv", minimum=2), int(labels.max()) + 1
        if n_groups < n_folds:
            raise ValueError(
                f"cv={n_folds} folds need at least as many questions. Got {n_groups}, counting forms of one question "
                f"once; lower cv, or give more questions."
            )
        seed = int(as_generator(random_state).integers(2**31))
        kind = GroupKFold if y is None else StratifiedGroupKFold
        cv = kind(n_folds, shuffle=True, random_state=seed)
    elif isinstance(cv, str) or not hasattr(cv, "split"):
        raise TypeError(f"cv must be an int or a splitter with split(X, y, groups). Got {cv!r} instead.")
    folds = []
    n_scores = np.zeros(len(labels), dtype=np.int64)
    with warnings.catch_warnings():
        # Splitters that know nothing of groups say so; groups are kept apart below all the same.
        warnings.filterwarnings("ignore", message="The groups parameter is ignored", category=UserWarning)
        split = list(cv.split(X, y, labels))
    for number, (train, scored) in enumerate(split):
        train, scored = _as_rows(train, len(labels)), _as_rows(scored, len(labels))
        both = np.intersect1d(train, scored)
        if both.size:
            raise ValueError(
                f"A question must be scored only by models that never saw it. Fold {number} of cv trains on row "
                f"{both[0]} and scores it; take a splitter that keeps the two apart."
            )
        # Whatever the splitter made of the groups: a model that has seen another form of a question finds it easy.
        kept = train[~np.isin(labels[train], labels[scored])]
        if len(kept) < len(train):
            logger.info("fold %d: %d forms of scored questions left out of training", number, len(train) - len(kept))
        if not kept.size or not scored.size:
            raise ValueError(
                f"Fold {number} of cv must have rows to train on and rows to score. Got {len(kept)} and {len(scored)}, "
                f"after forms of scored questions were left out of training."
            )
        if y is not None and len(set(y[kept].tolist())) < 2:
            raise ValueError(
                f"Fold {number} of cv must train on at least two classes. Got {y[kept][0].item()!r} in all {len(kept)} "
                f"rows; lower cv, or add rows of the other classes."
            )
        n_scores[scored] += 1
        folds.append((kept, scored))
    if not n_scores.all():
        raise ValueError(
            f"Every question must be scored at least once. cv leaves row {int(np.argmin(n_scores))} in no fold; take a "
            f"splitter that scores all rows, or drop the row."
        )
    return folds


def _as_rows(rows: object, n_rows: int) -> NDArray[np.int64]:
    rows = np.asarray(rows)
    return np.arange(n_rows)[rows if rows.size else rows.astype(int)]  # a mask becomes row numbers
