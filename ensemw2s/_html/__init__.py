"""Pieces of what a notebook shows."""

from __future__ import annotations
