"""Question-answer data: the container, loaders, synthetic tasks, and the binary form."""

from __future__ import annotations

from ensemw2s.datasets._arithmetic import make_arithmetic
from ensemw2s.datasets._binary import BinaryQA, from_binary, to_binary
from ensemw2s.datasets._columns import check_options, gold_option
from ensemw2s.datasets._example import QAExample
from ensemw2s.datasets._loaders import load_arc, load_gsm8k, load_quartz, load_sciq
from ensemw2s.datasets._named import load_file, load_questions
from ensemw2s.datasets._qa import QADataset, of_checked_columns
from ensemw2s.datasets._synthetic import make_corpus, make_qa
