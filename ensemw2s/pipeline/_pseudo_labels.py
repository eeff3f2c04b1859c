"""What a teacher makes of questions that nobody has labelled, and how a student learns it."""

from __future__ import annotations

import dataclasses
import logging
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.base import is_classifier
from sklearn.utils.validation import _num_samples, has_fit_parameter

from ensemw2s._html.fitted import skipped
from ensemw2s._html.pieces import facts, lines, panel, shortened, table
from ensemw2s._inputs.classifier_rows import checked_for
from ensemw2s._inputs.usable_rows import Writer
from ensemw2s._validation import CheckedTexts, as_texts, is_blank, shorten
from ensemw2s._validation.row_filter import RowFilter, without_texts
from ensemw2s.datasets import QADataset, of_checked_columns
from ensemw2s.pipeline._written_answers import NO_EXTRACT, NO_OPTION

logger = logging.getLogger("ensemw2s")
NO_WEIGHTS = (
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
        questions = take_rows(self.X, np.arange(n_shown)) if n_shown else []
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
        X = take_rows(self.X, rows)
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
            return NO_WEIGHTS.format(type(student).__name__)
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


def _fit_on_texts(student: Any, X: Any, y: Any, weight: np.ndarray | None) -> Any:
    """Train on what a teacher wrote; what only another tokenizer can write is nothing that the user could mend."""
    if isinstance(student, Writer):
        check, rows = student._writing_check(), RowFilter(len(y), "skip")
        rows.apply(lambda places: as_texts(y[places], "answers", what="answer"))
        rows.apply(lambda places: check(of_checked_columns(take_rows(X.prompts, places), y[places], None), places))
        if rows.skipped:
            logger.warning(
                "%d of %d pseudo-answers cannot be written by the student and are left out; the first: %s",
                len(rows.skipped), len(y), without_texts(rows.skipped)[0][1],
            )  # fmt: skip
        X, y = take_rows(X, rows.kept), CheckedTexts(y[rows.kept])
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


def take_rows(X: Any, rows: np.ndarray) -> Any:
    from sklearn.utils import _safe_indexing

    return X if len(rows) == _num_samples(X) else _safe_indexing(X, rows)
