"""Displays without matplotlib, and what they leave alone."""

from __future__ import annotations

import subprocess
import sys

WITHOUT = """
import sys
from ensemw2s import ErrorCorrelationDisplay, MarginDisplay
from ensemw2s import DifficultyDisplay, PGRDisplay, RoundsDisplay, TokenWeightDisplay, W2SBarDisplay
assert "matplotlib" not in sys.modules
sys.modules["matplotlib"] = None  # as if it were not installed
displays = [
    DifficultyDisplay([0.5]), PGRDisplay({"weak": [0.5]}, {"student": [0.5]}), RoundsDisplay({"vote": [[1.0]]}),
    TokenWeightDisplay(["?"], [["a"]], [[1.0]]), W2SBarDisplay({"weak": [0.5]}),
    ErrorCorrelationDisplay([[1.0]]), MarginDisplay([0.5]),
]
assert "highest" not in displays[3].to_html()
for display in displays:
    try:
        display.plot()
    except ImportError as error:
        print(error)
for build in (DifficultyDisplay.from_ratings, W2SBarDisplay.from_frame, PGRDisplay.from_frame, RoundsDisplay.from_frame,
              W2SBarDisplay.from_report, PGRDisplay.from_report, RoundsDisplay.from_estimator):
    try:
        build(None)
    except ImportError as error:
        print(error)
"""

DISPLAYS = (
    "DifficultyDisplay", "PGRDisplay", "RoundsDisplay", "TokenWeightDisplay", "W2SBarDisplay",
    "ErrorCorrelationDisplay", "MarginDisplay",
)  # fmt: skip


def test_without_matplotlib_every_drawing_method_names_the_extra():
    run = subprocess.run([sys.executable, "-c", WITHOUT], capture_output=True, text=True, check=True)
    remedy = "needs matplotlib. Install it with `pip install ensemw2s[plots]`."
    assert run.stdout.splitlines() == [
        *(f"{name}.plot {remedy}" for name in DISPLAYS),
        *(f"{name} {remedy}" for name in (
            "DifficultyDisplay.from_ratings", "W2SBarDisplay.from_frame", "PGRDisplay.from_frame",
            "RoundsDisplay.from_frame", "W2SBarDisplay.from_report", "PGRDisplay.from_report",
            "RoundsDisplay.from_estimator",
        )),
    ]  # fmt: skip
