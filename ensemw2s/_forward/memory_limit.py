"""Sizes in environment variables, which limit what is kept in memory and on disk."""

from __future__ import annotations

import os
import re

_UNITS = {"B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}


def memory_limit(name: str, default: str) -> int:
    """Bytes that an environment variable allows.

    Parameters
    ----------
    name : str
        Of the variable.
    default : str
        What it holds where it is not set.

    Raises
    ------
    ValueError
        If it is no size.
    """
    text = os.environ.get(name, "").strip() or default
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?B)?", text.strip(), flags=re.IGNORECASE)
    if not found:
        raise ValueError(f"The environment variable {name} must be a size, such as 500MB or 2GB. Got {text!r}.")
    return int(float(found[1]) * _UNITS[(found[2] or "B").upper()])
