"""One base, many adapters: hosting, stacking, and comparing a base with what it was."""

from __future__ import annotations
