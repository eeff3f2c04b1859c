"""The mixture as a Hugging Face model, against loops in float64 over the members' unpadded forward passes."""

from __future__ import annotations

import copy
import itertools
import json
from functools import cache
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread
from urllib.request import urlopen

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from scipy import stats
from scipy.special import logsumexp
from sklearn.base import BaseEstimator
from tiny_models import (
    FACTORIES,
    PROMPTS,
    TEMPLATE,
    WithoutCache,
    fit,
    fitted_bigrams,
    fitted_members,
    plain_model,
    reference_mixture,
    tiny_gpt_neox,
    tiny_learner,
    tiny_llama,
)
from transformers import GenerationConfig, TextIteratorStreamer, TextStreamer, pipeline

from ensemw2s import BigramLearner, MixtureForCausalLM, byte_tokenizer, word_tokenizer
from ensemw2s.mixture._mixing import normalized_votes
from ensemw2s.tokens._dataset import pad_left

BYTES = byte_tokenizer()
VOTES = [0.5, 2.0, 1.0]
ROWS = [BYTES(TEMPLATE.replace("{prompt}", prompt))["input_ids"] for prompt in PROMPTS]
N_NEW = 6


def padded(rows=ROWS):
    ids, mask = pad_left(rows, 257)
    return {"input_ids": torch.from_numpy(ids), "attention_mask": torch.from_numpy(mask)}


def llama_mixture(votes=VOTES, **kwargs):
    return MixtureForCausalLM.from_members(fitted_members("llama"), votes, **kwargs)


def mixed_members():
    """A model with a cache beside one without, and a learner that reads the last token alone."""
    return [fitted_members("gemma3")[0], WithoutCache(fitted_members("gemma3")[1]), fitted_bigrams()[0]]


def greedy_loop(members, votes, ids, n_new, combine="probabilities"):
    """Greedy decoding written down once more: argmax of the mixture, until the end-of-answer token."""
    ids = list(ids)
    for _ in range(n_new):
        ids.append(int(reference_mixture(members, votes, ids, combine)[-1].argmax()))
        if ids[-1] == BYTES.eos_token_id:
            break
    return ids


def beam_loop(members, votes, ids, n_new, n_beams):
    """Beam search without an end token: keep the best continuations of each step."""
    beams = [(0.0, list(ids))]
    for _ in range(n_new):
        grown = []
        for score, beam in beams:
            log_proba = reference_mixture(members, votes, beam)[-1]
            best = np.argsort(-log_proba)[: n_beams + 1]
            grown += [(score + log_proba[token], [*beam, int(token)]) for token in best if token != 256]
        beams = sorted(grown, key=lambda pair: -pair[0])[:n_beams]
    return beams


@cache
def word_members():
    """Members of eight tokens, few enough for exhaustive search: three special ones and five words."""
    tokenizer = word_tokenizer(["a b c d e"])
    corpora = (["a b c a b d e a"], ["a c b e d c a a b"], ["e d c b a"])
    return [BigramLearner(tokenizer, corpus=list(corpus)).initialize() for corpus in corpora]


# --- the forward pass -------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(FACTORIES))
@pytest.mark.parametrize("combine", ["probabilities", "logits"])
def test_forward_equals_the_definition_in_float64(name, combine):
    members = fitted_members(name)
    logits = MixtureForCausalLM.from_members(members, VOTES, combine=combine)(**padded()).logits.double()
    for row, ids in enumerate(ROWS):
        expected = reference_mixture(members, VOTES, ids, combine)
        assert_allclose(logits[row, -len(ids) :].log_softmax(dim=-1), expected, atol=1e-5)


@pytest.mark.parametrize("logits_to_keep", [0, 1])
def test_logits_are_on_the_scale_of_the_members(logits_to_keep):
    models = [plain_model(member) for member in fitted_members("llama")]
    logits = llama_mixture()(**padded(), logits_to_keep=logits_to_keep).logits
    assert logits.dtype == torch.float32
    for row, ids in enumerate(ROWS):
        normalizers = [model(torch.tensor([ids])).logits[0].logsumexp(dim=-1).detach() for model in models]
        scale = sum(share * each for share, each in zip(np.array(VOTES) / np.sum(VOTES), normalizers, strict=True))
        n_kept = logits_to_keep or len(ids)
        assert_allclose(logits[row, -n_kept:].double().logsumexp(dim=-1), scale[-n_kept:], atol=1e-4)


@pytest.mark.parametrize("combine", ["probabilities", "logits"])
@pytest.mark.parametrize("logits_to_keep", [0, 1])
def test_one_member_gives_its_own_logits(combine, logits_to_keep):
    member = fitted_members("llama")[0]
    mixture = MixtureForCausalLM.from_members([member], [7.0], combine=combine)
    batch = padded()
    expected = member.token_logits(batch["input_ids"], batch["attention_mask"])
    assert_array_equal(mixture(**batch, logits_to_keep=logits_to_keep).logits, expected[:, -logits_to_keep:])


def test_logits_to_keep_gives_the_last_positions():
    mixture = llama_mixture()
    whole = mixture(**padded()).logits
    assert_allclose(mixture(**padded(), logits_to_keep=2).logits, whole[:, -2:], atol=1e-6)


def test_only_the_ratios_of_the_votes_matter():
    once, scaled = (llama_mixture(np.array(VOTES) * scale)(**padded()).logits for scale in (1.0, 1e-9))
    assert_allclose(scaled, once, atol=1e-6)


def test_member_without_a_vote_is_left_out():
    first, second, _ = fitted_members("llama")
    three = MixtureForCausalLM.from_members([first, _Refuses(), second], [0.5, 0.0, 1.0])
    two = MixtureForCausalLM.from_members([first, second], [0.5, 1.0])
    assert_array_equal(three(**padded()).logits, two(**padded()).logits)
    settings = {"max_new_tokens": 3, "num_beams": 2, "eos_token_id": []}
    assert_array_equal(three.generate(**padded(), **settings), two.generate(**padded(), **settings))


class _Refuses:
    tokenizer_ = BYTES

    def decode_step(self, *args, **kwargs):
        raise AssertionError("a member without a vote was run")


@pytest.mark.parametrize(
    ("votes", "message"),
    [
        ([1, 2], r"votes must have 3 columns, one per member. Got shape \(2,\)"),
        ([], r"votes must have 3 columns, one per member. Got shape \(0,\)"),
        (None, r"votes must have 3 columns"),
        ([[1, 1, 1], [1, 0, 0]], r"votes must have shape \(3,\), one per member. Got shape \(2, 3\)"),
        ([0, 0, 0], r"votes must be finite and >= 0, with a positive one in each row. Got \[0, 0, 0\]"),
        ([1, -1, 1], r"votes must be finite and >= 0"),
        ([1, np.nan, 1], r"votes must be finite and >= 0"),
        ([1, np.inf, 1], r"votes must be finite and >= 0"),
        ("abc", r"votes must hold numbers. Got 'abc'"),
        ([1, None, "x"], r"votes must hold numbers"),
    ],
)
def test_bad_votes_are_refused(votes, message):
    with pytest.raises(ValueError, match=message):
        MixtureForCausalLM.from_members(fitted_bigrams() + fitted_bigrams()[:1], votes)


def test_mixture_of_nothing_is_refused():
    with pytest.raises(ValueError, match="A mixture must have at least one member"):
        MixtureForCausalLM.from_members([], [])


def test_members_of_different_vocabularies_are_refused():
    with pytest.raises(ValueError, match=r"must have one tokenizer. Got vocabularies of \[258, 8\] tokens"):
        MixtureForCausalLM.from_members([fitted_bigrams()[0], word_members()[0]], [1, 1])


def test_unknown_combine_is_refused():
    with pytest.raises(ValueError, match=r"combine must be one of 'probabilities', 'logits'. Got 'mean'"):
        llama_mixture(combine="mean")


def test_normalized_votes_sum_to_one_row_by_row():
    assert normalized_votes([[1, 3], [0, 5]], 2).tolist() == [[0.25, 0.75], [0.0, 1.0]]


def test_mixture_of_the_worked_example():
    # equations.md: votes (.8473, 2.1972) and rows (.6, .4), (.1, .9) give (.2392, .7608)
    class Fixed:
        tokenizer_ = BYTES

        def __init__(self, *proba):
            self.logits = np.full((1, 1, 258), -np.inf)
            self.logits[0, 0, :2] = np.log(proba)

        def token_logits(self, input_ids, attention_mask):
            return self.logits

    mixture = MixtureForCausalLM.from_members([Fixed(0.6, 0.4), Fixed(0.1, 0.9)], [0.8473, 2.1972])
    proba = mixture(torch.tensor([[0]])).logits[0, 0].exp()
    assert proba[:2].tolist() == pytest.approx([0.2392, 0.7608], abs=5e-5)
    assert proba[2:].sum() == 0


# --- greedy -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("use_cache", [True, False], ids=["cache", "no cache"])
@pytest.mark.parametrize("name", sorted(FACTORIES))
@pytest.mark.slow
def test_greedy_equals_a_float64_loop_on_padded_rows(name, use_cache):
    members = fitted_members(name)
    mixture = MixtureForCausalLM.from_members(members, VOTES)
    output = mixture.generate(**padded(), max_new_tokens=N_NEW, do_sample=False, use_cache=use_cache)
    for row, ids in enumerate(ROWS):
        expected = greedy_loop(members, VOTES, ids, N_NEW)
        found = output[row, output.shape[1] - N_NEW - len(ids) :].tolist()[: len(expected)]
        assert found == expected


@pytest.mark.slow
@pytest.mark.parametrize("votes", [[5.0, 1.0, 0.1], [0.1, 1.0, 5.0], [0.0, 1.0, 0.0]])
@pytest.mark.parametrize("combine", ["probabilities", "logits"])
def test_greedy_follows_the_votes(votes, combine):
    members = fitted_members("llama")
    output = llama_mixture(votes, combine=combine).generate(torch.tensor([ROWS[1]]), max_new_tokens=12)
    expected = greedy_loop(members, votes, ROWS[1], 12, combine)
    assert output[0].tolist()[: len(expected)] == expected


def test_votes_make_a_difference():
    prompt = torch.tensor([ROWS[1]])
    first, last = (llama_mixture(votes).generate(prompt, max_new_tokens=8) for votes in ([1, 0, 0], [0, 0, 1]))
    assert not torch.equal(first, last)


@pytest.mark.slow
@pytest.mark.parametrize("use_cache", [True, False], ids=["cache", "no cache"])
def test_members_without_a_cache_mix_with_models_that_have_one(use_cache):
    members = mixed_members()
    mixture = MixtureForCausalLM.from_members(members, VOTES)
    output = mixture.generate(**padded(), max_new_tokens=N_NEW, use_cache=use_cache)
    for row, ids in enumerate(ROWS):
        expected = greedy_loop(members, VOTES, ids, N_NEW)
        assert output[row, output.shape[1] - N_NEW - len(ids) :].tolist()[: len(expected)] == expected


class Served(BaseEstimator):
    """A member that computes elsewhere: token ids go over HTTP, logits come back."""

    def __init__(self, url):
        self.url = url

    def initialize(self):
        self.tokenizer_, self.prompt_template = byte_tokenizer(), TEMPLATE
        return self

    def fit(self, tokens, *, token_weight):
        return self.initialize()

    def token_logits(self, input_ids, attention_mask):
        with urlopen(self.url, json.dumps([input_ids.tolist(), attention_mask.tolist()]).encode()) as answer:
            return np.array(json.load(answer))


@pytest.mark.slow
def test_a_member_that_is_served_elsewhere_mixes_as_if_it_were_here():
    first, second = fitted_bigrams()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            arrays = map(np.array, json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps(second.token_logits(*arrays).tolist()).encode())

        def log_message(self, *_):
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        served = Served(f"http://127.0.0.1:{server.server_port}").initialize()
        mixed, here = (MixtureForCausalLM.from_members([first, other], [1.0, 2.0]) for other in (served, second))
        assert torch.equal(mixed(**padded()).logits, here(**padded()).logits)
        assert torch.equal(*(each.generate(**padded(), max_new_tokens=N_NEW) for each in (mixed, here)))
        server.shutdown()


@pytest.mark.parametrize("peft_config", ["default", None])
def test_one_member_generates_what_its_own_model_generates(peft_config):
    member = fitted_members("gemma3", peft_config)[0]
    mixture = MixtureForCausalLM.from_members([member], [1.0])
    settings = {"max_new_tokens": 8, "do_sample": False, "pad_token_id": 257, "eos_token_id": 256}
    expected = plain_model(member).generate(**padded(), **settings)
    assert_array_equal(mixture.generate(**padded(), **settings), expected)


# --- sampling ---------------------------------------------------------------------------------------------------------


def p_value(observed, proba, n_min=5.0):
    """Of a chi-squared test, after the rare outcomes were pooled."""
    expected = proba * observed.sum()
    rare = expected < n_min
    pool = [np.append(values[~rare], values[rare].sum()) for values in (observed, expected)]
    keep = pool[1] > 0
    return stats.chisquare(pool[0][keep], pool[1][keep] * pool[0][keep].sum() / pool[1][keep].sum()).pvalue


def test_sampling_draws_the_next_token_from_the_mixture():
    n, members = 4000, fitted_members("llama")
    prompt = torch.tensor([ROWS[0]])
    with torch.random.fork_rng():
        torch.manual_seed(0)
        output = llama_mixture().generate(
            prompt, do_sample=True, top_k=0, max_new_tokens=1, num_return_sequences=n, eos_token_id=[]
        )
    counts = np.bincount(output[:, -1], minlength=258).astype(float)
    assert p_value(counts, np.exp(reference_mixture(members, VOTES, ROWS[0])[-1])) > 0.01
    assert p_value(counts, np.exp(reference_mixture(members, VOTES, ROWS[0], "logits")[-1])) < 1e-6
    assert p_value(counts, np.exp(reference_mixture(members, [1, 0, 0], ROWS[0])[-1])) < 1e-6


def test_sampling_draws_pairs_of_tokens_by_the_chain_rule():
    n, members, votes = 4000, word_members(), [1.0, 2.0, 0.5]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        output = MixtureForCausalLM.from_members(members, votes).generate(
            torch.tensor([[3]]), do_sample=True, top_k=0, max_new_tokens=2, num_return_sequences=n, eos_token_id=[]
        )
    counts = np.zeros((8, 8))
    np.add.at(counts, (output[:, 1], output[:, 2]), 1.0)
    first = np.exp(reference_mixture(members, votes, [3])[-1])
    second = np.exp([reference_mixture(members, votes, [3, token])[-1] for token in range(8)])
    assert p_value(counts.ravel(), (first[:, None] * second).ravel()) > 0.01


def test_sampling_is_repeatable_under_a_seed():
    mixture, outputs = llama_mixture(), []
    for _ in range(2):
        with torch.random.fork_rng():
            torch.manual_seed(3)
            outputs.append(mixture.generate(**padded(), do_sample=True, max_new_tokens=5))
    assert torch.equal(*outputs)


# --- beams ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("use_cache", [True, False], ids=["cache", "no cache"])
@pytest.mark.parametrize("members", [lambda: fitted_members("llama"), mixed_members], ids=["models", "mixed"])
@pytest.mark.slow
def test_beams_equal_a_hand_written_beam_search(members, use_cache):
    members = members()
    mixture = MixtureForCausalLM.from_members(members, VOTES)
    output = mixture.generate(
        **padded(), max_new_tokens=5, num_beams=3, num_return_sequences=3, suppress_tokens=[256], use_cache=use_cache,
        return_dict_in_generate=True, output_scores=True,
    )  # fmt: skip
    for row, ids in enumerate(ROWS):
        for place, (score, expected) in enumerate(beam_loop(members, VOTES, ids, 5, 3)):
            assert output.sequences[3 * row + place].tolist()[-len(expected) :] == expected
            assert output.sequences_scores[3 * row + place] == pytest.approx(score / 5, abs=1e-4)


def test_wide_beams_equal_exhaustive_search():
    members, votes, n_new = word_members(), [1.0, 2.0, 0.5], 3
    tokens = [token for token in range(8) if token != 1]  # all but the end token

    def score(sequence):
        ids = [3, *sequence]
        log_proba = reference_mixture(members, votes, ids)
        return sum(log_proba[place, ids[place + 1]] for place in range(n_new))

    best = max(itertools.product(tokens, repeat=n_new), key=score)
    mixture = MixtureForCausalLM.from_members(members, votes)
    output = mixture.generate(torch.tensor([[3]]), num_beams=49, max_new_tokens=n_new, suppress_tokens=[1])
    assert output[0].tolist() == [3, *best]


def test_transition_scores_are_log_probabilities_also_with_spare_embeddings():
    # The tokenizer has 8 tokens, the models 258 embeddings.
    tokenizer = word_tokenizer(["a b c d e"])
    members = [tiny_learner(model, tokenizer=tokenizer).initialize() for model in (tiny_llama, tiny_gpt_neox)]
    mixture = MixtureForCausalLM.from_members(members, [1.0, 3.0])
    assert mixture.config.vocab_size == 258
    output = mixture.generate(
        torch.tensor([[3, 4]]), num_beams=3, max_new_tokens=4, suppress_tokens=[1], return_dict_in_generate=True,
        output_scores=True,
    )  # fmt: skip
    ids = output.sequences[0].tolist()
    log_proba = reference_mixture(members, [1.0, 3.0], ids)
    expected = [log_proba[place, ids[place + 1]] for place in range(1, 5)]
    scores = mixture.compute_transition_scores(output.sequences, output.scores, output.beam_indices)
    assert_allclose(scores[0], expected, atol=1e-5)


# --- the rest of generate ---------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_min_new_tokens_holds_the_end_back():
    members = [fit(tiny_learner(epochs=30, random_state=seed)) for seed in (0, 1)]
    mixture = MixtureForCausalLM.from_members(members, [1.0, 1.0])
    free = mixture.generate(torch.tensor([ROWS[0]]), max_new_tokens=20)
    assert free[0, len(ROWS[0]) :].tolist() == [*b" c", 256]  # learned
    held = mixture.generate(torch.tensor([ROWS[0]]), max_new_tokens=20, min_new_tokens=10)
    assert 256 not in held[0, : len(ROWS[0]) + 10]


def test_repetition_penalty_acts_on_the_scale_of_the_members_logits():
    members, penalty, shares = fitted_members("llama"), 3.0, np.array(VOTES) / np.sum(VOTES)
    models = [plain_model(member) for member in members]
    output = llama_mixture().generate(torch.tensor([ROWS[1]]), max_new_tokens=6, repetition_penalty=penalty)
    ids = list(ROWS[1])
    for _ in range(6):
        logits = np.stack([model(torch.tensor([ids])).logits[0, -1].detach() for model in models])
        scores = reference_mixture(members, VOTES, ids)[-1] + shares @ logsumexp(logits, axis=-1)
        seen = list(set(ids))
        scores[seen] = np.where(scores[seen] < 0, scores[seen] * penalty, scores[seen] / penalty)
        ids.append(int(scores.argmax()))
        if ids[-1] == 256:
            break
    assert output[0].tolist()[: len(ids)] == ids


def test_generation_config_is_followed():
    config = GenerationConfig(max_new_tokens=4, num_return_sequences=2, num_beams=2, pad_token_id=257, eos_token_id=256)
    assert llama_mixture().generate(**padded(), generation_config=config).shape[0] == 2 * len(ROWS)


def test_num_return_sequences_gives_so_many_rows():
    output = llama_mixture().generate(**padded(), do_sample=True, num_return_sequences=3, max_new_tokens=2)
    assert output.shape == (3 * len(ROWS), max(map(len, ROWS)) + 2)


def test_text_streamer_prints_what_is_generated(capsys):
    mixture = llama_mixture()
    output = mixture.generate(torch.tensor([ROWS[1]]), max_new_tokens=5, streamer=TextStreamer(BYTES, skip_prompt=True))
    assert capsys.readouterr().out.strip() == BYTES.decode(output[0, len(ROWS[1]) :]).strip()


def test_text_iterator_streamer_yields_what_is_generated():
    mixture, streamer = llama_mixture(), TextIteratorStreamer(BYTES, skip_prompt=True, timeout=60)
    settings = {"input_ids": torch.tensor([ROWS[1]]), "max_new_tokens": 5}
    thread = Thread(target=mixture.generate, kwargs={**settings, "streamer": streamer})
    thread.start()
    text = "".join(streamer)
    thread.join()
    assert text == BYTES.decode(mixture.generate(**settings)[0, len(ROWS[1]) :])


@pytest.mark.slow
@pytest.mark.parametrize("batch_size", [1, 2])
def test_text_generation_pipeline_writes_the_greedy_answers(batch_size, caplog):
    contexts = [TEMPLATE.replace("{prompt}", prompt) for prompt in PROMPTS]
    generator = pipeline("text-generation", model=llama_mixture(), tokenizer=BYTES)
    assert not caplog.records  # such as that the model is not supported
    written = generator(contexts, max_new_tokens=N_NEW, do_sample=False, batch_size=batch_size)
    for ids, [answer] in zip(ROWS, written, strict=True):
        expected = greedy_loop(fitted_members("llama"), VOTES, ids, N_NEW)
        assert answer["generated_text"] == BYTES.decode(expected, skip_special_tokens=True)


def test_copy_of_a_mixture_generates_the_same():
    mixture = llama_mixture()
    copied = copy.deepcopy(mixture)
    assert_array_equal(copied.generate(**padded(), max_new_tokens=4), mixture.generate(**padded(), max_new_tokens=4))


def test_tokenizer_without_pad_fills_with_the_end_token():
    tokenizer = byte_tokenizer()
    tokenizer.pad_token = None
    learner = BigramLearner(tokenizer).initialize()
    assert MixtureForCausalLM.from_members([learner], [1.0]).generation_config.pad_token_id == 256
