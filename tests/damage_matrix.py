"""Every kind of folder and file that is written, each of its files damaged in every way: what reading it comes to.

``python tests/damage_matrix.py`` takes some minutes and prints the counts of docs/reliability.md; names as arguments
choose kinds. Expected are an error that names the file, or what was there before: no other value, wait or error.
"""

from __future__ import annotations

import logging
import os
import shutil
import signal
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
from damaged_files import KINDS_OF_DAMAGE, spoil
from kill_server import WORDS, booster, fingerprint, questions
from saved_ensembles import KINDS, base_folder, classifier, from_folder, open_ensemble, saved, sayings, voting
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.tree import DecisionTreeClassifier
from tiny_classifiers import OPINIONS, SENTENCES
from tiny_models import ANSWERS, PROMPTS, TEMPLATE, fit

from ensemw2s import (
    BigramLearner,
    CheckpointError,
    DifficultyRatings,
    LLMAdaBoostClassifier,
    MixtureForCausalLM,
    PseudoLabeler,
    SweepError,
    TokenAdaBoostGenerator,
    W2SPipeline,
    cross_val_difficulty,
    make_qa,
    run_sweep,
)

PATIENCE = 60  # seconds
NAMED = (CheckpointError, OSError, SweepError, ValueError)


@dataclass(frozen=True)
class Kind:
    """Something that is written, and what can be told of it when it is read."""

    write: Callable[[Path], Any]
    read: Callable[[Path], Any]


def _ensemble(kind: str) -> Kind:
    return Kind(lambda path: shutil.copytree(saved(kind), path), lambda path: sayings(open_ensemble(kind, path)))


def _ids() -> tuple[np.ndarray, np.ndarray]:
    ids = np.arange(12).reshape(2, 6)
    return ids, np.ones_like(ids)


def _logits(learner: Any) -> bytes:
    return np.asarray(learner.token_logits(*_ids())).tobytes()


def _pipeline(checkpoint_dir: Any = None) -> W2SPipeline:
    return W2SPipeline(
        booster(None, n_estimators=2), BigramLearner(WORDS, smoothing=0.5), labeler=PseudoLabeler(batch_size=8),
        checkpoint_dir=checkpoint_dir,
    )  # fmt: skip


def _taught(path: Any = None) -> W2SPipeline:
    hard = questions(3)
    return _pipeline(path).fit(questions(0), None, hard.drop_answers(), hard.answers)


def _models(pipeline: W2SPipeline) -> list[bytes]:
    parts = (*pipeline.weak_.estimators_, *pipeline.student_.estimators_, *pipeline.oracle_.estimators_)
    return [part.log_proba_.tobytes() for part in parts]


def _stumps(path: Path) -> LLMAdaBoostClassifier:
    X = np.random.default_rng(0).normal(size=(40, 3))
    learner = DecisionTreeClassifier(max_depth=1)
    model = LLMAdaBoostClassifier(learner, n_estimators=2, random_state=0, checkpoint_dir=path)
    return model.fit(X, (X[:, 0] > 0).astype(int) + (X[:, 1] > 1))


def _adapters(path: Path) -> TokenAdaBoostGenerator:
    model = TokenAdaBoostGenerator(
        from_folder(), n_estimators=2, reweight=False, sampling="weight", random_state=0, checkpoint_dir=path
    )
    return model.fit(PROMPTS, ANSWERS)


def _sweep(path: Path) -> Any:
    models = ("weak", BigramLearner()), ("strong", BigramLearner(smoothing=0.1))
    result = run_sweep(
        [models], dataset=make_qa(60, random_state=0), splits=["easy-hard"], seeds=1, n_estimators=1, out_dir=path,
        booster_params={"prior": "uniform"},
    )  # fmt: skip
    return result.frame.to_json(), result.rounds.to_json()


def _sweep_without_units(path: Path) -> None:
    _sweep(path)
    shutil.rmtree(path / "unit")  # so that what they were made of is read again


def _ratings(path: Path) -> None:
    path.mkdir()
    qa = make_qa(40, difficulty=(3, 6), random_state=0)
    cross_val_difficulty(BigramLearner(), qa, random_state=0).save(path / "ratings.json")


def _read_ratings(path: Path) -> Any:
    rated = DifficultyRatings.load(path / "ratings.json")
    return rated.ratings.tolist(), rated.folds.tolist(), rated.n_scores.tolist(), rated.metric, rated.fingerprints


def _learner(learner: Callable[[], Any], say: Callable[[Any], Any]) -> Kind:
    made: list[Any] = []

    def write(path: Path) -> None:
        made[:] = made or [learner()]
        made[0].save_pretrained(path)

    return Kind(write, lambda path: say(type(made[0]).from_pretrained(path)))


def _mixture() -> Any:
    members = [fit(from_folder(peft_config=None).set_params(random_state=seed)) for seed in (0, 1)]
    return MixtureForCausalLM.from_members(members, [1.0, 2.0])


KINDS_OF_FILES: dict[str, Kind] = {
    **{f"ensemble {kind}": _ensemble(kind) for kind in KINDS},
    "ensemble scikit-learn": _learner(
        lambda: voting(make_pipeline(TfidfVectorizer(), LogisticRegression())),
        lambda model: model.predict_proba(SENTENCES).tobytes(),
    ),
    "learner HFCausalLM": _learner(lambda: fit(from_folder()), _logits),
    "learner HFCausalLM whole": _learner(lambda: fit(from_folder(peft_config=None)), _logits),
    "learner HFClassifier": _learner(
        lambda: classifier("bert").fit(SENTENCES, OPINIONS), lambda model: model.predict_proba(SENTENCES).tobytes()
    ),
    "learner BigramLearner": _learner(lambda: fit(BigramLearner(prompt_template=TEMPLATE)), _logits),
    "mixture": _learner(_mixture, lambda model: model(_tensor()).logits.detach().numpy().tobytes()),
    "pipeline": _learner(_taught, _models),
    "checkpoint of tokens": Kind(
        lambda path: booster(path).fit(questions(0)), lambda path: fingerprint(booster(path).fit(questions(0)))
    ),
    "checkpoint of adapters": Kind(_adapters, lambda path: [
        {name: tensor.numpy().tobytes() for name, tensor in member.adapter_.items()}
        for member in _adapters(path).estimators_
    ]),
    "checkpoint of classes": Kind(_stumps, lambda path: fingerprint(_stumps(path))),
    "checkpoint of a pipeline": Kind(_taught, lambda path: _models(_taught(path))),
    "sweep": Kind(_sweep, _sweep),
    "sweep without its units": Kind(_sweep_without_units, _sweep),
    "ratings": Kind(_ratings, _read_ratings),
}  # fmt: skip


def _tensor() -> Any:
    import torch

    return torch.arange(12).reshape(2, 6)


def outcomes(name: str, place: Path, damages: tuple[str, ...] = KINDS_OF_DAMAGE) -> Iterator[tuple[str, str, str]]:
    """File, damage and outcome: "named", "as before", or what must not be: "silent", "hang", "bare …"."""
    kind, original = KINDS_OF_FILES[name], place / "original"
    kind.write(original)
    expected = kind.read(Path(shutil.copytree(original, place / "copy")))
    files = sorted(path.relative_to(original) for path in original.rglob("*") if path.is_file())
    for file in files:
        same_suffix = [original / other for other in files if other.suffix == file.suffix and other != file]
        other = max(same_suffix, key=lambda path: path.name == file.name, default=None)
        for damage in damages:
            copy = place / "copy"
            shutil.rmtree(copy, ignore_errors=True)
            shutil.copytree(original, copy)
            if not spoil(copy / file, damage, other):
                continue
            yield str(file), damage, _outcome(kind, copy, file, expected)


def _outcome(kind: Kind, copy: Path, file: Path, expected: Any) -> str:
    signal.signal(signal.SIGALRM, _too_long)
    signal.alarm(PATIENCE)
    try:
        with redirect_stderr(StringIO()):
            found = kind.read(copy)
    except TimeoutError:
        return "hang"
    except NAMED as error:
        # Where a manifest is another's, the first file that does not fit it is named, in the same folder.
        named = any(part in str(error) for part in (file.name, str(copy), str(file.parent)))
        return "named" if named else f"bare {type(error).__name__}: {error}"
    except Exception as error:  # noqa: BLE001
        return f"bare {type(error).__name__}: {error}"
    finally:
        signal.alarm(0)
    return "as before" if found == expected else "silent"


def _too_long(*_: Any) -> None:
    raise TimeoutError


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def main() -> int:
    """Print the counts."""
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    base_folder("lm")
    total: Counter[str] = Counter()
    for name in sys.argv[1:] or KINDS_OF_FILES:
        started, counts = time.perf_counter(), Counter()
        with tempfile.TemporaryDirectory() as place:
            for file, damage, outcome in outcomes(name, Path(place)):
                counts[outcome.split(" ")[0] if outcome.startswith("bare") else outcome] += 1
                if outcome not in ("named", "as before"):
                    _say(f"  {name}: {file}, {damage}: {outcome[:300]}")
        total += counts
        seconds = time.perf_counter() - started
        _say(f"{name}: {dict(counts)}, {seconds:.0f} s")
    _say(f"all: {sum(total.values())} cases, {dict(total)}")
    return int(bool(set(total) - {"named", "as before"}))


if __name__ == "__main__":
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    sys.exit(main())
