"""PseudoLabeler with several workers: the same labels as with one, and errors that say where."""

from __future__ import annotations

import threading
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest
import torch
from numpy.testing import assert_array_equal
from scipy.sparse import csr_array
from sklearn.base import BaseEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score
from tiny_classifiers import OPINIONS, SENTENCES, bert_classifier
from tiny_models import tiny_learner

from ensemw2s import BigramLearner, FineTunedGenerator, PseudoLabeler, QADataset, WeakLearnerError, word_tokenizer

EASY = QADataset(["sky ?", "sea ?", "sun ?", "fire ?"], ["blue", "blue", "red", "orange"])
PROMPTS = [f"{thing} {'very ' * (row % 4)}?" for row, thing in enumerate(["ocean", "rose", "sun", "sky", "sea"] * 5)]
HARD = QADataset(PROMPTS, choices=[["blue", "red", "orange", "tan"][: 2 + row // 10] for row, _ in enumerate(PROMPTS)])
SAMPLED = {"do_sample": True, "max_new_tokens": 5}


@pytest.fixture(autouse=True)
def one_thread():
    """As many threads of torch here as in a worker, so that sums are taken in the same order."""
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with joblib.parallel_config(inner_max_num_threads=1, backend="loky"):
        yield
    torch.set_num_threads(n_threads)


@pytest.fixture(scope="module")
def generator():
    return FineTunedGenerator(tiny_learner(epochs=2)).fit(EASY)


@pytest.fixture(scope="module")
def classifier():
    return bert_classifier(peft_config="default", epochs=1).fit(SENTENCES, OPINIONS)


@pytest.fixture(scope="module")
def bigram():
    return FineTunedGenerator(BigramLearner()).fit(EASY)


def assert_same(labels: Any, expected: Any) -> None:
    for name in ("y", "proba", "confidence", "kept", "classes"):
        assert_array_equal(getattr(labels, name), getattr(expected, name), strict=True, err_msg=name)


KINDS = {
    "options": {},
    "soft options": {"labels": "soft", "threshold": 0.4},
    "greedy text": {"method": "generate", "generation_kwargs": {"max_new_tokens": 4}, "threshold": 0.0},
    "sampled text": {"method": "generate", "generation_kwargs": SAMPLED, "threshold": 0.01},
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("n_jobs", "backend"), [(1, "loky"), (2, "loky"), (3, "threading")])
@pytest.mark.slow
def test_workers_give_the_labels_of_one(kind, n_jobs, backend, generator):
    settings = {"batch_size": 4, **KINDS[kind]}
    expected = PseudoLabeler(**settings).label(generator, HARD)
    with joblib.parallel_config(backend=backend):
        assert_same(PseudoLabeler(n_jobs=n_jobs, **settings).label(generator, HARD), expected)


@pytest.mark.slow
@pytest.mark.parametrize("labels", ["hard", "soft"])
def test_workers_give_the_classes_of_one(labels, classifier):
    settings = {"batch_size": 5, "labels": labels}
    expected = PseudoLabeler(**settings).label(classifier, SENTENCES)
    assert_same(PseudoLabeler(n_jobs=2, **settings).label(classifier, SENTENCES), expected)


@pytest.mark.slow
def test_tables_that_joblib_maps_read_only_give_the_same_labels():
    words = word_tokenizer([" ".join(f"w{number}" for number in range(400)), *EASY.prompts, *EASY.answers, *PROMPTS])
    teacher = FineTunedGenerator(BigramLearner(words)).fit(EASY)
    assert teacher.estimators_[0].log_proba_.nbytes > 1_000_000  # from there on joblib maps an array from disk
    for method in ("options", "generate"):
        labeler = PseudoLabeler(method=method, batch_size=8)
        expected = labeler.label(teacher, HARD)
        assert_same(labeler.set_params(n_jobs=2).label(teacher, HARD), expected)


def test_folds_of_a_cross_validation_run_in_workers():
    easy = EASY[[0, 1, 2, 3] * 3]
    expected = cross_val_score(FineTunedGenerator(BigramLearner()), easy, cv=3)
    assert_array_equal(cross_val_score(FineTunedGenerator(BigramLearner()), easy, cv=3, n_jobs=2), expected)
    assert expected.min() > 0.0


# --- seeds ------------------------------------------------------------------------------------------------------------


def sample(teacher: Any, X: Any, **settings: Any) -> list[str]:
    return list(PseudoLabeler(method="generate", generation_kwargs=SAMPLED, **settings).label(teacher, X).y)


def test_every_batch_is_drawn_anew(bigram):
    texts = sample(bigram, ["sky ?"] * 12, batch_size=4)
    assert len({tuple(texts[start : start + 4]) for start in (0, 4, 8)}) == 3


def test_a_batch_is_drawn_alike_whatever_follows(bigram):
    assert sample(bigram, PROMPTS, batch_size=4)[:8] == sample(bigram, PROMPTS[:8], batch_size=4)


def test_seeds_that_follow_each_other_share_no_batch(bigram):
    # batch + seed alone would give batch 1 of seed 0 to batch 0 of seed 1
    first, second = (sample(bigram, ["sky ?"] * 12, batch_size=4, random_state=seed) for seed in (0, 1))
    assert first[4:8] != second[:4]


# --- how the work is shared out ---------------------------------------------------------------------------------------


class Recorder(BaseEstimator):
    """A teacher that writes each question's first word and remembers what it was asked, in threads of one process."""

    def __init__(self, parties: int = 1) -> None:
        self.parties = parties
        self.asked: list[tuple[str, ...]] = []
        self.together = threading.Barrier(parties)

    def generate(self, X: Any, **_: Any) -> list[str]:
        self.asked.append(tuple(X.prompts))
        return [prompt.split()[0] for prompt in X.prompts]

    def predict_proba(self, X: Any) -> np.ndarray:
        self.together.wait(timeout=30)
        self.asked.append(tuple(X.prompts))
        return np.full((len(X), 2), 0.5)


@pytest.mark.parametrize("n_jobs", [None, 2, 3, 7, 20])
def test_the_teacher_is_asked_the_same_batches(n_jobs):
    teacher = Recorder()
    with joblib.parallel_config(backend="threading"):
        labels = PseudoLabeler(method="generate", batch_size=4, n_jobs=n_jobs).label(teacher, PROMPTS)
    assert sorted(teacher.asked) == sorted(tuple(PROMPTS[start : start + 4]) for start in range(0, 25, 4))
    assert list(labels.y) == [prompt.split()[0] for prompt in PROMPTS]


def test_one_job_starts_no_workers(bigram, monkeypatch):
    expected = list(bigram.predict(HARD))
    monkeypatch.setattr(joblib, "Parallel", None)
    one_batch = PseudoLabeler(n_jobs=2)
    for labeler in (PseudoLabeler(batch_size=4), PseudoLabeler(batch_size=4, n_jobs=1), one_batch):
        assert list(labeler.label(bigram, HARD).y) == expected


def test_the_number_of_workers_is_taken_from_the_context():
    teacher = Recorder(parties=2)  # waits until two threads ask at once
    with joblib.parallel_config(backend="threading", n_jobs=2):
        PseudoLabeler(batch_size=2).label(teacher, QADataset(["a", "b", "c", "d"], choices=[["x", "y"]] * 4))
    assert len(teacher.asked) == 2


@pytest.mark.parametrize("container", [list, np.array, csr_array, pd.DataFrame])
def test_rows_of_any_container_are_cut(container):
    numbers = np.linspace(-1.0, 1.0, 20)[:, np.newaxis] * [1.0, 2.0]
    rows = [list(row) for row in numbers] if container is list else container(numbers)
    teacher = LogisticRegression().fit(numbers, numbers[:, 0] > 0)
    labeler = PseudoLabeler(batch_size=3, n_jobs=2)
    if container is pd.DataFrame:
        teacher.fit(rows, numbers[:, 0] > 0)
    with joblib.parallel_config(backend="threading"):
        assert_array_equal(labeler.label(teacher, rows).y, numbers[:, 0] > 0)


def test_each_worker_shows_its_bar(bigram, capfd):
    with joblib.parallel_config(backend="threading"):
        PseudoLabeler(batch_size=4, n_jobs=2, verbose=True).label(bigram, HARD)
    shown = capfd.readouterr().err
    assert "pseudo-labels:" in shown
    assert "pseudo-labels from row 12:" in shown


# --- errors -----------------------------------------------------------------------------------------------------------


class Failing(BaseEstimator):
    """A teacher that cannot answer one question."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def generate(self, X: Any, **_: Any) -> list[str]:
        if "stop" in X.prompts:
            raise self.error
        return ["fine"] * len(X)


ROWS = ["go"] * 9 + ["stop"] + ["go"] * 6


@pytest.mark.parametrize("n_jobs", [None, 2])
@pytest.mark.parametrize(
    ("error", "kind", "message"),
    [
        (ValueError("X[1] is too long"), ValueError, r": X\[1\] is too long \(Row numbers .* count from row 8\.\)$"),
        (WeakLearnerError("not finite"), WeakLearnerError, ": not finite"),
        (TypeError("no text"), TypeError, ": no text"),
        (RuntimeError("out of memory"), RuntimeError, ": out of memory"),
        (KeyError("choices"), RuntimeError, ": KeyError: 'choices'"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_an_error_names_its_rows(n_jobs, error, kind, message):
    labeler = PseudoLabeler(method="generate", batch_size=4, n_jobs=n_jobs)
    with (
        joblib.parallel_config(backend="threading"),
        pytest.raises(kind, match="^Rows 8 to 11 could not be labelled" + message),
    ):
        labeler.label(Failing(error), ROWS)


def test_rows_of_the_first_batch_count_from_0():
    with pytest.raises(ValueError, match=r"^Rows 0 to 15 could not be labelled: X\[9\] is odd$"):
        PseudoLabeler(method="generate").label(Failing(ValueError("X[9] is odd")), ROWS)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"n_jobs": 0}, r"n_jobs must be None or an integer other than 0\. Got 0"),
        ({"n_jobs": 2.0}, r"n_jobs must be None or an integer other than 0\. Got 2\.0"),
        ({"n_jobs": True}, r"n_jobs must be None or an integer other than 0\. Got True"),
        ({"batch_size": 0}, r"batch_size must be an integer of at least 1\. Got 0"),
        ({"random_state": -1}, r"random_state must be an integer of at least 0\. Got -1"),
        ({"random_state": None}, r"random_state must be an integer of at least 0\. Got None"),
    ],
)
def test_bad_parameters_are_named(parameters, message, bigram):
    with pytest.raises(ValueError, match=message):
        PseudoLabeler(**parameters).label(bigram, HARD)


def test_several_answers_to_a_question_are_refused(bigram):
    settings = {"do_sample": True, "num_return_sequences": 2, "max_new_tokens": 2}
    with pytest.raises(TypeError, match=r"must give one text for each question.*leave num_return_sequences out"):
        PseudoLabeler(method="generate", generation_kwargs=settings).label(bigram, HARD)


def test_no_rows_are_refused():
    teacher = LogisticRegression().fit([[0.0], [1.0]], [0, 1])
    with pytest.raises(ValueError, match="X must not be empty"):
        PseudoLabeler().label(teacher, np.empty((0, 1)))


@pytest.mark.slow
def test_an_error_in_another_process_names_its_rows():  # the last test: joblib ends the other worker too
    labeler = PseudoLabeler(method="generate", batch_size=4, n_jobs=2)
    with pytest.raises(WeakLearnerError, match=r"^Rows 8 to 11 could not be labelled: not finite"):
        labeler.label(Failing(WeakLearnerError("not finite")), ROWS)
