"""Weighted training on transformers' Trainer."""

from __future__ import annotations
