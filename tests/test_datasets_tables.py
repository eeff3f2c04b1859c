from __future__ import annotations

import gzip
import json

import numpy as np
import pandas as pd
import pytest
from datasets import ClassLabel, Dataset, DatasetDict, Features, List, Value

from ensemw2s.datasets import QADataset

QA = QADataset(
    ["Liquid metal?", "Gas for plants?"],
    choices=[["tin", "mercury"], ["oxygen", "carbon dioxide", "neon"]],
    labels=[1, 1],
    ids=["a", "b"],
    difficulty=[1.5, 2.0],
)
ARC = {
    "id": ["x", "y"],
    "question": ["Liquid metal?", "Gas for plants?"],
    "choices": [
        {"text": ["tin", "mercury"], "label": ["A", "B"]},
        {"text": ["oxygen", "carbon dioxide", "neon"], "label": ["1", "2", "3"]},
    ],
    "answerKey": ["B", "2"],
}


@pytest.mark.parametrize("qa", [QA, QA.drop_answers(), QADataset(QA.prompts), QADataset(QA.prompts, QA.answers)])
def test_dataset_round_trip(qa: QADataset) -> None:
    assert QADataset.from_dataset(qa.to_dataset()) == qa


@pytest.mark.parametrize("qa", [QA, QA.drop_answers(), QADataset(QA.prompts), QADataset(QA.prompts, QA.answers)])
def test_pandas_round_trip(qa: QADataset) -> None:
    assert QADataset.from_pandas(qa.to_pandas()) == qa


def test_list_round_trip() -> None:
    assert QADataset.from_list(QA.to_dataset().to_list()) == QA


def test_parquet_round_trip(tmp_path) -> None:
    QA.to_pandas().to_parquet(tmp_path / "qa.parquet")
    assert QADataset.from_pandas(pd.read_parquet(tmp_path / "qa.parquet")) == QA


def test_from_dataset_reads_option_keys_of_each_row() -> None:
    assert QADataset.from_dataset(Dataset.from_dict(ARC), label="answerKey").labels.tolist() == [1, 1]


def test_from_dataset_takes_question_for_the_prompt() -> None:
    assert QADataset.from_dataset(Dataset.from_dict(ARC), label="answerKey").prompts == QA.prompts


def test_from_dataset_prefers_a_column_called_prompt() -> None:
    assert QADataset.from_dataset(Dataset.from_dict({"question": ["no"], "prompt": ["yes"]})).prompts == ("yes",)


def test_from_dataset_int_labels_index_the_options_from_zero() -> None:
    arc = Dataset.from_dict(ARC | {"gold": [0, 2]})
    assert QADataset.from_dataset(arc, label="gold").answers == ("tin", "neon")


def test_from_dataset_takes_options_from_several_columns() -> None:
    dataset = Dataset.from_dict({"question": ["Liquid metal?"], "right": ["mercury"], "wrong": ["tin"]})
    qa = QADataset.from_dataset(dataset, answer="right", choices=["wrong", "right"])
    assert set(qa.choices[0]) == {"tin", "mercury"}
    assert qa.answers == ("mercury",)


TOLD = {
    "columns, answer as a text": lambda frame, columns: QADataset.from_pandas(frame, answer="a", choices=columns),
    "columns, the name of one": lambda frame, columns: QADataset.from_pandas(
        frame.assign(key="a"), choices=columns, label="key"),
    "a data set": lambda frame, columns: QADataset.from_dataset(
        Dataset.from_pandas(frame), answer="a", choices=columns),
    "dicts, answer as a text": lambda frame, columns: QADataset.from_list(
        [{"prompt": row["prompt"], "answer": row["a"], "choices": [row[c] for c in columns]}
         for _, row in frame.iterrows()]),
    "dicts, answer as a text in label": lambda frame, columns: QADataset.from_list(
        [{"prompt": row["prompt"], "label": row["a"], "choices": [row[c] for c in columns]}
         for _, row in frame.iterrows()]),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("read", TOLD.values(), ids=TOLD)
def test_a_table_whose_order_tells_the_answer_gives_the_same_options_in_every_order(read) -> None:
    frame = pd.DataFrame({"prompt": [f"q{row}" for row in range(200)]})
    frame = frame.assign(**{name: [f"{name}{row}" for row in range(200)] for name in "abcd"})
    first = read(frame, ["a", "b", "c", "d"])
    for columns in (["b", "c", "d", "a"], ["d", "a", "c", "b"]):
        assert read(frame, columns) == first
    assert first.answers == tuple(frame["a"])
    assert np.bincount(first.labels, minlength=4).min() > 50 - 4 * np.sqrt(200 * 3 / 16)
    assert first[100:].choices == read(frame[100:], ["a", "b", "c", "d"]).choices


def test_from_pandas_columns_of_right_and_wrong_options_are_shuffled_in_a_small_table() -> None:
    frame = pd.DataFrame({"prompt": [f"q{row}" for row in range(9)], "right": "z", "wrong": "y"})
    for told in ({"answer": "right"}, {"label": "key"}, {"label": "key", "answer": "right"}):
        qa = QADataset.from_pandas(frame.assign(key="right"), choices=["right", "wrong"], **told)
        assert set(qa.labels.tolist()) == {0, 1}
    texts = [{"prompt": prompt, "choices": ["z", "y"], "label": "z"} for prompt in frame["prompt"]]
    assert set(QADataset.from_list(texts).labels.tolist()) == {0, 1}


def test_from_pandas_a_gold_option_behind_empty_cells_is_moved() -> None:
    frame = pd.DataFrame({"prompt": [f"q{row}" for row in range(40)], "b": ["x", None] * 20, "c": "y", "a": "z"})
    labels = QADataset.from_pandas(frame.assign(key="a"), choices=["b", "c", "a"], label="key").labels
    assert 0 < np.mean(labels == 0) < 1


def test_shuffle_options_takes_a_seed_and_needs_options() -> None:
    orders = {QA.shuffle_options(seed).choices for seed in range(200)}
    assert len(orders) == 12  # 2 x 6
    assert QA.shuffle_options(3).answers == QA.answers
    assert QA.drop_answers().shuffle_options(3) == QA.shuffle_options(3).drop_answers()
    with pytest.raises(ValueError, match="shuffle_options needs options"):
        QADataset(["a"]).shuffle_options()


def test_from_dataset_keeps_the_name() -> None:
    assert QADataset.from_dataset(Dataset.from_dict({"prompt": ["a"]}), name="toy").name == "toy"


def test_from_dataset_with_a_format_is_read_plainly() -> None:
    assert QADataset.from_dataset(QA.to_dataset().with_format("torch")) == QA


def test_from_dataset_unknown_column_is_refused() -> None:
    with pytest.raises(ValueError, match=r"answer must name a column of the table, one of \['question'\]. Got 'gold'"):
        QADataset.from_dataset(Dataset.from_dict({"question": ["a"]}), answer="gold")


def test_from_dataset_without_a_question_column_is_refused() -> None:
    with pytest.raises(ValueError, match=r"prompt must name a column of the table, one of \['text'\]"):
        QADataset.from_dataset(Dataset.from_dict({"text": ["a"]}))


def test_from_dataset_key_outside_the_labels_is_refused() -> None:
    arc = Dataset.from_dict(ARC | {"answerKey": ["B", "C"]})
    with pytest.raises(ValueError, match=r"label\[1\] must be one of .*\['1', '2', '3'\]. Got 'C'"):
        QADataset.from_dataset(arc, label="answerKey")


def test_from_dataset_refuses_several_splits() -> None:
    splits = DatasetDict({"train": Dataset.from_dict({"prompt": ["a"]})})
    with pytest.raises(TypeError, match=r"must be one split. Got a DatasetDict with \['train'\]"):
        QADataset.from_dataset(splits)


def test_from_dataset_refuses_other_tables() -> None:
    with pytest.raises(TypeError, match=r"must be a datasets\.Dataset. Got DataFrame instead; use from_list or"):
        QADataset.from_dataset(pd.DataFrame({"prompt": ["a"]}))


def test_from_pandas_refuses_other_tables() -> None:
    with pytest.raises(TypeError, match=r"must be a pandas\.DataFrame. Got Dataset"):
        QADataset.from_pandas(Dataset.from_dict({"prompt": ["a"]}))


def test_from_pandas_refuses_a_list_of_columns_for_the_answer() -> None:
    with pytest.raises(TypeError, match="answer must name one column"):
        QADataset.from_pandas(pd.DataFrame({"prompt": ["a"]}), answer=["prompt"])


def test_from_pandas_missing_value_is_refused_with_its_row() -> None:
    with pytest.raises(TypeError, match=r"answers\[1\]"):
        QADataset.from_pandas(pd.DataFrame({"prompt": ["a", "b"], "answer": ["x", None]}))


def test_from_pandas_ignores_the_index() -> None:
    frame = QA.to_pandas().set_index(np.array([7, 3]))
    assert QADataset.from_pandas(frame) == QA


def test_from_pandas_empty_frame_is_refused() -> None:
    with pytest.raises(ValueError, match="prompts must not be empty"):
        QADataset.from_pandas(pd.DataFrame({"prompt": []}))


def test_from_list_empty_list_is_refused() -> None:
    with pytest.raises(ValueError, match="prompts must not be empty"):
        QADataset.from_list([])


def test_from_list_row_that_is_no_dict_is_refused() -> None:
    with pytest.raises(TypeError, match=r"rows\[1\] must be a dict. Got 'b'"):
        QADataset.from_list([{"prompt": "a"}, "b"])


def test_from_list_unknown_key_is_refused() -> None:
    with pytest.raises(ValueError, match=r"rows\[0\] must have keys among .*Got \['text'\]"):
        QADataset.from_list([{"text": "a"}])


def test_from_list_takes_question_for_the_prompt_and_refuses_both() -> None:
    assert QADataset.from_list([{"question": "a"}]).prompts == ("a",)
    with pytest.raises(ValueError, match=r"rows\[0\] must have the key 'prompt', or 'question'"):
        QADataset.from_list([{"prompt": "a", "question": "b"}])


def test_from_list_missing_prompt_is_refused() -> None:
    with pytest.raises(ValueError, match=r"rows\[0\] must have the key 'prompt'"):
        QADataset.from_list([{"answer": "a"}])


def test_from_list_rows_with_other_keys_are_refused() -> None:
    with pytest.raises(ValueError, match=r"rows\[1\] must have the keys of rows\[0\]"):
        QADataset.from_list([{"prompt": "a", "answer": "x"}, {"prompt": "b"}])


def _keyed(keys: list[list[str]], gold: list[str]) -> Dataset:
    """Questions whose options are called like their keys, so that the right answer can be read off."""
    choices = [{"text": [f"option {key}" for key in row], "label": row} for row in keys]
    return Dataset.from_dict({"question": [f"q{k}" for k in range(len(keys))], "choices": choices, "answerKey": gold})


@pytest.mark.parametrize(
    ("keys", "gold"),
    [
        ([list("ABCD")] * 4, list("BCDB")),  # A is no class, so that the numbers of classes are off by one
        ([list("ABCD"), list("1234"), list("ABC"), list("123")], list("A3B1")),
        ([list("1234A")] * 5, list("1234A")),
    ],
)
def test_from_dataset_class_labels_stand_for_their_names(keys, gold) -> None:
    encoded = _keyed(keys, gold).class_encode_column("answerKey")
    assert isinstance(encoded.features["answerKey"], ClassLabel)
    expected = tuple(f"option {key}" for key in gold)
    assert QADataset.from_dataset(encoded, label="answerKey").answers == expected


def test_from_dataset_class_labels_within_options_stand_for_their_names() -> None:
    key = ClassLabel(names=["B", "A"])
    features = Features(
        {"prompt": Value("string"), "choices": {"text": List(Value("string")), "label": List(key)}, "label": key}
    )
    rows = {"prompt": ["a"], "choices": [{"text": ["x", "y"], "label": ["A", "B"]}], "label": ["B"]}
    dataset = Dataset.from_dict(rows, features=features)
    assert QADataset.from_dataset(dataset).answers == ("y",)
    assert QADataset.from_dataset(dataset.with_format("numpy")).answers == ("y",)


def test_from_dataset_class_label_that_is_not_known_is_refused() -> None:
    features = Features(
        {"prompt": Value("string"), "choices": List(Value("string")), "label": ClassLabel(names=["A", "B"])}
    )
    dataset = Dataset.from_dict({"prompt": ["a"], "choices": [["x", "y"]], "label": [-1]}, features=features)
    with pytest.raises(ValueError, match=r"label\[0\] is missing"):
        QADataset.from_dataset(dataset)


def test_from_dataset_a_column_named_for_the_label_is_not_the_answer() -> None:
    features = Features(
        {"question": Value("string"), "choices": List(Value("string")), "answer": ClassLabel(names=list("ABCD"))}
    )
    rows = {"question": ["a", "b"], "choices": [list("wxyz")] * 2, "answer": ["D", "B"]}
    assert QADataset.from_dataset(Dataset.from_dict(rows, features=features), label="answer").answers == ("z", "x")


@pytest.mark.parametrize(
    ("labels", "choices", "expected"),
    [
        (["b", " C "], [["x", "y"], ["x", "y", "z"]], ("y", "z")),
        (["1", "0"], [["x", "y"]] * 2, ("y", "x")),
        ([1.0, 0.0], [["x", "y"]] * 2, ("y", "x")),
        (["yes", "no"], [["no", "yes"]] * 2, ("yes", "no")),
        (["A", "B"], [["A", "B"]] * 2, ("A", "B")),
    ],
)
def test_from_list_reads_letters_positions_and_texts(labels, choices, expected) -> None:
    rows = [{"prompt": "q", "choices": row, "label": label} for label, row in zip(labels, choices, strict=True)]
    assert QADataset.from_list(rows).answers == expected


@pytest.mark.parametrize(("label", "options"), [("A", ["B", "A"]), ("1", ["1", "2"])])
def test_from_list_label_with_two_readings_is_refused(label, options) -> None:
    with pytest.raises(ValueError, match=r"label\[0\] can be read as an option and as a letter or number"):
        QADataset.from_list([{"prompt": "q", "choices": options, "label": label}])


def test_from_list_numbers_beside_numbered_options_are_read_where_one_reading_is_possible() -> None:
    def read(labels: list[int], keys: list[str]) -> tuple[str, ...]:
        choices = {"text": [f"option {key}" for key in keys], "label": keys}
        return QADataset.from_list([{"prompt": "q", "choices": choices, "label": label} for label in labels]).answers

    assert read([1, 4], list("1234")) == ("option 1", "option 4")  # 4 is no position
    assert read([0, 3], list("1234")) == ("option 1", "option 4")  # 0 is no key
    assert read([0, 3], list("0123")) == ("option 0", "option 3")
    with pytest.raises(ValueError, match=r"label\[0\] = 1 can be read as a position counted from 0 and as one of"):
        read([1, 2], list("1234"))


def test_from_pandas_empty_cells_are_no_options(tmp_path) -> None:
    (tmp_path / "qa.csv").write_text("question,A,B,C,key\nMetal?,tin,,mercury,C\nGas?,neon,oxygen,,A\n")
    for keep in (True, False):  # NaN or empty texts
        frame = pd.read_csv(tmp_path / "qa.csv", keep_default_na=keep)
        qa = QADataset.from_pandas(frame, choices=["A", "B", "C"], label="key")
        assert set(map(frozenset, qa.choices)) == {frozenset({"tin", "mercury"}), frozenset({"neon", "oxygen"})}
        assert qa.answers == ("mercury", "neon")
        assert (
            QADataset.from_pandas(frame.assign(key=[2, 0]), choices=["A", "B", "C"], label="key").answers == qa.answers
        )


def test_from_pandas_gold_option_in_an_empty_cell_is_refused() -> None:
    frame = pd.DataFrame({"question": ["a"], "A": ["x"], "B": ["y"], "C": [None], "key": ["C"]})
    with pytest.raises(ValueError, match=r"label\[0\] names the option in column 'C', which is empty"):
        QADataset.from_pandas(frame, choices=["A", "B", "C"], label="key")


def test_from_pandas_labels_may_name_columns() -> None:
    frame = pd.DataFrame({"question": ["a"], "D": ["x"], "C": ["y"], "key": ["C"]})
    assert QADataset.from_pandas(frame, choices=["D", "C"], label="key").answers == ("y",)
    assert QADataset.from_pandas(frame.assign(key=["c"]), choices=["D", "C"], label="key").answers == ("y",)


def test_from_pandas_numbers_that_name_columns() -> None:
    frame = pd.DataFrame({"question": ["a", "b"], "1": ["x", "u"], "2": ["y", "v"], "3": ["z", "w"]})

    def read(*labels, names=("1", "2", "3")):
        renamed = frame.rename(columns=dict(zip("123", names, strict=True))).assign(key=list(labels))
        return QADataset.from_pandas(renamed, choices=list(names), label="key").answers

    assert read(1, 3) == ("x", "w") == read(1, 3, names=(1, 2, 3)) == read("1", "3")  # 3 is no position
    assert read(0, 2) == ("x", "w") == read(0, 2, names="012")  # 0 is the name of no column, or of the first
    with pytest.raises(ValueError, match="can be read as"):
        read(0, 1, names="210")


def test_from_pandas_labels_with_two_readings_are_refused() -> None:
    frame = pd.DataFrame({"question": ["a", "b"], "1": ["x", "u"], "2": ["y", "v"], "3": ["z", "w"]})
    with pytest.raises(ValueError, match=r"label\[0\] = 1 can be read as a position counted from 0 and as one of"):
        QADataset.from_pandas(frame.assign(key=[1, 2]), choices=["1", "2", "3"], label="key")
    swapped = frame.rename(columns={"1": "B", "2": "A"}).assign(key=["B", "w"])  # the second row names no column
    with pytest.raises(ValueError, match=r"label\[0\] = 'B' can be read as the name of a column and as option 'A'"):
        QADataset.from_pandas(swapped, choices=["B", "A", "3"], label="key")
    with pytest.raises(TypeError, match=r"labels\[0\] must be an int.* Got True"):
        QADataset.from_pandas(frame.assign(key=[True, False]), choices=["1", "2"], label="key")


def test_from_pandas_refuses_a_name_that_two_columns_have() -> None:
    frame = pd.DataFrame([["a", "b", "x"], ["c", "d", "y"]], columns=["question", "question", "answer"])
    with pytest.raises(ValueError, match=r"frame must have one column 'question'\. Got 2 of this name"):
        QADataset.from_pandas(frame)


@pytest.mark.parametrize("bad", [None, {"text": None, "label": ["A"]}, {"text": ["x"], "label": None}])
def test_from_dataset_missing_options_are_named(bad) -> None:
    good = ["x", "y"] if bad is None else {"text": ["x", "y"], "label": ["A", "B"]}
    table = Dataset.from_dict({"prompt": ["p", "q"], "choices": [bad, good], "label": ["A", "A"]})
    with pytest.raises((TypeError, ValueError), match=r"choices\[0\] must"):
        QADataset.from_dataset(table)


# files

COLUMNS = {"prompt": "Frage", "choices": ["a", "b", "c"], "label": "gold"}
TABLE = 'Frage,a,b,c,gold\n"Liquid metal, at 20\u00b0?",tin,mercury,lead,b\n"A\nline break?",NA,,None,c\n'


@pytest.mark.parametrize(("suffix", "delimiter"), [(".csv", ","), (".tsv", "\t"), (".csv.gz", ",")])
def test_csv_cells_are_what_stands_there(tmp_path, suffix: str, delimiter: str) -> None:
    path = tmp_path / f"metals{suffix}"
    text = ("\ufeff" + TABLE).replace(",", delimiter).replace(f"metal{delimiter} at", "metal, at").encode()
    path.write_bytes(gzip.compress(text) if suffix.endswith("gz") else text)
    qa = QADataset.from_csv(path, **COLUMNS)
    assert qa.prompts == ("Liquid metal, at 20\u00b0?", "A\nline break?")
    assert [sorted(options) for options in qa.choices] == [["lead", "mercury", "tin"], ["NA", "None"]]
    assert qa.answers == ("mercury", "None")
    assert qa.name == "metals"


def test_csv_is_read_as_pandas_writes_it(tmp_path) -> None:
    frame = QA.to_pandas()
    frame["choices"] = frame["choices"].map(json.dumps)
    frame.to_csv(tmp_path / "qa.csv", index=False)
    assert QADataset.from_csv(tmp_path / "qa.csv") == QA


@pytest.mark.parametrize("lines", [True, False])
def test_json_is_read_as_pandas_writes_it(tmp_path, lines: bool) -> None:
    path = tmp_path / ("qa.jsonl" if lines else "qa.json")
    QA.to_pandas().to_json(path, orient="records", lines=lines)
    assert QADataset.from_json(path) == QA


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "line 1 must name each column once"),
        ("Frage,a,a,b,gold\n", "line 1 must name each column once"),
        ("Frage,a,b,c,gold\n", "must hold at least one question; it is empty"),
        (TABLE + "x,y\n", "line 5 must have 5 cells, as line 1 has. Got 2"),
        (TABLE + '"x,y', "line 5 must be CSV; unexpected end of data"),
        (TABLE + " ,p,q,r,a\n", r"line 5, column Frage: prompts must not .* prompts\[2\]"),
        (TABLE + "Which?,p,q,r,d\n", r"line 5, column gold: label\[2\] must"),
        (TABLE + "Which?,p,q,q,a\n", r"line 5, column a, b, c: choices\[2\] must hold different options"),
        (TABLE.replace("gold", "best"), "label must name a column of the table"),
    ],
)
def test_what_is_wrong_in_a_csv_file_is_said_with_its_place(tmp_path, text: str, message: str) -> None:
    path = tmp_path / "table.csv"
    path.write_text(text)
    with pytest.raises((TypeError, ValueError), match=rf"{path}:? ?{message}"):
        QADataset.from_csv(path, **COLUMNS)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"prompt": "a?"}\n\n{"prompt": ', "line 3 must be a JSON object; Expecting value"),
        (
            '{"prompt": "a?", "answer": "b"}\n\n{"prompt": "c?"}',
            r"line 3, column answer: answers must .*answers\[1\] = None",
        ),
        ('[{"prompt": "a?"}, {"prompt": 3}]', r"entry 1, column prompt: prompts must hold texts"),
        ("[]", "must hold at least one question"),
    ],
)
def test_what_is_wrong_in_a_json_file_is_said_with_its_place(tmp_path, text: str, message: str) -> None:
    path = tmp_path / "table.json"
    path.write_text(text)
    with pytest.raises((TypeError, ValueError), match=rf"{path} {message}"):
        QADataset.from_json(path)
