"""Seeded work that leaves the user's global random states as they were."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from ensemw2s._launch.locks import ThreadLock
from ensemw2s._launch.processes import n_processes

_LOCK = ThreadLock()


@contextmanager
def isolated_rng(seed: int) -> Iterator[None]:
    """Seed Python, NumPy and torch, and restore all three afterwards.

    `transformers.Trainer` and PEFT's initialisers read the global generators; a library must not disturb them. The
    generators belong to the whole process, so that one thread at a time is let in.
    """
    import torch

    with _LOCK:
        python_state, numpy_state = random.getstate(), np.random.get_state()  # noqa: NPY002 (the global state is saved)
        devices = list(range(torch.cuda.device_count()))
        if devices and n_processes() > 1:
            devices = [torch.cuda.current_device()]  # to ask for the state of another costs memory on it
        with torch.random.fork_rng(devices=devices):
            random.seed(seed)
            np.random.seed(seed)  # noqa: NPY002
            torch.manual_seed(seed)
            try:
                yield
            finally:
                random.setstate(python_state)
                np.random.set_state(numpy_state)  # noqa: NPY002
