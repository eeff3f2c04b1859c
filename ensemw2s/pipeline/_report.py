"""The outcome of a weak-to-strong run, as numbers with their uncertainty."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ensemw2s._html.pieces import lines, panel, strip, table
from ensemw2s._markdown import table_lines
from ensemw2s._validation import check_in_unit_interval, check_vector, shorten
from ensemw2s.exceptions import CheckpointError
from ensemw2s.metrics import (
    ACCURACY,
    bootstrap_interval,
    brier_scores,
    error_correlation,
    expected_calibration_error,
    gap_over_seeds,
    mean_over_pairs,
    paired_bootstrap_interval,
    pairwise_disagreement,
    pass_at_k,
    resampled_interval,
)
from ensemw2s.storage import MALFORMED, check_record, commit_record, decode, encode, read_json

if TYPE_CHECKING:
    import pandas

_KIND, _VERSION = "W2SReport", 1  # of the file of `save`
_TITLES = {
    "weak": "weak (first member)",
    "ensemble": "weak ensemble",
    "uniform": "weak ensemble, uniform votes",
    "baseline": "student of the weak model (baseline)",
    "student": "student of the ensemble (W2S)",
    "oracle": "student on true labels (oracle)",
}


@dataclass(frozen=True)
class W2SReport:
    """Score of all models of a weak-to-strong run on one test set.

    Parameters
    ----------
    correct : dict of str to array-like of shape (n,), float in [0, 1] or bool
        What each test item earns each model by `metric`; of accuracy 1 if it is right, 0 if not, 1/m where the right
        answer is tied with m - 1 others. Keys: "weak", "ensemble", "uniform", "baseline", "student", "oracle", as far
        as they exist.
    staged : list of array-like of shape (n,)
        The same for the first 1, 2, ..., T members of the ensemble.
    chance : float
        Score of a random choice; nan where it is not known, as of free text.
    token_errors : dict of str to float
        Teacher-forced token error of each model; empty for classifiers.
    votes, errors : ndarray of shape (T,)
        The ensemble's votes, in nats, and its weighted training errors.
    stop_reason : str
        Why boosting ended.
    confidence_level : float
        Of all intervals.
    member_answers : array-like of shape (T, n), int
        Answers of each member alone, as numbers: 0 is the right one, and equal wrong ones of an item are equal.
    member_correct : list of array-like of shape (n,)
        What each test item earns each member alone.
    member_names : list of str
        Names of the members, where these are experts of different kinds: each has a row then, in place of the rows of
        the first 2, 3, ... members.
    votes_by : str
        Where the votes come from, such as "held-out"; "" for boosting's.
    metric : str
        Name of what is measured, and of its column.
    predicted : dict of str to sequence of length n
        What each model answers, if it was asked: equal for equal answers.
    proba : dict of str to array-like of shape (n, K)
        Each model's probabilities of options or classes, if it was asked.
    labels : array-like of shape (n,), int
        Columns of the right ones in `proba`; -1 where none is right.
    samples : dict of str to array-like of shape (n, S)
        What each of S drawn answers a question earns, by model, if some were drawn.
    majority : dict of str to array-like of shape (n,)
        What the most frequent one of them earns.

    Raises
    ------
    ValueError
        If there is no model or no item, arrays over items or over members differ in length, or a number of `correct` or
        `staged` lies outside [0, 1].

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> correct = {name: rng.random(500) < p for name, p in
    ...            {"weak": .5, "baseline": .55, "student": .6, "oracle": .8}.items()}
    >>> report = W2SReport(correct, chance=.25)
    >>> report.student_score > report.weak_score
    True
    >>> low, high = report.interval("oracle")
    >>> low < report.oracle_score < high
    True
    """

    correct: dict[str, np.ndarray]
    staged: list[np.ndarray] = field(default_factory=list)
    chance: float = float("nan")
    token_errors: dict[str, float] = field(default_factory=dict)
    votes: np.ndarray = field(default_factory=lambda: np.empty(0))
    errors: np.ndarray = field(default_factory=lambda: np.empty(0))
    stop_reason: str = ""
    confidence_level: float = 0.95
    member_answers: np.ndarray = field(default_factory=lambda: np.empty((0, 0), dtype=np.int64))
    member_correct: list[np.ndarray] = field(default_factory=list)
    member_names: list[str] = field(default_factory=list)
    votes_by: str = ""
    metric: str = "accuracy"
    predicted: dict[str, Any] = field(default_factory=dict)
    proba: dict[str, np.ndarray] = field(default_factory=dict)
    labels: np.ndarray = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    samples: dict[str, np.ndarray] = field(default_factory=dict)
    majority: dict[str, np.ndarray] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.correct:
            raise ValueError("correct must hold at least one model. Got none.")
        unknown = [name for name in self.correct if name not in _TITLES]
        if unknown:
            raise ValueError(f"correct must have keys among {', '.join(_TITLES)}. Got {shorten(unknown[0])} instead.")
        first = next(iter(self.correct))
        n = np.size(self.correct[first])
        checked = {name: _check_credit(f"correct[{name!r}]", row, n, first) for name, row in self.correct.items()}
        staged = [_check_credit(f"staged[{place}]", row, n, first) for place, row in enumerate(self.staged)]
        if np.size(self.errors) and np.size(self.votes) and np.size(self.errors) != np.size(self.votes):
            raise ValueError(
                f"errors must have one entry per member, as many as votes has, {np.size(self.votes)}. Got "
                f"{np.size(self.errors)}."
            )
        alone = [
            _check_credit(f"member_correct[{place}]", row, n, first) for place, row in enumerate(self.member_correct)
        ]
        answers = np.asarray(self.member_answers)
        if answers.shape != (len(alone), n if alone else 0) or (
            self.member_names and len(self.member_names) != len(alone)
        ):
            raise ValueError(
                f"member_answers, member_correct and member_names must be of the same members and items. Got answers "
                f"of shape {answers.shape}, what {len(alone)} members earn, and {len(self.member_names)} names."
            )
        taken = ("model", "low", "high", *_MEASURES)
        if self.metric in taken:
            raise ValueError(f"metric must not be one of {', '.join(taken)}. Got {self.metric!r}; rename the function.")
        columns = {**self.predicted, **self.proba, **({"labels": self.labels} if self.proba else {})}
        for name, column in columns.items():
            if len(column) != n:
                raise ValueError(f"What is said of {name} must have {n} rows, one per test item. Got {len(column)}.")
        object.__setattr__(self, "proba", {name: np.asarray(proba, float) for name, proba in self.proba.items()})
        object.__setattr__(self, "labels", np.asarray(self.labels, dtype=np.int64))
        object.__setattr__(self, "correct", checked)
        object.__setattr__(self, "staged", staged)
        object.__setattr__(self, "member_correct", alone)
        object.__setattr__(self, "member_answers", answers)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the report as JSON with a checksum.

        Parameters
        ----------
        path : path
            File to write; an existing one is replaced, and stays whole if writing fails.

        Raises
        ------
        OSError
            If the file cannot be written; it names the file.

        Examples
        --------
        >>> import tempfile
        >>> from ensemw2s import W2SReport
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     W2SReport({"weak": [1, 0], "student": [1, 1]}).save(f"{folder}/report.json")
        ...     W2SReport.load(f"{folder}/report.json").student_score
        1.0
        """
        content = {each.name: encode(getattr(self, each.name), each.name) for each in fields(self)}
        commit_record(path, content, kind=_KIND, version=_VERSION)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> W2SReport:
        """Read what `save` wrote, to the bit.

        Parameters
        ----------
        path : path
            File to read.

        Returns
        -------
        W2SReport

        Raises
        ------
        CheckpointError
            If the file is damaged, or holds something else; it is named.
        FileNotFoundError
            If there is no such file.
        """
        content = check_record(*read_json(path), path, kind=_KIND, version=_VERSION)
        try:
            return cls(**{name: decode(value) for name, value in content.items()})
        except MALFORMED as error:
            raise CheckpointError(f"{path} is no report that this version of ensemw2s can read ({error}).") from error

    @property
    def n(self) -> int:
        """Number of test items."""
        return len(next(iter(self.correct.values())))

    def score(self, name: str) -> float:
        """Score of one model, the mean of what it earns; nan if it was not trained.

        Parameters
        ----------
        name : str
            Key of `correct`.

        Returns
        -------
        float
        """
        _check_name(name, _TITLES)
        return float(self.correct[name].mean()) if name in self.correct else float("nan")

    def n_tied(self, name: str) -> int:
        """Number of test items whose right answer one model could not tell from others.

        Parameters
        ----------
        name : str
            Key of `correct`.

        Returns
        -------
        int
            Each of them counts 1/m for m tied answers.
        """
        row = self._earned(name)
        return int(np.sum((row > 0) & (row < 1))) if self.metric == ACCURACY else 0

    @property
    def weak_score(self) -> float:
        """Score of the single weak model, the ensemble's first member where it is one."""
        return self.score("weak")

    @property
    def ensemble_score(self) -> float:
        """Score of the weak ensemble."""
        return self.score("ensemble")

    @property
    def baseline_score(self) -> float:
        """Score of the student trained on the single weak model's labels."""
        return self.score("baseline")

    @property
    def student_score(self) -> float:
        """Score of the student trained on the ensemble's labels."""
        return self.score("student")

    @property
    def oracle_score(self) -> float:
        """Score of the student trained on the true labels."""
        return self.score("oracle")

    @property
    def staged_scores(self) -> list[float]:
        """Score of the first 1, 2, ..., T members."""
        return [float(stage.mean()) for stage in self.staged]

    def diversity(self) -> dict[str, float]:
        """What the members could gain together, whatever their votes.

        Returns
        -------
        dict of str to float
            ``"oracle"``, the share of items that at least one member has right, which no vote for a member's answer can
            exceed; ``"disagreement"``, the share on which two members answer differently, and
            ``"error_correlation"`` of their mistakes, means over pairs, see `pairwise_disagreement` and
            `error_correlation`. nan where fewer than two members were asked alone.

        Examples
        --------
        >>> from ensemw2s import W2SReport
        >>> report = W2SReport({"weak": [1, 1, 0, 0]}, member_answers=[[0, 0, 1, 1], [0, 1, 0, 2]],
        ...                    member_correct=[[1, 1, 0, 0], [1, 0, 1, 0]])
        >>> report.diversity()
        {'oracle': 0.75, 'disagreement': 0.75, 'error_correlation': 0.0}
        """
        if len(self.member_correct) < 2:
            return dict.fromkeys(("oracle", "disagreement", "error_correlation"), float("nan"))
        right = np.zeros(self.n, dtype=np.int64)
        return {
            "oracle": float(np.max(self.member_correct, axis=0).mean()),
            "disagreement": mean_over_pairs(pairwise_disagreement(self.member_answers)),
            "error_correlation": mean_over_pairs(error_correlation(self.member_answers, right)),
        }

    def details(self) -> pandas.DataFrame:
        """How students follow their teachers, and how far the models' probabilities can be believed.

        Returns
        -------
        pandas.DataFrame
            Indexed by model and measure; value, low and high, a bootstrap interval over test items. Of students:
            "agreement", the share of items that they answer as their teacher does (Burns et al., 2023), and
            "error_where_teacher_right" and "error_where_teacher_wrong", one minus what items earn them, weighted by
            what they earn the teacher, or fail to. Of all models: "ece", see `expected_calibration_error`, "brier", and
            with two options or classes "roc_auc"; of drawn answers "pass@k" for k = 1, 2, 4, ... and S, a draw being
            right that earns 1, and "majority@S", see `pass_at_k` and `majority_at_k`. Agreement and what follows from
            probabilities is there after ``evaluate(..., details=True)``, draws after ``evaluate(..., n_samples=S)``.

        References
        ----------
        .. [1] Burns et al., "Weak-to-Strong Generalization: Eliciting Strong Capabilities With Weak Supervision", 2023.
           arXiv:2312.09390.

        Examples
        --------
        >>> from ensemw2s import W2SReport
        >>> report = W2SReport({"weak": [1, 1, 0, 0], "student": [1, 0, 1, 0]})
        >>> report.details()["value"].to_dict()
        {('student', 'error_where_teacher_right'): 0.5, ('student', 'error_where_teacher_wrong'): 0.5}
        """
        import pandas as pd

        rows = [
            {"model": name, "measure": measure, "value": value, "low": low, "high": high}
            for name in _TITLES
            for measure, value, low, high in (*self._of_student(name), *self._of_proba(name), *self._of_samples(name))
        ]
        frame = pd.DataFrame(rows, columns=["model", "measure", "value", "low", "high"])
        return frame.set_index(["model", "measure"])

    def _of_student(self, name: str) -> Iterator[tuple[str, float, float, float]]:
        teacher = "weak" if name == "baseline" or "ensemble" not in self.correct else "ensemble"
        if name not in ("baseline", "student") or not {name, teacher} <= self.correct.keys():
            return
        if {name, teacher} <= self.predicted.keys():
            same = [a == b for a, b in zip(self.predicted[name], self.predicted[teacher], strict=True)]
            yield "agreement", *self._mean_with_interval(np.array(same, dtype=np.float64))
        missed, right = 1.0 - self.correct[name].astype(float), self.correct[teacher].astype(float)
        for measure, weight in (("error_where_teacher_right", right), ("error_where_teacher_wrong", 1.0 - right)):
            yield measure, *self._with_interval(_weighted_mean(missed, weight))

    def _of_proba(self, name: str) -> Iterator[tuple[str, float, float, float]]:
        if name not in self.proba:
            return
        proba, labels = self.proba[name], self.labels
        yield "ece", *self._with_interval(lambda rows: expected_calibration_error(proba[rows], labels[rows]))
        yield "brier", *self._mean_with_interval(brier_scores(proba, labels))
        if proba.shape[1] == 2:
            yield "roc_auc", *self._with_interval(_auc(proba[:, 1], labels == 1))

    def _of_samples(self, name: str) -> Iterator[tuple[str, float, float, float]]:
        if name not in self.samples:
            return
        right = (np.asarray(self.samples[name]) == 1.0).sum(axis=1)
        n = np.shape(self.samples[name])[1]
        for k in sorted({n, *(2**power for power in range(n.bit_length()) if 2**power <= n)}):
            yield f"pass@{k}", *self._mean_with_interval(pass_at_k(n, right, k))
        yield f"majority@{n}", *self._mean_with_interval(np.asarray(self.majority[name], dtype=np.float64))

    def _mean_with_interval(self, values: np.ndarray) -> tuple[float, float, float]:
        low, high = bootstrap_interval(values, confidence_level=self.confidence_level, random_state=0)
        return float(values.mean()), low, high

    def _with_interval(self, statistic: Callable[[np.ndarray], float]) -> tuple[float, float, float]:
        low, high = resampled_interval(statistic, self.n, confidence_level=self.confidence_level)
        return statistic(np.arange(self.n)), low, high

    def interval(self, name: str) -> tuple[float, float]:
        """Bootstrap confidence interval of one model's score over test items.

        Parameters
        ----------
        name : str
            Key of `correct`.

        Returns
        -------
        low, high : float
        """
        return bootstrap_interval(
            self._earned(name).astype(float), confidence_level=self.confidence_level, random_state=0
        )

    def difference(self, first: str, second: str) -> tuple[float, float, float]:
        """Score of `first` minus that of `second`, with its paired bootstrap interval over test items.

        One training of each model says nothing about others; for several seeds see `interval_over_seeds`.

        Parameters
        ----------
        first, second : str
            Keys of `correct`.

        Returns
        -------
        difference, low, high : float
        """
        a, b = self._earned(first).astype(float), self._earned(second).astype(float)
        low, high = paired_bootstrap_interval(a, b, confidence_level=self.confidence_level, random_state=0)
        return float(a.mean() - b.mean()), low, high

    def performance_gap_recovered(self, name: str = "student") -> tuple[float, str]:
        """PGR of a student, and the reason where it has none.

        Parameters
        ----------
        name : {"student", "baseline"}, default="student"
            Which student.

        Returns
        -------
        pgr : float
            Or nan, where the oracle is not better than the weak model beyond the noise, the interval of their
            difference, or a model is below chance.
        reason : str
            Empty where there is a PGR.
        """
        missing = [key for key in ("weak", name, "oracle") if key not in self.correct]
        if missing:
            return float("nan"), f"no {missing[0]} was trained"
        weak, student, oracle = ([self.correct[key]] for key in ("weak", name, "oracle"))
        return gap_over_seeds(weak, student, oracle, chance=self.chance, confidence_level=self.confidence_level)

    @property
    def pgr(self) -> float:
        """PGR of the W2S student; nan where it has no meaning, see `performance_gap_recovered`."""
        return self.performance_gap_recovered()[0]

    def to_frame(self) -> pandas.DataFrame:
        """One row per model: the score, named as the metric is, its interval, token error and PGR.

        Returns
        -------
        pandas.DataFrame
        """
        import pandas as pd

        rows: list[dict[str, Any]] = []
        if self.member_names:  # the first is the weak model
            parts = [f"expert {t}, {name}" for t, name in enumerate(self.member_names, start=1)]
            stages = dict(list(zip(parts, self.member_correct, strict=True))[1:])
        else:
            stages = {
                f"ensemble of {t}": stage for t, stage in enumerate(self.staged, start=1) if 1 < t < len(self.staged)
            }
        for name in _TITLES:
            if name not in self.correct:
                continue
            rows.append(self._row(self._title(name), self.correct[name], name))
            if name == "weak":
                rows.extend(self._row(f"weak, {title}", stage, "") for title, stage in stages.items())
        frame = pd.DataFrame(rows).set_index("model")
        return frame if self.token_errors else frame.drop(columns="token_error")

    def to_markdown(self) -> str:
        """The table as Markdown, with n, the chance level and what else is needed to read it.

        Returns
        -------
        str
        """
        frame = self.to_frame().reset_index()
        header = [str(column).replace("_", " ") for column in frame.columns]
        rows = [
            ["" if cell != cell else f"{cell:.3f}" if isinstance(cell, float) else cell for cell in row]
            for row in frame.itertuples(index=False)
        ]
        return "\n".join([*table_lines(header, rows), "", *self._remarks()])

    def __repr__(self) -> str:
        table = self.to_frame().to_string(float_format=lambda value: f"{value:.3f}", na_rep="")
        return "\n".join(["W2SReport", table, *self._remarks()])

    def _repr_html_(self) -> str:
        chance = None if np.isnan(self.chance) else self.chance
        frame = self.to_frame()
        rows = []
        for title, row in frame.iterrows():
            low, score, high = row["low"], row[self.metric], row["high"]
            rows.append(
                [title, strip(low, score, high, chance), f"{score:.3f}", f"{low:.3f} to {high:.3f}",
                 *("–" if np.isnan(row[name]) else f"{row[name]:.3f}" for name in frame.columns[3:])]
            )  # fmt: skip
        measures = [_MEASURES[name].title for name in frame.columns[3:]]
        numbers = [self.metric.replace("_", " "), f"{self.confidence_level:.0%} interval", *measures]
        columns = ["model", "0 to 1" if chance is None else "0 to 1, chance dashed", *numbers]
        return panel("W2SReport", table(columns, rows, numeric=numbers), lines(self._remarks()))

    def _earned(self, name: str) -> np.ndarray:
        _check_name(name, self.correct)
        return self.correct[name]

    def _row(self, title: str, correct: np.ndarray, name: str) -> dict[str, Any]:
        low, high = bootstrap_interval(correct.astype(float), confidence_level=self.confidence_level, random_state=0)
        return {
            "model": title,
            self.metric: float(correct.mean()),
            "low": low,
            "high": high,
            **{column: measure.value(self, name, correct) for column, measure in _MEASURES.items()},
        }

    def _title(self, name: str) -> str:
        if name == "weak":
            # Without an ensemble the weak model is one, whatever it is made of.
            own = f", {self.member_names[0]}" if self.member_names else ""
            return f"{_TITLES[name]}{own}" if "ensemble" in self.correct else "weak model"
        return f"{_TITLES[name]}, {self.votes_by} votes" if name == "ensemble" and self.votes_by else _TITLES[name]

    def _remarks(self) -> list[str]:
        chance = "" if np.isnan(self.chance) else f", chance {self.chance:.3f}"
        remarks = [
            f"n = {self.n} test items{chance}; {self.confidence_level:.0%} bootstrap intervals over items. One run: "
            f"what another seed would change is not in them."
        ]
        if self.metric == ACCURACY and any(
            row.dtype != bool for row in self.correct.values()
        ):  # truth values do not say
            tied = [f"{_TITLES.get(name, name)} {self.n_tied(name)}" for name in self.correct if self.n_tied(name)]
            remarks.append(f"Tied items, each 1/m for m tied answers: {', '.join(tied) or 'none'}.")
        if "baseline" in self.correct and "student" in self.correct:
            difference, low, high = self.difference("student", "baseline")
            remarks.append(f"student - baseline: {difference:+.3f} [{low:+.3f}, {high:+.3f}], paired.")
        if "oracle" in self.correct:
            reason = self.performance_gap_recovered()[1]
            if reason:
                remarks.append(reason)
        if len(self.member_correct) > 1:
            found = self.diversity()
            correlation = found["error_correlation"]
            remarks.append(
                f"What the {len(self.member_correct)} members could gain: at least one is right on "
                f"{found['oracle']:.3f} of the items (oracle of members), two differ on {found['disagreement']:.3f}, "
                f"correlation of their mistakes {'not defined' if np.isnan(correlation) else f'{correlation:.2f}'}."
            )
        if len(self.votes):
            votes = ", ".join(f"{vote:.2f}" for vote in self.votes)
            ended = f"; boosting ended with {self.stop_reason!r}" if self.stop_reason else ""
            remarks.append(f"votes: {votes}{ended}.")
        return remarks


class _Measure(NamedTuple):
    """A column of the table behind the score and its interval."""

    title: str
    value: Callable[[W2SReport, str, np.ndarray], float]
    """Of a report, the name of a model, "" for a part of the ensemble, and what each item earns it; nan for none."""


_MEASURES = {
    "token_error": _Measure("token error", lambda report, name, _: report.token_errors.get(name, float("nan"))),
    "pgr": _Measure(
        "PGR",
        lambda report, name, _: (
            report.performance_gap_recovered(name)[0] if name in ("baseline", "student") else float("nan")
        ),
    ),
}


def _check_name(name: object, known: Collection[str]) -> None:
    if name not in known:
        raise ValueError(f"The models of this report are {', '.join(known)}. Got {shorten(name)} instead.")


def _weighted_mean(values: np.ndarray, weight: np.ndarray) -> Callable[[np.ndarray], float]:
    def mean(rows: np.ndarray) -> float:
        total = weight[rows].sum()
        return float(values[rows] @ weight[rows] / total) if total > 0 else float("nan")

    return mean


def _auc(score: np.ndarray, positive: np.ndarray) -> Callable[[np.ndarray], float]:
    from sklearn.metrics import roc_auc_score

    def auc(rows: np.ndarray) -> float:
        one_class = positive[rows].all() or not positive[rows].any()
        return float("nan") if one_class else float(roc_auc_score(positive[rows], score[rows]))

    return auc


def _check_credit(name: str, row: Any, n: int, first: str) -> np.ndarray:
    """What the items earn one model, as truth values or float64."""
    array = np.asarray(row)
    if array.dtype != bool:
        array = check_vector(array, name, per="test item")
        check_in_unit_interval(array, name)
    if array.shape != (n,) or n == 0:
        raise ValueError(
            f"{name} must hold one number per test item, at least one and as many as correct[{first!r}] has, {n}. Got "
            f"shape {array.shape} instead; evaluate all models on the same items."
        )
    return array
