"""check_weak_learner passes what is complete and names what each broken learner lacks."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from sklearn.base import BaseEstimator
from tiny_models import FACTORIES, tiny_llama

from ensemw2s import (
    BigramLearner,
    FineTunedGenerator,
    HFCausalLM,
    TokenAdaBoostGenerator,
    TokenLearner,
    WeakLearnerError,
    byte_tokenizer,
    check_weak_learner,
)
from ensemw2s.contracts._token_learner import PrefixCache, answer_logits


class Complete(BaseEstimator):
    """A mean over the tokens so far, trained by counting: small, causal, blind to padding."""

    def __init__(self, random_state=None):
        self.random_state = random_state

    def initialize(self):
        self.tokenizer_ = byte_tokenizer()
        self.table_ = np.sin(np.arange(258.0)[:, None] * np.arange(1.0, 259.0)[None])
        return self

    def fit(self, tokens, *, token_weight):
        self.initialize()
        np.add.at(self.table_, (slice(None), tokens.labels), token_weight / token_weight.sum())
        return self

    def token_logits(self, input_ids, attention_mask):
        known = np.cumsum(self.table_[input_ids] * attention_mask[..., None], axis=1)
        return known / np.maximum(np.cumsum(attention_mask, axis=1), 1)[..., None]


def message_about(learner):
    with pytest.raises(WeakLearnerError, match="is not a complete weak learner") as caught:
        check_weak_learner(learner)
    return str(caught.value)


def only(learner):
    """The one thing that is wrong."""
    header, *lines = message_about(learner).splitlines()
    assert header == f"{type(learner).__name__} is not a complete weak learner:"
    assert len(lines) == 1, lines
    return lines[0].removeprefix("- ")


def test_a_minimal_learner_passes():
    check_weak_learner(Complete())


def test_bigram_learner_passes():
    check_weak_learner(BigramLearner())


@pytest.mark.parametrize("name", ["llama", "gpt2", "gemma3"])  # relative, absolute and windowed positions
@pytest.mark.slow
def test_hf_causal_lm_passes_without_a_seed(name):
    check_weak_learner(HFCausalLM(FACTORIES[name], tokenizer=byte_tokenizer(), lr=1e-2, epochs=1))


@pytest.mark.parametrize("parameters", [{"peft_config": None}, {"dtype": "bfloat16"}])
@pytest.mark.slow
def test_hf_causal_lm_passes_in_other_settings(parameters):
    check_weak_learner(HFCausalLM(tiny_llama, tokenizer=byte_tokenizer(), lr=1e-2, epochs=1, **parameters))


def test_learners_are_instances_of_the_protocol():
    assert isinstance(BigramLearner().initialize(), TokenLearner)
    assert not isinstance(BaseEstimator(), TokenLearner)


def test_check_leaves_the_learner_as_it_is():
    learner = BigramLearner()
    check_weak_learner(learner)
    assert not hasattr(learner, "tokenizer_")


def test_everything_that_is_missing_is_listed():
    class Empty:
        pass

    names = [line.removeprefix("- ").partition("(")[0] for line in message_about(Empty()).splitlines()[1:]]
    assert names == ["initialize", "token_logits", "fit", "get_params"]


def test_fit_without_token_weight_is_named():
    class Broken(Complete):
        def fit(self, tokens):
            return self

    assert only(Broken()) == "fit must take the keyword token_weight, an array of shape (n_tokens,)"


def test_constructor_that_changes_its_argument_is_named():
    class Broken(Complete):
        def __init__(self, names=()):
            self.names = list(names)

    assert only(Broken(("a",))).startswith("sklearn.base.clone fails: ")


@pytest.mark.parametrize("method", ["initialize", "fit"])
def test_method_that_returns_nothing_is_named(method):
    class Broken(Complete):
        pass

    def returns_nothing(self, *args, **kwargs):
        getattr(Complete, method)(self, *args, **kwargs)

    setattr(Broken, method, returns_nothing)
    if method == "fit":
        Broken.fit = lambda self, tokens, *, token_weight: returns_nothing(self, tokens, token_weight=token_weight)
    assert only(Broken()) == ("initialize() must return self" if method == "initialize" else "fit must return self")


def test_initialize_without_tokenizer_is_named():
    class Broken(Complete):
        def initialize(self):
            return self

    assert only(Broken()) == "initialize() must set tokenizer_"


@pytest.mark.parametrize(
    ("change", "got"),
    [
        (lambda logits: logits[:, -1], r"(3, 258)"),
        (lambda logits: logits[:, 1:], r"(3, 28, 258)"),
        (lambda logits: logits[..., :100], r"(3, 29, 100)"),
    ],
    ids=["no positions", "one position less", "part of the vocabulary"],
)
def test_logits_of_another_shape_are_named(change, got):
    class Broken(Complete):
        def token_logits(self, input_ids, attention_mask):
            return change(super().token_logits(input_ids, attention_mask))

    assert only(Broken()) == f"token_logits must return shape (3, 29, V), V >= 258, got {got}"


def test_logits_that_are_not_finite_are_named():
    class Broken(Complete):
        def token_logits(self, input_ids, attention_mask):
            return super().token_logits(input_ids, attention_mask) * np.nan

        def fit(self, tokens, *, token_weight):
            return super().fit(tokens, token_weight=token_weight)

    assert "token_logits must be finite where the attention mask is 1" in message_about(Broken())


def test_logits_that_see_later_tokens_are_named():
    class Broken(Complete):
        def token_logits(self, input_ids, attention_mask):
            logits = super().token_logits(input_ids, attention_mask)
            return logits + 0.1 * self.table_[np.asarray(input_ids)[:, -1:]]

    assert "token_logits must be causal: a later token changed the logits of an earlier position" in message_about(
        Broken()
    )


def test_a_fitted_learner_that_looks_ahead_is_named():
    class Broken(Complete):
        def fit(self, tokens, *, token_weight):
            super().fit(tokens, token_weight=token_weight)
            self.fitted_ = True
            return self

        def token_logits(self, input_ids, attention_mask):
            logits = super().token_logits(input_ids, attention_mask)
            ahead = 0.1 * self.table_[np.asarray(input_ids)[:, -1:]]
            return logits + ahead if hasattr(self, "fitted_") else logits

    assert only(Broken()) == "token_logits must be causal: a later token changed the logits of an earlier position"


def test_logits_that_depend_on_padding_are_named():
    class Broken(Complete):
        def token_logits(self, input_ids, attention_mask):
            logits = super().token_logits(input_ids, attention_mask)
            return logits + np.arange(logits.shape[1])[:, None] * np.arange(258.0) / 258

    assert only(Broken()) == "token_logits must not depend on left padding: count positions from the attention mask"


def test_fit_that_learns_nothing_is_named():
    class Broken(Complete):
        def fit(self, tokens, *, token_weight):
            return self.initialize()

    assert only(Broken()) == "fit changed no logits: it must train on the tokens"


def test_fit_that_ignores_the_weights_is_named():
    class Broken(Complete):
        def fit(self, tokens, *, token_weight):
            return super().fit(tokens, token_weight=np.ones(len(token_weight)))

    assert only(Broken()).startswith("a token of weight 0 must have no influence")


def test_fit_that_goes_on_from_the_last_fit_is_named():
    class Broken(Complete):
        def fit(self, tokens, *, token_weight):
            if not hasattr(self, "table_"):
                self.initialize()
            np.add.at(self.table_, (slice(None), tokens.labels), token_weight / token_weight.sum())
            return self

    assert only(Broken()).startswith("fit must start from the untrained model")


def test_random_learner_is_compared_under_one_seed():
    class Noisy(Complete):
        def initialize(self):
            super().initialize()
            self.table_ += np.random.default_rng(self.random_state).normal(size=(258, 258))
            return self

    check_weak_learner(Noisy())


def test_wrong_answer_logits_are_named():
    class Broken(Complete):
        def answer_logits(self, batch):
            return torch.as_tensor(self.token_logits(batch.input_ids, batch.attention_mask))[:, : batch.n_last].flatten(
                0, 1
            )

    assert only(Broken()).startswith("answer_logits(batch) must return what token_logits gives")


class _Cache:
    def __init__(self, ids):
        self.ids = ids

    def reorder_cache(self, rows):
        self.ids = self.ids[rows]


class WithCache(Complete):
    """Reads everything again at each step."""

    def decode_step(self, input_ids, attention_mask, position_ids, *, cache=None, n_last=1, use_cache=False):
        ids = input_ids if cache is None else torch.cat([cache.ids, input_ids], dim=1)
        logits = torch.as_tensor(self.token_logits(ids.numpy(), attention_mask.numpy()))
        return logits[:, -n_last:], _Cache(ids) if use_cache else None


def test_right_decode_step_passes():
    check_weak_learner(WithCache())


def test_decode_step_that_forgets_the_prefix_is_named():
    class Broken(WithCache):
        def decode_step(self, input_ids, attention_mask, position_ids, *, cache=None, **kwargs):
            mask = attention_mask[:, -input_ids.shape[1] :]
            return super().decode_step(input_ids, mask, position_ids, cache=None, **kwargs)

    assert only(Broken()).startswith("decode_step must give the logits of token_logits")


def test_cache_that_is_not_reordered_is_named():
    class Lazy(_Cache):
        def reorder_cache(self, rows):
            pass

    class Broken(WithCache):
        def decode_step(self, *args, **kwargs):
            logits, cache = super().decode_step(*args, **kwargs)
            return logits, cache and Lazy(cache.ids)

    assert only(Broken()).startswith("decode_step must give the logits of token_logits")


def test_answer_logits_of_a_slow_learner_are_its_last_positions():
    learner = SimpleNamespace(token_logits=lambda ids, mask: torch.arange(12.0, requires_grad=True).reshape(1, 4, 3))
    batch = SimpleNamespace(
        input_ids=np.zeros((1, 4)), attention_mask=None, n_last=2, labels=np.array([[-100, 2]]),
        is_answer=np.array([[False, True]]),
    )  # fmt: skip
    logits = answer_logits(learner, batch)
    assert logits.tolist() == [[9.0, 10.0, 11.0]]
    assert not logits.requires_grad


# --- logits of another shape -----------------------------------------------------------------------------------------


class Broken(Complete):
    """The complete learner, whose logits are spoiled."""

    def __init__(self, spoil=None, random_state=None):
        super().__init__(random_state)
        self.spoil = spoil

    def token_logits(self, input_ids, attention_mask):
        return self.spoil(super().token_logits(input_ids, attention_mask))


class BrokenStep(Complete):
    """The complete learner with a ``decode_step`` that is spoiled."""

    def __init__(self, spoil=None, random_state=None):
        super().__init__(random_state)
        self.spoil = spoil

    def decode_step(self, input_ids, attention_mask, position_ids, *, cache=None, n_last=1, use_cache=False):
        if cache is not None:
            input_ids = torch.cat([cache.input_ids, input_ids], dim=1)
        logits = self.token_logits(input_ids.numpy(), attention_mask.numpy())[:, -n_last:]
        return self.spoil(torch.from_numpy(logits)), PrefixCache(input_ids)


class BrokenAnswers(Broken):
    """The complete learner with an ``answer_logits`` that is spoiled."""

    def token_logits(self, input_ids, attention_mask):
        return Complete.token_logits(self, input_ids, attention_mask)

    def answer_logits(self, batch):
        logits = self.token_logits(batch.input_ids, batch.attention_mask)
        return self.spoil(logits[:, -batch.n_last :][batch.is_answer])


SPOILED = {
    "no rows": (lambda z: z[0], "Got shape"),
    "one number a position": (lambda z: z[..., 0], "Got shape"),
    "a column less": (lambda z: z[:, :-1] if z.ndim == 3 and z.shape[1] > 1 else z[:-1], "Got shape"),
    "too few tokens": (lambda z: z[..., :40], "Got shape"),
    "nothing": (lambda _: None, "Got a NoneType instead"),
    "ragged": (lambda z: [z[0].tolist(), [1.0]], "Got a list instead"),
    "texts": (lambda z: np.full(z.shape, "a"), "Got a ndarray instead"),
    "complex": (lambda z: z * 1j, "Got complex numbers instead"),
}
QUESTIONS, ANSWERS, OPTIONS = ["a b", "c d e"], ["d", "e f"], [["d", "x"], ["e f", "g"]]
USES = {
    "fit": lambda learner: TokenAdaBoostGenerator(learner, random_state=0).fit(QUESTIONS, ANSWERS),
    "token error": lambda learner: FineTunedGenerator(learner).fit(QUESTIONS, ANSWERS).token_error(QUESTIONS, ANSWERS),
    "predict": lambda learner: FineTunedGenerator(learner).fit(QUESTIONS, ANSWERS).predict(QUESTIONS, OPTIONS),
}


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("kind", [Broken, BrokenAnswers])
@pytest.mark.parametrize("how", SPOILED)
def test_logits_of_another_shape_name_the_learner(how, kind, use):
    spoil, got = SPOILED[how]
    method = "token_logits" if kind is Broken else "answer_logits"
    with pytest.raises(
        WeakLearnerError, match=rf"{kind.__name__}\.{method} must return logits of shape .*V >= .*{got}"
    ):
        USES[use](kind(spoil))


@pytest.mark.parametrize("how", [how for how in SPOILED if how != "a column less"])
def test_steps_of_another_shape_name_the_learner(how):
    spoil, got = SPOILED[how]
    with pytest.raises(WeakLearnerError, match=rf"BrokenStep\.decode_step must return logits of shape .*V >= .*{got}"):
        USES["predict"](BrokenStep(spoil))


@pytest.mark.parametrize("settings", [{}, {"do_sample": True, "top_k": 0}], ids=["greedy", "sampled"])
@pytest.mark.parametrize("kind", [Broken, BrokenStep])
def test_texts_are_not_written_from_logits_of_another_shape(kind, settings):
    generator = FineTunedGenerator(kind(lambda z: z[..., 0])).fit(QUESTIONS, ANSWERS)
    with pytest.raises(WeakLearnerError, match=rf"{kind.__name__}\.\w+ must return logits of shape"):
        generator.generate(QUESTIONS, max_new_tokens=2, **settings)
