"""Frames as a sweep gives them, for the tests of the Displays."""

from __future__ import annotations

import numpy as np
import pandas as pd

SMOL, GEMMA, QWEN = "owner/SmolLM2-135M-Instruct", "other/gemma-3-270m", "third/Qwen2.5-1.5B"
PAIRS = ((SMOL, GEMMA), (SMOL, QWEN), (GEMMA, QWEN))
SCORES = {"weak": 0.5, "ensemble": 0.53, "uniform": 0.52, "baseline": 0.55, "student": 0.6, "oracle": 0.8}


def score_frame(seeds=(0, 1, 2), splits=("random",), pairs=PAIRS):
    """One row per run and model; weak models do not depend on the strong one."""
    rows = []
    for weak, strong in pairs:
        for split in splits:
            for seed in seeds:
                for place, (model, level) in enumerate(SCORES.items()):
                    size = len(weak) + (0 if place < 3 else len(strong))
                    accuracy = level + 0.01 * np.sin(size + 7 * seed + 3 * place) - (0.05 if split != "random" else 0)
                    rows.append(
                        {"weak": weak, "strong": strong, "split": split, "variant": "boosting", "seed": seed,
                         "model": model, "accuracy": accuracy, "low": accuracy - 0.06, "high": accuracy + 0.04,
                         "token_error": 0.9 - accuracy, "chance": 0.25, "n_test": 300}
                    )  # fmt: skip
    return pd.DataFrame(rows)


def round_frame(seeds=(0, 1, 2), weak=(SMOL, GEMMA), splits=("random",), variants=("boosting",), n_rounds=4):
    """One row per weak ensemble and round; the last seed stops one round earlier."""
    rows = []
    for name in weak:
        for split in splits:
            for variant in variants:
                for seed in seeds:
                    for t in range(1, n_rounds + 1 - (seed == 2)):
                        noise = 0.01 * np.sin(len(name) + 5 * seed + 2 * t + len(split) + len(variant))
                        rows.append(
                            {"weak": name, "strong": QWEN, "split": split, "variant": variant, "seed": seed, "round": t,
                             "vote": 2 / t + noise, "error": 0.3 + 0.05 * t + noise, "prior": 0.6,
                             "accuracy": 0.5 + 0.02 * t + noise, "token_error": 0.4 - 0.01 * t + noise,
                             "member_accuracy": 0.5 + noise, "student_accuracy": 0.6 + noise}
                        )  # fmt: skip
    return pd.DataFrame(rows)
