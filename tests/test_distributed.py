"""What a launch of several processes refuses and how it shares out a batch; test_accelerate_fsdp.py has real ones."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from peft import LoraConfig
from tiny_models import tiny_llama

from ensemw2s._launch.processes import Launch, current_launch
from ensemw2s._launch.sharding import shard
from ensemw2s._training.trainer import FILLER, fill_rows

ALONE = Launch(1, 0, "cpu", sharded=False)
SHARDED = Launch(2, 0, "cpu", sharded=True)


@pytest.fixture
def fsdp(monkeypatch):
    """Set a variable of the launcher's environment."""
    monkeypatch.setenv("FSDP_VERSION", "2")
    return monkeypatch.setenv


def test_a_batch_system_without_a_launcher_is_no_launch(monkeypatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "8")
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    assert current_launch("cpu") == ALONE


def test_one_process_leaves_tensors_as_they_are() -> None:
    tensor = torch.ones(2)
    assert ALONE.tensor_from_first(tensor) is tensor
    assert ALONE.mean(tensor) is tensor


def test_fillers_become_rows_without_weight() -> None:
    rows, is_real = fill_rows([5, 3, FILLER, FILLER])
    np.testing.assert_array_equal(rows, [5, 3, 5, 5])
    np.testing.assert_array_equal(is_real, [True, True, False, False])


def test_a_part_of_a_batch_may_hold_nothing_but_fillers() -> None:
    rows, is_real = fill_rows([FILLER, FILLER])
    assert (rows == 0).all()
    assert not is_real.any()


def test_batch_size_must_go_round() -> None:
    assert SHARDED.share_of_batch(8) == 4
    with pytest.raises(ValueError, match=r"batch_size must be a multiple of the number of processes, 2.*Got 7 instead"):
        SHARDED.share_of_batch(7)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"use_dora": True}, r"peft_config\.use_dora must be False"),
        ({"init_lora_weights": "orthogonal"}, r"peft_config\.init_lora_weights must be True, False or 'gaussian'"),
    ],
)
def test_adapters_that_read_the_base_are_refused_where_it_is_sharded(settings, message) -> None:
    config = LoraConfig(target_modules="all-linear", **settings)
    ALONE.check_adapters(config)
    with pytest.raises(ValueError, match=message):
        SHARDED.check_adapters(config)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("FSDP_VERSION", "1", "fsdp_version must be 2.*Got 1 instead"),
        ("FSDP_OFFLOAD_PARAMS", "true", "fsdp_offload_params must be false"),
        ("FSDP_TRANSFORMER_CLS_TO_WRAP", "NoSuchLayer", "it has none of class.*NoSuchLayer"),
    ],
)
def test_a_configuration_that_is_not_supported_is_refused(fsdp, name, value, message) -> None:
    fsdp(name, value)
    with pytest.raises(ValueError, match=message):
        shard(tiny_llama(), "cpu")
