"""Question-answer data: the container, loaders, and the binary form."""

from __future__ import annotations

from ensemw2s.datasets._binary import BinaryQA, to_binary
from ensemw2s.datasets._loaders import load_arc, load_quartz, load_sciq
from ensemw2s.datasets._qa import QADataset, QAExample

__all__ = ["BinaryQA", "QADataset", "QAExample", "load_arc", "load_quartz", "load_sciq", "to_binary"]
