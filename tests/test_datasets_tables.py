from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from datasets import Dataset, DatasetDict

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
    assert qa.choices == (("tin", "mercury"),)
    assert qa.labels.tolist() == [1]


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
    with pytest.raises(ValueError, match=r"rows\[0\] must have keys among .*Got \['question'\]"):
        QADataset.from_list([{"question": "a"}])


def test_from_list_missing_prompt_is_refused() -> None:
    with pytest.raises(ValueError, match=r"rows\[0\] must have the key 'prompt'"):
        QADataset.from_list([{"answer": "a"}])


def test_from_list_rows_with_other_keys_are_refused() -> None:
    with pytest.raises(ValueError, match=r"rows\[1\] must have the keys of rows\[0\]"):
        QADataset.from_list([{"prompt": "a", "answer": "x"}, {"prompt": "b"}])
