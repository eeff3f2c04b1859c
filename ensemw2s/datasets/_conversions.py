"""A `QADataset` from lists, files, Hugging Face data sets and pandas frames, and back."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from ensemw2s._validation import check_integer
from ensemw2s._validation.method_names import methods_of
from ensemw2s.datasets._files import Rows, read_csv, read_json
from ensemw2s.datasets._tables import (
    Table,
    columns_from_dataset,
    columns_from_file,
    columns_from_list,
    columns_from_pandas,
    place_in_file,
    to_dataset,
    to_pandas,
)

if TYPE_CHECKING:
    import datasets
    import pandas

_T = TypeVar("_T", bound="TableConversions")

# Rows in which the gold option is not in one place by chance: with four options some 1 in 250,000 tables of so many.
_MANY = 10


@methods_of("QADataset")
class TableConversions:
    """The ways between a `QADataset`, whose columns are the arguments here, and other kinds of tables."""

    if TYPE_CHECKING:

        def __init__(self, prompts: Sequence[str], **columns: Any) -> None: ...

    @classmethod
    def from_list(
        cls: type[_T], rows: Sequence[Mapping[str, Any]], *, name: str | None = None, random_state: int = 0
    ) -> _T:
        """Return a data set from a list of dicts with the keys prompt, answer, choices, label, id, difficulty.

        Parameters
        ----------
        rows : sequence of dict
            All with the same keys; only ``"prompt"``, or ``"question"`` in its place, is required. `choices` and
            `label` are read as by `from_dataset`.
        name : str or None, default=None
            Name of the data set.
        random_state : int, default=0
            Seed of the order of the options, >= 0, see `from_dataset`.

        Raises
        ------
        TypeError, ValueError
            If a row is not a dict, has no prompt or other keys than the first, or as `QADataset` itself.

        Examples
        --------
        >>> from ensemw2s import QADataset
        >>> QADataset.from_list([{"prompt": "Liquid metal?", "choices": ["mercury", "tin"], "label": 0}]).answers
        ('mercury',)
        """
        return _made(cls, columns_from_list(rows), name, random_state)

    @classmethod
    def from_csv(
        cls: type[_T],
        path: str | os.PathLike[str],
        *,
        prompt: str | None = None,
        answer: str | None = None,
        choices: str | Sequence[str] | None = None,
        label: str | None = None,
        id: str | None = None,
        difficulty: str | None = None,
        name: str | None = None,
        random_state: int = 0,
        delimiter: str | None = None,
    ) -> _T:
        """Return a data set from the columns of a CSV file with a header.

        Parameters
        ----------
        path : path
            UTF-8; with the ending ``.gz`` it is unpacked. Cells are taken as they stand there: "NA" is a text.
        prompt, answer, choices, label, id, difficulty, name, random_state
            As in `from_dataset`; `choices` is a list of columns, or one column whose cells are JSON lists.
            ``name=None`` takes the name of the file.
        delimiter : str or None, default=None
            Between two cells. None takes the tab for files that end in ``.tsv``, and the comma for others.

        Raises
        ------
        OSError
            If the file cannot be read.
        TypeError, ValueError
            As in `from_dataset`, with file, line and column; and if the file is empty or no CSV.

        Examples
        --------
        >>> import pathlib, tempfile
        >>> from ensemw2s import QADataset
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "metals.csv"
        >>> _ = path.write_text("ask,right,wrong\\nLiquid metal?,mercury,tin\\n")
        >>> QADataset.from_csv(path, prompt="ask", answer="right", choices=["right", "wrong"]).answers
        ('mercury',)
        """
        names = {"prompt": prompt, "answer": answer, "choices": choices, "label": label}
        names |= {"id": id, "difficulty": difficulty}
        return _from_file(cls, path, read_csv(path, delimiter), names, name, random_state)

    @classmethod
    def from_json(
        cls: type[_T],
        path: str | os.PathLike[str],
        *,
        prompt: str | None = None,
        answer: str | None = None,
        choices: str | Sequence[str] | None = None,
        label: str | None = None,
        id: str | None = None,
        difficulty: str | None = None,
        name: str | None = None,
        random_state: int = 0,
    ) -> _T:
        """Return a data set from a file with one JSON object a line, or with an array of objects.

        Parameters
        ----------
        path : path
            UTF-8; with the ending ``.gz`` it is unpacked.
        prompt, answer, choices, label, id, difficulty, name, random_state
            As in `from_dataset`. ``name=None`` takes the name of the file.

        Raises
        ------
        OSError
            If the file cannot be read.
        TypeError, ValueError
            As in `from_dataset`, with file, line and field; and if the file is empty or no JSON.

        Examples
        --------
        >>> import pathlib, tempfile
        >>> from ensemw2s import QADataset
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "sums.jsonl"
        >>> _ = path.write_text('{"question": "3 + 4?", "answer": "7"}\\n{"question": "2 + 2?", "answer": "4"}\\n')
        >>> QADataset.from_json(path)
        QADataset('sums', n=2, no options, answers: yes)
          first: '3 + 4?' -> '7'
        """
        names = {"prompt": prompt, "answer": answer, "choices": choices, "label": label}
        names |= {"id": id, "difficulty": difficulty}
        return _from_file(cls, path, read_json(path), names, name, random_state)

    @classmethod
    def from_dataset(
        cls: type[_T],
        dataset: datasets.Dataset,
        *,
        prompt: str | None = None,
        answer: str | None = None,
        choices: str | Sequence[str] | None = None,
        label: str | None = None,
        id: str | None = None,
        difficulty: str | None = None,
        name: str | None = None,
        random_state: int = 0,
    ) -> _T:
        """Return a data set from the columns of a Hugging Face `datasets.Dataset`.

        Parameters
        ----------
        dataset : datasets.Dataset
            One split.
        prompt, answer, choices, label, id, difficulty : str or None, default=None
            Names of the columns. None takes the column named like the parameter, if there is one that no other
            parameter names (for `prompt` also ``"question"``). Where an entry of `choices` has the form
            ``{"text": [...], "label": [...]}``, as ARC's does, a str in `label` is looked up in its ``"label"`` list.
            `choices` may also be a list of columns, one an option: empty cells are no options, and `label` may hold
            names of these columns. Beside plain lists a str in `label` is the letter of an option from A on, its
            position, or its text. Numbers in `label` are positions, counted from 0; those of a
            `datasets.ClassLabel` stand for the names of its classes.
        name : str or None, default=None
            Name of the data set.
        random_state : int, default=0
            Seed of the order of the options, >= 0. It is drawn, as by `shuffle_options`, where the table's order may
            tell the answer: where the gold option is given by its text, in `answer` or `label`, as in tables with
            columns for right and wrong options; and where it has one place in all rows, that is one column, or in
            lists of options the same position in ten or more. Else, and where beside lists of options both `answer`
            and `label` are there, as `to_pandas` and `to_dataset` write them, the options stay in the table's order.

        Raises
        ------
        TypeError, ValueError
            If a named column does not exist, a label is missing, is none of its row's, or can be read in two ways
            that differ, or as `QADataset` itself.

        Examples
        --------
        >>> from ensemw2s import QADataset
        >>> from datasets import Dataset
        >>> arc = Dataset.from_dict({
        ...     "question": ["Liquid metal?"],
        ...     "choices": [{"text": ["tin", "mercury"], "label": ["A", "B"]}],
        ...     "answerKey": ["B"],
        ... })
        >>> QADataset.from_dataset(arc, label="answerKey").answers
        ('mercury',)
        """
        names = {"prompt": prompt, "answer": answer, "choices": choices, "label": label}
        names |= {"id": id, "difficulty": difficulty}
        return _made(cls, columns_from_dataset(dataset, names), name, random_state)

    def to_dataset(self: Any) -> datasets.Dataset:
        """Return a Hugging Face `datasets.Dataset` with the columns prompt, answer, choices, label, id, difficulty.

        Columns that this data set does not have are left out. `from_dataset` reads it back.

        Returns
        -------
        datasets.Dataset

        Examples
        --------
        >>> from ensemw2s import QADataset
        >>> QADataset(["Liquid metal?"], ["mercury"]).to_dataset().column_names
        ['prompt', 'answer']
        """
        return to_dataset(self._columns)

    @classmethod
    def from_pandas(
        cls: type[_T],
        frame: pandas.DataFrame,
        *,
        prompt: str | None = None,
        answer: str | None = None,
        choices: str | Sequence[str] | None = None,
        label: str | None = None,
        id: str | None = None,
        difficulty: str | None = None,
        name: str | None = None,
        random_state: int = 0,
    ) -> _T:
        """Return a data set from the columns of a pandas frame.

        Parameters
        ----------
        frame : pandas.DataFrame
            One row per question.
        prompt, answer, choices, label, id, difficulty, name, random_state
            As in `from_dataset`.

        Returns
        -------
        QADataset

        Raises
        ------
        TypeError, ValueError
            As in `from_dataset`.

        Examples
        --------
        >>> from ensemw2s import QADataset
        >>> import pandas as pd
        >>> frame = pd.DataFrame({"question": ["Liquid metal?", "Red gem?"],
        ...                       "right": ["mercury", "ruby"], "wrong": ["tin", "opal"]})
        >>> QADataset.from_pandas(frame, answer="right", choices=["right", "wrong"]).choices
        (('mercury', 'tin'), ('opal', 'ruby'))
        """
        names = {"prompt": prompt, "answer": answer, "choices": choices, "label": label}
        names |= {"id": id, "difficulty": difficulty}
        return _made(cls, columns_from_pandas(frame, names), name, random_state)

    def to_pandas(self: Any) -> pandas.DataFrame:
        """Return a pandas frame with the columns prompt, answer, choices, label, id, difficulty (those that exist).

        Returns
        -------
        pandas.DataFrame

        Examples
        --------
        >>> from ensemw2s import QADataset
        >>> QADataset(["Liquid metal?"], ["mercury"]).to_pandas().loc[0, "answer"]
        'mercury'
        """
        return to_pandas(self._columns)


def _from_file(
    kind: Any, path: str | os.PathLike[str], rows: Rows, names: Mapping[str, Any], name: str | None, random_state: int
) -> Any:
    """The data set, or an error that says where in the file the fault is."""
    check_integer(random_state, "random_state", minimum=0)
    title = os.path.basename(path).split(".")[0] if name is None else name
    try:
        return _made(kind, columns_from_file(rows, names), title, random_state)
    except (TypeError, ValueError) as error:
        message = str(error)
        raise type(error)(f"{os.fspath(path)}{place_in_file(message, rows, names)}: {message}") from error


def _made(kind: Any, table: Table, name: str | None, random_state: int) -> Any:
    """The data set, with its options in a drawn order where that of the table may tell which one is gold."""
    check_integer(random_state, "random_state", minimum=0)
    qa = kind(**table.columns, name=name)
    as_written_by_us = {"answers", "labels"} <= set(table.columns) and not table.by_column
    if qa.choices is None or qa.labels is None or as_written_by_us:
        return qa
    from_both_ends = qa.labels, qa.n_choices - qa.labels  # empty cells move what stands behind them
    same_place = any((places == places[0]).all() for places in from_both_ends)
    enough = len(qa) >= (2 if table.by_column else _MANY)
    return qa.shuffle_options(random_state) if table.by_text or (same_place and enough) else qa
