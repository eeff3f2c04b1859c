"""A process that has imported everything, and forks a child for each run that is to be killed.

It reads one JSON object a line: the run, its folder, and where to kill it; and answers with one. What is traced and
killed is the child's own call of the real function: the library knows nothing of it.
"""

from __future__ import annotations

import gc
import hashlib
import json
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from resource import RLIM_INFINITY, RLIMIT_FSIZE, setrlimit
from typing import Any

import numpy as np
import safetensors.numpy
from sklearn.tree import BaseDecisionTree, DecisionTreeClassifier

import ensemw2s.ensemble._boosting_loop
import ensemw2s.ensemble._row_problem
import ensemw2s.ensemble._token_problem
import ensemw2s.storage._commit
from ensemw2s import (
    BigramLearner,
    LLMAdaBoostClassifier,
    PseudoLabeler,
    QADataset,
    TokenAdaBoostGenerator,
    W2SPipeline,
    word_tokenizer,
)
from ensemw2s.storage import versions

WORDS = word_tokenizer(["what is 0 1 2 3 4 5 6 7 8 9 + - ? Question: Answer: = odd even zero"])
N_QUESTIONS = 24


def questions(start: int) -> QADataset:
    """Sums whose answers a bigram cannot all know."""
    numbers = [(row * 7 + start) % 10 for row in range(N_QUESTIONS)]
    prompts = [f"what is {a} + {row % 3} ?" for row, a in enumerate(numbers)]
    answers = [f"{(a + row % 3) % 10} {'odd' if a % 2 else 'even'}" for row, a in enumerate(numbers)]
    choices = [[answer, f"{(int(answer[0]) + 3) % 10} zero"] for answer in answers]
    return QADataset(prompts, answers, choices)


def booster(folder: Any, **parameters: Any) -> TokenAdaBoostGenerator:
    settings = {"n_estimators": 3, "prior": "uniform", "sampling": "count", "random_state": 0, **parameters}
    return TokenAdaBoostGenerator(BigramLearner(WORDS), checkpoint_dir=folder, **settings)


def run_tokens(folder: Any) -> Any:
    return booster(folder, on_locked="wait").fit(questions(0))


def run_classes(folder: Any) -> Any:
    rng = np.random.RandomState(0)
    X = rng.normal(size=(60, 4))
    learner = DecisionTreeClassifier(max_depth=1, splitter="random")
    model = LLMAdaBoostClassifier(learner, n_estimators=3, sampling="resample", random_state=rng, checkpoint_dir=folder)
    return model.fit(X, (X[:, 0] + X[:, 1] > 0).astype(int))


def run_pipeline(folder: Any) -> Any:
    hard = questions(3)
    pipeline = W2SPipeline(
        booster(None, n_estimators=2), BigramLearner(WORDS, smoothing=0.5), labeler=PseudoLabeler(batch_size=8),
        checkpoint_dir=folder,
    )  # fmt: skip
    return pipeline.fit(questions(0), None, hard.drop_answers(), hard.answers)


def run_adapters(folder: Any) -> Any:
    from tiny_models import ANSWERS, PROMPTS, tiny_learner, tiny_llama

    learner = tiny_learner(tiny_llama, epochs=1, batch_size=2)
    model = TokenAdaBoostGenerator(learner, n_estimators=3, reweight=False, random_state=0, checkpoint_dir=folder)
    return model.fit(PROMPTS, ANSWERS)


RUNS: dict[str, Callable[[Any], Any]] = {
    "tokens": run_tokens,
    "classes": run_classes,
    "pipeline": run_pipeline,
    "adapters": run_adapters,
}
TRAINED = {"tokens": BigramLearner, "pipeline": BigramLearner, "classes": DecisionTreeClassifier}


def fingerprint(model: Any) -> str:
    """SHA-256 of all that was learned."""
    digest = hashlib.sha256()
    _add(digest, model)
    return digest.hexdigest()


def _add(digest: Any, model: Any) -> None:
    if isinstance(model, W2SPipeline):
        for part in (model.weak_, model.student_, model.baseline_, model.oracle_):
            _add(digest, part)
        digest.update(repr([model.pseudo_labels_.y.tolist(), model.baseline_labels_.y.tolist()]).encode())
        return
    names = ("estimator_weights_", "estimator_errors_", "prior_errors_", "token_weight_", "classes_")
    for name in names:
        if hasattr(model, name):
            digest.update(np.asarray(getattr(model, name)).tobytes())
    for name in ("stop_reason_", "pretrained_error_", "max_new_tokens_", "n_features_in_"):
        digest.update(repr(getattr(model, name, None)).encode())
    for member in model.estimators_:
        for array in _weights(member):
            digest.update(array.tobytes())


def _weights(member: Any) -> list[np.ndarray]:
    if hasattr(member, "tree_"):
        state = member.tree_.__getstate__()
        fields = [state["nodes"][name] for name in state["nodes"].dtype.names]  # without the padding between them
        return [*fields, state["values"], np.array(member.random_state)]
    if hasattr(member, "log_proba_"):
        return [member.log_proba_]
    return [tensor.numpy() for _, tensor in sorted(member.adapter_.items())]


# Where it is killed


def strike() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def wrap(owner: Any, name: str, before: Callable[..., None] | None = None, after: Callable[..., None] | None = None):
    real = getattr(owner, name)

    def traced(*args: Any, **kwargs: Any) -> Any:
        if before is not None:
            before(*args, **kwargs)
        result = real(*args, **kwargs)
        if after is not None:
            after(*args, **kwargs)
        return result

    setattr(owner, name, traced)
    return real


def on_call(number: int, then: Callable[[], None] = strike) -> Callable[..., None]:
    """Do something at the given call, counted from 1."""
    calls = [0]

    def count(*args: Any, **kwargs: Any) -> None:
        calls[0] += 1
        if calls[0] == number:
            then()

    return count


def set_trap(run: str, point: str, step: str, number: int) -> None:
    """Let this process be killed at a point of the round `number`, or of the step of that name."""
    learner = TRAINED.get(run)
    if point == "drawn":
        owner = ensemw2s.ensemble._row_problem if run == "classes" else ensemw2s.ensemble._token_problem
        wrap(owner, "draw_tokens", after=on_call(number))
    elif point == "in training":
        if run == "tokens":  # between its start and its end: what `fit` calls first
            wrap(learner, "fit", before=on_call(number, lambda: wrap(learner, "initialize", after=on_call(1)) and None))
        elif run == "classes":
            wrap(BaseDecisionTree, "_prune_tree", before=on_call(number))  # the tree has been grown
        else:  # the second step of the round's training
            from ensemw2s._training.trainer import WeightedTrainer

            wrap(WeightedTrainer, "training_step", after=on_call(2 * number))
    elif point == "trained":
        wrap(learner, "fit", after=on_call(number))
    elif point == "error known":
        wrap(ensemw2s.ensemble._boosting_loop, "weighted_error", after=on_call(number))
    elif point == "in writing":

        def half(arrays: Any, path: Any, **_: Any) -> None:
            if f".{step}." in str(path):
                os.truncate(path, os.path.getsize(path) // 2)
                strike()

        wrap(safetensors.numpy, "save_file", after=half)
    elif point == "written":
        wrap(ensemw2s.storage._commit, "write_manifest",
             before=lambda folder, **_: strike() if f".{step}." in str(folder) else None)  # fmt: skip
    elif point == "before rename":
        wrap(os, "rename", before=lambda _, final: strike() if Path(final).name == step else None)
    elif point == "after rename":
        wrap(os, "rename", after=lambda _, final: strike() if Path(final).name == step else None)
    elif point == "power cut":
        _set_power_cut(step)
    elif point == "labelling":
        wrap(TokenAdaBoostGenerator, "predict_proba", after=on_call(number))
    else:
        raise ValueError(point)


def _set_power_cut(step: str) -> None:
    """After the rename, take from the files what had not been synchronised before it, as a power cut may."""
    synchronised: set[int] = set()
    wrap(os, "fsync", after=lambda handle: synchronised.add(os.fstat(handle).st_ino))

    def cut(beside: Any, final: Any) -> None:
        if Path(final).name != step:
            return
        for path in Path(final).rglob("*"):
            if path.is_file() and path.stat().st_ino not in synchronised:
                os.truncate(path, 0)
        strike()

    wrap(os, "rename", after=cut)


def count_fits(run: str, log: str) -> None:
    """Add a letter to a file for each training that starts."""
    handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    learner = TRAINED.get(run)
    if learner is not None:
        wrap(learner, "fit", before=lambda *_, **__: os.write(handle, b"x"))
        return
    from ensemw2s import HFCausalLM

    wrap(HFCausalLM, "fit", before=lambda *_, **__: os.write(handle, b"x"))


def fill_disk(step: str) -> None:
    """Let no file grow beyond a few bytes, once a step is there: the system refuses to write, as on a full disk."""
    limit = (100, RLIM_INFINITY)
    wrap(os, "rename", after=lambda _, final: Path(final).name == step and setrlimit(RLIMIT_FSIZE, limit))


def child(case: dict[str, Any], answer: int) -> None:
    count_fits(case["run"], case["log"])
    if case.get("full_after"):
        fill_disk(case["full_after"])
    if case.get("unprivileged") and os.geteuid() == 0:  # root may write anywhere
        os.setegid(65534)
        os.seteuid(65534)
    if case.get("point"):
        set_trap(case["run"], case["point"], case.get("step", ""), case.get("number", 1))
    try:
        found = {"digest": fingerprint(RUNS[case["run"]](case["folder"])), "error": ""}
    except Exception as error:  # noqa: BLE001 - told to the test
        found = {"digest": "", "error": f"{type(error).__name__}: {error}", "traceback": traceback.format_exc()}
    os.write(answer, json.dumps(found).encode())


def attempt(case: dict[str, Any]) -> dict[str, Any]:
    """Run a case in a child; or in several at once, of which one is reported."""
    for _ in range(case.get("beside", 0)):
        if os.fork() == 0:
            try:
                attempt_one(case)
            finally:
                os._exit(0)
    found = attempt_one(case)
    for _ in range(case.get("beside", 0)):
        os.wait()
    return found


def attempt_one(case: dict[str, Any]) -> dict[str, Any]:
    reading, writing = os.pipe()
    started = time.perf_counter()
    process = os.fork()
    if process == 0:
        try:
            os.close(reading)
            child(case, writing)
        finally:
            os._exit(0)
    os.close(writing)
    if case.get("after") is not None:
        time.sleep(case["after"])
        os.kill(process, signal.SIGKILL)
    with os.fdopen(reading, "rb") as pipe:
        text = pipe.read()
    _, status = os.waitpid(process, 0)
    found = json.loads(text) if text else {"digest": "", "error": ""}
    return {**found, "killed": os.WIFSIGNALED(status), "seconds": time.perf_counter() - started}


if __name__ == "__main__":
    import skops.io  # noqa: F401 (imported here, so that no child has to)

    WORDS("warm")
    versions()  # a child without privileges may not read where the packages are
    import tiny_models  # noqa: F401

    gc.freeze()
    for line in sys.stdin:
        sys.stdout.write(json.dumps(attempt(json.loads(line))) + "\n")
        sys.stdout.flush()
