"""``import ensemw2s`` stays light."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys

import pytest

HEAVY = (
    "torch",
    "transformers",
    "peft",
    "datasets",
    "accelerate",
    "pandas",
    "sklearn",
    "scipy",
    "matplotlib",
    "tqdm",
    "triton",
)

PROBE = """
import json, sys, time
start = time.perf_counter()
import ensemw2s
print(json.dumps({"seconds": time.perf_counter() - start, "modules": sorted(sys.modules)}))
"""


@pytest.fixture(scope="module")
def imports():
    """What three fresh interpreters report of ``import ensemw2s``."""
    runs = (subprocess.run([sys.executable, "-c", PROBE], capture_output=True, text=True, check=True) for _ in range(3))
    return [json.loads(run.stdout) for run in runs]


def test_import_takes_less_than_half_a_second(imports):
    assert statistics.median(run["seconds"] for run in imports) < 0.5


@pytest.mark.parametrize("package", HEAVY)
def test_import_leaves_heavy_packages_alone(imports, package):
    assert package not in imports[0]["modules"]


LIGHT = (
    "W2SReport",
    "performance_gap_recovered",
    "margins",
    "weighted_error",
    "Workload",
    "TokenDataset",
    "get_backend",
)


def test_learners_leave_torch_alone_until_they_are_used():
    code = "import sys\nfrom ensemw2s import HFCausalLM, HFClassifier, clear_model_cache\nprint(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert {"torch", "transformers", "peft"}.isdisjoint(run.stdout.split())


def test_names_that_need_numpy_alone_leave_heavy_packages_alone():
    code = f"import sys\nfrom ensemw2s import {', '.join(LIGHT)}\nprint(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert set(HEAVY).isdisjoint(run.stdout.split())
