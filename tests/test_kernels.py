"""The operations of every backend against float64 loops.

Triton's kernels run on a GPU under the marker `gpu`; `test_kernels_triton.py` runs the tests below in Triton's
interpreter, in a process of its own, since a kernel is made for one or the other when it is imported.
"""

from __future__ import annotations

import os

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from ensemw2s import get_backend

if os.environ.get("TRITON_INTERPRET") == "1":
    PLACES = [pytest.param(("triton", "cpu"), id="interpreted")]
else:
    PLACES = [
        pytest.param(("torch", "cpu"), id="torch"),
        pytest.param(("triton", "cuda"), id="triton", marks=pytest.mark.gpu),
    ]
DTYPES = [torch.float32, torch.float16, torch.bfloat16]
VOTES = np.array([0.5, 0.2, 0.3])


class Place:
    """A backend and the device to call it on; arrays in, arrays out."""

    def __init__(self, name, device):
        self.device, self.backend = device, get_backend(name, device=device)

    def put(self, array, dtype=None):
        return torch.as_tensor(array, dtype=dtype).to(self.device)

    def mix(self, logits, votes=VOTES):
        with np.errstate(divide="ignore"):
            log_weights = self.put(np.log(votes))
        return numbers(self.backend.mixture_log_proba(logits, log_weights))

    def sample(self, logits, uniform, votes=VOTES):
        with np.errstate(divide="ignore"):
            log_weights = self.put(np.log(votes))
        return numbers(self.backend.mixture_sample(logits, log_weights, self.put(uniform)))


@pytest.fixture(params=PLACES, scope="module")
def place(request):
    with np.errstate(all="ignore"):  # in the interpreter NumPy stands for the GPU, which takes the log of 0 in silence
        yield Place(*request.param)


def numbers(tensor):
    return tensor.cpu().double().numpy() if tensor.is_floating_point() else tensor.cpu().numpy()


def some(place, *shape, seed=0, dtype=torch.float32, scale=3.0):
    return place.put(np.random.default_rng(seed).normal(0.0, scale, shape), dtype)


# --- float64 loops ----------------------------------------------------------------------------------------------------


def softmax_loop(z):
    exponentials = np.exp(z - z.max())
    return exponentials / exponentials.sum()


def mixture_loop(logits, votes):
    """Probabilities of the mixture, (B, V)."""
    _, n_rows, _ = logits.shape
    return np.array(
        [sum(v * softmax_loop(z[row]) for v, z in zip(votes, logits, strict=True) if v > 0) for row in range(n_rows)]
    )


def member_loop(votes, uniform):
    """Member, and how far into its share a uniform number falls."""
    ends = np.cumsum(votes) / np.sum(votes)
    member = int(np.searchsorted(ends, uniform, side="right"))
    start = ends[member - 1] if member else 0.0
    return member, (uniform - start) / (ends[member] - start)


def check_draw(token, proba, uniform, tolerance):
    """The token is the step of the CDF in which the uniform number falls."""
    ends = np.cumsum(proba)
    start = ends[token - 1] if token else 0.0
    assert proba[token] > 0
    assert start - tolerance <= uniform <= ends[token] + tolerance


def logits_loop(hidden, head, bias=None, scale=1.0, softcap=None):
    z = np.array([[sum(h * w) for w in head] for h in hidden])
    z = scale * (z if bias is None else z + bias)
    return z if softcap is None else softcap * np.tanh(z / softcap)


# --- mixture_log_proba ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(3, 2, 4101), (3, 1, 1)])
def test_mixture_equals_the_loop(place, shape, dtype):
    logits = some(place, *shape, dtype=dtype)
    mixed = place.mix(logits)
    assert_allclose(mixed, np.log(mixture_loop(numbers(logits), VOTES)), atol=1e-5)


@settings(max_examples=8)
@given(st.integers(1, 5), st.integers(1, 3), st.integers(1, 70), st.integers(0, 2**16))
def test_mixture_equals_the_loop_in_any_shape(place, n_members, n_rows, n_tokens, seed):
    logits = some(place, n_members, n_rows, n_tokens, seed=seed, scale=30.0)
    votes = np.random.default_rng(seed).dirichlet(np.ones(n_members))
    with np.errstate(divide="ignore"):  # a token may be improbable beyond float64
        expected = np.log(mixture_loop(numbers(logits), votes))
    finite = np.isfinite(expected)
    assert_allclose(place.mix(logits, votes)[finite], expected[finite], rtol=1e-6, atol=1e-5)


def test_mixture_is_not_rounded_to_the_dtype_of_the_logits(place):
    assert (
        place.backend.mixture_log_proba(some(place, 1, 1, 4, dtype=torch.float16), place.put([0.0])).dtype
        == torch.float32
    )


def test_token_that_no_member_allows_has_log_probability_minus_infinity(place):
    logits = some(place, 3, 2, 40)
    logits[:, 1, 7:] = -torch.inf
    logits[0, :, 2] = -torch.inf
    mixed = place.mix(logits)
    assert_array_equal(mixed == -np.inf, np.arange(40) >= np.array([[40], [7]]))
    assert_allclose(np.exp(mixed), mixture_loop(numbers(logits), VOTES), atol=1e-6)


def test_tokens_beyond_the_range_of_exponentials_keep_their_log_probability(place):
    depth = np.array([0.0, -60.0, -85.0, -95.0, -104.0, -3000.0, -np.inf])
    logits = np.stack([[depth, 2 * depth], [depth + 3.0, depth], [depth, depth / 2]])  # (T, B, V)
    log_proba = logits - np.logaddexp.reduce(logits, axis=-1, keepdims=True)
    expected = np.logaddexp.reduce(log_proba + np.log(VOTES)[:, None, None], axis=0)
    assert_allclose(place.mix(place.put(logits, torch.float32)), expected, rtol=1e-6, atol=1e-6)


def test_member_without_a_vote_may_hold_anything(place):
    logits = some(place, 3, 2, 40)
    logits[1] = torch.nan
    votes = np.array([0.25, 0.0, 0.75])
    assert_allclose(np.exp(place.mix(logits, votes)), mixture_loop(numbers(logits), votes), atol=1e-6)


def test_logits_with_strides_are_read_as_they_are(place):
    logits = some(place, 50, 3, 2).permute(1, 2, 0)
    assert_allclose(np.exp(place.mix(logits)), mixture_loop(numbers(logits), VOTES), atol=1e-6)


# --- mixture_sample ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n_tokens", [4101, 3])
def test_draw_inverts_the_cdf_of_the_picked_member(place, n_tokens, dtype):
    logits = some(place, 3, 6, n_tokens, dtype=dtype)
    uniform = np.random.default_rng(1).random((6, 2))
    tokens = place.sample(logits, uniform)
    for row, (token, (first, second)) in enumerate(zip(tokens, uniform, strict=True)):
        member, _ = member_loop(VOTES, first)
        check_draw(token, softmax_loop(numbers(logits[member, row])), second, 1e-6)


@settings(max_examples=8)
@given(st.integers(1, 4), st.integers(1, 3), st.integers(1, 70), st.integers(0, 2**16))
def test_one_uniform_number_picks_member_and_token(place, n_members, n_rows, n_tokens, seed):
    rng = np.random.default_rng(seed)
    logits, votes = some(place, n_members, n_rows, n_tokens, seed=seed), rng.dirichlet(np.ones(n_members)) + 0.01
    uniform = rng.random(n_rows)
    for row, token in enumerate(place.sample(logits, uniform, votes)):
        member, rest = member_loop(votes, uniform[row])
        check_draw(token, softmax_loop(numbers(logits[member, row])), rest, 1e-5)


def test_even_uniform_numbers_give_every_token_its_share(place):
    n_draws = 30
    logits = some(place, 3, 1, 5, scale=1.0)
    tokens = place.sample(logits.expand(3, n_draws, 5), (np.arange(n_draws) + 0.5) / n_draws)
    shares = np.bincount(tokens, minlength=5) / n_draws
    # A token is one interval of the unit interval per member, and each end of one is off by half a number at most.
    assert_allclose(shares, mixture_loop(numbers(logits), VOTES)[0], atol=3 / n_draws)


@pytest.mark.parametrize("uniform", [0.0, 1.0 - 2.0**-53])
def test_impossible_tokens_and_members_are_never_drawn(place, uniform):
    logits = some(place, 4, 1, 4500)
    logits[:, :, :4200] = -torch.inf  # a whole block, and some
    logits[:, :, 4400:] = -torch.inf
    logits[[0, 3]] = 0.0
    (token,) = place.sample(logits, [uniform], [0.0, 0.5, 0.5, 0.0])
    assert 4200 <= token < 4400


# --- stacked_lora -----------------------------------------------------------------------------------------------------


@settings(max_examples=6)
@given(
    st.integers(1, 3), st.integers(1, 18), st.integers(1, 70), st.integers(1, 20), st.integers(1, 140),
    st.sampled_from(DTYPES),
)  # fmt: skip
def test_stacked_updates_equal_the_loop(place, n_members, n_rows, width, rank, n_columns, dtype):
    x = some(place, n_members, n_rows, width, scale=1.0, dtype=dtype)
    a = some(place, n_members, rank, width, seed=1, scale=1.0, dtype=dtype)
    b = some(place, n_members, n_columns, rank, seed=2, scale=1.0, dtype=dtype)
    scaling = place.put(np.linspace(0.5, 2.0, n_members), torch.float32)
    update = place.backend.stacked_lora(x, a, b, scaling)
    expected = [s * (x @ a.T) @ b.T for s, x, a, b in zip(*map(numbers, (scaling, x, a, b)), strict=True)]
    assert update.dtype == dtype
    spread = np.sqrt(width * rank)
    assert_allclose(numbers(update) / spread, np.array(expected) / spread, atol=30 * torch.finfo(dtype).eps)


# --- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("operation", "shapes", "message"),
    [
        ("mixture_log_proba", [(2, 3), (2,)], r"logits must have shape \(T, B, V\)"),
        (
            "mixture_log_proba",
            [(2, 3, 4), (3,)],
            r"log_weights must have shape \(2,\), one per member. Got shape \(3,\)",
        ),
        ("mixture_sample", [(2, 3, 4), (2,), (3, 3)], r"uniform must have shape \(3,\) or \(3, 2\)"),
        ("stacked_lora", [(2, 3), (2, 1, 3), (2, 4, 1), ()], r"x must have shape \(T, R, in\)"),
        ("stacked_lora", [(2, 3, 4), (1, 1, 4), (2, 5, 1), ()], r"a must have shape \(2, r, 4\)"),
        ("stacked_lora", [(2, 3, 4), (2, 1, 4), (2, 5, 3), ()], r"b must have shape \(2, out, 1\)"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(place, operation, shapes, message):
    with pytest.raises(ValueError, match=message):
        getattr(place.backend, operation)(*(place.put(torch.zeros(shape)) for shape in shapes))
