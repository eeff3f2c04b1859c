"""Rows that belong together, by what the user has given for them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ensemw2s._validation import check_same_length


def first_of_group(groups: Any, n_rows: int, rows: str = "X", *, per: str = "question") -> NDArray[np.int64]:
    """The first row with the value that each row has in `groups`; `rows` is the name of what has these rows."""
    from ensemw2s._validation.class_labels import is_missing  # not above: it brings scikit-learn, which metrics spare

    values = np.asarray(groups)
    if values.ndim != 1:
        raise ValueError(f"groups must have one dimension, one value per {per}. Got shape {values.shape} instead.")
    check_same_length(range(n_rows), values, rows, "groups")
    first: dict[Any, int] = {}
    for row, value in enumerate(groups):
        if is_missing(value):
            raise ValueError(f"groups must name a group for each row. Got groups[{row}] = {value!r}; give it a group.")
    return np.array([first.setdefault(value, row) for row, value in enumerate(values.tolist())])
