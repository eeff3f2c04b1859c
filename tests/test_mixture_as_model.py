"""What a user of transformers calls on a model, on a mixture: loops of their own, caches, losses, counts, casts."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from saved_ensembles import fitted, saved
from tiny_models import WithoutCache, fit, fitted_bigrams, fitted_members, plain_model, reference_mixture, tiny_learner
from torch import nn
from transformers import DynamicCache, PreTrainedModel, Trainer, TrainingArguments, WatermarkingConfig
from transformers.generation import GenerationMixin

from ensemw2s import CheckpointError, MixtureForCausalLM, TokenAdaBoostGenerator
from ensemw2s.mixture._cache import MixtureCache
from ensemw2s.mixture._model_of_members import _REFUSED

VOTES = [0.5, 2.0, 1.0]
IDS = torch.tensor([list(b"Sky is:"), list(b"a sea b")])


def members_of(kind):
    if kind == "mixed":  # a model with a cache beside one without, and a learner that reads the last token alone
        return [fitted_members("gemma3")[0], WithoutCache(fitted_members("gemma3")[1]), fitted_bigrams()[0]]
    return fitted_members("llama", {"lora": "default", "full": None}[kind])


def mixture_of(kind="lora"):
    return MixtureForCausalLM.from_members(members_of(kind), VOTES)


def loop(mixture, ids, n_new, past=None, between=lambda past: past, **kwargs):
    """The decoding loop of transformers' documentation."""
    written = []
    for _ in range(n_new):
        output = mixture(ids, past_key_values=past, **kwargs)
        past, ids = between(output.past_key_values), output.logits[:, -1].argmax(dim=-1, keepdim=True)
        written.append(ids)
    return torch.cat(written, dim=1)


def greedy(kind, ids, n_new):
    """Argmax of the mixture by its definition, token by token, without a cache."""
    rows = []
    for row in ids.tolist():
        for _ in range(n_new):
            row.append(int(reference_mixture(members_of(kind), VOTES, row)[-1].argmax()))
        rows.append(row[-n_new:])
    return torch.tensor(rows)


# --- loops and caches -------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["lora", "full", "mixed"])
def test_a_loop_written_by_hand_reads_what_is_in_the_cache(kind):
    mixture, expected = mixture_of(kind), greedy(kind, IDS, 5)
    assert_array_equal(loop(mixture, IDS, 5), expected)  # use_cache=None
    assert_array_equal(loop(mixture, IDS, 5, use_cache=True), expected)
    assert_array_equal(loop(mixture, IDS, 5, past=MixtureCache(), between=copy.deepcopy), expected)
    assert_array_equal(loop(mixture, IDS, 5, between=lambda past: pickle.loads(pickle.dumps(past))), expected)  # noqa: S301


def test_use_cache_is_what_the_configuration_says():
    mixture = mixture_of()
    assert mixture.config.use_cache is True
    mixture.config.use_cache = False
    assert mixture(IDS).past_key_values is None
    past = MixtureCache()
    assert mixture(IDS, past_key_values=past).past_key_values is None
    assert past.get_seq_length() == IDS.shape[1]  # as in a plain model, what is handed over is filled


@pytest.mark.parametrize("kind", ["lora", "full", "mixed"])
def test_a_prefix_is_read_once_for_several_continuations(kind):
    mixture = mixture_of(kind)
    prefix = mixture(IDS).past_key_values
    for token in (65, 66):
        ids = torch.cat([IDS, torch.full((2, 1), token)], dim=1)
        past = copy.deepcopy(prefix)
        output = mixture.generate(ids, past_key_values=past, max_new_tokens=3, do_sample=False, eos_token_id=[])
        assert_array_equal(output[:, ids.shape[1] :], greedy(kind, ids, 3))
        assert past.get_seq_length() == ids.shape[1] + 2  # the last token is not read
    assert prefix.get_seq_length() == IDS.shape[1]


@pytest.mark.slow
def test_a_prompt_is_read_in_parts_that_end_before_the_cue():
    members = [fit(tiny_learner(adapt="answer", random_state=seed)) for seed in range(2)]
    mixture = MixtureForCausalLM.from_members(members, [1.0, 2.0])
    settings = {"max_new_tokens": 3, "do_sample": False, "eos_token_id": []}
    expected = mixture.generate(IDS[:1], **settings)
    assert_array_equal(mixture.generate(IDS[:1], prefill_chunk_size=4, **settings), expected)


def test_copies_of_a_cache_share_the_models():
    mixture = mixture_of("full")
    past = mixture(IDS).past_key_values
    assert len(pickle.dumps(past)) < 4 * sum(p.numel() for p in mixture.members[0].model_.parameters())
    seen: dict = {}
    copy.deepcopy(past, seen)
    assert not [each for each in seen.values() if isinstance(each, nn.Module)]


@pytest.mark.parametrize("kind", ["lora", "mixed"])
def test_rows_of_a_cache_are_selected_and_repeated(kind):
    mixture = mixture_of(kind)
    past = mixture(IDS).past_key_values
    past.batch_repeat_interleave(2)
    past.batch_select_indices(torch.tensor([3, -4, 1]))
    rows, next_token = IDS[[1, 0, 0]], torch.full((3, 1), 65)
    logits = mixture(next_token, past_key_values=past).logits[:, -1]
    for row, ids in enumerate(torch.cat([rows, next_token], dim=1).tolist()):
        expected = reference_mixture(members_of(kind), VOTES, ids)[-1]
        assert_allclose(logits[row].double().log_softmax(dim=-1), expected, atol=1e-5)
    past.reset()
    assert_array_equal(mixture(IDS, past_key_values=past).logits, mixture(IDS).logits)


def test_a_cache_of_members_grouped_in_another_way_is_refused():
    past = mixture_of()(IDS, use_cache=True).past_key_values
    two = MixtureForCausalLM.from_members(members_of("lora")[:2], [1.0, 1.0])
    with pytest.raises(ValueError, match=r"past_key_values must be a cache of this mixture. Got one of members that"):
        two(IDS[:, :1], past_key_values=past)


def members_whose_past_is_taken_back(kind):
    if kind == "answer":
        return [fit(tiny_learner(adapt="answer", random_state=seed)) for seed in range(2)]
    return fitted_members(kind)[:2]


@pytest.mark.parametrize("logits_to_keep", [0, 1])
@pytest.mark.parametrize("kind", ["llama", "gemma3", "answer"])  # gemma3 keeps 7 tokens, fewer than are read here
@pytest.mark.slow
def test_what_was_read_is_taken_back_as_far_as_it_is_recorded(kind, logits_to_keep):
    mixture = MixtureForCausalLM.from_members(members_whose_past_is_taken_back(kind), [1.0, 2.0])
    ids = torch.tensor([list(b"Is the sky high?: it is")])
    expected = mixture(ids, use_cache=False).logits
    past = MixtureCache()
    past.activate_past_recording()
    output = mixture(ids, past_key_values=past, logits_to_keep=logits_to_keep)
    assert_allclose(output.logits, expected[:, -logits_to_keep:], atol=1e-4)
    for n_back in (4, 2):
        past.crop(-n_back)
        assert past.get_seq_length() == ids.shape[1] - n_back
        assert_allclose(mixture(ids[:, -n_back:], past_key_values=past).logits, expected[:, -n_back:], atol=1e-4)


@pytest.mark.parametrize(("name", "do_sample"), [("llama", False), ("llama", True), ("gemma3", False)])
def test_a_mixture_drafts_for_another_model(name, do_sample):
    members, ids = fitted_members(name)[:2], torch.tensor([list(b"Which is larger, 2 or 3?:")])
    plain, mixture = plain_model(members[0]).float(), MixtureForCausalLM.from_members(members, [1.0, 2.0])
    settings = {"max_new_tokens": 6, "do_sample": do_sample, "top_k": 1 if do_sample else None, "pad_token_id": 257}
    expected = plain.generate(ids, **settings)
    assert_array_equal(plain.generate(ids, assistant_model=mixture, **settings), expected)


# --- one pass ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "kept", [2, 99, torch.tensor([1]), torch.tensor([-1, 0, 3]), torch.arange(7) % 2 == 0], ids=str
)
def test_positions_are_kept_as_plain_models_keep_them(kept):
    plain = plain_model(members_of("lora")[0]).float()
    mixture = MixtureForCausalLM.from_members(members_of("lora")[:1], [1.0])
    with torch.no_grad():
        expected = plain(IDS, logits_to_keep=kept).logits
    assert_allclose(mixture(IDS, logits_to_keep=kept).logits, expected, atol=1e-5)


def test_the_loss_is_the_cross_entropy_of_the_labels():
    mixture, labels = mixture_of(), IDS.clone()
    labels[0, :3] = -100
    nll = [
        -reference_mixture(members_of("lora"), VOTES, row)[place, row[place + 1]]
        for row, wanted in zip(IDS.tolist(), labels.tolist(), strict=True)
        for place in range(6)
        if wanted[place + 1] != -100
    ]
    loss = mixture(IDS, labels=labels).loss
    assert loss.item() == pytest.approx(sum(nll) / len(nll), abs=1e-5)
    assert mixture(IDS, labels=labels, num_items_in_batch=4).loss.item() == pytest.approx(sum(nll) / 4, abs=1e-5)
    assert mixture(IDS, None, None, None, None, labels).loss.item() == loss.item()  # the order of transformers
    as_tuple = mixture(IDS, labels=labels, return_dict=False)
    assert as_tuple[0].item() == loss.item()
    assert as_tuple[1].shape == (2, 7, 258)
    with pytest.raises(NotImplementedError, match="The loss of a MixtureForCausalLM has no gradient"):
        loss.backward()
    with torch.no_grad():
        assert not mixture(IDS, labels=labels).loss.requires_grad
    with pytest.raises(ValueError, match=r"labels must have shape \(2, 1\)"):
        mixture(IDS, labels=labels, logits_to_keep=1)


def test_trainer_evaluates_a_mixture_and_does_not_train_it(tmp_path):
    mixture = mixture_of()
    settings = TrainingArguments(tmp_path, report_to="none", use_cpu=True, per_device_eval_batch_size=2, max_steps=1)
    rows = [{"input_ids": row, "labels": row} for row in IDS.tolist()]
    trainer = Trainer(model=mixture, args=settings, train_dataset=rows)
    found = trainer.predict(rows)
    expected = mixture(IDS, labels=IDS)
    assert found.metrics["test_loss"] == pytest.approx(expected.loss.item(), abs=1e-5)
    assert_allclose(found.predictions, expected.logits, atol=1e-5)
    with pytest.raises(NotImplementedError, match="MixtureForCausalLM has no"):
        trainer.train()


def test_logits_can_be_changed_in_place():
    for members in (members_of("full"), members_of("full")[:1]):
        logits = MixtureForCausalLM.from_members(members, VOTES[: len(members)])(IDS).logits
        logits[:, :, 0] = 0.0
        scale = torch.ones(258, requires_grad=True)
        (logits * scale).sum().backward()
        assert_allclose(scale.grad, logits.sum(dim=(0, 1)))
        assert scale.grad[0] == 0.0


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({}, ValueError, r"input_ids must be given, of shape \(B, L\). Got None"),
        ({"input_ids": IDS[0]}, ValueError, r"input_ids must have shape \(B, L\) with L > 0. Got shape \(7,\)"),
        ({"input_ids": IDS[:, :0]}, ValueError, r"input_ids must have shape .* Got shape \(2, 0\)"),
        ({"inputs_embeds": torch.zeros(1, 2, 32)}, ValueError, "inputs_embeds must be left out"),
        ({"input_ids": IDS, "output_hidden_states": True}, ValueError, "output_hidden_states must be left out"),
        ({"input_ids": IDS, "output_attentions": True}, ValueError, "output_attentions must be left out"),
        ({"input_ids": IDS, "attention_maks": IDS}, TypeError, "does not take 'attention_maks'"),
        ({"input_ids": IDS, "past_key_values": DynamicCache()}, TypeError, "an empty MixtureCache .* Got DynamicCache"),
        ({"input_ids": IDS, "logits_to_keep": -1}, ValueError, "logits_to_keep must be >= 0"),
        ({"input_ids": IDS, "position_ids": torch.zeros(3, 2, 7)}, ValueError, "position_ids must have shape"),
        (
            {"input_ids": IDS, "attention_mask": torch.zeros(2, 1, 7, 7)},
            ValueError,
            r"attention_mask must have shape \(2, 7\), .* Got shape \(2, 1, 7, 7\)",
        ),
    ],
)
def test_what_a_pass_cannot_use_is_refused_by_name(arguments, error, message):
    with pytest.raises(error, match=message):
        mixture_of()(**arguments)
    if {"inputs_embeds", "past_key_values"} & set(arguments):  # before members are picked, which no pass would see
        with pytest.raises(error, match=message):
            mixture_of().generate(**{"inputs": None, **arguments}, do_sample=True, top_k=0, max_new_tokens=2)


# --- the model as a whole ---------------------------------------------------------------------------------------------


def test_every_weight_is_counted_once():
    lora, full = mixture_of("lora"), mixture_of("full")
    base = plain_model(tiny_learner().initialize()).num_parameters()
    n_base = sum(p.numel() for p in lora.members[0]._host().model.parameters() if not p.requires_grad)
    adapter = sum(tensor.numel() for tensor in lora.members[0].adapter_.values())
    assert lora.num_parameters() == n_base + 3 * adapter
    assert full.num_parameters() == 3 * n_base
    assert base == n_base
    assert lora.num_parameters(only_trainable=True) == 0
    assert next(lora.parameters()).dtype == torch.float32
    assert lora.get_memory_footprint(return_buffers=False) == 4 * lora.num_parameters()
    named = dict(lora.named_parameters())
    for place, member in enumerate(lora.members):
        for name, tensor in member.adapter_.items():
            assert torch.equal(named[f"members.{place}.{name}"], tensor)
    assert set(named) | {"votes"} == set(lora.state_dict())
    bigrams = MixtureForCausalLM.from_members(fitted_bigrams(), [1.0, 1.0])
    assert bigrams.num_parameters() == 2 * 258 * 258


@pytest.mark.parametrize(
    "cast",
    [
        lambda mixture: mixture.half(),
        lambda mixture: mixture.bfloat16(),
        lambda mixture: mixture.double(),
        lambda mixture: mixture.to(torch.bfloat16),
        lambda mixture: mixture.to("cpu", dtype=torch.float16),
        lambda mixture: mixture.to(torch.zeros((), dtype=torch.float64)),
        lambda mixture: mixture.type(torch.float16),
    ],
)
def test_casts_are_refused_by_name(cast):
    with pytest.raises(
        NotImplementedError, match=r"has no \S+: its members compute in the dtype .* Pass dtype= to the learner"
    ):
        cast(mixture_of())


def test_what_changes_nothing_gives_the_mixture():
    mixture = mixture_of()
    before = mixture(IDS).logits
    for same in (mixture.float(), mixture.to(torch.float32), mixture.to("cpu"), mixture.cpu(), mixture.eval()):
        assert same is mixture
    assert mixture.requires_grad_(False) is mixture
    assert_array_equal(mixture(IDS).logits, before)
    assert mixture.votes.dtype == torch.float64


@pytest.mark.parametrize("name", [*_REFUSED, "train", "requires_grad_"])
def test_what_a_mixture_has_none_of_is_refused_by_name(name):
    assert hasattr(PreTrainedModel, name) or hasattr(GenerationMixin, name)
    with pytest.raises(NotImplementedError, match="MixtureForCausalLM has no"):
        getattr(mixture_of(), name)()


def test_the_configuration_states_the_longest_row():
    plain = plain_model(members_of("lora")[0])
    mixture = mixture_of()
    assert mixture.config.max_position_embeddings == plain.config.max_position_embeddings
    assert not hasattr(MixtureForCausalLM.from_members(fitted_bigrams(), [1.0, 1.0]).config, "max_position_embeddings")


# --- folders ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["tokens-lora", "tokens-full", "tokens-bigram"])
@pytest.mark.slow
def test_the_mixture_of_a_booster_is_saved_as_the_booster(kind, tmp_path):
    booster = fitted(kind)
    mixture = booster.mixture_
    expected = mixture(IDS).logits
    mixture.save_pretrained(tmp_path / "mixture")
    assert_array_equal(TokenAdaBoostGenerator.from_pretrained(tmp_path / "mixture").mixture_(IDS).logits, expected)
    for folder in (tmp_path / "mixture", saved(kind)):
        read = MixtureForCausalLM.from_pretrained(folder)
        assert_array_equal(read(IDS).logits, expected)
        assert read.generation_config.to_dict() == mixture.generation_config.to_dict()


@pytest.mark.slow
@pytest.mark.parametrize("combine", ["probabilities", "logits"])
def test_a_mixture_of_ones_own_is_loaded_to_the_bit(combine, tmp_path):
    members = [fitted("tokens-lora").estimators_[0], *fitted("tokens-full").estimators_]
    mixture = MixtureForCausalLM.from_members(members, [0.1, 0.7, 0.0], combine=combine)
    mixture.save_pretrained(tmp_path / "mixture")
    read = MixtureForCausalLM.from_pretrained(tmp_path / "mixture")
    assert read.config.combine == combine
    assert len(read.members) == 3
    assert_array_equal(read(IDS).logits, mixture(IDS).logits)
    read.save_pretrained(tmp_path / "again")
    with pytest.raises(FileExistsError):
        mixture.save_pretrained(tmp_path / "mixture")
    with pytest.raises(CheckpointError, match="holds a MixtureForCausalLM, not a TokenAdaBoostGenerator"):
        TokenAdaBoostGenerator.from_pretrained(tmp_path / "mixture")


def test_what_generate_does_by_default_is_saved(tmp_path):
    mixture = MixtureForCausalLM.from_members(fitted_bigrams(), [1.0, 2.0])
    mixture.generation_config.update(
        max_new_tokens=4, num_beams=2, sequence_bias={(98,): 6.0}, watermarking_config=WatermarkingConfig(bias=3.0)
    )
    mixture.save_pretrained(tmp_path / "mixture")
    read = MixtureForCausalLM.from_pretrained(tmp_path / "mixture")
    assert_array_equal(read.generate(IDS), mixture.generate(IDS))
    assert read.generate(IDS).shape[1] <= IDS.shape[1] + 4
    of_booster = fitted("tokens-bigram").mixture_
    of_booster.generation_config.num_beams = 2
    with pytest.warns(UserWarning, match="does not hold the generation_config of its mixture: num_beams"):
        of_booster.save_pretrained(tmp_path / "booster")


def test_a_mixture_whose_base_is_a_function_is_saved_with_the_base(tmp_path):
    with pytest.raises(TypeError, match="include_base=True"):
        mixture_of().save_pretrained(tmp_path / "mixture")
    mixture_of().save_pretrained(tmp_path / "mixture", include_base=True)
    assert_array_equal(MixtureForCausalLM.from_pretrained(tmp_path / "mixture")(IDS).logits, mixture_of()(IDS).logits)


@pytest.mark.slow
def test_a_folder_that_holds_no_mixture_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match="it is a LLMAdaBoostClassifier, whose members write no answers"):
        MixtureForCausalLM.from_pretrained(saved("classes-lora"))
    fitted("tokens-bigram").estimators_[0].save_pretrained(tmp_path / "learner")
    with pytest.raises(CheckpointError, match="holds a BigramLearner, not an ensemble that writes answers"):
        MixtureForCausalLM.from_pretrained(tmp_path / "learner")
