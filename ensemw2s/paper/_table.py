"""A table of numbers that can be read, by people as Markdown and by programs as a frame."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from ensemw2s._markdown import table_lines

if TYPE_CHECKING:
    import pandas

__all__ = ["PaperTable"]

_PARTS = ("_sem", "_low", "_high")
_TITLES = {
    "weak": "weak",
    "weak_member": "weak, first member",
    "strong": "strong",
    "round": "T",
    "alpha": "α (nats)",
    "error": "training error ε",
    "ensemble": "weak ensemble",
    "ensemble_validation": "weak ensemble, round chosen on validation",
    "student": "W2S student",
    "student_validation": "W2S student, round chosen on validation",
    "student_best": "W2S student, best round on test (optimistic)",
    "improvement": "W2S − baseline",
    "pgr": "PGR",
    "pgr_baseline": "PGR of baseline",
    "easy": "trained on easy",
    "hard": "trained on hard",
    "difference": "hard − easy",
    "n_seeds": "seeds",
    "n_test": "test items of all seeds",
}


@dataclass(frozen=True)
class PaperTable:
    """Numbers of a table, with its title and what a reader must know.

    Attributes
    ----------
    title : str
        Number in the paper, and what it shows here.
    frame : pandas.DataFrame
        The numbers, one column each. Beside a column ``x`` there may be ``x_sem``, its standard error over seeds, and
        ``x_low`` and ``x_high``, its interval.
    remarks : tuple of str
        Sentences below the table.

    Examples
    --------
    >>> import pandas as pd
    >>> from ensemw2s.paper import PaperTable
    >>> frame = pd.DataFrame({"accuracy": [0.5], "accuracy_sem": [0.01]}, index=pd.Index(["weak"], name="model"))
    >>> print(PaperTable("Table 1. An example.", frame, remarks=("2 seeds.",)))
    **Table 1. An example.**
    <BLANKLINE>
    | model | accuracy |
    | --- | --- |
    | weak | 0.500 ± 0.010 |
    <BLANKLINE>
    2 seeds.
    """

    title: str
    frame: pandas.DataFrame
    remarks: tuple[str, ...] = field(default=())

    def __str__(self) -> str:
        return self.to_markdown()

    def to_markdown(self) -> str:
        """Title, table and remarks.

        Returns
        -------
        str
        """
        columns = [name for name in self.frame.columns if not self._is_part(name)]
        # A column without a number would only take room; that there is no PGR says something.
        columns = [name for name in columns if name.startswith("pgr") or self.frame[name].notna().any()]
        head = [_TITLES.get(str(name), str(name)) for name in (*self.frame.index.names, *columns)]
        rows = [
            [*(key if isinstance(key, tuple) else (key,)), *(_cell(row, name) for name in columns)]
            for key, row in self.frame.iterrows()
        ]
        lines = table_lines(head, rows)
        return "\n".join([f"**{self.title}**", "", *lines, "", " ".join(self.remarks)]).rstrip()

    def to_csv(self, path: str | os.PathLike[str]) -> None:
        """Write the numbers, unrounded.

        Parameters
        ----------
        path : path
            File to write; an existing one is replaced.
        """
        self.frame.to_csv(path)

    def _is_part(self, name: str) -> bool:
        return any(name.endswith(part) and name.removesuffix(part) in self.frame.columns for part in _PARTS)


def _cell(row: Any, name: str) -> str:
    value = row[name]
    if isinstance(value, str):
        return value
    if np.isnan(value):
        return "–"
    if name.startswith("n_"):
        return str(int(value))
    signed = "+" if name in ("improvement", "difference") else ""
    digits = 2 if name.startswith("pgr") else 3
    text = f"{value:{signed}.{digits}f}"
    if not np.isnan(row.get(f"{name}_sem", np.nan)):
        text += f" ± {row[f'{name}_sem']:.{digits}f}"
    if not np.isnan(row.get(f"{name}_low", np.nan)):
        text += f" [{row[f'{name}_low']:{signed}.{digits}f}, {row[f'{name}_high']:{signed}.{digits}f}]"
    return text.replace("-", "−")
