"""Build the sdist and the wheel, install the wheel into an empty environment, use it there, and keep both: `make dist`.

The environment gets the packages that the wheel declares as dependencies, and no others: they are linked from the
environment that runs this script, so that nothing is downloaded and what is not declared cannot be imported.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
import zipfile
from importlib.metadata import Distribution, distribution
from pathlib import Path

from packaging.metadata import Metadata
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[1]
CHEAP_TESTS = ["tests/test_layering.py", "tests/test_packaging.py", "tests/test_datasets_qa.py"]


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        sdist, wheel = build(ROOT, scratch / "dist")
        check_sdist(sdist)
        check_wheel(wheel)
        unpacked = unpack(sdist, scratch / "unpacked")
        check_rebuild(wheel, scratch / "again")
        run(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *CHEAP_TESTS, cwd=unpacked)
        python = empty_environment(scratch / "env", wheel)
        run(python, "-I", ROOT / ".ci" / "smoke.py", cwd=scratch)
        check_readme(python, scratch)
        check_types(python, scratch)
        (ROOT / "dist").mkdir(exist_ok=True)
        for file in (sdist, wheel):
            shutil.copy(file, ROOT / "dist")
    print(f"dist/{sdist.name} and dist/{wheel.name} install, work and are typed.")


def run(*command: str | Path, cwd: Path) -> str:
    """The output of a command, which is shown and ends this script where the command fails."""
    done = subprocess.run([*map(str, command)], cwd=cwd, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command))} failed:\n{done.stdout}")
    return done.stdout


def build(source: Path, out: Path) -> tuple[Path, Path]:
    """`python -m build`: the sdist, and the wheel made from it."""
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", out, source, cwd=source)
    (sdist,), (wheel,) = out.glob("*.tar.gz"), out.glob("*.whl")
    return sdist, wheel


def check_sdist(sdist: Path) -> None:
    """It has all files under version control, and no others."""
    with tarfile.open(sdist) as archive:
        held = {member.name.partition("/")[2] for member in archive if member.isfile()} - {"PKG-INFO"}
    tracked = set(run("git", "ls-files", cwd=ROOT).splitlines())
    if held != tracked:
        sys.exit(f"{sdist.name} lacks {sorted(tracked - held)} and should not have {sorted(held - tracked)}.")


def check_wheel(wheel: Path) -> None:
    """It has the package with `py.typed`, the licence, and metadata that the packaging standards allow."""
    modules = {path.relative_to(ROOT).as_posix() for path in (ROOT / "ensemw2s").rglob("*.py")}
    about = "-".join(wheel.name.split("-")[:2]) + ".dist-info/"
    expected = modules | {"ensemw2s/py.typed"}
    expected |= {about + name for name in ("METADATA", "RECORD", "WHEEL", "licenses/LICENSE")}
    with zipfile.ZipFile(wheel) as archive:
        held = set(archive.namelist())
    if held != expected:
        sys.exit(f"{wheel.name} lacks {sorted(expected - held)} and should not have {sorted(held - expected)}.")
    metadata = read_metadata(wheel)
    version = re.search(r'__version__ = "(.+)"', (ROOT / "ensemw2s" / "_version.py").read_text(encoding="utf-8"))
    if str(metadata.version) != version[1] or metadata.license_expression != "MIT" or not metadata.description:
        sys.exit(f"{wheel.name} must have version {version[1]}, the licence, and the README as its description.")


def read_metadata(wheel: Path) -> Metadata:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        return Metadata.from_email(archive.read(name), validate=True)


def unpack(sdist: Path, out: Path) -> Path:
    with tarfile.open(sdist) as archive:
        archive.extractall(out, filter="data")
    (folder,) = out.iterdir()
    return folder


def check_rebuild(wheel: Path, out: Path) -> None:
    """The checkout gives the wheel that the sdist gives, byte for byte."""
    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", out, ROOT, cwd=ROOT)
    (again,) = out.glob("*.whl")
    if again.read_bytes() != wheel.read_bytes():
        sys.exit("The checkout and the sdist give different wheels.")


def empty_environment(folder: Path, wheel: Path) -> Path:
    """The interpreter of a new environment with the wheel and what it declares."""
    run(sys.executable, "-m", "venv", "--without-pip", folder, cwd=folder.parent)
    python = folder / "bin" / "python"
    here = Path(sysconfig.get_path("purelib"))
    there = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=folder.parent).strip())
    for found in closure(read_metadata(wheel).requires_dist or []):
        for part in {file.parts[0] for file in found.files or () if file.parts[0] not in ("..", "__pycache__")}:
            if not (there / part).exists():
                (there / part).symlink_to(here / part)
    # Refuses where a dependency is missing or too old.
    run(sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-index", wheel, cwd=folder.parent)
    return python


def closure(requirements: list[Requirement], extras: frozenset[str] = frozenset({""})) -> list[Distribution]:
    """The distributions that are required, what they require, and so on, with the extras that are asked for."""
    found: dict[str, Distribution] = {}
    seen: set[tuple[str, frozenset[str]]] = set()
    waiting = [(requirement, extras) for requirement in requirements]
    while waiting:
        needed, extras = waiting.pop()
        if needed.marker is not None and not any(needed.marker.evaluate({"extra": extra}) for extra in extras):
            continue
        wanted = frozenset({"", *needed.extras})
        if (needed.name, wanted) not in seen:
            seen.add((needed.name, wanted))
            found[needed.name] = distribution(needed.name)
            waiting += [(Requirement(text), wanted) for text in found[needed.name].requires or ()]
    return list(found.values())


def check_readme(python: Path, scratch: Path) -> None:
    """The README's first lines of code print what stands below them, with nothing but the wheel."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    code, printed = re.search(r"^```python\n(.*?)^```\s+^```text\n(.*?)^```", readme, re.DOTALL | re.MULTILINE).groups()
    (scratch / "readme.py").write_text(code, encoding="utf-8")
    said = run(python, "-I", scratch / "readme.py", cwd=scratch)
    if said != printed:
        sys.exit(f"The README's first example prints\n{said}\nand not\n{printed}")


def check_types(python: Path, scratch: Path) -> None:
    """A user's mypy passes right code under --strict, and finds each line that is marked wrong, and no other."""
    sample = ROOT / ".ci" / "consumer.py"
    lines = sample.read_text(encoding="utf-8").splitlines()
    wrong = [(str(row), code) for row, line in enumerate(lines, 1) for code in re.findall(r"# wrong: ([\w-]+)", line)]
    options = ["--strict", "--no-incremental", "--config-file", ROOT / ".ci" / "consumer.ini"]
    command = [sys.executable, "-m", "mypy", *options, "--python-executable", python, sample]
    done = subprocess.run([*map(str, command)], cwd=scratch, text=True, capture_output=True)
    found = re.findall(r"consumer\.py:(\d+): error: .* \[([\w-]+)\]", done.stdout)
    if not wrong or found != wrong:
        sys.exit(f"mypy on {sample.name} must find {wrong}. It says:\n{done.stdout}{done.stderr}")


if __name__ == "__main__":
    main()
