"""Pools of questions by name, and in a file."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

from ensemw2s._validation import check_option
from ensemw2s.datasets._arithmetic import make_arithmetic
from ensemw2s.datasets._loaders import load_arc, load_gsm8k, load_quartz, load_sciq
from ensemw2s.datasets._qa import QADataset
from ensemw2s.datasets._synthetic import make_qa

# By the name that a sweep and the command line know; each is given the folder of local copies.
DATASETS: dict[str, Callable[[Any], QADataset]] = {
    "sciq": lambda data_dir: load_sciq("train", data_dir=data_dir),
    "arc-easy": lambda data_dir: load_arc("train", subset="easy", data_dir=data_dir),
    "arc-challenge": lambda data_dir: load_arc("train", subset="challenge", data_dir=data_dir),
    "quartz": lambda data_dir: load_quartz("train", data_dir=data_dir),
    "gsm8k": lambda data_dir: load_gsm8k("train", data_dir=data_dir),
    "make_qa": lambda data_dir: make_qa(4000, difficulty=(3, 8), random_state=0),
    "make_arithmetic": lambda data_dir: make_arithmetic(4000, difficulty=(1, 4), random_state=0),
}


def load_file(
    path: str | os.PathLike[str],
    *,
    prompt: str | None = None,
    answer: str | None = None,
    choices: Sequence[str] | None = None,
    label: str | None = None,
) -> QADataset:
    """The questions of a CSV or JSON file; `choices` names one column of lists, or one for each option."""
    kinds = {
        (".csv", ".tsv"): QADataset.from_csv,
        (".json", ".jsonl"): QADataset.from_json,
    }
    plain = os.fspath(path).removesuffix(".gz")
    read = next((read for endings, read in kinds.items() if plain.endswith(endings)), None)
    if read is None:
        raise ValueError(
            f"data must be a file that ends in .csv, .tsv, .json or .jsonl, or these with .gz. Got {path}."
        )
    options = choices[0] if choices is not None and len(choices) == 1 else choices
    return read(path, prompt=prompt, answer=answer, choices=options, label=label)


def load_questions(name: Any, data_dir: str | os.PathLike[str] | None = None) -> QADataset:
    """The training split of a published dataset, or 4,000 made questions, of 3 to 8 animals or 1 to 4 steps."""
    return DATASETS[check_option(name, "dataset", DATASETS)](data_dir)
