"""What verifiers cost: features and the fit on them beside a scoring of options, an adapter beside a generator's.

The features of questions with four options are read by `HFVerifier`, at the depth that it looks at by default and at
the full one, and stand beside one packed scoring of the same options by the bare base (`option_nll`). Nothing is known
before a turn. The adapter of a verifier is trained for an epoch, beside that of `HFCausalLM` with ``adapt="all"`` on
the questions' right options; the seconds of the steps are divided by the tokens that either reads, which for a verifier
are a prompt and all its options behind it.

Outputs are scores of options, beside those of transformers' own forward pass over padded rows, one for each option, in
PEFT's model where there is an adapter. They differ by rounding.

    python -m benchmarks.verifier --data-dir path/to/data
"""

from __future__ import annotations

import statistics
from typing import Any

import numpy as np

from benchmarks._measure import Row, compare, interleave, script
from benchmarks._models import DATA, questions, smollm2
from benchmarks.cost_model import StepTimer
from ensemw2s import HFCausalLM, HFVerifier, QADataset, TokenDataset
from ensemw2s._forward.feature_cache import KEPT
from ensemw2s.mixture._scoring import option_nll

TOLERANCE = 1e-4
N_COMPARED = 8  # questions
BATCH = {"verifier": 4, "generator": 16}


def run(
    repeats: int = 5,
    data_dir: str = DATA,
    n_questions: int = 100,
    n_fitted: int = 1000,
    n_trained: int = 64,
    shape: str = "134M",
) -> list[Row]:
    """Rows of features, of the fit on known ones, and of an epoch."""
    model, tokenizer = smollm2(shape)
    prompts, options = questions(n_fitted, data_dir, model)
    data = QADataset(prompts, choices=options, labels=np.arange(len(prompts)) % 4)
    found = {"real_weights": isinstance(model, str), "real_questions": bool(data_dir and isinstance(model, str))}
    rows = [of_features(depth, data[:n_questions], model, tokenizer, repeats, **found) for depth in (None, 1.0)]
    rows.append(of_fit(data, model, tokenizer, repeats, **found))
    return [*rows, of_epoch(data[:n_trained], model, tokenizer, repeats, **found)]


def of_features(depth: float | None, data: QADataset, model: Any, tokenizer: Any, repeats: int, **details: Any) -> Row:
    """Row of features that nobody has read before."""
    generator = HFCausalLM(model, tokenizer=tokenizer, device="cpu", peft_config=None).initialize()
    verifier = HFVerifier(model, tokenizer=tokenizer, layers=depth, device="cpu").fit(data)
    encoded = verifier._encode(data)

    def features() -> None:
        KEPT.clear()
        verifier._features(encoded)

    seconds = interleave(
        {"features": features, "scoring": lambda: option_nll([generator], [1.0], data.prompts, data.choices)}, repeats
    )
    apart = difference_to_plain_rows(verifier, data[:N_COMPARED])
    where = "default depth" if depth is None else "full depth"
    return compare(
        f"verifier's features, 4 options, {len(data)} questions, {where}", "packed option scoring",
        seconds["features"], seconds["scoring"], "≤ 1.3", equal=apart <= TOLERANCE, largest_difference=apart,
        layers=list(verifier.layers_), **details,
    )  # fmt: skip


def of_fit(data: QADataset, model: Any, tokenizer: Any, repeats: int, **details: Any) -> Row:
    """Row of a fit on features that are known."""
    verifier = HFVerifier(model, tokenizer=tokenizer, device="cpu").fit(data)
    seconds = interleave({"fit": lambda: verifier.fit(data)}, repeats)["fit"]
    case = f"verifier's fit, {len(data)} questions, features known"
    return Row(case, "-", min(seconds), statistics.median(seconds), "≤ 2 s", details={"seconds": seconds, **details})


def of_epoch(data: QADataset, model: Any, tokenizer: Any, repeats: int, **details: Any) -> Row:
    """Row of an adapter's epoch, per token that is read."""
    settings = {"tokenizer": tokenizer, "device": "cpu", "epochs": 1, "random_state": 0}
    timers = {name: StepTimer() for name in BATCH}
    verifier = HFVerifier(
        model, features="adapted", batch_size=BATCH["verifier"], callbacks=(timers["verifier"],), **settings
    )
    generator = HFCausalLM(model, batch_size=BATCH["generator"], callbacks=(timers["generator"],), **settings)
    tokens = TokenDataset.for_learner(generator.initialize(), data.prompts, data.answers)
    interleave(
        {
            "verifier": lambda: verifier.fit(data),
            "generator": lambda: generator.fit(tokens, token_weight=np.ones(tokens.n_tokens)),
        },
        repeats,
    )
    n_tokens = {
        "verifier": sum(len(prompt) + sum(map(len, answers)) for prompt, answers in verifier._encode(data)),
        "generator": int(tokens.lengths.sum()),
    }
    # One sum for each call but that which warmed up.
    seconds = {
        name: np.reshape(timer.seconds, (repeats + 1, -1))[1:].sum(axis=1) / n_tokens[name]
        for name, timer in timers.items()
    }
    apart = difference_to_plain_rows(verifier, data[:N_COMPARED])
    return compare(
        f"LoRA verifier's epoch, {len(data)} questions, per token read", "`HFCausalLM`, `adapt=\"all\"`",
        seconds["verifier"].tolist(), seconds["generator"].tolist(), "≤ 1.5", equal=apart <= TOLERANCE,
        largest_difference=apart, n_tokens=n_tokens, **details,
    )  # fmt: skip


def difference_to_plain_rows(verifier: HFVerifier, data: QADataset) -> float:
    """Largest difference between scores, and those of one padded forward pass of transformers over all options."""
    import torch

    pairs = [(prompt, option) for prompt, options in verifier._encode(data) for option in options]
    width = max(len(prompt) + len(option) for prompt, option in pairs)
    ids, mask = np.zeros((2, len(pairs), width), dtype=np.int64)
    for row, pair in enumerate(pairs):
        ids[row, width - sum(map(len, pair)) :] = np.concatenate(pair)
        mask[row, width - sum(map(len, pair)) :] = 1
    positions = np.maximum(mask.cumsum(axis=1) - 1, 0)
    with verifier.lend_model() as model, torch.no_grad():
        states = model(
            input_ids=torch.from_numpy(ids), attention_mask=torch.from_numpy(mask),
            position_ids=torch.from_numpy(positions), output_hidden_states=True,
        ).hidden_states  # fmt: skip
    pooled = {
        "last": lambda rows, length: rows[:, -1],
        "mean": lambda rows, length: rows[:, -length:].mean(dim=1),
    }
    features = [
        torch.cat([
            pooled[pooling](states[layer][row : row + 1], len(option))[0] for layer, pooling in verifier._parts()
        ]).double().numpy()
        for row, (_, option) in enumerate(pairs)
    ]  # fmt: skip
    plain = np.array(features) @ verifier.coef_ + verifier.intercept_
    ours = verifier.decision_function(data)
    return float(np.abs(ours[np.isfinite(ours)] - plain).max())


if __name__ == "__main__":
    script(run)
