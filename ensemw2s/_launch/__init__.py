"""Processes, sharding, and what they share: the generators of random numbers, locks, and modes of torch."""

from __future__ import annotations
