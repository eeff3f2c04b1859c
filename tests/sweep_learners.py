"""Weak learners that fail on purpose, and a slow result: importable by worker processes, which load little with it."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from ensemw2s import BigramLearner
from ensemw2s.experiments._store import ResultStore


class FailingBigram(BigramLearner):
    """Raises for one seed."""

    def __init__(self, tokenizer=None, *, smoothing=1.0, random_state=0, fails_at=1):
        super().__init__(tokenizer, smoothing=smoothing)
        self.random_state = random_state
        self.fails_at = fails_at

    def fit(self, tokens, *, token_weight):
        """Count, unless this is the seed."""
        if self.random_state == self.fails_at:
            raise RuntimeError(f"no luck with seed {self.random_state}")
        return super().fit(tokens, token_weight=token_weight)


class DyingBigram(FailingBigram):
    """Kills its process for one seed, as long as a file is there."""

    def __init__(self, tokenizer=None, *, smoothing=1.0, random_state=0, fails_at=1, flag=""):
        super().__init__(tokenizer, smoothing=smoothing, random_state=random_state, fails_at=fails_at)
        self.flag = flag

    def fit(self, tokens, *, token_weight):
        """Count, unless this is the seed and the file is there."""
        if self.random_state == self.fails_at and Path(self.flag).exists():
            os.kill(os.getpid(), signal.SIGKILL)
        return BigramLearner.fit(self, tokens, token_weight=token_weight)


def ask_for_one_result(folder, log, together):
    """Ask a store for a result; a letter in the log says that it was computed here."""

    def compute():
        time.sleep(0.3)
        with open(log, "a") as file:
            file.write("x")
        return 1

    together.wait()
    ResultStore(folder).get("kind", {}, compute)
