"""SciQ, ARC, QuaRTz and GSM8K as `QADataset`, from the Hugging Face hub or a local folder."""

from __future__ import annotations

import logging
import os
import re
import zlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ensemw2s._validation import check_integer, check_option, shorten
from ensemw2s.datasets._files import read_json
from ensemw2s.datasets._qa import QADataset

logger = logging.getLogger("ensemw2s")

_ENVIRONMENT = "ENSEMW2S_DATA"
_SPLITS = ("train", "validation", "test")
_SUFFIXES = (".jsonl.gz", ".jsonl")

_CALCULATIONS = re.compile(r"<<[^<>]*>>")


def load_sciq(
    split: str = "train",
    *,
    data_dir: str | os.PathLike[str] | None = None,
    passage: bool = False,
    random_state: int = 0,
) -> QADataset:
    """Load SciQ (Welbl et al., 2017): crowd-sourced science questions with four options.

    The options of each question are put into an order that depends on
    `random_state` and the text of the question alone, so it stays the same in any subset. Of the 13,679 questions 44
    repeat an option: the copies are merged, so these keep two or three options and the published sizes stay.

    Parameters
    ----------
    split : {"train", "validation", "test"}, default="train"
        11,679, 1,000 or 1,000 questions.
    data_dir : path or None, default=None
        Folder that holds ``sciq/SPLIT.jsonl.gz`` (or ``.jsonl``): one JSON object a line with the hub's fields. None
        takes the folder named by the environment variable ``ENSEMW2S_DATA``, or without it the hub (``allenai/sciq``).
    passage : bool, default=False
        Put the passage (``support``) and a line break before the question. Questions that have none stay as they are;
        a logged warning says how many.
    random_state : int, default=0
        Seed of the order of the options, >= 0.

    Returns
    -------
    QADataset
        With prompts, answers, choices, labels and ids.

    Raises
    ------
    ValueError
        If `split` is unknown or a row lacks a field.
    FileNotFoundError
        If the folder does not hold the split; the message lists those that are there.
    OSError
        If the hub cannot be reached.

    Examples
    --------
    >>> import json, pathlib, tempfile
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> row = {"question": "Liquid metal?", "correct_answer": "mercury"}
    >>> row |= {"distractor1": "tin", "distractor2": "lead", "distractor3": "zinc"}
    >>> (folder / "sciq").mkdir()
    >>> _ = (folder / "sciq" / "test.jsonl").write_text(json.dumps(row))
    >>> load_sciq("test", data_dir=folder)
    QADataset('sciq/test', n=1, options: 4 x1, chance .250, answers: yes)
      first: 'Liquid metal?' -> 'mercury' of ['zinc', 'lead', 'tin', 'mercury']
    """
    base_seed = check_integer(random_state, "random_state", minimum=0)
    rows = _load_split("sciq", ("allenai/sciq", None), split, data_dir)
    parsed, passages = [], []
    for number, row in enumerate(rows):
        where = f"sciq/{split} row {number}"
        options = [_field(row, name, where) for name in ("correct_answer", "distractor1", "distractor2", "distractor3")]
        question = _field(row, "question", where)
        seed = [base_seed, zlib.crc32(question.encode())]
        order = np.random.default_rng(seed).permutation(len(options))
        shuffled = [options[k] for k in order]
        parsed.append((f"sciq-{split}-{number:05d}", question, shuffled, options[0]))
        passages.append(row.get("support"))
    return _assemble(f"sciq/{split}", parsed, passages if passage else None)


def load_arc(
    split: str = "train",
    *,
    subset: Literal["easy", "challenge"] = "easy",
    data_dir: str | os.PathLike[str] | None = None,
) -> QADataset:
    """Load ARC (Clark et al., 2018): grade-school science questions with three to five options.

    Parameters
    ----------
    split : {"train", "validation", "test"}, default="train"
        2,251, 570 or 2,376 questions (easy); 1,119, 299 or 1,172 (challenge).
    subset : {"easy", "challenge"}, default="easy"
        ARC-Easy or ARC-Challenge.
    data_dir : path or None, default=None
        Folder that holds ``arc_easy/SPLIT.jsonl.gz`` or ``arc_challenge/SPLIT.jsonl.gz`` (or ``.jsonl``), in the form
        of the original release (``question: {stem, choices: [{text, label}]}``) or of the hub (``question``,
        ``choices: {text, label}``). None takes the folder named by the environment variable ``ENSEMW2S_DATA``, or
        without it the hub (``allenai/ai2_arc``).

    Returns
    -------
    QADataset
        With prompts, answers, choices, labels and ids.

    Raises
    ------
    ValueError
        If `split` or `subset` is unknown, a row lacks a field, or its key is not among its labels.
    FileNotFoundError
        If the folder does not hold the split; the message lists those that are there.
    OSError
        If the hub cannot be reached.

    Examples
    --------
    >>> import json, pathlib, tempfile
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> row = {"id": "a", "question": "Liquid metal?", "answerKey": "2"}
    >>> row["choices"] = {"text": ["tin", "mercury", "lead"], "label": ["1", "2", "3"]}
    >>> (folder / "arc_easy").mkdir()
    >>> _ = (folder / "arc_easy" / "test.jsonl").write_text(json.dumps(row))
    >>> load_arc("test", subset="easy", data_dir=folder)[0].answer
    'mercury'
    """
    check_option(subset, "subset", ("easy", "challenge"))
    folder = f"arc_{subset}"
    rows = _load_split(folder, ("allenai/ai2_arc", f"ARC-{subset.capitalize()}"), split, data_dir)
    return _assemble(f"{folder}/{split}", [_keyed(row, f"{folder}/{split} row {k}") for k, row in enumerate(rows)])


def load_quartz(
    split: str = "train", *, data_dir: str | os.PathLike[str] | None = None, passage: bool = False
) -> QADataset:
    """Load QuaRTz (Tafjord et al., 2019): questions on qualitative relations with two options.

    Parameters
    ----------
    split : {"train", "validation", "test"}, default="train"
        2,696, 384 or 784 questions on the hub.
    data_dir : path or None, default=None
        Folder that holds ``quartz/SPLIT.jsonl.gz`` (or ``.jsonl``), one JSON object a line with the hub's fields.
        None takes the folder named by the environment variable ``ENSEMW2S_DATA``, or without it the hub
        (``allenai/quartz``).
    passage : bool, default=False
        Put the background sentence (``para``) and a line break before the question. Questions that have none stay
        as they are; a logged warning says how many.

    Returns
    -------
    QADataset
        With prompts, answers, choices, labels and ids.

    Raises
    ------
    ValueError
        If `split` is unknown, a row lacks a field, or its key is not among its labels.
    FileNotFoundError
        If the folder does not hold the split; the message lists those that are there.
    OSError
        If the hub cannot be reached.

    Examples
    --------
    >>> import json, pathlib, tempfile
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> row = {"id": "a", "question": "Near things look", "answerKey": "A", "para": "Near things look bigger."}
    >>> row["choices"] = {"text": ["bigger", "smaller"], "label": ["A", "B"]}
    >>> (folder / "quartz").mkdir()
    >>> _ = (folder / "quartz" / "validation.jsonl").write_text(json.dumps(row))
    >>> load_quartz("validation", data_dir=folder, passage=True).prompts
    ('Near things look bigger.\\nNear things look',)
    """
    name = f"quartz/{split}"
    name = f"quartz/{split}"
    parsed, passages = [], []
    for number, row in enumerate(_load_split("quartz", ("allenai/quartz", None), split, data_dir)):
        parsed.append(_keyed(row, f"{name} row {number}"))
        passages.append(row.get("para"))
    return _assemble(name, parsed, passages if passage else None)


def load_gsm8k(
    split: str = "train", *, data_dir: str | os.PathLike[str] | None = None, calculations: bool = False
) -> QADataset:
    """Load GSM8K (Cobbe et al., 2021): grade-school word problems whose answers are worked out in free text.

    An answer is the working and, on its last line, ``####`` and the final number. So models are trained on the whole
    text, and what is compared with the truth is the number, by ``metric="number"``.

    Parameters
    ----------
    split : {"train", "test"}, default="train"
        7,473 or 1,319 questions.
    data_dir : path or None, default=None
        Folder that holds ``gsm8k/SPLIT.jsonl.gz`` (or ``.jsonl``), one JSON object a line with the fields ``question``
        and ``answer``. None takes the folder named by the environment variable ``ENSEMW2S_DATA``, or without it the
        hub (``openai/gsm8k``).
    calculations : bool, default=False
        Keep the marks for a calculator, as ``<<3*4=12>>``, in the answers.

    Returns
    -------
    QADataset
        With prompts, answers and ids.

    Raises
    ------
    ValueError
        If `split` is unknown, a row lacks a field, or its answer has no last line with ``####`` and a number.
    FileNotFoundError
        If the folder does not hold the split; the message lists those that are there.
    OSError
        If the hub cannot be reached.

    See Also
    --------
    make_arithmetic : Questions with answers of this form, offline.

    Examples
    --------
    >>> import json, pathlib, tempfile
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> row = {"question": "Three bags of 4 nuts?", "answer": "3 * 4 = <<3*4=12>>12 nuts.\\n#### 12"}
    >>> (folder / "gsm8k").mkdir()
    >>> _ = (folder / "gsm8k" / "test.jsonl").write_text(json.dumps(row))
    >>> load_gsm8k("test", data_dir=folder).answers
    ('3 * 4 = 12 nuts.\\n#### 12',)
    """
    check_option(split, "split", ("train", "test"))
    ids, prompts, answers = [], [], []
    for number, row in enumerate(_load_split("gsm8k", ("openai/gsm8k", "main"), split, data_dir)):
        where = f"gsm8k/{split} row {number}"
        answer = _field(row, "answer", where)
        final = answer.rpartition("\n")[2]
        if not re.fullmatch(r"#### *-?[\d,.]*\d", final):
            raise ValueError(
                f"{where}: answer must end in a line with '####' and a number. Got {shorten(final)} instead; correct "
                "that row."
            )
        ids.append(f"gsm8k-{split}-{number:05d}")
        prompts.append(_field(row, "question", where))
        answers.append(answer if calculations else _CALCULATIONS.sub("", answer))
    return QADataset(prompts, answers, ids=ids, name=f"gsm8k/{split}")


def _load_split(
    folder: str, hub: tuple[str, str | None], split: str, data_dir: str | os.PathLike[str] | None
) -> Iterable[Mapping[str, Any]]:
    check_option(split, "split", _SPLITS)
    if data_dir is None:
        data_dir = os.environ.get(_ENVIRONMENT, "").strip() or None
    if data_dir is not None:
        return _read_folder(Path(data_dir).expanduser() / folder, split)
    import datasets

    path, config = hub
    try:
        return datasets.load_dataset(path, config, split=split)
    except OSError as error:
        raise OSError(
            f"{path} could not be loaded from the hub ({error}). Check the connection, or pass data_dir= (or set "
            f"{_ENVIRONMENT}) to a folder that holds {folder}/{split}.jsonl.gz."
        ) from error


def _read_folder(folder: Path, split: str) -> list[dict[str, Any]]:
    path = next((folder / (split + suffix) for suffix in _SUFFIXES if (folder / (split + suffix)).is_file()), None)
    if path is None:
        found = [name for name in _SPLITS if any((folder / (name + suffix)).is_file() for suffix in _SUFFIXES)]
        there = f"{folder} holds the splits {found}" if found else f"{folder} holds no split"
        raise FileNotFoundError(
            f"split {split!r} must be a file {split}.jsonl.gz or {split}.jsonl in {folder}; {there}. "
            f"Take another split, or leave data_dir and {_ENVIRONMENT} unset to load from the hub."
        )
    return read_json(path).rows


def _field(row: Mapping[str, Any], name: str, where: str) -> Any:
    if name not in row:
        raise ValueError(
            f"{where} must have the field {name!r}. Got {sorted(row)} instead; check which data set the file holds."
        )
    value = row[name]
    return value.strip() if isinstance(value, str) else value


def _keyed(row: Mapping[str, Any], where: str) -> tuple[str, str, list[str], str]:
    """Return id, question, options and answer of a row in the form of ARC's release or of the hub."""
    question = _field(row, "question", where)
    if isinstance(question, Mapping):
        question, entries = _field(question, "stem", where), _field(question, "choices", where)
        texts = [_field(entry, "text", where) for entry in entries]
        keys = [_field(entry, "label", where) for entry in entries]
    else:
        columns = _field(row, "choices", where)
        texts = [text.strip() for text in _field(columns, "text", where)]
        keys = list(_field(columns, "label", where))
    key = _field(row, "answerKey", where)
    if key not in keys or len(texts) != len(keys):
        raise ValueError(
            f"{where}: answerKey must be one of the labels of its {len(texts)} options, {keys}. Got {key!r} instead; "
            f"correct that row."
        )
    return str(_field(row, "id", where)), question, texts, texts[keys.index(key)]


def _assemble(
    name: str, parsed: list[tuple[str, str, list[str], str]], passages: Sequence[str | None] | None = None
) -> QADataset:
    """The data set; each passage that there is stands before its question, on a line of its own."""
    if passages is not None:
        texts = [text.strip() if isinstance(text, str) else "" for text in passages]
        parsed = [
            (id, f"{text}\n{question}" if text else question, options, answer)
            for text, (id, question, options, answer) in zip(texts, parsed, strict=True)
        ]
        if n_without := texts.count(""):
            logger.warning("%s: %d of %d questions have no passage and stand alone.", name, n_without, len(texts))
    ids, prompts, choices, answers = [], [], [], []
    n_merged, n_skipped = 0, 0
    for id, prompt, options, answer in parsed:
        merged = list(dict.fromkeys(options))
        if len(merged) < 2:
            n_skipped += 1
            continue
        n_merged += len(merged) < len(options)
        ids.append(id)
        prompts.append(prompt)
        choices.append(merged)
        answers.append(answer)
    if n_merged:
        logger.warning("%s: %d of %d questions repeat an option; the copies were merged.", name, n_merged, len(parsed))
    if n_skipped:
        logger.warning("%s: %d questions have fewer than two different options and were left out.", name, n_skipped)
    return QADataset(prompts, answers, choices, ids=ids, name=name)
