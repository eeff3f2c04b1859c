"""One saved folder of each kind, small enough to be kept beside the tests, and what it answers.

``python tests/saved_kinds.py`` writes `tests/saved_by/<version>`: run it with the last commit that writes a format.
`test_saved_before.py` reads what is there with the version at hand.
"""

from __future__ import annotations

import json
import platform
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression

import ensemw2s
from ensemw2s import (
    BigramLearner,
    DifficultyRatings,
    FineTunedGenerator,
    HFCausalLM,
    HFClassifier,
    LLMAdaBoostClassifier,
    LogConfLoss,
    MixtureForCausalLM,
    PseudoLabeler,
    QADataset,
    SweepResult,
    TokenAdaBoostGenerator,
    TokenDataset,
    W2SPipeline,
    cross_val_difficulty,
    run_sweep,
    word_tokenizer,
)
from ensemw2s.storage import versions

SAVED_BY = Path(__file__).parent / "saved_by"

_SUMS = [f"{a} + {b}" for a in range(4) for b in range(3)]
_TRUE = [f"{(a + b) % 4} {'odd' if (a + b) % 2 else 'even'}" for a in range(4) for b in range(3)]
WORDS = word_tokenizer([*_SUMS, *_TRUE, "= good bad film book"])
QUESTIONS = QADataset(_SUMS, _TRUE, [[answer, "3 even", "0"] for answer in _TRUE])
TEXTS = [f"{word} {noun}" for noun in ("film", "book") for word in ("good", "bad")] * 2
OPINIONS = ["like", "dislike"] * 4
POINTS = np.array([[a, (a * 5) % 7] for a in range(12)], dtype=np.float64)
SIDES = np.where(POINTS[:, 1] > 3, "up", "down")
POOL = QADataset(*([*column] * 4 for column in (QUESTIONS.prompts, QUESTIONS.answers, QUESTIONS.choices)))

# --- learners and ensembles -------------------------------------------------------------------------------------------


def tiny_base(folder: str) -> str:
    """A decoder with random weights in a folder."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    shape = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = LlamaConfig(vocab_size=len(WORDS), max_position_embeddings=16, initializer_range=0.3, **shape)
    LlamaForCausalLM(config).save_pretrained(folder)
    WORDS.save_pretrained(folder)
    return folder


def bigrams(**parameters: Any) -> TokenAdaBoostGenerator:
    settings = {"n_estimators": 3, "prior": "uniform", "sampling": "count", "random_state": 0, **parameters}
    return TokenAdaBoostGenerator(BigramLearner(WORDS, prompt_template="{prompt} ="), **settings)


def decoder(base: str, **parameters: Any) -> HFCausalLM:
    return HFCausalLM(base, epochs=2, lr=1e-2, batch_size=4, random_state=0, prompt_template="{prompt} =", **parameters)


def adapters(base: str) -> TokenAdaBoostGenerator:
    from peft import LoraConfig

    learner = decoder(base, peft_config=LoraConfig(r=1, target_modules=["q_proj", "v_proj"], lora_dropout=0.1))
    return TokenAdaBoostGenerator(learner, n_estimators=2, reweight=False, random_state=0)


def fit_learner(learner: HFCausalLM) -> HFCausalLM:
    tokens = TokenDataset.for_learner(learner.initialize(), QUESTIONS.prompts, QUESTIONS.answers)
    return learner.fit(tokens, token_weight=np.linspace(0.0, 1.0, tokens.n_tokens))


def own_mixture(base: str) -> MixtureForCausalLM:
    """Of an adapter and a model of which all weights were trained, as no booster makes it."""
    members = [fit_learner(decoder(base)), fit_learner(decoder(base, peft_config=None))]
    mixture = MixtureForCausalLM.from_members(members, [0.7, 0.1], combine="logits")
    mixture.generation_config.update(max_new_tokens=3, num_beams=2)
    return mixture


def linear_booster(_: str) -> LLMAdaBoostClassifier:
    learner = LogisticRegression(C=0.02)
    return LLMAdaBoostClassifier(learner, n_estimators=2, voting="soft", random_state=0)


def adapted_classifier(base: str) -> HFClassifier:
    settings = {"epochs": 2, "lr": 3e-3, "batch_size": 4, "random_state": 0, "loss": LogConfLoss(alpha=0.3)}
    return HFClassifier(base, **settings)


def pipeline(checkpoint_dir: Any = None) -> W2SPipeline:
    weak = bigrams(n_estimators=2)
    student = FineTunedGenerator(BigramLearner(WORDS, smoothing=0.5), normalize="token")
    labeler = PseudoLabeler(labels="soft", batch_size=8)
    return W2SPipeline(weak, student, labeler=labeler, checkpoint_dir=checkpoint_dir)


# --- what they answer -------------------------------------------------------------------------------------------------


def answer_tokens(model: Any) -> dict[str, Any]:
    return {
        "votes": model.estimator_weights_,
        "proba": np.array(model.predict_proba(QUESTIONS)),
        "nll": model.answer_nll(QUESTIONS),
        "staged error": np.array(list(model.staged_token_error(QUESTIONS))),
        "chosen": model.predict(QUESTIONS),
        "written": model.generate(QUESTIONS, max_new_tokens=4),
    }


@torch.no_grad()
def answer_mixture(model: Any) -> dict[str, Any]:
    ids = torch.tensor([[5, 3, 6, 4], [7, 3, 5, 4]])
    return {"logits": model(ids).logits.double().numpy(), "written": model.generate(ids).tolist()}


def answer_learner(model: Any) -> dict[str, Any]:
    batch = TokenDataset.for_learner(model, QUESTIONS.prompts, QUESTIONS.answers).batch(np.arange(4))
    return {"logits": np.asarray(model.token_logits(batch.input_ids, batch.attention_mask), dtype=np.float64)}


def answer_texts(model: Any) -> dict[str, Any]:
    return {"proba": model.predict_proba(TEXTS), "labels": model.predict(TEXTS)}


def answer_points(model: Any) -> dict[str, Any]:
    return {
        "votes": model.estimator_weights_,
        "proba": np.array([*model.staged_predict_proba(POINTS)]),
        "labels": model.predict(POINTS),
    }


def answer_pipeline(model: Any) -> dict[str, Any]:
    parts = {f"{name} {key}": value for name in ("weak", "student", "baseline", "oracle")
             for key, value in answer_tokens(getattr(model, f"{name}_")).items()}  # fmt: skip
    report = model.evaluate(QUESTIONS)
    return {**parts, "correct": report.correct, "pgr": report.pgr, "skipped": model.skipped_rows_}


def answer_labelled(model: Any) -> dict[str, Any]:
    labels = model.pseudo_labels_
    fields = {name: getattr(labels, name) for name in ("y", "confidence", "kept", "proba")}
    return {**answer_pipeline(model), **{f"labels {name}": value for name, value in fields.items()}}


def answer_ratings(model: Any) -> dict[str, Any]:
    return {"ratings": model.for_questions(QUESTIONS), "folds": model.folds, "metric": model.metric}


def answer_sweep(model: Any) -> dict[str, Any]:
    return {"table": model.to_markdown(), "summary": model.summary().to_dict("list"), "pgr": model.reports[0].pgr}


# --- the kinds --------------------------------------------------------------------------------------------------------


def save(model: Any, folder: Path) -> None:
    model.save_pretrained(folder, include_base=True)


@dataclass(frozen=True)
class Model:
    """What is saved when it has been fitted."""

    make: Callable[[str], Any]  # gets the folder of a base model
    fit: Callable[[Any], Any] | None
    read: Callable[[Path], Any]
    answer: Callable[[Any], dict[str, Any]]
    save: Callable[[Any, Path], None] = save


@dataclass(frozen=True)
class Run:
    """What keeps its steps in a folder while it runs, and finds them there when it runs again."""

    run: Callable[[Path], Any]
    answer: Callable[[Any], dict[str, Any]]


def on_questions(model: Any) -> Any:
    return model.fit(QUESTIONS)


def on_texts(model: Any) -> Any:
    return model.fit(TEXTS, OPINIONS)


def on_points(model: Any) -> Any:
    return model.fit(POINTS, SIDES)


def on_both_halves(model: Any) -> Any:
    return model.fit(QUESTIONS[:6], None, QUESTIONS[6:].drop_answers(), QUESTIONS[6:].answers)


def rate(_: str) -> DifficultyRatings:
    return cross_val_difficulty(BigramLearner(WORDS), QUESTIONS, random_state=0)


def sweep(folder: Path) -> SweepResult:
    models = ("weak", BigramLearner()), ("strong", BigramLearner(smoothing=0.05))
    settings = {"n_estimators": 2, "booster_params": {"prior": "uniform", "sampling": "count"}}
    return run_sweep([models], dataset=POOL, splits=["random"], seeds=1, out_dir=folder, **settings)


MODELS: dict[str, Model] = {
    "token-booster": Model(lambda _: bigrams(), on_questions, TokenAdaBoostGenerator.from_pretrained, answer_tokens),
    "token-booster-adapters": Model(adapters, on_questions, TokenAdaBoostGenerator.from_pretrained, answer_tokens),
    "mixture": Model(own_mixture, None, MixtureForCausalLM.from_pretrained, answer_mixture),
    "learner": Model(decoder, fit_learner, HFCausalLM.from_pretrained, answer_learner),
    "classifier": Model(adapted_classifier, on_texts, HFClassifier.from_pretrained, answer_texts),
    "class-booster": Model(linear_booster, on_points, LLMAdaBoostClassifier.from_pretrained, answer_points),
    "pipeline": Model(lambda _: pipeline(), on_both_halves, W2SPipeline.from_pretrained, answer_pipeline),
    "ratings.json": Model(rate, None, DifficultyRatings.load, answer_ratings, DifficultyRatings.save),
    "sweep": Model(lambda _: sweep, None, SweepResult.load, answer_sweep, lambda run, folder: run(folder)),
}
RUNS: dict[str, Run] = {
    "pipeline-checkpoint": Run(lambda folder: on_both_halves(pipeline(folder)), answer_labelled),
    "sweep": Run(sweep, answer_sweep),
}


def plain(value: Any) -> Any:
    """As JSON, with all bits of the numbers."""
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, dict):
        return {str(key): plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [plain(entry) for entry in value]
    return value.item() if isinstance(value, np.generic) else value


def spread(record: dict[str, Any], depth: int = 3) -> str:
    """JSON with one line for each answer."""
    if depth == 0 or not isinstance(record, dict):
        return json.dumps(record)
    lines = [f"{json.dumps(key)}: {spread(value, depth - 1)}" for key, value in record.items()]
    return "{\n" + ",\n".join(lines) + "\n}"


def computer() -> dict[str, str]:
    """What decides the last bits of a sum."""
    cpu = platform.processor()
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        cpu = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), cpu)
    return {"cpu": cpu, "torch": torch.__version__, "numpy": np.__version__}


def main() -> None:
    out = SAVED_BY / ensemw2s.__version__
    out.mkdir(parents=True)
    answers: dict[str, Any] = {}
    for name, model in MODELS.items():
        with TemporaryDirectory() as folder:
            made = model.make(tiny_base(folder))
            model.save(model.fit(made) if model.fit else made, out / name)
        answers[name] = plain(model.answer(model.read(out / name)))
    for name, run in RUNS.items():
        answers[name] = plain(run.answer(run.run(out / name)))
    for lock in out.rglob("*.lock"):
        lock.unlink()
    record = {"computer": computer(), "versions": versions(), "answers": answers}
    (out / "answers.json").write_text(spread(record) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
