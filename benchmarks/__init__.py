"""Measurements of time and memory; run one with ``python -m benchmarks.<name>`` from the repository's root."""

from __future__ import annotations
