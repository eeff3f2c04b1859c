"""What is said in more than one place: versions, bounds and pins, extras, citation. `make dist` tries the package."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

import ensemw2s

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # which pytest brings

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
CITATION = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
EXTRAS = {
    name: [Requirement(text) for text in texts if not text.startswith("ensemw2s[")]
    for name, texts in PROJECT["optional-dependencies"].items()
}
REQUIRED = [Requirement(text) for text in PROJECT["dependencies"]]
FOR_USERS = [
    *REQUIRED,
    *(each for name in ("gguf", "plots", "ray", "dask", "rouge", "skops", "triton") for each in EXTRAS[name]),
]


def pins(name: str) -> dict[str, Version]:
    lines = [line for line in (ROOT / name).read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    requirements = [Requirement(line) for line in lines]
    return {canonicalize_name(each.name): Version(str(each.specifier).removeprefix("==")) for each in requirements}


def lower_bound(requirement: Requirement) -> Version:
    (bound,) = requirement.specifier
    assert bound.operator == ">="
    return Version(bound.version)


def test_oldest_versions_are_the_lower_bounds():
    bounds = {canonicalize_name(each.name): lower_bound(each) for each in FOR_USERS}
    assert pins("constraints-oldest.txt") == {**bounds, "pyarrow": Version("18.1")}


NEWEST = [*REQUIRED, *(each for name, group in EXTRAS.items() if name != "benchmarks" for each in group)]


@pytest.mark.parametrize("requirement", NEWEST, ids=str)
def test_newest_versions_are_allowed(requirement):
    assert pins("constraints.txt")[canonicalize_name(requirement.name)] in requirement.specifier


def test_newest_versions_are_sorted():
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    names = [line.partition("==")[0].lower() for line in lines if not line.startswith("#")]
    assert names == sorted(set(names))


def test_python_versions_are_those_of_the_classifiers():
    listed = re.findall(r"Python :: (3\.\d+)", "\n".join(PROJECT["classifiers"]))
    assert listed == ["3.10", "3.11", "3.12", "3.13"]
    assert all(version in SpecifierSet(PROJECT["requires-python"]) for version in listed)
    assert "3.9" not in SpecifierSet(PROJECT["requires-python"])


@pytest.mark.parametrize("extra", EXTRAS)
def test_extra_is_explained_in_the_readme(extra):
    install = (ROOT / "README.md").read_text(encoding="utf-8").partition("## Install")[2].partition("\n## ")[0]
    assert f"`{extra}`" in install


def test_version_stands_in_one_place():
    assert PROJECT["dynamic"] == ["version"]
    assert "version" not in PROJECT
    assert re.fullmatch(r"\d+\.\d+\.\d+(\.dev\d+|rc\d+)?", ensemw2s.__version__)
    written = [
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "ensemw2s").rglob("*.py")
        if f'"{ensemw2s.__version__}"' in path.read_text(encoding="utf-8")
    ]
    assert written == ["ensemw2s/_version.py"]


def test_citation_is_of_this_version_and_of_the_day_in_the_changelog():
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    released = re.search(rf"^## \[{re.escape(ensemw2s.__version__)}\] - (\d{{4}}-\d\d-\d\d)$", changelog, re.MULTILINE)
    assert CITATION["version"] == ensemw2s.__version__
    assert str(CITATION.get("date-released")) == (released[1] if released else "None")
    assert released or "\n## [Unreleased]\n" in changelog


def test_citation_has_the_fields_of_the_format():
    # Required by the schema of Citation File Format 1.2.0.
    assert {"cff-version", "message", "title", "authors"} <= set(CITATION)
    assert CITATION["cff-version"] == "1.2.0"
    assert CITATION["license"] == PROJECT["license"]
    article = CITATION["preferred-citation"]
    assert {"type", "title", "authors"} <= set(article)
    assert all({"family-names", "given-names"} <= set(author) for author in article["authors"])
