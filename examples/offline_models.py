"""Pre-train the models of the offline sweep and save them, in the place of pretrained ones from a hub.

    python examples/offline_models.py --out models
    python -m ensemw2s sweep --config examples/offline_sweep.yaml --out-dir results

Three GPT-NeoX models read the same plain text on the animals of `make_qa`: "tiny" and "small" are the weak ones,
"large" is the student. A minute or two on one CPU core.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from _small_models import pretrain

from ensemw2s import make_corpus, make_qa, word_tokenizer

SHAPES = {
    "tiny": {"layers": 1, "width": 32, "heads": 2, "steps": 800, "lr": 5e-3},
    "small": {"layers": 2, "width": 64, "heads": 4, "steps": 600, "lr": 3e-3},
    "large": {"layers": 3, "width": 128, "heads": 4, "steps": 500, "lr": 2e-3},
}


def main() -> None:
    """Train what is not there yet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("models"), help="folder for one subfolder per model")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    corpus = make_corpus(16_000, difficulty=(3, 8), random_state=1000 + args.seed)
    questions = make_qa(4000, difficulty=(3, 8), random_state=0)
    tokenizer = word_tokenizer([*corpus, *questions.prompts, "="])
    for name, shape in SHAPES.items():
        folder = args.out / name
        if (folder / "config.json").exists():
            print(f"{folder} is there")
            continue
        print(f"pre-training {folder}", flush=True)
        pretrain(folder, corpus, tokenizer, seed=args.seed, **shape)


if __name__ == "__main__":
    main()
