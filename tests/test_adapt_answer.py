"""adapt="answer": equal to PEFT's own activated LoRA, which reads whole rows and knows nothing of a prompt cache."""

from __future__ import annotations

import copy
import pickle
import warnings
from functools import cache

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from peft import LoraConfig, PeftModel, VeraConfig
from peft.tuners.lora import LoraLayer
from sklearn.base import clone
from tiny_models import ANSWERS, CHOICES, FACTORIES, PROMPTS, fit, tiny_learner, tokens_for, untrained_model

from ensemw2s import (
    MixtureForCausalLM,
    TokenAdaBoostGenerator,
    TokenDataset,
    check_weak_learner,
    clear_model_cache,
)
from ensemw2s._forward.activated import answers_of_batch
from ensemw2s.mixture._groups import group_members
from ensemw2s.mixture._readers import reads_packed
from ensemw2s.mixture._scoring import option_nll, score_answers
from ensemw2s.storage import describe
from ensemw2s.tokens._dataset import pad_left
from ensemw2s.tokens._prompts import encode_for_learner

ARCHITECTURES = ["gemma3", "gpt2", "gpt_neox", "llama", "qwen3"]
TEMPLATE = "Q {prompt}\nA:"  # three tokens of the byte tokenizer follow the question


def learner_for(name="llama", **parameters):
    settings = {"prompt_template": TEMPLATE, "adapt": "answer", "epochs": 2, **parameters}
    return tiny_learner(FACTORIES.get(name, name), **settings)


@cache
def fitted(name="llama", seed=0):
    """A member whose adapter moves the logits by nats; tests must leave it as it is."""
    return fit(learner_for(name, random_state=seed, lr=3e-2))


def load_exported(learner, folder):
    """What PEFT makes of an adapter's folder, on a base of its own."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing", category=FutureWarning)
        return PeftModel.from_pretrained(untrained_model(learner.model), folder, is_trainable=True).eval()


@pytest.fixture(scope="module", params=ARCHITECTURES)
def pair(request, tmp_path_factory):
    """A member, and PEFT's activated LoRA with its adapter."""
    learner, folder = fitted(request.param), tmp_path_factory.mktemp("adapter")
    learner._host().save(learner.adapter_, folder, cue_ids=learner.cue_ids_)
    learner._host().forget_prompts()  # read while the adapter was still 0
    return learner, load_exported(learner, folder)


def answer_rows(model, tokens):
    """Logits that predict each row's answer, by one unpadded forward pass over the whole row."""
    for row in range(len(tokens)):
        prompt, answer = tokens.row_ids(row)
        yield model(torch.tensor([[*prompt, *answer[:-1]]])).logits[0, -len(answer) :]


def all_rows(tokens):
    return tokens.batch(np.arange(len(tokens)))


def left_padded(learner, prompts=PROMPTS):
    ids, mask = map(torch.from_numpy, pad_left(encode_for_learner(learner, prompts), 0))
    return ids, mask, (mask.cumsum(dim=1) - 1).clamp(min=0)


@torch.no_grad()
def check_next_logits(model, ids, mask, logits, atol=1e-5):
    for row in range(len(ids)):
        expected = model(ids[row][mask[row] == 1][None]).logits[0, -1]
        assert_allclose(logits[row, -1], expected, atol=atol)


# --- forward and backward against PEFT --------------------------------------------------------------------------------


@pytest.mark.slow
def test_answer_logits_equal_pefts_activated_lora(pair):
    learner, model = pair
    tokens = tokens_for(learner)
    logits = learner.answer_logits(all_rows(tokens))
    with torch.no_grad():
        assert_allclose(logits, torch.cat(list(answer_rows(model, tokens))), atol=1e-5)


@pytest.mark.slow
def test_the_adapter_is_not_that_of_all_tokens(pair):
    learner, model = pair
    tokens = tokens_for(learner)
    model.peft_config["default"].alora_invocation_tokens = [0, 0, 0]  # never found: the bare base
    with torch.no_grad():
        bare = list(answer_rows(model, tokens))
    model.peft_config["default"].alora_invocation_tokens = learner.cue_ids_
    with learner.lend_model() as everywhere, torch.no_grad():
        for row, logits in enumerate(answer_rows(everywhere, tokens)):
            mine = learner.answer_logits(tokens.batch([row]))
            assert (mine - logits).abs().max() > 0.1
            assert (mine - bare[row]).abs().max() > 0.1


def test_decode_step_equals_pefts_activated_lora(pair):
    learner, model = pair
    ids, mask, positions = left_padded(learner)
    logits, kv = learner.decode_step(ids, mask, positions, use_cache=True)
    check_next_logits(model, ids, mask, logits)
    order = torch.tensor([2, 0, 0, 3])
    kv.reorder_cache(order)
    ids, mask, positions = ids[order], mask[order], positions[order]
    for new in ([[104, 105], [110, 111], [97, 98], [99, 100]], [[32], [33], [34], [35]]):
        ids = torch.cat([ids, torch.tensor(new)], dim=1)
        mask = torch.cat([mask, torch.ones(4, len(new[0]), dtype=torch.int64)], dim=1)
        positions = (mask.cumsum(dim=1) - 1)[:, -len(new[0]) :]
        logits, kv = learner.decode_step(torch.tensor(new), mask, positions, cache=kv, use_cache=True)
        check_next_logits(model, ids, mask, logits)


def test_token_logits_equal_pefts_at_every_position(pair):
    learner, model = pair
    batch = all_rows(tokens_for(learner))
    logits = learner.token_logits(batch.input_ids, batch.attention_mask)
    for row, (ids, mask) in enumerate(zip(batch.input_ids, batch.attention_mask, strict=True)):
        with torch.no_grad():
            expected = model(torch.from_numpy(ids[mask == 1])[None]).logits[0]
        assert_allclose(logits[row, -len(expected) :], expected, atol=1e-5)


def test_option_scores_equal_pefts(pair):
    learner, model = pair
    nll = option_nll([learner], [1.0], PROMPTS, CHOICES)[0]
    for row, (prompt, options) in enumerate(zip(PROMPTS, CHOICES, strict=True)):
        tokens = TokenDataset.for_learner(learner, [prompt] * len(options), options)
        with torch.no_grad():
            for column, logits in enumerate(answer_rows(model, tokens)):
                answer = torch.from_numpy(tokens.row_ids(column)[1])
                expected = torch.nn.functional.cross_entropy(logits, answer, reduction="sum")
                assert_allclose(nll[row, column], expected, atol=2e-4)


def test_gradients_equal_pefts(pair):
    learner, model = pair
    tokens = tokens_for(learner)
    batch = all_rows(tokens)
    weight = np.random.default_rng(0).uniform(0.0, 1.0, tokens.n_tokens)
    rows = [torch.nn.functional.cross_entropy(
        logits, torch.from_numpy(tokens.row_ids(row)[1]), reduction="none"
    ) for row, logits in enumerate(answer_rows(model, tokens))]  # fmt: skip
    model.zero_grad()
    (torch.cat(rows) * torch.from_numpy(weight)).sum().backward()
    expected = {name: p.grad for name, p in model.named_parameters() if p.requires_grad}
    with learner.lend_model() as mine:
        mine.zero_grad()
        logits = answers_of_batch(mine, learner._host().prompts, batch, learner.cue_ids_)
        nll = torch.nn.functional.cross_entropy(logits, torch.from_numpy(tokens.labels), reduction="none")
        (nll * torch.from_numpy(weight)).sum().backward()
        found = {name: p.grad.clone() for name, p in mine.named_parameters() if p.requires_grad}
        mine.zero_grad()
    assert found.keys() == expected.keys()
    for name in expected:
        assert_allclose(found[name], expected[name], atol=1e-4, err_msg=name)


def test_a_step_of_training_is_pefts_gradient(tmp_path):
    one_step = {"optim": "sgd", "max_grad_norm": 0.0, "lr_scheduler_type": "constant"}
    learner = learner_for(epochs=1, batch_size=len(PROMPTS), training_args=one_step, lr=0.5)
    weight = np.random.default_rng(1).uniform(0.0, 1.0, tokens_for(learner.initialize()).n_tokens)
    fit(learner, weight)
    tokens = tokens_for(learner)
    start = {name: tensor * ("lora_A" in name) for name, tensor in learner.adapter_.items()}  # B starts at 0
    learner._host().save(start, tmp_path, cue_ids=learner.cue_ids_)
    model = load_exported(learner, tmp_path)
    nll = torch.cat([torch.nn.functional.cross_entropy(
        logits, torch.from_numpy(tokens.row_ids(row)[1]), reduction="none"
    ) for row, logits in enumerate(answer_rows(model, tokens))])  # fmt: skip
    ((nll * torch.from_numpy(weight)).sum() / weight.sum()).backward()
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            assert_allclose(learner.adapter_[name], -0.5 * parameter.grad, atol=1e-5, err_msg=name)


# --- one prompt, many readers -----------------------------------------------------------------------------------------


class Readings:
    """Counts the tokens, padding included, that a host's base reads without an adapter, and with one."""

    def __init__(self, learner):
        self.prompts = self.behind = 0
        self._base = learner._host().model.get_base_model()

    def __enter__(self):
        self._handle = self._base.get_input_embeddings().register_forward_hook(self._count)
        return self

    def __exit__(self, *_):
        self._handle.remove()

    def _count(self, module, inputs, _):
        # The layers are wrapped anew for each training.
        if next(layer.disable_adapters for layer in self._base.modules() if isinstance(layer, LoraLayer)):
            self.prompts += inputs[0].numel()
        else:
            self.behind += inputs[0].numel()


def prompt_tokens(learner, prompts=PROMPTS):
    return sum(len(ids) - len(learner.cue_ids_) for ids in encode_for_learner(learner, prompts))


@pytest.mark.slow
def test_training_reads_each_prompt_once():
    learner = learner_for(epochs=3, batch_size=2)
    fitted()._host().forget_prompts()
    with Readings(fitted()) as readings:
        fit(learner)
    assert readings.prompts == prompt_tokens(learner)
    with Readings(learner) as readings:
        fit(clone(learner).set_params(random_state=1))
    assert readings.prompts == 0
    assert readings.behind > 0


@pytest.mark.parametrize("what", ["answers", "options", "texts"])
def test_members_read_each_prompt_once(what):
    members = [fitted(seed=0), fitted(seed=1)]
    members[0]._host().forget_prompts()
    expected = prompt_tokens(members[0])
    with Readings(members[0]) as readings:
        if what == "answers":
            score_answers(members, [1.0, 1.0], tokens_for(members[0]), batch_size=2)
        elif what == "options":
            option_nll(members, [1.0, 1.0], PROMPTS, CHOICES, batch_size=6)
        else:
            ids, mask, _ = left_padded(members[0])
            mixture = MixtureForCausalLM.from_members(members, [1.0, 1.0])
            mixture.generate(input_ids=ids, attention_mask=mask, max_new_tokens=3, do_sample=False)
            expected = ids[:, :-3].numel()  # read as one batch
    assert readings.prompts == expected
    assert readings.behind > 0


def test_stacked_members_equal_one_after_another():
    members = [fitted(seed=0), fitted(seed=1)]
    alone = [group_members([member])[0] for member in members]
    (stacked,) = group_members(members)
    ids, mask, positions = left_padded(members[0])
    for batch in ((ids, mask, positions), (ids[:2], mask[:2], positions[:2])):
        ids, mask, positions = batch
        caches = [None, None, None]
        for _ in range(3):
            steps = [
                group.step(ids, mask, positions, kv, n_last=1, use_cache=True)
                for group, kv in zip([stacked, *alone], caches, strict=True)
            ]
            caches = [kv for _, kv in steps]
            assert_allclose(steps[0][0], torch.cat([steps[1][0], steps[2][0]]), atol=1e-5)
            order = torch.arange(len(ids)).flip(0)
            for kv in caches:
                kv.reorder_cache(order)
            ids = steps[0][0][0, :, -1].argmax(dim=-1)[order, None]
            mask = torch.cat([mask[order], torch.ones_like(ids)], dim=1)
            positions = mask.sum(dim=1, keepdim=True) - 1


def test_stacked_members_read_unequal_rows_one_after_another():
    members = [fitted(seed=0), fitted(seed=1)]
    (stacked,) = group_members(members)
    ids = torch.tensor([[*b"Q a\nA:bc"], [*b"\0Q a\nA:b"]])
    mask = torch.tensor([[1] * 8, [0] + [1] * 7])
    positions = (mask.cumsum(dim=1) - 1).clamp(min=0)
    logits, kv = stacked.step(ids, mask, positions, None, n_last=1, use_cache=True)
    new, longer = torch.tensor([[100], [101]]), torch.cat([mask, torch.ones(2, 1, dtype=torch.int64)], dim=1)
    logits, _ = stacked.step(new, longer, longer.sum(dim=1)[:, None] - 1, kv, n_last=1, use_cache=True)
    for place, member in enumerate(members):
        whole = member.token_logits(torch.cat([ids, new], dim=1), longer)
        assert_allclose(logits[place, :, 0], whole[:, -1], atol=1e-5)


def test_what_was_read_before_does_not_change_a_bit():
    learner = fitted()
    tokens = tokens_for(learner)
    learner._host().forget_prompts()
    at_once = learner.answer_logits(all_rows(tokens))
    learner._host().forget_prompts()
    for row in (3, 0, 2, 1):
        learner.answer_logits(tokens.batch([row]))
    assert_array_equal(learner.answer_logits(all_rows(tokens)), at_once)


@pytest.mark.parametrize(("memory", "disk"), [("0", "1GB"), ("0", "0"), ("20KB", "30KB")])
@pytest.mark.slow
def test_limits_of_the_cache_do_not_change_a_bit(monkeypatch, memory, disk):
    expected = fit(learner_for(batch_size=2))
    monkeypatch.setenv("ENSEMW2S_PROMPT_CACHE", memory)
    monkeypatch.setenv("ENSEMW2S_PROMPT_CACHE_DISK", disk)
    expected._host().forget_prompts()
    learner = fit(learner_for(batch_size=2))
    for name, tensor in expected.adapter_.items():
        assert_array_equal(learner.adapter_[name], tensor)
    learner._host().forget_prompts()


def test_clear_model_cache_frees_prompts_of_learners_in_use():
    learner = fitted()
    learner.answer_logits(all_rows(tokens_for(learner)))
    assert len(learner._host().prompts) > 0
    clear_model_cache()
    assert len(learner._host().prompts) == 0


# --- tokens -----------------------------------------------------------------------------------------------------------


def test_prompts_end_with_the_cue_where_the_tokenizer_would_merge_it():
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    vocabulary = {"<eos>": 0, "q": 1, "?": 2, "\n": 3, "A": 4, "?\n": 5, "b": 6, "a": 7, " ": 8}
    model = Tokenizer(models.BPE(vocabulary, [("?", "\n")]))
    model.pre_tokenizer = pre_tokenizers.Split("A", "isolated")
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=model, eos_token="<eos>")
    learner = learner_for(tokenizer=tokenizer, prompt_template="{prompt}\nA").initialize()
    assert learner.cue_ids_ == [3, 4]
    tokens = TokenDataset.for_learner(learner, ["q?", "qq"], ["b", "q"])
    assert [tokens.row_ids(row)[0].tolist() for row in range(2)] == [[1, 2, 3, 4], [1, 1, 3, 4]]
    assert tokens.row_ids(0)[1].tolist() == [8, 6, 0]
    together = TokenDataset.for_learner(clone(learner).set_params(adapt="all").initialize(), ["q?"], ["b"])
    assert together.row_ids(0)[0].tolist() == [1, 5, 4]


def test_long_prompts_are_cut_before_the_cue():
    learner = learner_for(max_length=12, truncation="prompt").initialize()
    tokens = TokenDataset.for_learner(learner, ["abcdefghijkl"], ["x"])
    assert bytes(tokens.row_ids(0)[0].tolist()) == b"ghijkl\nA:"
    with pytest.raises(ValueError, match="no room for its prompt"):
        TokenDataset.for_learner(learner, ["abc"], ["eight chr"])
    assert [bytes(ids) for ids in encode_for_learner(learner, ["abcdefgh"], room=5)] == [b"gh\nA:"]


def test_rows_without_the_cue_are_refused():
    learner = fitted()
    tokens = TokenDataset.from_text(PROMPTS, ANSWERS, tokenizer=learner.tokenizer_, prompt_template="{prompt}:")
    with pytest.raises(ValueError, match=r"prompts that end with the answer cue.*Row 0 does not"):
        clone(learner).fit(tokens, token_weight=np.ones(tokens.n_tokens))
    with pytest.raises(ValueError, match=r"The prompt of row 0 must end with the answer cue"):
        learner.answer_logits(all_rows(tokens))
    ids = torch.tensor([[*b"Q a\nA:"], [*b"abcdef"]])
    with pytest.raises(ValueError, match=r"Row 1 of input_ids must hold the answer cue"):
        learner.decode_step(ids, torch.ones_like(ids), torch.arange(6).expand(2, 6))


def test_a_cue_in_the_answer_does_not_move_the_adapter():
    learner = fitted()
    ids = torch.tensor([[*b"Q a\nA:bc\nA"], [*b"\0\0Q a\nA:bc"]])  # rows that are read again at each step
    mask = torch.tensor([[1] * 10, [0] * 2 + [1] * 8])
    _, kv = learner.decode_step(ids, mask, mask.cumsum(dim=1), use_cache=True)
    new, longer = torch.tensor([[58], [58]]), torch.cat([mask, torch.ones(2, 1, dtype=torch.int64)], dim=1)
    logits, _ = learner.decode_step(new, longer, longer.cumsum(dim=1)[:, -1:] - 1, cache=kv, use_cache=True)
    prompt = torch.tensor([[*b"Q a\nA:"]])
    _, kv = learner.decode_step(prompt, torch.ones_like(prompt), torch.arange(6)[None], use_cache=True)
    answer = torch.tensor([[*b"bc\nA:"]])
    expected, _ = learner.decode_step(answer, torch.ones(1, 11), torch.arange(6, 11)[None], cache=kv, use_cache=True)
    assert_allclose(logits[0], expected[0, -1:], atol=1e-5)


FEW_SHOT = "Q a\nA: b\nQ {prompt}\nA:"


@cache
def few_shot():
    return fit(learner_for(prompt_template=FEW_SHOT, epochs=1, lr=3e-2))


@pytest.mark.parametrize(
    ("member", "question", "answer", "acts_from"),
    [
        (fitted, "a b", "one", "\nA: one"),
        (fitted, "a b", "one\nA: two", "\nA: one\nA: two"),
        (fitted, "x\nA: y\nA: z", "one\nA:\nA:", "\nA: y\nA: z\nA: one\nA:\nA:"),
        (fitted, "x\nA", ":\nA: two", "\nA: :\nA: two"),
        (few_shot, "x", "one\nA: two", "\nA: one\nA: two"),
        (few_shot, "x\nA:", "one", "\nA:\nA: one"),
    ],
    ids=["one cue", "in the answer", "several in both", "across the boundary", "in an example", "and in the question"],
)
@pytest.mark.slow
def test_the_adapter_acts_from_one_place_however_a_row_is_read(member, question, answer, acts_from, tmp_path):
    learner = member()
    tokens = TokenDataset.for_learner(learner, [question], [answer])
    prompt, labels = (torch.from_numpy(ids) for ids in tokens.row_ids(0))
    row = torch.cat([prompt, labels])[None]
    learner._host().save(learner.adapter_, tmp_path, cue_ids=learner.cue_ids_)
    model = load_exported(learner, tmp_path)
    model.peft_config["default"].alora_invocation_tokens = [*acts_from.encode()]  # there is no other such place
    with torch.no_grad():
        logits = model(row).logits[0, len(prompt) - 1 : -1]
    expected = -torch.nn.functional.cross_entropy(logits, labels, reduction="sum")
    picks = torch.arange(len(labels)), labels

    assert_allclose(-score_answers([learner], [1.0], tokens).nll.sum(), expected, rtol=1e-5)
    assert_allclose(-option_nll([learner], [1.0], [question], [[answer, "no"]])[0, 0, 0], expected, rtol=1e-5)
    for members, votes in (([learner], [1.0]), ([learner, copy.copy(learner)], [1.0, 2.0])):
        mixture = MixtureForCausalLM.from_members(members, votes)
        plain = mixture(row).logits[0, len(prompt) - 1 : -1]
        assert_allclose(plain.log_softmax(dim=-1)[picks].sum(), expected, rtol=1e-5)
        uncached = [mixture(row[:, :end]).logits[0, -1] for end in range(len(prompt), row.shape[1])]
        assert_allclose(torch.stack(uncached), plain, atol=2e-5)
        cached, past = [mixture(row[:, : len(prompt)], use_cache=True)], None
        for token in labels[:-1]:
            past = cached[-1].past_key_values
            cached.append(mixture(token[None, None], past_key_values=past, use_cache=True))
        assert_allclose(torch.cat([step.logits[0, -1:] for step in cached]), plain, atol=2e-5)


# --- a weak learner like others ---------------------------------------------------------------------------------------


def test_results_without_it_are_found_under_their_old_description():
    assert "adapt" not in describe(learner_for(adapt="all"), "learner")["parameters"]
    assert describe(learner_for(), "learner")["parameters"]["adapt"] == "answer"


def test_sampling_does_not_read_prompts_with_the_adapter():
    assert reads_packed(learner_for(adapt="all").initialize(), max_length=50)
    assert not reads_packed(learner_for().initialize(), max_length=50)
    assert not reads_packed(fitted(), max_length=50)


@pytest.mark.slow
def test_it_is_a_complete_weak_learner():
    check_weak_learner(learner_for(epochs=1))


def test_clone_and_pickle_keep_it():
    learner = fitted()
    assert clone(learner).adapt == "answer"
    batch = all_rows(tokens_for(learner))
    other = pickle.loads(pickle.dumps(learner))  # noqa: S301
    assert other.adapt == "answer"
    assert_array_equal(other.answer_logits(batch), learner.answer_logits(batch))


@pytest.mark.slow
def test_an_ensemble_generates_as_pefts_adapters_from_its_folder(tmp_path):
    booster = TokenAdaBoostGenerator(
        learner_for(lr=2e-2), n_estimators=2, reweight=False, random_state=0
    ).fit(PROMPTS, ANSWERS)  # fmt: skip
    booster.save_pretrained(tmp_path / "saved", include_base=True)
    texts = booster.generate(PROMPTS, max_new_tokens=4)
    loaded = TokenAdaBoostGenerator.from_pretrained(tmp_path / "saved")
    assert loaded.estimators_[0].adapt == "answer"
    assert_array_equal(loaded.answer_nll(PROMPTS, ANSWERS), booster.answer_nll(PROMPTS, ANSWERS))
    member = booster.estimators_[0]
    models = [load_exported(member, tmp_path / "saved" / "members" / str(row)) for row in range(2)]
    for prompt, text in zip(PROMPTS, texts, strict=True):
        ids = encode_for_learner(member, [prompt])[0]
        n_prompt = len(ids)
        with torch.no_grad():
            while len(ids) < n_prompt + 4 and ids[-1] != member.tokenizer_.eos_token_id:
                ids.append(int(sum(m(torch.tensor([ids])).logits[0, -1].softmax(dim=-1) for m in models).argmax()))
        assert member.tokenizer_.decode(ids[n_prompt:], skip_special_tokens=True).strip() == text


# --- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"adapt": "prompt"}, "adapt must be one of 'all', 'answer'"),
        ({"peft_config": None}, "adapt must be 'all' where peft_config is None"),
        ({"peft_config": VeraConfig(target_modules="all-linear")}, "must be a LoraConfig. Got VeraConfig"),
        ({"peft_config": LoraConfig(modules_to_save=["lm_head"])}, "'all' with peft_config.modules_to_save"),
        ({"peft_config": LoraConfig(use_dora=True)}, "'all' with peft_config.use_dora"),
        ({"peft_config": LoraConfig(alora_invocation_tokens=[1], task_type="CAUSAL_LM")}, "tokens must be None"),
        ({"prompt_template": "Answer: {prompt}"}, "prompt_template must have text behind '{prompt}'"),
    ],
)
def test_parameters_that_are_refused(parameters, message):
    with pytest.raises(ValueError, match=message):
        learner_for(**parameters).initialize()


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"training_args": {"gradient_checkpointing": True}}, "'all' with activation checkpointing"),
        ({"training_args": {"activation_checkpointing": True}}, "'all' with activation checkpointing"),
        (
            {"peft_config": LoraConfig(target_modules=["embed_tokens"])},
            r"other than linear layers.*model\.embed_tokens",
        ),
    ],
)
def test_trainings_that_are_refused(parameters, message):
    with pytest.raises(ValueError, match=message):
        fit(learner_for(**parameters))


def tiny_mamba():
    from transformers import MambaConfig, MambaForCausalLM

    return MambaForCausalLM(MambaConfig(vocab_size=258, hidden_size=16, num_hidden_layers=1, state_size=4))


def test_a_model_without_keys_and_values_is_refused():
    with pytest.raises(ValueError, match="adapt must be 'all' for MambaForCausalLM"):
        fit(learner_for(tiny_mamba, peft_config=LoraConfig(target_modules=["in_proj"])))


def test_a_sharded_base_is_refused(monkeypatch):
    from ensemw2s._launch.processes import Launch

    launch = Launch(2, 0, "cpu", sharded=True)
    monkeypatch.setattr("ensemw2s.learners.hf_causal_lm.current_launch", lambda device: launch)
    with pytest.raises(ValueError, match="where the base is sharded"):
        learner_for().initialize()


def test_a_limit_that_is_no_size_is_refused(monkeypatch):
    monkeypatch.setenv("ENSEMW2S_PROMPT_CACHE", "much")
    fitted()._host().forget_prompts()
    with pytest.raises(ValueError, match=r"ENSEMW2S_PROMPT_CACHE must be a size, such as 500MB or 2GB. Got 'much'"):
        fit(learner_for())
