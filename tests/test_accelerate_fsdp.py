"""Two processes, started by `accelerate launch`, train and score a model of which each holds a part (FSDP2)."""

from __future__ import annotations

import json
import os
import runpy
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import sharded_script
import torch
from tiny_models import tiny_llama, untrained_model

from ensemw2s import byte_tokenizer

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

ROOT = Path(__file__).parents[1]
FOUND = {"correct", "votes", "errors", "staged_scores", "token_errors", "stop_reason"}


def launch(script: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run a script in two processes as the guide says; a hang ends as TimeoutExpired."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    config = ["--config_file", str(ROOT / "examples" / "fsdp_cpu.yaml"), "--main_process_port", str(port)]
    return subprocess.run(
        [sys.executable, "-m", "accelerate.commands.launch", *config, str(script), *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": str(ROOT)},
    )


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> str:
    """Folder of a tiny decoder with its tokenizer."""
    folder = tmp_path_factory.mktemp("llama")
    untrained_model(tiny_llama).save_pretrained(folder)
    byte_tokenizer().save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def alone(model) -> dict:
    """Results of one process."""
    return sharded_script.results(model)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Questions for the example, and what the launch leaves."""
    folder = tmp_path_factory.mktemp("launch")
    rows = [
        {
            "question": f"{word}{number}?",
            "correct_answer": answer,
            **{f"distractor{k}": f"{'xyz'[k - 1]}{number}" for k in (1, 2, 3)},
        }
        for number in range(10)
        for word, answer in (("Sky", "blue"), ("Sea", "blue"), ("Leaf", "green"))
    ]
    (folder / "sciq").mkdir()
    for split in ("train", "test"):
        text = "".join(json.dumps(row | {"question": split + row["question"]}) + "\n" for row in rows)
        (folder / "sciq" / f"{split}.jsonl").write_text(text, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def example(model, folder) -> list[str]:
    """An example of ours with its arguments."""
    settings = ["--data-dir", folder, "--weak", model, "--student", model, "--prior", "uniform", "--lr", "1e-2"]
    settings += ["--n-easy", 12, "--n-hard", 12, "--n-test", 8, "--epochs", 8, "--batch-size", 4, "--n-estimators", 2]
    return [str(part) for part in (ROOT / "examples" / "real_models.py", *settings)]


@pytest.fixture(scope="module")
def launched(model, folder, example) -> subprocess.CompletedProcess[str]:
    """The launch; see sharded_script."""
    script = ROOT / "tests" / "sharded_script.py"
    return launch(script, model, folder, 1, *example, "--out", folder / "two.json")


@pytest.fixture(scope="module")
def ranks(launched, folder) -> list[dict]:
    """Results of two processes."""
    assert (folder / "rank1.pt").exists(), launched.stderr[-5000:]
    return [torch.load(folder / f"rank{rank}.pt") for rank in range(2)]


PARTS = ["boosted", "fine-tuned", "classified"]


@pytest.mark.parametrize("part", PARTS)
def test_both_processes_end_with_the_same_numbers(ranks, part) -> None:
    torch.testing.assert_close(_numbers(ranks[0][part]), _numbers(ranks[1][part]), rtol=0, atol=0)


@pytest.mark.parametrize("part", PARTS)
def test_two_processes_do_what_one_does_with_the_same_batch(ranks, alone, part) -> None:
    torch.testing.assert_close(_numbers(ranks[0][part]), _numbers(alone[part]), rtol=0, atol=1e-4)


def test_written_answers_are_those_of_one_process(ranks, alone) -> None:
    assert ranks[0]["boosted"]["written"] == ranks[1]["boosted"]["written"] == alone["boosted"]["written"]


def test_members_learned_something(alone) -> None:
    assert (alone["boosted"]["votes"] > 1).all()


def test_each_process_holds_half_of_the_base(ranks, alone) -> None:
    whole = alone["boosted"]["size"]
    assert alone["boosted"]["held"] == (whole, whole)
    adapter = alone["boosted"]["adapter size"]
    for rank in ranks:
        held, size = rank["boosted"]["held"]
        assert size == whole
        assert held == (whole - adapter) // 2 + adapter


def test_the_base_stays_sharded_between_the_steps_of_a_training(ranks) -> None:
    for rank in ranks:
        assert rank["boosted"]["held in training"] == rank["boosted"]["held"][0]


def test_each_process_holds_half_of_a_model_that_is_trained_as_a_whole(ranks, alone) -> None:
    _, whole = alone["fine-tuned"]["held"]
    assert [rank["fine-tuned"]["held"] for rank in ranks] == [(whole // 2, whole)] * 2


def test_weights_that_the_first_process_alone_has_read_reach_the_other(ranks) -> None:
    assert [rank["sent"] for rank in ranks] == [True, True]


def test_divergence_is_raised_in_both_processes(ranks) -> None:
    for rank in ranks:
        assert "not finite" in rank["diverged"] or "training loss is nan" in rank["diverged"]


def test_different_draws_are_refused_in_both_processes(ranks) -> None:
    for rank in ranks:
        assert "give every random_state an int" in rank["unseeded"]


def test_a_batch_that_cannot_be_shared_out_is_refused(ranks) -> None:
    for rank in ranks:
        assert "batch_size must be a multiple of the number of processes, 2" in rank["uneven"]


def test_failure_of_one_process_ends_the_launch(launched) -> None:
    assert launched.returncode != 0
    assert "this process was told to fail" in launched.stderr


def test_example_finds_under_a_launch_what_it_finds_alone(launched, folder, example, monkeypatch, capsys) -> None:
    assert launched.stdout.count("seed 0") == 1, launched.stderr[-5000:]
    monkeypatch.setattr(sys, "argv", [*example, "--out", str(folder / "one.json")])
    runpy.run_path(example[0], run_name="__main__")
    capsys.readouterr()

    two, one = (json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))[0] for name in ("two", "one"))
    assert two["correct"] == one["correct"]
    for name in FOUND - {"correct", "stop_reason"}:
        assert two[name] == pytest.approx(one[name], abs=1e-4), name
    assert two["stop_reason"] == one["stop_reason"]


def _numbers(results: dict) -> dict:
    """What two runs must agree on; texts and sizes are compared elsewhere."""
    return {name: value for name, value in results.items() if isinstance(value, torch.Tensor | dict | list)} | {
        "written": None, "held": None
    }  # fmt: skip
