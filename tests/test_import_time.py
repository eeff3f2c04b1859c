"""``import ensemw2s`` stays light, and its public list is complete."""

from __future__ import annotations

import ast
import importlib
import json
import statistics
import subprocess
import sys
from pathlib import Path

import pytest

import ensemw2s

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


@pytest.mark.parametrize("name", ensemw2s.__all__)
def test_public_name_is_there_and_documented(name):
    value = getattr(ensemw2s, name)
    if name != "__version__":
        assert value.__doc__
        assert value.__name__ == name


@pytest.mark.parametrize("name", ensemw2s._PUBLIC)
def test_public_name_has_its_place_in_the_api_reference(name):
    reference = Path(__file__).parents[1] / "docs" / "api.md"
    assert f"   {name}\n" in reference.read_text(encoding="utf-8")


def test_public_names_are_listed_by_dir():
    assert set(ensemw2s.__all__) <= set(dir(ensemw2s))


def test_type_checkers_see_the_public_list():
    tree = ast.parse(Path(ensemw2s.__file__).read_text(encoding="utf-8"))
    (block,) = (node for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING")
    declared = {alias.asname: node.module.partition(".")[2] for node in block.body for alias in node.names}
    assert declared == ensemw2s._PUBLIC


def test_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'ensemw2s' has no attribute 'AdaBoost'"):
        _ = ensemw2s.AdaBoost


def test_star_import_brings_the_public_list():
    module = importlib.import_module("ensemw2s")
    namespace: dict[str, object] = {}
    exec("from ensemw2s import *", namespace)
    assert set(module.__all__) <= set(namespace)
