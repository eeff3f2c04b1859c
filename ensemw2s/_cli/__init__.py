"""The command line: sweeps, and the paper's tables and figures."""

from __future__ import annotations

from ensemw2s._cli._main import main
