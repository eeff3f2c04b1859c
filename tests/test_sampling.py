"""Sampling without the mixture: its law by enumeration, what the members read, and what `generate` still has to do."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from scipy import stats
from tiny_models import FACTORIES, N_VOCABULARY, WithoutCache, fit, fitted_members, reference_log_proba, tiny_learner
from torch.nn.utils.rnn import pad_sequence
from transformers import GPT2Config, GPT2LMHeadModel, StoppingCriteria, StoppingCriteriaList, TextIteratorStreamer

from ensemw2s import BigramLearner, MixtureForCausalLM, word_tokenizer
from ensemw2s.mixture import _lazy_sampling as _lazy
from ensemw2s.mixture import _readers
from ensemw2s.mixture import _sampling as _decode
from ensemw2s.tokens._dataset import pad_left

WORDS = word_tokenizer(["a b"])  # five tokens: three special ones, of which 1 ends an answer, and two words
END, N_WORDS = WORDS.eos_token_id, len(WORDS)
VOTES = [1.0, 2.0, 0.0, 0.5]
EXACT = {"do_sample": True, "top_k": 0}


def tiny_gpt2():
    """As few tokens as WORDS has, so that all answers can be listed."""
    return GPT2LMHeadModel(
        GPT2Config(
            vocab_size=N_WORDS, n_embd=8, n_layer=1, n_head=2, n_positions=32, initializer_range=0.6, resid_pdrop=0.0,
            embd_pdrop=0.0, attn_pdrop=0.0, bos_token_id=END, eos_token_id=END,
        )
    )  # fmt: skip


def other_gpt2(seed):
    def factory():
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            return tiny_gpt2()

    return factory


@cache
def word_members(kind):
    """Four members of their own, of which the third gets no vote."""
    if kind == "models":
        return [
            tiny_learner(other_gpt2(seed), tokenizer=WORDS, peft_config=None, device="cpu").initialize()
            for seed in range(4)
        ]
    corpora = ("a " * 9, "b " * 9, "a b b " * 3, "b a " * 6)
    return [BigramLearner(WORDS, corpus=[corpus]).initialize() for corpus in corpora]


def mixture_of(kind="models", votes=VOTES):
    return MixtureForCausalLM.from_members(word_members(kind), votes)


def next_proba(members, votes, ids):
    """Exact probabilities of the token after `ids`, from unpadded passes."""
    shares = np.array(votes) / np.sum(votes)
    rows = [_member_proba(member, tuple(ids)) for member in members]
    return sum(share * row for share, row in zip(shares, rows, strict=True))


@cache
def _member_proba(member, ids):
    if isinstance(member, BigramLearner):
        return np.exp(member.log_proba_[ids[-1]])
    with torch.no_grad():
        return member.model_(torch.tensor([ids])).logits[0, -1].double().softmax(dim=0).numpy()


def law(members, votes, prompt, n_new, transform=lambda proba: proba):
    """Probability of every answer, (answer padded with 0 after its end) -> probability."""
    done, open_ = {}, {(): 1.0}
    for step in range(n_new):
        grown = {}
        for answer, proba in open_.items():
            for token, p in enumerate(transform(next_proba(members, votes, [*prompt, *answer]))):
                grown[(*answer, token)] = proba * p
        open_ = {}
        for answer, proba in grown.items():
            if answer[-1] == END:
                done[answer + (WORDS.pad_token_id,) * (n_new - step - 1)] = proba
            else:
                open_[answer] = proba
    return {**done, **open_}


def p_value(answers, expected):
    """Of a chi-squared test of drawn answers, (n, n_new), against their exact law; rare answers are pooled."""
    names = list(expected)
    place = {name: number for number, name in enumerate(names)}
    counts = np.bincount([place[tuple(answer)] for answer in answers.tolist()], minlength=len(names))
    wanted = np.array([expected[name] for name in names]) * len(answers)
    rare = wanted < 5
    pooled = [np.append(values[~rare], values[rare].sum()) for values in (counts, wanted)]
    keep = pooled[1] > 0
    return stats.chisquare(pooled[0][keep], pooled[1][keep] * pooled[0][keep].sum() / pooled[1][keep].sum()).pvalue


def sampled(mixture, prompts, n_new=3, seed=0, **settings):
    ids, mask = pad_left(prompts, WORDS.pad_token_id)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return mixture.generate(
            torch.from_numpy(ids), attention_mask=torch.from_numpy(mask), max_new_tokens=n_new, **{**EXACT, **settings}
        )


PROMPTS = [[3, 4, 4, 0, 3], [4], [3, 3]]


@pytest.fixture
def ways(monkeypatch):
    """Which classes drew the tokens."""
    seen = []
    for module, name in ((_decode, "LazyMembers"), (_decode, "_Lockstep")):
        original = getattr(module, name)

        def record(*args, _original=original, _name=name, **kwargs):
            seen.append(_name)
            return _original(*args, **kwargs)

        monkeypatch.setattr(module, name, record)
    return seen


@pytest.fixture
def lockstep(monkeypatch):
    """Call it to make all members read every token."""
    return lambda: monkeypatch.setattr(_decode, "lazy_readers", lambda *_: None)


# --- the law ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["models", "bigrams"])
@pytest.mark.parametrize("together", [False, True], ids=["lazy", "lockstep"])
@pytest.mark.slow
def test_answers_follow_the_law_of_the_mixture(kind, together, ways, lockstep):
    if together:
        lockstep()
    n = 800
    output = sampled(mixture_of(kind), PROMPTS, num_return_sequences=n)
    assert ways == ["_Lockstep" if together else "LazyMembers"]
    for row, prompt in enumerate(PROMPTS):
        answers = output[row * n : (row + 1) * n, -3:]
        assert p_value(answers, law(word_members(kind), VOTES, prompt, 3)) > 0.01
        if kind == "models":  # each answer from one member would be another law
            one = [law([member], [1.0], prompt, 3) for member in word_members(kind)]
            shares = np.array(VOTES) / np.sum(VOTES)
            wrong = {name: sum(s * each[name] for s, each in zip(shares, one, strict=True)) for name in one[0]}
            assert p_value(answers, wrong) < 1e-4


@pytest.mark.parametrize(
    "settings", [{"top_k": 2}, {"top_k": 0, "top_p": 0.7}, {"top_k": 0, "temperature": 0.5}], ids=str
)
def test_truncated_draws_follow_the_truncated_mixture(settings, ways):
    def transform(proba):
        proba = proba ** (1 / settings.get("temperature", 1.0))
        order = np.argsort(-proba)
        below = np.cumsum(proba[order]) - proba[order]
        kept = order[(below < settings.get("top_p", 1.0)) & (np.arange(N_WORDS) < (settings["top_k"] or N_WORDS))]
        result = np.zeros(N_WORDS)
        result[kept] = proba[kept]
        return result / result.sum()

    n = 1500
    output = sampled(mixture_of(), PROMPTS[:1], n_new=2, num_return_sequences=n, **settings)
    assert ways == []
    assert p_value(output[:, -2:], law(word_members("models"), VOTES, PROMPTS[0], 2, transform)) > 0.01


def test_mixed_logits_are_drawn_from_the_mixed_logits(ways):
    members, votes = word_members("bigrams")[:2], np.array([0.25, 0.75])
    mixture = MixtureForCausalLM.from_members(members, votes, combine="logits")
    output = sampled(mixture, [[3]], n_new=1, num_return_sequences=3000)
    assert ways == []
    mixed = np.exp(sum(vote * member.log_proba_[3] for vote, member in zip(votes, members, strict=True)))
    expected = {(token,): p for token, p in enumerate(mixed / mixed.sum())}
    assert p_value(output[:, -1:], expected) > 0.01


# --- what the members read --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["llama", "gpt2", "gpt_neox", "qwen2", "qwen3"])
def test_a_member_that_lags_behind_gives_the_logits_of_a_full_pass(name):
    learner = tiny_learner(FACTORIES[name], peft_config=None, device="cpu").initialize()
    assert _readers.reads_packed(learner, 40)
    rng, reader = np.random.default_rng(0), _readers.PackedReader(learner)
    texts = [rng.integers(0, 250, length).tolist() for length in (5, 1, 9, 3)]
    for rows in ([0, 2, 3], [2], [2, 0], [1], [3, 1, 2, 0], [3, 1, 2, 0], [0, 1]):
        for row in rows:
            texts[row] += rng.integers(0, 250, rng.integers(1, 5)).tolist()
        logits = reader.read(rows, [texts[row] for row in rows])
        for row, found in zip(rows, logits.double().log_softmax(dim=-1), strict=True):
            assert_allclose(found, reference_log_proba(learner, texts[row])[-1], atol=1e-5)


@pytest.mark.parametrize("settings", [{}, {"eos_token_id": []}], ids=["ends", "no end"])
def test_catching_up_gives_the_answers_of_members_that_read_everything(settings, lockstep):
    prompts = [*PROMPTS, [4, 4, 4], [3], [0, 4], [4, 3]] * 6  # more than are served at once
    lazy = sampled(mixture_of(), prompts, n_new=12, **settings)
    lockstep()
    assert_array_equal(lazy, sampled(mixture_of(), prompts, n_new=12, **settings))


def test_members_with_and_without_a_cache_are_picked_alike(ways, lockstep):
    members = [fitted_members("llama", None)[0], WithoutCache(fitted_members("llama", None)[1])]
    mixture = MixtureForCausalLM.from_members(members, [1.0, 1.0])
    lazy = sampled(mixture, PROMPTS, n_new=8)
    lockstep()
    assert_array_equal(lazy, sampled(mixture, PROMPTS, n_new=8))
    assert ways == ["LazyMembers", "_Lockstep"]


def test_a_member_runs_where_it_is_picked_and_nowhere_else(monkeypatch):
    calls, picks = [], []
    original = _readers.PackedReader.read

    def read(self, rows, texts):
        calls.append(
            (self._member, sum(len(text) - self._n_read.get(row, 0) for row, text in zip(rows, texts, strict=True)))
        )
        return original(self, rows, texts)

    class Watched(_lazy.LazyMembers):
        def __init__(self, *args):
            super().__init__(*args)
            picks.extend(member for [member] in self._picks)

    mixture = mixture_of()
    sampled(mixture, [[3, 4]], n_new=1)  # the packed row is tried before
    monkeypatch.setattr(_readers.PackedReader, "read", read)
    monkeypatch.setattr(_decode, "LazyMembers", Watched)
    sampled(mixture, [[3, 4]], n_new=9, eos_token_id=[])
    voters = [word_members("models")[place] for place in (0, 1, 3)]
    assert [member for member, _ in calls] == [voters[pick] for pick in picks]
    for place, voter in enumerate(voters):  # it has read up to its last pick, and nothing twice
        n_read = sum(n_tokens for member, n_tokens in calls if member is voter)
        assert n_read == max((2 + step for step, pick in enumerate(picks) if pick == place), default=0)


@pytest.mark.slow
def test_windows_shorter_than_the_rows_make_all_members_read_everything(ways, lockstep):
    mixture = MixtureForCausalLM.from_members(fitted_members("gemma3", None)[:2], [1.0, 1.0])
    sampled(mixture, [[3], [4, 3]], n_new=6)  # 8 tokens, as many as the window
    sampled(mixture, [[3], [4, 3]], n_new=7)
    assert ways == ["LazyMembers", "_Lockstep"]


def test_adapters_are_not_run_as_models_of_their_own(ways):
    members = [fitted_members("llama")[0], fitted_members("llama", None)[1]]
    sampled(MixtureForCausalLM.from_members(members, [1.0, 1.0]), [[3]], n_new=1)
    assert ways == ["_Lockstep"]


def test_without_a_cache_all_members_read_everything(ways):
    n = 1000
    output = sampled(mixture_of("bigrams"), [[3, 4]], n_new=2, num_return_sequences=n, use_cache=False)
    assert ways == ["_Lockstep"]
    assert p_value(output[:, -2:], law(word_members("bigrams"), VOTES, [3, 4], 2)) > 0.01


# --- shared picks -----------------------------------------------------------------------------------------------------


def test_prompts_that_share_their_picks_each_follow_the_law():
    n = 800
    output = sampled(mixture_of(), PROMPTS[:2], n_new=2, num_return_sequences=n, share_picks=True)
    for row, prompt in enumerate(PROMPTS[:2]):
        answers = output[row * n : (row + 1) * n, -2:]
        assert p_value(answers, law(word_members("models"), VOTES, prompt, 2)) > 0.01


def test_picks_are_shared_among_prompts_and_not_among_the_sequences_of_one():
    class Says:
        tokenizer_ = WORDS

        def __init__(self, token):
            self.token = token

        def token_logits(self, input_ids, attention_mask):
            return np.where(np.arange(N_WORDS) == self.token, 0.0, -np.inf) + np.zeros((*np.shape(input_ids), 1))

    mixture = MixtureForCausalLM.from_members([Says(3), Says(4)], [1.0, 1.0])
    answers = sampled(mixture, PROMPTS, n_new=16, num_return_sequences=2, share_picks=True)[:, -16:].reshape(3, 2, 16)
    assert (answers == answers[:1]).all()
    assert (answers[:, 0] != answers[:, 1]).any()
    free = sampled(mixture, PROMPTS, n_new=16)[:, -16:]
    assert (free[0] != free[1]).any()


# --- the rest of generate ---------------------------------------------------------------------------------------------


def test_stopping_criteria_see_each_step_and_end_rows():
    lengths = []

    class StopsRow(StoppingCriteria):
        def __call__(self, input_ids, scores, **kwargs):
            lengths.append(input_ids.shape[1])
            return torch.tensor([input_ids.shape[1] >= 5 + 2 * row for row in range(len(input_ids))])

    criteria = StoppingCriteriaList([StopsRow()])
    output = sampled(mixture_of("bigrams"), [[3], [4]], n_new=9, stopping_criteria=criteria)
    assert lengths == list(range(2, output.shape[1] + 1))
    assert output.shape[1] <= 7
    assert (output[0, 5:] == WORDS.pad_token_id).all()


def test_a_streamer_gets_the_tokens_in_order():
    streamer = TextIteratorStreamer(WORDS)
    output = sampled(mixture_of(), [[3, 4]], n_new=6, streamer=streamer)
    assert "".join(streamer) == WORDS.decode(output[0])


def test_scores_that_are_asked_for_are_those_of_the_mixture(ways):
    output = sampled(mixture_of(), [[3, 4]], return_dict_in_generate=True, output_scores=True)
    assert ways == []
    ids = output.sequences[0].tolist()
    for step, scores in enumerate(output.scores):
        expected = next_proba(word_members("models"), VOTES, ids[: 2 + step])
        assert_allclose(scores[0].softmax(dim=0), expected, atol=1e-5)


@pytest.mark.parametrize("together", [False, True], ids=["lazy", "lockstep"])
def test_a_dictionary_that_is_asked_for_holds_the_sequences(together, lockstep):
    if together:
        lockstep()
    plain = sampled(mixture_of(), PROMPTS)
    output = sampled(mixture_of(), PROMPTS, return_dict_in_generate=True)
    assert_array_equal(output.sequences, plain)
    assert output.past_key_values.get_seq_length() == plain.shape[1] - 1  # to go on from, whichever members were picked


def test_the_default_of_transformers_keeps_fifty_tokens(ways):
    mixture = MixtureForCausalLM.from_members(fitted_members("llama", None)[:2], [1.0, 1.0])
    with torch.random.fork_rng():
        torch.manual_seed(0)
        output = mixture.generate(torch.tensor([[97, 98]]), do_sample=True, max_new_tokens=1, num_return_sequences=300)
        assert ways == []
    proba = mixture(torch.tensor([[97, 98]])).logits[0, -1]
    assert set(output[:, -1].tolist()) <= set(proba.topk(50).indices.tolist())
    assert N_VOCABULARY > 50


def test_greedy_answers_are_as_before(ways):
    ids = [3, 4]
    for _ in range(4):
        ids.append(int(next_proba(word_members("models"), VOTES, ids).argmax()))
    output = sampled(mixture_of(), [[3, 4]], n_new=4, do_sample=False, top_k=None, eos_token_id=[])
    assert output[0].tolist() == ids
    assert ways == []


# --- speculation ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["models", "bigrams"])
def test_an_assistant_changes_no_greedy_answer(kind):
    greedy = {"do_sample": False, "top_k": None, "eos_token_id": []}
    expected = sampled(mixture_of(kind), [[3, 4, 3]], n_new=12, **greedy)
    drafter = word_members("models")[1].model_
    found = sampled(mixture_of(kind), [[3, 4, 3]], n_new=12, assistant_model=drafter, **greedy)
    assert_array_equal(found, expected)


def test_with_an_assistant_tokens_are_drawn_from_the_mixture():
    drafter = word_members("models")[1].model_
    output = sampled(
        mixture_of(), [[3, 4]], n_new=12, top_k=2, eos_token_id=[], assistant_model=drafter,
        return_dict_in_generate=True, output_logits=True,
    )  # fmt: skip
    ids = output.sequences[0].tolist()
    assert len(output.logits) == 12
    for step, logits in enumerate(output.logits):
        expected = next_proba(word_members("models"), VOTES, ids[: 2 + step])
        assert_allclose(logits[0].softmax(dim=0), expected, atol=1e-5)
        assert ids[2 + step] in logits[0].topk(2).indices.tolist()


@pytest.mark.slow
def test_whole_answers_with_an_assistant_follow_the_law_of_the_mixture():
    def keep_three(proba):
        kept = np.where(proba >= np.sort(proba)[-3], proba, 0.0)
        return kept / kept.sum()

    votes, drafter = [1.0, 2.0, 0.0, 0.0], word_members("models")[1].model_
    mixture = mixture_of(votes=votes)
    settings = {"top_k": 3, "assistant_model": drafter}  # whose drafts are kept or refused in parts
    answers = [sampled(mixture, [[3, 4]], seed=seed, **settings)[0, 2:] for seed in range(250)]
    answers = pad_sequence(answers, batch_first=True, padding_value=WORDS.pad_token_id)
    mixed, drafted = (law(word_members("models"), each, [3, 4], 3, keep_three) for each in (votes, [0, 1, 0, 0]))
    assert p_value(answers, mixed) > 0.01
    assert p_value(answers, drafted) < 1e-6


@pytest.mark.parametrize("drafts", ["of an assistant", "found in the prompt"])
@pytest.mark.parametrize("peft_config", [None, "default"], ids=["full", "stacked LoRA"])
@pytest.mark.slow
def test_windows_shorter_than_the_prompt_can_go_back(peft_config, drafts):
    members = fitted_members("gemma3", peft_config)
    mixture = MixtureForCausalLM.from_members(members, [1.0, 2.0, 3.0])
    prompt = torch.tensor([[97, 98, 99, 100, 97, 98, 99] * 2])
    settings = {"attention_mask": torch.ones_like(prompt), "max_new_tokens": 12, "eos_token_id": []}
    expected = mixture.generate(prompt, **settings)
    assistant = {"assistant_model": fitted_members("llama", None)[0].model_}
    guesses = assistant if drafts == "of an assistant" else {"prompt_lookup_num_tokens": 3}
    assert_array_equal(mixture.generate(prompt, **guesses, **settings), expected)


def test_a_cue_among_the_drafts_is_not_taken_for_that_of_the_prompt():
    members = [fit(tiny_learner(adapt="answer", epochs=1, lr=0.1, random_state=seed)) for seed in (0, 1)]
    mixture = MixtureForCausalLM.from_members(members, [1.0, 2.0])
    prompt = torch.tensor([[*b"a b:c\nd e:"]])  # behind ":" stands "c\nd e:", which is guessed to come again
    settings = {"attention_mask": torch.ones_like(prompt), "max_new_tokens": 8, "eos_token_id": []}
    expected = mixture.generate(prompt, **settings)
    assert_array_equal(mixture.generate(prompt, prompt_lookup_num_tokens=6, **settings), expected)
