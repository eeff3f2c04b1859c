"""Sampled answers: exact draws without the mixture where nothing acts on it, quick draws from the mixture elsewhere."""

from __future__ import annotations

from ensemw2s._sampling._decode import sample

__all__ = ["sample"]
