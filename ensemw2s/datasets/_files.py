"""Rows of CSV and JSON files, each with the line that it stands in."""

from __future__ import annotations

import csv
import gzip
import json
import os
from pathlib import Path
from typing import Any, NamedTuple, TextIO

from ensemw2s._validation import is_blank, shorten


class Rows(NamedTuple):
    """Rows of a file, and the line that each begins in, from 1; in a JSON array its number."""

    rows: list[dict[str, Any]]
    places: list[str]


def read_csv(path: str | os.PathLike[str], delimiter: str | None) -> Rows:
    """Read a table with a header; a tab divides the cells of a ``.tsv``, a comma those of others.

    Cells are texts, as they stand there: "NA", "None" and "007" may be answers.
    """
    path = Path(path)
    if delimiter is None:
        delimiter = "\t" if path.name.endswith((".tsv", ".tsv.gz")) else ","
    if not isinstance(delimiter, str) or len(delimiter) != 1:
        raise ValueError(f"delimiter must be one character. Got {shorten(delimiter)} instead.")
    rows, places = [], []
    with _opened(path) as file:
        lines = csv.reader(file, delimiter=delimiter, strict=True)
        try:
            header = next(lines, [])
            if not header or len(set(header)) < len(header) or any(map(is_blank, header)):
                raise ValueError(
                    f"{path} line 1 must name each column once. Got {header} instead; give the file a header."
                )
            begin = lines.line_num + 1  # a cell may hold line breaks
            for cells in lines:
                if cells and len(cells) != len(header):
                    raise ValueError(
                        f"{path} line {begin} must have {len(header)} cells, as line 1 has. Got {len(cells)} instead; "
                        "quote cells that hold the delimiter."
                    )
                if cells:
                    rows.append(dict(zip(header, cells, strict=True)))
                    places.append(f"line {begin}")
                begin = lines.line_num + 1
        except csv.Error as error:
            raise ValueError(f"{path} line {lines.line_num} must be CSV; {error}. Correct that line.") from error
    return _filled(path, rows, places)


def read_json(path: str | os.PathLike[str]) -> Rows:
    """Read one JSON object a line, or an array of objects."""
    path = Path(path)
    with _opened(path) as file:
        text = file.read()
    rows, places = [], []
    if ".jsonl" not in path.name and text.lstrip().startswith("["):
        found = _parsed(text, path, "file")
        for number, row in enumerate(found):
            rows.append(_object(row, path, f"entry {number}"))
            places.append(f"entry {number}")
    else:
        for number, line in enumerate(text.split("\n"), start=1):  # splitlines would cut at marks within texts
            if line.strip():
                place = f"line {number}"
                rows.append(_object(_parsed(line, path, place), path, place))
                places.append(place)
    return _filled(path, rows, places)


def _opened(path: Path) -> TextIO:
    opener = gzip.open if path.suffix == ".gz" else open
    # Spreadsheets begin a file of UTF-8 with a mark that belongs to no column.
    return opener(path, "rt", encoding="utf-8-sig", newline="")


def _parsed(text: str, path: Path, place: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(
            f"{path} {place} must be a JSON object; {error}. Correct it, or fetch the file again."
        ) from error


def _object(row: Any, path: Path, place: str) -> dict[str, Any]:
    if not isinstance(row, dict):
        raise ValueError(
            f"{path} {place} must be a JSON object. Got {shorten(row)} instead. Correct it, or fetch the file again."
        )
    return row


def _filled(path: Path, rows: list[dict[str, Any]], places: list[str]) -> Rows:
    if not rows:
        raise ValueError(f"{path} must hold at least one question; it is empty. Fetch the file again.")
    return Rows(rows, places)
