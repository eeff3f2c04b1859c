"""lm-evaluation-harness on a mixture, through its own ``HFLM``: the same scores, choice for choice, and accuracy."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import lm_eval
import numpy as np
import pytest
import torch
from chat_tokenizers import N_VOCABULARY, chat_tokenizer
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager
from numpy.testing import assert_allclose
from tiny_models import SHAPE, TEMPLATE, fitted_members
from transformers import LlamaConfig, LlamaForCausalLM

from ensemw2s import HFCausalLM, MixtureForCausalLM, make_qa
from ensemw2s.mixture._scoring import option_nll

QUESTIONS = make_qa(8, random_state=3)
VOTES = [1.0, 0.3, 2.0]


def evaluate(mixture: Any, tokenizer: Any, folder: Path, frame: str, end: str, **settings: Any) -> tuple[list, float]:
    """The harness' log-likelihoods of each question's options, and its accuracy, on a task from a local file."""
    path = folder / "questions.jsonl"
    with open(path, "w", encoding="utf-8") as file:
        for question in QUESTIONS:
            options = [option + end for option in question.choices]
            file.write(json.dumps({"question": question.prompt, "options": options, "gold": question.label}) + "\n")
    task = {
        "task": "own_questions",
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(path)}, "cache_dir": str(folder / "cache")},
        "test_split": "test",
        "output_type": "multiple_choice",
        "doc_to_text": frame.replace("{prompt}", "{{question}}"),
        "doc_to_choice": "{{options}}",
        "doc_to_target": "gold",
        "metric_list": [{"metric": "acc", "aggregation": "mean", "higher_is_better": True}],
    }
    lm = HFLM(mixture, tokenizer=tokenizer, backend="causal", max_length=256, batch_size=8)
    results = lm_eval.simple_evaluate(
        lm,
        tasks=[task],
        task_manager=TaskManager(include_defaults=False),  # thousands of files, none of which is needed
        bootstrap_iters=0,
        **settings,
    )
    samples = sorted(results["samples"]["own_questions"], key=lambda sample: sample["doc_id"])
    scores = [[float(log_likelihood) for log_likelihood, _ in sample["filtered_resps"]] for sample in samples]
    return scores, results["results"]["own_questions"]["acc,none"]


@pytest.fixture(autouse=True)
def _no_survey_of_the_machine(monkeypatch):
    """It goes into the harness' report, and takes seconds."""
    monkeypatch.setattr("torch.utils.collect_env.get_pretty_env_info", str)


def our_nll(members: Any, votes: list[float]) -> np.ndarray:
    return option_nll(members, votes, QUESTIONS.prompts, QUESTIONS.choices)[0]


def accuracy(nll: np.ndarray) -> float:
    return float(np.mean(nll.argmin(axis=1) == QUESTIONS.labels))


def test_scores_and_accuracy_are_ours(tmp_path):
    members = fitted_members("llama")
    tokenizer = members[0].tokenizer_
    mixture = MixtureForCausalLM.from_members(members, VOTES)
    scores, their_accuracy = evaluate(mixture, tokenizer, tmp_path, TEMPLATE, tokenizer.eos_token)
    nll = our_nll(members, VOTES)
    for row, theirs in enumerate(scores):
        assert_allclose(theirs, -nll[row, : len(theirs)], rtol=1e-4)
    assert their_accuracy == accuracy(nll)


def untrained_chat_llama() -> Any:
    config = LlamaConfig(vocab_size=N_VOCABULARY, **SHAPE, max_position_embeddings=256, initializer_range=0.2)
    return LlamaForCausalLM(config)


def test_scores_in_a_chat_are_ours_but_for_the_line_break_before_an_answer(tmp_path):
    tokenizer = chat_tokenizer("chatml")
    member = HFCausalLM(untrained_chat_llama, tokenizer=tokenizer, prompt_template="chat").initialize()
    mixture = MixtureForCausalLM.from_members([member], [1.0])
    scores, their_accuracy = evaluate(mixture, tokenizer, tmp_path, "{prompt}", "<|im_end|>", apply_chat_template=True)
    nll = our_nll([member], [1.0])
    for row, theirs in enumerate(scores):
        shift = np.array(theirs) + nll[row, : len(theirs)]
        assert_allclose(shift, shift[0], atol=1e-3)
        assert_allclose(shift[0], line_break(member, QUESTIONS.prompts[row]), atol=1e-3)
    assert their_accuracy == accuracy(nll)


def line_break(member: Any, question: str) -> float:
    """Log-probability of the line break that ends a prompt, which the harness counts with the answer."""
    messages = [{"role": "user", "content": question}]
    ids = member.tokenizer_.apply_chat_template(messages, add_generation_prompt=True)["input_ids"]
    with member.lend_model() as model, torch.no_grad():
        return float(model(torch.tensor([ids])).logits[0, -2].log_softmax(-1)[ids[-1]])
