"""A base from a folder, a hub id or a function, and where it is placed."""

from __future__ import annotations
