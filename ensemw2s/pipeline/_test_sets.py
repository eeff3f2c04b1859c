"""The reports of several named test sets, as one table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ensemw2s._html.pieces import lines, panel, table
from ensemw2s._markdown import table_lines
from ensemw2s.pipeline._report import W2SReport

if TYPE_CHECKING:
    import pandas


class W2SReports(dict[str, W2SReport]):
    """Reports of the same models on several test sets, by the name of the set.

    A dict, as the displays take it (``W2SBarDisplay.from_report``), that shows one table: the models below each other,
    the test sets side by side.

    Examples
    --------
    >>> from ensemw2s import W2SReport, W2SReports
    >>> near = W2SReport({"weak": [1, 1, 0, 0], "student": [1, 1, 1, 0]}, chance=.25)
    >>> far = W2SReport({"weak": [0, 1, 0, 0], "student": [1, 1, 0, 0]}, chance=.5)
    >>> reports = W2SReports(near=near, far=far)
    >>> reports["far"].student_score
    0.5
    >>> reports.to_frame().index.names
    FrozenList(['test_set', 'model'])
    """

    def to_frame(self) -> pandas.DataFrame:
        """The rows of each report, see `W2SReport.to_frame`, below each other.

        Returns
        -------
        pandas.DataFrame
            Indexed by test set and model. A metric that only some sets are measured by is nan for the others.
        """
        import pandas as pd

        return pd.concat({name: report.to_frame() for name, report in self.items()}, names=["test_set"])

    def to_markdown(self) -> str:
        """The table as Markdown: a row for each model, a column for each test set, and what is needed to read it.

        Returns
        -------
        str
        """
        columns, rows = self._cells()
        return "\n".join([*table_lines(columns, rows), "", *self._remarks()])

    def _cells(self) -> tuple[list[str], list[list[str]]]:
        """Titles and cells, score and interval; the models in the order of the first report that has them."""
        found: dict[str, dict[str, str]] = {}
        for name, report in self.items():
            for model, row in report.to_frame().iterrows():
                cell = f"{row[report.metric]:.3f} [{row['low']:.3f}, {row['high']:.3f}]"
                found.setdefault(str(model), {})[name] = cell
        titles = [f"{name}, {report.metric.replace('_', ' ')}" for name, report in self.items()]
        return ["model", *titles], [[model, *(cells.get(name, "") for name in self)] for model, cells in found.items()]

    def _remarks(self) -> list[str]:
        return [f"{name}: {remark}" for name, report in self.items() for remark in report._remarks()]

    def __repr__(self) -> str:
        import pandas as pd

        columns, rows = self._cells()
        shown = pd.DataFrame(rows, columns=columns).set_index("model")
        return "\n".join(["W2SReports", shown.to_string(), *self._remarks()])

    def _repr_html_(self) -> str:
        columns, rows = self._cells()
        return panel("W2SReports", table(columns, rows, numeric=columns[1:]), lines(self._remarks()))
