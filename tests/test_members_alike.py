"""One tokenizer or two: judged by what they hold. And bases with one tokenizer and spare embeddings."""

from __future__ import annotations

import copy
import json
import re
from functools import partial

import numpy as np
import pytest
import torch
from member_learners import TEMPLATE, X, Y, by_words, taught
from numpy.testing import assert_allclose, assert_array_equal
from tiny_models import N_POSITIONS, SHAPE, reference_log_proba, tiny_learner
from tokenizers.processors import TemplateProcessing
from transformers import AutoTokenizer, ByT5Tokenizer, CTRLTokenizer

from ensemw2s import (
    BigramLearner,
    HFCausalLM,
    HFClassifier,
    MixtureForCausalLM,
    TokenDataset,
    byte_tokenizer,
    word_tokenizer,
)
from ensemw2s.ensemble import describe_estimator
from ensemw2s.mixture._alike import apart, difference, group_alike, narrowest, same_tokenizer
from ensemw2s.mixture._scoring import option_nll, score_answers
from ensemw2s.storage import Writer, describe
from ensemw2s.tokens._digest import digest_tokenizer

COLOURS = word_tokenizer(["red green blue"])


def with_other_end():
    tokenizer = word_tokenizer(["red green blue"])
    tokenizer.eos_token = "<pad>"
    return tokenizer


def with_more_words():
    tokenizer = word_tokenizer(["red green blue"])
    tokenizer.add_tokens(["black"])
    return tokenizer


def lowered():
    from tokenizers.normalizers import Lowercase

    tokenizer = word_tokenizer(["red green blue"])
    tokenizer.backend_tokenizer.normalizer = Lowercase()
    return tokenizer


def padded():
    tokenizer = word_tokenizer(["red green blue"])
    tokenizer(["red", "red green"], padding=True, truncation=True, max_length=3)
    return tokenizer


def changed(**attributes):
    tokenizer = word_tokenizer(["red green blue"])
    for name, value in attributes.items():
        setattr(tokenizer, name, value)
    return tokenizer


def with_markers():
    tokenizer = word_tokenizer(["red green blue"])
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(single="<eos> $A", special_tokens=[("<eos>", 1)])
    return tokenizer


@pytest.mark.parametrize(
    ("make", "same"),
    [
        (lambda: word_tokenizer(["blue red", "green"]), True),
        (lambda: copy.deepcopy(COLOURS), True),
        (padded, True),
        (lambda: word_tokenizer(["red green black"]), False),  # of the same size
        (with_other_end, False),
        (with_more_words, False),
        (lowered, False),
        (byte_tokenizer, False),
        (ByT5Tokenizer, False),
        (lambda: changed(padding_side="right", truncation_side="left", pad_token="<eos>", model_max_length=9), True),
        (lambda: changed(chat_template="{{ messages }}"), True),
        (lambda: changed(clean_up_tokenization_spaces=True), False),
        (lambda: changed(split_special_tokens=True), False),
        (lambda: changed(bos_token="<eos>"), False),
        (with_markers, False),
    ],
    ids=["made again", "copy", "used with padding", "other words", "other end", "more words", "other rules", "bytes",
         "without a backend", "other padding and cuts", "other chat", "clean-up", "special tokens split", "BOS",
         "adds a token"],
)  # fmt: skip
def test_tokenizers_are_compared_by_what_they_hold(make, same):
    assert same_tokenizer(COLOURS, make()) is same
    assert same_tokenizer(make(), COLOURS) is same


def test_a_tokenizer_that_was_changed_is_another():
    tokenizer = word_tokenizer(["red green blue"])
    assert same_tokenizer(tokenizer, COLOURS)
    tokenizer.add_tokens(["black"])
    assert not same_tokenizer(tokenizer, COLOURS)


def test_tokenizers_without_a_backend_are_compared_by_their_vocabulary():
    assert same_tokenizer(ByT5Tokenizer(), ByT5Tokenizer())
    assert not same_tokenizer(ByT5Tokenizer(), ByT5Tokenizer(extra_ids=3))


def test_tokenizers_without_a_backend_differ_in_their_merges(tmp_path):
    (tmp_path / "vocab.json").write_text(json.dumps({"<unk>": 0, "a@@": 1, "b": 2, "ab": 3, "a": 4}))
    made = []
    for merges in ("a b</w>\n", ""):
        (tmp_path / "merges.txt").write_text(f"#version: 0.2\n{merges}\n")
        made.append(CTRLTokenizer(str(tmp_path / "vocab.json"), str(tmp_path / "merges.txt"), eos_token="<unk>"))
    assert made[0].get_vocab() == made[1].get_vocab()
    assert not same_tokenizer(*made)


@pytest.mark.parametrize("make", [byte_tokenizer, lambda: changed(chat_template="{{ messages }}"), ByT5Tokenizer])
def test_how_a_tokenizer_was_used_and_stored_makes_no_other_one_of_it(make, tmp_path):
    used, plain = make(), make()
    used(["red", "red green blue"], padding=True, truncation=True, max_length=2)
    used.save_pretrained(tmp_path / "tokenizer")
    loaded = AutoTokenizer.from_pretrained(tmp_path / "tokenizer")
    assert digest_tokenizer(used) == digest_tokenizer(plain) == digest_tokenizer(loaded)
    assert describe(HFCausalLM("m", tokenizer=used), "x") == describe(HFCausalLM("m", tokenizer=plain), "x")
    writer = Writer(tmp_path / "ensemble", include_base=False)
    for tokenizer in (plain, used, loaded):
        writer.estimator(BigramLearner(tokenizer), "estimator")
    assert writer.shared()["tokenizers"] == ["tokenizer"]


@pytest.mark.parametrize(
    ("learner", "changes"),
    [
        (BigramLearner, {"eos_token": "<unk>", "clean_up_tokenization_spaces": True}),
        (partial(BigramLearner, prompt_template="chat"), {"chat_template": "other"}),
        (partial(HFCausalLM, "m", prompt_template="chat"), {"chat_template": "other"}),
        (partial(HFClassifier, "m"), {"eos_token": "<unk>", "pad_token": "<unk>", "truncation_side": "left"}),
        (partial(HFClassifier, "m", prompt_template="chat"), {"chat_template": "other"}),
    ],
    ids=["bigram", "bigram in a chat", "decoder in a chat", "classifier", "classifier in a chat"],
)
def test_a_changed_tokenizer_is_noticed_by_checkpoints_and_sweeps(learner, changes):
    before = learner(tokenizer=changed())
    for name, value in changes.items():
        after = learner(tokenizer=changed(**{name: value}))
        assert describe(after, "x") != describe(before, "x"), name
        assert describe_estimator(after, "x") != describe_estimator(before, "x"), name


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, ""),
        ({"prompt_template": "{prompt} !"}, "prompt_template"),
        ({"truncation": "prompt"}, ""),
        ({"cue_ids_": [3]}, "adapt"),
        ({"tokenizer_": byte_tokenizer()}, "tokenizer"),
        ({"max_length_": 5}, ""),
    ],
)
def test_what_differs_is_named(change, expected):
    one, other = by_words().initialize(), by_words().initialize()
    vars(other).update(change)
    assert difference(one, other) == difference(other, one) == expected


def test_a_chat_template_counts_where_it_is_used():
    one, other = (BigramLearner(copy.deepcopy(COLOURS)).initialize() for _ in range(2))
    one.tokenizer_.chat_template, other.tokenizer_.chat_template = "a", "b"
    assert difference(one, other) == ""
    for learner in (one, other):
        learner.prompt_template = "chat"
    assert difference(one, other) == "chat template"


def test_learners_are_grouped_in_their_order():
    learners = [by_words(), BigramLearner(), by_words(), BigramLearner(), BigramLearner(prompt_template=TEMPLATE)]
    assert group_alike([learner.initialize() for learner in learners]) == [[0, 2], [1, 3], [4]]


def test_rows_are_cut_for_the_member_that_takes_the_shortest():
    members = [taught(by_words(), X, Y) for _ in range(3)]
    members[1].max_length_, members[2].max_length_ = 6, 40
    assert narrowest(members) is members[1]
    with pytest.raises(ValueError, match="max_length=6"):
        option_nll(members, [1, 1, 1], ["sky sea leaf night ?"], [["deep blue"]])


def test_rows_are_refused_where_any_member_refuses_them():
    cuts, refuses = tiny_learner(truncation="prompt", max_length=12), tiny_learner(max_length=40)
    members = [cuts.initialize(), refuses.initialize()]
    assert group_alike(members) == [[0, 1]]
    assert narrowest(members[:1]) is members[0]
    for order in (members, members[::-1]):
        with pytest.raises(ValueError, match="max_length=12"):
            TokenDataset.for_learner(narrowest(order), ["Which is larger?"], ["2"])
    assert members[0].truncation == "prompt"
    assert len(TokenDataset.for_learner(members[0], ["Which is larger?"], ["2"]).row_ids(0)[0]) < 12


@pytest.mark.parametrize(
    ("parameters", "reason"),
    [
        (
            {"prompt_template": "? {prompt}"},
            r"put questions into different templates \(prompt_template\): they are not",
        ),
        ({"adapt": "answer"}, "differ in adapt: the cue before the answer is cut apart"),
    ],
)
def test_the_reason_names_what_differs(parameters, reason):
    learners = [tiny_learner().initialize(), tiny_learner(**parameters).initialize()]
    assert re.match(f"Members 0 and 1 {reason}", apart(learners, [[0], [1]]))


# --- the mixture -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [lambda: word_tokenizer(["red green black"]), with_other_end, lowered])
def test_tokens_of_different_tokenizers_of_one_size_are_not_mixed(make):
    members = [BigramLearner(tokenizer).initialize() for tokenizer in (COLOURS, COLOURS, make())]
    with pytest.raises(ValueError, match=r"must have one tokenizer. Got.* \[6, 6, 6\] .*that of member 2 is"):
        MixtureForCausalLM.from_members(members, [1, 1, 1])


def narrow_llama():
    return _llama(258, seed=1)


def wide_llama():
    return _llama(270, seed=2)


def _llama(n_embeddings, seed):
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(seed)
    config = {**SHAPE, "num_hidden_layers": 1, "max_position_embeddings": N_POSITIONS, "initializer_range": 0.2}
    return LlamaForCausalLM(LlamaConfig(vocab_size=n_embeddings, num_key_value_heads=1, **config))


@pytest.fixture(scope="module")
def bases():
    settings = {"tokenizer": byte_tokenizer(), "prompt_template": TEMPLATE, "peft_config": None}
    return [HFCausalLM(make, **settings).initialize() for make in (narrow_llama, wide_llama)]


def mixed_by_hand(bases, votes, ids, combine):
    """Log of Eq. 1 over 270 ids, of which the first base never says the last twelve."""
    logs = [reference_log_proba(base, ids) for base in bases]
    logs[0] = np.pad(logs[0], ((0, 0), (0, 12)), constant_values=-np.inf)
    shares = np.array(votes) / np.sum(votes)
    if combine == "probabilities":
        return np.log(sum(share * np.exp(log) for share, log in zip(shares, logs, strict=True)))
    mean = sum(share * log for share, log in zip(shares, logs, strict=True))
    return mean - np.log(np.exp(mean).sum(axis=-1, keepdims=True))


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
@pytest.mark.parametrize("combine", ["probabilities", "logits"])
def test_bases_with_spare_embeddings_are_mixed_over_all_of_them(bases, combine, order):
    votes, ids = [1.0, 3.0], list(b"Which is larger?")
    expected = mixed_by_hand(bases, votes, ids, combine)
    mixture = MixtureForCausalLM.from_members([bases[n] for n in order], [votes[n] for n in order], combine=combine)
    assert mixture.config.vocab_size == 270
    found = mixture(torch.tensor([ids])).logits[0].double().log_softmax(dim=-1).numpy()
    assert_allclose(np.exp(found), np.exp(expected), atol=1e-5)
    tokens = TokenDataset.for_learner(bases[0], ["ab"], ["cd"])
    nll = score_answers([bases[n] for n in order], [votes[n] for n in order], tokens, combine=combine).nll[0]
    prompt, answer = tokens.row_ids(0)
    expected = mixed_by_hand(bases, votes, [*prompt, *answer], combine)
    assert_allclose(nll, [-expected[len(prompt) - 1 + n, token] for n, token in enumerate(answer)], rtol=1e-4)


@pytest.fixture(scope="module")
def spare_words():
    """Members that know 6 and 9 words; the second mostly says one of the last three."""
    settings = {"tokenizer": COLOURS, "prompt_template": TEMPLATE, "peft_config": None}
    members = [HFCausalLM(partial(_llama, n, seed=n), **settings).initialize() for n in (6, 9)]
    with members[1].lend_model() as model, torch.no_grad():
        model.lm_head.weight[6:] = 4 * model.lm_head.weight[[2, 4, 5]]
    return members


def restricted(members, votes, ids):
    """Eq. 1 over the six ids that both can read, as `suppress_tokens` leaves it."""
    proba = [np.exp(reference_log_proba(member, ids)[-1])[:6] for member in members]
    mixed = np.dot(np.array(votes) / np.sum(votes), proba)
    return mixed / mixed.sum()


WAYS_TO_WRITE = {
    "greedy": {},
    "beams": {"num_beams": 3},
    "lazy": {"do_sample": True, "top_k": 0},
    "in lockstep": {"do_sample": True, "top_k": 0, "return_dict_in_generate": True},
    "without a cache": {"do_sample": True, "top_k": 0, "use_cache": False},
    "from the mixture": {"do_sample": True, "top_k": 2},
    "sampled beams": {"do_sample": True, "num_beams": 2},
    "drafted": {"assistant_model": 1},
}


@pytest.mark.parametrize("way", WAYS_TO_WRITE)
@pytest.mark.parametrize("combine", ["probabilities", "logits"])
def test_nobody_is_given_an_id_without_an_embedding(spare_words, way, combine):
    mixture = MixtureForCausalLM.from_members(spare_words, [1.0, 9.0], combine=combine)
    assert mixture.n_readable == 6
    assert mixture(torch.tensor([[4, 5]])).logits[0, -1].argmax() >= 6 or combine == "logits"
    settings = dict(WAYS_TO_WRITE[way])
    ids = torch.tensor([[2, 4, 5], [0, 3, 2]]) if way != "drafted" else torch.tensor([[4, 5]])
    with spare_words[1].lend_model() as model:
        if "assistant_model" in settings:
            settings["assistant_model"] = model
        written = mixture.generate(ids, attention_mask=(ids > 0).long(), max_new_tokens=8, eos_token_id=[], **settings)
    written = getattr(written, "sequences", written)
    assert written.shape[1] == ids.shape[1] + 8
    assert written.max() < 6


@pytest.mark.parametrize("way", ["lazy", "in lockstep", "from the mixture"])
def test_what_is_drawn_has_the_law_of_the_mixture_given_that_all_can_read_it(spare_words, way, monkeypatch):
    votes, prompt, n = [1.0, 2.0], [4, 5], 600
    mixture = MixtureForCausalLM.from_members(spare_words, votes)
    settings = {**WAYS_TO_WRITE[way], **({"top_k": 9} if way == "from the mixture" else {})}
    if way == "lazy":
        monkeypatch.setattr(mixture, "member_logits", None)  # without which nobody reads all that others have drawn
    torch.manual_seed(0)
    written = mixture.generate(
        torch.tensor([prompt]), max_new_tokens=2, eos_token_id=[], num_return_sequences=n, **settings
    )
    pairs = getattr(written, "sequences", written)[:, 2:].numpy()
    found = np.bincount(pairs[:, 0] * 6 + pairs[:, 1], minlength=36) / n
    first = restricted(spare_words, votes, prompt)
    expected = np.concatenate([first[a] * restricted(spare_words, votes, [*prompt, a]) for a in range(6)])
    assert (np.abs(found - expected) < 4.5 * np.sqrt(expected * (1 - expected) / n) + 1e-6).all()


def test_a_prompt_that_a_member_cannot_read_is_refused(spare_words):
    mixture, ids = MixtureForCausalLM.from_members(spare_words, [1.0, 1.0]), torch.tensor([[4, 7]])
    for call in (
        mixture,
        *(partial(mixture.generate, max_new_tokens=1, **WAYS_TO_WRITE[way]) for way in ("beams", "lazy")),
    ):
        with pytest.raises(ValueError, match=r"input_ids must be less than 6, .* Got 7"):
            call(ids)
    assert MixtureForCausalLM.from_members(spare_words, [0.0, 1.0])(ids).logits.shape == (1, 2, 9)


def test_members_of_different_widths_have_their_own_logits(bases):
    logits, _ = MixtureForCausalLM.from_members(bases, [1.0, 1.0]).member_logits(torch.tensor([[65, 66]]))
    assert logits.shape == (2, 1, 1, 270)
    assert torch.isinf(logits[0, ..., 258:]).all()


def test_a_member_without_a_vote_widens_nothing(bases):
    assert MixtureForCausalLM.from_members(bases, [1.0, 0.0]).config.vocab_size == 258
    ids = torch.tensor([[65, 66]])
    alone = MixtureForCausalLM.from_members(bases[:1], [1.0])(ids).logits
    assert_array_equal(MixtureForCausalLM.from_members(bases, [1.0, 0.0])(ids).logits, alone)
