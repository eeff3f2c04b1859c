"""What the user passed, as checked questions and rows."""

from __future__ import annotations
