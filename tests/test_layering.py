"""The floors of the house: a module imports only from lower floors, and no files in a circle (docs/architecture.md)."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

import pytest

import ensemw2s

PACKAGE = Path(ensemw2s.__file__).parent

# Room -> floor. A room is a module, or a folder with all that no longer entry names. Add a new module here.
FLOORS = {
    "_launch": 0,
    "_markdown": 0,
    "_progress": 0,
    "_validation": 0,
    "_version": 0,
    "exceptions": 0,
    "_html": 1,
    "boosting": 1,
    "kernels": 1,
    "metrics": 1,
    "storage": 1,
    "costs": 2,
    "datasets": 2,
    "tokens": 2,
    "_inputs": 3,
    "contracts": 3,
    "splits": 3,
    "_forward": 4,
    "_loading": 5,
    "_training": 5,
    "_adapters": 6,
    "learners": 7,
    "mixture": 8,
    "ensemble": 9,
    "difficulty": 10,
    "pipeline": 10,
    "experiments": 11,
    "plots": 11,
    "paper": 12,
    "_cli": 13,
    "__main__": 14,
    "": 99,  # ensemw2s/__init__.py only hands names on
}


def room_of(module: str) -> str:
    """Longest entry of FLOORS that holds `module`, a dotted name without the leading ``ensemw2s.``."""
    parts = module.split(".") if module else []
    for length in range(len(parts), 0, -1):
        if (room := ".".join(parts[:length])) in FLOORS:
            return room
    if not parts:
        return ""
    raise KeyError(f"ensemw2s.{module} has no floor; add it to FLOORS in {__file__} and to docs/architecture.md.")


def module_name(path: Path, package: Path) -> str:
    parts = path.relative_to(package).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports_of(path: Path, package: Path) -> Iterator[tuple[int, str]]:
    """Line and target (without the leading ``ensemw2s.``) of every import of the package, inside functions too."""
    here = path.relative_to(package).parent.parts
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.split(".")[0] == "ensemw2s":
                    yield node.lineno, alias.name.partition(".")[2]
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                base = [*here[: len(here) - node.level + 1], *(node.module.split(".") if node.module else [])]
            elif (node.module or "").split(".")[0] == "ensemw2s":
                base = node.module.split(".")[1:]
            else:
                continue
            for alias in node.names:  # `from package import module` names a module as well
                deeper = package.joinpath(*base, alias.name)
                is_module = deeper.with_suffix(".py").exists() or (deeper / "__init__.py").exists()
                yield node.lineno, ".".join([*base, alias.name] if is_module else base)


def faults(path: Path, package: Path) -> list[str]:
    """What is wrong with the imports of one module."""
    module = module_name(path, package)
    room, found = room_of(module), []
    for line, target in imports_of(path, package):
        where = f"{path.relative_to(package.parent)}:{line} imports ensemw2s.{target}"
        other = room_of(target)
        if other != room and FLOORS[other] >= FLOORS[room]:
            found.append(f"{where}: floor {FLOORS[other]} is not below floor {FLOORS[room]}")
        *folder, name = target.split(".")
        if name.startswith("_") and folder and module.split(".")[: len(folder)] != folder:
            found.append(f"{where}: private to ensemw2s.{'.'.join(folder)}")
    return found


def circles(package: Path) -> set[frozenset[str]]:
    """Modules of the package that import each other, at once or by way of others."""
    imported = {
        module_name(path, package): {target for _, target in imports_of(path, package)}
        for path in package.rglob("*.py")
    }

    def reached_from(module: str) -> set[str]:
        found: set[str] = set()
        waiting = [module]
        while waiting:
            new = imported.get(waiting.pop(), set()) - found
            found |= new
            waiting.extend(new)
        return found

    reached = {module: reached_from(module) for module in imported}
    return {
        frozenset(other for other in reached[module] if module in reached.get(other, ()))
        for module in imported
        if module in reached[module]
    }


@pytest.mark.parametrize(
    "path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: module_name(path, PACKAGE) or "__init__"
)
def test_module_imports_only_from_lower_floors(path):
    assert faults(path, PACKAGE) == []


@pytest.mark.slow
def test_no_files_import_each_other_in_a_circle():
    assert circles(PACKAGE) == set()


def test_documented_floors_are_those_of_the_code():
    text = (Path(__file__).parents[1] / "docs" / "architecture.md").read_text(encoding="utf-8")
    documented = {room: int(floor) for floor, room in re.findall(r"^\| (\d+) \| `([\w.]+)/?` \|", text, re.MULTILINE)}
    built = {room_of(module_name(path, PACKAGE)) for path in PACKAGE.rglob("*.py")} - {"", "_version"}
    assert documented == {room: FLOORS[room] for room in built}


def test_the_page_of_a_large_room_names_all_its_files():
    lacking = {}
    for room in (path for path in (Path(__file__).parents[1] / "ensemw2s").iterdir() if path.is_dir()):
        files = {path.stem for path in room.glob("*.py")} - {"__init__"}
        if len(files) < 8:
            continue
        page = (room / "README.md").read_text(encoding="utf-8")
        words = re.findall(r"[\w*]+", " ".join(re.findall(r"`+([^`]+)`+", page)))
        lacking[room.name] = {file for file in files if not any(fnmatch(file, word) for word in words)}
    assert len(lacking) > 8
    assert {room: files for room, files in lacking.items() if files} == {}


@pytest.fixture
def house(tmp_path):
    """A package with one module on each of three floors; write a line into one and ask for its faults."""
    package = tmp_path / "ensemw2s"
    for name in (
        "__init__",
        "metrics",
        "boosting",
        "tokens",
        "learners/__init__",
        "learners/_targets",
        "contracts/_token_learner",
    ):
        path = package / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()

    def ask(module: str, source: str) -> list[str]:
        path = package / f"{module}.py"
        path.write_text(source, encoding="utf-8")
        return faults(path, package)

    return ask


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("boosting", "import ensemw2s.tokens"),
        ("boosting", "from ensemw2s.tokens import TokenDataset"),
        ("boosting", "from ensemw2s import tokens"),
        ("boosting", "from . import tokens"),
        ("boosting", "from .tokens import TokenDataset"),
        ("boosting", "def f():\n    from .tokens import TokenDataset"),
        ("boosting", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from .tokens import TokenDataset"),
        ("boosting", "from ensemw2s import weighted_error"),
        ("boosting", "import ensemw2s"),
        ("boosting", "from .metrics import token_error"),
        ("contracts/_token_learner", "from ..learners import HFCausalLM"),
        ("contracts/_token_learner", "from ..learners._targets import class_targets"),
    ],
)
def test_an_import_from_the_same_or_a_higher_floor_is_seen(house, module, source):
    assert [message for message in house(module, source) if "is not below" in message]


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("tokens", "from .boosting import window_error"),
        ("tokens", "from ensemw2s import boosting"),
        ("tokens", "import numpy, ensemw2s.boosting"),
        ("learners/__init__", "from ..contracts import TokenLearner\nfrom ._checks import class_targets"),
        ("contracts/_token_learner", "from ..tokens import TokenDataset"),
        ("__init__", "from ensemw2s.learners import base"),
    ],
)
def test_an_import_from_a_lower_floor_is_allowed(house, module, source):
    assert house(module, source) == []


def test_an_import_of_another_packages_private_module_is_seen(house):
    assert [
        message
        for message in house("mixture", "from .learners._targets import class_targets")
        if "private to" in message
    ]


def test_a_module_without_a_floor_is_refused(house):
    with pytest.raises(KeyError, match=r"ensemw2s\.gadgets has no floor"):
        house("gadgets", "import math")


def test_a_circle_of_files_in_one_room_is_seen(house, tmp_path):
    house("learners/__init__", "from .base import TokenLearner")
    house("learners/base", "def f():\n    from ._rng import isolated_rng")
    assert circles(tmp_path / "ensemw2s") == set()
    house("learners/_rng", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from . import TokenLearner")
    assert circles(tmp_path / "ensemw2s") == {frozenset({"learners", "learners.base", "learners._rng"})}
