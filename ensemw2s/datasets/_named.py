"""Named pools of questions."""

from __future__ import annotations

import os
from typing import Any

from ensemw2s._validation import check_option
from ensemw2s.datasets._loaders import load_arc, load_quartz, load_sciq
from ensemw2s.datasets._qa import QADataset
from ensemw2s.datasets._synthetic import make_qa

__all__ = ["DATASETS", "load_questions"]

DATASETS = ("sciq", "arc-easy", "arc-challenge", "quartz", "make_qa")


def load_questions(name: Any, data_dir: str | os.PathLike[str] | None = None) -> QADataset:
    """The training split of a published dataset, or 4,000 made questions of 3 to 8 animals."""
    check_option(name, "dataset", DATASETS)
    if name == "sciq":
        return load_sciq("train", data_dir=data_dir)
    if name == "quartz":
        return load_quartz("train", data_dir=data_dir)
    if name == "make_qa":
        return make_qa(4000, difficulty=(3, 8), random_state=0)
    return load_arc("train", subset=name.removeprefix("arc-"), data_dir=data_dir)
