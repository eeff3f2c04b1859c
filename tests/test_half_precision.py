"""Models from functions in other types than float32: what transformers makes of the same weights in a file."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal
from peft import LoraConfig
from tiny_models import fit, tiny_gemma3, tiny_learner, tiny_llama, untrained_model

from ensemw2s import CheckpointError, HFCausalLM, clear_model_cache
from ensemw2s.storage import commit_folder, open_folder, read_state, write_state

IDS = np.array([[97, 98, 58, 99] * 20])


def halved_llama():
    return tiny_llama().half()


def scaled_llama():
    model = tiny_llama()
    model.model.rotary_emb.inv_freq.mul_(3)
    return model


@pytest.fixture(autouse=True)
def own_base():
    clear_model_cache()
    yield
    clear_model_cache()


def logits(learner):
    return learner.token_logits(IDS, np.ones_like(IDS))


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float64"])
@pytest.mark.parametrize("factory", [tiny_llama, tiny_gemma3])
@pytest.mark.slow
def test_weights_and_buffers_have_the_types_of_a_model_from_a_folder(factory, dtype, tmp_path):
    untrained_model(factory).save_pretrained(tmp_path)
    wanted = type(untrained_model(factory)).from_pretrained(tmp_path, dtype=getattr(torch, dtype))
    with tiny_learner(factory, peft_config=None, dtype=dtype).initialize().lend_model() as model:
        for kind in ("named_parameters", "named_buffers"):
            found = dict(getattr(model, kind)())
            for name, tensor in getattr(wanted, kind)():
                assert found[name].dtype == tensor.dtype
                assert torch.equal(found[name], tensor)
        assert (
            model.model.get_buffer(next(n for n, _ in model.model.named_buffers() if "inv_freq" in n)).dtype
            == torch.float32
        )


@pytest.mark.parametrize(("factory", "dtype"), [(tiny_llama, "bfloat16"), (halved_llama, "float32")])
@pytest.mark.slow
def test_a_learner_in_half_precision_is_read_as_it_was(factory, dtype, tmp_path):
    adapted = fit(tiny_learner(factory, dtype=dtype, epochs=1))
    before = logits(adapted)
    adapted.save_pretrained(tmp_path / "adapted", include_base=True)
    clear_model_cache()
    assert_array_equal(logits(HFCausalLM.from_pretrained(tmp_path / "adapted")), before)


@pytest.mark.parametrize(("factory", "dtype"), [(tiny_llama, "bfloat16"), (halved_llama, "float32")])
def test_a_round_of_a_full_member_in_half_precision_is_read_as_it_was(factory, dtype, tmp_path):
    learner = fit(tiny_learner(factory, dtype=dtype, peft_config=None, epochs=1))
    with commit_folder(tmp_path / "round", kind="round") as folder:
        record = write_state(learner, folder / "learner", "learner")
    again = tiny_learner(factory, dtype=dtype, peft_config=None, epochs=1)
    read_state(again, record, open_folder(tmp_path / "round", kind="round"), "learner")
    assert_array_equal(logits(again), logits(learner))


def test_buffers_that_the_configuration_does_not_know_are_missed_where_a_folder_is_read(tmp_path):
    learner = fit(tiny_learner(scaled_llama, epochs=1))
    learner.save_pretrained(tmp_path / "scaled", include_base=True)
    with pytest.raises(CheckpointError, match=r"not the base .*its buffer model\.rotary_emb\.inv_freq differs"):
        HFCausalLM.from_pretrained(tmp_path / "scaled")


# --- models that change while they are used ---------------------------------------------------------------------------


def rescaled_rwkv():
    from transformers import RwkvConfig, RwkvForCausalLM

    return RwkvForCausalLM(
        RwkvConfig(vocab_size=258, hidden_size=16, num_hidden_layers=2, context_length=96, rescale_every=1)
    )


def long_phi():
    from transformers import Phi3Config, Phi3ForCausalLM

    factors = {"rope_type": "longrope", "rope_theta": 1e4, "short_factor": [1.0] * 4, "long_factor": [8.0] * 4}
    shape = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2}
    return Phi3ForCausalLM(
        Phi3Config(
            vocab_size=258, **shape, num_key_value_heads=1, max_position_embeddings=96, initializer_range=0.2,
            original_max_position_embeddings=8, rope_parameters={**factors, "original_max_position_embeddings": 8},
            pad_token_id=257, bos_token_id=256, eos_token_id=256,
        )
    )  # fmt: skip


@pytest.mark.parametrize("factory", [rescaled_rwkv, long_phi])
@pytest.mark.slow
def test_what_a_forward_pass_changes_is_no_change_of_the_model(factory, tmp_path):
    full = fit(tiny_learner(factory, peft_config=None, epochs=1))
    wanted = logits(full)
    with commit_folder(tmp_path / "round", kind="round") as folder:
        record = write_state(full, folder / "learner", "learner")
    again = tiny_learner(factory, peft_config=None, epochs=1)
    read_state(again, record, open_folder(tmp_path / "round", kind="round"), "learner")
    assert_array_equal(logits(again), wanted)
    bare = untrained_model(factory)
    bare.load_state_dict(full.model_.state_dict())
    with torch.no_grad():
        plain = bare(torch.from_numpy(IDS), use_cache=False).logits
    np.testing.assert_allclose(wanted, plain, atol=1e-3)

    adapted = fit(tiny_learner(factory, epochs=1))
    before = logits(adapted)
    fit(tiny_learner(factory, peft_config=LoraConfig(r=2, target_modules="all-linear"), epochs=1))
    assert_array_equal(logits(adapted), before)
    adapted.save_pretrained(tmp_path / "adapted", include_base=True)
    clear_model_cache()
    assert_array_equal(logits(HFCausalLM.from_pretrained(tmp_path / "adapted")), before)
