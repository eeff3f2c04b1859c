"""Pipelines of transformers on fitted learners, data sets of `datasets` on disk, and a real chat model."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import ClassLabel, Dataset, Features, IterableDataset, Value, load_from_disk
from numpy.testing import assert_allclose
from tiny_classifiers import OPINIONS, SENTENCES, bert_classifier
from transformers import AutoModelForCausalLM, AutoTokenizer, pipeline

from ensemw2s import (
    BigramLearner,
    FineTunedGenerator,
    HFCausalLM,
    MixtureForCausalLM,
    PseudoLabeler,
    QADataset,
    TokenDataset,
    make_qa,
)
from ensemw2s.tokens._prompts import encode_for_learner

QUESTIONS = make_qa(6, random_state=0)


def test_text_classification_pipeline_gives_our_probabilities():
    classifier = bert_classifier(epochs=1).fit(SENTENCES, OPINIONS)
    with classifier.lend_model() as model:
        classify = pipeline("text-classification", model=model, tokenizer=classifier.tokenizer_, top_k=None)
        found = classify(SENTENCES[:3])
    for row, labels in enumerate(found):
        scores = [label["score"] for label in sorted(labels, key=lambda label: label["label"])]  # LABEL_0, LABEL_1
        assert_allclose(scores, classifier.predict_proba(SENTENCES[row : row + 1])[0], atol=1e-6)


def test_a_dataset_survives_the_disk_and_its_own_methods(tmp_path):
    QUESTIONS.to_dataset().save_to_disk(tmp_path / "questions")
    table = load_from_disk(tmp_path / "questions")
    assert QADataset.from_dataset(table) == QUESTIONS
    picked = table.map(lambda row: {"prompt": row["prompt"] + "?"}).filter(lambda row: row["label"] == 0)
    expected = [row for row in range(len(QUESTIONS)) if QUESTIONS.labels[row] == 0]
    found = QADataset.from_dataset(picked)
    assert list(found.prompts) == [QUESTIONS.prompts[row] + "?" for row in expected]
    assert list(found.answers) == [QUESTIONS.answers[row] for row in expected]


def test_pseudo_labels_become_a_dataset_to_train_elsewhere():
    teacher = FineTunedGenerator(BigramLearner()).fit(QUESTIONS)
    labels = PseudoLabeler().label(teacher, QUESTIONS.drop_answers())
    table = labels.X.to_dataset().add_column("answer", labels.y.tolist())
    assert QADataset.from_dataset(table).answers == tuple(labels.y)


def test_numbers_of_a_class_label_index_the_options():
    features = Features({
        "question": Value("string"), "choices": [Value("string")], "gold": ClassLabel(names=["A", "B"])
    })  # fmt: skip
    table = Dataset.from_dict({"question": ["Liquid metal?"], "choices": [["tin", "mercury"]], "gold": [1]}, features)
    assert QADataset.from_dataset(table, label="gold").answers == ("mercury",)


def test_a_stream_has_to_be_taken_first():
    stream = IterableDataset.from_generator(lambda: iter([{"prompt": "a"}]))
    with pytest.raises(
        TypeError, match=r"Got IterableDataset instead; take rows of a stream, as in datasets.Dataset.fr"
    ):
        QADataset.from_dataset(stream)
    assert QADataset.from_dataset(Dataset.from_list(list(stream.take(1)))).prompts == ("a",)


def smollm2() -> Path:
    path = Path(__file__).parents[1] / "examples" / "_weights.py"
    spec = importlib.util.spec_from_file_location("weights_of_smollm2", path)
    assert spec is not None
    assert spec.loader is not None
    weights: Any = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = weights  # dataclasses look their module up
    spec.loader.exec_module(weights)
    try:
        return weights.smollm2_135m()
    except weights.WeightsUnavailableError as error:
        pytest.skip(f"SmolLM2 cannot be downloaded here: {error}")


@pytest.mark.slow
def test_smollm2_answers_in_its_chat_as_in_transformers_pipeline():
    pytest.importorskip("gguf", reason="the package gguf reads the weights")
    folder = smollm2()
    question = "What is the capital of France? Answer in one sentence."
    learner = HFCausalLM(str(folder), prompt_template="chat", peft_config=None, device="cpu").initialize()
    mixture = MixtureForCausalLM.from_members([learner], [1.0])
    [ids] = encode_for_learner(learner, [question])
    output = mixture.generate(torch.tensor([ids]), max_new_tokens=30, do_sample=False)[0, len(ids) :]
    tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, trust_remote_code=False)
    chat = pipeline("text-generation", model=model, tokenizer=tokenizer)
    [reply] = chat([{"role": "user", "content": question}], max_new_tokens=30, do_sample=False)
    answer = reply["generated_text"][-1]["content"]
    assert "Paris" in answer
    assert tokenizer.decode(output) == answer + "<|im_end|>"
    row = TokenDataset.for_learner(learner, [question], [answer]).row_ids(0)
    assert [part.tolist() for part in row] == [ids, output.tolist()]  # it is trained on what it would write
