"""Measurements of time and memory, from the repository's root.

``python -m benchmarks`` runs all and prints one table; ``python -m benchmarks.<name>`` runs one. Every script has a
function ``run(repeats=5)`` that returns rows, see `benchmarks._measure`; its other parameters make what is measured
smaller, and the command line has them too.
"""

from __future__ import annotations
