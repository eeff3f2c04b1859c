"""What a table of times was measured on."""

from __future__ import annotations

import platform
import shutil
import subprocess
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path
from typing import Any

__all__ = ["describe"]

PACKAGES = ("numpy", "torch", "transformers", "peft")


def describe() -> dict[str, Any]:
    """Date, revision of the sources, versions and processor, for JSON; what ran on a GPU names it in its details."""
    return {
        "date": datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        "revision": _revision(),
        "python": platform.python_version(),
        "packages": {package: version(package) for package in PACKAGES},
        "machine": platform.machine(),
        "processor": _processor(),
        "caches": _caches(),
        "threads": 1,  # see `benchmarks._measure`
    }


def _processor() -> str:
    """Name of the CPU: Linux tells it in a file of its own only."""
    known = Path("/proc/cpuinfo")
    lines = known.read_text(encoding="utf-8").splitlines() if known.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def _caches() -> dict[str, str]:
    """Sizes by level, of one core or shared, as Linux tells them: fast paths depend on what fits."""
    found = {}
    for cache in sorted(Path("/sys/devices/system/cpu/cpu0/cache").glob("index*")):
        level, kind, size = ((cache / name).read_text(encoding="utf-8").strip() for name in ("level", "type", "size"))
        found[f"L{level} {kind.lower()}"] = size
    return found


def _revision() -> str | None:
    """Of git, with "-dirty" where files differ from it; None where the sources are not in git."""
    if shutil.which("git") is None:
        return None
    command = ["git", "describe", "--always", "--dirty"]
    found = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, check=False)
    return found.stdout.strip() or None
