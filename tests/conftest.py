"""Settings of the whole test session; they must be in place before torch and the Hugging Face libraries load."""

from __future__ import annotations

import gc
import os
import signal

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # spinning threads of two test processes starve each other
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # the workers share the cores
os.environ["HF_HUB_OFFLINE"] = "1"  # no test reaches for the network
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("MPLBACKEND", "Agg")

import pytest
from hypothesis import settings

# A job that a script starts in the background ignores Ctrl-C, and Python with it; some tests press it.
signal.signal(signal.SIGINT, signal.default_int_handler)

settings.register_profile("ensemw2s", deadline=None, derandomize=True, max_examples=100)
settings.load_profile("ensemw2s")


def pytest_collection_finish() -> None:
    """Leave what has been imported out of all garbage collections: Trainer asks for one at the end of each training.

    With the modules of the whole suite in memory that took half of the time of every test that trains a model.
    """
    gc.collect()
    gc.freeze()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what needs a CUDA device where there is none."""
    on_gpu = [item for item in items if item.get_closest_marker("gpu")]
    if not on_gpu:
        return
    import torch

    if not torch.cuda.is_available():
        for item in on_gpu:
            item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))
